//! Reply: the XDP program that recognises answers in the driver, and the arrays that it shares with the agent.
//!
//! [`Program::load`] loads the program with arrays of a given size; [`Program::attach`] attaches it to the interface
//! of a network, native where the driver can, else generic. Attachments are links: they vanish with the process. Where no program
//! can be attached at all a packet socket hears the replies, and its thread writes the same arrays.
//! [`Program::prepare`] and [`Program::take_over`] replace a program by one with larger arrays while replies keep coming in.

mod adopt;
mod arrays;
mod generator;
mod listener;
mod networks;
mod receiver;
mod region;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aya::maps::{Map, MapData, PerCpuArray};
use aya::programs::xdp::{XdpLink, XdpLinkId};
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use rollcall_agent_ebpf::config::Tags;
use rollcall_agent_ebpf::reason::{self, Reason};
use rollcall_agent_ebpf::{SLOTS_MAX, config, evidence, index, others, run};

use self::listener::Listener;
use crate::link::Interface;
use crate::namespace;
use crate::packet::Sender;
use crate::wire::HearingSocket;

pub use arrays::{Arrays, Evidence, IndexFull, Traces, leads};
pub use generator::Generated;
pub use listener::{Ear, Place, hear};
pub use networks::Crowded;
pub use receiver::{Receive, Receiver, ReplyError};
pub use region::{Region, prefetch};

/// The XDP program, built by `cargo xtask build-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("ROLLCALL_XDP"));
/// Its name; the number is [`rollcall_agent_ebpf::VERSION`].
const PROGRAM: &str = "rollcall_v6";

/// The arrays, and who writes answers to them: the loaded program with its attachments, and packet sockets where it has none.
pub struct Program {
    /// `None`: replies are received by packet sockets alone.
    loaded: Option<Loaded>,
    arrays: Arc<Arrays>,
    listener: Option<Listener>,
    /// What programs before this one counted.
    counted: [u64; reason::COUNT as usize],
}

struct Loaded {
    ebpf: Ebpf,
    counters: PerCpuArray<MapData, u64>,
    /// By namespace and interface.
    links: BTreeMap<(namespace::Id, u32), Link>,
}

/// An attachment to an interface, and the networks that it is for: several where frames carry VLAN tags.
struct Link {
    id: XdpLinkId,
    receiver: Receiver,
    networks: BTreeSet<u16>,
}

/// What an attachment came to.
#[derive(Debug)]
pub struct Reception {
    /// How replies are received.
    pub receiver: Receiver,
    /// Where they are heard, if not by the program.
    pub ear: Option<Arc<Ear>>,
    /// Why it is not the program, where that was tried.
    pub refusal: Option<ReplyError>,
}

impl Program {
    /// Loads the program with room for `slots` addresses.
    pub fn load(slots: u32) -> Result<Program, ReplyError> {
        let slots = checked(slots)?;
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
            passed: region(&mut ebpf, "PASSED", config::NETWORKS)?,
            run: region(&mut ebpf, "RUN", 1)?,
            due: region(&mut ebpf, "DUE", run::BLOCKS)?,
            generates: AtomicBool::new(false),
            shared: true,
        };
        arrays.set_sizes();
        let counters = ebpf
            .take_map("COUNTERS")
            .ok_or_else(|| ReplyError::Load("the object has no map COUNTERS".into()))
            .and_then(|map| PerCpuArray::try_from(map).map_err(|error| ReplyError::Load(chain(&error))))?;
        Ok(Program::with(Some(Loaded { ebpf, counters, links: BTreeMap::new() }), arrays))
    }

    /// Arrays with room for `slots` addresses that no program of the kernel shares.
    pub fn in_memory(slots: u32) -> Result<Program, ReplyError> {
        let slots = checked(slots)?;
        let arrays = Arrays::in_memory(slots).map_err(|error| ReplyError::Map { name: "of all addresses", error })?;
        Ok(Program::with(None, arrays))
    }

    fn with(loaded: Option<Loaded>, arrays: Arrays) -> Self {
        Program { loaded, arrays: Arc::new(arrays), listener: None, counted: [0; reason::COUNT as usize] }
    }

    /// The shared arrays.
    pub fn arrays(&self) -> &Arc<Arrays> {
        &self.arrays
    }

    /// Receives the replies of a network, in the calling thread's network namespace, which must be the interface's.
    pub fn attach(&mut self, network: u16, interface: &Interface, sender: Sender, wish: Receive) -> Result<Reception, ReplyError> {
        let modes: &[_] = match wish {
            Receive::Auto => &[(Receiver::Native, XdpMode::Driver), (Receiver::Generic, XdpMode::Skb)],
            Receive::Native => &[(Receiver::Native, XdpMode::Driver)],
            Receive::Generic => &[(Receiver::Generic, XdpMode::Skb)],
            Receive::Socket => return self.listen(network, interface, sender, None),
        };
        if interface.index == run::LOOPBACK {
            let detail = "hosts are not behind the loopback interface; name the interface that they are reached by".into();
            return Err(ReplyError::Attach { interface: interface.name.clone(), detail });
        }
        match self.attach_program(network, interface, sender.tags, modes) {
            Ok(receiver) => Ok(Reception { receiver, ear: None, refusal: None }),
            Err(error) if wish == Receive::Auto => self.listen(network, interface, sender, Some(error)),
            Err(error) => Err(error),
        }
    }

    fn attach_program(
        &mut self,
        network: u16,
        interface: &Interface,
        tags: Tags,
        modes: &[(Receiver, XdpMode)],
    ) -> Result<Receiver, ReplyError> {
        let name = &interface.name;
        let refused = |detail: String| ReplyError::Attach { interface: name.clone(), detail };
        let Some(loaded) = &mut self.loaded else { return Err(refused("no XDP program is loaded".into())) };
        self.arrays.set_network(interface.index, tags, network, interface.mac).map_err(|crowded| refused(crowded.to_string()))?;
        let place = (interface.namespace.id(), interface.index);
        let mut networks = BTreeSet::from([network]);
        if let Some(mut link) = loaded.links.remove(&place) {
            networks.append(&mut link.networks);
            // The kernel leaves a link without its interface where that is gone, whatever its number is now, or where somebody detached it.
            if let Ok(id) = renew(&mut loaded.ebpf, link.id) {
                let receiver = link.receiver;
                loaded.links.insert(place, Link { id, receiver, networks });
                return Ok(receiver);
            }
        }
        let mut refusals = Vec::new();
        let mut taken = false;
        for (receiver, mode) in modes {
            match xdp(&mut loaded.ebpf)?.attach_to_if_index(interface.index, *mode) {
                Ok(id) => {
                    loaded.links.insert(place, Link { id, receiver: *receiver, networks });
                    return Ok(*receiver);
                }
                Err(error) => {
                    taken |= is_taken(&error);
                    refusals.push(format!("{}: {}", receiver.name(), chain(&error)));
                }
            }
        }
        self.arrays.unset_network(network);
        if taken {
            return Err(ReplyError::Taken { interface: name.into(), owner: owner(interface.xdp_program) });
        }
        Err(refused(refusals.join("; ")))
    }

    /// Hears the replies of a network by a packet socket.
    fn listen(
        &mut self,
        network: u16,
        interface: &Interface,
        sender: Sender,
        refusal: Option<ReplyError>,
    ) -> Result<Reception, ReplyError> {
        let failed = |error| ReplyError::Listen { interface: interface.name.clone(), error };
        let socket = HearingSocket::open(interface.index, sender).map_err(failed)?;
        let listener = match &self.listener {
            Some(listener) => listener,
            None => self.listener.insert(Listener::start(self.arrays.clone()).map_err(failed)?),
        };
        Ok(Reception { receiver: Receiver::Socket, ear: Some(listener.add(network, socket)), refusal })
    }

    /// Leaves the interface of a network, and detaches from it where no other network is there.
    pub fn detach(&mut self, network: u16) {
        if let Some(listener) = &self.listener {
            listener.remove(network);
        }
        let Some(loaded) = &mut self.loaded else { return };
        self.arrays.unset_network(network);
        for link in loaded.links.values_mut() {
            link.networks.remove(&network);
        }
        let empty = loaded.links.iter().find(|(_, link)| link.networks.is_empty()).map(|(place, _)| *place);
        if let Some(link) = empty.and_then(|place| loaded.links.remove(&place))
            && let Ok(xdp) = xdp(&mut loaded.ebpf)
        {
            // The only failure is that the interface is gone, and then so is the attachment.
            let _ = xdp.detach(link.id);
        }
    }

    /// Attaching and test runs need the program itself.
    pub fn xdp(&mut self) -> Result<&mut Xdp, ReplyError> {
        match &mut self.loaded {
            Some(loaded) => xdp(&mut loaded.ebpf),
            None => Err(ReplyError::Load("replies are received by packet sockets alone (receive)".into())),
        }
    }

    /// Takes the place of a smaller program that is attached and running: copies what changed since `self` was prepared
    /// ([`Program::prepare`]) and what the kernel wrote, swaps the attached programs in place, then fetches what came in
    /// meanwhile. Returns the networks whose attachment could not be moved, because the interface is gone: they are
    /// attached no more.
    pub fn take_over(&mut self, old: &mut Program) -> Vec<(u16, String)> {
        self.arrays.adopt_targets(&old.arrays);
        self.arrays.adopt_traces(&old.arrays);
        self.listener = old.listener.take();
        if let Some(listener) = &self.listener {
            listener.follow(self.arrays.clone());
        }
        let mut lost = Vec::new();
        if let (Some(new), Some(old)) = (&mut self.loaded, &mut old.loaded) {
            for (place, link) in std::mem::take(&mut old.links) {
                match move_link(&mut old.ebpf, &mut new.ebpf, link.id) {
                    Ok(id) => drop(new.links.insert(place, Link { id, ..link })),
                    Err(error) => lost.extend(link.networks.into_iter().map(|network| (network, error.to_string()))),
                }
            }
        }
        self.arrays.adopt_stragglers(&old.arrays);
        self.counted = old.own_counters();
        lost
    }

    /// Loads a program for `slots` and copies all that only userspace writes. Nothing is swapped yet.
    pub fn prepare(slots: u32, old: &Arrays) -> Result<Program, ReplyError> {
        let mut program = if old.shared { Program::load(slots)? } else { Program::in_memory(slots)? };
        if old.generates.load(Ordering::Relaxed) {
            program.enable_generator()?;
        }
        program.arrays.adopt(old).map_err(|error| ReplyError::Load(error.to_string()))?;
        Ok(program)
    }

    /// Frames by [`Reason`], summed over the CPUs, since the first program was loaded.
    pub fn counters(&self) -> [u64; reason::COUNT as usize] {
        let mut sums = self.own_counters();
        for (sum, heard) in sums.iter_mut().zip(self.listener.iter().flat_map(Listener::counters)) {
            *sum += heard;
        }
        sums
    }

    /// The same without what sockets heard: those go on counting after a change of the program.
    fn own_counters(&self) -> [u64; reason::COUNT as usize] {
        let mut sums = self.counted;
        let Some(loaded) = &self.loaded else { return sums };
        for (sum, reason) in sums.iter_mut().zip(Reason::ALL) {
            if let Ok(values) = loaded.counters.get(&(*reason as u32), 0) {
                *sum += values.iter().sum::<u64>();
            }
        }
        sums
    }
}

fn checked(slots: u32) -> Result<u32, ReplyError> {
    if slots > SLOTS_MAX {
        return Err(ReplyError::TooMany { wanted: u64::from(slots) });
    }
    Ok(slots.max(1))
}

fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp, ReplyError> {
    ebpf.program_mut(PROGRAM)
        .ok_or_else(|| ReplyError::Load(format!("the object has no program {PROGRAM}")))?
        .try_into()
        .map_err(|error: ProgramError| ReplyError::Load(chain(&error)))
}

fn move_link(old: &mut Ebpf, new: &mut Ebpf, link: XdpLinkId) -> Result<XdpLinkId, ReplyError> {
    let link: XdpLink = xdp(old)?.take_link(link).map_err(|error| ReplyError::Load(chain(&error)))?;
    xdp(new)?.attach_to_link(link).map_err(|error| ReplyError::Load(chain(&error)))
}

/// Has a link run the program that it runs already: an error where it is attached to nothing any more (`ENOLINK`; net/core/dev.c,
/// `bpf_xdp_link_update`).
fn renew(ebpf: &mut Ebpf, link: XdpLinkId) -> Result<XdpLinkId, ReplyError> {
    let xdp = xdp(ebpf)?;
    let link: XdpLink = xdp.take_link(link).map_err(|error| ReplyError::Load(chain(&error)))?;
    xdp.attach_to_link(link).map_err(|error| ReplyError::Load(chain(&error)))
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
