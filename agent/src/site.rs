//! Site: what a table asks for that this agent cannot give. Said at the start, at each push, and by `check`.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Config;
use crate::table::Edition;

/// What this agent has, as far as a table can ask for it.
#[derive(Clone, Debug, Default)]
pub struct Site {
    networks: BTreeSet<String>,
    routes: BTreeSet<String>,
    pps: u32,
}

impl From<&Config> for Site {
    fn from(config: &Config) -> Self {
        Site {
            networks: config.networks.iter().map(|network| network.name.clone()).collect(),
            routes: config.routes.iter().map(|route| route.name().to_owned()).collect(),
            pps: config.pps.number(),
        }
    }
}

impl Site {
    /// One sentence for each thing that will not be as the table wishes.
    pub fn misfits(&self, table: &Edition) -> Vec<String> {
        let mut misfits = Vec::new();
        let mut by_network: BTreeMap<u16, u32> = BTreeMap::new();
        let mut used: BTreeMap<u16, u32> = BTreeMap::new();
        for ((network, policy), addresses) in table.counts() {
            *by_network.entry(*network).or_default() += addresses;
            *used.entry(*policy).or_default() += addresses;
        }
        for (network, addresses) in by_network {
            let name = table.network(network);
            if !self.networks.contains(name) {
                misfits.push(format!(
                    "network {name:?}: the agent is not attached to it: {addresses} addresses stay unknown (no-network); add a [[network]]"
                ));
            }
        }
        let mut wanted = 0.0;
        for (policy, addresses) in used {
            let policy = &table.policies()[usize::from(policy)];
            wanted += f64::from(addresses) / policy.interval.as_secs_f64();
            for route in policy.alarm.iter().filter(|route| !self.routes.contains(*route)) {
                misfits.push(format!(
                    "policy {:?}: the agent has no alarm route {route:?}: alarms of {addresses} addresses do not reach it; add a [[route]]",
                    policy.name
                ));
            }
        }
        if wanted > f64::from(self.pps) {
            misfits.push(format!(
                "the policies ask for {wanted:.0} probes a second, the cap `pps` allows {}: some will be skipped; raise it or lengthen intervals",
                self.pps
            ));
        }
        misfits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Method, Policy};
    use crate::table::Writer;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn networks_routes_and_a_cap_that_do_not_fit_are_named() {
        let config: Config =
            toml::from_str("pps = 5\n[[network]]\nname = \"a\"\ninterface = \"eth1\"\n[[route]]\nname = \"log\"\ntype = \"log\"\n")
                .unwrap();
        let mut writer = Writer::new();
        let policy = writer.policy(Policy {
            name: "gold".into(),
            interval: Duration::from_millis(100),
            timeout: Duration::from_millis(50),
            confirm_interval: Duration::from_millis(50),
            down_after: 3,
            down_of: 3,
            up_after: 2,
            up_of: 2,
            method: Method::Arp,
            alarm: vec!["log".into(), "pager".into()],
        });
        let host = writer.host("h", "h", "p", []);
        writer.address(host, "a", "10.0.0.1".parse().unwrap(), None, policy);
        writer.address(host, "b", "10.0.0.1".parse().unwrap(), None, policy);
        let misfits = Site::from(&config).misfits(&Edition::of(Arc::new(writer.finish().unwrap())));
        assert_eq!(misfits.len(), 3, "{misfits:#?}");
        assert!(misfits[0].contains("\"b\"") && misfits[1].contains("\"pager\"") && misfits[2].contains("20 probes"), "{misfits:#?}");
    }
}
