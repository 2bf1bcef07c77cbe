//! What a reactor drives.

use std::sync::Arc;

use crate::sip::{
    Arrival, Command, Counters, Edge, Flow, Now, Outbox, ShardId, ShardMessage, Time, Usage,
};
use crate::tenant::Tables;

/// A sans-I/O core: [`Edge`], or a small one for tests and benches. The outbox is empty at entry
/// to every call and knows the room towards other shards; time never goes back.
pub trait Core {
    /// Handles one datagram.
    fn handle_message(&mut self, now: Now, arrival: Arrival, bytes: &[u8], out: &mut Outbox);

    /// Handles what shard `from` says. A question is answered by exactly one answer, in this call
    /// or a later one.
    fn handle_shard_message(
        &mut self,
        now: Now,
        from: ShardId,
        message: ShardMessage,
        bytes: &[u8],
        out: &mut Outbox,
    );

    /// Handles a command of the control side.
    fn handle_command(&mut self, now: Now, command: Command, out: &mut Outbox);

    /// Takes new tables; gives the old ones back.
    fn handle_tables(&mut self, now: Now, tables: Arc<Tables>, out: &mut Outbox) -> Arc<Tables>;

    /// A send on `flow` failed, or an ICMP error came back for it.
    fn handle_unreachable(&mut self, now: Now, flow: Flow, out: &mut Outbox);

    /// Runs due timers.
    fn handle_timeout(&mut self, now: Now, out: &mut Outbox);

    /// When [`Self::handle_timeout`] must be called next.
    fn poll_timeout(&self) -> Option<Time>;

    /// What happened so far.
    fn counters(&self) -> &Counters;

    /// How full the tables are.
    fn usage(&self) -> Usage {
        Usage::default()
    }
}

impl Core for Edge {
    #[inline]
    fn handle_message(&mut self, now: Now, arrival: Arrival, bytes: &[u8], out: &mut Outbox) {
        Self::handle_message(self, now, arrival, bytes, out);
    }

    #[inline]
    fn handle_shard_message(
        &mut self,
        now: Now,
        from: ShardId,
        message: ShardMessage,
        bytes: &[u8],
        out: &mut Outbox,
    ) {
        Self::handle_shard_message(self, now, from, message, bytes, out);
    }

    fn handle_command(&mut self, now: Now, command: Command, out: &mut Outbox) {
        Self::handle_command(self, now, command, out);
    }

    fn handle_tables(&mut self, now: Now, tables: Arc<Tables>, out: &mut Outbox) -> Arc<Tables> {
        Self::handle_tables(self, now, tables, out)
    }

    fn handle_unreachable(&mut self, now: Now, flow: Flow, out: &mut Outbox) {
        Self::handle_unreachable(self, now, flow, out);
    }

    #[inline]
    fn handle_timeout(&mut self, now: Now, out: &mut Outbox) {
        Self::handle_timeout(self, now, out);
    }

    #[inline]
    fn poll_timeout(&self) -> Option<Time> {
        Self::poll_timeout(self)
    }

    #[inline]
    fn counters(&self) -> &Counters {
        Self::counters(self)
    }

    fn usage(&self) -> Usage {
        Self::usage(self)
    }
}
