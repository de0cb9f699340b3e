//! Which network the frames of an interface belong to.

use std::sync::atomic::Ordering;

use rollcall_agent_ebpf::config::{self, Tags};

use super::arrays::Arrays;
use crate::unit::Mac;

/// Why the program cannot tell the frames of an interface from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Crowded {
    /// An interface of another network namespace has the same number, the same tags and the same MAC.
    #[error(
        "an interface in another network namespace has the same number and the same MAC (the agent's network {0}): give one of them another MAC"
    )]
    Twin(u16),
    /// No room near its place.
    #[error("too many interfaces")]
    Full,
}

impl Arrays {
    /// Says which network an interface belongs to, with frames that carry these tags, and its MAC.
    pub fn set_network(&self, interface: u32, tags: Tags, network: u16, mac: Mac) -> Result<(), Crowded> {
        const KEY: usize = config::NETWORK_KEY;
        let (tags, mac) = (tags.word(), config::mac_word(mac.0));
        let place = |step| config::network_place(interface, tags, mac, step);
        let places = || (0..config::NETWORK_PROBES).filter_map(|step| self.networks.words(place(step)));
        let same = places().find_map(|words| {
            let there = config::network(words[KEY].load(Ordering::Relaxed), interface)?;
            let word = |at: usize| words[at].load(Ordering::Relaxed);
            (word(config::NETWORK_TAGS) == tags && word(config::NETWORK_MAC) == mac).then_some(there)
        });
        match same {
            Some(there) if there == network => return Ok(()),
            Some(there) => return Err(Crowded::Twin(there)),
            None => {}
        }
        let words = places().find(|words| words[KEY].load(Ordering::Relaxed) == 0).ok_or(Crowded::Full)?;
        words[config::NETWORK_TAGS].store(tags, Ordering::Release);
        words[config::NETWORK_MAC].store(mac, Ordering::Release);
        words[KEY].store(config::network_entry(interface, network), Ordering::Release);
        Ok(())
    }

    /// Forgets the interface of a network, which is gone: its number may become another's.
    pub fn unset_network(&self, network: u16) {
        for words in (0..config::NETWORKS).filter_map(|place| self.networks.words(place)) {
            let key = words[config::NETWORK_KEY].load(Ordering::Relaxed);
            if config::network(key, key as u32) == Some(network) {
                words[config::NETWORK_KEY].store(0, Ordering::Release);
            }
        }
    }
}
