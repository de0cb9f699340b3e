//! The platform's side against real services, and by a simulated clock: `cargo xtask cloud check`.

pub mod bulk;
mod check;
pub mod churn;
pub mod events;
pub mod relay;
pub mod site;

pub use check::main;
