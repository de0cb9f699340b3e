//! The kernel transmitter: the XDP program makes the probes, one system call for all that are due.
//!
//! Needs Linux 5.18 and a driver with `ndo_xdp_xmit`. Whether both are there is tried, not guessed: [`Kernel::open`] sends one
//! frame from the interface to itself.

use std::io;
use std::sync::Arc;

use rollcall_agent_ebpf::frame::eth;
use rollcall_agent_ebpf::{probe, run};

use super::{Departure, Transmitter};
use crate::clock::Mono;
use crate::link::Interface;
use crate::namespace::Namespace;
use crate::packet::{Sender, Templates};
use crate::reply::{Program, ReplyError};
use crate::unit::{Family, Mac};

/// Why the kernel transmitter cannot be used on an interface.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The program cannot make probes here.
    #[error(transparent)]
    Program(#[from] ReplyError),
    /// The kernel knows no live frames, or does not let us use them.
    #[error("BPF_PROG_RUN with live frames (Linux 5.18 or newer): {0}")]
    Run(io::Error),
    /// The driver takes no frames from XDP programs.
    #[error("the driver of {0} takes no frames from XDP programs (ndo_xdp_xmit), or its peer does not receive them")]
    Driver(String),
}

/// A transmitter of one network.
pub struct Kernel {
    interface: u32,
    /// The interface's: a run redirects frames to interfaces of the namespace that it is started in.
    namespace: Arc<Namespace>,
    sender: Sender,
    templates: Templates,
    id: u16,
}

impl Kernel {
    /// A transmitter for the interface of a network to which the program is attached, made in its network namespace.
    pub fn open(program: &mut Program, interface: &Interface, sender: Sender) -> Result<Self, KernelError> {
        program.enable_generator()?;
        let templates = Templates::new(sender, 0);
        let trial = Templates { echo: trial(sender), ..templates };
        let run = program.generate(interface.index, &trial, sender.length(false), &[run::TRIAL]);
        match run.error {
            Some(error) => Err(KernelError::Run(error)),
            None if run.made == 0 || run.dropped > 0 => Err(KernelError::Driver(interface.name.clone())),
            None => Ok(Kernel { interface: interface.index, namespace: interface.namespace.clone(), sender, templates, id: 0 }),
        }
    }
}

/// A frame from the interface to itself that means nothing to anybody: EtherType of local experiments (IEEE 802, 9.2.3).
fn trial(sender: Sender) -> [u64; probe::WORDS] {
    let mut frame = [0; probe::LEN];
    frame[eth::DESTINATION].copy_from_slice(&sender.mac.0);
    frame[eth::SOURCE].copy_from_slice(&sender.mac.0);
    frame[eth::TYPE].copy_from_slice(&0x88b5_u16.to_be_bytes());
    probe::words(&frame)
}

impl Transmitter for Kernel {
    fn transmit(&mut self, program: &Program, slots: &[u32], family: Family, id: u16, _clock: &dyn Fn() -> Mono) -> Departure {
        if id != self.id {
            (self.templates, self.id) = (self.templates.with_id(self.sender, id), id);
        }
        if let Err(error) = self.namespace.enter() {
            return Departure { sent: 0, error: Some(error), dropped: 0 };
        }
        let length = self.sender.length(family == Family::V6);
        let (mut sent, mut dropped) = (0, 0);
        while sent < slots.len() {
            let run = program.generate(self.interface, &self.templates, length, &slots[sent..]);
            sent += run.made;
            dropped += run.dropped;
            match run.error {
                Some(error) if error.kind() == io::ErrorKind::Interrupted && run.made > 0 => {}
                None if run.made > 0 => {}
                error => {
                    let error = error.or_else(|| Some(io::Error::other("a run with live frames made none")));
                    return Departure { sent, error, dropped };
                }
            }
        }
        Departure { sent, error: None, dropped }
    }

    fn gateway(&mut self, family: Family, mac: Option<Mac>) {
        self.templates.set_gateway(family, mac);
    }

    fn name(&self) -> &'static str {
        "kernel"
    }
}
