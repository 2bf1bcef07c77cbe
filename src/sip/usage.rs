//! How full the tables of one shard are.

/// Entries in use, as of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bindings.
    pub bindings: u32,
    /// Live server transactions.
    pub server_transactions: u32,
    /// Live client transactions.
    pub client_transactions: u32,
    /// Requests being proxied.
    pub requests: u32,
    /// Finished transactions that still absorb retransmissions.
    pub absorbers: u32,
    /// Octets of the arena for messages, slack of size classes included.
    pub message_bytes: usize,
}
