//! The small types that every stage shares: addresses of the link layer, identities, verdicts' names.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A 48-bit IEEE 802 MAC address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The broadcast address.
    pub const BROADCAST: Mac = Mac([0xff; 6]);

    /// Whether a single station can own this address: neither zero nor a group address.
    pub fn is_unicast(self) -> bool {
        self.0 != [0; 6] && self.0[0] & 1 == 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What [`Mac::from_str`] refuses.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a MAC address (allowed: six hexadecimal octets separated by ':' or '-', as fa:16:3e:01:02:03)")]
pub struct MacError;

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().ok_or(MacError)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(MacError);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| MacError)?;
        }
        if parts.next().is_some() {
            return Err(MacError);
        }
        Ok(Mac(octets))
    }
}

/// An address as the tables and the kernel maps hold it: 16 bytes, IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2).
pub fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The inverse of [`mapped`].
pub fn unmapped(octets: [u8; 16]) -> IpAddr {
    let v6 = Ipv6Addr::from(octets);
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), |v4: Ipv4Addr| IpAddr::V4(v4))
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// Of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv6() { Family::V6 } else { Family::V4 }
    }

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }
}

/// What the agent says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Not yet enough probes to say anything.
    Pending,
    /// It answers.
    Up,
    /// It missed a probe and is being confirmed.
    Suspect,
    /// It missed `down_after` of its last `down_of` probes.
    Down,
    /// The agent cannot tell, and says why.
    Unknown,
}

impl Verdict {
    /// All verdicts, in the order in which people want to see them.
    pub const ALL: [Verdict; 5] = [Verdict::Down, Verdict::Suspect, Verdict::Unknown, Verdict::Pending, Verdict::Up];

    /// The lower-case name, as in the API and the metrics' label.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Pending => "pending",
            Verdict::Up => "up",
            Verdict::Suspect => "suspect",
            Verdict::Down => "down",
            Verdict::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Verdict {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Verdict::ALL
            .into_iter()
            .find(|verdict| verdict.name() == text)
            .ok_or_else(|| format!("no such verdict: {text:?} (allowed: pending, up, suspect, down, unknown)"))
    }
}

/// Why a verdict is [`Verdict::Unknown`]: always the agent's side, never the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blind {
    /// The network's interface is down, has no carrier, or is gone.
    LinkDown,
    /// Probes could not be sent.
    SendError,
    /// No MAC is known for the address, and none could be learned yet.
    NoMac,
    /// The gateway that the probes must pass has not been resolved.
    NoGateway,
    /// The agent is attached to no network of that name.
    NoNetwork,
    /// The agent fell behind or was suspended.
    Overload,
    /// The agent has no address of that family there to send echo requests from.
    NoSource,
    /// Nobody in the network answers any more, not even a gateway or a canary: the agent may be deaf.
    Silent,
    /// Answers reach the interface and pass the receiver by, or are lost on the way through it.
    Deaf,
}

impl Blind {
    /// All reasons.
    pub const ALL: [Blind; 9] = [
        Blind::LinkDown,
        Blind::SendError,
        Blind::NoMac,
        Blind::NoGateway,
        Blind::NoNetwork,
        Blind::Overload,
        Blind::NoSource,
        Blind::Silent,
        Blind::Deaf,
    ];

    /// The kebab-case name, as in the API.
    pub fn name(self) -> &'static str {
        match self {
            Blind::LinkDown => "link-down",
            Blind::SendError => "send-error",
            Blind::NoMac => "no-mac",
            Blind::NoGateway => "no-gateway",
            Blind::NoNetwork => "no-network",
            Blind::Overload => "overload",
            Blind::NoSource => "no-source",
            Blind::Silent => "silent",
            Blind::Deaf => "deaf",
        }
    }
}

impl fmt::Display for Blind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What may hold of an address beside its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Another MAC than the expected one answers for it.
    Conflict,
    /// It goes down and comes back again and again.
    Flapping,
    /// With `method = "both"`: it answers on the link, and not to ICMP.
    IcmpFiltered,
    /// With `method = "both"`: it answers to ICMP, and not on the link.
    Asymmetric,
}

impl Condition {
    /// All conditions.
    pub const ALL: [Condition; 4] = [Condition::Conflict, Condition::Flapping, Condition::IcmpFiltered, Condition::Asymmetric];

    /// The kebab-case name, as in the API.
    pub fn name(self) -> &'static str {
        match self {
            Condition::Conflict => "conflict",
            Condition::Flapping => "flapping",
            Condition::IcmpFiltered => "icmp-filtered",
            Condition::Asymmetric => "asymmetric",
        }
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("no such condition: {text:?} (allowed: conflict, flapping, icmp-filtered, asymmetric)");
        Condition::ALL.into_iter().find(|condition| condition.name() == text).ok_or_else(wrong)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_text_round_trips_and_nonsense_is_refused() {
        let mac: Mac = "FA-16-3e-01-02-ff".parse().unwrap();
        assert_eq!(mac.to_string(), "fa:16:3e:01:02:ff");
        for bad in ["", "fa:16:3e:01:02", "fa:16:3e:01:02:03:04", "fa:16:3e:01:02:+f", "f:16:3e:01:02:03", "gg:16:3e:01:02:03"] {
            assert_eq!(bad.parse::<Mac>(), Err(MacError), "{bad:?}");
        }
    }

    #[test]
    fn mapped_addresses_round_trip() {
        for text in ["10.0.0.1", "2001:db8::1", "::"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(unmapped(mapped(address)), address);
        }
    }
}
