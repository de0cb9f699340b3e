//! The receiver: recognises the answers to our own probes and writes them to `BOARD`. Whatever is not provably ours goes on.

use aya_ebpf::programs::XdpContext;
use rollcall_agent_ebpf::board::{self, Match};
use rollcall_agent_ebpf::frame::{arp, eth, icmp, ipv4};
use rollcall_agent_ebpf::reason::Reason;
use rollcall_agent_ebpf::target::{self, Target};
use rollcall_agent_ebpf::{checksum, config, index};

use crate::maps::{BOARD, CONFIG, INDEX, NETWORKS, SENT, TARGET, now, read};

/// `None`: not even the shape of an answer.
#[inline(always)]
pub(crate) fn classify(ctx: &XdpContext) -> Option<Reason> {
    match u16::from_be_bytes(load(ctx, eth::TYPE.start)?) {
        eth::IPV4 => echo_reply(ctx),
        eth::ARP => arp_reply(ctx),
        _ => None,
    }
}

/// ICMP echo reply in an unfragmented IPv4 packet, with options or without.
#[inline(always)]
fn echo_reply(ctx: &XdpContext) -> Option<Reason> {
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
    if kind != icmp::ECHO_REPLY || code != 0 || [m0, m1, m2, m3] != icmp::MARK_VALUE || !our_id(u16::from_be_bytes([id0, id1]))? {
        return None;
    }
    let slot = u32::from_be_bytes([s0, s1, s2, s3]);
    let Some(target) = live_target(slot) else { return Some(Reason::NoSlot) };
    if target.nonce != u32::from_be_bytes([n0, n1, n2, n3]) {
        return Some(Reason::BadNonce);
    }
    if target.address != target::mapped([ip[12], ip[13], ip[14], ip[15]]) {
        return Some(Reason::BadSource);
    }
    if interface(ctx).is_none_or(|(network, _)| network != target.network) {
        return Some(Reason::BadNetwork);
    }
    if checksum::finish(checksum::add(0, &echo)) != 0 {
        return Some(Reason::BadChecksum);
    }
    let sequence = u16::from_be_bytes([seq0, seq1]);
    let sent = read(SENT.get_ptr(slot)?);
    let entry = if sequence & 1 == 0 { sent[0] } else { sent[1] };
    let (word, now) = (board_word(slot)?, now());
    Some(match board::match_sequence(entry, word, sequence, now, timeout(&target)) {
        Match::Answer(word) => {
            publish(slot, word)?;
            Reason::Answer
        }
        Match::Duplicate => Reason::Duplicate,
        Match::Late => Reason::Late,
    })
}

/// ARP reply. The kernel may have asked the same host at the same time, so at most one reply is taken for each
/// probe of ours that still waits; every further one goes on.
#[inline(always)]
fn arp_reply(ctx: &XdpContext) -> Option<Reason> {
    let packet: [u8; arp::LEN] = load(ctx, eth::LEN)?;
    let [p0, p1, p2, p3, p4, p5, o0, o1, m0, m1, m2, m3, m4, m5, a0, a1, a2, a3, t0, t1, t2, t3, t4, t5, ..] = packet;
    if [p0, p1, p2, p3, p4, p5] != arp::PREFIX || u16::from_be_bytes([o0, o1]) != arp::REPLY {
        return None;
    }
    let sender = target::mapped([a0, a1, a2, a3]);
    let (network, our_mac) = interface(ctx)?;
    if config::mac_word([t0, t1, t2, t3, t4, t5]) != our_mac {
        return None;
    }
    let slot = find(network, &sender)?;
    let target = live_target(slot)?;
    if target.flags & target::ARP == 0 || target.network != network || target.address != sender {
        return None;
    }
    if target.mac != [m0, m1, m2, m3, m4, m5] {
        let board = BOARD.get_ptr_mut(slot)?.cast::<u64>();
        // SAFETY: the look-up gave a whole element of two words. Only the newest other MAC matters, so a lost update is harmless.
        unsafe { board.add(1).write_volatile(board::other_mac(board.add(1).read_volatile(), [m0, m1, m2, m3, m4, m5])) };
        return Some(Reason::OtherMac);
    }
    let sent = read(SENT.get_ptr(slot)?);
    let word = board_word(slot)?;
    Some(match board::match_newest(sent, word, now(), timeout(&target)) {
        Match::Answer(word) => {
            publish(slot, word)?;
            Reason::Answer
        }
        Match::Duplicate => Reason::ArpUnasked,
        Match::Late => Reason::ArpLate,
    })
}

/// The slot of (network, address), looked for in a bounded number of buckets.
#[inline(always)]
fn find(network: u16, address: &[u8; 16]) -> Option<u32> {
    let buckets = read(CONFIG.get_ptr(0)?)[config::BUCKETS] as u32;
    let hash = index::hash(network, address);
    for probe in 0..index::PROBES {
        let bucket = read(INDEX.get_ptr(index::bucket(hash, probe, buckets))?);
        for pair in bucket {
            for entry in [pair as u32, (pair >> 32) as u32] {
                // A tag fits one foreign entry in 255; the address decides.
                if let Some(slot) = index::slot(entry, hash)
                    && live_target(slot).is_some_and(|target| target.address == *address && target.network == network)
                {
                    return Some(slot);
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
fn live_target(slot: u32) -> Option<Target> {
    let target = Target::from_words(read(TARGET.get_ptr(slot)?));
    (target.flags & target::LIVE != 0).then_some(target)
}

#[inline(always)]
fn timeout(target: &Target) -> u64 {
    u64::from(target.timeout_ms) * 1_000_000
}

#[inline(always)]
fn board_word(slot: u32) -> Option<u64> {
    Some(read(BOARD.get_ptr(slot)?)[0])
}

/// One store of one word: the judge in userspace sees the answer whole or not at all. Answers of one address come in
/// on one CPU (one flow, one queue), so reading, deciding and storing needs no lock.
#[inline(always)]
fn publish(slot: u32, word: u64) -> Option<()> {
    let board = BOARD.get_ptr_mut(slot)?.cast::<u64>();
    // SAFETY: the look-up gave a whole element; word 0 is aligned.
    unsafe { board.write_volatile(word) };
    Some(())
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
