//! The files of a command line: host lists and a policy file in, a table out.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use crate::compile::Roll;
use crate::failure::Failure;
use crate::hosts::HostList;
use crate::mistake::Mistakes;
use crate::policies::PolicyFile;
use crate::progress::Progress;

/// Host lists and a policy file.
#[derive(Args, Clone, Debug, Default)]
pub struct Lists {
    /// Host lists: CSV with a header line, JSON lines, or a JSON array; `-` is standard input
    #[arg(short = 'f', long, value_name = "FILE", num_args = 1.., required = true)]
    pub hosts: Vec<PathBuf>,
    /// Policy file (TOML)
    #[arg(short = 'p', long, value_name = "FILE", required = true)]
    pub policy: PathBuf,
}

impl Lists {
    /// Reads everything, puts hosts together, assigns policies.
    pub fn compile(&self, progress: &mut Progress) -> Result<Roll, Failure> {
        if self.hosts.iter().filter(|path| is_dash(path)).count() + usize::from(is_dash(&self.policy)) > 1 {
            return Err(Failure::Usage("standard input (-) can be read once".to_owned()));
        }
        let mut mistakes = Mistakes::default();
        let mut list = HostList::default();
        for path in &self.hosts {
            progress.step(format!("reading {}", path.display()));
            list.read(&name(path), &read(path)?, &mut mistakes);
        }
        let policies = PolicyFile::read(&name(&self.policy), &read(&self.policy)?, &mut mistakes);
        progress.step(format!("compiling {} rows", list.rows.len()));
        Ok(Roll::compile(list, policies, mistakes)?)
    }
}

fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn name(path: &Path) -> String {
    if is_dash(path) { "<stdin>".to_owned() } else { path.display().to_string() }
}

/// The bytes of a file, or of standard input.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = match is_dash(path) {
        true => {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
        }
        false => fs::read(path),
    };
    Ok(bytes.with_context(|| format!("cannot read {}", name(path)))?)
}

/// Writes a file whole or not at all: a reader sees the old one or the new one. It does not wait for the disk: what
/// is written here can be made again, and a table that a power cut damaged is refused by its checksum.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if is_dash(path) {
        return io::stdout().lock().write_all(bytes).context("cannot write to standard output");
    }
    let failed = || format!("cannot write {}", path.display());
    // A device or a pipe cannot be replaced by renaming.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        return fs::write(path, bytes).with_context(failed);
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".rollcall-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(directory).with_context(failed)?;
    file.write_all(bytes).with_context(failed)?;
    file.persist(path).map_err(|error| error.error).with_context(failed)?;
    Ok(())
}
