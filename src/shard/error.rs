//! Why the reactors could not start, in words for the operator.

use std::io;
use std::net::SocketAddr;

use crate::limits;

/// A failure at start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Somebody else has the port.
    #[error(
        "[listen] udp: {address} is in use by another process (tried for {retry_s} s); \
         stop that process, or bind another port",
        retry_s = limits::BIND_RETRY_MS / 1_000
    )]
    InUse {
        /// What was to be bound.
        address: SocketAddr,
    },
    /// A socket could not be made or bound.
    #[error("[listen] udp: {address} can not be bound: {source}{hint}", hint = bind_hint(.source))]
    Bind {
        /// What was to be bound.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The local addresses could not be listed.
    #[error("[listen] udp: the addresses of this machine can not be listed: {0}")]
    LocalAddresses(io::Error),
    /// io_uring is not available.
    #[error("[shards] io = \"uring\": {reason}; io = \"mmsg\" works without io_uring")]
    NoIoUring {
        /// What forbids it.
        reason: String,
    },
    /// Memory, descriptors or threads ran out.
    #[error("shard {shard}: {what}: {source}")]
    Resource {
        /// Which shard.
        shard: u8,
        /// What could not be had.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The shard's core is not there.
    #[error(
        "[shards] cores: shard {shard} can not be pinned to core {core}: \
         there is none, or this process may not use it"
    )]
    NoCore {
        /// Which shard.
        shard: u8,
        /// Which core.
        core: usize,
    },
    /// The number of shards or listeners is out of bounds.
    #[error("{what} = {value} is out of bounds (1 to {bound})")]
    Bound {
        /// What.
        what: &'static str,
        /// How many.
        value: usize,
        /// At most.
        bound: usize,
    },
}

/// What to do about a bind that failed.
fn bind_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => "; no interface has this address",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need root or CAP_NET_BIND_SERVICE",
        _ => "",
    }
}
