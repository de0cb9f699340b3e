//! A task for each source: asks it at every interval, and passes on what it tells in between.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::words::{Word, Words};
use crate::source::Source;

/// From the start of a list, which `took` so long, to that of the next. What changes just after it was listed is seen at the end of the
/// next list: where nobody tells of changes that one begins early enough to be over by the interval, but no sooner than after half of
/// it. A platform that takes nearly as long as the interval, or longer, is left in peace for a while all the same.
fn pause(interval: Duration, took: Duration, told: bool) -> Duration {
    let wanted = if told { interval } else { interval.saturating_sub(took + took / 8).max(interval / 2) };
    wanted.max(took + interval / 4)
}

/// Listens to a source as long as the process runs.
pub async fn listen(at: usize, mut source: Box<dyn Source>, interval: Duration, words: Arc<Words>) {
    loop {
        let began = tokio::time::Instant::now();
        let mut meanwhile = |listing| words.say(Word { source: at, listing: Ok(listing), is_change: true });
        let listing = source.list(&mut meanwhile).await;
        words.say(Word { source: at, listing, is_change: false });
        let told = source.notifications().is_some_and(|standing| standing.connected.load(Ordering::Relaxed));
        let next = began + pause(interval, began.elapsed(), told);
        loop {
            let changed = async {
                // Whatever comes until the last change was heard is then told as one.
                words.heard(at).await;
                source.changed().await;
            };
            tokio::select! {
                () = tokio::time::sleep_until(next) => break,
                () = changed => {}
            }
            // Both may be: it changed, and there is more that only a list tells.
            if let Some(listing) = source.known() {
                words.say(Word { source: at, listing: Ok(listing), is_change: true });
            }
            if source.wants_list() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
