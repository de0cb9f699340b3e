//! What the engine says, in the order in which it is true.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::alarm::Key;
use crate::roster::Roster;
use crate::unit::{Blind, Condition, Mac, Verdict};

/// What the engine tells, in order.
pub enum Note {
    /// A verdict turned.
    Turn(Turned),
    /// A condition of an address began or ended.
    Condition(Conditioned),
    /// The agent cannot see a network any more, or can again.
    Sight(Sight),
    /// From here on, slots mean this roster. The keys are those that are gone.
    Roster(Arc<Roster>, Vec<Key>),
    /// A command was carried out, and all before it was told: tell the one who gave it.
    Done(oneshot::Sender<Result<(), String>>, Result<(), String>),
    /// Something large that the engine has no use for any more. Freeing it takes milliseconds, which others have.
    Spent(Box<dyn Send>),
}

/// A verdict that turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turned {
    /// Whose.
    pub slot: u32,
    /// The verdict before.
    pub from: Verdict,
    /// The verdict now.
    pub to: Verdict,
    /// Why it is unknown.
    pub blind: Option<Blind>,
    /// Misses behind the verdict.
    pub misses: u8,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// When the first of these misses was sent, likewise.
    pub since_ms: u64,
    /// When the address answered last, likewise; `None`: never since the agent runs.
    pub last_reply_ms: Option<u64>,
}

/// A condition that began or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditioned {
    /// Whose.
    pub slot: u32,
    /// Which.
    pub condition: Condition,
    /// Whether it holds from now on.
    pub holds: bool,
    /// Conflict: the MAC that is expected, and the one that answered.
    pub macs: Option<(Mac, Mac)>,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// Whether the agent sees a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The agent's number of the network; `None`: all of them.
    pub network: Option<u16>,
    /// Why it cannot see it; `None`: it can.
    pub blind: Option<Blind>,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}
