//! What is odd about a roll, yet not wrong.

use rollcall_agent::policy::Method;

use crate::assign::{Assigner, Choice};
use crate::compile::Roll;
use crate::mistake::quoted;

/// All warnings: those of the files, then those about policies, then those about addresses.
pub fn warnings(roll: &Roll, addresses: &[u64]) -> Vec<String> {
    let mut warnings = roll.list.warnings.clone();
    idle_policies(roll, addresses, &mut warnings);
    for (policy, &count) in roll.policies().zip(addresses) {
        if let Some(policy) = policy.filter(|policy| policy.alarm.is_empty() && count > 0) {
            warnings.push(format!("policy {} tells nobody: its alarm is empty", quoted(&policy.name)));
        }
    }
    if roll.addresses.is_empty() {
        warnings.push("no address is watched".to_owned());
    }
    macs(roll, &mut warnings);
    warnings
}

/// Addresses of each policy, by [`Choice::index`].
pub fn count_by_policy(roll: &Roll) -> Vec<u64> {
    let mut counts = vec![0; roll.policies.rules.len() + 1];
    for address in &roll.addresses {
        counts[address.policy.index(&roll.policies)] += 1;
    }
    counts
}

fn idle_policies(roll: &Roll, addresses: &[u64], warnings: &mut Vec<String>) {
    let idle = |rule: usize| addresses[rule] == 0;
    if !(0..roll.policies.rules.len()).any(idle) {
        return;
    }
    let assigner = Assigner::new(&roll.list, &roll.policies);
    let mut fitting = vec![(0u64, Choice::Fallback); roll.policies.rules.len()];
    for address in &roll.addresses {
        let (host, row) = (&roll.hosts[address.host as usize], &roll.list.rows[address.row as usize]);
        for rule in assigner.fitting(roll, host, row) {
            let (count, taker) = &mut fitting[rule as usize];
            *count += 1;
            *taker = address.policy;
        }
    }
    for (at, rule) in roll.policies.rules.iter().enumerate().filter(|&(at, _)| idle(at)) {
        let place = format!("{}:{}: policy {} matches nobody", roll.policies.file, rule.line, quoted(&rule.policy.name));
        warnings.push(match fitting[at] {
            (0, _) => place,
            (count, taker) => {
                let taker = roll.policy(taker).map_or("", |policy| &policy.name);
                format!("{place}: an earlier policy takes all {count} that it fits (such as {})", quoted(taker))
            }
        });
    }
}

fn macs(roll: &Roll, warnings: &mut Vec<String>) {
    let asks = |choice: Choice| roll.policy(choice).is_some_and(|policy| matches!(policy.method, Method::Arp | Method::Both));
    let rows = || roll.addresses.iter().map(|address| (address, &roll.list.rows[address.row as usize]));
    let mut without = rows().filter(|(address, row)| row.mac.is_none() && asks(address.policy)).map(|(_, row)| row);
    if let Some(first) = without.next() {
        warnings.push(format!(
            "{} of method arp or both without a MAC (first: {} in {}): the agent learns it by a rate-limited question to all, which a \
             switch may answer for a host that is dead",
            plural(without.count() as u64 + 1, "address", "addresses"),
            first.address,
            roll.list.place(first.place),
        ));
    }
}

/// A number with its noun.
pub fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Writes warnings to standard error.
pub fn tell(warnings: &[String]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}
