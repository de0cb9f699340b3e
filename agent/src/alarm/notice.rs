//! What receivers are told: an [`Alarm`] is one outage of one address, a [`Notice`] one message about it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::change::{Down, Key, Subject};

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

/// One outage of one address, from its verdict `down` on. Never changes once made.
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

    /// One sentence for a person who was just woken.
    pub fn summary(&self) -> String {
        let Alarm { subject, .. } = &*self.alarm;
        let who = format!("{} ({})", plain(&subject.name), plain(&subject.id));
        let place = format!("{} in {}", subject.address, plain(&subject.network));
        let folded = match self.folded {
            0 => String::new(),
            1 => "; one more outage in between was not told apart, because this receiver was away".into(),
            n => format!("; {n} more outages in between were not told apart, because this receiver was away"),
        };
        match self.kind {
            Kind::Firing => format!("{who} is down: {place} {}{folded}", self.silence()),
            Kind::Resolved => format!("{who} is up again: {place} answers, after {} of silence{folded}", self.length()),
            Kind::Forgotten => {
                format!("{who} is no longer watched: {place} was stopped after {} of silence{folded}", self.length())
            }
        }
    }

    /// The evidence: how many probes were missed, how they were sent, and when it answered last.
    pub fn silence(&self) -> String {
        let Alarm { misses, interval, timeout, since, last_reply, .. } = &*self.alarm;
        let probes = if *misses == 1 { "probe" } else { "probes" };
        let last = last_reply.map_or_else(|| "no reply since the agent started".into(), |at| format!("last reply {}", stamp(at)));
        format!(
            "missed {misses} {probes} (interval {}, timeout {}), silent since {}, {last}",
            humantime::format_duration(*interval),
            humantime::format_duration(*timeout),
            stamp(*since),
        )
    }

    /// From the first missed probe to the end, in whole seconds.
    fn length(&self) -> humantime::FormattedDuration {
        let ended = self.ended.unwrap_or(self.alarm.at);
        let length = ended.duration_since(self.alarm.since).unwrap_or_default();
        humantime::format_duration(Duration::from_secs(length.as_secs().max(1)))
    }
}

/// RFC 3339 in UTC with milliseconds.
pub(super) fn stamp(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(representable(time)).to_string()
}

/// Names come from outside: a line break in one must not forge a line in a log.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
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
    use crate::alarm::sample;

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
    fn the_summary_names_host_address_evidence_and_never_breaks_a_line() {
        let mut down = sample::down("10.0.0.1", 1_000);
        Arc::make_mut(&mut down.subject).name = "web\n1".into();
        let alarm = Arc::new(Alarm::from(down));
        let firing = Notice { alarm: alarm.clone(), kind: Kind::Firing, ended: None, folded: 0 }.summary();
        assert_eq!(
            firing,
            "web\u{fffd}1 (i-10.0.0.1) is down: 10.0.0.1 in net-a missed 3 probes (interval 1s, timeout 300ms), \
             silent since 1970-01-01T00:16:39.000Z, last reply 1970-01-01T00:16:38.000Z"
        );
        let ended = Some(alarm.since + Duration::from_secs(75));
        let resolved = Notice { alarm, kind: Kind::Resolved, ended, folded: 2 }.summary();
        assert!(resolved.contains("is up again: 10.0.0.1 in net-a answers, after 1m 15s of silence; 2 more outages"), "{resolved}");
    }
}
