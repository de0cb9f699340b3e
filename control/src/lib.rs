//! The `rollcall` command: host lists and policies become a table, a table reaches an agent, an agent is asked.
//!
//! host list ([`hosts`]) -> policy ([`policies`], [`assign`]) -> table ([`compile`]) -> agent ([`client`]).

pub mod assign;
pub mod cache;
pub mod cli;
pub mod client;
pub mod compile;
pub mod failure;
pub mod hosts;
pub mod lists;
pub mod mistake;
pub mod policies;
pub mod progress;
pub mod screen;
pub mod source;
pub mod sse;
pub mod sync;
pub mod terms;
pub mod verb;
pub mod warning;
