//! The program's other direction: making probes, by `BPF_PROG_RUN` with live frames (Documentation/bpf/bpf_prog_run.rst).
//!
//! Userspace writes slots into `DUE` and templates into `RUN`; one system call then makes a frame of each and redirects it to the
//! interface. What the driver does not take is counted by tracepoints, because nothing else tells of it.

use std::io;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use aya::TestRun as _;
use aya::programs::{ProgramError, RawTracePoint, TestRunAttrs, TestRunOptions, Xdp};
use rollcall_agent_ebpf::{probe, run};

use super::arrays::leads;
use super::{PROGRAM, Program, ReplyError, chain};
use crate::packet::{LEN_MAX, Templates};

/// Frames that the program makes between two deliveries to the driver: fewer cost more CPU, more make the first ones wait for
/// the last, which is in their RTT, and overflow the rings of drivers (256 frames in drivers/net/veth.c). See PERFORMANCE.md.
const BATCH: u32 = 64;
/// The same for a run of [`MANY`] and more: then the rate is what matters.
const BATCH_MANY: u32 = 128;
const MANY: u32 = 2048;
/// Programs that count what could not be sent, with their tracepoints.
const WITNESSES: [(&str, &str); 2] = [("frames_dropped", "xdp_devmap_xmit"), ("frames_refused", "xdp_redirect_err")];

/// How a run went.
#[derive(Debug)]
pub struct Generated {
    /// Slots that were gone through, from the first.
    pub made: usize,
    /// Frames among them that could not be sent.
    pub dropped: usize,
    /// Why the run ended early.
    pub error: Option<io::Error>,
}

/// One slot of each cache line, for asking for it early.
fn leaders(slots: &[u32]) -> impl Iterator<Item = u32> {
    let before = std::iter::once(None).chain(slots.iter().copied().map(Some));
    before.zip(slots.iter().copied()).filter(|(before, slot)| leads(*before, *slot)).map(|(_, slot)| slot)
}

impl Program {
    /// Prepares the program to make probes.
    ///
    /// # Errors
    /// Where the kernel does not let us count what it could not send: then its silence would be taken for the hosts'.
    pub fn enable_generator(&mut self) -> Result<(), ReplyError> {
        if self.arrays.generates.load(Relaxed) {
            return Ok(());
        }
        for (name, tracepoint) in WITNESSES {
            let refused = |error: &dyn std::error::Error| ReplyError::Witness { tracepoint, detail: chain(error) };
            let Some(loaded) = &mut self.loaded else { return Err(ReplyError::Load("no XDP program is loaded (receive)".into())) };
            let program = loaded.ebpf.program_mut(name).ok_or_else(|| ReplyError::Load(format!("the object has no program {name}")))?;
            let program: &mut RawTracePoint = program.try_into().map_err(|error: ProgramError| refused(&error))?;
            program.load().map_err(|error| refused(&error))?;
            program.attach(tracepoint).map_err(|error| refused(&error))?;
        }
        self.arrays.generates.store(true, Relaxed);
        Ok(())
    }

    /// Makes and sends one probe for each slot, at most [`run::DUE_MAX`], out of an interface of the calling thread's
    /// network namespace. All are of one length, in bytes: that of the network's probes of IPv4, or of IPv6 addresses.
    pub fn generate(&self, interface: u32, templates: &Templates, length: usize, slots: &[u32]) -> Generated {
        let slots = &slots[..slots.len().min(run::DUE_MAX)];
        let failed = |error| Generated { made: 0, dropped: 0, error: Some(error) };
        let Some(state) = self.arrays.run.words(0) else { return failed(io::ErrorKind::NotFound.into()) };
        for (block, slots) in slots.chunks(run::BLOCK).enumerate() {
            let Some(block) = self.arrays.due.words(block as u32) else { break };
            for (word, pair) in block.iter().zip(slots.chunks(2)) {
                word.store(u64::from(pair[0]) | u64::from(pair.get(1).copied().unwrap_or_default()) << 32, Relaxed);
            }
            leaders(slots).for_each(|slot| self.arrays.prefetch(slot));
        }
        // By now the first targets have come, and the rest is on its way.
        leaders(slots).for_each(|slot| self.arrays.prefetch_index(slot));
        state[run::INTERFACE].store(interface.into(), Relaxed);
        state[run::TAGS].store(templates.tags, Relaxed);
        let put = |at: usize, words: &[u64]| state[at..].iter().zip(words).for_each(|(to, word)| to.store(*word, Relaxed));
        let v6 = length >= probe::LEN_V6;
        state[run::GATEWAY].store(templates.gateways[usize::from(v6)], Relaxed);
        if !v6 {
            state[run::SUMS].store(templates.sums, Relaxed);
            put(run::TEMPLATE_ARP, &templates.arp);
            put(run::TEMPLATE_ECHO, &templates.echo);
        } else {
            state[run::SUMS_V6].store(templates.sums_v6, Relaxed);
            put(run::SOURCE_LINK, &templates.sources[0]);
            put(run::SOURCE_GLOBAL, &templates.sources[1]);
            put(run::TEMPLATE_SOLICITATION, &templates.solicitation);
            put(run::TEMPLATE_ECHO_V6, &templates.echo_v6);
        }
        for at in [run::DROPPED, run::REFUSED, run::CURSOR] {
            state[at].store(0, Relaxed);
        }
        state[run::ACTIVE].store(1, Relaxed);
        state[run::END].store(slots.len() as u64, Release);
        let result = self.live_frames(slots.len() as u32, length);
        let made = state[run::CURSOR].load(Acquire) as usize;
        state[run::END].store(0, Release);
        state[run::ACTIVE].store(0, Relaxed);
        let dropped = (state[run::DROPPED].load(Relaxed) + state[run::REFUSED].load(Relaxed)) as usize;
        Generated { made, dropped: dropped.min(made), error: result.err() }
    }

    fn live_frames(&self, count: u32, length: usize) -> io::Result<()> {
        let program = self.loaded.as_ref().and_then(|loaded| loaded.ebpf.program(PROGRAM)).ok_or(io::ErrorKind::NotFound)?;
        let program: &Xdp = program.try_into().map_err(|error: ProgramError| io::Error::other(error.to_string()))?;
        let frame = [0; LEN_MAX];
        let attrs = TestRunAttrs::new().xdp_live_frames(if count < MANY { BATCH } else { BATCH_MANY });
        let options = TestRunOptions { data_in: frame.get(..length), repeat: count, attrs, ..TestRunOptions::new() };
        match program.test_run(options) {
            Ok(_) => Ok(()),
            Err(ProgramError::SyscallError(error)) => Err(error.io_error),
            Err(error) => Err(io::Error::other(chain(&error))),
        }
    }
}
