//! The way from the engine's thread to the stage: never waits for the disk or the network, and stays small.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::change::{Change, Key};

/// Below this many changes nothing is folded.
const FOLD_FROM: usize = 4096;

/// Changes on their way.
#[derive(Debug)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug)]
struct Waiting {
    changes: Vec<Change>,
    /// Length at which they are folded next: so folding costs a constant share of each change.
    fold_at: usize,
}

impl Inbox {
    pub(super) fn new() -> Inbox {
        let waiting = Mutex::new(Waiting { changes: Vec::new(), fold_at: FOLD_FROM });
        Inbox { waiting, arrived: Notify::new() }
    }

    /// Takes a change. Holds a lock only as long as it takes to put it into a list.
    pub(super) fn send(&self, change: Change) {
        let mut waiting = self.lock();
        waiting.changes.push(change);
        if waiting.changes.len() >= waiting.fold_at {
            let folded = fold(std::mem::take(&mut waiting.changes));
            waiting.fold_at = FOLD_FROM.max(2 * folded.len());
            waiting.changes = folded;
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// All that arrived, in order.
    pub(super) fn drain(&self) -> Vec<Change> {
        let mut waiting = self.lock();
        waiting.fold_at = FOLD_FROM;
        std::mem::take(&mut waiting.changes)
    }

    /// Waits until something arrived since the last wait.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // A panic while the list is held leaves a list: alarms go on.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// At most four changes for each address, in order, with the same outcome: what came before a `Forgotten` is moot,
/// and of a long run of down and up the first and the last say it.
fn fold(changes: Vec<Change>) -> Vec<Change> {
    let mut places: HashMap<Key, Vec<usize>> = HashMap::new();
    let mut kept: Vec<Option<Change>> = Vec::with_capacity(changes.len());
    for change in changes {
        let own = places.entry(change.key()).or_default();
        if matches!(change, Change::Forgotten { .. }) {
            own.drain(..).for_each(|place| kept[place] = None);
        } else if own.len() == 4 {
            own.drain(1..3).for_each(|place| kept[place] = None);
        }
        own.push(kept.len());
        kept.push(Some(change));
    }
    kept.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::{Alarms, sample};

    #[test]
    fn a_million_changes_of_a_few_addresses_take_the_room_of_a_few() {
        let inbox = Inbox::new();
        for round in 0..100_000 {
            for host in 1..=5 {
                let address = format!("10.0.0.{host}");
                inbox.send(Change::Down(sample::down(&address, 1_000 + round)));
                inbox.send(Change::Up { key: sample::key(&address), at: sample::at(1_000 + round) });
            }
            assert!(inbox.lock().changes.len() <= FOLD_FROM);
        }
    }

    #[test]
    fn folding_changes_nothing_about_what_fires_in_the_end() {
        use rand::{Rng, SeedableRng};
        for seed in 0..200 {
            let mut random = rand::rngs::StdRng::seed_from_u64(seed);
            let changes: Vec<_> = (0..60)
                .map(|step| {
                    let address = format!("10.0.0.{}", random.random_range(1..4));
                    let at = sample::at(1_000 + step);
                    match random.random_range(0..10) {
                        0..5 => Change::Down(sample::down(&address, 1_000 + step)),
                        5..9 => Change::Up { key: sample::key(&address), at },
                        _ => Change::Forgotten { key: sample::key(&address), at },
                    }
                })
                .collect();
            let run = |changes: Vec<Change>| {
                let mut alarms = Alarms::default();
                changes.into_iter().for_each(|change| drop(alarms.apply(change, sample::at(9_000))));
                alarms.firing().map(|(key, _)| key.clone()).collect::<Vec<_>>()
            };
            let folded = fold(changes.clone());
            assert!(folded.len() <= 12);
            assert_eq!(run(folded), run(changes), "seed {seed}");
        }
    }
}
