//! The fields of a host, and what each may hold. `Err` says what is allowed.

use std::net::IpAddr;

use rollcall_agent::table::text_rule;
use rollcall_agent::unit::Mac;

use super::Monitor;

/// All fields, as CSV columns and as JSON keys. JSON has `addresses` besides.
pub(super) const FIELDS: [&str; 8] = ["id", "name", "project", "network", "address", "mac", "tags", "monitor"];

/// What to do about a list of nobody: an export that failed must not end all monitoring.
pub(super) const NOBODY: &str = "at least one host (to watch nobody on purpose, say so with monitor=false)";

/// A field that must be there: id, network, tag.
pub(super) fn required(text: &str) -> Result<&str, String> {
    match text_rule(text, false) {
        None => Ok(text),
        Some(allowed) => Err(allowed),
    }
}

/// A tag. One that names a MAC which may answer for a shared address must name one.
pub(crate) fn tag(text: &str) -> Result<&str, String> {
    if let Some(text) = text.strip_prefix("allowed-mac=")
        && !mac(text).is_ok_and(|mac| mac.is_some())
    {
        return Err("allowed-mac= and a unicast MAC, such as allowed-mac=00:00:5e:00:01:0a".to_owned());
    }
    required(text)
}

/// A field that may be empty: name, project.
pub(super) fn optional(text: &str) -> Result<&str, String> {
    match text_rule(text, true) {
        None => Ok(text),
        Some(allowed) => Err(allowed),
    }
}

/// An address that a single host can have.
pub(crate) fn address(text: &str) -> Result<IpAddr, String> {
    let allowed = "one IPv4 or IPv6 address without a prefix length, such as 10.0.0.7 or 2001:db8::7";
    let address = text.parse::<IpAddr>().map_err(|_| allowed.to_owned())?.to_canonical();
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    match address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast {
        true => Err("a unicast address that is not loopback".to_owned()),
        false => Ok(address),
    }
}

/// A MAC, if there is one.
pub(crate) fn mac(text: &str) -> Result<Option<Mac>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let mac: Mac =
        text.parse().map_err(|_| "nothing, or six hexadecimal octets separated by ':' or '-', such as fa:16:3e:01:02:03".to_owned())?;
    match mac.is_unicast() {
        true => Ok(Some(mac)),
        false => Err("a unicast MAC: neither zero nor a group address".to_owned()),
    }
}

/// Whether a host is watched; empty is yes.
pub(super) fn monitor(text: &str) -> Result<Monitor, String> {
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    if text.is_empty() || is("true") || is("yes") || is("on") || text == "1" {
        Ok(Monitor::On)
    } else if is("false") || is("no") || is("off") || text == "0" {
        Ok(Monitor::Off)
    } else if is(Monitor::Silent.name()) {
        Ok(Monitor::Silent)
    } else {
        Err("true, false or silent (also yes, no, on, off, 1, 0; nothing means true)".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_no_single_host_has_are_refused() {
        for bad in ["", "10.0.0", "10.0.0.1/24", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "127.0.0.1", "::1"] {
            assert!(address(bad).is_err(), "{bad}");
        }
        assert_eq!(address("::ffff:10.0.0.1"), Ok("10.0.0.1".parse().unwrap()), "one address, one spelling");
    }

    #[test]
    fn group_and_zero_macs_are_refused() {
        assert_eq!(mac(""), Ok(None));
        assert!(mac("fa:16:3e:00:00:01").unwrap().is_some());
        for bad in ["ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "01:00:5e:00:00:01", "fa163e000001"] {
            assert!(mac(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tag_that_allows_a_mac_names_one() {
        assert!(tag("allowed-mac=00:00:5e:00:01:0a").is_ok() && tag("web").is_ok());
        for bad in ["allowed-mac=", "allowed-mac=web", "allowed-mac=ff:ff:ff:ff:ff:ff"] {
            assert!(tag(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn monitoring_is_on_unless_said_otherwise() {
        assert_eq!(["", "TRUE", "yes", "1"].map(monitor), [const { Ok(Monitor::On) }; 4]);
        assert_eq!(["False", "no", "off", "0"].map(monitor), [const { Ok(Monitor::Off) }; 4]);
        assert_eq!(monitor("Silent"), Ok(Monitor::Silent));
        assert!(monitor("maybe").is_err());
    }
}
