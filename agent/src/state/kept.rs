//! The table of the last run: its file, and what its journal says of it since.

use std::fs::{self, File};
use std::sync::Arc;

use tracing::warn;

use super::{Change, Entry, State};
use crate::table::{Delta, Digest, Edition, Mapping, Table, TableError};

pub(super) const TABLE: &str = "table.rct";

impl Entry {
    /// The table that this entry makes of the one before it.
    pub fn apply(&self, before: &Edition) -> Result<Edition, TableError> {
        if self.base != before.digest() {
            return Err(TableError::WrongBase { expected: self.base, found: before.digest() });
        }
        let after = match &self.change {
            Change::Delta(bytes) => before.amended(&Delta::from_bytes(bytes.as_slice())?)?,
            Change::Stop(hosts) => {
                let ids: Vec<&str> = hosts.iter().map(String::as_str).collect();
                before.without_hosts(&ids, self.generation).edition
            }
        };
        Ok(after.with_generation(self.generation))
    }
}

impl State {
    /// The table that was in force, unless the operator's own table file is another one than it began with. A damaged
    /// one is set aside, not deleted.
    pub fn table(&self, source: Option<Digest>) -> Option<Edition> {
        self.drop_arrivals();
        let path = self.directory.join(TABLE);
        if (source.is_some() && source != self.source()) || !path.exists() {
            return None;
        }
        let opened = File::open(&path).and_then(|file| Mapping::of(&file)).map_err(|source| TableError::Io { path: path.clone(), source });
        match opened.and_then(Table::from_mapping) {
            Ok(table) => Some(self.replayed(Edition::of(Arc::new(table)))),
            Err(error) => {
                let aside = self.directory.join("table.damaged");
                warn!(target: "table", file = %path.display(), %error, kept_as = %aside.display(), "the table of the last run cannot be used: push it again");
                let _ = fs::rename(&path, aside);
                None
            }
        }
    }

    /// What the journal makes of the table file.
    fn replayed(&self, mut edition: Edition) -> Edition {
        let entries = self.journal_entries();
        // The file was written whole after these, and a crash came before they could be dropped.
        let first = entries.partition_point(|entry| entry.generation <= edition.generation());
        for (at, entry) in entries.iter().enumerate().skip(first) {
            match entry.apply(&edition) {
                Ok(next) => edition = next,
                Err(error) => {
                    self.set_journal_aside(&entries[first..at], &error.to_string());
                    break;
                }
            }
        }
        edition
    }
}
