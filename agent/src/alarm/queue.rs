//! What one route still has to tell, over all addresses, oldest first.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::change::Key;
use super::lane::{Entry, Lane, Open, Outcome};
use super::notice::{Alarm, Kind, Notice, NoticeRef};

/// The queue of one route. Bounded by addresses, see the lane's rules.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: HashMap<Key, Lane>,
    /// Every pending entry by its place.
    order: BTreeMap<u64, Key>,
    next: u64,
    /// Outages folded into earlier ones since the start.
    pub(super) folded: u64,
    /// Notices whose content the receiver refused, one for each address at most, for the later ones wait behind it.
    /// Not journaled: a restart tries anew.
    refused: HashMap<Key, Refusal>,
}

#[derive(Debug)]
struct Refusal {
    notice: NoticeRef,
    times: u8,
    again: Instant,
}

impl Queue {
    /// A new alarm.
    pub(super) fn firing(&mut self, alarm: &Arc<Alarm>, queued: SystemTime) {
        let folded = self.edit(&alarm.subject.key(), |lane, seq| lane.firing(alarm, seq, queued));
        self.folded += u64::from(folded);
    }

    /// The address answers again.
    pub(super) fn resolved(&mut self, key: &Key, at: SystemTime, queued: SystemTime) {
        self.edit(key, |lane, seq| lane.resolved(at, seq, queued));
    }

    /// The host is gone.
    pub(super) fn forgotten(&mut self, key: &Key, at: SystemTime, queued: SystemTime) {
        self.edit(key, |lane, seq| lane.forgotten(at, seq, queued));
    }

    /// These are on their way.
    pub(super) fn tried(&mut self, references: &[NoticeRef]) {
        for reference in references {
            self.edit(&reference.key, |lane, _| lane.tried(reference));
        }
    }

    /// Their way ended so.
    pub(super) fn ended(&mut self, references: &[NoticeRef], outcome: Outcome) {
        for reference in references {
            self.edit(&reference.key, |lane, _| lane.ended(reference, outcome));
        }
    }

    /// How often the receiver refused this one.
    pub(super) fn refusals(&self, reference: &NoticeRef) -> u8 {
        self.refused.get(&reference.key).filter(|refusal| refusal.notice == *reference).map_or(0, |refusal| refusal.times)
    }

    /// The receiver refused this one alone. It waits until `again`.
    pub(super) fn refuse(&mut self, reference: NoticeRef, again: Instant) {
        let key = reference.key.clone();
        let refusal = self.refused.entry(key).or_insert(Refusal { notice: reference, times: 0, again });
        refusal.times = refusal.times.saturating_add(1);
        refusal.again = again;
    }

    /// The next notices to send: at most `max`, oldest first, in order for each address. One that was refused before
    /// goes alone, and while it waits only the later ones of its own address wait with it.
    pub(super) fn batch(&self, max: usize, now: Instant) -> Vec<Notice> {
        let mut batch = Vec::new();
        let mut held: HashSet<&Key> = HashSet::new();
        for (seq, key) in &self.order {
            if batch.len() >= max {
                break;
            }
            if held.contains(key) {
                continue;
            }
            let Some(entry) = self.entry(key, *seq) else { continue };
            if let Some(refusal) = self.refused.get(key).filter(|refusal| entry.is(&refusal.notice)) {
                if refusal.again <= now && batch.is_empty() {
                    return vec![entry.notice.clone()];
                }
                held.insert(key);
                continue;
            }
            batch.push(entry.notice.clone());
        }
        batch
    }

    /// When the earliest refused notice may be tried again.
    pub(super) fn again(&self) -> Option<Instant> {
        self.refused.values().map(|refusal| refusal.again).min()
    }

    /// Notices that wait or are on their way.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Since when the oldest waits.
    pub(super) fn oldest(&self) -> Option<SystemTime> {
        let (seq, key) = self.order.first_key_value()?;
        self.entry(key, *seq).map(|entry| entry.queued)
    }

    /// What the receiver knows to be firing and is not about to be told otherwise.
    pub(super) fn open(&self) -> impl Iterator<Item = (&Key, &Open)> {
        self.lanes.iter().filter_map(|(key, lane)| Some((key, lane.open.as_ref().filter(|_| lane.pending.is_empty())?)))
    }

    /// The firing notice to repeat for this address, if it is still true.
    pub(super) fn repeat(&self, key: &Key) -> Option<Notice> {
        let lane = self.lanes.get(key).filter(|lane| lane.pending.is_empty())?;
        let open = lane.open.as_ref()?;
        Some(Notice { alarm: open.alarm.clone(), kind: Kind::Firing, ended: None, folded: open.folded })
    }

    /// Whether the receiver holds, or will hold, an alarm of this address open.
    pub(super) fn ends_firing(&self, key: &Key) -> bool {
        self.lanes.get(key).is_some_and(Lane::ends_firing)
    }

    /// Whether anything is known of this address.
    pub(super) fn knows(&self, key: &Key) -> bool {
        self.lanes.contains_key(key)
    }

    /// The addresses of which anything is known.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.lanes.keys()
    }

    /// All lanes, those that wait longest first: what a snapshot writes.
    pub(super) fn lanes(&self) -> Vec<(&Key, &Lane)> {
        let mut lanes: Vec<_> = self.lanes.iter().collect();
        lanes.sort_by_key(|(key, lane)| (lane.pending.front().map_or(u64::MAX, |entry| entry.seq), *key));
        lanes
    }

    /// Takes a lane as a snapshot wrote it.
    pub(super) fn restore(&mut self, key: &Key, restored: Lane) {
        let mut next = self.next;
        self.edit(key, |lane, _| {
            *lane = restored;
            for entry in &mut lane.pending {
                entry.seq = next;
                next += 1;
            }
        });
        self.next = self.next.max(next);
    }

    /// After a crash: whatever was on its way may have arrived.
    pub(super) fn restarted(&mut self) {
        self.folded = 0;
        let keys: Vec<Key> = self.order.values().cloned().collect();
        for key in keys {
            self.edit(&key, |lane, _| lane.restarted());
        }
    }

    fn entry(&self, key: &Key, seq: u64) -> Option<&Entry> {
        self.lanes.get(key)?.pending.iter().find(|entry| entry.seq == seq)
    }

    /// Changes one lane and keeps `order` true to it.
    fn edit<T>(&mut self, key: &Key, change: impl FnOnce(&mut Lane, u64) -> T) -> T {
        let lane = self.lanes.entry(key.clone()).or_default();
        let before: Vec<u64> = lane.pending.iter().map(|entry| entry.seq).collect();
        let outcome = change(lane, self.next);
        self.next += 1;
        for entry in &lane.pending {
            if !before.contains(&entry.seq) {
                self.order.insert(entry.seq, key.clone());
            }
        }
        for seq in before {
            if !lane.pending.iter().any(|entry| entry.seq == seq) {
                self.order.remove(&seq);
            }
        }
        if self.refused.get(key).is_some_and(|refusal| !lane.pending.iter().any(|entry| entry.is(&refusal.notice))) {
            self.refused.remove(key);
        }
        if lane.is_empty() {
            self.lanes.remove(key);
        }
        outcome
    }
}
