//! A table on its way into the state directory.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::kept::TABLE;
use super::{State, StateError, new_file, sync_directory};
use crate::table::Mapping;

/// A table's file under a temporary name: written as it arrives, mapped, checked, and only then put in the place of the one that was
/// in force. Dropped before that it vanishes.
pub struct Arrival {
    state: State,
    file: File,
    path: PathBuf,
    kept: bool,
}

impl State {
    /// A file for a table that arrives.
    pub fn arrival(&self) -> Result<Arrival, StateError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let path = self.directory.join(format!(".{TABLE}.{}.new", NEXT.fetch_add(1, Ordering::Relaxed)));
        let file = new_file(&path).map_err(|error| StateError { path: path.clone(), action: "cannot make it", error })?;
        Ok(Arrival { state: self.clone(), file, path, kept: false })
    }

    /// Files of tables whose arrival a crash cut short.
    pub(super) fn drop_arrivals(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let ours = |name: &str| name.starts_with(&format!(".{TABLE}.")) && name.ends_with(".new");
        for entry in entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(ours)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Arrival {
    /// Takes what has arrived.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| self.failed("cannot write it", error))
    }

    /// Maps what has arrived. Nothing may be written after that but the header.
    pub fn map(&self) -> Result<Mapping, StateError> {
        Mapping::of(&self.file).map_err(|error| self.failed("cannot map it", error))
    }

    /// Writes the first bytes anew.
    pub fn number(&self, header: &[u8]) -> Result<(), StateError> {
        self.file.write_all_at(header, 0).map_err(|error| self.failed("cannot write it", error))
    }

    /// Waits until all that was written is on the disk.
    pub fn sync(&self) -> Result<(), StateError> {
        self.file.sync_all().map_err(|error| self.failed("cannot write it", error))
    }

    /// Puts it in the place of the table in force: after a crash it is this one or the one before, and once this returns it is this one.
    pub fn keep(mut self) -> Result<(), StateError> {
        self.sync()?;
        let renamed = fs::rename(&self.path, self.state.directory.join(TABLE));
        renamed.map_err(|error| self.failed("cannot rename it", error))?;
        self.kept = true;
        sync_directory(&self.state.directory).map_err(|error| self.failed("cannot write its directory", error))
    }

    fn failed(&self, action: &'static str, error: io::Error) -> StateError {
        StateError { path: self.path.clone(), action, error }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if !self.kept {
            // It cannot be told to anybody; the next start removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}
