//! The socket receiver: packet sockets with a filter in the kernel, where no XDP program can be attached. One thread reads all of
//! them and judges each frame by the code that the XDP program is made of, with the time at which the kernel took it in.
//!
//! What a socket has not been read up to yet is no silence: a miss counts only before the socket's *horizon*, the last moment at
//! which it was found empty, and never in a time in which the socket's queue overflowed.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rollcall_agent_ebpf::reason::{self, Reason};
use rollcall_agent_ebpf::receive::{self, Cell, Claim, World};
use rollcall_agent_ebpf::{board, config, evidence, index, others, target};
use tracing::error;

use super::arrays::{Arrays, load};
use crate::clock::{self, Mono};
use crate::unit::Mac;
use crate::wire::{HearingSocket, Letterbox};
use crate::{namespace, priority};

/// How long the thread waits for frames: so old may a horizon be on an idle network.
const WAIT_MS: u16 = 5;
/// After an error that keeps all sockets from being read.
const AGAIN: Duration = Duration::from_secs(1);
/// A horizon as old as this: nobody reads the socket any more.
const DEAF: Duration = Duration::from_secs(1);
/// Losses that lie closer together are one.
const JOIN: Duration = Duration::from_secs(1);

/// Where the replies of one network are heard.
#[derive(Debug)]
pub struct Ear {
    network: u16,
    socket: HearingSocket,
    /// Up to when it was read, in nanoseconds of the monotonic clock.
    horizon: AtomicU64,
    /// From when to when its queue last overflowed, likewise.
    lost: [AtomicU64; 2],
}

impl Ear {
    fn new(network: u16, socket: HearingSocket) -> Self {
        Ear { network, socket, horizon: AtomicU64::new(clock::now().nanos()), lost: Default::default() }
    }

    /// Whether all that came in before a moment was read.
    pub fn has_read(&self, up_to: Mono) -> bool {
        self.horizon.load(Ordering::Acquire) >= up_to.nanos()
    }

    /// Whether frames may have been lost between two moments, or nobody reads any more.
    pub fn was_deaf(&self, from: Mono, to: Mono, now: Mono) -> bool {
        let [lost_from, lost_to] = [0, 1].map(|at| Mono::from_nanos(self.lost[at].load(Ordering::Acquire)));
        let stale = now.since(Mono::from_nanos(self.horizon.load(Ordering::Acquire))) > DEAF;
        stale || lost_to > Mono::default() && from <= lost_to && to >= lost_from
    }

    /// Reads all that is there.
    fn read(&self, letterbox: &mut Letterbox, arrays: &Arrays, counters: &[AtomicU64; reason::COUNT as usize]) {
        let before = clock::now();
        let place =
            Place { network: self.network, interface: self.socket.interface(), tags: self.socket.tags_in_frames(), mac: self.socket.mac() };
        let drained = self.socket.read(letterbox, |frame, at| {
            counters[hear(arrays, place, frame, at) as usize].fetch_add(1, Ordering::Relaxed);
        });
        if self.socket.overflowed() {
            let [from, to] = &self.lost;
            if before.since(Mono::from_nanos(to.load(Ordering::Relaxed))) > JOIN {
                from.store(self.horizon.load(Ordering::Relaxed), Ordering::Release);
            }
            to.store(clock::now().nanos(), Ordering::Release);
        }
        if drained {
            self.horizon.store(before.nanos(), Ordering::Release);
        }
    }
}

/// The thread, and what it shares.
#[derive(Debug)]
pub(super) struct Listener {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Held while frames are judged, so that nothing is written to arrays that were left.
    arrays: Mutex<Arc<Arrays>>,
    ears: Mutex<Vec<Arc<Ear>>>,
    counters: [AtomicU64; reason::COUNT as usize],
    stop: AtomicBool,
}

impl Listener {
    pub(super) fn start(arrays: Arc<Arrays>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            arrays: Mutex::new(arrays),
            ears: Mutex::default(),
            counters: [const { AtomicU64::new(0) }; reason::COUNT as usize],
            stop: AtomicBool::new(false),
        });
        let thread = std::thread::Builder::new().name("listener".into()).spawn({
            let shared = shared.clone();
            move || shared.listen()
        })?;
        Ok(Listener { shared, thread: Some(thread) })
    }

    /// Hears one more network.
    pub(super) fn add(&self, network: u16, socket: HearingSocket) -> Arc<Ear> {
        let ear = Arc::new(Ear::new(network, socket));
        lock(&self.shared.ears).push(ear.clone());
        ear
    }

    /// Hears it no more.
    pub(super) fn remove(&self, network: u16) {
        lock(&self.shared.ears).retain(|ear| ear.network != network);
    }

    /// From now on answers are written there.
    pub(super) fn follow(&self, arrays: Arc<Arrays>) {
        *lock(&self.shared.arrays) = arrays;
    }

    pub(super) fn counters(&self) -> impl Iterator<Item = u64> {
        self.shared.counters.iter().map(|counter| counter.load(Ordering::Relaxed))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has said why, if it panicked.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn listen(&self) {
        priority::come_first();
        // Whoever wanted the first socket may be in a namespace that goes. Staying there is no harm but that it is kept.
        let _ = namespace::go_home();
        let mut letterbox = Letterbox::default();
        while !self.stop.load(Ordering::Relaxed) {
            let ears = lock(&self.ears).clone();
            let mut sockets: Vec<_> = ears.iter().map(|ear| PollFd::new(ear.socket.as_fd(), PollFlags::POLLIN)).collect();
            match poll(&mut sockets, PollTimeout::from(WAIT_MS)) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => {
                    // Meanwhile the horizons stand still: nothing that is silent is believed.
                    error!(target: "reply", %error, "the sockets cannot be read: it is tried again every second");
                    std::thread::sleep(AGAIN);
                    continue;
                }
            }
            // The engine waits for this lock when the arrays grow: it is held for one socket at a time.
            ears.iter().for_each(|ear| ear.read(&mut letterbox, &lock(&self.arrays), &self.counters));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where frames of one network are heard.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The agent's number of the network.
    pub network: u16,
    /// Index of the interface.
    pub interface: u32,
    /// The tags that its frames have here, as [`config::Tags::word`].
    pub tags: u64,
    /// The interface's MAC.
    pub mac: Mac,
}

/// Judges a frame that came in at some moment, and writes what follows from it to the arrays.
pub fn hear(arrays: &Arrays, place: Place, frame: &[u8], at: Mono) -> Reason {
    receive::classify(frame, place.interface, &Heard { arrays, place, at })
}

/// The arrays as the receiver's code sees them.
struct Heard<'a> {
    arrays: &'a Arrays,
    place: Place,
    at: Mono,
}

/// A word of the arrays.
#[derive(Clone, Copy)]
struct Word<'a>(&'a AtomicU64);

impl Cell for Word<'_> {
    fn load(self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn store(self, value: u64) {
        self.0.store(value, Ordering::Release);
    }
}

impl<'a> World for Heard<'a> {
    type Cell = Word<'a>;

    fn target(&self, slot: u32) -> Option<[u64; target::WORDS]> {
        self.arrays.target.words(slot).map(load)
    }

    fn sent(&self, slot: u32) -> Option<[u64; board::SENT_WORDS]> {
        self.arrays.sent.words(slot).map(load)
    }

    fn board(&self, slot: u32) -> Option<Word<'a>> {
        self.arrays.board.words(slot).map(|words| Word(&words[0]))
    }

    fn bucket(&self, bucket: u32) -> Option<[u64; index::BUCKET_WORDS]> {
        self.arrays.index.words(bucket).map(load)
    }

    fn entry(&self, bucket: u32, place: usize) -> Option<u32> {
        let pair = self.arrays.index.words(bucket)?.get(place / 2)?.load(Ordering::Acquire);
        Some((pair >> (place % 2 * 32)) as u32)
    }

    fn other(&self, place: u32) -> Option<[Word<'a>; others::WORDS]> {
        self.arrays.others.words(place).map(|words| words.each_ref().map(Word))
    }

    fn evidence(&self, place: u32) -> Option<[Word<'a>; evidence::WORDS]> {
        self.arrays.evidence.words(place).map(|words| words.each_ref().map(Word))
    }

    /// One network alone is heard here, so that stands in every place.
    fn network(&self, _place: u32) -> Option<[u64; config::NETWORK_WORDS]> {
        let Place { network, interface, tags, mac } = self.place;
        let mut entry = [0; config::NETWORK_WORDS];
        entry[config::NETWORK_KEY] = config::network_entry(interface, network);
        entry[config::NETWORK_TAGS] = tags;
        entry[config::NETWORK_MAC] = config::mac_word(mac.0);
        Some(entry)
    }

    fn passed(&self, network: u16) -> Option<Word<'a>> {
        self.arrays.passed.words(network.into()).map(|[at]| Word(at))
    }

    fn config(&self, word: usize) -> Option<u64> {
        self.arrays.config.words(0).map(|words| words[word].load(Ordering::Acquire))
    }

    fn settle(&self, claim: Claim) -> Option<Claim> {
        Some(claim)
    }

    fn now(&self) -> u64 {
        self.at.nanos()
    }
}
