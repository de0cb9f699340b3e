//! `rollcall-truth`.

fn main() {}
