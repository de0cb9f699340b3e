//! What receivers are told: an [`Alarm`] is mostly one outage of one address, a [`Notice`] one message about it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::change::{Down, Key, Subject};
use super::matter::What;

/// The name of one outage of one address: the same on every route, after every restart. 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AlarmId(u128);

impl AlarmId {
    /// Derived from identity and the verdict's time, so it needs no counter that a crash could set back.
    fn of(key: &Key, at: SystemTime) -> AlarmId {
        let mut hash = Xxh3::new();
        hash.update(key.network.as_bytes());
        hash.update(&[0]);
        hash.update(&crate::unit::mapped(key.address));
        hash.update(&at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_le_bytes());
        if key.what != What::Down {
            hash.update(key.what.name().as_bytes());
            hash.update(&[0]);
            hash.update(key.group.as_bytes());
        }
        AlarmId(hash.digest128())
    }
}

impl fmt::Display for AlarmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for AlarmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What [`AlarmId::from_str`] refuses.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an alarm id (allowed: 32 hexadecimal digits)")]
pub struct AlarmIdError;

impl FromStr for AlarmId {
    type Err = AlarmIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(AlarmIdError);
        }
        u128::from_str_radix(text, 16).map(AlarmId).map_err(|_| AlarmIdError)
    }
}

impl Serialize for AlarmId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AlarmId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One outage of one address, from its verdict `down` on; or another [matter](super::Matter). Never changes once made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// Its name.
    pub id: AlarmId,
    /// Whom it is about.
    #[serde(with = "shared")]
    pub subject: Arc<Subject>,
    /// When the agent came to the verdict.
    #[serde(with = "humantime_serde")]
    pub at: SystemTime,
    /// When the first missed probe was sent.
    #[serde(with = "humantime_serde")]
    pub since: SystemTime,
    /// When the address answered last.
    #[serde(with = "humantime_serde")]
    pub last_reply: Option<SystemTime>,
    /// Misses that made the verdict.
    pub misses: u32,
    /// The policy's interval.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// The policy's timeout.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

impl From<Down> for Alarm {
    fn from(down: Down) -> Alarm {
        let Down { subject, at, since, last_reply, misses, interval, timeout } = down;
        Alarm {
            id: AlarmId::of(&subject.key(), at),
            subject,
            at: representable(at),
            since: representable(since),
            last_reply: last_reply.map(representable),
            misses,
            interval,
            timeout,
        }
    }
}

/// The years that RFC 3339 can write: a clock that is far out must not stop an alarm.
pub(super) fn representable(time: SystemTime) -> SystemTime {
    let latest = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    time.clamp(UNIX_EPOCH, latest)
}

/// What a notice says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The address is down.
    Firing,
    /// The address answers again.
    Resolved,
    /// The host is no longer watched; what was firing about it is closed.
    Forgotten,
}

impl Kind {
    /// The lower-case name, as in the webhook's `status`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Firing => "firing",
            Kind::Resolved => "resolved",
            Kind::Forgotten => "forgotten",
        }
    }
}

/// One message about one alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The alarm.
    pub alarm: Arc<Alarm>,
    /// What happened to it.
    pub kind: Kind,
    /// When it ended; `None` while it fires.
    pub ended: Option<SystemTime>,
    /// Further outages of the same address that were folded into this alarm while the receiver was away.
    pub folded: u32,
}

/// Which notice, as the journal's acknowledgements name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NoticeRef {
    /// Whom it is about.
    #[serde(flatten)]
    pub key: Key,
    /// Which alarm.
    pub alarm: AlarmId,
    /// What it says.
    pub kind: Kind,
}

impl Notice {
    /// The stable, unique name of this message, for the receiver to drop what it was sent twice.
    pub fn id(&self) -> String {
        format!("{}.{}", self.alarm.id, self.kind.name())
    }

    /// What the journal calls it.
    pub fn reference(&self) -> NoticeRef {
        NoticeRef { key: self.alarm.subject.key(), alarm: self.alarm.id, kind: self.kind }
    }
}

/// RFC 3339 in UTC with milliseconds.
pub(super) fn stamp(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(representable(time)).to_string()
}

/// `Arc` as if it were its content: serde's own support is a feature that shares nothing on the way back either.
pub(super) mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::alarm) fn serialize<T: Serialize, S: Serializer>(value: &Arc<T>, serializer: S) -> Result<S::Ok, S::Error> {
        (**value).serialize(serializer)
    }

    pub(in crate::alarm) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<T>, D::Error> {
        T::deserialize(deserializer).map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::matter::{Matter, Outage, OutageHost, Scope};
    use crate::alarm::sample;
    use crate::unit::Blind;

    #[test]
    fn the_same_outage_has_the_same_id_and_another_one_another() {
        let first = Alarm::from(sample::down("10.0.0.1", 1_000));
        assert_eq!(first.id, Alarm::from(sample::down("10.0.0.1", 1_000)).id);
        assert_ne!(first.id, Alarm::from(sample::down("10.0.0.1", 1_001)).id);
        assert_ne!(first.id, Alarm::from(sample::down("10.0.0.2", 1_000)).id);
        assert_eq!(first.id.to_string().parse(), Ok(first.id));
        for bad in ["", "12", "zz000000000000000000000000000000", "+0000000000000000000000000000001"] {
            assert_eq!(bad.parse::<AlarmId>(), Err(AlarmIdError), "{bad:?}");
        }
    }

    #[test]
    fn an_alarm_survives_json_to_the_nanosecond() {
        let mut down = sample::down("2001:db8::1", 1_000);
        down.at += Duration::from_nanos(123_456_789);
        let alarm = Alarm::from(down);
        let text = serde_json::to_string(&alarm).unwrap();
        assert_eq!(serde_json::from_str::<Alarm>(&text).unwrap(), alarm);
    }

    #[test]
    fn a_clock_before_1970_is_written_not_refused() {
        let mut down = sample::down("10.0.0.1", 1_000);
        down.since = UNIX_EPOCH - Duration::from_secs(5);
        assert!(serde_json::to_string(&Alarm::from(down)).unwrap().contains("1970-01-01T00:00:00Z"));
    }

    #[test]
    fn the_id_of_a_silent_host_is_as_it_ever_was_and_other_matters_have_others() {
        let down = Alarm::from(sample::down("10.0.0.1", 1_000));
        // As the first release wrote it: a journal of that time names this alarm so.
        assert_eq!(down.id.to_string(), "19b03c23916d52954ea652b1148a436a");
        let matters = [
            Matter::Conflict { expected: None, found: None },
            Matter::Flapping { changes: 6, window: Duration::from_secs(600) },
            Matter::Blind { reason: Blind::LinkDown, networks: vec![] },
            Matter::Blind { reason: Blind::LinkDown, networks: vec!["a".into(), "b".into()] },
        ];
        let mut ids: Vec<_> = matters.into_iter().map(|matter| Alarm::from(sample::about(matter, 1_000)).id).chain([down.id]).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 5);
    }

    #[test]
    fn an_alarm_of_an_older_journal_is_that_of_a_silent_host() {
        let alarm = Alarm::from(sample::down("10.0.0.1", 1_000));
        let text = serde_json::to_string(&alarm).unwrap();
        assert!(!text.contains("matter"), "written as before: {text}");
        let key: Key = serde_json::from_str(r#"{"network":"net-a","address":"10.0.0.1"}"#).unwrap();
        assert_eq!(key, alarm.subject.key());
        assert_eq!(serde_json::to_string(&key).unwrap(), r#"{"network":"net-a","address":"10.0.0.1"}"#);
        let reference = NoticeRef { key: key.with(What::Conflict), alarm: alarm.id, kind: Kind::Firing };
        let text = serde_json::to_string(&reference).unwrap();
        assert_eq!(serde_json::from_str::<NoticeRef>(&text).unwrap(), reference);
    }

    #[test]
    fn every_matter_survives_json() {
        let host = OutageHost { id: "i".into(), name: "n".into(), network: "a".into(), address: [10, 0, 0, 1].into() };
        let outage = Outage { scope: Scope::Subnet, name: "10.0.0.0/24".into(), wave: 2, silent: 30, watched: 60, hosts: vec![host] };
        for matter in [
            Matter::Down,
            Matter::Conflict { expected: Some("a".into()), found: None },
            Matter::Flapping { changes: 6, window: Duration::from_millis(600_500) },
            Matter::Outage(outage),
            Matter::Blind { reason: Blind::SendError, networks: vec!["a".into()] },
        ] {
            let alarm = Alarm::from(sample::about(matter, 1_000));
            let text = serde_json::to_string(&alarm).unwrap();
            assert_eq!(serde_json::from_str::<Alarm>(&text).unwrap(), alarm, "{text}");
        }
    }
}
