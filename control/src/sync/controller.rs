//! The controller: owns what is believed of each source, and what each agent should run.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use futures::future::join_all;
use rollcall_agent::table::Table;
use tokio::sync::{mpsc, watch};

use super::config::Config;
use super::courier::{Board, Courier};
use super::guard::Guard;
use super::plan::{Plan, Planner};
use super::say;
use super::serve::{Show, SourceStanding, serve};
use crate::client::Client;
use crate::failure::Failure;
use crate::source::{Listing, Source, SourceError};

/// After a change so long is waited for more of them: they mostly come several at once.
const GATHER: Duration = Duration::from_millis(20);
/// How long an agent may take to say how much it watches, when everything begins.
const ASK: Duration = Duration::from_secs(5);

/// What a source says.
struct Word {
    source: usize,
    listing: Result<Listing, SourceError>,
    /// It was told of single changes, and did not list everything.
    is_change: bool,
}

/// The controller's state.
pub struct Controller {
    config: Config,
    guard: Guard,
    planner: Planner,
    /// What is believed of each source; `None` before its first good list.
    believed: Vec<Option<Listing>>,
    /// Whether what the agents hold was compared with the first plan.
    begun: bool,
    /// Warnings that were told, so that each is told once.
    told: BTreeSet<String>,
    show: Show,
}

impl Controller {
    /// For a configuration. `allow_shrink`: the first plan may remove whatever it wants.
    pub fn new(config: Config, allow_shrink: bool) -> Result<Controller> {
        let guard = Guard { percent: config.max_shrink_percent, allow: allow_shrink };
        let planner = Planner::new(&config.agents)?;
        let believed = config.sources.iter().map(|_| None).collect();
        let sources = config.sources.iter().map(|source| SourceStanding {
            name: source.name().to_owned(),
            error: Some("it was not listed yet".to_owned()),
            ..SourceStanding::default()
        });
        let agents = config.agents.iter().map(|agent| (agent.name.clone(), Board::default())).collect();
        let show = Show { sources: Arc::new(std::sync::Mutex::new(sources.collect())), agents: Arc::new(agents), nobodys: Arc::default() };
        Ok(Controller { config, guard, planner, believed, begun: false, told: BTreeSet::new(), show })
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
        let plan = self.plan()?;
        self.begin(&plan).await?;
        Ok(plan)
    }

    /// One round for cron: lists, plans, pushes to all agents.
    pub async fn once(&mut self) -> Result<(), Failure> {
        let plan = self.plan_once().await?;
        let clients = self.clients()?;
        let couriers =
            clients.into_iter().zip(self.show.agents.iter()).map(|(client, (name, board))| Courier::new(name, client, board.clone()));
        let rounds = couriers.zip(&plan.tables).map(|(mut courier, table)| async move { courier.deliver(table).await });
        // Every agent gets its turn, whatever becomes of the others.
        join_all(rounds).await.into_iter().collect::<Result<Vec<()>, Failure>>().map(drop)
    }

    /// Works until the process is told to end.
    pub async fn run(mut self) -> Result<(), Failure> {
        if let Some(listen) = self.config.listen {
            serve(listen, self.show.clone()).await?;
        }
        let (words, mut heard) = mpsc::channel(16);
        for (at, source) in self.sources(true)?.into_iter().enumerate() {
            self.show.source(at, |standing| standing.notifications = source.notifications());
            tokio::spawn(listen_to(at, source, self.config.interval, words.clone()));
        }
        let mut desks = Vec::new();
        for (client, (name, board)) in self.clients()?.into_iter().zip(self.show.agents.iter()) {
            let (desk, wanted) = watch::channel(None);
            tokio::spawn(Courier::new(name, client, board.clone()).run(wanted, self.config.interval));
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
        let mut stop = std::pin::pin!(stopped());
        loop {
            tokio::select! {
                Some(word) = heard.recv() => {
                    // What is refused was said, and changes nothing.
                    let _ = self.hear(word);
                    while let Ok(Some(word)) = tokio::time::timeout(GATHER, heard.recv()).await {
                        let _ = self.hear(word);
                    }
                    if let Err(error) = self.follow(&desks).await {
                        say(&format!("{error:#}: the agents go on with the tables that they have"));
                    }
                }
                () = &mut stop => {
                    say("ended; the agents go on with the tables that they have");
                    return Ok(());
                }
            }
        }
    }

    /// Makes the plan and puts it on the desks of the couriers.
    async fn follow(&mut self, desks: &[watch::Sender<Option<Arc<Table>>>]) -> Result<()> {
        // A source of which nothing is known yet may have hosts: without them they would be forgotten.
        if self.believed.iter().any(Option::is_none) {
            return Ok(());
        }
        let plan = self.plan()?;
        self.begin(&plan).await?;
        for (desk, table) in desks.iter().zip(plan.tables) {
            desk.send_if_modified(|wanted| {
                let differs = wanted.as_ref().is_none_or(|before| before.digest() != table.digest());
                if differs {
                    *wanted = Some(table);
                }
                differs
            });
        }
        Ok(())
    }

    /// Believes what a source says, or says why not.
    fn hear(&mut self, word: Word) -> Result<(), String> {
        let Word { source, listing, is_change } = word;
        let name = self.config.sources[source].name().to_owned();
        let judged = listing.map_err(|error| format!("source {name:?}: {error}")).and_then(|listing| {
            // A host that the platform itself told to be deleted is deleted, however many are.
            if let (Some(before), false) = (&self.believed[source], is_change) {
                self.guard.compare(&format!("source {name:?}"), before, &listing)?;
            }
            Ok(listing)
        });
        match judged {
            Ok(listing) => {
                let hosts = listing.hosts.len() as u64;
                let recovered = self.told.iter().any(|told| told.starts_with(&format!("source {name:?}:")));
                if recovered {
                    self.told.retain(|told| !told.starts_with(&format!("source {name:?}:")));
                    say(&format!("source {name:?}: is well again: {hosts} hosts"));
                }
                self.believed[source] = Some(listing);
                let last_good = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                self.show.source(source, |standing| *standing = SourceStanding { hosts, last_good, error: None, ..standing.clone() });
                Ok(())
            }
            Err(why) => {
                self.tell_once(&why);
                self.show.source(source, |standing| standing.error = Some(why.clone()));
                Err(why)
            }
        }
    }

    fn plan(&mut self) -> Result<Plan> {
        let believed = self.config.sources.iter().zip(&self.believed);
        let listings = believed.filter_map(|(source, listing)| Some((source.name(), listing.as_ref()?)));
        let plan = self.planner.plan(&self.config, listings)?;
        *self.show.nobodys.lock().unwrap_or_else(PoisonError::into_inner) = plan.nobodys.values().sum();
        let warnings = plan.warnings.clone();
        warnings.iter().for_each(|warning| self.tell_once(&format!("warning: {warning}")));
        // A warning that is over may be told again.
        self.told.retain(|told| !told.starts_with("warning: ") || warnings.iter().any(|warning| told["warning: ".len()..] == **warning));
        Ok(plan)
    }

    fn tell_once(&mut self, text: &str) {
        if self.told.insert(text.to_owned()) {
            say(text);
        }
    }

    /// Compares the first plan with what the agents hold: from a start on nothing else is known.
    async fn begin(&mut self, plan: &Plan) -> Result<()> {
        if self.begun {
            return Ok(());
        }
        let clients = self.clients().map_err(|failure| anyhow!("{failure}"))?;
        let asked = join_all(clients.iter().map(|client| tokio::time::timeout(ASK, client.status()))).await;
        let held: u64 = asked.into_iter().filter_map(|asked| asked.ok()?.ok()).map(|status| status.addresses).sum();
        let gone = held.saturating_sub(plan.addresses);
        self.guard.judge("all sources together", held, gone).map_err(|why| anyhow!("{why}"))?;
        self.begun = true;
        self.guard.allow = false;
        Ok(())
    }
}

/// From the start of a list, which `took` so long, to that of the next. What changes just after it was listed is seen at the end of the
/// next list: where nobody tells of changes that one begins early enough to be over by the interval, but no sooner than after half of
/// it. A platform that takes nearly as long as the interval, or longer, is left in peace for a while all the same.
fn pause(interval: Duration, took: Duration, told: bool) -> Duration {
    let wanted = if told { interval } else { interval.saturating_sub(took + took / 8).max(interval / 2) };
    wanted.max(took + interval / 4)
}

/// Asks a source at every interval, and hears what it tells in between.
async fn listen_to(at: usize, mut source: Box<dyn Source>, interval: Duration, words: mpsc::Sender<Word>) {
    loop {
        let began = tokio::time::Instant::now();
        let mut meanwhile = |listing| {
            // Where the controller does not keep up it gets the next one, or the list.
            let _ = words.try_send(Word { source: at, listing: Ok(listing), is_change: true });
        };
        let listing = source.list(&mut meanwhile).await;
        if words.send(Word { source: at, listing, is_change: false }).await.is_err() {
            return;
        }
        let told = source.notifications().is_some_and(|standing| standing.connected.load(Ordering::Relaxed));
        let next = began + pause(interval, began.elapsed(), told);
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(next) => break,
                () = source.changed() => {
                    // Both may be: it changed, and there is more that only a list tells.
                    if let Some(listing) = source.known()
                        && words.send(Word { source: at, listing: Ok(listing), is_change: true }).await.is_err()
                    {
                        return;
                    }
                    if source.wants_list() {
                        break;
                    }
                }
            }
        }
    }
}

/// Waits for SIGINT or SIGTERM.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate()].map(|kind| signal(kind).ok());
    let waits = signals.iter_mut().flatten().map(|signal| Box::pin(signal.recv()));
    let _ = futures::future::select_all(waits).await;
}

impl Controller {
    /// What would change at each agent, by its name.
    pub async fn dry_run(&mut self) -> Result<Vec<(String, Result<super::difference::Difference, Failure>)>, Failure> {
        let plan = self.plan_once().await?;
        let names = self.config.agents.iter().map(|agent| agent.name.clone());
        let clients = self.clients()?;
        let differences = clients.iter().zip(&plan.tables).map(|(client, table)| super::difference::ask(client, table));
        Ok(names.zip(join_all(differences).await).collect())
    }

    /// Reads the configuration and locks it: two that run by the same file would tell each agent everything twice.
    pub fn lock(path: &std::path::Path) -> Result<std::fs::File> {
        let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => {
                Err(anyhow!("another rollcall sync runs with {} on this machine: end that one first", path.display()))
            }
            Err(std::fs::TryLockError::Error(error)) => Err(anyhow!(error).context(format!("cannot lock {}", path.display()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::pause;
    use std::time::Duration;

    #[test]
    fn where_nobody_tells_of_changes_the_next_list_is_over_by_the_interval() {
        let s = Duration::from_secs;
        for (took, wanted) in [(0, 120), (32, 84), (48, 78), (119, 149), (500, 530)] {
            assert_eq!(pause(s(120), s(took), false), s(wanted), "{took} s");
        }
        assert!((0..=40).all(|took| pause(s(120), s(took), false) + s(took) <= s(120)));
        assert_eq!(pause(s(120), s(80), true), s(120), "who is told need not hurry");
    }
}
