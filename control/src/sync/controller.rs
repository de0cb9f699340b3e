//! The controller: owns what is believed of each source, and what each agent should run.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use futures::future::join_all;
use rollcall_agent::table::Table;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::config::Config;
use super::courier::{Board, Courier, Errand, PATIENCE, late};
use super::difference::{self, Difference};
use super::guard::Guard;
use super::listen::listen;
use super::lock::Lock;
use super::plan::{Plan, Planner};
use super::say;
use super::serve::{Show, SourceStanding, serve};
use super::tasks::Tasks;
use super::words::{Word, Words};
use crate::client::Client;
use crate::failure::Failure;
use crate::source::{Listing, Source};

/// After a change so long is waited for more of them: they mostly come several at once.
const GATHER: Duration = Duration::from_millis(20);
/// How what is said begins while there is no plan.
const NOTHING: &str = "nothing is pushed";

/// The desk of a courier: what its agent should run.
type Desk = watch::Sender<Option<Errand>>;

/// The controller's state.
pub struct Controller {
    config: Arc<Config>,
    /// What a list of a source may lose. Nothing is ever allowed to a source itself, nor to any but the first lists.
    pub(super) guard: Guard,
    /// The first tables of the agents may lose what they want.
    allow_shrink: bool,
    planner: Arc<Mutex<Planner>>,
    /// What is believed of each source; `None` before its first good list.
    believed: Vec<Option<Arc<Listing>>>,
    /// What was told, so that it is told once.
    told: BTreeSet<String>,
    pub(super) show: Show,
}

impl Controller {
    /// For a configuration. `allow_shrink`: the first table of each agent may take from it whatever it wants.
    pub fn new(config: Config, allow_shrink: bool) -> Result<Controller> {
        let guard = Guard { percent: config.max_shrink_percent, allow: false };
        let planner = Planner::new(&config.agents)?;
        let believed = config.sources.iter().map(|_| None).collect();
        let sources = config.sources.iter().map(|source| SourceStanding {
            name: source.name().to_owned(),
            error: Some("it was not listed yet".to_owned()),
            ..SourceStanding::default()
        });
        let agents = config.agents.iter().map(|agent| (agent.name.clone(), Board::default())).collect();
        let show = Show {
            sources: Arc::new(Mutex::new(sources.collect())),
            agents: Arc::new(agents),
            unplanned: Arc::new(Mutex::new(Some(format!("{NOTHING} before every source was listed once")))),
            ..Show::default()
        };
        Ok(Controller {
            config: Arc::new(config),
            guard,
            allow_shrink,
            planner: Arc::new(Mutex::new(planner)),
            believed,
            told: BTreeSet::new(),
            show,
        })
    }

    fn clients(&self) -> Result<Vec<Client>, Failure> {
        self.config.agents.iter().map(|agent| Client::new(&agent.args())).collect()
    }

    /// The sources, opened.
    fn sources(&self, follow: bool) -> Result<Vec<Box<dyn Source>>> {
        self.config.sources.iter().map(|source| source.open(self.config.interval, follow.then_some(self.guard))).collect()
    }

    /// Asks every source once, and makes the plan of it.
    pub async fn plan_once(&mut self) -> Result<Plan, Failure> {
        let mut sources = self.sources(false)?;
        let listings = join_all(sources.iter_mut().map(|source| async move { source.list(&mut |_| {}).await })).await;
        let mut refused = None;
        for (at, listing) in listings.into_iter().enumerate() {
            if let Err(why) = self.hear(Word { source: at, listing, is_change: false }) {
                refused = Some(why);
            }
        }
        if let Some(why) = refused {
            return Err(anyhow!("{why}: nothing was pushed").into());
        }
        Ok(self.plan().await?)
    }

    /// One round for cron: lists, plans, pushes to all agents.
    pub async fn once(&mut self) -> Result<(), Failure> {
        let plan = self.plan_once().await?;
        let rounds =
            self.couriers()?.into_iter().zip(errands(plan)).map(|(mut courier, errand)| async move { courier.deliver(&errand).await });
        // Every agent gets its turn, whatever becomes of the others.
        join_all(rounds).await.into_iter().collect::<Result<Vec<()>, Failure>>().map(drop)
    }

    fn couriers(&self) -> Result<Vec<Courier>, Failure> {
        let guard = self.first();
        let agents = self.clients()?.into_iter().zip(self.show.agents.iter());
        Ok(agents.map(|(client, (name, board))| Courier::new(name, client, board.clone(), guard)).collect())
    }

    /// What the first table may take from an agent.
    fn first(&self) -> Guard {
        Guard { allow: self.allow_shrink, ..self.guard }
    }

    /// Works until the process is told to end; `lock` is kept so long.
    pub async fn run(self, lock: Lock) -> Result<(), Failure> {
        let mut tasks = Tasks::default();
        tasks.start("the lock".into(), lock.follow());
        if let Some(listen) = self.config.listen {
            let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
            tasks.start("the server of metrics".into(), serve(listener, self.show.clone()));
        }
        let sources = self.sources(true)?;
        self.work(tasks, sources, stopped()).await
    }

    /// Works with these sources until `stop`.
    pub(super) async fn work(
        mut self,
        mut tasks: Tasks,
        sources: Vec<Box<dyn Source>>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Failure> {
        let words = Arc::new(Words::default());
        for (at, source) in sources.into_iter().enumerate() {
            self.show.source(at, |standing| standing.notifications = source.notifications());
            tasks.start(format!("source {:?}", source.name()), listen(at, source, self.config.interval, words.clone()));
        }
        let mut desks: Vec<Desk> = Vec::new();
        for (courier, agent) in self.couriers()?.into_iter().zip(&self.config.agents) {
            let (desk, wanted) = watch::channel(None);
            tasks.start(format!("agent {:?}", agent.name), courier.run(wanted, self.config.interval));
            desks.push(desk);
        }
        // Without systemd nobody is told.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        say(&format!(
            "{} sources, {} agents, every {}",
            self.believed.len(),
            desks.len(),
            humantime::format_duration(self.config.interval)
        ));
        let follow = async {
            loop {
                let mut heard = words.hear().await;
                // So long and no longer: others may go on telling for ever.
                tokio::time::sleep(GATHER).await;
                heard.extend(words.rest());
                for word in heard {
                    // What is refused was said, and changes nothing.
                    let _ = self.hear(word);
                }
                self.follow(&desks).await;
            }
        };
        tokio::select! {
            () = follow => Ok(()),
            error = tasks.ended() => Err(error.into()),
            () = stop => {
                say("ended; the agents go on with the tables that they have");
                Ok(())
            }
        }
    }

    /// Makes the plan and puts it on the desks of the couriers.
    async fn follow(&mut self, desks: &[Desk]) {
        // A source of which nothing is known yet may have hosts: without them they would be forgotten.
        if let Some(missing) = self.believed.iter().position(Option::is_none) {
            let name = self.config.sources[missing].name();
            let why = format!("{NOTHING} before source {name:?} was listed once; the agents go on with the tables that they have");
            // One that only takes its time is no news.
            if self.told.iter().any(|told| told.starts_with(&of_source(name))) {
                self.tell_once(&why);
            }
            return self.show.planned(Some(why));
        }
        let plan = match self.plan().await {
            Ok(plan) => plan,
            Err(error) => {
                let why = format!("{NOTHING}: {error:#}; the agents go on with the tables that they have");
                self.tell_once(&why);
                return self.show.planned(Some(why));
            }
        };
        if self.forget(NOTHING) {
            say("tables are made and pushed again");
        }
        self.show.planned(None);
        for (desk, errand) in desks.iter().zip(errands(plan)) {
            desk.send_if_modified(|wanted| {
                let differs = wanted.as_ref().is_none_or(|before| before.table.digest() != errand.table.digest());
                *wanted = Some(errand);
                differs
            });
        }
    }

    /// Believes what a source says, or says why not.
    fn hear(&mut self, word: Word) -> Result<(), String> {
        let Word { source, listing, is_change } = word;
        let name = self.config.sources[source].name().to_owned();
        let judged = listing.map_err(|error| format!("{} {error}", of_source(&name))).and_then(|listing| {
            // A host that the platform itself told to be deleted is deleted, however many are.
            if let (Some(before), false) = (&self.believed[source], is_change) {
                self.guard.compare(&format!("source {name:?}"), before, &listing)?;
            }
            Ok(listing)
        });
        let listing = match judged {
            Ok(listing) => listing,
            Err(why) => {
                self.tell_once(&why);
                self.show.source(source, |standing| standing.error = Some(why.clone()));
                return Err(why);
            }
        };
        let hosts = listing.hosts.len() as u64;
        self.believed[source] = Some(Arc::new(listing));
        if is_change {
            // Single changes say nothing of whether the platform can be listed.
            self.show.source(source, |standing| standing.hosts = hosts);
            return Ok(());
        }
        if self.forget(&of_source(&name)) {
            say(&format!("source {name:?}: is well again: {hosts} hosts"));
        }
        let last_good = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.show.source(source, |standing| *standing = SourceStanding { hosts, last_good, error: None, ..standing.clone() });
        Ok(())
    }

    /// Makes the tables, beside the work: meanwhile couriers go on, and sources are heard.
    async fn plan(&mut self) -> Result<Plan> {
        let (config, planner, believed) = (self.config.clone(), self.planner.clone(), self.believed.clone());
        let work = tokio::task::spawn_blocking(move || {
            let believed = config.sources.iter().zip(&believed);
            let mut planner = planner.lock().unwrap_or_else(PoisonError::into_inner);
            planner.plan(&config, believed.filter_map(|(source, listing)| Some((source.name(), listing.as_deref()?))))
        });
        let plan = work.await.context("making the tables ended early")??;
        *self.show.nobodys.lock().unwrap_or_else(PoisonError::into_inner) = plan.nobodys.values().sum();
        plan.warnings.iter().for_each(|warning| self.tell_once(&format!("warning: {warning}")));
        // A warning that is over may be told again.
        let stands: HashSet<&str> = plan.warnings.iter().map(String::as_str).collect();
        self.told.retain(|told| told.strip_prefix("warning: ").is_none_or(|warning| stands.contains(warning)));
        Ok(plan)
    }

    fn tell_once(&mut self, text: &str) {
        if self.told.insert(text.to_owned()) {
            say(text);
        }
    }

    /// May tell anew what begins so; whether anything was told.
    fn forget(&mut self, beginning: &str) -> bool {
        let before = self.told.len();
        self.told.retain(|told| !told.starts_with(beginning));
        self.told.len() < before
    }

    /// What would change at each agent.
    pub async fn dry_run(&mut self) -> Result<Vec<Preview>, Failure> {
        let plan = self.plan_once().await?;
        let (guard, clients) = (self.first(), self.clients()?);
        let previews = clients.iter().zip(&self.config.agents).zip(errands(plan)).map(|((client, agent), errand)| async move {
            let asked = tokio::time::timeout(PATIENCE, difference::ask(client, &errand.table)).await;
            let difference = asked.unwrap_or_else(|_| Err(late()));
            let refused = difference.as_ref().ok().and_then(|difference| difference.held(&errand.all).judge(guard).err());
            Preview { agent: agent.name.clone(), difference, refused }
        });
        Ok(join_all(previews).await)
    }
}

/// What a start would do to an agent.
pub struct Preview {
    /// Its name.
    pub agent: String,
    /// What would change, or why it could not be asked.
    pub difference: Result<Difference, Failure>,
    /// Why the change would not be made.
    pub refused: Option<String>,
}

/// How what is said of a source begins.
fn of_source(name: &str) -> String {
    format!("source {name:?}:")
}

fn errands(plan: Plan) -> impl Iterator<Item = Errand> {
    let all: Arc<[Arc<Table>]> = plan.tables.into();
    (0..all.len()).map(move |at| Errand { table: all[at].clone(), all: all.clone() })
}

/// Waits for SIGINT or SIGTERM.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate()].map(|kind| signal(kind).ok());
    let waits = signals.iter_mut().flatten().map(|signal| Box::pin(signal.recv()));
    let _ = futures::future::select_all(waits).await;
}
