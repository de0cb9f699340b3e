//! The stage at work: takes changes, journals them, and only then lets the routes tell.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures::FutureExt;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tracing::{error, info, warn};

use super::change::Change;
use super::courier::Courier;
use super::inbox::Inbox;
use super::journal::{Journal, JournalError};
use super::notice::Notice;
use super::record::Record;
use super::route::{Failure, FailureVerdict};
use super::state::State;
use super::stats::{RouteReport, RouteStats};

/// How long to wait before the journal is tried again after the disk refused.
const JOURNAL_RETRY: Duration = Duration::from_secs(2);

/// The alarm stage, to whoever feeds it or asks of it. Cheap to clone. Made by [`Recovery::start`].
#[derive(Clone, Debug)]
pub struct Service {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inbox: Inbox,
    firing: AtomicU64,
    routes: Vec<(String, &'static str, Arc<RouteStats>)>,
    stop: watch::Sender<Option<Instant>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Service {
    pub(super) fn run(state: State, journal: Journal, couriers: Vec<Courier>) -> Service {
        let (stop, stopped) = watch::channel(None);
        let shared = Arc::new(Shared {
            inbox: Inbox::new(),
            firing: AtomicU64::new(state.alarms().firing().len() as u64),
            routes: couriers.iter().map(|courier| (courier.name.clone(), courier.kind, courier.stats.clone())).collect(),
            stop,
            task: Mutex::new(None),
        });
        let stage = Stage {
            shared: shared.clone(),
            state,
            journal: Some(journal),
            journal_retry: None,
            couriers,
            deliveries: JoinSet::new(),
            unknown_routes: BTreeSet::new(),
        };
        stage.publish();
        *shared.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(tokio::spawn(stage.run(stopped)));
        Service { shared }
    }

    /// Takes a change, from any thread. Never waits for disk or network. At most four changes of an address are held
    /// when the disk stands still, so memory is bounded by addresses.
    pub fn send(&self, change: Change) {
        self.shared.inbox.send(change);
    }

    /// Alarms that fire.
    pub fn firing_count(&self) -> u64 {
        self.shared.firing.load(Acquire)
    }

    /// Every route, in the order of the configuration.
    pub fn stats(&self) -> Vec<RouteReport> {
        self.shared.routes.iter().map(|(name, kind, stats)| stats.report(name, kind)).collect()
    }

    /// Journals what was sent before, gives batches that are on their way until the deadline to be acknowledged, and
    /// ends. What is then still unsent is sent after the next start.
    pub async fn shutdown(&self, deadline: Duration) {
        self.shared.stop.send_replace(Some(Instant::now() + deadline));
        let task = self.shared.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            error!(target: "alarm", %error, "the alarm stage ended badly");
        }
    }
}

/// The task that owns the state.
struct Stage {
    shared: Arc<Shared>,
    state: State,
    journal: Option<Journal>,
    journal_retry: Option<Instant>,
    couriers: Vec<Courier>,
    deliveries: JoinSet<(usize, Result<(), Failure>)>,
    unknown_routes: BTreeSet<String>,
}

impl Stage {
    async fn run(mut self, mut stopped: watch::Receiver<Option<Instant>>) {
        let shared = self.shared.clone();
        loop {
            self.take_changes();
            let batches = self.next_batches();
            self.commit().await;
            self.publish();
            for (index, notices) in batches {
                self.deliver(index, notices);
            }
            let wake = self.wake();
            tokio::select! {
                () = shared.inbox.arrived() => {}
                Some(ended) = self.deliveries.join_next() => self.take_answers(ended.ok()),
                () = sleep_until(wake) => {}
                _ = stopped.wait_for(Option::is_some) => break,
            }
        }
        let deadline = (*stopped.borrow()).unwrap_or_else(Instant::now);
        self.finish(deadline).await;
    }

    /// The orderly end: nothing new is sent, what is on its way may still arrive.
    async fn finish(mut self, deadline: Instant) {
        self.journal_retry = None;
        self.take_changes();
        self.commit().await;
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline.into(), self.deliveries.join_next()).await {
            self.take_answers(ended.ok());
        }
        self.take_changes();
        self.commit().await;
        self.publish();
    }

    fn take_changes(&mut self) {
        let now = SystemTime::now();
        for change in self.shared.inbox.drain() {
            if let Change::Down(down) = &change {
                for route in &down.subject.routes {
                    if self.state.queue(route).is_none() && self.unknown_routes.len() < 1000 && self.unknown_routes.insert(route.clone()) {
                        let policy = &down.subject.policy;
                        warn!(
                            target: "alarm", route, policy,
                            "a policy names a route that this agent does not have: nobody is told; add a [[route]] of this name"
                        );
                    }
                }
            }
            if let Some(record) = self.state.change(change, now)
                && let Some(journal) = &mut self.journal
            {
                journal.append(&record);
            }
        }
    }

    /// What every idle route sends next, its attempt journaled.
    fn next_batches(&mut self) -> Vec<(usize, Arc<[Notice]>)> {
        let now = Instant::now();
        let mut batches = Vec::new();
        for index in 0..self.couriers.len() {
            let courier = &mut self.couriers[index];
            let Some((notices, record)) = self.state.queue(&courier.name).and_then(|queue| courier.next(queue, now)) else { continue };
            batches.push((index, notices));
            if let Some(record) = record {
                self.record(&record);
            }
        }
        batches
    }

    fn deliver(&mut self, index: usize, notices: Arc<[Notice]>) {
        let route = self.couriers[index].route.clone();
        self.deliveries.spawn(async move {
            let attempt = AssertUnwindSafe(route.deliver(&notices, SystemTime::now())).catch_unwind().await;
            // Without this a fault in a route would leave its batch on its way for ever.
            let answer = attempt.unwrap_or_else(|_| {
                let text = "the route failed inside the agent; please report it".into();
                Err(Failure { text, verdict: FailureVerdict::Unclear, retry_after: None })
            });
            (index, answer)
        });
    }

    /// Takes one answer and all others that are there.
    fn take_answers(&mut self, first: Option<(usize, Result<(), Failure>)>) {
        let mut next = first;
        while let Some((index, answer)) = next {
            let courier = &mut self.couriers[index];
            if let Some(queue) = self.state.queue_mut(&courier.name)
                && let Some(record) = courier.answered(answer, queue, Instant::now())
            {
                self.record(&record);
            }
            next = self.deliveries.try_join_next().and_then(Result::ok);
        }
    }

    fn record(&mut self, record: &Record) {
        self.state.apply(record);
        if let Some(journal) = &mut self.journal {
            journal.append(record);
        }
    }

    /// Brings the batch to the disk. A disk that refuses does not silence alarms: they go out, and the journal is
    /// written anew as soon as it can be.
    async fn commit(&mut self) {
        let Some(mut journal) = self.journal.take_if(|journal| journal.dirty() || journal.wants_rewrite()) else { return };
        if self.journal_retry.is_some_and(|at| at > Instant::now()) {
            self.journal = Some(journal);
            return;
        }
        let snapshot = journal.wants_rewrite().then(|| self.state.encode());
        let written = spawn_blocking(move || {
            let outcome = match snapshot {
                Some(snapshot) => journal.rewrite(&snapshot),
                None => journal.commit(),
            };
            (journal, outcome)
        });
        match written.await {
            Ok((journal, outcome)) => {
                self.journal = Some(journal);
                match outcome {
                    Ok(()) if self.journal_retry.take().is_some() => info!(target: "alarm", "the journal is written again"),
                    Ok(()) => {}
                    Err(error) => self.journal_failed(&error),
                }
            }
            Err(error) => error!(target: "alarm", %error, "the journal is lost: alarms go out, but a restart forgets what was told"),
        }
    }

    fn journal_failed(&mut self, error: &JournalError) {
        if self.journal_retry.is_none() {
            let full = matches!(error, JournalError::Io { source, .. } if source.kind() == ErrorKind::StorageFull);
            let advice = if full { "free some space" } else { "mend the state directory" };
            error!(target: "alarm", %error, "alarms go out without a journal, a crash now would repeat them; {advice}");
        }
        self.journal_retry = Some(Instant::now() + JOURNAL_RETRY);
    }

    /// The queues first: whoever sees an alarm counted also sees what waits because of it.
    fn publish(&self) {
        for courier in &self.couriers {
            if let Some(queue) = self.state.queue(&courier.name) {
                courier.stats.waiting(queue.len(), queue.oldest(), queue.folded);
            }
        }
        self.shared.firing.store(self.state.alarms().firing().len() as u64, Release);
    }

    fn wake(&self) -> Option<Instant> {
        let now = Instant::now();
        let routes = self.couriers.iter().filter_map(|courier| courier.wake(self.state.queue(&courier.name)?, now));
        routes.chain(self.journal_retry).min()
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
