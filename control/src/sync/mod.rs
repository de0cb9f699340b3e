//! Sync: the controller between a platform and the agents. Sources -> hosts -> policies -> a table for each agent -> what changed is pushed;
//! again at every interval, and at once when a source tells of a change.
//!
//! It keeps nothing but what the agents hold: killed and started anew it asks the sources and the agents, and goes on. One task listens to
//! each source, one brings each agent its table, and between them one ([`controller`]) owns what is believed.

use std::io::Write;

pub mod config;
pub mod controller;
pub mod courier;
pub mod difference;
pub mod first;
pub mod guard;
pub mod listen;
pub mod lock;
pub mod merge;
pub mod plan;
pub mod serve;
pub mod split;
pub mod tasks;
pub mod words;

#[cfg(test)]
mod tests;

/// One line for whoever reads the log. That nobody does any more is no reason to end.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "rollcall sync: {text}");
}
