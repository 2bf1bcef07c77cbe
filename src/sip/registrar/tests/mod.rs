//! The registrar by messages in and responses out.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]

mod bench;
mod limits;
mod memory;
mod model;
mod reach;
mod rules;
mod taken_back;
