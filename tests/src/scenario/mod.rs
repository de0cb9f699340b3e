//! Scenarios: what happens to hosts and to the agent, and what an operator expects to be told, in files that an operator can read.

mod memory;
mod text;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

pub use self::memory::in_memory;
pub use self::text::Scenario;

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

/// All scenarios of a folder, by the names of their files.
pub fn all(folder: &Path) -> Result<Vec<Scenario>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths: Vec<_> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort_unstable();
    paths.iter().map(|path| Scenario::read(path)).collect()
}
