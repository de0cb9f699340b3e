//! One verb, one file.

pub mod check;
pub mod compile;
pub mod completions;
pub mod host;
pub mod hosts;
pub mod import;
pub mod inspect;
pub mod push;
pub mod status;
pub mod stop;
pub mod sync;
pub mod watch;
