//! Whose a process is: all that a cloud starts carries a mark in its environment, with the cloud's folder, and so do their
//! children. A process is ended by that mark, not by a number that may be another's by now.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::step;

const NAME: &str = "ROLLCALL_CLOUD_SERVICE_OF";

/// What marks the processes of one cloud, or of one service of it.
#[derive(Clone)]
pub(super) struct Mark {
    dir: PathBuf,
    service: Option<&'static str>,
}

impl Mark {
    pub(super) fn of(dir: &Path) -> Self {
        Self { dir: dir.into(), service: None }
    }

    pub(super) fn service(&self, service: &'static str) -> Self {
        Self { service: Some(service), ..self.clone() }
    }

    /// Has the command carry the mark, and say nothing of what Python will deprecate one day.
    pub(super) fn on<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env(NAME, format!("{}:{}", self.service.unwrap_or("step"), self.dir.display())).env("PYTHONWARNINGS", "ignore")
    }

    /// The processes with this mark. Zombies have no environment any more: they are not among them.
    pub(super) fn processes(&self) -> Vec<u32> {
        let own = std::process::id();
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|&pid| pid != own && std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|found| self.is_in(&found))).collect()
    }

    fn is_in(&self, environment: &[u8]) -> bool {
        let wanted = self.dir.as_os_str().as_encoded_bytes();
        let mut variables = environment.split(|&byte| byte == 0);
        variables.any(|variable| {
            let Some(value) = variable.strip_prefix(NAME.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) else { return false };
            let Some(colon) = value.iter().position(|&byte| byte == b':') else { return false };
            &value[colon + 1..] == wanted && self.service.is_none_or(|service| &value[..colon] == service.as_bytes())
        })
    }

    /// Asks them to end, and waits for it; those that do not are ended.
    pub(super) fn end_gently(&self, patience: Duration) -> Result<()> {
        signal("TERM", &leaders(&self.processes()));
        let until = Instant::now() + patience;
        while Instant::now() < until && !self.processes().is_empty() {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.end()
    }

    /// Ends them, and those that they started meanwhile.
    pub(super) fn end(&self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let found = self.processes();
            if found.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < until, "these processes do not end: {found:?}");
            signal("KILL", &found);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Those that were started as a group's first: they see to their own children.
fn leaders(pids: &[u32]) -> Vec<u32> {
    let group = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // After the name, which may hold anything: state, parent, group.
        stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
    };
    pids.iter().copied().filter(|&pid| group(pid) == Some(pid)).collect()
}

/// By the shell's own `kill`: we have no system calls of our own.
fn signal(name: &str, pids: &[u32]) {
    if !pids.is_empty() {
        let pids = pids.iter().map(u32::to_string);
        // One that has ended meanwhile is no matter.
        let _ = step::output(Command::new("sh").args(["-c", "kill -s \"$@\"", "sh", name]).args(pids));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_processes_of_this_cloud_and_service_are_found_and_ended() {
        let dir = format!("/nowhere/{}", std::process::id());
        let (ours, other) = (Mark::of(Path::new(&dir)), Mark::of(Path::new(&format!("{dir}0"))));
        let start = |mark: &Mark| mark.on(Command::new("sleep").arg("60")).spawn().unwrap();
        let (mut one, mut two, mut foreign) = (start(&ours.service("one")), start(&ours.service("two")), start(&other.service("one")));
        let seen = |mark: &Mark| {
            // Between fork and exec the new process still has our environment.
            std::thread::sleep(Duration::from_millis(100));
            mark.processes()
        };
        assert_eq!(seen(&ours.service("two")), [two.id()]);
        ours.service("one").end().unwrap();
        assert_eq!(seen(&ours), [two.id()]);
        ours.end_gently(Duration::from_millis(100)).unwrap();
        assert!(seen(&ours).is_empty());
        assert_eq!(seen(&other), [foreign.id()]);
        other.end().unwrap();
        for child in [&mut one, &mut two, &mut foreign] {
            child.wait().unwrap();
        }
    }
}
