//! The reactor: one pinned thread per shard, its sockets, its ring, its queues to other shards.
//!
//! Owns file descriptors. Must not look into a message: bytes go to a [`Core`] (`sip::Edge`) and
//! come from its outbox. Steady state allocates nothing, takes no lock, and shares no cache line
//! with another shard but those of the queues between them, their doorbells and counters that
//! have one writer. Unsafe code is in `ring` and `sys` alone.

#![deny(unsafe_code)]

mod arena;
mod backend;
mod clock;
mod core;
mod error;
mod listeners;
mod mmsg;
mod poison;
mod post;
mod reactor;
#[allow(unsafe_code, reason = "the ring shares memory with the kernel")]
mod ring;
mod runtime;
mod spin;
mod stats;
#[allow(unsafe_code, reason = "system calls that the standard library lacks")]
mod sys;
mod tables;
mod wake;

pub use self::clock::Origin;
pub use self::core::Core;
pub use self::error::StartError;
pub use self::listeners::{Bind, Listeners, expand_wildcard};
pub use self::poison::Poison;
pub use self::reactor::Meter;
pub use self::runtime::{Config, Io, Runtime};
pub use self::stats::{Snapshot, Stats};
pub use self::sys::{datagram_in_hand, local_addresses, thread_cpu_ns};
