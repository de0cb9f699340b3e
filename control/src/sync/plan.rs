//! From what the sources say to a table for each agent. Pure, but for the policy file.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use rollcall_agent::table::Table;

use super::config::{AgentSettings, Config};
use super::guard::Guard;
use super::merge::merge;
use super::split::{Shareholder, Shares, split};
use crate::compile::Roll;
use crate::hosts::HostList;
use crate::mistake::{Mistake, Mistakes, quoted};
use crate::policies::PolicyFile;
use crate::source::{Entry, Listing};

/// Hosts that no table can hold and are told one by one; of more only the number.
const TOLD: usize = 20;

/// What every agent should run.
pub struct Plan {
    /// A table for each agent, in the order of the configuration.
    pub tables: Vec<Arc<Table>>,
    /// Addresses in all of them.
    pub addresses: u64,
    /// Addresses in networks that no agent is attached to.
    pub nobodys: BTreeMap<String, u64>,
    /// What is odd.
    pub warnings: Vec<String>,
}

/// Who shares what, worked out once.
pub struct Planner {
    shareholders: Vec<Shareholder>,
    accepted: Option<Accepted>,
}

/// The last policy file of which there was a plan.
struct Accepted {
    policy: Vec<u8>,
    /// Addresses that it had no policy for.
    left_out: u64,
}

impl Planner {
    /// For these agents.
    pub fn new(agents: &[AgentSettings]) -> Result<Self> {
        let shareholders = agents.iter().map(|agent| Ok(Shareholder::new(&agent.name, agent.globs()?)));
        Ok(Planner { shareholders: shareholders.collect::<Result<_>>()?, accepted: None })
    }

    /// Makes the tables. The same hosts and policies make the same bytes. A host that no table can hold is left out and told: no tenant
    /// may stop the monitoring of all others. Where a new policy file has none for many hosts it is the file that is wrong.
    pub fn plan<'a>(&mut self, config: &Config, listings: impl Iterator<Item = (&'a str, &'a Listing)>) -> Result<Plan> {
        let policy = std::fs::read(&config.policy).with_context(|| format!("cannot read {}", config.policy.display()))?;
        let merged = merge(listings);
        let Shares { shares, nobodys } = split(&merged.hosts, &self.shareholders);
        let mut warnings = merged.warnings;
        for (network, addresses) in &nobodys {
            warnings.push(format!("no agent is attached to network {network:?}: its {addresses} addresses are not watched"));
        }
        let mut tables = Vec::with_capacity(shares.len());
        let mut refused = Vec::new();
        for (agent, hosts) in config.agents.iter().zip(shares) {
            let table = table(config, &policy, hosts, &mut refused).with_context(|| format!("the table for agent {:?}", agent.name))?;
            tables.push(Arc::new(table));
        }
        let addresses = tables.iter().map(|table| table.len() as u64).sum();
        let left_out = refused.iter().map(|(host, _)| host.addresses.len() as u64).sum();
        self.judge(config, &policy, addresses, left_out)?;
        warnings.extend(told(&refused));
        self.accepted = Some(Accepted { policy, left_out });
        Ok(Plan { tables, addresses, nobodys, warnings })
    }

    /// The policy file is the operator's: no tenant changes it.
    fn judge(&self, config: &Config, policy: &[u8], addresses: u64, left_out: u64) -> Result<()> {
        let Some(before) = self.accepted.as_ref().filter(|before| before.policy != policy) else { return Ok(()) };
        let guard = Guard { percent: config.max_shrink_percent, allow: false };
        let what = format!("{} has no policy for some hosts", config.policy.display());
        let gone = left_out.saturating_sub(before.left_out);
        guard.judge(&what, addresses + gone, gone).map_err(|why| anyhow!("{why}"))
    }
}

/// What is wrong with hosts that are left out.
fn told(refused: &[(Entry, Mistake)]) -> impl Iterator<Item = String> {
    let one = |(host, Mistake { field, found, allowed, .. }): &(Entry, Mistake)| {
        format!("host {} is left out: {field}: found {found}, allowed: {allowed}", quoted(&host.id))
    };
    let more = refused.len().saturating_sub(TOLD);
    let more = (more > 0).then(|| format!("... and {more} more hosts are left out that no table can hold"));
    refused.iter().take(TOLD).map(one).chain(more)
}

/// The table of those hosts that can be in one.
fn table(config: &Config, policy: &[u8], mut hosts: Vec<Entry>, refused: &mut Vec<(Entry, Mistake)>) -> Result<Table> {
    loop {
        let mut mistakes = Mistakes::default();
        let policies = PolicyFile::read(&config.policy.display().to_string(), policy, &mut mistakes);
        ensure!(mistakes.is_empty(), "{mistakes}");
        let mut list = HostList::default();
        list.take("hosts", &hosts, &mut mistakes);
        let mistakes = match Roll::compile(list, policies, mistakes) {
            Ok(roll) => return Ok(roll.table(0)?),
            Err(mistakes) => mistakes,
        };
        // Those of hosts, by their number.
        let mut named: BTreeMap<u32, Mistake> = BTreeMap::new();
        let text = mistakes.to_string();
        for mistake in mistakes.0 {
            named.entry(mistake.line).or_insert(mistake);
        }
        let before = hosts.len();
        let mut kept = Vec::with_capacity(before);
        for (number, host) in (1..).zip(hosts) {
            match named.remove(&number) {
                Some(mistake) => refused.push((host, mistake)),
                None => kept.push(host),
            }
        }
        // What nobody is to blame for would come again and again.
        ensure!(kept.len() < before, "{text}");
        hosts = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::Monitor;
    use crate::source::spot;

    const POLICIES: &str = "[[policy]]\nname = \"gold\"\nalarm = [\"log\"]\n[policy.match]\ntags = \"gold\"\n";

    fn config(folder: &std::path::Path) -> Config {
        let path = folder.join("sync.toml");
        std::fs::write(folder.join("policies.toml"), POLICIES).unwrap();
        std::fs::write(
            &path,
            "policy = \"policies.toml\"\n[[source]]\ntype = \"file\"\nname = \"f\"\npath = \"x\"\nformat = \"hosts\"\n\
             [[agent]]\nname = \"a\"\nurl = \"http://127.0.0.1:1\"\nnetworks = [\"red\"]\n",
        )
        .unwrap();
        Config::read(&path).unwrap()
    }

    fn host(id: &str, number: u8, tag: &str) -> Entry {
        let addresses = vec![spot("red", &format!("10.0.0.{number}"), None).unwrap()];
        Entry { id: id.into(), tags: vec![tag.into()], monitor: Monitor::On, addresses, ..Entry::default() }
    }

    fn plan(planner: &mut Planner, config: &Config, hosts: Vec<Entry>) -> Result<Plan> {
        planner.plan(config, [("cloud", &Listing { hosts, warnings: vec![] })].into_iter())
    }

    #[test]
    fn host_that_no_table_can_hold_stops_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let many = (0..300).map(|n| format!("t{n}")).chain(["gold".into()]).collect();
        for (odd, kept, said) in [
            (host("", 9, "gold"), 2, "host \"\" is left out: id: found nothing"),
            (host("free", 9, "silver"), 2, "host \"free\" is left out: policy: found no policy in"),
            (Entry { tags: many, ..host("big", 9, "") }, 2, "1 host has more than 256 tags (first: \"big\" with 301)"),
        ] {
            let mut planner = Planner::new(&config.agents).unwrap();
            let plan = plan(&mut planner, &config, vec![host("a", 1, "gold"), odd, host("b", 2, "gold")]).unwrap();
            assert!(plan.warnings[0].starts_with(said), "{:?}", plan.warnings);
            assert!(plan.addresses >= kept && plan.tables[0].len() as u64 == plan.addresses, "{said}: {}", plan.addresses);
        }
    }

    #[test]
    fn two_mistakes_that_are_only_found_one_after_the_other_leave_out_two_hosts() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let mut planner = Planner::new(&config.agents).unwrap();
        let hosts = vec![host("", 1, "gold"), host("a", 2, "silver"), host("b", 3, "gold")];
        let plan = plan(&mut planner, &config, hosts).unwrap();
        assert_eq!((plan.addresses, plan.warnings.len()), (1, 2), "{:?}", plan.warnings);
    }

    #[test]
    fn policy_file_that_suddenly_fits_few_is_not_believed_and_a_tenant_whom_none_fits_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let mut planner = Planner::new(&config.agents).unwrap();
        let mut hosts: Vec<Entry> = (1..=20).map(|n| host(&format!("h{n}"), n, "gold")).collect();
        assert_eq!(plan(&mut planner, &config, hosts.clone()).unwrap().addresses, 20);
        // Any number of hosts that no policy fits stops nothing...
        hosts.extend((101..=140).map(|n| host(&format!("free{n}"), n, "silver")));
        let with_strangers = plan(&mut planner, &config, hosts.clone()).unwrap();
        assert_eq!(with_strangers.addresses, 20);
        assert_eq!(with_strangers.warnings.last().unwrap(), "... and 20 more hosts are left out that no table can hold");
        // ... a file with a typing error does, and mended it is believed again.
        std::fs::write(&config.policy, POLICIES.replace("tags = \"gold\"", "tags = \"glod\"")).unwrap();
        let error = plan(&mut planner, &config, hosts.clone()).err().unwrap().to_string();
        assert!(error.contains("policies.toml has no policy for some hosts: 20 of 20 addresses would be watched no more"), "{error}");
        std::fs::write(&config.policy, POLICIES.replace("gold\"\nalarm", "gold\"\ninterval = \"2s\"\nalarm")).unwrap();
        assert_eq!(plan(&mut planner, &config, hosts).unwrap().addresses, 20);
        // What the file itself says wrong is nobody's host.
        std::fs::write(&config.policy, "[[policy]]\n").unwrap();
        assert!(plan(&mut planner, &config, vec![host("a", 1, "gold")]).is_err());
    }
}
