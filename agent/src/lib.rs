//! rollcall's agent: table -> schedule -> packet -> wire -> reply -> verdict -> metric | alarm.
//!
//! Without the feature `dataplane` this crate is what the control side shares with the agent:
//! the [`policy`], the [`table`] and the [`api`] types. It then builds on any system.

#[cfg(feature = "dataplane")]
pub mod alarm;
pub mod api;
#[cfg(feature = "dataplane")]
pub mod clock;
#[cfg(feature = "dataplane")]
pub mod config;
#[cfg(feature = "dataplane")]
pub mod engine;
#[cfg(feature = "dataplane")]
pub mod heap;
#[cfg(feature = "dataplane")]
pub mod layers;
#[cfg(feature = "dataplane")]
pub mod link;
#[cfg(feature = "dataplane")]
pub mod packet;
pub mod policy;
#[cfg(feature = "dataplane")]
pub mod priority;
#[cfg(feature = "dataplane")]
pub mod recent;
#[cfg(feature = "dataplane")]
pub mod register;
#[cfg(feature = "dataplane")]
pub mod reply;
#[cfg(feature = "dataplane")]
pub mod resolve;
#[cfg(feature = "dataplane")]
pub mod roster;
#[cfg(feature = "dataplane")]
pub mod run;
#[cfg(feature = "dataplane")]
pub mod schedule;
#[cfg(feature = "dataplane")]
pub mod server;
#[cfg(feature = "dataplane")]
pub mod site;
#[cfg(feature = "dataplane")]
pub mod state;
pub mod table;
#[cfg(feature = "dataplane")]
pub mod tell;
pub mod unit;
#[cfg(feature = "dataplane")]
pub mod verdict;
#[cfg(feature = "dataplane")]
pub mod view;
#[cfg(feature = "dataplane")]
pub mod wire;
