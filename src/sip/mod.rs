//! The SIP core: registrar, proxy, transactions, admission; sans-I/O.
//!
//! Owns every decision about a message. Time, randomness and I/O are arguments: it could be
//! replayed from a log with a fake clock. Must not open, read or send anything, nor block, nor
//! allocate in steady state. Implements RFC 3261 §8.2.7, §10, §16, §17, §22; RFC 3581; RFC 6026.

#![forbid(unsafe_code)]

mod admission;
mod auth;
mod buffers;
mod command;
mod counters;
mod edge;
mod flow;
mod gather;
mod home;
mod location;
mod outbox;
mod proxy;
mod random;
mod rate;
mod registrar;
mod reply;
mod settings;
mod slab;
#[cfg(test)]
mod testing;
mod time;
mod token;
mod transaction;
mod turn;
mod usage;
mod wheel;

#[doc(hidden)]
pub use auth::DigestMeasure;
pub use buffers::{BufferId, Buffers};
pub use command::{BindingFilter, BindingRow, Command, Report};
pub use counters::{Counter, Counters, Disposition};
pub use edge::{Edge, Kept};
pub use flow::{Arrival, Flow, ListenerId, ShardId, SourceAddr};
pub use outbox::{Action, Outbox, Send, ShardMessage};
pub use random::Random;
pub use settings::{ContactsFull, Keys, Listener, NodeId, Settings, Steering, Strangers, TokenKey};
pub use slab::{Key, Slab};
pub use time::{Now, Time, WallTime};
pub use usage::{Bytes, Footprint, Usage};
pub use wheel::{Timer, TimerId, TimerKind, Wheel};
