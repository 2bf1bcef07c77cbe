//! Thin safe wrappers over the system calls that the standard library lacks.
//!
//! Owns: raw socket addresses, socket options, the socket error queue, batched datagram calls,
//! anonymous memory, event descriptors, the thread clock, the list of local addresses. Must not
//! decide anything.

mod address;
mod batch;
mod clock;
mod error_queue;
mod event;
mod in_hand;
mod interfaces;
mod mapping;
mod socket;

pub(crate) use address::RawAddress;
pub(crate) use batch::{ReceiveBatch, SendBatch};
pub use clock::thread_cpu_ns;
pub(crate) use error_queue::read_error;
pub(crate) use event::{Event, Waiter};
pub use in_hand::datagram_in_hand;
pub(crate) use in_hand::hold;
pub use interfaces::local_addresses;
pub(crate) use mapping::Mapping;
pub(crate) use socket::{
    dropped, send_one, set_error_queue, set_path_mtu_any, set_receive_buffer, set_send_buffer,
};
