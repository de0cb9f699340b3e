//! What came of the engine's notes: turns become changes and those alarms, by the code that the agent runs, without its queues.

use std::sync::Arc;

use rollcall_agent::alarm::{Alarms, Change, Effect, Key};
use rollcall_agent::clock::{Mono, from_unix_ms};
use rollcall_agent::engine::{Note, Turned};
use rollcall_agent::roster::Roster;
use rollcall_agent::tell;
use rollcall_agent::unit::Verdict;

/// What was told of an address, and when.
#[derive(Clone, Debug)]
pub struct Told {
    /// By the simulation's clock.
    pub at: Mono,
    /// Of whom.
    pub key: Key,
    /// What: `down`, `resolved` or `forgotten`, as the routes say it.
    pub what: &'static str,
}

/// The ledger.
#[derive(Default)]
pub struct Ledger {
    roster: Arc<Roster>,
    alarms: Alarms,
    /// All that was told, in order.
    pub told: Vec<Told>,
}

impl Ledger {
    pub(super) fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// Takes one note.
    pub(super) fn take(&mut self, note: Note, now: Mono) {
        match note {
            Note::Roster(roster, gone) => {
                self.roster = roster;
                gone.into_iter().for_each(|key| self.change(Change::Forgotten { key, at: from_unix_ms(wall(now)) }, now));
            }
            Note::Turn(turned) => {
                if let Some(change) = self.changed(turned) {
                    self.change(change, now);
                }
            }
            Note::Condition(_) | Note::Sight(_) | Note::Done(..) | Note::Spent(_) => {}
        }
    }

    fn changed(&self, turned: Turned) -> Option<Change> {
        let record = self.roster.record(turned.slot)?;
        match turned.to {
            Verdict::Down => Some(Change::Down(tell::down(&self.roster, &record, turned))),
            Verdict::Up => {
                let network = self.roster.table.network(record.network()).to_owned();
                Some(Change::Up { key: Key { network, address: record.address() }, at: from_unix_ms(turned.at_ms) })
            }
            Verdict::Pending | Verdict::Suspect | Verdict::Unknown => None,
        }
    }

    fn change(&mut self, change: Change, now: Mono) {
        let key = change.key();
        let what = match self.alarms.apply(change, from_unix_ms(wall(now))) {
            Effect::Nothing | Effect::Forgotten { alarm: None, .. } => return,
            Effect::Fired(_) => "down",
            Effect::Resolved { .. } => "resolved",
            Effect::Forgotten { alarm: Some(_), .. } => "forgotten",
        };
        self.told.push(Told { at: now, key, what });
    }
}

/// The wall clock of a simulation.
pub(super) fn wall(now: Mono) -> u64 {
    now.nanos() / 1_000_000
}
