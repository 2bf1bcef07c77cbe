//! Transactions: the four machines of RFC 3261 §17 with RFC 6026, their tables, their timers and
//! what is left of them when they are finished.
//!
//! Owns retransmission and absorption. Must not decide where anything goes: that is `proxy`'s.

use super::turn::Turn;
use super::{Arrival, Flow, Key, Timer};
use crate::wire::Message;

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
pub(crate) struct Transactions;

impl Transactions {
    /// Tables of fixed size.
    pub(crate) fn new(transactions: u32, absorbers: u32, hash_key: [u8; 16]) -> Self {
        unimplemented!("{transactions}{absorbers}{hash_key:?}")
    }

    /// The transaction that a request belongs to; an ACK or CANCEL matches the INVITE it names
    /// (a CANCEL by branch, sent-by and source address).
    pub(crate) fn find_server(
        &self,
        arrival: Arrival,
        message: Message<'_>,
    ) -> Option<ServerMatch> {
        unimplemented!("{arrival:?}{message:?}")
    }

    /// Starts a server transaction for a request that was admitted; `None` when the table is full.
    /// `context` is handed back when something happens.
    pub(crate) fn start_server(
        &mut self,
        turn: &mut Turn<'_>,
        arrival: Arrival,
        message: Message<'_>,
        context: Key,
    ) -> Option<ServerId> {
        let _ = (turn, arrival, message, context);
        unimplemented!()
    }

    /// The context a live server transaction was started with.
    pub(crate) fn context_of(&self, server: ServerId) -> Option<Key> {
        unimplemented!("{server:?}")
    }

    /// A request (not ACK, not CANCEL) matched: its last response is sent again, or it is
    /// absorbed. True when something was sent.
    pub(crate) fn handle_retransmission(
        &mut self,
        turn: &mut Turn<'_>,
        found: ServerMatch,
        arrival: Arrival,
        message: Message<'_>,
    ) -> bool {
        let _ = (turn, found, arrival, message);
        unimplemented!()
    }

    /// An ACK matched.
    pub(crate) fn handle_ack(&mut self, turn: &mut Turn<'_>, found: ServerMatch) {
        let _ = (turn, found);
        unimplemented!()
    }

    /// Sends `response` (whole, as it goes on the wire) upstream and drives the machine. `own` is
    /// true for a response the edge made itself, which can be rebuilt from the request. After a
    /// final response the transaction becomes an absorber, or waits for its ACK, and lets go of
    /// its context.
    pub(crate) fn respond(
        &mut self,
        turn: &mut Turn<'_>,
        server: ServerId,
        status: u16,
        response: &[u8],
        own: bool,
    ) {
        let _ = (turn, server, status, response, own);
        unimplemented!()
    }

    /// The flow on which responses of `server` go.
    pub(crate) fn upstream_flow(&self, server: ServerId) -> Option<Flow> {
        unimplemented!("{server:?}")
    }

    /// The key that the next client transaction will have: its branch token names it.
    pub(crate) fn next_client(&self) -> Option<ClientId> {
        unimplemented!()
    }

    /// Starts the client transaction named by the last [`Self::next_client`]: sends `request`
    /// (whole) on `flow`, keeps a copy for retransmission, ACK and CANCEL. `None` when a table or
    /// the message arena is full.
    pub(crate) fn start_client(
        &mut self,
        turn: &mut Turn<'_>,
        kind: Kind,
        flow: Flow,
        request: &[u8],
        upstream: Flow,
        context: Key,
        branch: u8,
    ) -> Option<ClientId> {
        let _ = (turn, kind, flow, request, upstream, context, branch);
        unimplemented!()
    }

    /// The request as it was sent on this branch.
    pub(crate) fn request_of<'b>(
        &self,
        buffers: &'b super::Buffers,
        client: ClientId,
    ) -> Option<&'b [u8]> {
        unimplemented!("{buffers:?}{client:?}")
    }

    /// A response whose top Via branch is ours and names `client` arrived on `arrival`. Drives the
    /// machine; an ACK to a non-2xx final of an INVITE is sent from here (RFC 3261 §17.1.1.3).
    pub(crate) fn handle_response(
        &mut self,
        turn: &mut Turn<'_>,
        client: ClientId,
        arrival: Arrival,
        message: Message<'_>,
    ) -> ResponseVerdict {
        let _ = (turn, client, arrival, message);
        unimplemented!()
    }

    /// Cancels an INVITE branch: sends CANCEL now, or once a provisional response has come
    /// (RFC 3261 §9.1). The branch's own final response still arrives by `handle_response`; when
    /// none comes within 64*T1 it times out.
    pub(crate) fn cancel_client(&mut self, turn: &mut Turn<'_>, client: ClientId) {
        let _ = (turn, client);
        unimplemented!()
    }

    /// The context of a client transaction has no further use for it: whatever arrives is handled
    /// here from now on (late 2xx are passed as `ForwardLate`).
    pub(crate) fn detach_client(&mut self, turn: &mut Turn<'_>, client: ClientId) {
        let _ = (turn, client);
        unimplemented!()
    }

    /// The client transactions in progress on `flow`, whose peer an ICMP error names; the caller
    /// treats each as failed. At most `limits::BRANCHES_MAX` at a time are written to `out`.
    pub(crate) fn handle_unreachable(
        &mut self,
        turn: &mut Turn<'_>,
        flow: Flow,
        out: &mut Vec<(ClientId, Key, u8)>,
    ) {
        let _ = (turn, flow, out);
        unimplemented!()
    }

    /// A timer of kind `Server*`, `Client*` or `Absorber` fired.
    pub(crate) fn handle_timer(&mut self, turn: &mut Turn<'_>, timer: Timer) -> TimerVerdict {
        let _ = (turn, timer);
        unimplemented!()
    }

    /// Live server transactions, live client transactions, absorbers.
    pub(crate) fn sizes(&self) -> (u32, u32, u32) {
        unimplemented!()
    }
}
