//! What the sources say, on its way to the controller. A word takes the place of an older one of its kind: however much is told while a
//! plan is made, of each source only what is newest waits, and is planned at once.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::source::{Listing, SourceError};

/// What a source says.
#[derive(Debug)]
pub struct Word {
    /// Its place in the configuration.
    pub source: usize,
    /// All its hosts, or why it cannot tell them.
    pub listing: Result<Listing, SourceError>,
    /// It was told of single changes, and did not list everything.
    pub is_change: bool,
}

/// Words that nobody heard yet, oldest first: at most two of each source.
#[derive(Debug, Default)]
pub struct Words {
    waiting: Mutex<Vec<Word>>,
    said: Notify,
    heard: Notify,
}

impl Words {
    /// Says one; waits for nobody.
    pub fn say(&self, word: Word) {
        let mut waiting = self.waiting();
        waiting.retain(|older| (older.source, older.is_change) != (word.source, word.is_change));
        waiting.push(word);
        drop(waiting);
        self.said.notify_one();
    }

    /// All that wait, as soon as there is one. Dropping the future loses none.
    pub async fn hear(&self) -> Vec<Word> {
        loop {
            let words = self.rest();
            if !words.is_empty() {
                return words;
            }
            self.said.notified().await;
        }
    }

    /// All that wait now.
    pub fn rest(&self) -> Vec<Word> {
        let words = std::mem::take(&mut *self.waiting());
        self.heard.notify_waiters();
        words
    }

    /// Waits until no change of this source waits: who puts a listing together sooner does it for nothing.
    pub async fn heard(&self, source: usize) {
        loop {
            let mut heard = std::pin::pin!(self.heard.notified());
            heard.as_mut().enable();
            if !self.waiting().iter().any(|word| word.source == source && word.is_change) {
                return;
            }
            heard.await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Word>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::source::Entry;

    fn word(source: usize, is_change: bool, hosts: usize) -> Word {
        let hosts = (0..hosts).map(|_| Entry::default()).collect();
        Word { source, listing: Ok(Listing { hosts, warnings: vec![] }), is_change }
    }

    #[tokio::test]
    async fn of_each_source_only_the_newest_list_and_the_newest_change_wait_in_the_order_in_which_they_came() {
        let words = Words::default();
        for (source, is_change, hosts) in [(0, true, 1), (0, false, 2), (1, true, 3), (0, true, 4), (1, true, 5)] {
            words.say(word(source, is_change, hosts));
        }
        let heard = words.hear().await;
        let heard: Vec<_> = heard.iter().map(|word| (word.source, word.is_change, word.listing.as_ref().unwrap().hosts.len())).collect();
        assert_eq!(heard, [(0, false, 2), (0, true, 4), (1, true, 5)]);
        assert!(words.rest().is_empty());
        assert!(tokio::time::timeout(Duration::from_millis(20), words.hear()).await.is_err());
    }

    #[tokio::test]
    async fn source_waits_until_its_change_was_heard_and_not_for_those_of_others() {
        let words = Words::default();
        words.say(word(0, true, 1));
        words.say(word(1, false, 1));
        words.heard(1).await;
        assert!(tokio::time::timeout(Duration::from_millis(20), words.heard(0)).await.is_err());
        let ((), heard) = tokio::join!(words.heard(0), words.hear());
        assert_eq!(heard.len(), 2);
    }
}
