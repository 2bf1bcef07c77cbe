//! The proxy core: where requests go, forking, best response, CANCEL, dialogs by token.
//!
//! Owns the response contexts of one shard and what it knows about trunk targets. Must not
//! retransmit (that is `transaction`'s) nor judge who may call (that is `admission`'s). Implements
//! RFC 3261 §16, RFC 3581 §4, RFC 4320 §4, RFC 5393 §4.2, RFC 5626 §5.3, RFC 5658 §3,
//! RFC 7315 §4.2.

mod branch;
mod call;
mod context;
mod dialog;
mod forward;
mod goal;
mod identity;
mod limit;
mod machine;
pub(crate) mod probe;
mod resolve;
mod respond;
mod response;
mod route;
pub(crate) mod stateless;
mod trunk;

pub(crate) use route::{Dialog, Routes};

use self::call::Call;
use self::context::{Best, Branch, Context, Plan, Source};
use self::goal::Goal;
use self::machine::State;
use super::registrar::Registrar;
use super::slab::Slab;
use super::transaction::{ClientId, Kind, ServerId, TRYING_AFTER_MS, Transactions};
use super::turn::Turn;
use super::{Arrival, Counter, Disposition, Flow, Key, Time, TimerId, reply};
use crate::limits;
use crate::wire::{Index, Message, Method, ReplyTo, ResponseHead, Writer, reason_phrase};

/// What the proxy may reach in one call.
pub(crate) struct Reach<'t, 'a> {
    pub(crate) turn: &'t mut Turn<'a>,
    pub(crate) transactions: &'t mut Transactions,
    pub(crate) registrar: &'t Registrar,
}

/// A request on its way out: its context, itself, and whom it is for.
#[derive(Clone, Copy)]
struct Errand<'e, 'm> {
    key: Key,
    message: Message<'m>,
    goal: &'e Goal,
}

/// A kept request, scanned again.
#[derive(Debug)]
struct Again {
    bytes: Box<[u8]>,
    index: Box<Index>,
}

/// The proxy of one shard.
#[derive(Debug)]
pub(crate) struct Proxy {
    contexts: Slab<Context>,
    branches: Slab<Branch>,
    /// Records of calls that count toward a limit.
    calls: Slab<Call>,
    /// The limits that this shard counts.
    limits: limit::Limits,
    health: trunk::Health,
    probes: probe::Probes,
    /// A request as it goes out.
    request: Box<[u8]>,
    /// A response as it goes upstream.
    response: Box<[u8]>,
    /// An encoded target set, or lines of challenges.
    set: Box<[u8]>,
    lines: forward::Scratch,
    /// Empty while a kept request is in use.
    again: Option<Box<Again>>,
    failed: Vec<(ClientId, Key, u8)>,
}

/// A whole datagram.
fn buffer() -> Box<[u8]> {
    vec![0; limits::DATAGRAM_BYTES_MAX].into_boxed_slice()
}

impl Proxy {
    /// Tables for `requests` requests in progress and `calls` calls that count toward a limit.
    pub(crate) fn new(requests: u32, calls: u32) -> Self {
        let branches = requests.saturating_mul(limits::BRANCHES_PER_REQUEST);
        Self {
            contexts: Slab::with_capacity(requests),
            branches: Slab::with_capacity(branches),
            calls: Slab::with_capacity(calls),
            limits: limit::Limits::new(),
            health: trunk::Health::new(),
            probes: probe::Probes::new(),
            request: buffer(),
            response: buffer(),
            set: buffer(),
            lines: forward::Scratch::new(),
            again: Some(Box::new(Again {
                bytes: buffer(),
                index: Index::new(),
            })),
            failed: Vec::with_capacity(limits::BRANCHES_MAX),
        }
    }

    /// Requests in progress.
    pub(crate) fn len(&self) -> u32 {
        self.contexts.len()
    }

    /// Starts the server transaction and the context of an admitted request. `None` when a table
    /// is full: nothing was done.
    fn open(
        &mut self,
        reach: &mut Reach<'_, '_>,
        arrival: Arrival,
        message: Message<'_>,
        source: Source,
        routes_removed: usize,
    ) -> Option<Key> {
        let key = self.contexts.next_key()?;
        let request = reach.turn.buffers.store(message.bytes())?;
        let server = reach
            .transactions
            .start_server(reach.turn, arrival, message, key);
        let upstream = server.and_then(|server| reach.transactions.upstream_flow(server));
        let (Some(server), Some(upstream)) = (server, upstream) else {
            reach.turn.buffers.release(request);
            return None;
        };
        let method = message.method();
        let kind = if method == Method::Invite {
            Kind::Invite
        } else {
            Kind::NonInvite
        };
        let context = Context {
            state: State::Locating,
            kind,
            method,
            server,
            arrival,
            upstream,
            request: Some(request),
            goal: None,
            source,
            loop_hash: resolve::loop_hash(reach.turn.keys, message),
            routes_removed,
            plan: Plan::Nothing,
            best: Best::Nothing,
            challenges: None,
            call: None,
            branches: None,
            made: 0,
            cancelled: false,
            trying_at: match kind {
                Kind::Invite => context::NEVER,
                Kind::NonInvite => reach.turn.now.time.plus_ms(TRYING_AFTER_MS),
            },
            timer: None,
        };
        let inserted = self.contexts.insert(context);
        debug_assert_eq!(
            inserted.ok(),
            Some(key),
            "a slab gives the key it announced"
        );
        self.arm(reach, key);
        Some(key)
    }

    /// 100 to a request that is in hand.
    fn send_trying(&mut self, reach: &mut Reach<'_, '_>, key: Key, message: Message<'_>) {
        if let Some(context) = self.contexts.get(key) {
            let (arrival, server) = (context.arrival, context.server);
            self.respond_own(reach, arrival, message, server, 100, b"");
        }
    }

    /// Lets the transaction of an INVITE have the request, as its final response comes next.
    fn give_request(&mut self, reach: &mut Reach<'_, '_>, key: Key) {
        if let Some(context) = self.contexts.get_mut(key)
            && context.kind == Kind::Invite
            && let Some(request) = context.request.take()
        {
            let server = context.server;
            reach.transactions.keep_request(reach.turn, server, request);
        }
    }

    /// Sends a response of our own on a server transaction; `lines` are further header lines.
    fn respond_own(
        &mut self,
        reach: &mut Reach<'_, '_>,
        arrival: Arrival,
        message: Message<'_>,
        server: ServerId,
        status: u16,
        lines: &[u8],
    ) {
        let tag = reply::stateless_tag(reach.turn, message);
        // RFC 3261 §8.2.6.2: a 100 has no To tag.
        let tag: &[u8] = if status == 100 { b"" } else { &tag };
        let source = arrival.flow.peer().socket_addr();
        let mut out = Writer::new(&mut self.response);
        let phrase = reason_phrase(status);
        ResponseHead::write(&mut out, message, status, phrase, tag, ReplyTo { source });
        out.put(lines);
        ResponseHead::end(&mut out, b"");
        let Some(length) = out.finish() else {
            reach.turn.counters.add(Counter::DroppedNoRoom);
            return;
        };
        let response = &self.response[..length];
        // One with further lines can not be made again from the request.
        let own = lines.is_empty();
        reach
            .transactions
            .respond(reach.turn, server, status, response, own);
    }

    /// Ends a request with a final response of our own.
    fn refuse(
        &mut self,
        reach: &mut Reach<'_, '_>,
        key: Key,
        message: Message<'_>,
        status: u16,
        counter: Option<Counter>,
    ) -> Disposition {
        if let Some(counter) = counter {
            reach.turn.counters.add(counter);
        }
        let mut retry_after = [0; 32];
        let mut lines = Writer::new(&mut retry_after);
        if status == 503 {
            reply::put_retry_after(reach.turn.settings, &mut lines);
        }
        self.refuse_with(reach, key, message, status, lines.written())
    }

    /// As [`Self::refuse`], with further header lines.
    fn refuse_with(
        &mut self,
        reach: &mut Reach<'_, '_>,
        key: Key,
        message: Message<'_>,
        status: u16,
        lines: &[u8],
    ) -> Disposition {
        self.give_request(reach, key);
        if let Some(context) = self.contexts.get(key) {
            let (arrival, server) = (context.arrival, context.server);
            self.respond_own(reach, arrival, message, server, status, lines);
        }
        self.close(reach, key, status);
        Disposition::Answered
    }

    /// Runs `act` with the request of a context, scanned again from its copy. `None` when the
    /// context is gone or has its final response, or a kept request is in use already.
    fn with_request<R>(
        &mut self,
        reach: &mut Reach<'_, '_>,
        key: Key,
        act: impl FnOnce(&mut Self, &mut Reach<'_, '_>, Message<'_>) -> R,
    ) -> Option<R> {
        let request = self.contexts.get(key)?.request?;
        let mut again = self.again.take()?;
        let octets = reach.turn.buffers.octets(request);
        let length = octets.len();
        again.bytes[..length].copy_from_slice(octets);
        let Again { bytes, index } = &mut *again;
        let result = match index.scan(&bytes[..length]) {
            Ok(message) => Some(act(self, reach, message)),
            Err(_) => None,
        };
        self.again = Some(again);
        result
    }

    /// Forgets a request that has its final response: what is still out is cancelled, and left to
    /// the transactions.
    fn close(&mut self, reach: &mut Reach<'_, '_>, key: Key, status: u16) {
        let Some(context) = self.contexts.remove(key) else {
            return;
        };
        self.account(reach.turn, &context, status);
        reach
            .transactions
            .abandon_server(reach.turn, context.server);
        let mut next = context.branches;
        while let Some(branch) = next.and_then(|key| self.branches.remove(key)) {
            if branch.phase != context::Phase::Finished {
                if context.kind == Kind::Invite && !branch.cancelled {
                    reach.transactions.cancel_client(reach.turn, branch.client);
                }
                reach.transactions.detach_client(reach.turn, branch.client);
            }
            next = branch.previous;
        }
        if let Some((timer, _)) = context.timer {
            reach.turn.wheel.cancel(timer);
        }
        let plan = match context.plan {
            Plan::Contacts { set, .. } => Some(set),
            Plan::Nothing | Plan::Trunk { .. } => None,
        };
        let best = match context.best {
            Best::Kept { response, .. } => Some(response),
            Best::Nothing | Best::Own(_) => None,
        };
        let kept = [
            context.request,
            context.goal,
            context.challenges,
            plan,
            best,
        ];
        for buffer in kept.into_iter().flatten() {
            reach.turn.buffers.release(buffer);
        }
    }

    /// Makes sure that the context's timer fires no later than its branches need it.
    fn arm(&mut self, reach: &mut Reach<'_, '_>, key: Key) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        let deadline = context::each(&self.branches, context.branches)
            .map(|branch| branch.deadline)
            .fold(context.trying_at, Time::min);
        if deadline == context::NEVER || context.timer.is_some_and(|(_, at)| at <= deadline) {
            return;
        }
        if let Some((timer, _)) = context.timer.take() {
            reach.turn.wheel.cancel(timer);
        }
        let timer = super::Timer {
            kind: super::TimerKind::Context,
            key,
        };
        let armed: Option<TimerId> = reach.turn.wheel.insert(deadline, timer);
        context.timer = armed.map(|timer| (timer, deadline));
    }
}

/// The number by which an entry is named in a question to another shard.
pub(crate) fn question_of(key: Key) -> u64 {
    u64::from(key.slot) << 32 | u64::from(key.generation)
}

/// The key that [`question_of`] made a number of.
pub(crate) fn key_of(question: u64) -> Key {
    Key {
        slot: (question >> 32) as u32,
        generation: question as u32,
    }
}

/// Answers without a transaction and counts why.
fn refuse_stateless(
    turn: &mut Turn<'_>,
    arrival: Arrival,
    message: Message<'_>,
    status: u16,
    counter: Counter,
) -> Disposition {
    // RFC 3261 §17.1.1.3: an ACK is never answered.
    if message.method() == Method::Ack {
        return Disposition::Dropped(counter);
    }
    turn.counters.add(counter);
    let settings = turn.settings;
    let sent = reply::answer(turn, arrival, message, status, |out| {
        if status == 503 {
            reply::put_retry_after(settings, out);
        }
    });
    if sent {
        Disposition::Answered
    } else {
        Disposition::Dropped(Counter::DroppedNoRoom)
    }
}

/// 503 with Retry-After, without a transaction.
fn unavailable(turn: &mut Turn<'_>, arrival: Arrival, message: Message<'_>) -> Disposition {
    refuse_stateless(turn, arrival, message, 503, Counter::RefusedOverload)
}

/// RFC 3261 §12.1: requests whose responses may set up a dialog; of a method that is not known
/// it is taken to be so.
const fn forms_dialog(method: Method) -> bool {
    match method {
        Method::Invite | Method::Subscribe | Method::Refer | Method::Notify | Method::Other => true,
        Method::Ack
        | Method::Cancel
        | Method::Bye
        | Method::Register
        | Method::Options
        | Method::Prack
        | Method::Update
        | Method::Info
        | Method::Message
        | Method::Publish => false,
    }
}

/// The far end that requests of a dialog to `flow` go to.
const fn far_end(flow: Flow) -> super::token::FarEnd {
    match flow {
        Flow::Udp { listener, peer } => super::token::FarEnd::Udp { listener, peer },
        Flow::Stream {
            shard,
            listener,
            slot,
            generation,
            ..
        } => super::token::FarEnd::Stream {
            shard,
            listener,
            slot,
            generation,
        },
    }
}
