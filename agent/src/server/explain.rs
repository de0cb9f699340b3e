//! An address in plain words: what is known, from whom, and what would change the verdict. Pure.

use std::time::Duration;

use crate::api::Evidence;
use crate::condition::Conditions;
use crate::policy::{Policy, Quorum};
use crate::unit::{Blind, Condition, Verdict};

/// What there is to be said of an address.
pub(super) struct Subject<'a> {
    pub(super) verdict: Verdict,
    pub(super) reason: Option<Blind>,
    pub(super) since: &'a str,
    pub(super) misses: u32,
    pub(super) policy: &'a Policy,
    pub(super) last_reply: Option<&'a str>,
    /// The MAC that probes go to, and whether the list gave it.
    pub(super) mac: Option<(&'a str, bool)>,
    /// Another MAC that answered, how often, and whether the list allows that.
    pub(super) other_mac: Option<(&'a str, u16, bool)>,
    pub(super) evidence: Option<&'a Evidence>,
    pub(super) conditions: Conditions,
}

/// One sentence for each thing.
pub(super) fn explain(subject: &Subject<'_>) -> Vec<String> {
    let mut sentences = vec![verdict(subject), policy(subject.policy)];
    if let Some((mac, given)) = subject.mac {
        let from = if given { "as the list says" } else { "learned from the network, or the gateway's" };
        sentences.push(format!("probes go to {mac}, {from}"));
    }
    if let Some((mac, times, allowed)) = subject.other_mac {
        let times = if times == 1 { "once".into() } else { format!("{times} times") };
        let meaning = if allowed {
            "which the list allows: no conflict"
        } else if subject.conditions.has(Condition::Conflict) {
            "so another station may have taken it"
        } else {
            "which is no conflict now"
        };
        sentences.push(format!("another MAC, {mac}, answered {times} for this address, {meaning}; its answers do not count"));
    }
    if let Some(Evidence { from, what, kind, code, at }) = subject.evidence {
        sentences.push(format!("{from} said at {at} of a probe to it: {what} (type {kind}, code {code})"));
    }
    sentences.extend(subject.conditions.iter().map(|condition| held(condition).to_owned()));
    sentences.push(change(subject));
    sentences
}

fn held(condition: Condition) -> &'static str {
    match condition {
        Condition::Conflict => {
            "conflict: another MAC than the expected one answers for it; the verdict goes on from the expected one alone"
        }
        Condition::Flapping => {
            "flapping: it turned between up and down again and again; nothing more is told of that until it is stable, and if it is down then, that is told"
        }
        Condition::IcmpFiltered => {
            "icmp-filtered: it answers on the link and not to ICMP: mostly a security group or a firewall, and no outage"
        }
        Condition::Asymmetric => {
            "asymmetric: it answers to ICMP and not on the link: somebody else may answer in its name, or its link is at fault"
        }
    }
}

fn verdict(subject: &Subject<'_>) -> String {
    let since = subject.since;
    let last = match subject.last_reply {
        Some(at) => format!("the last probe that it answered was sent at {at}"),
        None => "it has answered no probe since the agent runs".into(),
    };
    let misses = plural(subject.misses, "probe", "probes");
    let misses = if subject.policy.down().is_run() { format!("{misses} in a row") } else { misses };
    match (subject.verdict, subject.reason) {
        (Verdict::Up, _) => format!("up since {since}: it answers; {last}"),
        (Verdict::Down, _) => format!("down since {since}: {misses} without an answer in time; {last}"),
        (Verdict::Suspect, _) => format!("suspect since {since}: {misses} without an answer in time; {last}"),
        (Verdict::Pending, _) => format!("pending since {since}: too few probes yet to say anything"),
        (Verdict::Unknown, Some(blind)) => format!("unknown since {since}: {}; {last}", why(blind)),
        (Verdict::Unknown, None) => format!("unknown since {since}; {last}"),
    }
}

fn why(blind: Blind) -> &'static str {
    match blind {
        Blind::LinkDown => "the agent's own interface is down, has no carrier or is gone",
        Blind::SendError => "the agent could not send its probes",
        Blind::NoMac => "its MAC is not in the list, and nobody has answered the question for it",
        Blind::NoGateway => "the gateway that its probes must pass does not answer",
        Blind::NoNetwork => "the agent is attached to no network of that name",
        Blind::Overload => "the agent fell behind or was suspended",
        Blind::Silent => "nobody in its network answers any more, not even a gateway or a canary: the agent itself may be deaf, or cut off",
        Blind::Deaf => "answers come in there and do not reach the agent's receiver",
        Blind::NoSource => "the agent has no address of that family in this network to ping from",
    }
}

fn policy(policy: &Policy) -> String {
    let text = |duration: Duration| humantime::format_duration(duration).to_string();
    format!(
        "policy {}: {} every {}, answers within {}; {} without one make it down, {} make it up again",
        policy.name,
        policy.method,
        text(policy.interval),
        text(policy.timeout),
        share(policy.down(), "probe", "probes"),
        share(policy.up(), "answer", "answers"),
    )
}

fn share(quorum: Quorum, one: &str, many: &str) -> String {
    match quorum.is_run() {
        true => format!("{} in a row", plural(quorum.count.into(), one, many)),
        false => format!("{} of the last {}", plural(quorum.count.into(), one, many), quorum.of),
    }
}

fn change(subject: &Subject<'_>) -> String {
    let policy = subject.policy;
    let more = u32::from(policy.down_after).saturating_sub(subject.misses).max(1);
    let bound = humantime::format_duration(policy.detection_bound());
    match (subject.verdict, subject.reason) {
        (Verdict::Up | Verdict::Pending, _) => format!("should it fall silent it is down within {bound}"),
        (Verdict::Suspect, _) => {
            let up = match policy.down().slack() {
                0 => "one answer makes it up".into(),
                slack => format!("{} answers in a row make it up", slack + 1),
            };
            format!("{up}, {} without one down", plural(more, "more probe", "more probes"))
        }
        (Verdict::Down, _) => format!("{} would make it up", share(policy.up(), "answer", "answers")),
        (Verdict::Unknown, Some(Blind::NoNetwork)) => "a [[network]] of that name in the agent's configuration would change it".into(),
        (Verdict::Unknown, Some(Blind::NoSource)) => {
            "an address on the agent's interface, `source` or `source_v6` in its configuration, or method arp would change it".into()
        }
        (Verdict::Unknown, Some(Blind::NoMac)) => "a MAC in the list, or an answer to the agent's question for it, would change it".into(),
        (Verdict::Unknown, _) => "the first probe that says something once the agent sees again changes it".into(),
    }
}

fn plural(count: u32, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// What an ICMP error means (RFC 792, RFC 1812; RFC 4443).
pub(super) fn meaning(v6: bool, kind: u8, code: u8) -> &'static str {
    match (v6, kind, code) {
        (false, 3, 0) => "network unreachable",
        (false, 3, 1) | (true, 1, 3) => "host unreachable",
        (false, 3, 2) => "protocol unreachable",
        (false, 3, 4) => "too large for the way, and not to be split",
        (false, 3, 9 | 10 | 13) | (true, 1, 1) => "administratively prohibited",
        (true, 1, 0) => "no route to it",
        (true, 1, 2) => "beyond the scope of the source address",
        (true, 1, 5) => "the source address is not allowed",
        (true, 1, 6) => "the route to it rejects packets",
        (false, 3, _) | (true, 1, _) => "unreachable",
        (false, 11, _) | (true, 3, _) => "the packet went round until its time was over: a loop of routes",
        (false, 12, _) | (true, 4, _) => "a header that it does not take",
        _ => "an error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Method;

    fn gold() -> Policy {
        Policy {
            name: "gold".into(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(300),
            confirm_interval: Duration::from_millis(200),
            down_after: 3,
            down_of: 3,
            up_after: 2,
            up_of: 2,
            method: Method::Icmp,
            alarm: vec![],
        }
    }

    fn subject<'a>(verdict: Verdict, policy: &'a Policy) -> Subject<'a> {
        let (since, mac) = ("2026-05-04T03:02:01.000Z", Some(("02:00:00:00:00:09", true)));
        Subject {
            verdict,
            reason: None,
            since,
            misses: 0,
            policy,
            last_reply: None,
            mac,
            other_mac: None,
            evidence: None,
            conditions: Conditions::default(),
        }
    }

    #[test]
    fn down_host_says_who_said_what_and_what_would_change_it() {
        let (policy, at) = (gold(), "2026-05-04T03:02:03.000Z".to_owned());
        let what = meaning(false, 3, 1).to_owned();
        let evidence = Evidence { from: [10, 0, 0, 254].into(), what, kind: 3, code: 1, at };
        let last_reply = Some("2026-05-04T03:02:00.500Z");
        let other_mac = Some(("02:00:00:00:00:66", 2, false));
        let down = Subject { misses: 3, last_reply, other_mac, evidence: Some(&evidence), ..subject(Verdict::Down, &policy) };
        assert_eq!(
            explain(&down),
            [
                "down since 2026-05-04T03:02:01.000Z: 3 probes in a row without an answer in time; the last probe that it answered was sent at 2026-05-04T03:02:00.500Z",
                "policy gold: icmp every 1s, answers within 300ms; 3 probes in a row without one make it down, 2 answers in a row make it up again",
                "probes go to 02:00:00:00:00:09, as the list says",
                "another MAC, 02:00:00:00:00:66, answered 2 times for this address, which is no conflict now; its answers do not count",
                "10.0.0.254 said at 2026-05-04T03:02:03.000Z of a probe to it: host unreachable (type 3, code 1)",
                "2 answers in a row would make it up",
            ]
        );
    }

    #[test]
    fn another_mac_is_called_what_it_is() {
        let policy = gold();
        let said = |allowed, conflict| {
            let other_mac = Some(("02:00:00:00:00:66", 1, allowed));
            let conditions = Conditions::default().with(Condition::Conflict, conflict);
            explain(&Subject { other_mac, conditions, ..subject(Verdict::Up, &policy) })
                .into_iter()
                .find(|said| said.contains(":66"))
                .unwrap()
        };
        let begin = "another MAC, 02:00:00:00:00:66, answered once for this address, ";
        let end = "; its answers do not count";
        assert_eq!(said(true, false), format!("{begin}which the list allows: no conflict{end}"));
        assert_eq!(said(false, true), format!("{begin}so another station may have taken it{end}"));
        assert_eq!(said(false, false), format!("{begin}which is no conflict now{end}"));
    }

    #[test]
    fn windows_of_outcomes_are_named_where_there_are_any() {
        let policy = Policy { down_of: 5, up_of: 3, ..gold() };
        let sentences = explain(&Subject { misses: 2, ..subject(Verdict::Suspect, &policy) });
        assert!(sentences[0].contains(": 2 probes without an answer in time;"), "{sentences:?}");
        assert!(sentences[1].ends_with("3 probes of the last 5 without one make it down, 2 answers of the last 3 make it up again"));
        assert_eq!(sentences.last().unwrap(), "3 answers in a row make it up, 1 more probe without one down");
        assert_eq!(explain(&subject(Verdict::Down, &policy)).pop().unwrap(), "2 answers of the last 3 would make it up");
    }

    #[test]
    fn every_verdict_and_every_reason_has_its_words() {
        let policy = gold();
        let suspect = Subject { misses: 2, ..subject(Verdict::Suspect, &policy) };
        assert_eq!(explain(&suspect).pop().unwrap(), "one answer makes it up, 1 more probe without one down");
        assert_eq!(explain(&subject(Verdict::Up, &policy)).pop().unwrap(), "should it fall silent it is down within 1s 800ms");
        let mut all = Vec::new();
        for reason in Blind::ALL {
            let sentences = explain(&Subject { reason: Some(reason), ..subject(Verdict::Unknown, &policy) });
            assert!(sentences[0].starts_with("unknown since"), "{sentences:?}");
            all.push(sentences[0].clone());
        }
        all.dedup();
        assert_eq!(all.len(), Blind::ALL.len());
    }

    #[test]
    fn every_condition_has_its_sentence_and_only_what_holds_is_said() {
        let policy = gold();
        let none = explain(&subject(Verdict::Up, &policy));
        for condition in Condition::ALL {
            let sentences = explain(&Subject { conditions: Conditions::default().with(condition, true), ..subject(Verdict::Up, &policy) });
            assert_eq!(sentences.len(), none.len() + 1);
            assert_eq!(sentences.iter().filter(|sentence| sentence.starts_with(&format!("{condition}: "))).count(), 1, "{sentences:?}");
        }
    }
}
