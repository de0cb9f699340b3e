//! The table that was pushed last, kept so that the next push can send what changed only.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rollcall_agent::table::Table;

use crate::lists;

/// One file for each agent, in one directory.
pub struct Cache {
    path: Option<PathBuf>,
}

impl Cache {
    /// In `directory`, else in `$XDG_STATE_HOME/rollcall`, else in `~/.local/state/rollcall` (XDG base directories).
    pub fn new(directory: Option<&Path>, agent: &str) -> Cache {
        let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = || variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")));
        let directory = directory.map(Path::to_owned).or_else(|| Some(state()?.join("rollcall")));
        Cache { path: directory.map(|directory| directory.join(format!("{agent}.rct"))) }
    }

    /// The table, if there is a good one.
    pub fn load(&self) -> Option<Table> {
        Table::open(self.path.as_deref()?).ok()
    }

    /// Keeps a table. A failure costs the next push some bytes, and nothing else.
    pub fn store(&self, table: &Table) {
        let Some(path) = &self.path else { return };
        let stored = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .with_context(|| format!("cannot make the directory of {}", path.display()))
            .and_then(|()| lists::write(path, table.bytes()));
        if let Err(error) = stored {
            eprintln!("warning: the next push will send the whole table: {error:#}");
        }
    }
}
