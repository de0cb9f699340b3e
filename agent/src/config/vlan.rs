//! VLAN tags, as people write them: `100`, `[200, 100]` (outer and inner, IEEE 802.1ad), `"802.1q:200.100"`.

use std::fmt;

use rollcall_agent_ebpf::config::Tags;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// One tag or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan(pub Tags);

const ALLOWED: &str =
    "a VLAN identifier from 1 to 4094, or [outer, inner], or \"802.1q:OUTER.INNER\" where the outer tag is of type 0x8100";

impl Vlan {
    fn new(outer: u64, inner: Option<u64>, service: bool) -> Option<Self> {
        let id = |id: u64| u16::try_from(id).ok().filter(|id| (1..=4094).contains(id));
        let inner = match inner {
            Some(inner) => id(inner)?,
            None => 0,
        };
        Some(Vlan(Tags { outer: id(outer)?, inner, service }))
    }
}

impl<'de> Deserialize<'de> for Vlan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Vlan;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ALLOWED)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Vlan, E> {
        let vlan = u64::try_from(value).ok().and_then(|id| Vlan::new(id, None, false));
        vlan.ok_or_else(|| E::custom(format!("found {value}, allowed: {ALLOWED}")))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Vlan, E> {
        Vlan::new(value, None, false).ok_or_else(|| E::custom(format!("found {value}, allowed: {ALLOWED}")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vlan, A::Error> {
        let (outer, inner, more) = (sequence.next_element()?, sequence.next_element()?, sequence.next_element::<u64>()?);
        let vlan = match (outer, inner, more) {
            (Some(outer), Some(inner), None) => Vlan::new(outer, Some(inner), true),
            _ => None,
        };
        vlan.ok_or_else(|| de::Error::custom(format!("found {outer:?}, {inner:?}, allowed: {ALLOWED}")))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vlan, E> {
        let parse = || {
            let (outer, inner) = text.strip_prefix("802.1q:")?.split_once('.')?;
            Vlan::new(outer.parse().ok()?, Some(inner.parse().ok()?), false)
        };
        parse().ok_or_else(|| E::custom(format!("found {text:?}, allowed: {ALLOWED}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vlan, String> {
        #[derive(Deserialize)]
        struct Holder {
            vlan: Vlan,
        }
        toml::from_str::<Holder>(&format!("vlan = {text}")).map(|holder| holder.vlan).map_err(|error| error.to_string())
    }

    #[test]
    fn one_tag_two_tags_and_two_of_the_older_type_are_read() {
        for (text, outer, inner, service) in [("100", 100, 0, false), ("[200, 100]", 200, 100, true), ("\"802.1q:4094.1\"", 4094, 1, false)]
        {
            assert_eq!(read(text).unwrap(), Vlan(Tags { outer, inner, service }), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_is_allowed() {
        for text in ["0", "4095", "-1", "[1]", "[1, 2, 3]", "[0, 5]", "\"100\"", "\"802.1q:1\"", "1.5"] {
            let error = read(text).unwrap_err();
            assert!(error.contains("1 to 4094"), "{text}: {error}");
        }
    }
}
