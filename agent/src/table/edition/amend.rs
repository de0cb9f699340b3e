//! What a delta or a stop makes of an edition. Costs as much as there are addresses in the patch and in the change.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{Edition, GONE};
use crate::policy::Policy;
use crate::table::error::WriteError;
use crate::table::writer::HostRef;
use crate::table::{Delta, Digest, MAX_ADDRESSES, MAX_NAMES, Record, Table, TableError, Writer, sum};

/// What came of stopping hosts.
pub struct Stopped {
    /// The table without them.
    pub edition: Edition,
    /// Ids that it did not know.
    pub unknown: Vec<String>,
    /// How many addresses are gone.
    pub addresses: u64,
}

impl Edition {
    /// The table that comes of a delta. Nothing of a delta is taken that does not give what it promises.
    pub fn amended(&self, delta: &Delta) -> Result<Edition, TableError> {
        if delta.base() != self.digest {
            return Err(TableError::WrongBase { expected: delta.base(), found: self.digest });
        }
        let removed = self.at_positions(delta.positions()).map_err(|index| {
            let what = format!("it removes address {index} of {}", self.len());
            TableError::Malformed { what }
        })?;
        let changed = delta.changed();
        let edition = self.amend(removed, changed, changed.policies())?.with_generation(delta.generation());
        match edition.digest == delta.result() {
            true => Ok(edition),
            false => Err(TableError::WrongResult { expected: delta.result(), found: edition.digest }),
        }
    }

    /// The table without some hosts, under another generation.
    pub fn without_hosts(&self, ids: &[&str], generation: u64) -> Stopped {
        let (mut hosts, mut unknown, mut seen) = (BTreeSet::new(), Vec::new(), HashSet::new());
        for &id in ids.iter().filter(|id| seen.insert(**id)) {
            match self.find_host(id) {
                Some(host) => drop(hosts.insert(host)),
                None => unknown.push(id.to_owned()),
            }
        }
        let removed: Vec<u32> = hosts.into_iter().flat_map(|host| self.addresses_of(host)).collect();
        let addresses = removed.len() as u64;
        let edition = self.amend(removed, &Table::empty(), &self.policies).expect("part of a valid table is valid");
        Stopped { edition: edition.with_generation(generation), unknown, addresses }
    }

    fn amend(&self, removed: Vec<u32>, changed: &Table, policies: &[Policy]) -> Result<Edition, TableError> {
        let touched = Touched::of(self, removed, changed);
        let (networks, moved) = self.shared_networks(changed);
        let mut counts = self.kept_counts(&touched, &networks, &moved, policies)?;
        let patch = self.patch_with(&touched, changed, policies)?;
        let hidden = self.hidden_with(&touched);
        let addresses = self.base.len() - hidden.len() + patch.len();
        if addresses > MAX_ADDRESSES {
            return Err(WriteError::TooMany { what: "addresses", found: addresses as u64, allowed: MAX_ADDRESSES as u64 }.into());
        }
        let position = |name: &str| networks.partition_point(|known| **known < *name) as u16;
        let patch_networks: Arc<[u16]> = patch.networks().map(position).collect();
        let fresh = touched.in_patch(self, &patch);
        for record in patch.records().iter().filter(|record| fresh[record.host() as usize]) {
            let policy = place_of(policies, &patch.policies()[usize::from(record.policy())].name).unwrap_or(GONE);
            *counts.entry((patch_networks[usize::from(record.network())], policy)).or_default() += 1;
        }
        // A policy that nobody has is in no table.
        let used: BTreeSet<u16> = counts.keys().map(|(_, policy)| *policy).collect();
        let kept: Arc<[Policy]> = used.iter().map(|at| policies[usize::from(*at)].clone()).collect();
        let number = |name: &str| place_of(&kept, name).unwrap_or(GONE);
        let renumbered = counts.iter().map(|((network, policy), count)| {
            let policy = used.range(..policy).count() as u16;
            ((*network, policy), *count)
        });
        Ok(Edition {
            base: self.base.clone(),
            hidden: hidden.into(),
            base_networks: self.base_networks.iter().map(|network| moved[usize::from(*network)]).collect(),
            patch_networks,
            base_policies: self.base.policies().iter().map(|policy| number(&policy.name)).collect(),
            patch_policies: patch.policies().iter().map(|policy| number(&policy.name)).collect(),
            counts: Arc::new(renumbered.collect()),
            hosts: self.hosts - touched.hosts.len() + fresh.iter().filter(|fresh| **fresh).count(),
            digest: self.digest_with(&touched, &patch, &fresh, &kept),
            networks,
            policies: kept,
            generation: self.generation,
            patch: Arc::new(patch),
        })
    }

    /// Names of networks with those of a change, and what becomes of the present numbers.
    fn shared_networks(&self, changed: &Table) -> (Arc<[Box<str>]>, Vec<u16>) {
        let missing: Vec<&str> =
            changed.networks().filter(|name| self.networks.binary_search_by(|known| (**known).cmp(name)).is_err()).collect();
        if missing.is_empty() {
            return (self.networks.clone(), (0..self.networks.len() as u16).collect());
        }
        let mut names: Vec<&str> = self.networks().chain(missing).collect();
        names.sort_unstable();
        let moved = self.networks().map(|name| names.partition_point(|known| *known < name) as u16).collect();
        (names.into_iter().map(Box::from).collect(), moved)
    }

    /// Counts of what is not touched, by new numbers of networks and policies.
    fn kept_counts(
        &self,
        touched: &Touched,
        networks: &[Box<str>],
        moved: &[u16],
        policies: &[Policy],
    ) -> Result<BTreeMap<(u16, u16), u32>, TableError> {
        if networks.len() > MAX_NAMES {
            return Err(WriteError::TooMany { what: "networks", found: networks.len() as u64, allowed: MAX_NAMES as u64 }.into());
        }
        let mut present: BTreeMap<(u16, u16), u32> = (*self.counts).clone();
        for (_, record) in &touched.rows {
            present.entry((record.network(), record.policy())).and_modify(|count| *count -= 1);
        }
        let mut counts = BTreeMap::new();
        for ((network, policy), count) in present.into_iter().filter(|(_, count)| *count > 0) {
            let name = &self.policies[usize::from(policy)].name;
            let Some(policy) = place_of(policies, name) else { return Err(policy_gone(self.network(network), name)) };
            *counts.entry((moved[usize::from(network)], policy)).or_default() += count;
        }
        Ok(counts)
    }

    /// The new patch: what it held and is not touched, what is left of the touched hosts, and what changed.
    fn patch_with(&self, touched: &Touched, changed: &Table, policies: &[Policy]) -> Result<Table, TableError> {
        let mut writer = Writer::sized(self.patch.hosts() + changed.hosts(), self.patch.len() + changed.len());
        let refs: Vec<_> = policies.iter().map(|policy| writer.policy(policy.clone())).collect();
        let own: Vec<_> = self.policies.iter().map(|policy| place_of(policies, &policy.name).map(|at| refs[usize::from(at)])).collect();
        let networks: Vec<_> = self.networks().map(|name| writer.network(name)).collect();
        let changed_hosts: Vec<HostRef> = (0..changed.hosts() as u32)
            .map(|host| {
                let host = changed.host(host);
                writer.host(host.id(), host.name(), host.project(), host.tags())
            })
            .collect();
        let untouched = self.patch_iter().filter(|(_, record)| !touched.hosts.contains(&record.host()));
        let left = touched.rows.iter().copied().filter(|(id, _)| !touched.leaving.contains(id));
        let mut hosts: HashMap<u32, HostRef> = HashMap::new();
        for (_, record) in untouched.chain(left) {
            let host = *hosts.entry(record.host()).or_insert_with(|| {
                let host = self.host(record.host());
                match changed.find_host(host.id()) {
                    Some(at) => changed_hosts[at as usize],
                    None => writer.host(host.id(), host.name(), host.project(), host.tags()),
                }
            });
            let Some(policy) = own[usize::from(record.policy())] else {
                return Err(policy_gone(self.network(record.network()), &self.policies[usize::from(record.policy())].name));
            };
            writer.record(host, networks[usize::from(record.network())], &record, policy);
        }
        let networks: Vec<_> = changed.networks().map(|name| writer.network(name)).collect();
        for record in changed.records() {
            let name = &changed.policies()[usize::from(record.policy())].name;
            let policy = place_of(policies, name)
                .map(|at| refs[usize::from(at)])
                .ok_or_else(|| policy_gone(changed.network(record.network()), name))?;
            writer.record(changed_hosts[record.host() as usize], networks[usize::from(record.network())], record, policy);
        }
        Ok(writer.finish()?)
    }

    fn hidden_with(&self, touched: &Touched) -> Vec<u32> {
        let base = self.base.len() as u32;
        let moved = touched.rows.iter().map(|(id, _)| *id).filter(|id| *id < base);
        let mut hidden: Vec<u32> = self.hidden.iter().copied().chain(moved).collect();
        hidden.sort_unstable();
        hidden
    }

    fn digest_with(&self, touched: &Touched, patch: &Table, fresh: &[bool], policies: &[Policy]) -> Digest {
        let terms = |policies: &[Policy]| policies.iter().map(sum::policy).fold(0, u128::wrapping_add);
        let mut digest = self.digest.0.wrapping_sub(terms(&self.policies)).wrapping_add(terms(policies));
        let mut buffer = Vec::new();
        let mut labels = HashMap::new();
        for (_, record) in &touched.rows {
            let host = self.host(record.host());
            let shared = sum::Shared {
                network: sum::name(self.network(record.network())),
                policy: sum::name(&self.policies[usize::from(record.policy())].name),
                label: *labels.entry(record.host()).or_insert_with(|| sum::label(&host)),
            };
            digest = digest.wrapping_sub(sum::address(record, shared, host.id().as_bytes(), host.name().as_bytes(), &mut buffer));
        }
        labels.clear();
        for record in patch.records().iter().filter(|record| fresh[record.host() as usize]) {
            let host = patch.host(record.host());
            let shared = sum::Shared {
                network: sum::name(patch.network(record.network())),
                policy: sum::name(&patch.policies()[usize::from(record.policy())].name),
                label: *labels.entry(record.host()).or_insert_with(|| sum::label(&host)),
            };
            digest = digest.wrapping_add(sum::address(record, shared, host.id().as_bytes(), host.name().as_bytes(), &mut buffer));
        }
        Digest(digest)
    }
}

/// Hosts that a change moves into the patch, or out of the table.
struct Touched {
    hosts: BTreeSet<u32>,
    /// Addresses that are removed or replaced.
    leaving: HashSet<u32>,
    /// All addresses of the hosts, as they are now.
    rows: Vec<(u32, Record)>,
}

impl Touched {
    fn of(edition: &Edition, removed: Vec<u32>, changed: &Table) -> Self {
        let mut leaving: HashSet<u32> = removed.into_iter().collect();
        for record in changed.records() {
            leaving.extend(edition.find(changed.network(record.network()), record.address()));
        }
        let mut hosts: BTreeSet<u32> = leaving.iter().filter_map(|id| edition.record(*id)).map(|record| record.host()).collect();
        hosts.extend((0..changed.hosts() as u32).filter_map(|host| edition.find_host(changed.host(host).id())));
        let ids = hosts.iter().flat_map(|host| edition.addresses_of(*host));
        let rows = ids.filter_map(|id| Some((id, edition.record(id)?))).collect();
        Touched { hosts, leaving, rows }
    }

    /// By host of the new patch: whether it was not in the old one as it is.
    fn in_patch(&self, edition: &Edition, patch: &Table) -> Vec<bool> {
        let first = edition.base.hosts() as u32;
        let kept = |id: &str| edition.patch.find_host(id).is_some_and(|at| !self.hosts.contains(&(first + at)));
        (0..patch.hosts() as u32).map(|host| !kept(patch.host(host).id())).collect()
    }
}

/// Where a policy of this name stands.
fn place_of(policies: &[Policy], name: &str) -> Option<u16> {
    policies.binary_search_by(|policy| policy.name.as_str().cmp(name)).ok().map(|at| at as u16)
}

fn policy_gone(network: &str, policy: &str) -> TableError {
    TableError::Malformed { what: format!("addresses in network {network:?} keep policy {policy:?}, which is gone") }
}
