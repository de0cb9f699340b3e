//! Running: puts the stages together, and takes them apart again within a second of SIGTERM.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::alarm::{Alarm, Change, Key, Matter, Recovery, What};
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::{Command, Engine};
use crate::register::{self, Register};
use crate::reply::{Program, Receive};
use crate::roster::Keeper;
use crate::server::{self, Agent};
use crate::site::Site;
use crate::state::{Restored, State};
use crate::table::{Digest, Edition, Table};
use crate::tell::{Events, FLUSH, Teller, Telling};
use crate::unit::Blind;
use crate::view::{NetworkView, View};
use crate::watch::Watch;

/// Between two looks whether verdicts must be written to the state directory.
const KEEP: Duration = Duration::from_secs(10);
/// Between two looks whether the table must be written whole.
const TIDY: Duration = Duration::from_secs(5);
/// How long calls that are under way may take when the agent stops.
const DRAIN: Duration = Duration::from_millis(200);

/// Runs the agent until SIGTERM or SIGINT.
pub async fn run(config: Config) -> Result<()> {
    config.check()?;
    let token = config.token().map_err(anyhow::Error::msg)?;
    let state = State::open(&config.state_directory)?;
    let (table, source, restored) = first_table(&config, &state)?;
    let recovery = Recovery::read(&config.routes, state.directory())?;
    let (restored, forgotten, resumed) = reconcile(&table, restored, &recovery);
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}: is another agent running? (listen)", config.listen))?;

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut watch = Watch::open(&config)?;
    let mut program = load(&config, register::slots_for(table.addresses()))?;
    let (mut attachments, mut shown) = (Vec::new(), Vec::new());
    for (number, network) in config.networks.iter().enumerate() {
        let attached = watch.attach(number as u16, &mut program).await?;
        shown.push(NetworkView::new(attached.name.clone(), network.interface.clone(), attached.datapath));
        attachments.push(attached);
    }
    let clock = Clock::Machine;
    let view = Arc::new(View::new(clock.now(), shown, program.arrays().clone()));
    let alarms = recovery.start(forgotten);
    let events = Arc::new(Events::default());
    let (notes, told) = mpsc::unbounded_channel();
    let mut engine = Engine::new(clock, program, attachments, config.pps, view.clone(), notes);
    engine.resume_silence(&silent(&resumed));
    let telling = Telling {
        storm: config.storm.clone(),
        flapping: config.flapping.clone(),
        agent_alarm: config.agent_alarm.clone(),
        routes: config.routes.iter().map(|route| route.name().to_owned()).collect(),
        conflict_check: config.networks.iter().filter_map(|network| network.conflict_check).max(),
        resumed,
    };
    let mut teller = tokio::spawn(Teller::new(view.clone(), alarms.clone(), events.clone(), telling).run(told));
    let (commands, received) = crossbeam_channel::unbounded();
    let stop = Arc::new(AtomicBool::new(false));
    let engine = start_engine(engine, received, stop.clone())?;

    let keeper = Keeper::new(config.networks.iter().map(|network| network.name.as_str()));
    let register = Arc::new(Register::new(keeper, commands.clone(), view.clone(), state.clone(), Site::from(&config)));
    let taken = {
        let register = register.clone();
        tokio::task::spawn_blocking(move || match table {
            First::None => Ok(None),
            First::Kept(table) => register.resume(table, &restored).map(Some),
            First::Given(table) => register.start(*table, &restored).map(Some),
        })
    };
    if let Some(outcome) = taken.await?? {
        if let Some(source) = source {
            // Only now: had the start failed before, the next one must take the file again.
            state.keep_source(source)?;
        }
        info!(target: "table", generation = outcome.generation, addresses = outcome.addresses, digest = %outcome.digest, "table in force");
    } else {
        info!(target: "table", "no table yet: push one (rollcall push)");
    }

    let (stopping, stopped) = watch::channel(false);
    let agent = Agent {
        view: view.clone(),
        register: register.clone(),
        events,
        alarms: alarms.clone(),
        token,
        abnormal_max: config.metrics_max_abnormal,
        started: SystemTime::now(),
        pushes: tokio::sync::Mutex::new(()),
        walks: tokio::sync::Mutex::new(()),
        stopping: stopped.clone(),
    };
    let mut ends = stopped.clone();
    let serve = axum::serve(listener, server::router(Arc::new(agent)))
        .with_graceful_shutdown(async move { drop(ends.wait_for(|stopping| *stopping).await) });
    let mut server = tokio::spawn(serve.into_future());
    let watcher = tokio::spawn(watch.follow(commands, view.clone()));
    let keep = tokio::spawn(keep_verdicts(state.clone(), view.clone()));
    let tidy = tokio::spawn(keep_tidy(register));
    info!(target: "agent", listen = %config.listen, state_directory = %config.state_directory.display(), "rollcall-agent {} is ready", env!("CARGO_PKG_VERSION"));

    // Nobody is told anything any more when one of these is gone: then the agent must not seem to be well.
    let died = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        why = watch_engine(engine, stop.clone()) => Some(why),
        _ = &mut teller => Some("the teller ended; please report what stands above"),
        _ = &mut server => Some("the API's server ended; please report what stands above"),
    };
    info!(target: "agent", "stopping");
    stopping.send_replace(true);
    stop.store(true, Ordering::Relaxed);
    watcher.abort();
    keep.abort();
    tidy.abort();
    // The teller ends when the engine has dropped its end of the notes, so nothing that was said is lost.
    let drain = async {
        if !teller.is_finished() {
            let _ = tokio::time::timeout(DRAIN, teller).await;
        }
        alarms.shutdown(FLUSH).await;
    };
    let serve = async {
        if !server.is_finished() {
            let _ = tokio::time::timeout(DRAIN, server).await;
        }
    };
    let keep = tokio::time::timeout(FLUSH, keep_now(&state, &view));
    let ((), (), kept) = tokio::join!(drain, serve, keep);
    if let Err(error) = kept.map_err(anyhow::Error::from).and_then(|kept| kept) {
        error!(target: "verdict", %error, "the verdicts could not be kept: after the next start addresses are pending until probed");
    }
    match died {
        Some(why) => bail!("the agent ended by itself: {why}"),
        None => Ok(()),
    }
}

/// The table to begin with.
enum First {
    /// None: one is pushed later.
    None,
    /// That of the last run.
    Kept(Edition),
    /// The operator's file.
    Given(Box<Table>),
}

impl First {
    fn addresses(&self) -> usize {
        match self {
            First::None => 0,
            First::Kept(table) => table.len(),
            First::Given(table) => table.len(),
        }
    }

    /// The id of the host that has an address.
    fn host_at(&self, network: &str, address: std::net::IpAddr) -> Option<&str> {
        match self {
            First::None => None,
            First::Kept(table) => table.find(network, address).and_then(|id| table.record(id)).map(|record| table.host(record.host()).id()),
            First::Given(table) => table.find(network, address).map(|at| table.host(table.records()[at as usize].host()).id()),
        }
    }
}

/// The table to begin with: the one of the last run, unless the operator's file is a new one. And that file's digest.
fn first_table(config: &Config, state: &State) -> Result<(First, Option<Digest>, Restored)> {
    let given = match &config.table {
        Some(path) => Some(Table::open(path).with_context(|| path.display().to_string())?),
        None => None,
    };
    let source = given.as_ref().map(Table::digest);
    let first = match (state.table(source), given) {
        (Some(kept), given) => {
            if let (Some(path), Some(_)) = (&config.table, given) {
                info!(target: "table", file = %path.display(), "the file has not changed since the last start: the table that was in force then is used, with what was pushed and stopped since");
            }
            First::Kept(kept)
        }
        (None, Some(given)) => First::Given(Box::new(given)),
        (None, None) => First::None,
    };
    Ok((first, source, state.verdicts()))
}

/// The verdicts to begin with, what the alarm stage must forget, and the alarms that the teller goes on with. The alarms' journal has the
/// last word on who is down: what it does not know as firing is probed anew, what it knows and the table does not is forgotten.
fn reconcile(table: &First, mut restored: Restored, recovery: &Recovery) -> (Restored, Vec<Change>, Vec<Arc<Alarm>>) {
    let now = SystemTime::now();
    let mut forgotten: Vec<Key> = Vec::new();
    let mut down = Vec::new();
    let mut resumed = Vec::new();
    for alarm in &recovery.firing {
        let subject = &alarm.subject;
        let what = subject.matter.what();
        if what.is_of_address() && table.host_at(&subject.network, subject.address) != Some(&*subject.id) {
            forgotten.push(subject.key());
        } else if what == What::Down {
            down.push((subject.network.as_str(), subject.address, crate::clock::unix_ms(alarm.since)));
        } else {
            resumed.push(alarm.clone());
        }
    }
    let gone = |key: &&Key| key.what.is_of_address() && table.host_at(&key.network, key.address).is_none();
    forgotten.extend(recovery.waiting.iter().filter(gone).cloned());
    restored.set_down(down);
    (restored, forgotten.into_iter().map(|key| Change::Forgotten { key, at: now }).collect(), resumed)
}

/// The networks of which an alarm still says that nobody answers there.
fn silent(resumed: &[Arc<Alarm>]) -> Vec<&str> {
    let networks = resumed.iter().filter_map(|alarm| match &alarm.subject.matter {
        Matter::Blind { reason: Blind::Silent, networks } => Some(networks),
        _ => None,
    });
    networks.flatten().map(String::as_str).collect()
}

/// The program; where the kernel does not take it and the operator leaves the choice to us, arrays without one.
fn load(config: &Config, slots: u32) -> Result<Program> {
    match (config.receive, Program::load(slots)) {
        (Receive::Socket, _) => Ok(Program::in_memory(slots)?),
        (Receive::Auto, Err(why)) => {
            warn!(target: "reply", %why, "no XDP program: replies are received and probes are sent by packet sockets, which costs more CPU");
            Ok(Program::in_memory(slots)?)
        }
        (_, program) => Ok(program?),
    }
}

fn start_engine(
    engine: Engine,
    commands: crossbeam_channel::Receiver<Command>,
    stop: Arc<AtomicBool>,
) -> Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new()
        .name("engine".into())
        .spawn(move || engine.run(&commands, &stop))
        .context("cannot start the engine's thread")
}

/// Ends only when the engine ended without being told to.
async fn watch_engine(engine: std::thread::JoinHandle<()>, stop: Arc<AtomicBool>) -> &'static str {
    while !engine.is_finished() || stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    match engine.join() {
        Ok(()) => "the engine stopped",
        Err(_) => "the engine panicked; please report what stands above",
    }
}

async fn keep_verdicts(state: State, view: Arc<View>) {
    let mut every = tokio::time::interval(KEEP);
    let mut kept = None;
    loop {
        every.tick().await;
        let turns = view.turns.value();
        if kept == Some(turns) {
            continue;
        }
        match keep_now(&state, &view).await {
            Ok(()) => kept = Some(turns),
            Err(error) => warn!(target: "verdict", %error, "the verdicts could not be kept; trying again"),
        }
    }
}

/// Has the table written whole from time to time.
async fn keep_tidy(register: Arc<Register>) {
    let mut every = tokio::time::interval(TIDY);
    loop {
        every.tick().await;
        let register = register.clone();
        match tokio::task::spawn_blocking(move || register.tidy()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(target: "table", %error, "the table could not be written whole; trying again"),
            Err(error) => warn!(target: "table", %error, "the table could not be written whole; please report it"),
        }
    }
}

async fn keep_now(state: &State, view: &Arc<View>) -> Result<()> {
    let (state, view) = (state.clone(), view.clone());
    tokio::task::spawn_blocking(move || state.keep_verdicts(&view)).await??;
    Ok(())
}
