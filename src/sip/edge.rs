//! One shard's core: takes messages, messages of other shards, commands and time; fills the outbox.

use std::sync::Arc;

use super::{
    Arrival, Command, Counters, Flow, Keys, Now, Outbox, Settings, ShardId, ShardMessage, Time,
};
use crate::tenant::Tables;

/// The core of one shard.
#[derive(Debug)]
pub struct Edge {
    tables: Arc<Tables>,
    counters: Counters,
}

impl Edge {
    /// A core with all its tables allocated. `seed` feeds its random source.
    pub fn new(
        shard: ShardId,
        settings: Arc<Settings>,
        keys: Arc<Keys>,
        tables: Arc<Tables>,
        now: Now,
        seed: u64,
    ) -> Self {
        let _ = (shard, settings, keys, now, seed);
        Self {
            tables,
            counters: Counters::new(),
        }
    }

    /// Handles one datagram or stream message. `out` is empty on entry.
    pub fn handle_message(&mut self, now: Now, arrival: Arrival, bytes: &[u8], out: &mut Outbox) {
        let _ = (now, arrival, bytes, out);
        unimplemented!()
    }

    /// Handles what shard `from` says; `bytes` are the message's octets.
    pub fn handle_shard_message(
        &mut self,
        now: Now,
        from: ShardId,
        message: ShardMessage,
        bytes: &[u8],
        out: &mut Outbox,
    ) {
        let _ = (now, from, message, bytes, out);
        unimplemented!()
    }

    /// Handles a command of the control side.
    pub fn handle_command(&mut self, now: Now, command: Command, out: &mut Outbox) {
        let _ = (now, command, out);
        unimplemented!()
    }

    /// Takes a new generation of tenant tables; gives the old one back for the control side to
    /// free.
    pub fn handle_tables(
        &mut self,
        now: Now,
        tables: Arc<Tables>,
        out: &mut Outbox,
    ) -> Arc<Tables> {
        let _ = (now, out);
        std::mem::replace(&mut self.tables, tables)
    }

    /// A send on `flow` failed, or an ICMP error came back for it.
    pub fn handle_unreachable(&mut self, now: Now, flow: Flow, out: &mut Outbox) {
        let _ = (now, flow, out);
        unimplemented!()
    }

    /// Runs due timers, as many as the outbox has room for and at most
    /// `limits::TURN_TIMERS_MAX`; if more are due, [`Self::poll_timeout`] says now.
    pub fn handle_timeout(&mut self, now: Now, out: &mut Outbox) {
        let _ = (now, out);
        unimplemented!()
    }

    /// When [`Self::handle_timeout`] must be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        unimplemented!()
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
