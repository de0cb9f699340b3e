//! `SENT[slot]` and `BOARD[slot]`: which probes left when, and which of them were answered.
//!
//! `SENT` holds the last two probes of an address, each one word: sequence (high 16 bits) and the send time in
//! monotonic nanoseconds modulo 2^48 (78 hours). The probe with sequence n stands at index n & 1. Two are enough
//! because a policy's confirmation probes are at least half a timeout apart, so a third never leaves before the
//! first one's deadline.
//!
//! `BOARD` is what the judge reads. One word, one store, so a reader never sees half of it:
//!
//! ```text
//!  63..48  sequence of the newest answered probe
//!  47..40  answered: bit i is the probe i before it
//!  39..32  excused: likewise; a reply came in its window that was credited to a later probe (ARP alone)
//!  31..0   RTT of the newest answered probe, in units of 16 ns (up to 68 s)
//! ```

/// Words of `SENT` for one slot.
pub const SENT_WORDS: usize = 2;
/// Words of `BOARD` for one slot.
pub const BOARD_WORDS: usize = 1;

const TIME_MASK: u64 = (1 << 48) - 1;
const RTT_MASK: u64 = (1 << 32) - 1;
/// Bits of the unit of the RTT: 16 ns.
const RTT_SHIFT: u32 = 4;
const ANSWERED: u32 = 40;
const EXCUSED: u32 = 32;

/// One entry of `SENT`.
#[inline(always)]
pub const fn sent(sequence: u16, now_ns: u64) -> u64 {
    (sequence as u64) << 48 | now_ns & TIME_MASK
}

/// The sequence of an entry of `SENT`.
#[inline(always)]
pub const fn sent_sequence(entry: u64) -> u16 {
    (entry >> 48) as u16
}

/// Sequence of the newest probe of a slot.
#[inline(always)]
pub const fn newest_sent(entries: [u64; SENT_WORDS]) -> u16 {
    let (even, odd) = (sent_sequence(entries[0]), sent_sequence(entries[1]));
    if (odd.wrapping_sub(even) as i16) > 0 { odd } else { even }
}

/// Nanoseconds from an entry of `SENT` to now; 0 for an entry that is a little ahead, as clocks of two CPUs may be.
#[inline(always)]
pub const fn elapsed(entry: u64, now_ns: u64) -> u64 {
    let elapsed = now_ns.wrapping_sub(entry) & TIME_MASK;
    if elapsed >> 47 == 1 { 0 } else { elapsed }
}

/// The word of a slot that was just given to an address whose first probe will be `sequence + 1`: everything before
/// counts as answered, so no reply fits.
#[inline(always)]
pub const fn fresh(sequence: u16) -> u64 {
    (sequence as u64) << 48 | 0xff << ANSWERED
}

/// Whether the newest answer lies so far behind a probe that its sequence comes round again before long. A few before it is an
/// answer to a later probe, which came in while this one still waited.
pub const fn is_old(word: u64, sequence: u16) -> bool {
    let behind = sequence.wrapping_sub(newest(word));
    behind >= 0x4000 && newest(word).wrapping_sub(sequence) >= 8
}

/// A word that says nothing of the probes up to `sequence`, with the RTT kept. A slot that is never answered needs
/// it before its sequence comes round to the old answers again.
pub const fn aged(word: u64, sequence: u16) -> u64 {
    (sequence as u64) << 48 | word & RTT_MASK
}

/// The newest answered sequence of a word.
#[inline(always)]
pub const fn newest(word: u64) -> u16 {
    (word >> 48) as u16
}

/// RTT in nanoseconds of the newest answered probe; 0 before the first reply.
#[inline(always)]
pub const fn rtt(word: u64) -> u64 {
    (word & RTT_MASK) << RTT_SHIFT
}

#[inline(always)]
const fn marked(word: u64, sequence: u16, mask: u32) -> bool {
    let behind = newest(word).wrapping_sub(sequence);
    behind < 8 && word >> (mask + behind as u32) & 1 == 1
}

/// Whether the probe with that sequence was answered in time.
#[inline(always)]
pub const fn answered(word: u64, sequence: u16) -> bool {
    marked(word, sequence, ANSWERED)
}

/// Whether a reply that came in the window of that probe was credited to a later one: neither a reply nor a miss.
#[inline(always)]
pub const fn excused(word: u64, sequence: u16) -> bool {
    marked(word, sequence, EXCUSED)
}

/// The word after an answer in time to `sequence`.
#[inline(always)]
pub const fn answer(word: u64, sequence: u16, rtt_ns: u64) -> u64 {
    let behind = newest(word).wrapping_sub(sequence);
    if behind < 8 {
        return word | 1 << (ANSWERED + behind as u32);
    }
    let ahead = sequence.wrapping_sub(newest(word));
    let (answered, excused) = (word >> ANSWERED & 0xff, word >> EXCUSED & 0xff);
    let (answered, excused) = if ahead < 8 { (answered << ahead & 0xff, excused << ahead & 0xff) } else { (0, 0) };
    // Never 0, which means that there was no reply yet.
    let rtt = if rtt_ns >> RTT_SHIFT > RTT_MASK { RTT_MASK } else { (rtt_ns >> RTT_SHIFT) | 1 };
    (sequence as u64) << 48 | (answered | 1) << ANSWERED | excused << EXCUSED | rtt
}

/// The marks of two words with the same newest sequence, put together.
pub const fn merged(word: u64, other: u64) -> u64 {
    word | other & 0xffff << EXCUSED
}

/// What became of a reply that is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// In time and the first: this is the new word.
    Answer(u64),
    /// That probe was answered before.
    Duplicate,
    /// After its deadline, or to a probe that is no longer remembered.
    Late,
}

/// Matches a reply that names its sequence (ICMP).
#[inline(always)]
pub const fn match_sequence(entry: u64, word: u64, sequence: u16, now_ns: u64, timeout_ns: u64) -> Match {
    if sent_sequence(entry) != sequence {
        return Match::Late;
    }
    if answered(word, sequence) {
        return Match::Duplicate;
    }
    let rtt = elapsed(entry, now_ns);
    if rtt > timeout_ns { Match::Late } else { Match::Answer(answer(word, sequence, rtt)) }
}

/// Matches a reply that names no sequence (ARP): it answers the newest probe. Where the one before waits as well it is
/// excused, for the reply may have been its own. With two probes under way the RTT is therefore a lower bound.
#[inline(always)]
pub const fn match_newest(entries: [u64; 2], word: u64, now_ns: u64, timeout_ns: u64) -> Match {
    let (a, b) = (entries[0], entries[1]);
    let (new, old) = if (sent_sequence(b).wrapping_sub(sent_sequence(a)) as i16) > 0 { (b, a) } else { (a, b) };
    match match_sequence(new, word, sent_sequence(new), now_ns, timeout_ns) {
        Match::Answer(word) => {
            let behind = sent_sequence(new).wrapping_sub(sent_sequence(old));
            let waits = behind < 8 && !answered(word, sent_sequence(old)) && elapsed(old, now_ns) <= timeout_ns;
            Match::Answer(if waits { word | 1 << (EXCUSED + behind as u32) } else { word })
        }
        other => other,
    }
}

/// Matches the same where only every second probe asks on the link ([`crate::target::BOTH`]): the newest of those stands at the
/// even place. No other of them waits, for they are a timeout apart.
#[inline(always)]
pub const fn match_even(entries: [u64; 2], word: u64, now_ns: u64, timeout_ns: u64) -> Match {
    match_sequence(entries[0], word, sent_sequence(entries[0]), now_ns, timeout_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn fresh_slot_takes_no_reply() {
        for sequence in [0, 1, 7, 0xffff] {
            let word = fresh(sequence);
            let entries = [sent(sequence & !1, 0), sent(sequence | 1, 0)];
            assert!(answered(word, sequence));
            assert!(!answered(word, sequence.wrapping_add(1)));
            let old = if sequence & 1 == 0 { [entries[0], sent(sequence.wrapping_sub(1), 0)] } else { entries };
            assert_eq!(match_newest(old, word, MS, 300 * MS), Match::Duplicate);
        }
    }

    #[test]
    fn each_probe_is_answered_once_and_across_the_wrap_of_the_sequence() {
        let mut word = fresh(0xfffe);
        for sequence in [0xffffu16, 0, 1, 2] {
            let entry = sent(sequence, 5 * MS);
            let Match::Answer(next) = match_sequence(entry, word, sequence, 6 * MS, 300 * MS) else { panic!() };
            assert_eq!((newest(next), rtt(next) >> 10), (sequence, MS >> 10));
            assert_eq!(match_sequence(entry, next, sequence, 7 * MS, 300 * MS), Match::Duplicate);
            word = next;
        }
        assert!(answered(word, 0xffff) && answered(word, 2) && !answered(word, 3));
    }

    #[test]
    fn older_probe_answered_after_the_newer_keeps_both_and_the_newer_rtt() {
        let word = fresh(10);
        let Match::Answer(word) = match_sequence(sent(12, 200 * MS), word, 12, 210 * MS, 300 * MS) else { panic!() };
        assert!(!answered(word, 11));
        let Match::Answer(word) = match_sequence(sent(11, 0), word, 11, 250 * MS, 300 * MS) else { panic!() };
        assert!(answered(word, 11) && answered(word, 12));
        assert_eq!(rtt(word) >> 10, (10 * MS) >> 10);
    }

    #[test]
    fn reply_after_the_deadline_or_to_a_forgotten_probe_is_late() {
        let word = fresh(10);
        assert_eq!(match_sequence(sent(11, 0), word, 11, 301 * MS, 300 * MS), Match::Late);
        assert_eq!(match_sequence(sent(13, 0), word, 11, MS, 300 * MS), Match::Late);
    }

    #[test]
    fn arp_reply_answers_the_newest_and_excuses_the_one_before_that_waits() {
        let entries = [sent(12, 200 * MS), sent(11, 0)];
        let Match::Answer(word) = match_newest(entries, fresh(10), 210 * MS, 300 * MS) else { panic!() };
        assert!(answered(word, 12) && !answered(word, 11) && excused(word, 11) && !excused(word, 12));
        assert_eq!(rtt(word) >> 10, (10 * MS) >> 10);
        assert_eq!(match_newest(entries, word, 220 * MS, 300 * MS), Match::Duplicate);
        let late = [sent(12, 400 * MS), sent(11, 0)];
        let Match::Answer(word) = match_newest(late, fresh(10), 410 * MS, 300 * MS) else { panic!() };
        assert!(!excused(word, 11), "its deadline had passed");
    }

    #[test]
    fn reply_of_every_second_probe_answers_the_even_one_and_excuses_nobody() {
        let (echo, ask) = (sent(11, 0), sent(12, 200 * MS));
        let Match::Answer(word) = match_even([ask, echo], fresh(10), 210 * MS, 300 * MS) else { panic!() };
        assert!(answered(word, 12) && !answered(word, 11) && !excused(word, 11));
        // A ping left meanwhile: the reply is the question's all the same.
        let (ask, echo) = (sent(12, 200 * MS), sent(13, 300 * MS));
        let Match::Answer(word) = match_even([ask, echo], fresh(11), 350 * MS, 300 * MS) else { panic!() };
        assert!(answered(word, 12) && !answered(word, 13));
        assert_eq!(rtt(word) >> 10, (150 * MS) >> 10);
        assert_eq!(match_even([ask, echo], word, 360 * MS, 300 * MS), Match::Duplicate);
        let Match::Answer(both) = match_sequence(echo, word, 13, 370 * MS, 300 * MS) else { panic!() };
        assert!(answered(both, 12) && answered(both, 13));
        assert_eq!(match_even([ask, echo], fresh(11), 501 * MS, 300 * MS), Match::Late);
        assert_eq!(match_even([sent(12, 0), sent(11, 0)], fresh(12), MS, 300 * MS), Match::Duplicate, "nothing was sent yet");
    }

    #[test]
    fn arp_host_slower_than_the_confirmation_interval_is_never_missed() {
        // Probes every 200 ms, each answered after 250 ms, timeout 300 ms: every reply comes while two probes wait.
        let (mut word, mut entries) = (fresh(0), [0, sent(0xffff, 0)]);
        entries[0] = sent(0, 0);
        for sequence in 1..1000u16 {
            let at = u64::from(sequence) * 200 * MS;
            if sequence > 1
                && let Match::Answer(next) = match_newest(entries, word, at - 150 * MS + 1, 300 * MS)
            {
                word = next;
            }
            if sequence > 3 {
                assert!(answered(word, sequence - 3) || excused(word, sequence - 3), "probe {} counts as missed", sequence - 3);
            }
            entries[usize::from(sequence & 1)] = sent(sequence, at);
        }
    }

    #[test]
    fn silent_slot_that_is_aged_never_meets_its_old_answers_again() {
        let Match::Answer(mut word) = match_sequence(sent(101, 0), fresh(100), 101, MS, 300 * MS) else { panic!() };
        for step in 1..70_000u32 {
            let sequence = 101u16.wrapping_add(step as u16);
            assert!(!answered(word, sequence), "probe {step} was never answered");
            if is_old(word, sequence) {
                word = aged(word, sequence);
            }
        }
        assert_eq!(rtt(word) >> 10, MS >> 10, "the last RTT is still known");
    }

    #[test]
    fn answer_to_a_later_probe_is_not_old() {
        for sequence in [0u16, 1, 0x3fff, 0x8000, 0xffff] {
            let Match::Answer(word) = match_sequence(sent(sequence, 0), fresh(sequence.wrapping_sub(3)), sequence, MS, 300 * MS) else {
                panic!()
            };
            for missed in [sequence.wrapping_sub(1), sequence.wrapping_sub(2), sequence.wrapping_add(1), sequence.wrapping_add(0x3fff)] {
                assert!(!is_old(word, missed), "{sequence} {missed}");
            }
            assert!(is_old(word, sequence.wrapping_add(0x4000)) && is_old(word, sequence.wrapping_sub(8)));
        }
    }

    #[test]
    fn send_times_survive_the_wrap_of_48_bits() {
        let entry = sent(3, (1 << 48) - 5);
        assert_eq!(elapsed(entry, (1 << 48) + 10), 15);
        assert_eq!(elapsed(sent(3, 100), 90), 0, "a send time that is a little ahead");
    }
}
