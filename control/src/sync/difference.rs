//! What a table would change at an agent: asked of the agent, for a dry run.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use rollcall_agent::table::Table;
use serde::Serialize;

use super::first::Held;
use crate::client::Client;
use crate::failure::Failure;

/// What would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Watched from then on.
    pub added: Vec<Line>,
    /// Watched no more.
    pub removed: Vec<Line>,
    /// Watched in another way: another host, policy or MAC.
    pub changed: Vec<Line>,
    /// As before.
    pub unchanged: u64,
}

/// An address of a host, as far as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Line {
    /// The network.
    pub network: String,
    /// The address.
    pub address: IpAddr,
    /// The host.
    pub id: String,
    /// The policy.
    pub policy: String,
    /// The MAC, if the list has one.
    pub mac: Option<String>,
}

impl Difference {
    /// What the agent holds, and how much of it would be in none of these tables.
    pub fn held(&self, tables: &[Arc<Table>]) -> Held {
        let Held { gone, .. } = Held::of(self.removed.iter().map(|line| (line.network.as_str(), line.address)), tables);
        Held { all: (self.removed.len() + self.changed.len()) as u64 + self.unchanged, gone }
    }
}

/// Asks an agent what it watches, and compares.
pub async fn ask(client: &Client, table: &Table) -> Result<Difference, Failure> {
    let reports = client.hosts(&[]).await?;
    let running = reports.into_iter().map(|report| Line {
        network: report.network,
        address: report.address,
        id: report.id,
        policy: report.policy,
        mac: report.mac,
    });
    Ok(compare(running.collect(), lines(table)))
}

fn lines(table: &Table) -> Vec<Line> {
    let line = |record: &rollcall_agent::table::Record| Line {
        network: table.network(record.network()).to_owned(),
        address: record.address(),
        id: table.host(record.host()).id().to_owned(),
        policy: table.policies()[usize::from(record.policy())].name.clone(),
        mac: record.mac().map(|mac| mac.to_string()),
    };
    table.records().iter().map(line).collect()
}

fn compare(running: Vec<Line>, wanted: Vec<Line>) -> Difference {
    let mut before: HashMap<(String, IpAddr), Line> =
        running.into_iter().map(|line| ((line.network.clone(), line.address), line)).collect();
    let mut difference = Difference::default();
    for line in wanted {
        match before.remove(&(line.network.clone(), line.address)) {
            None => difference.added.push(line),
            // A MAC that the list does not give was learned.
            Some(old) if old.id == line.id && old.policy == line.policy && (line.mac.is_none() || old.mac == line.mac) => {
                difference.unchanged += 1;
            }
            Some(_) => difference.changed.push(line),
        }
    }
    difference.removed = before.into_values().collect();
    for lines in [&mut difference.added, &mut difference.removed, &mut difference.changed] {
        lines.sort_unstable();
    }
    difference
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(address: &str, policy: &str, mac: Option<&str>) -> Line {
        let (network, id) = ("red".to_owned(), format!("vm-{address}"));
        Line { network, address: address.parse().unwrap(), id, policy: policy.into(), mac: mac.map(str::to_owned) }
    }

    #[test]
    fn difference_names_who_comes_who_goes_and_who_is_watched_in_another_way() {
        let learned = Some("fa:16:3e:00:00:01");
        let running = vec![line("10.0.0.1", "gold", learned), line("10.0.0.2", "gold", None), line("10.0.0.3", "gold", None)];
        let wanted = vec![line("10.0.0.1", "gold", None), line("10.0.0.2", "lead", None), line("10.0.0.4", "gold", None)];
        let Difference { added, removed, changed, unchanged } = compare(running, wanted);
        let shown = |lines: &[Line]| lines.iter().map(|line| line.id.clone()).collect::<Vec<_>>().join(" ");
        assert_eq!(
            (shown(&added), shown(&removed), shown(&changed), unchanged),
            ("vm-10.0.0.4".into(), "vm-10.0.0.3".into(), "vm-10.0.0.2".into(), 1)
        );
    }
}
