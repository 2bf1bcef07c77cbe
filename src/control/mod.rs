//! The control side: start-up, local socket, provisioning, commands to shards, shutdown.
//!
//! Owns the threads that may block and allocate. Speaks to shards by commands, published tables
//! and counter snapshots only. Must not touch a packet.

#![forbid(unsafe_code)]

mod api;
mod changes;
mod cli;
mod client;
mod crash;
mod edge;
mod keys;
mod log;
mod output;
mod programs;
mod run;
#[cfg(test)]
mod scratch;
mod settings;
mod shards;
mod state_dir;
mod tenants;
pub mod view;

pub use cli::main;
