//! From what the sources say to a table for each agent. Pure, but for the policy file.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use rollcall_agent::table::Table;

use super::config::{AgentSettings, Config};
use super::merge::merge;
use super::split::{Shareholder, Shares, split};
use crate::compile::Roll;
use crate::hosts::HostList;
use crate::mistake::Mistakes;
use crate::policies::PolicyFile;
use crate::source::Listing;

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
}

impl Planner {
    /// For these agents.
    pub fn new(agents: &[AgentSettings]) -> Result<Self> {
        let shareholders = agents.iter().map(|agent| Ok(Shareholder::new(&agent.name, agent.globs()?)));
        Ok(Planner { shareholders: shareholders.collect::<Result<_>>()? })
    }

    /// Makes the tables. The same hosts and policies make the same bytes.
    pub fn plan<'a>(&self, config: &Config, listings: impl Iterator<Item = (&'a str, &'a Listing)>) -> Result<Plan> {
        let policy = std::fs::read(&config.policy).with_context(|| format!("cannot read {}", config.policy.display()))?;
        let merged = merge(listings);
        let Shares { shares, nobodys } = split(&merged.hosts, &self.shareholders);
        let mut warnings = merged.warnings;
        for (network, addresses) in &nobodys {
            warnings.push(format!("no agent is attached to network {network:?}: its {addresses} addresses are not watched"));
        }
        let mut tables = Vec::with_capacity(shares.len());
        for (agent, hosts) in config.agents.iter().zip(shares) {
            let table = table(config, &policy, &hosts).with_context(|| format!("the table for agent {:?}", agent.name))?;
            tables.push(Arc::new(table));
        }
        let addresses = tables.iter().map(|table| table.len() as u64).sum();
        Ok(Plan { tables, addresses, nobodys, warnings })
    }
}

fn table(config: &Config, policy: &[u8], hosts: &[crate::source::Entry]) -> Result<Table> {
    let mut mistakes = Mistakes::default();
    let policies = PolicyFile::read(&config.policy.display().to_string(), policy, &mut mistakes);
    let mut list = HostList::default();
    list.take("hosts", hosts, &mut mistakes);
    let roll = Roll::compile(list, policies, mistakes).map_err(|mistakes| anyhow!("{mistakes}"))?;
    Ok(roll.table(0)?)
}
