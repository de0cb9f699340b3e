//! The receiver: recognises the answers to our own probes and writes them to `BOARD`. Whatever is not provably ours goes on.

use aya_ebpf::programs::XdpContext;
use rollcall_agent_ebpf::board::{self, Match};
use rollcall_agent_ebpf::frame::{arp, eth, icmp, ipv4};
use rollcall_agent_ebpf::reason::Reason;
use rollcall_agent_ebpf::{checksum, config, index, others, probe, target};

use crate::maps::{BOARD, CONFIG, INDEX, NETWORKS, OTHERS, SENT, TARGET, now, read};

/// `None`: not even the shape of an answer.
#[inline(always)]
pub(crate) fn classify(ctx: &XdpContext) -> Option<Reason> {
    // Words in memory order: type and the two bytes behind it are in the upper half of the second.
    let second: u64 = word(ctx, 8)?;
    match (second >> 32) as u16 {
        IPV4 if (second >> 48) as u8 == PLAIN => echo_reply(ctx),
        IPV4 => echo_reply_with_options(ctx),
        ARP => arp_reply(ctx, second),
        _ => None,
    }
}

const IPV4: u16 = eth::IPV4.to_be();
const ARP: u16 = eth::ARP.to_be();
/// Version 4, a header of 20 bytes.
const PLAIN: u8 = 0x45;

/// What an echo reply says, in memory order.
struct Echo {
    source: u32,
    id: u16,
    sequence: u16,
    slot: u32,
    nonce: u32,
    /// Sum of the 16-bit words of its ICMP part.
    sum: u64,
}

/// ICMP echo reply in an unfragmented IPv4 packet without options: nearly all there are. By whole words, because this
/// runs for each answer and the compiler would read single bytes.
#[inline(always)]
fn echo_reply(ctx: &XdpContext) -> Option<Reason> {
    const TOTAL: u16 = ((ipv4::LEN + icmp::LEN) as u16).to_be();
    const MORE_OR_OFFSET: u16 = 0x3fff_u16.to_be();
    let ip: u64 = word(ctx, 16)?;
    if ip as u16 != TOTAL || (ip >> 32) as u16 & MORE_OR_OFFSET != 0 || (ip >> 56) as u8 != ipv4::ICMP {
        return None;
    }
    // The shortest one ends at byte 54.
    let (addresses, head, middle) = (word::<u64>(ctx, 24)?, word::<u64>(ctx, 32)?, word::<u64>(ctx, 40)?);
    let (low, high) = (word::<u32>(ctx, 48)?, word::<u16>(ctx, 52)?);
    if (head >> 16) as u16 != u16::from_le_bytes([icmp::ECHO_REPLY, 0]) || (middle >> 16) as u32 != u32::from_le_bytes(icmp::MARK_VALUE) {
        return None;
    }
    let tail = u64::from(low) | u64::from(high) << 32;
    let halves = |word: u64| (word & 0xffff) + (word >> 16 & 0xffff) + (word >> 32 & 0xffff) + (word >> 48);
    matched(
        ctx,
        Echo {
            source: (addresses >> 16) as u32,
            id: (head >> 48) as u16,
            sequence: middle as u16,
            slot: (middle >> 48) as u32 | (tail as u32) << 16,
            nonce: (tail >> 16) as u32,
            sum: halves(head >> 16) + halves(middle) + halves(tail),
        },
    )
}

/// The same with options, or whatever else has another header than ours.
#[inline(always)]
fn echo_reply_with_options(ctx: &XdpContext) -> Option<Reason> {
    let ip: [u8; ipv4::LEN] = load(ctx, eth::LEN)?;
    let header = usize::from(ip[0] & 0x0f) * 4;
    let fragment = u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff;
    if ip[0] >> 4 != 4 || header < ipv4::LEN || fragment != 0 || ip[ipv4::PROTOCOL] != ipv4::ICMP {
        return None;
    }
    // Our echo has one length only. Frames are padded, so the length in the header is the one that counts.
    if usize::from(u16::from_be_bytes([ip[2], ip[3]])) != header + icmp::LEN {
        return None;
    }
    let echo: [u8; icmp::LEN] = load(ctx, eth::LEN + header)?;
    let [_, _, _, _, id0, id1, seq0, seq1, m0, m1, m2, m3, s0, s1, s2, s3, n0, n1, n2, n3] = echo;
    let [kind, code, ..] = echo;
    if kind != icmp::ECHO_REPLY || code != 0 || [m0, m1, m2, m3] != icmp::MARK_VALUE {
        return None;
    }
    matched(
        ctx,
        Echo {
            source: u32::from_le_bytes([ip[12], ip[13], ip[14], ip[15]]),
            id: u16::from_le_bytes([id0, id1]),
            sequence: u16::from_le_bytes([seq0, seq1]),
            slot: u32::from_le_bytes([s0, s1, s2, s3]),
            nonce: u32::from_le_bytes([n0, n1, n2, n3]),
            // A sum of all ones is one in either order of bytes.
            sum: u64::from(checksum::add(0, &echo)),
        },
    )
}

/// An echo reply with our mark: whether it answers a probe of ours.
#[inline(always)]
fn matched(ctx: &XdpContext, echo: Echo) -> Option<Reason> {
    if !our_id(u16::from_be(echo.id))? {
        return None;
    }
    let slot = u32::from_be(echo.slot);
    let Some(target) = live_target(slot) else { return Some(Reason::NoSlot) };
    if target[3] as u32 != u32::from_be(echo.nonce) {
        return Some(Reason::BadNonce);
    }
    if target[0] != 0 || target[1] != target::mapped_word(echo.source) {
        return Some(Reason::BadSource);
    }
    if interface(ctx).is_none_or(|(network, _)| u64::from(network) != target[2] >> 48) {
        return Some(Reason::BadNetwork);
    }
    if probe::checksum(echo.sum) != 0 {
        return Some(Reason::BadChecksum);
    }
    let sequence = u16::from_be(echo.sequence);
    let sent = read(SENT.get_ptr(slot)?);
    let entry = if sequence & 1 == 0 { sent[0] } else { sent[1] };
    let board = BOARD.get_ptr_mut(slot)?.cast::<u64>();
    Some(match board::match_sequence(entry, read(board), sequence, now(), timeout(&target)) {
        Match::Answer(word) => {
            publish(board, word);
            Reason::Answer
        }
        Match::Duplicate => Reason::Duplicate,
        Match::Late => Reason::Late,
    })
}

/// ARP reply. The kernel may have asked the same host at the same time, so at most one reply is taken for each
/// probe of ours that still waits; every further one goes on.
#[inline(always)]
fn arp_reply(ctx: &XdpContext, second: u64) -> Option<Reason> {
    const MAC: u64 = (1 << 48) - 1;
    const P: [u8; 6] = arp::PREFIX;
    const OP: [u8; 2] = arp::REPLY.to_be_bytes();
    const REST: u64 = u64::from_le_bytes([P[2], P[3], P[4], P[5], OP[0], OP[1], 0, 0]);
    let (third, sender, asked) = (word::<u64>(ctx, 16)?, word::<u64>(ctx, 24)?, word::<u64>(ctx, 32)?);
    // To the end of the packet, although the asked address does not matter: our MAC was asked, that is enough.
    let _: u16 = word(ctx, 40)?;
    if (second >> 48) as u16 != u16::from_le_bytes([P[0], P[1]]) || third & MAC != REST {
        return None;
    }
    let address = target::mapped_word((sender >> 32) as u32);
    let (network, our_mac) = interface(ctx)?;
    if asked & MAC != our_mac {
        return None;
    }
    let (slot, target) = find(network, address)?;
    if (target[3] >> 48) as u8 & target::ARP == 0 {
        return None;
    }
    let mac = third >> 48 | (sender & 0xffff_ffff) << 16;
    if target[2] & MAC != mac {
        note_other(slot, mac);
        return Some(Reason::OtherMac);
    }
    let sent = read(SENT.get_ptr(slot)?);
    let board = BOARD.get_ptr_mut(slot)?.cast::<u64>();
    Some(match board::match_newest(sent, read(board), now(), timeout(&target)) {
        Match::Answer(word) => {
            publish(board, word);
            Reason::Answer
        }
        Match::Duplicate => Reason::ArpUnasked,
        Match::Late => Reason::ArpLate,
    })
}

/// The slot and target of (network, IPv4 address), looked for in a bounded number of buckets.
#[inline(always)]
fn find(network: u16, address: u64) -> Option<(u32, [u64; target::WORDS])> {
    let buckets = read(CONFIG.get_ptr(0)?)[config::BUCKETS] as u32;
    let hash = index::hash_words(network, 0, address);
    for probe in 0..index::PROBES {
        let bucket = read(INDEX.get_ptr(index::bucket(hash, probe, buckets))?);
        for pair in bucket {
            for entry in [pair as u32, (pair >> 32) as u32] {
                // A tag fits one foreign entry in 255; the address decides.
                if let Some(slot) = index::slot(entry, hash)
                    && let Some(target) = live_target(slot)
                    && target[0] == 0
                    && target[1] == address
                    && target[2] >> 48 == u64::from(network)
                {
                    return Some((slot, target));
                }
            }
        }
    }
    None
}

/// The agent's number of the network that the frame came in from, and our MAC there, as a word.
#[inline(always)]
fn interface(ctx: &XdpContext) -> Option<(u16, u64)> {
    let interface = ctx.ingress_ifindex() as u32;
    for step in 0..config::NETWORK_PROBES {
        let [entry, mac] = read(NETWORKS.get_ptr(config::network_place(interface, step))?);
        if let Some(network) = config::network(entry, interface) {
            return Some((network, mac));
        }
    }
    None
}

#[inline(always)]
fn our_id(id: u16) -> Option<bool> {
    Some(config::ids(read(CONFIG.get_ptr(0)?)[config::IDS]).contains(&id))
}

#[inline(always)]
fn live_target(slot: u32) -> Option<[u64; target::WORDS]> {
    let target = read(TARGET.get_ptr(slot)?);
    ((target[3] >> 48) as u8 & target::LIVE != 0).then_some(target)
}

#[inline(always)]
fn timeout(target: &[u64; target::WORDS]) -> u64 {
    (target[3] >> 32 & 0xffff) * 1_000_000
}

/// One store of one word: the judge in userspace sees the answer whole or not at all. Answers of one address come in
/// on one CPU (one flow, one queue), so reading, deciding and storing needs no lock.
#[inline(always)]
fn publish(board: *mut u64, word: u64) {
    // SAFETY: the pointer comes from a successful look-up of an element of one word.
    unsafe { board.write_volatile(word) };
}

/// Keeps the other MAC that answered for a slot, where there is room. Two CPUs may take the same free entry at once: the next
/// answer puts that right.
#[inline(always)]
fn note_other(slot: u32, mac: u64) -> Option<()> {
    let entries = read(CONFIG.get_ptr(0)?)[config::OTHERS] as u32;
    let mut free = None;
    for step in 0..others::PROBES {
        let entry = OTHERS.get_ptr_mut(others::place(slot, step, entries))?.cast::<u64>();
        // SAFETY: the look-up gave a whole entry.
        let key = unsafe { entry.add(others::KEY).read_volatile() };
        if key == others::key(slot) {
            free = Some(entry);
            break;
        }
        if key == 0 && free.is_none() {
            free = Some(entry);
        }
    }
    let entry = free?;
    // SAFETY: as above. The key last: a reader never takes another slot's MAC for this one's.
    unsafe {
        let value = if entry.add(others::KEY).read_volatile() == 0 { 0 } else { entry.add(others::VALUE).read_volatile() };
        entry.add(others::VALUE).write_volatile(others::once_more(value, mac));
        entry.add(others::KEY).write_volatile(others::key(slot));
    }
    Some(())
}

/// A word of the frame, when it is long enough. Frames begin at a multiple of eight where that matters.
#[inline(always)]
fn word<T: Copy>(ctx: &XdpContext, offset: usize) -> Option<T> {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: the bytes lie between data and data_end, which is what the verifier asks for as well; kernels on which words
    // must be aligned refuse the program rather than fault.
    Some(unsafe { (start as *const T).read_volatile() })
}

/// Bytes of the frame, when it is long enough.
#[inline(always)]
fn load<const N: usize>(ctx: &XdpContext, offset: usize) -> Option<[u8; N]> {
    let start = ctx.data() + offset;
    if start + N > ctx.data_end() {
        return None;
    }
    // SAFETY: the bytes lie between data and data_end, which is what the verifier asks for as well.
    Some(unsafe { (start as *const [u8; N]).read_unaligned() })
}
