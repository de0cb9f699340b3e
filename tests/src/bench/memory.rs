//! What an agent holds in memory, nothing counted twice.

use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::agent::Agent;

/// Memory of an agent, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Resident, without the kernel's arrays that are mapped.
    pub(super) process: u64,
    /// The kernel's arrays and maps, as the kernel charges for them.
    pub(super) maps: u64,
    /// The highest that was ever resident, with what was mapped then.
    pub(super) peak_resident: u64,
}

impl Memory {
    /// Of a running agent.
    pub(super) fn of(agent: &Agent) -> Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{}/{name}", agent.pid());
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let (maps, resident) = (agent.cost()?.maps, agent.cost()?.resident);
        let mapped = mapped(&read("smaps")?);
        let peak = read("status")?.lines().find_map(|line| kilobytes(line, "VmHWM:")).unwrap_or_default();
        Ok(Self { process: resident.saturating_sub(mapped), maps, peak_resident: peak })
    }

    /// All of it.
    pub(super) fn all(&self) -> u64 {
        self.process + self.maps
    }
}

/// Resident bytes of the mappings of BPF maps: part of the process's resident memory, and of the maps' own as well.
fn mapped(smaps: &str) -> u64 {
    let mut inside = false;
    let mut sum = 0;
    for line in smaps.lines() {
        // The line of a mapping begins with its range of addresses; those of its properties with a name and a colon.
        match line.split_once(' ').map(|(first, _)| first) {
            Some(first) if !first.ends_with(':') => inside = line.ends_with("anon_inode:bpf-map"),
            _ if inside => sum += kilobytes(line, "Rss:").unwrap_or_default(),
            _ => {}
        }
    }
    sum
}

fn kilobytes(line: &str, name: &str) -> Option<u64> {
    Some(line.strip_prefix(name)?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_mapped_of_kernel_maps_is_counted() {
        let smaps = "7f0000000000-7f0000100000 rw-s 00000000 00:0e 1059                       anon_inode:bpf-map\n\
                     Size:               1024 kB\n\
                     Rss:                 512 kB\n\
                     VmFlags: rd wr sh\n\
                     7f0000200000-7f0000300000 rw-p 00000000 00:00 0\n\
                     Rss:                 100 kB\n\
                     7f0000400000-7f0000500000 rw-s 00000000 00:0e 1059                       anon_inode:bpf-map\n\
                     Rss:                   4 kB\n";
        assert_eq!(mapped(smaps), 516 * 1024);
    }
}
