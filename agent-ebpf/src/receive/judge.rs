//! Whether a claim is the answer to a probe of ours, and what follows from it.

use super::{Cell, Claim, Kind, MAC, Whence, World};
use crate::board::{self, Match};
use crate::reason::Reason;
use crate::{config, evidence, index, others, probe, target};

/// What to make of a claim that came in from somewhere; `None`: nothing to do with us.
#[inline(always)]
pub fn judge<W: World>(claim: &Claim, whence: Whence, world: &W) -> Option<Reason> {
    let network = match network(whence.interface, claim.tags, whence.to, world) {
        NOWHERE => None,
        number => Some(number as u16),
    };
    if claim.kind == Kind::Echo {
        return echo(claim, network, world);
    }
    let network = network?;
    if claim.kind == Kind::Neighbour {
        let reason = neighbour(claim, network, whence, world);
        if !reason.is_some_and(Reason::consumed) {
            note_passed(network, world);
        }
        return reason;
    }
    if probe::checksum(claim.sum) != 0 {
        return None;
    }
    let (slot, target) = find(network, claim.address, world)?;
    quote(claim, slot, &target, world)
}

/// An echo reply with our mark: whether it answers a probe of ours.
#[inline(always)]
fn echo<W: World>(claim: &Claim, network: Option<u16>, world: &W) -> Option<Reason> {
    if !config::ids(world.config(config::IDS)?).contains(&claim.id) {
        return None;
    }
    let slot = claim.slot.get()?;
    let Some(target) = live_target(slot, world) else { return Some(Reason::NoSlot) };
    if target[3] as u32 != claim.nonce {
        return Some(Reason::BadNonce);
    }
    if [target[0], target[1]] != claim.address {
        return Some(Reason::BadSource);
    }
    if network.is_none_or(|network| u64::from(network) != target[2] >> 48) {
        return Some(Reason::BadNetwork);
    }
    if probe::checksum(claim.sum) != 0 {
        return Some(Reason::BadChecksum);
    }
    // That one was no ping: its slot and nonce are known from others.
    if target::asks((target[3] >> 48) as u8, claim.sequence) {
        return None;
    }
    let sent = world.sent(slot)?;
    let entry = if claim.sequence & 1 == 0 { sent[0] } else { sent[1] };
    let board = world.board(slot)?;
    Some(match board::match_sequence(entry, board.load(), claim.sequence, world.now(), timeout(&target)) {
        Match::Answer(word) => {
            board.store(word);
            Reason::Answer
        }
        Match::Duplicate => Reason::Duplicate,
        Match::Late => Reason::Late,
    })
}

/// ARP reply or neighbour advertisement. The kernel may have asked the same host at the same time, so at most one is taken for
/// each probe of ours that still waits; every further one goes on.
#[inline(always)]
fn neighbour<W: World>(claim: &Claim, network: u16, whence: Whence, world: &W) -> Option<Reason> {
    if claim.to != whence.to || probe::checksum(claim.sum) != 0 {
        return None;
    }
    let (slot, target) = find(network, claim.address, world)?;
    let target = &target;
    let flags = (target[3] >> 48) as u8;
    if flags & target::ARP == 0 {
        return None;
    }
    if target[2] & MAC != claim.mac {
        note_other(slot, claim.mac, world);
        return Some(Reason::OtherMac);
    }
    let board = world.board(slot)?;
    let (sent, word, now) = (world.sent(slot)?, board.load(), world.now());
    let matched = match flags & target::BOTH {
        0 => board::match_newest(sent, word, now, timeout(target)),
        _ => board::match_even(sent, word, now, timeout(target)),
    };
    Some(match matched {
        Match::Answer(word) => {
            board.store(word);
            Reason::Answer
        }
        Match::Duplicate => Reason::ArpUnasked,
        Match::Late => Reason::ArpLate,
    })
}

/// Somebody on the way quotes a probe: kept as the reason, if it is one of ours that still waits. Never an answer, and passed on.
#[inline(always)]
fn quote<W: World>(claim: &Claim, slot: u32, target: &[u64; target::WORDS], world: &W) -> Option<Reason> {
    if !config::ids(world.config(config::IDS)?).contains(&claim.id) {
        return None;
    }
    // A short quote shows neither slot nor nonce: address, identifier and sequence must do.
    if claim.slot.get().is_some_and(|quoted| quoted != slot || target[3] as u32 != claim.nonce) {
        return Some(Reason::BadQuote);
    }
    let sent = world.sent(slot)?;
    let entry = if claim.sequence & 1 == 0 { sent[0] } else { sent[1] };
    if target::asks((target[3] >> 48) as u8, claim.sequence) || board::sent_sequence(entry) != claim.sequence {
        return Some(Reason::BadQuote);
    }
    note_evidence(slot, claim.because, claim.from[0], claim.from[1], world);
    Some(Reason::Quoted)
}

/// The slot and target of (network, address).
#[inline(always)]
fn find<W: World>(network: u16, address: [u64; 2], world: &W) -> Option<(u32, [u64; target::WORDS])> {
    let hash = index::hash_words(network, address[0], address[1]);
    let buckets = world.config(config::BUCKETS)? as u32;
    // Nearly all sit in their own place: no call for them.
    let own = world.entry(index::bucket(hash, 0, buckets), index::place(hash))?;
    if let Some(found) = sits(own, hash, network, address[0], address[1], world) {
        return Some(found);
    }
    let slot = search(network, address[0], address[1], world);
    Some((slot, live_target(slot, world)?))
}

/// No slot: beyond every array.
const NOBODY: u32 = u32::MAX;

/// The slot of (network, address), looked for in a bounded number of buckets. A function of its own, as [`network`] is.
#[inline(never)]
fn search<W: World>(network: u16, high: u64, low: u64, world: &W) -> u32 {
    let Some(buckets) = world.config(config::BUCKETS) else { return NOBODY };
    let hash = index::hash_words(network, high, low);
    for probe in 0..index::PROBES {
        let Some(bucket) = world.bucket(index::bucket(hash, probe, buckets as u32)) else { return NOBODY };
        for pair in bucket {
            for entry in [pair as u32, (pair >> 32) as u32] {
                if let Some((slot, _)) = sits(entry, hash, network, high, low, world) {
                    return slot;
                }
            }
        }
    }
    NOBODY
}

/// Slot and target of an entry, if it is that of (network, address): a tag fits one foreign entry in 255; the address decides.
#[inline(always)]
fn sits<W: World>(entry: u32, hash: u64, network: u16, high: u64, low: u64, world: &W) -> Option<(u32, [u64; target::WORDS])> {
    let slot = index::slot(entry, hash)?;
    let target = live_target(slot, world)?;
    (target[0] == high && target[1] == low && target[2] >> 48 == u64::from(network)).then_some((slot, target))
}

/// No network.
const NOWHERE: u32 = u32::MAX;

/// The agent's number of the network that the frame came in from. A function of its own so that the verifier goes through its steps
/// once and not for each kind of frame.
#[inline(never)]
fn network<W: World>(interface: u32, tags: u64, to: u64, world: &W) -> u32 {
    for step in 0..config::NETWORK_PROBES {
        let Some(entry) = world.network(config::network_place(interface, tags, to, step)) else { break };
        if let Some(network) = config::network(entry[config::NETWORK_KEY], interface)
            && entry[config::NETWORK_TAGS] == tags
            && entry[config::NETWORK_MAC] == to
        {
            return u32::from(network);
        }
    }
    NOWHERE
}

#[inline(always)]
fn live_target<W: World>(slot: u32, world: &W) -> Option<[u64; target::WORDS]> {
    let target = world.target(slot)?;
    ((target[3] >> 48) as u8 & target::LIVE != 0).then_some(target)
}

#[inline(always)]
fn timeout(target: &[u64; target::WORDS]) -> u64 {
    (target[3] >> 32 & 0xffff) * 1_000_000
}

/// Shows that neighbours' answers of a network come by here: who hears one that did not knows that the receiver is passed by.
#[inline(never)]
fn note_passed<W: World>(network: u16, world: &W) {
    if let Some(passed) = world.passed(network) {
        passed.store(world.now());
    }
}

/// Keeps the other MAC that answered for a slot, where there is room. Two CPUs may take the same free entry at once: the next
/// answer puts that right.
#[inline(never)]
fn note_other<W: World>(slot: u32, mac: u64, world: &W) {
    // Nothing to do where an array is missing, which is never so.
    let _ = try_note_other(slot, mac, world);
}

#[inline(always)]
fn try_note_other<W: World>(slot: u32, mac: u64, world: &W) -> Option<()> {
    let entries = world.config(config::OTHERS)? as u32;
    let mut free = None;
    for step in 0..others::PROBES {
        let entry = world.other(others::place(slot, step, entries))?;
        let key = entry[others::KEY].load();
        if key == others::key(slot) {
            free = Some(entry);
            break;
        }
        if key == 0 && free.is_none() {
            free = Some(entry);
        }
    }
    let entry = free?;
    let value = if entry[others::KEY].load() == 0 { 0 } else { entry[others::VALUE].load() };
    // The key last: a reader never takes another slot's MAC for this one's.
    entry[others::VALUE].store(others::once_more(value, mac));
    entry[others::KEY].store(others::key(slot));
    Some(())
}

/// Keeps what was said about a probe of a slot. Where there is no room the first of its places is taken: the newest word counts.
#[inline(never)]
fn note_evidence<W: World>(slot: u32, because: u16, high: u64, low: u64, world: &W) {
    let _ = try_note_evidence(slot, because, [high, low], world);
}

#[inline(always)]
fn try_note_evidence<W: World>(slot: u32, because: u16, from: [u64; 2], world: &W) -> Option<()> {
    let entries = world.config(config::EVIDENCE)? as u32;
    let mut place = world.evidence(others::place(slot, 0, entries))?;
    for step in 0..evidence::PROBES {
        let entry = world.evidence(others::place(slot, step, entries))?;
        let key = entry[evidence::KEY].load();
        if key == others::key(slot) || key == 0 {
            place = entry;
            break;
        }
    }
    // Nobody's while it changes.
    place[evidence::KEY].store(0);
    place[evidence::VALUE].store(evidence::value(because, world.now()));
    place[evidence::FROM].store(from[0]);
    place[evidence::FROM + 1].store(from[1]);
    place[evidence::KEY].store(others::key(slot));
    Some(())
}
