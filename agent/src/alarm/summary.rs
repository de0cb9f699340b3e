//! What a notice says to a person who was just woken: what happened, to whom, and what to do.

use std::time::Duration;

use super::matter::{Matter, Outage, OutageHost};
use super::notice::{Alarm, Kind, Notice, stamp};
use crate::legible::legible;
use crate::unit::Blind;

/// Hosts of an outage that the sentence itself names.
const NAMED: usize = 3;

impl Notice {
    /// One sentence for a person who was just woken.
    pub fn summary(&self) -> String {
        let subject = &self.alarm.subject;
        let who = format!("{} ({})", legible(&subject.name), legible(&subject.id));
        let place = format!("{} in {}", subject.address, legible(&subject.network));
        let length = self.length();
        let said = match (&subject.matter, self.kind) {
            (Matter::Down, Kind::Firing) => format!("{who} is down: {place} {}", self.silence()),
            (Matter::Down, Kind::Resolved) => format!("{who} is up again: {place} answers, after {length} of silence"),
            (Matter::Down, Kind::Forgotten) => format!("{who} is no longer watched: {place} was stopped after {length} of silence"),
            (Matter::Conflict { .. } | Matter::Flapping { .. }, Kind::Forgotten) => {
                format!("{who} is no longer watched: {place} was stopped")
            }
            (matter @ Matter::Conflict { .. }, Kind::Firing) => format!("{who}: {place} is in conflict: {}", self.matter(matter)),
            (Matter::Conflict { .. }, Kind::Resolved) => {
                format!("{who}: the conflict over {place} is over: no other MAC answers for it any more, after {length}")
            }
            (matter @ Matter::Flapping { .. }, Kind::Firing) => format!("{who} is flapping: {place} {}", self.matter(matter)),
            (Matter::Flapping { window, .. }, Kind::Resolved) => {
                format!(
                    "{who} is stable: {place} turned less than twice within {}; should it be down, that is told by itself",
                    text(*window)
                )
            }
            (Matter::Outage(outage), Kind::Firing) => format!("{}: {}", scope(outage), self.matter(&subject.matter)),
            (Matter::Outage(outage), _) => format!(
                "{}: the outage is over after {length}: few of its addresses are silent any more; those that are, are told one by one",
                scope(outage)
            ),
            (Matter::Blind { networks, .. }, Kind::Firing) => {
                format!("the agent is blind: {} {}", seen(networks), self.matter(&subject.matter))
            }
            (Matter::Blind { networks, .. }, _) => format!("the agent sees {} again, after {length}", seen(networks)),
        };
        let others = if subject.matter.is_down() { "outage" } else { "alarm" };
        match self.folded {
            0 => said,
            1 => format!("{said}; one more {others} in between was not told apart, because this receiver was away"),
            n => format!("{said}; {n} more {others}s in between were not told apart, because this receiver was away"),
        }
    }

    /// What is the matter, without saying whom it is about.
    pub fn evidence(&self) -> String {
        self.matter(&self.alarm.subject.matter)
    }

    fn matter(&self, matter: &Matter) -> String {
        match matter {
            Matter::Down => self.silence(),
            Matter::Conflict { expected, found } => {
                let mac = |mac: &Option<String>| mac.as_deref().map_or_else(|| "an unknown MAC".to_owned(), legible);
                format!(
                    "{} answers for it, {} is expected: another machine may have taken the address; find it by its MAC, or correct the list. \
                     Whether the host is up is judged from the expected MAC alone",
                    mac(found),
                    mac(expected)
                )
            }
            Matter::Flapping { changes, window } => format!(
                "turned {changes} times between up and down within {}; until it is stable nothing more is told of it; look at its \
                 load, its network card and its hypervisor",
                text(*window)
            ),
            Matter::Outage(Outage { silent, watched, hosts, .. }) => format!(
                "{silent} of {watched} addresses fell silent at once, and more may follow: {}; while it lasts they are not told one by one; \
                 look at what they have in common, as a switch, a gateway or a hypervisor",
                names(hosts, *silent)
            ),
            Matter::Blind { reason, .. } => format!(
                "since {}: {}; until then verdicts stay unknown, and no host alarm is sent for what cannot be seen",
                stamp(self.alarm.since),
                advice(*reason)
            ),
        }
    }

    /// The evidence: how many probes were missed, how they were sent, and when it answered last.
    pub fn silence(&self) -> String {
        let Alarm { misses, interval, timeout, since, last_reply, .. } = &*self.alarm;
        let probes = if *misses == 1 { "probe" } else { "probes" };
        let last = last_reply.map_or_else(|| "no reply since the agent started".into(), |at| format!("last reply {}", stamp(at)));
        format!(
            "missed {misses} {probes} (interval {}, timeout {}), silent since {}, {last}",
            text(*interval),
            text(*timeout),
            stamp(*since),
        )
    }

    /// From its beginning to its end, in whole seconds.
    fn length(&self) -> humantime::FormattedDuration {
        let ended = self.ended.unwrap_or(self.alarm.at);
        let length = ended.duration_since(self.alarm.since).unwrap_or_default();
        text(Duration::from_secs(length.as_secs().max(1)))
    }
}

fn text(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(duration)
}

fn scope(outage: &Outage) -> String {
    let again = if outage.wave > 1 { ", again" } else { "" };
    format!("{} {}{again}", outage.scope, legible(&outage.name))
}

/// The first few, and how many there are beside them.
fn names(hosts: &[OutageHost], silent: u32) -> String {
    let named = hosts.iter().take(NAMED).map(|host| format!("{} ({}, {})", legible(&host.name), legible(&host.id), host.address));
    let named: Vec<String> = named.collect();
    match (silent as usize).saturating_sub(named.len()) {
        0 => named.join(", "),
        rest => format!("{} and {rest} others", named.join(", ")),
    }
}

fn seen(networks: &[String]) -> String {
    match networks {
        [] => "all of its networks".into(),
        [one] => format!("network {}", legible(one)),
        many => format!("{} networks ({})", many.len(), many.iter().map(|name| legible(name)).collect::<Vec<_>>().join(", ")),
    }
}

fn advice(reason: Blind) -> &'static str {
    match reason {
        Blind::LinkDown => {
            "its interface there is down, has no carrier or is gone (link-down); look at the interface, its cable and its switch port"
        }
        Blind::SendError => "probes cannot be sent (send-error); look at the interface and the driver's messages",
        Blind::Overload => "it fell behind or was suspended (overload); give its machine more time, or raise intervals",
        Blind::Silent => {
            "nobody answers any more, not even a gateway or a canary (silent); look at whether the agent's host still receives anything there"
        }
        Blind::Deaf => {
            "answers come in there and do not reach its receiver (deaf); look at its log, at whether somebody detached the XDP program, and at rx-vlan-offload"
        }
        Blind::NoGateway => "the gateway does not answer (no-gateway); look at the gateway",
        Blind::NoMac => "no MAC is known there (no-mac); look at whether the agent's host still receives anything there",
        Blind::NoNetwork => "it is not attached to it (no-network); add a [[network]] to its configuration",
        Blind::NoSource => "it has no address to ping from (no-source); give it one",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::alarm::matter::Scope;
    use crate::alarm::sample;

    fn said(matter: Matter, kind: Kind) -> String {
        let alarm = Arc::new(Alarm::from(sample::about(matter, 1_000)));
        let ended = (kind != Kind::Firing).then(|| alarm.since + Duration::from_secs(75));
        Notice { alarm, kind, ended, folded: 0 }.summary()
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

    #[test]
    fn a_conflict_names_both_macs_and_says_that_the_verdict_goes_on() {
        let matter = Matter::Conflict { expected: Some("fa:16:3e:00:00:01".into()), found: Some("02:00:00:00:00:66".into()) };
        let firing = said(matter.clone(), Kind::Firing);
        let start = "web (i-10.0.0.1): 10.0.0.1 in net-a is in conflict: 02:00:00:00:00:66 answers for it, fa:16:3e:00:00:01 is expected";
        assert!(firing.starts_with(start) && firing.contains("judged from the expected MAC alone"), "{firing}");
        assert!(said(matter, Kind::Resolved).contains("the conflict over 10.0.0.1 in net-a is over"));
    }

    #[test]
    fn an_outage_says_where_how_many_and_who_first() {
        let host = |n: u8| OutageHost { id: format!("i-{n}"), name: "web".into(), network: "net-a".into(), address: [10, 0, 0, n].into() };
        let hosts = (1..=50).map(host).collect();
        let outage = Outage { scope: Scope::Network, name: "net\na".into(), wave: 1, silent: 50, watched: 100, hosts };
        let firing = said(Matter::Outage(outage), Kind::Firing);
        let start = "network net\u{fffd}a: 50 of 100 addresses fell silent at once, and more may follow: web (i-1, 10.0.0.1), web (i-2, 10.0.0.2), \
                     web (i-3, 10.0.0.3) and 47 others;";
        assert!(firing.starts_with(start), "{firing}");
    }

    #[test]
    fn every_reason_of_blindness_says_what_to_look_at() {
        for reason in Blind::ALL {
            let firing = said(Matter::Blind { reason, networks: vec!["net-a".into()] }, Kind::Firing);
            assert!(firing.starts_with("the agent is blind: network net-a since 1970-01-01T00:16:39.000Z: "), "{firing}");
            assert!(firing.contains(&format!("({reason})")), "{firing}");
        }
        let networks = vec!["a".to_owned(), "b".to_owned()];
        let resolved = said(Matter::Blind { reason: Blind::LinkDown, networks }, Kind::Resolved);
        assert_eq!(resolved, "the agent sees 2 networks (a, b) again, after 1m 15s");
    }

    #[test]
    fn flapping_says_how_often_and_that_it_is_quiet_now() {
        let matter = Matter::Flapping { changes: 6, window: Duration::from_secs(600) };
        let firing = said(matter.clone(), Kind::Firing);
        assert!(
            firing.starts_with("web (i-10.0.0.1) is flapping: 10.0.0.1 in net-a turned 6 times between up and down within 10m;"),
            "{firing}"
        );
        assert!(said(matter, Kind::Resolved).contains("is stable: 10.0.0.1 in net-a turned less than twice within 10m"));
    }
}
