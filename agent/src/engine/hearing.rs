//! Hearing: whether the XDP program still is where frames come in. Somebody may have detached it, a driver may hide VLAN tags from it, or
//! hand frames over by a way of its own. The resolver's socket then goes on hearing, and would vouch for a receiver that is deaf.
//!
//! The program notes when it last passed on a neighbour's answer (`PASSED`), before any socket can hear it. An answer that a socket
//! hears long after that did not come by the program.

use std::time::Duration;

use tracing::warn;

use super::Engine;
use crate::clock::Mono;
use crate::unit::Blind;

/// From the program to the turn that reads the socket. Who answers later than that vouches for nothing, and is asked again.
const FRESH: Duration = Duration::from_millis(100);
/// An answer that comes so long after the program passed on the last one did not come by it.
const PASSED_BY: Duration = Duration::from_secs(1);

/// Whether what a socket hears of a network has come by the receiver.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hearing {
    /// Since when it must. What lies in the sockets from before does not count.
    since: Mono,
    /// Since when the engine has turned without a pause: what came in a pause is read late.
    awake: Mono,
}

/// What an answer shows of the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Showing {
    /// It hears.
    Hears,
    /// Nothing.
    Nothing,
    /// It was passed by.
    Deaf,
}

impl Hearing {
    /// The receiver was attached, or another took its place.
    pub(super) fn anew(now: Mono) -> Self {
        Hearing { since: now, awake: now }
    }

    /// The engine paused until now.
    pub(super) fn paused(&mut self, now: Mono) {
        self.awake = now;
    }

    /// What an answer shows that is read now, where the receiver passed on the last one at some moment.
    pub(super) fn judge(self, passed: Mono, now: Mono) -> Showing {
        let ago = now.since(passed);
        if ago <= FRESH || now.since(self.since) <= PASSED_BY {
            Showing::Hears
        } else if ago <= PASSED_BY || now.since(self.awake) <= PASSED_BY {
            Showing::Nothing
        } else {
            Showing::Deaf
        }
    }

    /// Since when nothing of a deaf receiver's silence can be believed.
    pub(super) fn believed_until(self, passed: Mono) -> Mono {
        self.since.max(passed)
    }
}

impl Engine {
    /// Answers pass the receiver of a network by: whoever seems silent there since the last that did not may have answered. The interface
    /// is attached to anew (`watch.rs`).
    pub(super) fn deafened(&mut self, number: u16, now: Mono) {
        let passed = self.arrays.passed(number);
        let Some(network) = self.networks.get_mut(usize::from(number)) else { return };
        let interface = network.interface_name();
        warn!(target: "reply", network = %network.name, %interface, "answers reach the interface and not the XDP program on it: the verdicts of this network are unknown until it is attached anew; was it detached, or does the driver hide VLAN tags (ethtool -k, rx-vlan-offload)?");
        let since = network.hearing.believed_until(passed);
        self.go_blind(number, Blind::Deaf, now);
        self.networks[usize::from(number)].blind_since(since);
        self.show_sight(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_vouches_for_a_receiver_that_it_came_by_and_for_no_other() {
        let at = |ms: u64| Mono::from_nanos(ms * 1_000_000);
        let mut hearing = Hearing::anew(at(10_000));
        assert_eq!(hearing.judge(at(0), at(10_900)), Showing::Hears, "it may have lain in the socket from before");
        assert_eq!(hearing.judge(at(19_990), at(20_000)), Showing::Hears);
        assert_eq!(hearing.judge(at(19_700), at(20_000)), Showing::Nothing);
        assert_eq!(hearing.judge(at(18_000), at(20_000)), Showing::Deaf);
        assert_eq!(hearing.judge(at(0), at(20_000)), Showing::Deaf, "it never passed one on");
        hearing.paused(at(19_500));
        assert_eq!(hearing.judge(at(18_000), at(20_000)), Showing::Nothing, "it was read late");
        assert_eq!(hearing.believed_until(at(18_000)), at(18_000));
        assert_eq!(hearing.believed_until(at(0)), at(10_000));
    }
}
