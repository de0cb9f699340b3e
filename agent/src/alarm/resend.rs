//! What an Alertmanager wants to hear again: firing alerts until they end, resolved ones for some minutes.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::change::Key;
use super::notice::{Kind, Notice};
use super::queue::Queue;

/// The rounds of repetition of one route. In memory alone: a restart begins with a round, and what had been resolved
/// before it was acknowledged once.
#[derive(Debug)]
pub(super) struct Resend {
    every: Duration,
    keep_resolved: Duration,
    due: Instant,
    /// What is left of this round.
    todo: VecDeque<Key>,
    /// Ends that were acknowledged, and until when they are repeated.
    resolved: HashMap<Key, (Notice, Instant)>,
}

impl Resend {
    pub(super) fn new(every: Duration, keep_resolved: Duration, now: Instant) -> Resend {
        Resend { every, keep_resolved, due: now, todo: VecDeque::new(), resolved: HashMap::new() }
    }

    /// The receiver acknowledged these from the queue.
    pub(super) fn delivered(&mut self, notices: &[Notice], now: Instant) {
        for notice in notices {
            let key = notice.alarm.subject.key();
            if notice.kind == Kind::Firing {
                self.resolved.remove(&key);
            } else {
                self.resolved.insert(key, (notice.clone(), now + self.keep_resolved));
            }
        }
    }

    /// The next part of a round, at most `max`; empty when nothing is to be repeated now.
    pub(super) fn batch(&mut self, queue: &Queue, max: usize, now: Instant) -> Vec<Notice> {
        if self.todo.is_empty() && now >= self.due {
            self.due = now + self.every;
            self.resolved.retain(|_, (_, until)| *until > now);
            self.todo.extend(queue.open().map(|(key, _)| key.clone()));
            self.todo.extend(self.resolved.keys().cloned());
        }
        let mut batch = Vec::new();
        while batch.len() < max
            && let Some(key) = self.todo.pop_front()
        {
            let resolved = || Some(self.resolved.get(&key)?.0.clone()).filter(|_| !queue.knows(&key));
            batch.extend(queue.repeat(&key).or_else(resolved));
        }
        batch
    }

    /// These did not arrive: they are next again.
    pub(super) fn failed(&mut self, notices: &[Notice]) {
        for notice in notices.iter().rev() {
            self.todo.push_front(notice.alarm.subject.key());
        }
    }

    /// When there is something to do.
    pub(super) fn due(&self, now: Instant) -> Instant {
        if self.todo.is_empty() { self.due } else { now }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::alarm::lane::Outcome;
    use crate::alarm::notice::Alarm;
    use crate::alarm::sample;

    fn told(queue: &mut Queue, resend: &mut Resend, now: Instant) {
        let notices = queue.batch(100, now);
        let references: Vec<_> = notices.iter().map(Notice::reference).collect();
        queue.tried(&references);
        queue.ended(&references, Outcome::Delivered);
        resend.delivered(&notices, now);
    }

    #[test]
    fn firing_is_repeated_each_round_and_its_end_for_five_minutes_only() {
        let start = Instant::now();
        let minute = Duration::from_secs(60);
        let mut queue = Queue::default();
        let mut resend = Resend::new(minute, 5 * minute, start);
        for host in 1..=3 {
            queue.firing(&Arc::new(Alarm::from(sample::down(&format!("10.0.0.{host}"), 1_000))), sample::at(1_000));
        }
        assert!(resend.batch(&queue, 100, start).is_empty(), "what was never told is not repeated");
        told(&mut queue, &mut resend, start);
        assert!(resend.batch(&queue, 100, start + minute / 2).is_empty());
        let round = start + minute;
        let first = resend.batch(&queue, 2, round);
        assert_eq!((first.len(), resend.batch(&queue, 2, round).len(), resend.batch(&queue, 2, round).len()), (2, 1, 0));
        resend.failed(&first);
        assert_eq!(resend.batch(&queue, 2, round).len(), 2, "what failed comes again");

        queue.resolved(&sample::key("10.0.0.1"), sample::at(1_060), sample::at(1_060));
        assert_eq!(resend.batch(&queue, 100, round + minute).len(), 2, "an end that waits in the queue silences its alert");
        told(&mut queue, &mut resend, round + minute);
        for later in 2..=5 {
            let mut kinds: Vec<_> = resend.batch(&queue, 100, round + later * minute).iter().map(|notice| notice.kind).collect();
            kinds.sort();
            assert_eq!(kinds, [Kind::Firing, Kind::Firing, Kind::Resolved], "{later} minutes later");
        }
        assert_eq!(resend.batch(&queue, 100, round + 6 * minute).len(), 2);
    }
}
