//! A file as a source: read again whenever it is asked.

use std::fs::File as Handle;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use serde::Deserialize;

use super::format::{Format, Networks, OWNERS, Options, owners};
use super::{Listing, Meanwhile, Source, SourceError};

/// What a list may have at most, unless the user says otherwise: the ports of 300,000 hosts as Neutron writes them.
pub const MAX_BYTES: u64 = 256 << 20;

/// `[[source]]` of type `file`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSettings {
    /// What it is called in messages and metrics.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// How it is written.
    pub format: Format,
    /// The network of addresses of which the list names none.
    pub network: Option<String>,
    /// Names for networks, by what the list calls them (or their subnets).
    #[serde(default)]
    pub networks: std::collections::BTreeMap<String, String>,
    /// Id of the host that the list is about, where it is about one.
    #[serde(default)]
    pub host: String,
    /// Its name.
    #[serde(default)]
    pub host_name: String,
    /// With format `neutron`: a file with the servers.
    pub servers: Option<PathBuf>,
    /// Which owners of ports count.
    #[serde(default = "owners_by_default")]
    pub device_owner: Vec<String>,
    /// A larger list is refused.
    #[serde(default = "max_bytes")]
    pub max_bytes: u64,
}

pub(super) fn owners_by_default() -> Vec<String> {
    vec![OWNERS.to_owned()]
}

pub(super) fn max_bytes() -> u64 {
    MAX_BYTES
}

/// A file as a source.
#[derive(Debug)]
pub struct File {
    settings: FileSettings,
    options: Options,
    known: Option<Listing>,
}

impl File {
    /// Prepares reading; the file need not be there yet.
    pub fn new(settings: FileSettings) -> Result<File, SourceError> {
        let options = Options {
            networks: Networks { other: settings.network.clone(), names: settings.networks.clone() },
            host: settings.host.clone(),
            host_name: settings.host_name.clone(),
            owners: owners(&settings.device_owner)?,
            whole: true,
            servers: None,
        };
        Ok(File { settings, options, known: None })
    }
}

impl Source for File {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn list<'a>(&'a mut self, _: Meanwhile<'a>) -> BoxFuture<'a, Result<Listing, SourceError>> {
        let (settings, mut options) = (self.settings.clone(), self.options.clone());
        Box::pin(async move {
            let work = tokio::task::spawn_blocking(move || {
                let bytes = regular(&settings.path, settings.max_bytes)?;
                if let Some(path) = &settings.servers {
                    options.servers = Some((path.display().to_string(), regular(path, settings.max_bytes)?));
                }
                settings.format.read(&settings.path.display().to_string(), &bytes, &options)
            });
            let listing = work.await.map_err(|error| SourceError::Configuration(format!("reading ended early: {error}")))??;
            self.known = Some(listing.clone());
            Ok(listing)
        })
    }

    fn known(&self) -> Option<Listing> {
        self.known.clone()
    }
}

/// The bytes of a plain file: a pipe or a device would keep us waiting for ever.
fn regular(path: &Path, max: u64) -> Result<Vec<u8>, SourceError> {
    let metadata = std::fs::metadata(path).map_err(|error| cannot(path, &error))?;
    match metadata.is_file() {
        true => read(path, max),
        false => Err(SourceError::Configuration(format!("{}: found no plain file, allowed: a plain file", path.display()))),
    }
}

/// The bytes of a file that is not larger than it may be.
pub fn read(path: &Path, max: u64) -> Result<Vec<u8>, SourceError> {
    let file = Handle::open(path).map_err(|error| cannot(path, &error))?;
    bounded(file, &path.display().to_string(), max)
}

/// All that a reader has, unless it has too much.
pub fn bounded(from: impl Read, what: &str, max: u64) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    from.take(max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| SourceError::Configuration(format!("cannot read {what}: {error}")))?;
    match bytes.len() as u64 > max {
        true => Err(too_large(what, max)),
        false => Ok(bytes),
    }
}

/// A list that is larger than it may be.
pub(super) fn too_large(what: &str, max: u64) -> SourceError {
    let expected = "at most that (the limit: --max-bytes N, in sync.toml max_bytes = N)".to_owned();
    SourceError::Broken { what: what.to_owned(), found: format!("more than {max} bytes"), expected }
}

fn cannot(path: &Path, error: &io::Error) -> SourceError {
    SourceError::Configuration(format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
