//! Reply: the XDP program that recognises answers in the driver, and the arrays that it shares with the agent.
//!
//! [`Program::load`] loads the program with arrays of a given size; [`Program::attach`] attaches it to the interface
//! of a network, native where the driver can, else generic. Attachments are links: they vanish with the process.
//! [`Program::grow`] replaces a program by one with larger arrays while replies keep coming in.

mod adopt;
mod arrays;
mod generator;
mod region;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aya::maps::{Map, MapData, PerCpuArray};
use aya::programs::xdp::{XdpLink, XdpLinkId};
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use rollcall_agent_ebpf::config::Tags;
use rollcall_agent_ebpf::reason::{self, Reason};
use rollcall_agent_ebpf::{SLOTS_MAX, config, evidence, index, others, run};
use serde::{Deserialize, Serialize};

use crate::link::Interface;

pub use arrays::{Arrays, Evidence, IndexFull, Traces, leads};
pub use generator::Generated;
pub use region::{Region, prefetch};

/// The XDP program, built by `cargo xtask build-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("ROLLCALL_XDP"));
/// Its name; the number is [`rollcall_agent_ebpf::VERSION`].
const PROGRAM: &str = "rollcall_v5";

/// Which receiver the operator asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Receive {
    /// The best that works.
    #[default]
    Auto,
    /// XDP in the driver.
    Native,
    /// XDP in the kernel's generic receive path.
    Generic,
}

/// Which receiver works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// XDP in the driver.
    Native,
    /// XDP in the kernel's generic receive path.
    Generic,
}

impl Receiver {
    /// Name in the metrics and the API.
    pub fn name(self) -> &'static str {
        match self {
            Receiver::Native => "xdp-native",
            Receiver::Generic => "xdp-generic",
        }
    }
}

/// Why the receiver does not work.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// The kernel refused the program or its arrays.
    #[error(
        "the kernel does not take the XDP program: {0}: the agent needs root (CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW) and Linux 5.10 or newer"
    )]
    Load(String),
    /// What the driver drops could not be counted.
    #[error(
        "the tracepoint {tracepoint}, which counts the frames that the driver drops, cannot be used: {detail}: the agent needs root (CAP_PERFMON), and a kernel with CONFIG_BPF_EVENTS"
    )]
    Witness { tracepoint: &'static str, detail: String },
    /// An array could not be mapped.
    #[error("cannot map the array {name} of the XDP program: {error}: is there enough memory, and is the locked-memory limit high enough?")]
    Map { name: &'static str, error: io::Error },
    /// Somebody else's program is there.
    #[error(
        "{interface} already has an XDP program that is not ours ({owner}): it is left alone; detach it, or give rollcall another interface"
    )]
    Taken { interface: String, owner: String },
    /// The interface takes no XDP program in any mode asked for.
    #[error("cannot attach XDP to {interface}: {detail}")]
    Attach { interface: String, detail: String },
    /// More addresses than slots.
    #[error("{wanted} slots are more than the {SLOTS_MAX} that one agent can hold: split the table over several agents")]
    TooMany { wanted: u64 },
}

/// The loaded program with its arrays and attachments.
pub struct Program {
    ebpf: Ebpf,
    arrays: Arc<Arrays>,
    counters: PerCpuArray<MapData, u64>,
    /// What programs before this one counted.
    counted: [u64; reason::COUNT as usize],
    /// By interface.
    links: BTreeMap<u32, Link>,
}

/// An attachment to an interface, and the networks that it is for: several where frames carry VLAN tags.
struct Link {
    id: XdpLinkId,
    receiver: Receiver,
    networks: BTreeSet<u16>,
}

impl Program {
    /// Loads the program with room for `slots` addresses.
    pub fn load(slots: u32) -> Result<Program, ReplyError> {
        if slots > SLOTS_MAX {
            return Err(ReplyError::TooMany { wanted: u64::from(slots) });
        }
        let slots = slots.max(1);
        let (buckets, others, evidence) = (index::buckets(slots), others::entries(slots), evidence::entries(slots));
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("TARGET", slots)
            .map_max_entries("SENT", slots)
            .map_max_entries("BOARD", slots)
            .map_max_entries("INDEX", buckets)
            .map_max_entries("OTHERS", others)
            .map_max_entries("EVIDENCE", evidence)
            .load(OBJECT)
            .map_err(|error| ReplyError::Load(chain(&error)))?;
        let program: &mut Xdp = ebpf
            .program_mut(PROGRAM)
            .ok_or_else(|| ReplyError::Load(format!("the object has no program {PROGRAM}: it was built for another layout")))?
            .try_into()
            .map_err(|error: ProgramError| ReplyError::Load(chain(&error)))?;
        program.load().map_err(|error| ReplyError::Load(chain(&error)))?;
        let arrays = Arrays {
            target: region(&mut ebpf, "TARGET", slots)?,
            sent: region(&mut ebpf, "SENT", slots)?,
            board: region(&mut ebpf, "BOARD", slots)?,
            index: region(&mut ebpf, "INDEX", buckets)?,
            others: region(&mut ebpf, "OTHERS", others)?,
            evidence: region(&mut ebpf, "EVIDENCE", evidence)?,
            config: region(&mut ebpf, "CONFIG", 1)?,
            networks: region(&mut ebpf, "NETWORKS", config::NETWORKS)?,
            run: region(&mut ebpf, "RUN", 1)?,
            due: region(&mut ebpf, "DUE", run::BLOCKS)?,
            generates: AtomicBool::new(false),
        };
        arrays.set_sizes();
        let counters = ebpf
            .take_map("COUNTERS")
            .ok_or_else(|| ReplyError::Load("the object has no map COUNTERS".into()))
            .and_then(|map| PerCpuArray::try_from(map).map_err(|error| ReplyError::Load(chain(&error))))?;
        Ok(Program { ebpf, arrays: Arc::new(arrays), counters, counted: [0; reason::COUNT as usize], links: BTreeMap::new() })
    }

    /// The shared arrays.
    pub fn arrays(&self) -> &Arc<Arrays> {
        &self.arrays
    }

    /// Attaches to the interface of a network, in the calling thread's network namespace.
    pub fn attach(&mut self, network: u16, interface: &Interface, tags: Tags, wish: Receive) -> Result<Receiver, ReplyError> {
        let name = &interface.name;
        if interface.index == run::LOOPBACK {
            let detail = "hosts are not behind the loopback interface; name the interface that they are reached by".into();
            return Err(ReplyError::Attach { interface: name.into(), detail });
        }
        if !self.arrays.set_network(interface.index, tags, network, interface.mac) {
            return Err(ReplyError::Attach { interface: name.into(), detail: "too many interfaces".into() });
        }
        if let Some(link) = self.links.get_mut(&interface.index) {
            link.networks.insert(network);
            return Ok(link.receiver);
        }
        let modes: &[_] = match wish {
            Receive::Auto => &[(Receiver::Native, XdpMode::Driver), (Receiver::Generic, XdpMode::Skb)],
            Receive::Native => &[(Receiver::Native, XdpMode::Driver)],
            Receive::Generic => &[(Receiver::Generic, XdpMode::Skb)],
        };
        let mut refusals = Vec::new();
        for (receiver, mode) in modes {
            match self.xdp()?.attach_to_if_index(interface.index, *mode) {
                Ok(id) => {
                    self.links.insert(interface.index, Link { id, receiver: *receiver, networks: [network].into() });
                    return Ok(*receiver);
                }
                Err(error) if is_taken(&error) => {
                    return Err(ReplyError::Taken { interface: name.into(), owner: owner(interface.xdp_program) });
                }
                Err(error) => refusals.push(format!("{}: {}", receiver.name(), chain(&error))),
            }
        }
        Err(ReplyError::Attach { interface: name.into(), detail: refusals.join("; ") })
    }

    /// Leaves the interface of a network, and detaches from it where no other network is there.
    pub fn detach(&mut self, network: u16) {
        self.arrays.unset_network(network);
        for link in self.links.values_mut() {
            link.networks.remove(&network);
        }
        let empty = self.links.iter().find(|(_, link)| link.networks.is_empty()).map(|(interface, _)| *interface);
        if let Some(link) = empty.and_then(|interface| self.links.remove(&interface))
            && let Ok(xdp) = self.xdp()
        {
            // The only failure is that the interface is gone, and then so is the attachment.
            let _ = xdp.detach(link.id);
        }
    }

    /// Attaching and test runs need the program itself.
    pub fn xdp(&mut self) -> Result<&mut Xdp, ReplyError> {
        self.ebpf
            .program_mut(PROGRAM)
            .ok_or_else(|| ReplyError::Load(format!("the object has no program {PROGRAM}")))?
            .try_into()
            .map_err(|error: ProgramError| ReplyError::Load(chain(&error)))
    }

    /// Takes the place of a smaller program that is attached and running: copies what changed since `self` was prepared
    /// ([`Program::prepare`]) and what the kernel wrote, swaps the attached programs in place, then fetches what came in
    /// meanwhile. Returns the networks whose attachment could not be moved, because the interface is gone: they are
    /// attached no more.
    pub fn take_over(&mut self, old: &mut Program) -> Vec<(u16, String)> {
        self.arrays.adopt_targets(&old.arrays);
        self.arrays.adopt_traces(&old.arrays);
        let mut lost = Vec::new();
        for (interface, link) in std::mem::take(&mut old.links) {
            match self.move_link(old, link.id) {
                Ok(id) => drop(self.links.insert(interface, Link { id, ..link })),
                Err(error) => lost.extend(link.networks.into_iter().map(|network| (network, error.to_string()))),
            }
        }
        self.arrays.adopt_stragglers(&old.arrays);
        self.counted = old.counters();
        lost
    }

    fn move_link(&mut self, old: &mut Program, link: XdpLinkId) -> Result<XdpLinkId, ReplyError> {
        let link: XdpLink = old.xdp()?.take_link(link).map_err(|error| ReplyError::Load(chain(&error)))?;
        self.xdp()?.attach_to_link(link).map_err(|error| ReplyError::Load(chain(&error)))
    }

    /// Loads a program for `slots` and copies all that only userspace writes. Nothing is swapped yet.
    pub fn prepare(slots: u32, old: &Arrays) -> Result<Program, ReplyError> {
        let mut program = Program::load(slots)?;
        if old.generates.load(Ordering::Relaxed) {
            program.enable_generator()?;
        }
        program.arrays.adopt(old).map_err(|error| ReplyError::Load(error.to_string()))?;
        Ok(program)
    }

    /// Frames by [`Reason`], summed over the CPUs, since the first program was loaded.
    pub fn counters(&self) -> [u64; reason::COUNT as usize] {
        let mut sums = self.counted;
        for (sum, reason) in sums.iter_mut().zip(Reason::ALL) {
            if let Ok(values) = self.counters.get(&(*reason as u32), 0) {
                *sum += values.iter().sum::<u64>();
            }
        }
        sums
    }
}

fn region<const WORDS: usize>(ebpf: &mut Ebpf, name: &'static str, elements: u32) -> Result<Region<WORDS>, ReplyError> {
    match ebpf.map(name) {
        Some(Map::Array(data)) => Region::map(data.fd(), elements).map_err(|error| ReplyError::Map { name, error }),
        _ => Err(ReplyError::Load(format!("the object has no array {name}"))),
    }
}

/// `EEXIST` or `EBUSY`: a program that is not ours holds the interface (net/core/dev.c, `dev_xdp_attach`).
fn is_taken(error: &ProgramError) -> bool {
    let code = match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    };
    matches!(code, Some(libc::EBUSY | libc::EEXIST))
}

/// Says whose program holds the interface, by the number that the kernel gave it.
fn owner(id: Option<u32>) -> String {
    let Some(id) = id else { return "`ip link` names it".into() };
    let name = aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .find(|info| info.id() == id)
        .and_then(|info| info.name_as_str().map(str::to_owned));
    format!("{} (id {id})", name.as_deref().unwrap_or("without a name"))
}

/// An error with its causes on one line; the verifier's log, if there is one, is cut to its end.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    match text.char_indices().rev().nth(1500) {
        Some((cut, _)) => format!("...{}", &text[cut..]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_name_carries_the_version_of_the_layout() {
        assert_eq!(PROGRAM, format!("rollcall_v{}", rollcall_agent_ebpf::VERSION));
    }
}
