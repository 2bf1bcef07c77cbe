//! One shard's core: takes messages, messages of other shards, commands and time; fills the outbox.
//!
//! Owns every part of the core and lends them what a call needs. Must not decide about a message
//! beyond which part it belongs to. Implements RFC 3261 §16.3 (validation), §16.10 (CANCEL),
//! §16.7 as far as a response finds its way; RFC 5626 §4.4.1 and §8 (keep-alives).

mod cancel;
mod dispatch;
mod stun;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::cancel::Questions;
use super::auth::Authenticator;
use super::proxy::{Proxy, probe};
use super::rate::Sources;
use super::registrar::Registrar;
use super::transaction::Transactions;
use super::turn::Turn;
use super::{
    Action, Arrival, Buffers, Command, Counter, Counters, Flow, Footprint, Keys, Now, Outbox,
    Random, Settings, ShardId, ShardMessage, Time, Usage, Wheel,
};
use crate::limits::{self, Capacity};
use crate::tenant::Tables;
use crate::wire::Index;

/// The core of one shard.
#[derive(Debug)]
pub struct Edge {
    /// Scratch of the scanner; apart from the rest, so that a message may be borrowed while the
    /// state changes.
    index: Box<Index>,
    core: Core,
}

/// What one shard keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Bindings.
    pub bindings: u32,
    /// Timers that run.
    pub timers: u32,
    /// Octets of messages, slack included.
    pub message_bytes: usize,
}

/// Everything but the scanner's scratch.
#[derive(Debug)]
struct Core {
    shard: ShardId,
    settings: Arc<Settings>,
    keys: Arc<Keys>,
    tables: Arc<Tables>,
    counters: Counters,
    wheel: Wheel,
    buffers: Buffers,
    random: Random,
    parts: Parts,
}

/// The parts that act on messages.
#[derive(Debug)]
struct Parts {
    transactions: Transactions,
    registrar: Registrar,
    authenticator: Authenticator,
    sources: Sources,
    proxy: Proxy,
    questions: Questions,
    /// True once new calls and registrations are refused.
    draining: bool,
}

impl Core {
    /// Lends everything to one call.
    fn split<'a>(&'a mut self, now: Now, out: &'a mut Outbox) -> (Turn<'a>, &'a mut Parts) {
        let turn = Turn {
            now,
            shard: self.shard,
            settings: &self.settings,
            keys: &self.keys,
            tables: &self.tables,
            out,
            counters: &mut self.counters,
            wheel: &mut self.wheel,
            buffers: &mut self.buffers,
            random: &mut self.random,
        };
        (turn, &mut self.parts)
    }

    /// Counts what one call wants done, and what it displaced.
    fn count_actions(&mut self, out: &Outbox) {
        for _ in 0..self.parts.sources.take_displaced() {
            self.counters.add(Counter::SourcesDisplaced);
        }
        for action in out.actions() {
            match action {
                Action::Send(_) => self.counters.add(Counter::Sent),
                Action::ToShard(..) => self.counters.add(Counter::Hops),
                Action::Report(_) => {}
            }
        }
    }
}

/// Timers that may run at once: two per server transaction, two per client transaction, one per
/// proxied request, absorber, call and binding, and what the parts need for themselves.
fn timers_max(capacity: &Capacity) -> u32 {
    const PER_TRANSACTION: u32 = 2 + 2 * limits::BRANCHES_PER_REQUEST + 1;
    const HOUSEKEEPING: u32 = 1024 + limits::PROBES_MAX;
    capacity
        .transactions
        .saturating_mul(PER_TRANSACTION)
        .saturating_add(capacity.absorbers)
        .saturating_add(capacity.bindings)
        .saturating_add(capacity.calls)
        .saturating_add(HOUSEKEEPING)
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
        let capacity = settings.capacity;
        let parts = Parts {
            transactions: Transactions::new(capacity.transactions, capacity.absorbers, keys.hash),
            registrar: Registrar::new(capacity.bindings, keys.hash),
            authenticator: Authenticator::new(capacity.nonces, &keys, settings.node),
            sources: Sources::new(capacity.sources, keys.hash),
            proxy: Proxy::new(capacity.transactions, capacity.calls),
            questions: Questions::new(),
            draining: false,
        };
        let mut wheel = Wheel::with_capacity(timers_max(&capacity), now.time);
        probe::begin(&settings, &mut wheel, now.time);
        let core = Core {
            shard,
            settings,
            keys,
            tables,
            counters: Counters::new(),
            wheel,
            buffers: Buffers::with_capacity(capacity.message_bytes),
            random: Random::new(seed),
            parts,
        };
        Self {
            index: Index::new(),
            core,
        }
    }

    /// Handles one datagram or stream message. `out` is empty on entry.
    pub fn handle_message(&mut self, now: Now, arrival: Arrival, bytes: &[u8], out: &mut Outbox) {
        let (mut turn, parts) = self.core.split(now, out);
        turn.counters.add(Counter::Received);
        let disposition = parts.receive(&mut turn, &mut self.index, arrival, bytes, true);
        turn.counters.add_disposition(disposition);
        self.core.count_actions(out);
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
        let (mut turn, parts) = self.core.split(now, out);
        parts.receive_from_shard(&mut turn, &mut self.index, from, message, bytes);
        self.core.count_actions(out);
    }

    /// Handles a command of the control side.
    pub fn handle_command(&mut self, now: Now, command: Command, out: &mut Outbox) {
        let (mut turn, parts) = self.core.split(now, out);
        match command {
            Command::Drain => parts.draining = true,
            Command::ListBindings { .. } | Command::RemoveBindings { .. } => {}
        }
        parts.registrar.handle_command(&mut turn, command);
        self.core.count_actions(out);
    }

    /// Takes a new generation of tenant tables; gives the old one back for the control side to
    /// free.
    pub fn handle_tables(
        &mut self,
        now: Now,
        tables: Arc<Tables>,
        out: &mut Outbox,
    ) -> Arc<Tables> {
        let old = std::mem::replace(&mut self.core.tables, tables);
        let (mut turn, parts) = self.core.split(now, out);
        parts.registrar.handle_tables(&mut turn);
        parts.proxy.handle_tables(&mut turn);
        self.core.count_actions(out);
        old
    }

    /// A send on `flow` failed, or an ICMP error came back for it.
    pub fn handle_unreachable(&mut self, now: Now, flow: Flow, out: &mut Outbox) {
        let (mut turn, parts) = self.core.split(now, out);
        turn.counters.add(Counter::SendFailed);
        parts.handle_unreachable(&mut turn, flow);
        // The kernel gives an ICMP error to the socket that datagrams from that peer would go to,
        // which among sockets of one port need not be the one that sent.
        if matches!(flow, Flow::Udp { .. }) {
            for shard in (0..turn.settings.shards).map(ShardId) {
                if shard != turn.shard {
                    // What a full queue loses is found out by the next retransmission.
                    let told = ShardMessage::Unreachable { flow };
                    turn.out.try_to_shard(shard, told, &[]);
                }
            }
        }
        self.core.count_actions(out);
    }

    /// Runs due timers, as many as the outbox has room for and at most
    /// `limits::TURN_TIMERS_MAX`; if more are due, [`Self::poll_timeout`] says now.
    pub fn handle_timeout(&mut self, now: Now, out: &mut Outbox) {
        let (mut turn, parts) = self.core.split(now, out);
        for _ in 0..limits::TURN_TIMERS_MAX {
            if !turn.out.has_room_for_timer() {
                break;
            }
            let Some(timer) = turn.wheel.poll(now.time) else {
                break;
            };
            parts.run_timer(&mut turn, timer);
        }
        self.core.count_actions(out);
    }

    /// When [`Self::handle_timeout`] must be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.core.wheel.next_deadline()
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.core.counters
    }

    /// Entries of tables in use.
    pub fn usage(&self) -> Usage {
        let parts = &self.core.parts;
        let (servers, clients, absorbers) = parts.transactions.sizes();
        Usage {
            bindings: parts.registrar.len(),
            server_transactions: servers,
            client_transactions: clients,
            requests: parts.proxy.len(),
            absorbers,
            message_bytes: self.core.buffers.bytes_used(),
        }
    }

    /// What is remembered costs.
    pub fn footprint(&self) -> Footprint {
        Footprint {
            bindings: self.core.parts.registrar.bytes(),
            finished: self.core.parts.transactions.finished_bytes(),
        }
    }

    /// Live server transactions, live client transactions, absorbers, proxied requests.
    pub fn sizes(&self) -> (u32, u32, u32, u32) {
        let (servers, clients, absorbers) = self.core.parts.transactions.sizes();
        (servers, clients, absorbers, self.core.parts.proxy.len())
    }

    /// What is kept beside what [`Self::sizes`] tells.
    pub fn kept(&self) -> Kept {
        Kept {
            bindings: self.core.parts.registrar.len(),
            timers: self.core.wheel.len(),
            message_bytes: self.core.buffers.bytes_used(),
        }
    }

    /// True when nothing is in progress, so that a draining process may end.
    pub fn is_idle(&self) -> bool {
        let (servers, clients, _, requests) = self.sizes();
        servers == 0 && clients == 0 && requests == 0
    }
}
