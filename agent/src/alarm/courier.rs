//! One route at work: what it sends next, and what an answer means for the queue. Time is an argument.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::backoff::Backoff;
use super::config::{RouteConfig, RouteMistake};
use super::lane::Outcome;
use super::notice::{Notice, NoticeRef};
use super::queue::Queue;
use super::record::Record;
use super::resend::Resend;
use super::route::alertmanager::REPEAT_RESOLVED;
use super::route::{Failure, FailureVerdict, Route};
use super::stats::RouteStats;

/// A notice whose content the receiver refused so often is given up.
const REFUSALS: u8 = 5;
/// A route that keeps failing for the same reason says so again after this long.
const REMIND: Duration = Duration::from_secs(300);

/// A route, and how it fares.
#[derive(Debug)]
pub(super) struct Courier {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) route: Arc<Route>,
    pub(super) stats: Arc<RouteStats>,
    max_batch: usize,
    /// Smaller than `max_batch` while it looks for the one notice that the receiver refuses.
    limit: usize,
    backoff: Backoff,
    wait_until: Option<Instant>,
    sent: Option<Sent>,
    resend: Option<Resend>,
    /// Why the last attempt failed, and when that was last logged.
    trouble: Option<(String, Instant)>,
}

/// A batch on its way.
#[derive(Debug)]
struct Sent {
    notices: Arc<[Notice]>,
    /// From the queue, so its end is journaled; otherwise a repetition.
    queued: bool,
}

impl Courier {
    pub(super) fn open(config: &RouteConfig, now: Instant) -> Result<Courier, RouteMistake> {
        let route = Arc::new(Route::open(config)?);
        let (max_batch, backoff, resend) = match config {
            RouteConfig::Log(_) => (1000, Backoff::new(Duration::from_secs(1), Duration::from_secs(1)), None),
            RouteConfig::Webhook(c) => (c.max_batch, Backoff::new(c.retry_min, c.retry_max), None),
            RouteConfig::Alertmanager(c) => {
                let resend = Resend::new(c.resend, REPEAT_RESOLVED, now);
                (c.max_batch, Backoff::new(c.retry_min, c.retry_max), Some(resend))
            }
        };
        Ok(Courier {
            name: config.name().to_owned(),
            kind: config.kind(),
            route,
            stats: Arc::default(),
            max_batch,
            limit: max_batch,
            backoff,
            wait_until: None,
            sent: None,
            resend,
            trouble: None,
        })
    }

    /// Takes the next batch, if it is time for one. The record, if any, must be in the journal before it is sent.
    pub(super) fn next(&mut self, queue: &Queue, now: Instant) -> Option<(Arc<[Notice]>, Option<Record>)> {
        if self.sent.is_some() || self.wait_until.is_some_and(|until| until > now) {
            return None;
        }
        self.wait_until = None;
        let mut notices = queue.batch(self.limit, now);
        let queued = !notices.is_empty();
        if !queued && let Some(resend) = &mut self.resend {
            notices = resend.batch(queue, self.max_batch, now);
        }
        if notices.is_empty() {
            return None;
        }
        let record = queued.then(|| Record::Tried { route: self.name.clone(), notices: references(&notices) });
        let notices: Arc<[Notice]> = notices.into();
        self.sent = Some(Sent { notices: notices.clone(), queued });
        Some((notices, record))
    }

    /// When to ask [`Courier::next`] again though nothing happened.
    pub(super) fn wake(&self, queue: &Queue, now: Instant) -> Option<Instant> {
        if self.sent.is_some() {
            return None;
        }
        if self.wait_until.is_some() {
            return self.wait_until;
        }
        let resend = self.resend.as_ref().map(|resend| resend.due(now));
        queue.again().into_iter().chain(resend).min()
    }

    /// Takes the answer to the batch that was on its way. Returns what is to be journaled and applied.
    pub(super) fn answered(&mut self, answer: Result<(), Failure>, queue: &mut Queue, now: Instant) -> Option<Record> {
        let Sent { notices, queued } = self.sent.take()?;
        match answer {
            Ok(()) => {
                self.recovered(queue.len());
                self.limit = self.max_batch.min(self.limit.saturating_mul(2));
                self.backoff.reset();
                if !queued {
                    return None;
                }
                self.stats.delivered.fetch_add(notices.len() as u64, Relaxed);
                if let Some(resend) = &mut self.resend {
                    resend.delivered(&notices, now);
                }
                Some(Record::ended(&self.name, references(&notices), Outcome::Delivered))
            }
            Err(failure) => self.failed(failure, &notices, queued, queue, now),
        }
    }

    fn failed(&mut self, failure: Failure, notices: &[Notice], queued: bool, queue: &mut Queue, now: Instant) -> Option<Record> {
        self.stats.failed_attempts.fetch_add(1, Relaxed);
        self.stats.failing.store(true, Relaxed);
        let refused = failure.verdict == FailureVerdict::Refused;
        let searching = refused && queued && notices.len() > 1;
        if searching {
            // Which one of them? Half of them next, at once.
            self.limit = (notices.len() / 2).max(1);
        } else {
            let wait = self.backoff.next(&mut rand::rng()).max(failure.retry_after.unwrap_or_default());
            self.wait_until = Some(now + wait);
        }
        self.say(&failure.text, queue.len(), now);
        if !queued {
            if let Some(resend) = self.resend.as_mut().filter(|_| !refused) {
                resend.failed(notices);
            }
            return None;
        }
        let outcome = match failure.verdict {
            FailureVerdict::Unclear => Outcome::Unclear,
            FailureVerdict::Declined => Outcome::Declined,
            FailureVerdict::Refused => self.refused(notices, queue, &failure, now),
        };
        Some(Record::ended(&self.name, references(notices), outcome))
    }

    /// One notice that was refused alone is tried some times more, apart from the others, and then given up.
    fn refused(&mut self, notices: &[Notice], queue: &mut Queue, failure: &Failure, now: Instant) -> Outcome {
        let [notice] = notices else { return Outcome::Declined };
        self.limit = self.max_batch;
        let before = queue.refusals(&notice.reference());
        if before + 1 < REFUSALS {
            queue.refuse(notice.reference(), now + self.backoff.after(u32::from(before) + 1));
            return Outcome::Declined;
        }
        self.stats.dropped.fetch_add(1, Relaxed);
        error!(
            target: "alarm",
            route = self.name,
            id = notice.id(),
            summary = notice.summary(),
            reason = failure.text,
            "given up: the receiver refused this notice {REFUSALS} times; it was told to nobody on this route"
        );
        Outcome::Dropped
    }

    /// A failing route is said to fail once, again when the reason changes, and now and then while it lasts.
    fn say(&mut self, text: &str, queued: usize, now: Instant) {
        let known = self.trouble.as_ref().is_some_and(|(last, at)| last == text && now.saturating_duration_since(*at) < REMIND);
        if !known {
            warn!(target: "alarm", route = self.name, queued, reason = text, "alarms cannot be delivered; they are kept and tried again");
            self.trouble = Some((text.to_owned(), now));
        }
    }

    fn recovered(&mut self, queued: usize) {
        self.stats.failing.store(false, Relaxed);
        if self.trouble.take().is_some() {
            info!(target: "alarm", route = self.name, queued, "alarms are delivered again");
        }
    }
}

fn references(notices: &[Notice]) -> Vec<NoticeRef> {
    notices.iter().map(Notice::reference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::{Change, sample, state::State};

    const POISON: &str = "i-10.0.0.6";

    fn courier() -> (Courier, State, Instant) {
        let config = "type = \"webhook\"\nname = \"pager\"\nurl = \"http://127.0.0.1:9/\"\nretry_min = \"1s\"\nmax_batch = 8";
        let now = Instant::now();
        let mut state = State::default();
        state.finish(&["pager"], sample::at(1_000));
        for host in 1..=20 {
            state.change(Change::Down(sample::down(&format!("10.0.0.{host}"), 1_000)), sample::at(1_000));
        }
        (Courier::open(&toml::from_str(config).unwrap(), now).unwrap(), state, now)
    }

    fn next(courier: &mut Courier, state: &mut State, now: Instant) -> Option<Arc<[Notice]>> {
        let (notices, record) = courier.next(state.queue("pager").unwrap(), now)?;
        state.apply(&record.unwrap());
        assert!(courier.next(state.queue("pager").unwrap(), now).is_none(), "one batch at a time");
        Some(notices)
    }

    fn answer(courier: &mut Courier, state: &mut State, answer: Result<(), Failure>, now: Instant) {
        let record = courier.answered(answer, state.queue_mut("pager").unwrap(), now).unwrap();
        state.apply(&record);
    }

    fn failure(verdict: FailureVerdict, retry_after: Option<Duration>) -> Result<(), Failure> {
        Err(Failure { text: "no".into(), verdict, retry_after })
    }

    #[test]
    fn a_receiver_that_asks_for_time_is_given_it_and_then_gets_the_same_batch() {
        let (mut courier, mut state, now) = courier();
        let first = next(&mut courier, &mut state, now).unwrap();
        answer(&mut courier, &mut state, failure(FailureVerdict::Declined, Some(Duration::from_secs(7))), now);
        assert!(next(&mut courier, &mut state, now + Duration::from_millis(6_999)).is_none());
        assert_eq!(courier.wake(state.queue("pager").unwrap(), now), Some(now + Duration::from_secs(7)));
        assert_eq!(next(&mut courier, &mut state, now + Duration::from_secs(7)).unwrap(), first);
        answer(&mut courier, &mut state, failure(FailureVerdict::Unclear, None), now);
        assert!(next(&mut courier, &mut state, now).is_none());
        assert_eq!(next(&mut courier, &mut state, now + Duration::from_secs(2)).unwrap(), first);
    }

    #[test]
    fn the_one_notice_that_is_refused_is_found_tried_apart_and_given_up() {
        let (mut courier, mut state, mut now) = courier();
        let (mut told, mut alone) = (0, 0);
        for _ in 0..100 {
            now += Duration::from_secs(60);
            let Some(notices) = next(&mut courier, &mut state, now) else { break };
            let poisoned = notices.iter().any(|notice| notice.alarm.subject.id == POISON);
            alone += u8::from(poisoned && notices.len() == 1);
            told += if poisoned { 0 } else { notices.len() };
            let verdict = if poisoned { failure(FailureVerdict::Refused, None) } else { Ok(()) };
            answer(&mut courier, &mut state, verdict, now);
        }
        assert_eq!((told, alone), (19, REFUSALS));
        let report = courier.stats.report("pager", "webhook");
        assert_eq!((report.delivered, report.dropped, state.queue("pager").unwrap().len()), (19, 1, 0));
    }
}
