//! TRUTH.
