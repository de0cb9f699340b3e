//! Two that run by the same file would tell each agent everything twice.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::say;

/// How often it is looked whether the file is another one.
const LOOK: Duration = Duration::from_secs(1);

/// The file, locked as long as this lives. The lock is on the file itself, so nothing is left behind, and it may stand where nothing can be
/// written.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    /// The one that was read, and those that took its place since.
    files: Vec<File>,
}

impl Lock {
    /// Locks it, unless another process has.
    pub fn take(path: &Path) -> Result<Lock> {
        Ok(Lock { path: path.to_owned(), files: vec![locked(path)?] })
    }

    /// Editors replace a file instead of writing into it: the new one is locked as well, for whoever starts next sees only that. Where
    /// somebody else was faster that is said, and tried again; two at once are a waste, and no harm.
    pub async fn follow(mut self) {
        let mut told = false;
        loop {
            tokio::time::sleep(LOOK).await;
            let looked = self.look();
            if let (Err(error), false) = (&looked, told) {
                say(&format!("{error:#}"));
            }
            told = looked.is_err();
        }
    }

    fn look(&mut self) -> Result<()> {
        let place = |metadata: &std::fs::Metadata| (metadata.dev(), metadata.ino());
        // Between two files there may be none.
        let Ok(now) = std::fs::metadata(&self.path) else { return Ok(()) };
        let last = self.files.last().and_then(|file| file.metadata().ok());
        if last.is_some_and(|last| place(&last) == place(&now)) {
            return Ok(());
        }
        self.files.push(locked(&self.path)?);
        // The one before is nobody's any more.
        self.files.remove(0);
        Ok(())
    }
}

fn locked(path: &Path) -> Result<File> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(anyhow!("another rollcall sync runs with {} on this machine: end that one first", path.display()))
        }
        Err(TryLockError::Error(error)) => Err(anyhow!(error).context(format!("cannot lock {}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_one_is_refused_also_after_an_editor_replaced_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, new) = (folder.path().join("sync.toml"), folder.path().join("new"));
        std::fs::write(&path, "one").unwrap();
        let mut lock = Lock::take(&path).unwrap();
        assert!(Lock::take(&path).unwrap_err().to_string().contains("another rollcall sync"));
        std::fs::write(&new, "two").unwrap();
        std::fs::rename(&new, &path).unwrap();
        lock.look().unwrap();
        assert!(Lock::take(&path).unwrap_err().to_string().contains("another rollcall sync"));
        std::fs::remove_file(&path).unwrap();
        lock.look().unwrap();
        drop(lock);
        std::fs::write(&path, "three").unwrap();
        assert!(Lock::take(&path).is_ok());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
