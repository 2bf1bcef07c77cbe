//! How full the tables of one shard are.

/// What one kind of entry costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Octets of entries in use, with their share of index, timers and slack.
    pub occupied: usize,
    /// Octets allocated at start.
    pub allocated: usize,
}

/// What the tables of one shard cost that grow with what the node has to remember.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Bindings: entries, addresses of record, texts, user agents, index, rates, timers.
    pub bindings: Bytes,
    /// Finished transactions: entries and index; what they keep of messages is in
    /// [`Usage::message_bytes`].
    pub finished: Bytes,
}

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
