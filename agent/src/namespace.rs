//! Network namespaces: networks of other names for the same numbers, where tenants' addresses may overlap.
//!
//! Sockets stay where they were opened. Only attaching a program, a run of live frames and opening something need the thread to be
//! there (setns(2)).

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};

/// Where `ip netns` and Neutron keep the named ones.
const NAMED: &str = "/run/netns";

/// An open network namespace: it lives on while this is open.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    id: Id,
}

/// Which namespace, as long as anybody has it open: device and inode.
pub type Id = (u64, u64);

thread_local! {
    /// Where this thread went by [`Namespace::enter`].
    static HERE: Cell<Option<Id>> = const { Cell::new(None) };
}

/// The path of a namespace that is given by name, or by path.
pub fn path_of(name: &str) -> PathBuf {
    if name.contains('/') { PathBuf::from(name) } else { Path::new(NAMED).join(name) }
}

impl Namespace {
    /// That of the calling thread.
    pub fn current() -> io::Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// That of a path.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        Ok(Namespace { file, id: (metadata.dev(), metadata.ino()) })
    }

    /// Which one it is.
    pub fn id(&self) -> Id {
        self.id
    }

    /// Moves the calling thread there, unless it is. Only threads that are not lent to others may do that: the engine's.
    ///
    /// # Errors
    /// What is open is no network namespace, or the agent lacks CAP_SYS_ADMIN.
    pub fn enter(&self) -> io::Result<()> {
        if HERE.get() != Some(self.id) {
            setns(&self.file, CloneFlags::CLONE_NEWNET)?;
            HERE.set(Some(self.id));
        }
        Ok(())
    }

    /// Does something there, on a thread of its own, and waits for it.
    ///
    /// # Errors
    /// As [`Namespace::enter`].
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| self.enter().map(|()| work()));
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Moves the calling thread to where the process is: its first thread goes nowhere. A thread begins where the one that made it is, and
/// keeps that namespace for as long as it lives.
///
/// # Errors
/// The agent lacks CAP_SYS_ADMIN by now.
pub fn go_home() -> io::Result<()> {
    let home = Namespace::open(Path::new("/proc/self/ns/net"))?;
    if Namespace::current()? == home { Ok(()) } else { home.enter() }
}

impl PartialEq for Namespace {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Namespace {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_files_of_ip_netns_and_paths_for_themselves() {
        assert_eq!(path_of("qdhcp-1"), Path::new("/run/netns/qdhcp-1"));
        assert_eq!(path_of("/proc/7/ns/net"), Path::new("/proc/7/ns/net"));
    }

    #[test]
    fn what_is_done_within_is_done_there_on_a_thread_of_its_own() {
        let here = Namespace::current().unwrap();
        let caller = std::thread::current().id();
        let (there, thread) = here.within(|| (Namespace::current().unwrap(), std::thread::current().id())).unwrap();
        assert_eq!((there.id(), Namespace::current().unwrap().id()), (here.id(), here.id()));
        assert_ne!(thread, caller);
        assert!(Namespace::open(Path::new("/nonexistent")).is_err());
    }
}
