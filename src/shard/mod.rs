//! The reactor: one pinned thread per shard, its sockets, its ring, its queues to other shards.
//!
//! Owns file descriptors. Must not look into a message: bytes go to `sip::Edge` and come from its
//! outbox.
