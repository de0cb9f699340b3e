//! The whole line in network namespaces: the real agent, a simulated cloud, a real receiver of alarms.

mod api;
mod blind;
mod life;
mod restart;
mod stage;
mod wire;
