//! From host lists and a policy file to who is probed how: hosts put together, policies assigned, a table made.

use std::time::Duration;

use rollcall_agent::policy::Policy;
use rollcall_agent::table::{Table, WriteError, Writer};
use rollcall_agent::unit::mapped;

use crate::assign::{Assigner, Choice};
use crate::hosts::HostList;
use crate::mistake::{Mistakes, quoted};
use crate::policies::PolicyFile;

/// Hosts with their policies: all that a table is made of.
#[derive(Debug)]
pub struct Roll {
    /// The host lists.
    pub list: HostList,
    /// The policy file.
    pub policies: PolicyFile,
    /// Sorted by id.
    pub hosts: Vec<Host>,
    /// Watched addresses, grouped by host in the order of [`Roll::hosts`].
    pub addresses: Vec<Address>,
    /// Hosts of which no address is watched, because their rows say `monitor=false`.
    pub left_out: u64,
    /// Rows that say `monitor=false`.
    pub rows_left_out: u64,
}

/// One host, put together from its rows.
#[derive(Clone, Debug)]
pub struct Host {
    /// A row with its id.
    pub row: u32,
    /// A row with its name.
    name: u32,
    /// In the list's strings.
    pub project: u32,
    /// The tags of all its rows.
    pub tags: u32,
}

/// One watched address.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    /// In [`HostList::rows`].
    pub row: u32,
    /// In [`Roll::hosts`].
    pub host: u32,
    /// Its policy.
    pub policy: Choice,
}

impl Roll {
    /// Puts hosts together and gives every address its policy. `mistakes` are those of reading; all that is wrong
    /// comes back at once.
    pub fn compile(list: HostList, policies: PolicyFile, mut mistakes: Mistakes) -> Result<Roll, Mistakes> {
        let readable = mistakes.is_empty();
        let mut roll =
            Roll { list, policies, hosts: Vec::new(), addresses: Vec::new(), left_out: 0, rows_left_out: 0 };
        roll.gather(&mut mistakes);
        roll.find_duplicates(&mut mistakes);
        // Policies with mistakes would blame hosts for what is not their fault.
        if readable {
            roll.assign(&mut mistakes);
        }
        mistakes.sort();
        mistakes.none_or(roll)
    }

    /// The table.
    pub fn table(&self, generation: u64) -> Result<Table, WriteError> {
        let mut writer = Writer::sized(self.hosts.len(), self.addresses.len()).generation(generation);
        let refs: Vec<_> =
            self.policies().map(|policy| policy.map(|policy| writer.policy(policy.clone()))).collect();
        let mut current = None;
        for address in &self.addresses {
            let host = match current {
                Some((index, host)) if index == address.host => host,
                _ => {
                    let index = address.host;
                    let host = &self.hosts[index as usize];
                    let project = self.list.strings.text(host.project);
                    writer.host(self.id(host), self.name(host), project, self.list.tags(host.tags))
                }
            };
            current = Some((address.host, host));
            let row = &self.list.rows[address.row as usize];
            if let Some(policy) = refs[address.policy.index(&self.policies)] {
                writer.address(host, self.list.strings.text(row.network), row.address, row.mac, policy);
            }
        }
        writer.finish()
    }

    /// All policies by [`Choice::index`]: those of the file, then `default` if there is one.
    pub fn policies(&self) -> impl Iterator<Item = Option<&Policy>> {
        self.policies.rules.iter().map(|rule| Some(&rule.policy)).chain([self.policies.fallback.as_ref()])
    }

    /// The policy of an address.
    pub fn policy(&self, choice: Choice) -> Option<&Policy> {
        match choice {
            Choice::Rule(rule) => self.policies.rules.get(rule as usize).map(|rule| &rule.policy),
            Choice::Fallback => self.policies.fallback.as_ref(),
        }
    }

    /// Id of a host.
    pub fn id(&self, host: &Host) -> &str {
        self.list.id(&self.list.rows[host.row as usize])
    }

    /// Name of a host; empty where no row has one.
    pub fn name(&self, host: &Host) -> &str {
        self.list.name(&self.list.rows[host.name as usize])
    }

    /// Brings the rows of each host together, and compares what they say of it.
    fn gather(&mut self, mistakes: &mut Mistakes) {
        let list = &self.list;
        let mut order: Vec<(u128, u32)> = Vec::with_capacity(list.rows.len());
        for (at, row) in list.rows.iter().enumerate() {
            // The first bytes of the id as a number decide most comparisons without a look at the text.
            let id = list.id(row).as_bytes();
            let mut prefix = [0; 16];
            let length = id.len().min(16);
            prefix[..length].copy_from_slice(&id[..length]);
            order.push((u128::from_be_bytes(prefix), at as u32));
        }
        let id = |row: u32| list.id(&list.rows[row as usize]);
        order.sort_by(|&(a, x), &(b, y)| a.cmp(&b).then_with(|| id(x).cmp(id(y))));
        let rows: Vec<u32> = order.into_iter().map(|(_, row)| row).collect();
        let mut groups: Vec<std::ops::Range<usize>> = Vec::with_capacity(rows.len());
        for at in 0..rows.len() {
            match groups.last_mut() {
                Some(group) if id(rows[group.start]) == id(rows[at]) => group.end = at + 1,
                _ => groups.push(at..at + 1),
            }
        }
        self.hosts.reserve(groups.len());
        self.addresses.reserve(rows.len());
        let mut found = Vec::new();
        for group in groups {
            self.host(&rows[group], &mut found);
        }
        // In the order of the lines, not of the ids.
        found.sort_by_key(|&(place, _)| place);
        mistakes.0.extend(found.into_iter().map(|(_, mistake)| mistake));
    }

    fn host(&mut self, rows: &[u32], mistakes: &mut Vec<(crate::hosts::Place, crate::mistake::Mistake)>) {
        let first = self.list.rows[rows[0] as usize];
        let mut host = Host { row: rows[0], name: rows[0], project: first.project, tags: first.tags };
        let mut project_row = rows[0];
        for &at in &rows[1..] {
            let row = self.list.rows[at as usize];
            let mut conflict = |field: &str, found: &str, other: u32, expected: &str| {
                let other = self.list.place(self.list.rows[other as usize].place);
                let allowed =
                    format!("the same in all rows of host {} ({} in {other})", quoted(self.list.id(&row)), quoted(expected));
                mistakes.push((row.place, self.list.mistake(row.place, field, quoted(found), allowed)));
            };
            let (name, known) = (self.list.name(&row), self.list.name(&self.list.rows[host.name as usize]));
            if known.is_empty() {
                host.name = at;
            } else if !name.is_empty() && name != known {
                conflict("name", name, host.name, known);
            }
            let text = |string: u32| self.list.strings.text(string);
            if text(host.project).is_empty() {
                (host.project, project_row) = (row.project, at);
            } else if !text(row.project).is_empty() && row.project != host.project {
                conflict("project", text(row.project), project_row, text(host.project));
            }
            host.tags = self.list.union(host.tags, row.tags);
        }
        let index = self.hosts.len() as u32;
        let before = self.addresses.len();
        for &row in rows {
            match self.list.rows[row as usize].monitor {
                true => self.addresses.push(Address { row, host: index, policy: Choice::Fallback }),
                false => self.rows_left_out += 1,
            }
        }
        match self.addresses.len() > before {
            true => self.hosts.push(host),
            false => self.left_out += 1,
        }
    }

    /// Identity is (network, address): nothing may have it twice.
    fn find_duplicates(&self, mistakes: &mut Mistakes) {
        let list = &self.list;
        let mut keys: Vec<(u128, u32, u32)> = self
            .addresses
            .iter()
            .map(|address| {
                let row = &list.rows[address.row as usize];
                (u128::from_be_bytes(mapped(row.address)), row.network, address.row)
            })
            .collect();
        // By row at last: rows count up with files and lines.
        keys.sort_unstable();
        let mut first = 0;
        let mut again = Vec::new();
        for at in 1..keys.len() {
            if (keys[at].0, keys[at].1) == (keys[first].0, keys[first].1) {
                again.push((keys[at].2, keys[first].2));
            } else {
                first = at;
            }
        }
        again.sort_unstable();
        for (row, first) in again {
            let (row, first) = (&list.rows[row as usize], &list.rows[first as usize]);
            let network = list.strings.text(row.network);
            let found = format!("{} in network {} again (host {})", row.address, quoted(network), quoted(list.id(row)));
            let allowed =
                format!("each address once in a network; it is in {} (host {})", list.place(first.place), quoted(list.id(first)));
            mistakes.push(list.mistake(row.place, "address", found, allowed));
        }
    }

    fn assign(&mut self, mistakes: &mut Mistakes) {
        let assigner = Assigner::new(&self.list, &self.policies);
        let mut addresses = std::mem::take(&mut self.addresses);
        for address in &mut addresses {
            let host = &self.hosts[address.host as usize];
            match assigner.choose(self, host, &self.list.rows[address.row as usize]) {
                Some(choice) => address.policy = choice,
                None => {
                    let row = &self.list.rows[address.row as usize];
                    let found = format!("no policy in {} for host {}", self.policies.file, quoted(self.list.id(row)));
                    let allowed = "a [[policy]] that matches it, or [defaults] for hosts that nothing matches";
                    mistakes.push(self.list.mistake(row.place, "policy", found, allowed));
                }
            }
        }
        self.addresses = addresses;
    }
}

/// Probes a second that so many addresses cost while they are up.
pub fn probes_per_second(addresses: u64, interval: Duration) -> f64 {
    addresses as f64 / interval.as_secs_f64()
}

#[cfg(test)]
mod tests;
