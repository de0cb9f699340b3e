//! The start: what the journal says is made to agree with the routes and with the engine, before anything is told.

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tracing::{info, warn};

use super::change::{Change, Key};
use super::config::{RouteConfig, RouteMistake, mistakes};
use super::courier::Courier;
use super::journal::{self, Journal, JournalError};
use super::notice::Alarm;
use super::service::Service;
use super::state::{Replay, State};

/// Why the stage does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Routes that are configured wrongly: all of them, one a line.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Routes(Vec<RouteMistake>),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The stage as it was left, before it goes on. Nothing is told until [`Recovery::start`].
#[derive(Debug)]
pub struct Recovery {
    /// The alarms that fire: the engine takes their addresses to be down until a reply says otherwise.
    pub firing: Vec<Arc<Alarm>>,
    /// Other addresses about which something still waits to be told.
    pub waiting: Vec<Key>,
    state: State,
    journal: Journal,
    couriers: Vec<Courier>,
}

impl Recovery {
    /// Opens the routes and reads the journal of the state directory.
    pub fn read(routes: &[RouteConfig], state_dir: &Path) -> Result<Recovery, StartError> {
        let couriers = open_routes(routes).map_err(StartError::Routes)?;
        let names: Vec<&str> = routes.iter().map(RouteConfig::name).collect();
        let (mut journal, bytes) = Journal::open(state_dir)?;
        let state = recover(&journal, &bytes, &names)?;
        journal.rewrite(&state.encode())?;
        let firing = state.alarms().firing().map(|(_, alarm)| alarm.clone()).collect();
        let waiting = state.waiting().into_iter().collect();
        Ok(Recovery { firing, waiting, state, journal, couriers })
    }

    /// Starts telling, after these changes: a `Forgotten` for every address of `firing` and `waiting` that the table no
    /// longer has. Must be called inside a tokio runtime.
    pub fn start(self, changes: impl IntoIterator<Item = Change>) -> Service {
        let Recovery { mut state, mut journal, couriers, .. } = self;
        let now = SystemTime::now();
        for change in changes {
            if let Some(record) = state.change(change, now) {
                journal.append(&record);
            }
        }
        Service::run(state, journal, couriers)
    }
}

/// Every mistake of these routes: secrets are read and clients are made, but nobody is called.
pub fn check_routes(routes: &[RouteConfig]) -> Vec<RouteMistake> {
    open_routes(routes).err().unwrap_or_default()
}

fn open_routes(routes: &[RouteConfig]) -> Result<Vec<Courier>, Vec<RouteMistake>> {
    let mut mistakes = mistakes(routes);
    let now = Instant::now();
    let mut couriers = Vec::new();
    for route in routes {
        match Courier::open(route, now) {
            Ok(courier) => couriers.push(courier),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    if mistakes.is_empty() { Ok(couriers) } else { Err(mistakes) }
}

/// Rebuilds the state from the journal's bytes, and says what was wrong with them.
fn recover(journal: &Journal, bytes: &[u8], routes: &[&str]) -> Result<State, JournalError> {
    let mut replay = Replay::default();
    let take = |record| replay.take(record).map_err(|id| format!("it names alarm {id}, which no line before it has"));
    let path = journal.path().display();
    let health = journal::read(bytes, take).map_err(|found| JournalError::Version { path: journal.path().to_owned(), found })?;
    if health.torn > 0 {
        warn!(target: "alarm", journal = %path, bytes = health.torn, "the last line was cut short by a crash; it is left out");
    }
    if health.damaged_lines > 0 {
        let aside = match journal.keep_aside(bytes, SystemTime::now()) {
            Ok(copy) => format!("a copy is kept in {}", copy.display()),
            Err(error) => format!("no copy could be kept: {error}"),
        };
        for (line, why) in &health.damaged {
            warn!(target: "alarm", journal = %path, line, "damaged line left out: {why}");
        }
        warn!(
            target: "alarm", journal = %path, lines = health.damaged_lines,
            "the journal was damaged; alarms of the lines left out are raised again by the next verdict; {aside}"
        );
    }
    let mut state = replay.state;
    let found = state.finish(routes, SystemTime::now());
    for (route, notices) in &found.orphaned {
        warn!(target: "alarm", route, notices, "notices dropped: they waited for a route that is no longer configured");
    }
    info!(
        target: "alarm", journal = %path, records = health.records, firing = state.alarms().firing().len(),
        told_late = found.told_late, revived = found.revived, "journal read"
    );
    Ok(state)
}
