//! Whether a new list may be believed. A platform that is ill answers with few hosts, or with none, and says 200 (a role that was lost
//! does just that): what was watched must not be forgotten for it.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::source::Listing;

/// So few may always go at once: a small cloud is not held up for each host that is deleted.
const FEW: u64 = 5;

/// How much may go at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// In per cent of what there was.
    pub percent: u8,
    /// Nothing is too much.
    pub allow: bool,
}

impl Guard {
    /// Whether of `before` addresses, of which `gone` are not there any more, that is believed; `Err` says what is wrong.
    pub fn judge(self, what: &str, before: u64, gone: u64) -> Result<(), String> {
        let most = (before * u64::from(self.percent) / 100).max(FEW);
        if self.allow || gone == 0 || (gone <= most && gone < before) {
            return Ok(());
        }
        Err(format!(
            "{what}: {gone} of {before} addresses would be watched no more, which is not believed (max_shrink_percent = {}): nothing is removed \
             and the agents go on with what they have. If they are really gone: end it and start it anew with --allow-shrink; else see whether the platform \
             is well and its credential has all its rights",
            self.percent
        ))
    }

    /// The same of two listings.
    pub fn compare(self, what: &str, before: &Listing, after: &Listing) -> Result<(), String> {
        let now: HashSet<(&str, IpAddr), foldhash::fast::RandomState> = spots(after).collect();
        let (all, gone) = spots(before).fold((0, 0), |(all, gone), spot| (all + 1, gone + u64::from(!now.contains(&spot))));
        self.judge(what, all, gone)
    }
}

fn spots(listing: &Listing) -> impl Iterator<Item = (&str, IpAddr)> {
    listing.hosts.iter().flat_map(|host| &host.addresses).map(|spot| (spot.network.as_str(), spot.address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: Guard = Guard { percent: 20, allow: false };

    #[test]
    fn an_empty_list_and_one_that_lost_too_much_are_not_believed() {
        for (before, gone, believed) in [
            (0, 0, true),
            (1, 1, false),
            (5, 5, false),
            (6, 5, true),
            (100, 20, true),
            (100, 21, false),
            (5000, 1000, true),
            (5000, 4500, false),
        ] {
            assert_eq!(GUARD.judge("list", before, gone).is_ok(), believed, "{gone} of {before}");
        }
        assert!(Guard { allow: true, ..GUARD }.judge("list", 5000, 5000).is_ok());
    }

    #[test]
    fn what_is_refused_is_said_with_numbers_and_with_what_to_do() {
        let text = GUARD.judge("source \"cloud\"", 5000, 5000).unwrap_err();
        assert!(text.contains("5000 of 5000") && text.contains("--allow-shrink") && text.contains("credential"), "{text}");
    }
}
