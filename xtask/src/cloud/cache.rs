//! What is made once and kept: in the user's cache folder, where no clean-up of `target/` comes.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folder, and the lock by which two calls do not make the same thing at the same time.
pub(super) struct Cache {
    folder: PathBuf,
    _lock: File,
}

impl Cache {
    pub(super) fn open() -> Result<Self> {
        let folder = folder()?;
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join("lock");
        let lock = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        if lock.try_lock().is_err() {
            eprintln!("cloud: waiting for another `cloud up` that uses {}", folder.display());
            lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Ok(Self { folder, _lock: lock })
    }

    /// A folder of the cache, which `make` fills. A file `complete` in it says of what: one that is half made, or made of
    /// something else, is made anew.
    pub(super) fn made(&self, name: &str, of: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        let marker = folder.join("complete");
        if std::fs::read_to_string(&marker).is_ok_and(|found| found == of) {
            return Ok(folder);
        }
        remove(&folder)?;
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        make(&folder)?;
        std::fs::write(&marker, of).with_context(|| format!("cannot write {}", marker.display()))?;
        Ok(folder)
    }
}

pub(super) fn folder() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME says where to keep what is made once")?.join("rollcall/cloud"))
}

/// A short name for texts: the same as long as none of them changes.
pub(super) fn digest(texts: &[&str]) -> String {
    let mut hasher = DefaultHasher::new();
    for text in texts {
        hasher.write_usize(text.len());
        hasher.write(text.as_bytes());
    }
    format!("{:016x}", hasher.finish())
}

/// Removes a folder, if there is one.
pub(super) fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Copies a file, or a folder with all that is in it, with its rights.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let context = || format!("cannot copy {} to {}", from.display(), to.display());
    if from.is_dir() {
        std::fs::create_dir_all(to).with_context(context)?;
        std::fs::set_permissions(to, std::fs::metadata(from).with_context(context)?.permissions()).with_context(context)?;
        for entry in std::fs::read_dir(from).with_context(context)? {
            let entry = entry.with_context(context)?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else {
        if let Some(folder) = to.parent() {
            std::fs::create_dir_all(folder).with_context(context)?;
        }
        std::fs::copy(from, to).with_context(context)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_half_made_or_made_of_something_else_is_made_anew() {
        let folder = std::env::temp_dir().join(format!("rollcall-cache-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let cache = Cache { _lock: File::create(folder.join("lock")).unwrap(), folder };
        let mut made = 0;
        let mut make = |of: &str, well: bool| {
            cache.made("thing", of, |folder| {
                made += 1;
                anyhow::ensure!(!folder.join("part").exists(), "something of the last one is left");
                std::fs::write(folder.join("part"), "")?;
                anyhow::ensure!(well, "interrupted");
                Ok(())
            })
        };
        assert_eq!(format!("{:#}", make("1", false).unwrap_err()), "interrupted");
        make("1", true).unwrap();
        make("1", true).unwrap();
        make("2", true).unwrap();
        assert_eq!(made, 3);
        std::fs::remove_dir_all(&cache.folder).unwrap();
    }
}
