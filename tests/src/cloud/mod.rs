//! The platform's side against real services, and by a simulated clock: `cargo xtask cloud check`.

pub mod churn;
