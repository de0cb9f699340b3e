//! What the stages decided to tell, as changes of the alarms, events, and conditions that the view shows.

use tracing::{info, warn};

use super::events::{Begun, Remembered};
use super::{Teller, subject};
use crate::alarm::{Blindness, Change, Fall, Key, Matter, NO_ADDRESS, Seen, Told, What, group_of};
use crate::clock::from_unix_ms;
use crate::table::Record;
use crate::unit::Condition;

impl Teller {
    /// Says all that is to be told.
    pub(super) fn say(&mut self) {
        let mut told = std::mem::take(&mut self.told);
        for one in told.drain(..) {
            self.say_one(one);
        }
        // A storm leaves a list that nobody needs again.
        told.shrink_to(1024);
        self.told = told;
    }

    fn say_one(&self, told: Told) {
        match told {
            Told::Down { who, fall } => {
                if let Some(record) = self.roster.record(who) {
                    self.alarms.send(Change::Down(subject::address(&self.roster, &record, Matter::Down, fall)));
                }
            }
            Told::Up { who, at_ms } => {
                if let Some(record) = self.roster.record(who) {
                    self.end(&record, What::Down, at_ms);
                }
            }
            Told::Flapping { who, changes, at_ms } => {
                let Some(record) = self.roster.record(who) else { return };
                self.mark(who, &record, Condition::Flapping, true, at_ms);
                let matter = Matter::Flapping { changes, window: self.flapping };
                let fall = Fall { at_ms, since_ms: at_ms, ..Fall::default() };
                self.alarms.send(Change::Down(subject::address(&self.roster, &record, matter, fall)));
            }
            Told::Stable { who, at_ms } => {
                let Some(record) = self.roster.record(who) else { return };
                self.mark(who, &record, Condition::Flapping, false, at_ms);
                self.end(&record, What::Flapping, at_ms);
            }
            Told::Outage { outbreak, .. } => {
                let (scope, group, silent, watched) = (outbreak.group.scope(), outbreak.group.name(), outbreak.silent, outbreak.watched);
                warn!(target: "alarm", %scope, group, silent, watched, "many addresses fell silent at once: they are one alarm");
                self.alarms.send(Change::Down(subject::outage(&self.roster, outbreak)));
            }
            Told::Over { group, wave, at_ms } => {
                info!(target: "alarm", scope = %group.scope(), group = group.name(), "the outage is over: few of its addresses are silent any more");
                let network = group.network().unwrap_or_default().to_owned();
                let key = Key { network, address: NO_ADDRESS, what: What::Outage, group: group_of(group.scope(), &group.name(), wave) };
                self.alarms.send(Change::Up { key, at: from_unix_ms(at_ms) });
            }
        }
    }

    /// Says that the agent cannot see, or can again.
    pub(super) fn say_seen(&self, seen: Seen, at_ms: u64) {
        let alarm = |blindness: Blindness| {
            let Blindness { networks, reason, since_ms } = blindness;
            let network = if let [one] = &networks[..] { one.clone() } else { String::new() };
            subject::of_nobody(&network, Matter::Blind { reason, networks }, self.routes.clone(), since_ms, at_ms)
        };
        let change = match seen {
            Seen::Blind(blindness) => Change::Down(alarm(blindness)),
            Seen::Sees(blindness) => Change::Up { key: alarm(blindness).subject.key(), at: from_unix_ms(at_ms) },
        };
        self.alarms.send(change);
    }

    /// An alarm of an address is over.
    pub(super) fn end(&self, record: &Record, what: What, at_ms: u64) {
        let key = Key::new(self.roster.table.network(record.network()), record.address()).with(what);
        self.alarms.send(Change::Up { key, at: from_unix_ms(at_ms) });
    }

    /// Shows a condition that began or ended, and has it among the events. False: it was known.
    pub(super) fn mark(&self, slot: u32, record: &Record, condition: Condition, holds: bool, at_ms: u64) -> bool {
        if !self.view.marks.set(slot, condition, holds) {
            return false;
        }
        let shown = self.view.shown(slot, self.roster.network(record));
        let policy = self.policies[usize::from(record.policy())].0.clone();
        let (from, to, blind, begun) = (shown.verdict, shown.verdict, shown.blind, Begun::new(condition, holds));
        self.events.push(Remembered { at_ms, policy, slot, from, to, blind, begun }, &self.roster.table, record);
        true
    }
}
