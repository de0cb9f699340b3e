//! An edition made one table again.

use std::collections::HashMap;

use super::Edition;
use crate::table::{Table, Writer};

impl Edition {
    /// The table with all changes in it: the same bytes as one that was compiled with this content.
    pub fn flat(&self) -> Table {
        let mut writer = Writer::sized(self.hosts, self.len()).generation(self.generation);
        let policies: Vec<_> = self.policies.iter().map(|policy| writer.policy(policy.clone())).collect();
        let networks: Vec<_> = self.networks().map(|name| writer.network(name)).collect();
        let mut hosts = vec![None; self.base.hosts() + self.patch.hosts()];
        let mut labels = HashMap::new();
        for (_, record) in self.iter() {
            let index = record.host();
            let host = *hosts[index as usize].get_or_insert_with(|| {
                let host = self.host(index);
                let patch = index as usize >= self.base.hosts();
                let label = *labels.entry((patch, host.label())).or_insert_with(|| writer.label(host.project(), host.tags()));
                writer.host_with(host.id(), host.name(), label)
            });
            writer.record(host, networks[usize::from(record.network())], &record, policies[usize::from(record.policy())]);
        }
        writer.finish().expect("part of a valid table is valid")
    }
}
