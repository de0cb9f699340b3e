//! The simulated ways onto the wire: they note what they send as the socket transmitter does, and send the same bytes.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rollcall_agent::clock::{Clock, Mono};
use rollcall_agent::packet::{LEN_MAX, Sender, Templates};
use rollcall_agent::reply::Program;
use rollcall_agent::unit::{Family, Mac};
use rollcall_agent::wire::{Departure, Neighbours, Said, Transmitter};

use super::air::Air;

/// The air as all ends share it.
pub(super) type Shared = Arc<Mutex<Air>>;

pub(super) fn lock(air: &Shared) -> MutexGuard<'_, Air> {
    air.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct Antenna {
    pub(super) air: Shared,
    pub(super) net: u16,
    pub(super) sender: Sender,
    pub(super) clock: Clock,
    pub(super) templates: Templates,
    pub(super) id: u16,
}

impl Antenna {
    pub(super) fn new(air: Shared, net: u16, sender: Sender, clock: Clock) -> Self {
        Antenna { air, net, sender, clock, templates: Templates::new(sender, 0), id: 0 }
    }
}

impl Transmitter for Antenna {
    fn transmit(&mut self, program: &Program, slots: &[u32], _family: Family, id: u16, clock: &dyn Fn() -> Mono) -> Departure {
        if id != self.id {
            (self.templates, self.id) = (self.templates.with_id(self.sender, id), id);
        }
        let (arrays, now) = (program.arrays(), clock());
        let mut air = lock(&self.air);
        if air.nets[usize::from(self.net)].refuses {
            return Departure { sent: 0, error: Some(io::ErrorKind::PermissionDenied.into()), dropped: 0 };
        }
        let mut frame = [0; LEN_MAX];
        for &slot in slots {
            let Some(target) = arrays.target(slot) else { continue };
            let Some((sequence, _)) = arrays.note_sent(slot, now.nanos()) else { continue };
            let length = self.templates.write(&mut frame, &target, slot, sequence);
            air.ask(self.net, &frame[..length], now);
        }
        Departure { sent: slots.len(), error: None, dropped: 0 }
    }

    fn gateway(&mut self, family: Family, mac: Option<Mac>) {
        self.templates.set_gateway(family, mac);
    }

    fn name(&self) -> &'static str {
        "simulated"
    }
}

impl Neighbours for Antenna {
    fn ask(&mut self, address: IpAddr, mac: Option<Mac>) -> io::Result<()> {
        let mut frame = [0; LEN_MAX];
        let length = self.templates.ask(&mut frame, address, mac);
        let mut air = lock(&self.air);
        if air.nets[usize::from(self.net)].refuses {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        air.ask(self.net, &frame[..length], self.clock.now());
        Ok(())
    }

    fn answer(&mut self) -> io::Result<Option<Said>> {
        Ok(lock(&self.air).neighbour(self.net))
    }
}
