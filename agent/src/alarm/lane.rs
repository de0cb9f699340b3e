//! What one route still has to tell about one address, in order, folded so that it stays small.
//!
//! A lane holds at most what is on its way (or may have arrived) plus one forgotten, one firing and one resolved
//! notice. A recovery that nobody was told of and the outage after it cancel each other: for this route the earlier
//! alarm goes on, and counts what was folded into it. So a receiver that was away for an hour is told what is true
//! now and what it must close, and memory is bounded by addresses, never by time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use super::notice::{Alarm, Kind, Notice, NoticeRef};

/// What the receiver knows to be firing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) alarm: Arc<Alarm>,
    pub(super) folded: u32,
}

/// A notice that is not acknowledged yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) notice: Notice,
    /// Place among all entries of the route.
    pub(super) seq: u64,
    /// Since when it waits.
    pub(super) queued: SystemTime,
    /// Being sent now.
    pub(super) in_flight: bool,
    /// Was sent, and it is not known whether it arrived.
    pub(super) maybe: bool,
    /// Forgotten only: the receiver may hold the alarm open because of an entry that was taken out.
    pub(super) needed: bool,
}

impl Entry {
    fn unsent(&self) -> bool {
        !self.in_flight && !self.maybe
    }

    pub(super) fn is(&self, reference: &NoticeRef) -> bool {
        self.notice.alarm.id == reference.alarm && self.notice.kind == reference.kind
    }
}

/// How a sent notice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver acknowledged it.
    Delivered,
    /// The receiver surely does not have it.
    Declined,
    /// Nobody knows: the answer was lost.
    Unclear,
    /// Given up: the receiver refuses its content.
    Dropped,
}

/// One address on one route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lane {
    pub(super) open: Option<Open>,
    pub(super) pending: VecDeque<Entry>,
}

impl Lane {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_none() && self.pending.is_empty()
    }

    /// Whether the receiver will hold the alarm open once all that is pending was told.
    pub(super) fn ends_firing(&self) -> bool {
        self.pending.back().map_or(self.open.is_some(), |entry| entry.notice.kind == Kind::Firing)
    }

    /// A new alarm. Returns whether it was folded into the one before.
    pub(super) fn firing(&mut self, alarm: &Arc<Alarm>, seq: u64, queued: SystemTime) -> bool {
        if self.ends_firing() {
            return false;
        }
        if self.pending.back().is_some_and(|last| last.notice.kind == Kind::Resolved && last.unsent())
            && let Some(cancelled) = self.pending.pop_back()
        {
            let folded = cancelled.notice.folded.saturating_add(1);
            if let Some(last) = self.pending.back_mut() {
                last.notice.folded = folded;
            } else if let Some(open) = &mut self.open {
                open.folded = folded;
            }
            return true;
        }
        let notice = Notice { alarm: alarm.clone(), kind: Kind::Firing, ended: None, folded: 0 };
        self.push(notice, seq, queued);
        false
    }

    /// The alarm ended. A receiver that was never told of it needs not know.
    pub(super) fn resolved(&mut self, at: SystemTime, seq: u64, queued: SystemTime) {
        let (alarm, folded) = match (self.pending.back(), &self.open) {
            (Some(last), _) if last.notice.kind == Kind::Firing => (last.notice.alarm.clone(), last.notice.folded),
            (None, Some(open)) => (open.alarm.clone(), open.folded),
            _ => return,
        };
        let ended = Some(at.max(alarm.at));
        self.push(Notice { alarm, kind: Kind::Resolved, ended, folded }, seq, queued);
    }

    /// The host is gone: what was not sent is taken back, and a receiver that may hold an alarm open can close it.
    pub(super) fn forgotten(&mut self, at: SystemTime, seq: u64, queued: SystemTime) {
        let last = self.pending.back();
        if last.is_some_and(|last| last.notice.kind == Kind::Forgotten) {
            return;
        }
        let Some(alarm) = last.map(|last| &last.notice.alarm).or(self.open.as_ref().map(|open| &open.alarm)).cloned() else {
            return;
        };
        let ended = Some(at.max(alarm.at));
        self.push(Notice { alarm, kind: Kind::Forgotten, ended, folded: 0 }, seq, queued);
        self.settle();
    }

    /// The entry is on its way.
    pub(super) fn tried(&mut self, reference: &NoticeRef) {
        if let Some(entry) = self.pending.iter_mut().find(|entry| entry.is(reference)) {
            entry.in_flight = true;
        }
    }

    /// The entry's way ended.
    pub(super) fn ended(&mut self, reference: &NoticeRef, outcome: Outcome) {
        let Some(index) = self.pending.iter().position(|entry| entry.is(reference)) else { return };
        match outcome {
            Outcome::Delivered => {
                if let Some(Entry { notice, .. }) = self.pending.remove(index) {
                    self.open = (notice.kind == Kind::Firing).then_some(Open { alarm: notice.alarm, folded: notice.folded });
                }
            }
            Outcome::Declined => self.pending[index].in_flight = false,
            Outcome::Unclear => {
                self.pending[index].in_flight = false;
                self.pending[index].maybe = true;
            }
            Outcome::Dropped => {
                self.pending.remove(index);
                // The end of an alarm that the receiver would not hear of says nothing to it.
                if self.open.is_none() && self.pending.front().is_some_and(|next| next.unsent() && next.notice.kind == Kind::Resolved) {
                    self.pending.pop_front();
                }
            }
        }
        self.settle();
    }

    /// After a crash: whatever was on its way may have arrived.
    pub(super) fn restarted(&mut self) {
        for entry in &mut self.pending {
            entry.maybe |= entry.in_flight;
            entry.in_flight = false;
        }
        self.settle();
    }

    fn push(&mut self, notice: Notice, seq: u64, queued: SystemTime) {
        self.pending.push_back(Entry { notice, seq, queued, in_flight: false, maybe: false, needed: false });
    }

    /// Takes out what the last `forgotten` made moot, and that notice itself when the receiver has nothing to close.
    fn settle(&mut self) {
        let forgotten = |entry: &Entry| entry.notice.kind == Kind::Forgotten;
        let Some(mut index) = self.pending.iter().rposition(forgotten) else { return };
        let start = self.pending.iter().take(index).rposition(forgotten).map_or(0, |earlier| earlier + 1);
        let mut known = None;
        let mut at = start;
        while at < index {
            if self.pending[at].in_flight {
                known = Some((self.pending[at].notice.alarm.clone(), false));
                at += 1;
                continue;
            }
            if let Some(moot) = self.pending.remove(at)
                && moot.maybe
            {
                known = Some((moot.notice.alarm, true));
            }
            index -= 1;
        }
        let on_its_way = index > start;
        let open = if start == 0 { self.open.as_ref().map(|open| open.alarm.clone()) } else { None };
        let entry = &mut self.pending[index];
        if let Some((alarm, needed)) = known {
            entry.notice.alarm = alarm;
            entry.needed |= needed;
        } else if !entry.needed
            && let Some(alarm) = &open
        {
            entry.notice.alarm = alarm.clone();
        }
        if !on_its_way && !entry.needed && open.is_none() && entry.unsent() {
            self.pending.remove(index);
        }
    }
}
