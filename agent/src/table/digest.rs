//! A table's identity.

use std::fmt;
use std::str::FromStr;

/// A sum over all that a table says, without its generation: the same hosts and policies give the same digest. Being a
/// sum, it follows a change of a few addresses without a look at all the others.
///
/// It finds accidents, it does not authenticate: who may replace a table is decided by the agent's token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Digest(pub u128);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What [`Digest::from_str`] refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a digest (allowed: 32 hexadecimal digits)")]
pub struct DigestError;

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(DigestError);
        }
        u128::from_str_radix(text, 16).map(Digest).map_err(|_| DigestError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_keep_their_leading_zeros() {
        let digest = Digest(0xabc);
        assert_eq!(digest.to_string(), "00000000000000000000000000000abc");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for bad in ["", "abc", "+0000000000000000000000000000abc", "g0000000000000000000000000000abc"] {
            assert_eq!(bad.parse::<Digest>(), Err(DigestError), "{bad}");
        }
    }
}
