//! Sync: the controller between a platform and the agents. Sources -> hosts -> policies -> a table for each agent -> what changed is pushed;
//! again at every interval, and at once when a source tells of a change.
//!
//! It keeps nothing but what the agents hold: killed and started anew it asks the sources and the agents, and goes on. One task listens to
//! each source, one brings each agent its table, and between them one ([`controller`]) owns what is believed.

pub mod config;
pub mod controller;
pub mod courier;
pub mod difference;
pub mod guard;
pub mod merge;
pub mod plan;
pub mod serve;
pub mod split;

/// One line for whoever reads the log.
fn say(text: &str) {
    eprintln!("rollcall sync: {text}");
}
