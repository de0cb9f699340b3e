//! What survives a restart beside the alarms: the table in force and the verdicts. Every file is written whole, to a
//! temporary name, and renamed; only the table's [`Journal`] grows at its end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::table::Digest;

mod arrival;
mod journal;
mod kept;
mod restored;
mod verdicts;

pub use self::arrival::Arrival;
pub use self::journal::{Change, Entry, Journal};
pub use self::restored::{Before, Restored};

const SOURCE: &str = "table.source";

/// The state directory.
#[derive(Clone, Debug)]
pub struct State {
    directory: PathBuf,
}

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {action}: {error}: the agent needs a state directory that it can write (state_directory)", path = path.display())]
pub struct StateError {
    path: PathBuf,
    action: &'static str,
    error: io::Error,
}

impl State {
    /// Makes the directory where it is missing.
    pub fn open(directory: &Path) -> Result<State, StateError> {
        let state = State { directory: directory.into() };
        fs::create_dir_all(directory).map_err(|error| StateError { path: directory.into(), action: "cannot make it", error })?;
        state.write("probe", |file| file.write_all(b"")).map(|()| drop(fs::remove_file(directory.join("probe"))))?;
        Ok(state)
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Keeps which table file the agent began with.
    pub fn keep_source(&self, source: Digest) -> Result<(), StateError> {
        self.write(SOURCE, |file| file.write_all(source.to_string().as_bytes()))
    }

    fn source(&self) -> Option<Digest> {
        fs::read_to_string(self.directory.join(SOURCE)).ok().and_then(|text| text.trim().parse().ok())
    }

    fn write(&self, name: &str, content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<(), StateError> {
        let path = self.directory.join(name);
        let temporary = self.directory.join(format!(".{name}.new"));
        let write = || -> io::Result<()> {
            let mut file = BufWriter::with_capacity(1 << 18, new_file(&temporary)?);
            content(&mut file)?;
            file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
            fs::rename(&temporary, &path)?;
            sync_directory(&self.directory)
        };
        write().map_err(|error| StateError { path, action: "cannot write it", error })
    }
}

/// An empty file that only its owner can read or write.
fn new_file(path: &Path) -> io::Result<File> {
    // Not written over: whoever has the old one mapped keeps it as it is.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests;
