//! The lab (a simulated cloud in network namespaces), and what the demo, the benchmarks and the whole-line tests need to
//! run the real programs in it.

pub mod agent;
pub mod bench;
mod caretaker;
pub mod cloud;
pub mod demo;
pub mod fleet;
pub mod kernel;
pub mod lab;
mod mapping;
pub mod netns;
mod policy;
pub mod population;
pub mod programs;
pub mod scenario;
pub mod simulation;
pub mod status;
pub mod truth;
mod voice;
pub mod webhook;
