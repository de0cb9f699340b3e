//! Why a frame was taken or left: one per-CPU counter each in `COUNTERS`, one label value each in the metrics.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal $consumed:literal),+ $(,)?) => {
        /// What the receiver made of a frame.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Reason { $($(#[$doc])* $name),+ }

        impl Reason {
            /// All of them, in the order of their counters.
            pub const ALL: &'static [Reason] = &[$(Reason::$name),+];

            /// Value of the label `reason` in the metrics.
            pub fn label(self) -> &'static str {
                match self { $(Reason::$name => $label),+ }
            }

            /// Whether the frame ends here. Only what is provably the answer to one of our own probes does.
            #[inline(always)]
            pub const fn consumed(self) -> bool {
                match self { $(Reason::$name => $consumed),+ }
            }
        }
    };
}

reasons! {
    /// An answer in time.
    Answer = "answer" true,
    /// ICMP: an answer to a probe that was answered before.
    Duplicate = "duplicate" true,
    /// ICMP: an answer after the deadline.
    Late = "late" true,
    /// ARP or neighbour discovery: a watched address answers, but no probe waits for it: perhaps the kernel's own question. Passed on.
    ArpUnasked = "arp_unasked" false,
    /// Likewise after the deadline. Passed on.
    ArpLate = "arp_late" false,
    /// Likewise from another MAC than the expected one. Passed on.
    OtherMac = "other_mac" false,
    /// An echo reply with our mark and a wrong nonce. Passed on.
    BadNonce = "bad_nonce" false,
    /// An echo reply with our mark from another address than was probed. Passed on.
    BadSource = "bad_source" false,
    /// An echo reply with our mark that came in from another network. Passed on.
    BadNetwork = "bad_network" false,
    /// An echo reply with our mark and a wrong checksum. Passed on.
    BadChecksum = "bad_checksum" false,
    /// An echo reply with our mark for a slot that is not in use. Passed on.
    NoSlot = "no_slot" false,
    /// An ICMP error that quotes a probe of ours: kept as the reason of a silence. Passed on.
    Quoted = "quoted" false,
    /// An ICMP error that quotes something like a probe of ours, but none that was sent. Passed on.
    BadQuote = "bad_quote" false,
    /// Everything else: not ours.
    Foreign = "foreign" false,
}

/// Number of counters.
pub const COUNT: u32 = Reason::ALL.len() as u32;
