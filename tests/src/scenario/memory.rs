//! A scenario in the simulated cloud, by a simulated clock.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result};
use rollcall_agent::policy::Policy;
use rollcall_agent::schedule::Pps;
use rollcall_agent::table::Writer;
use rollcall_agent_ebpf::fleet::Cloud;

use super::text::{Event, Expectation, Families, Scenario, What};
use super::{Outcome, differs, flag};
use crate::population::{self, Host};
use crate::simulation::{Health, Simulation};

/// Plays it. What was not as expected is no error.
pub fn in_memory(scenario: &Scenario) -> Result<Outcome> {
    play(scenario).with_context(|| format!("scenario {:?}", scenario.name))
}

fn play(scenario: &Scenario) -> Result<Outcome> {
    let mut stage = Stage::new(scenario)?;
    let (mut events, mut failures) = (scenario.at.iter().peekable(), Vec::new());
    for expectation in &scenario.expect {
        while let Some(event) = events.next_if(|event| event.time <= expectation.by) {
            stage.simulation.run_until(event.time);
            stage.happen(event)?;
        }
        stage.simulation.run_until(expectation.by);
        stage.look(expectation, &mut failures)?;
    }
    Ok(Outcome { name: scenario.name.clone(), describe: scenario.describe.clone(), failures, lasted: stage.simulation.elapsed() })
}

struct Stage<'a> {
    scenario: &'a Scenario,
    clouds: Vec<(String, Cloud)>,
    simulation: Simulation,
}

impl<'a> Stage<'a> {
    fn new(scenario: &'a Scenario) -> Result<Self> {
        let cloud = |network: &super::text::Network| Cloud { on_link: network.hosts, routed: network.behind_gateway };
        let clouds: Vec<_> = scenario.network.iter().map(|network| (network.name.clone(), cloud(network))).collect();
        let mut writer = Writer::new();
        let policy = writer.policy(Policy::from(&scenario.policy));
        for (network, (name, cloud)) in scenario.network.iter().zip(&clouds) {
            for host in population::hosts(*cloud) {
                let row = writer.host(&id(name, &host), &host.name, host.project, host.tags);
                for address in addresses(network.family, &host) {
                    writer.address(row, name, address, host.mac.filter(|_| !network.without_macs), policy);
                }
            }
        }
        let pps = Pps::new(scenario.pps).context("pps: at least 1")?;
        let table = writer.finish()?;
        let mut simulation = Simulation::new(1, &clouds, table.len(), pps)?;
        simulation.push(table)?;
        Ok(Stage { scenario, clouds, simulation })
    }

    fn happen(&mut self, event: &Event) -> Result<()> {
        let who = || self.scenario.who(event.who.as_deref().unwrap_or("everybody"));
        match event.what {
            What::Loses => self.each(&who()?, |health| health.set_loss(event.percent / 100.0)),
            What::AnswersLate => self.each(&who()?, |health| health.set_late(event.by)),
            What::IsDeleted => {
                let ids: Vec<String> = who()?.iter().filter_map(|(net, station)| self.id(*net, *station)).collect();
                self.simulation.stop(&ids.iter().map(String::as_str).collect::<Vec<_>>())?;
            }
            What::LinkDown | What::LinkUp => {
                let up = event.what == What::LinkUp;
                for net in 0..self.clouds.len() {
                    self.simulation.cloud(|air| air.nets[net].silent = !up);
                    self.simulation.link(net as u16, up);
                }
            }
            What::Silent | What::Heard => {
                self.simulation.cloud(|air| air.nets.iter_mut().for_each(|net| net.silent = event.what == What::Silent));
            }
            What::Refused | What::Accepted => {
                self.simulation.cloud(|air| air.nets.iter_mut().for_each(|net| net.refuses = event.what == What::Refused));
            }
            What::PassedBy => self.simulation.cloud(|air| air.nets.iter_mut().for_each(|net| net.bypassed = true)),
            What::ClockSet => self.simulation.set_clock(event.by),
            What::StandsStill => self.simulation.stall(event.by),
            What::Sleeps => self.simulation.sleep(event.by),
            what => {
                if let Some((flag, on)) = flag(what) {
                    self.each(&who()?, |health| health.behaviour = health.behaviour.with(flag, on));
                }
            }
        }
        Ok(())
    }

    fn each(&mut self, who: &[(usize, u32)], change: impl Fn(&mut Health)) {
        self.simulation.cloud(|air| who.iter().for_each(|(net, station)| change(&mut air.nets[*net].health[*station as usize])));
    }

    fn id(&self, net: usize, station: u32) -> Option<String> {
        let (name, cloud) = &self.clouds[net];
        Some(id(name, &Host::of(*cloud, station)?))
    }

    fn look(&self, expectation: &Expectation, failures: &mut Vec<String>) -> Result<()> {
        let at = humantime::format_duration(expectation.by);
        if let Some(verdict) = expectation.what {
            let mut wrong: BTreeMap<String, (usize, String)> = BTreeMap::new();
            for (net, station) in self.scenario.who(expectation.who.as_deref().unwrap_or("everybody"))? {
                let (name, cloud) = &self.clouds[net];
                let host = Host::of(*cloud, station).context("a gateway has no verdict")?;
                for address in addresses(self.scenario.network[net].family, &host) {
                    let seen = self.simulation.shown(name, address);
                    let right = seen.is_some_and(|shown| {
                        shown.verdict == verdict && (expectation.reason.is_none() || shown.blind == expectation.reason)
                    });
                    if !right {
                        let words = seen.map_or("not known".into(), |shown| match shown.blind {
                            Some(blind) => format!("{} ({blind})", shown.verdict),
                            None => shown.verdict.to_string(),
                        });
                        wrong.entry(words).or_insert_with(|| (0, format!("{name} {address}"))).0 += 1;
                    }
                }
            }
            let wanted = expectation.reason.map_or(verdict.to_string(), |reason| format!("{verdict} ({reason})"));
            failures.extend(
                wrong.iter().map(|(words, (count, first))| format!("{at}: {count} are {words} instead of {wanted}, {first} for one")),
            );
        }
        if let Some(wanted) = &expectation.alarms {
            let mut told: BTreeMap<String, usize> = BTreeMap::new();
            self.simulation.ledger.told.iter().for_each(|told_of| *told.entry(told_of.what.clone()).or_default() += 1);
            failures.extend(differs(&told, wanted).map(|how| format!("{at}: alarms {how}")));
        }
        if let Some(wanted) = &expectation.conditions {
            let how = differs(&self.simulation.ledger.conditions(), wanted);
            failures.extend(how.map(|how| format!("{at}: conditions {how}")));
        }
        Ok(())
    }
}

pub(super) fn id(network: &str, host: &Host) -> String {
    format!("{network}-{}", host.id)
}

pub(super) fn addresses(family: Families, host: &Host) -> Vec<IpAddr> {
    let (v4, v6) = (IpAddr::from(host.address), IpAddr::from(host.v6()));
    match family {
        Families::IPv4 => vec![v4],
        Families::IPv6 => vec![v6],
        Families::Both => vec![v4, v6],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(text: &str) -> Scenario {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_is_not_as_expected_is_said_in_words() {
        let wrong = scenario(
            "name = \"n\"\ndescribe = \"d\"\n[[network]]\nname = \"a\"\nhosts = 5\n[[expect]]\nby = \"5s\"\nwhat = \"down\"\nalarms = { down = 5 }",
        );
        let outcome = in_memory(&wrong).unwrap();
        assert_eq!(outcome.failures.len(), 2);
        assert!(outcome.failures[0].starts_with("5s: 5 are up instead of down, a 10.128.1.1 for one"), "{:?}", outcome.failures);
    }
}
