//! Scenarios: what happens to hosts and to the agent, and what an operator expects to be told, in files that an operator can read.

mod lab;
mod memory;
mod text;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use rollcall_agent_ebpf::fleet::Behaviour;

pub use self::lab::{WAYS, Ways, in_lab, only_in_memory};
pub use self::memory::in_memory;
pub use self::text::Scenario;
use self::text::What;

/// How a scenario went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub describe: String,
    /// What was not as expected.
    pub failures: Vec<String>,
    /// How long it was.
    pub lasted: Duration,
}

/// How a station behaves from then on, where that is all that happens.
fn flag(what: What) -> Option<(u64, bool)> {
    match what {
        What::Dies => Some((Behaviour::DEAD, true)),
        What::ComesBack => Some((Behaviour::DEAD, false)),
        What::FiltersArp => Some((Behaviour::NEIGHBOUR_FILTERED, true)),
        What::FiltersIcmp => Some((Behaviour::ICMP_FILTERED, true)),
        What::FiltersNothing => Some((Behaviour::NEIGHBOUR_FILTERED | Behaviour::ICMP_FILTERED, false)),
        What::AnotherMachine => Some((Behaviour::WRONG_MAC, true)),
        What::OwnMachine => Some((Behaviour::WRONG_MAC, false)),
        What::Proxied => Some((Behaviour::PROXIED, true)),
        _ => None,
    }
}

/// What of two counts by name differs: what there is, and what was expected, in which naught need not be named.
fn differs<K: Ord + Clone + std::fmt::Debug>(seen: &BTreeMap<K, usize>, wanted: &BTreeMap<K, usize>) -> Option<String> {
    let some = |counts: &BTreeMap<K, usize>| counts.clone().into_iter().filter(|(_, count)| *count > 0).collect::<BTreeMap<K, usize>>();
    let (seen, wanted) = (some(seen), some(wanted));
    (seen != wanted).then(|| format!("{seen:?} instead of {wanted:?}"))
}

/// All scenarios of a folder, by the names of their files.
pub fn all(folder: &Path) -> Result<Vec<Scenario>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths: Vec<_> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort_unstable();
    paths.iter().map(|path| Scenario::read(path)).collect()
}
