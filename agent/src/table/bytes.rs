//! Where the bytes of a table are: in memory, or in a file that is mapped.

use std::ops::Deref;

#[cfg(feature = "dataplane")]
use super::mapped::Mapping;

/// The bytes of a table.
pub(super) enum Bytes {
    Owned(Vec<u8>),
    #[cfg(feature = "dataplane")]
    Mapped(Mapping),
}

impl Bytes {
    pub(super) fn cool(&self) {
        match self {
            Bytes::Owned(_) => {}
            #[cfg(feature = "dataplane")]
            Bytes::Mapped(mapping) => mapping.cool(),
        }
    }

    /// Bytes that may be changed. A mapping is copied: its file is not ours to write through it.
    pub(super) fn owned_mut(&mut self) -> &mut Vec<u8> {
        #[cfg(feature = "dataplane")]
        if let Bytes::Mapped(mapping) = self {
            *self = Bytes::Owned(mapping.to_vec());
        }
        match self {
            Bytes::Owned(bytes) => bytes,
            #[cfg(feature = "dataplane")]
            Bytes::Mapped(_) => unreachable!("it was copied just now"),
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Owned(bytes) => bytes,
            #[cfg(feature = "dataplane")]
            Bytes::Mapped(mapping) => mapping,
        }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::Owned(bytes)
    }
}

#[cfg(feature = "dataplane")]
impl From<Mapping> for Bytes {
    fn from(mapping: Mapping) -> Self {
        Bytes::Mapped(mapping)
    }
}
