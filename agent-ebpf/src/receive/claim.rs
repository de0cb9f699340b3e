//! What a frame says, before anybody asked whether it is true.

/// Of what kind it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// An echo reply with our mark.
    Echo,
    /// Somebody says which MAC an address has: ARP reply, neighbour advertisement.
    Neighbour,
    /// Somebody on the way says why a probe of ours did not arrive.
    Quote,
}

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Of what kind it is; says which of the others mean something.
    pub kind: Kind,
    /// The tags, as [`crate::config::Tags::word`].
    pub tags: u64,
    /// The address that was probed, as the two words of a target.
    pub address: [u64; 2],
    /// Neighbour: the MAC that it claims to have.
    pub mac: u64,
    /// Neighbour: the MAC that it tells.
    pub to: u64,
    /// Echo and quote: identifier.
    pub id: u16,
    /// Echo and quote: sequence.
    pub sequence: u16,
    /// Echo: slot. Quote: likewise, where the quote is long enough, else none.
    pub slot: Named,
    /// Echo and quote: nonce.
    pub nonce: u32,
    /// Sum of the 16-bit words under the checksum, checksum included: right when it folds to all ones.
    pub sum: u64,
    /// Quote: type and code.
    pub because: u16,
    /// Quote: who says so.
    pub from: [u64; 2],
}

/// A slot that a frame names, or none. One word, which is set in either case: of an `Option<u32>` without a value half is left as it
/// was, and the verifier of Linux 6.1 meets there what the stack held before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named(u64);

impl Named {
    /// None.
    pub const NOTHING: Self = Self(0);

    /// This one.
    #[inline(always)]
    pub const fn slot(slot: u32) -> Self {
        Self(1 << 32 | slot as u64)
    }

    /// Which one.
    #[inline(always)]
    pub const fn get(self) -> Option<u32> {
        if self.0 == 0 { None } else { Some(self.0 as u32) }
    }
}

/// Words of a claim in memory.
pub const WORDS: usize = 10;

impl Claim {
    /// As words.
    #[inline(always)]
    pub const fn words(&self) -> [u64; WORDS] {
        let Named(slot) = self.slot;
        let small =
            self.kind as u64 | slot >> 32 << 8 | (self.because as u64) << 16 | (self.id as u64) << 32 | (self.sequence as u64) << 48;
        let [a, b] = self.address;
        [small, slot & 0xffff_ffff | (self.nonce as u64) << 32, self.tags, a, b, self.mac, self.to, self.sum, self.from[0], self.from[1]]
    }

    /// From words.
    #[inline(always)]
    pub const fn of(words: [u64; WORDS]) -> Self {
        let [small, middle, tags, a, b, mac, to, sum, c, d] = words;
        let kind = match small as u8 {
            0 => Kind::Echo,
            1 => Kind::Neighbour,
            _ => Kind::Quote,
        };
        Claim {
            kind,
            tags,
            address: [a, b],
            mac,
            to,
            id: (small >> 32) as u16,
            sequence: (small >> 48) as u16,
            slot: Named((small >> 8 & 1) << 32 | middle & 0xffff_ffff),
            nonce: (middle >> 32) as u32,
            sum,
            because: (small >> 16) as u16,
            from: [c, d],
        }
    }

    /// One that says nothing yet.
    #[inline(always)]
    pub(super) const fn new(kind: Kind, tags: u64, address: [u64; 2]) -> Self {
        Claim {
            kind,
            tags,
            address,
            mac: 0,
            to: 0,
            id: 0,
            sequence: 0,
            slot: Named::NOTHING,
            nonce: 0,
            sum: 0xffff,
            because: 0,
            from: [0; 2],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claim_survives_its_way_through_memory() {
        let echo = Claim {
            id: 4711,
            sequence: 65_535,
            slot: Named::slot(0xff_fffe),
            nonce: u32::MAX,
            ..Claim::new(Kind::Echo, 7 << 32 | 9, [1, 2])
        };
        let neighbour = Claim { mac: 3, to: 4, sum: 5, ..Claim::new(Kind::Neighbour, 0, [1, 2]) };
        let quote = Claim { because: 0x0301, from: [6, 7], nonce: 8, ..Claim::new(Kind::Quote, 0, [1, 2]) };
        for claim in [echo, neighbour, quote] {
            assert_eq!(Claim::of(claim.words()), claim);
        }
    }
}
