//! Transactions: the four machines of RFC 3261 §17 with RFC 6026, their tables, their timers and
//! what is left of them when they are finished.
//!
//! Owns retransmission and absorption. Must not decide where anything goes: that is `proxy`'s.
//! Implements RFC 3261 §9.1, §17; RFC 4320 §4; RFC 6026 §7.
//!
//! Each machine is a pure function from state and event to state and effects, in a file of its
//! own; `server` and `client` carry the effects out. A finished transaction leaves the live
//! tables and becomes an absorber.

mod absorber;
mod chains;
mod client;
mod clock;
mod companion;
mod identity;
mod invite_client;
mod invite_server;
mod non_invite_client;
mod non_invite_server;
mod replay;
mod server;
mod table;
#[cfg(test)]
mod tests;

use super::turn::Turn;
use super::{BufferId, Bytes, Flow, Key, Timer, TimerKind};
use crate::limits;
use crate::wire::Index;
use absorber::Absorbers;
use client::Clients;
use identity::Hashes;
use server::Servers;
pub(crate) use server::TRYING_AFTER_MS;

/// A server transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServerId(pub(crate) Key);

/// A client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientId(pub(crate) Key);

/// INVITE or not: the two kinds of machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Kind {
    Invite,
    NonInvite,
}

/// What a request matched (RFC 3261 §17.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerMatch {
    /// A transaction in progress or waiting for its ACK.
    Live(ServerId),
    /// A finished one.
    Absorber(Key),
}

/// What a response means to the proxy after its client transaction has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseVerdict {
    /// New: the proxy acts on it. `context` and `branch` as given to `start_client`.
    Pass {
        client: ClientId,
        context: Key,
        branch: u8,
    },
    /// A further 2xx to an INVITE after the context is gone or decided: it is forwarded upstream
    /// on this flow (RFC 6026 §7.2, RFC 3261 §16.7 item 5).
    ForwardLate { upstream: Flow },
    /// A retransmission, absorbed (the ACK to a non-2xx was sent again).
    Absorbed,
    /// It fits no transaction.
    Unknown,
}

/// What a timer of a transaction means to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerVerdict {
    /// Handled inside.
    Nothing,
    /// A client transaction got no response in time (timer B or F): 408 of this branch.
    ClientTimedOut {
        client: ClientId,
        context: Key,
        branch: u8,
    },
    /// The ACK of a non-2xx never came (timer H); nothing to do but to know.
    AckMissing,
}

/// All transactions of one shard.
#[derive(Debug)]
pub(crate) struct Transactions {
    hashes: Hashes,
    servers: Servers,
    clients: Clients,
    absorbers: Absorbers,
    /// For reading messages of our own: responses to keep, requests to cancel or acknowledge.
    scratch: Box<Index>,
}

impl Transactions {
    /// Tables of fixed size: `transactions` live server transactions, twice as many live client
    /// transactions (requests fork), and `absorbers` finished ones.
    pub(crate) fn new(transactions: u32, absorbers: u32, hash_key: [u8; 16]) -> Self {
        Self {
            hashes: Hashes::new(hash_key),
            servers: Servers::with_capacity(transactions),
            clients: Clients::with_capacity(
                transactions.saturating_mul(limits::BRANCHES_PER_REQUEST),
            ),
            absorbers: Absorbers::with_capacity(absorbers),
            scratch: Index::new(),
        }
    }

    /// A timer of kind `Server*`, `Client*` or `Absorber` fired.
    pub(crate) fn handle_timer(&mut self, turn: &mut Turn<'_>, timer: Timer) -> TimerVerdict {
        match timer.kind {
            TimerKind::Server => self.handle_server_end(turn, timer.key),
            TimerKind::ServerRetransmit => self.handle_server_retransmit(turn, timer.key),
            TimerKind::Client => self.handle_client_end(turn, timer.key),
            TimerKind::ClientRetransmit => self.handle_client_retransmit(turn, timer.key),
            TimerKind::Absorber => {
                self.absorbers.handle_timer(turn, timer);
                TimerVerdict::Nothing
            }
            TimerKind::Context
            | TimerKind::Binding
            | TimerKind::KeepAlive
            | TimerKind::Call
            | TimerKind::Target
            | TimerKind::Housekeeping => TimerVerdict::Nothing,
        }
    }

    /// Live server transactions, live client transactions, absorbers.
    pub(crate) fn sizes(&self) -> (u32, u32, u32) {
        (self.servers.len(), self.clients.len(), self.absorbers.len())
    }

    /// What finished transactions cost, octets of messages apart.
    pub(crate) fn finished_bytes(&self) -> Bytes {
        self.absorbers.bytes()
    }

    /// Keeps a message of a live transaction. In a full arena finished transactions make room,
    /// a few at a time.
    fn store(&mut self, turn: &mut Turn<'_>, octets: &[u8]) -> Option<BufferId> {
        if let Some(id) = turn.buffers.store(octets) {
            return Some(id);
        }
        if !self
            .absorbers
            .give_up_octets(turn, limits::ABSORBERS_EVICTED_MAX)
        {
            return None;
        }
        turn.buffers.store(octets)
    }
}
