//! Transactions driven from outside: messages in, time passes, messages out.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

mod bounds;
mod cancel;
mod client;
mod crowd;
mod identity;
mod model;
mod server;

use super::*;
use crate::limits::Capacity;
use crate::sip::testing::{World, arrival, with_message};
use crate::sip::{Action, Arrival, Buffers, Counter, ShardId, Wheel};
use crate::tenant::Tables;
use crate::wire::Method;

/// The caller's address.
const CALLER: &str = "198.51.100.7:5062";
/// The callee's address.
const CALLEE: &str = "203.0.113.20:5060";
/// The proxy's context in every test.
const CONTEXT: Key = Key {
    slot: 77,
    generation: 3,
};

/// A shard's transactions and all they need.
struct Bench {
    world: World,
    transactions: Transactions,
    started_ms: u64,
}

/// What a timer did, with the time since the bench was made.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fired {
    at_ms: u64,
    verdict: TimerVerdict,
    sent: Vec<(Flow, String)>,
}

/// What a request met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    /// No transaction; one was started where the method has one.
    New(Option<ServerId>),
    /// A retransmission; true when it was answered.
    Again(bool),
    /// An ACK or CANCEL that found its INVITE.
    Invite(ServerMatch),
}

impl Bench {
    fn new() -> Self {
        Self::sized(16, 16)
    }

    fn sized(transactions: u32, absorbers: u32) -> Self {
        let mut world = World::new(Tables::default());
        world.settings.capacity = Capacity {
            transactions,
            absorbers,
            ..world.settings.capacity
        };
        world.wheel = Wheel::with_capacity(4 * transactions + 8, world.now.time);
        Self {
            transactions: Transactions::new(transactions, absorbers, world.keys.hash),
            started_ms: world.now.time.as_ms(),
            world,
        }
    }

    fn with_buffers(mut self, bytes: usize) -> Self {
        self.world.buffers = Buffers::with_capacity(bytes);
        self
    }

    /// Gives every request the same treatment a proxy gives it.
    fn receive(&mut self, from: Arrival, text: &str) -> Met {
        let Self {
            world,
            transactions,
            ..
        } = self;
        with_message(text, |message| {
            let found = transactions.find_server(from, message);
            let method = message.method();
            let mut turn = world.turn();
            match (found, method) {
                (Some(found), Method::Ack) => {
                    transactions.handle_ack(&mut turn, found);
                    Met::Invite(found)
                }
                (Some(found), Method::Cancel) => Met::Invite(found),
                (Some(found), _) => {
                    let sent = transactions.handle_retransmission(&mut turn, found, from, message);
                    Met::Again(sent)
                }
                (None, Method::Ack | Method::Cancel) => Met::New(None),
                (None, _) => Met::New(transactions.start_server(&mut turn, from, message, CONTEXT)),
            }
        })
    }

    /// A request over UDP from the caller, which starts a server transaction.
    fn start_server(&mut self, text: &str) -> ServerId {
        match self.receive(arrival(CALLER), text) {
            Met::New(Some(server)) => server,
            met => panic!("{met:?}"),
        }
    }

    fn respond(&mut self, server: ServerId, response: &str) {
        let status = response[8..11].parse().unwrap();
        let octets = response.as_bytes();
        let mut turn = self.world.turn();
        self.transactions
            .respond(&mut turn, server, status, octets, false);
    }

    /// Responds with what the edge says itself to `request`.
    fn respond_own(&mut self, server: ServerId, request: &str, status: u16) -> String {
        let response = self.own_response(request, status, "");
        let octets = response.as_bytes();
        let mut turn = self.world.turn();
        self.transactions
            .respond(&mut turn, server, status, octets, true);
        response
    }

    /// The edge's own response to `request`, with further header lines.
    fn own_response(&mut self, request: &str, status: u16, extra: &str) -> String {
        self.own_response_to(arrival(CALLER), request, status, extra)
    }

    fn own_response_to(
        &mut self,
        from: Arrival,
        request: &str,
        status: u16,
        extra: &str,
    ) -> String {
        let mut turn = self.world.turn();
        with_message(request, |message| {
            let put_extra = |out: &mut crate::wire::Writer<'_>| out.put(extra.as_bytes());
            crate::sip::reply::answer(&mut turn, from, message, status, put_extra);
        });
        let mut sent = self.world.sent();
        sent.pop().unwrap().1
    }

    fn start_client(&mut self, kind: Kind, flow: Flow, request: &str) -> ClientId {
        self.try_start_client(kind, flow, request).unwrap()
    }

    fn try_start_client(&mut self, kind: Kind, flow: Flow, request: &str) -> Option<ClientId> {
        let upstream = arrival(CALLER).flow;
        let announced = self.transactions.next_client();
        let mut turn = self.world.turn();
        let started = self.transactions.start_client(
            &mut turn,
            kind,
            flow,
            request.as_bytes(),
            upstream,
            CONTEXT,
            5,
        );
        assert!(started.is_none() || started == announced);
        started
    }

    fn answer(&mut self, client: ClientId, response: &str) -> ResponseVerdict {
        let Self {
            world,
            transactions,
            ..
        } = self;
        with_message(response, |message| {
            let mut turn = world.turn();
            transactions.handle_response(&mut turn, client, arrival(CALLEE), message)
        })
    }

    fn cancel(&mut self, client: ClientId) {
        let mut turn = self.world.turn();
        self.transactions.cancel_client(&mut turn, client);
    }

    fn detach(&mut self, client: ClientId) {
        let mut turn = self.world.turn();
        self.transactions.detach_client(&mut turn, client);
    }

    /// What was sent since the last question.
    fn sent(&mut self) -> Vec<(Flow, String)> {
        self.world.sent()
    }

    /// The only message sent since the last question.
    fn sent_one(&mut self) -> (Flow, String) {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.pop().unwrap()
    }

    fn elapsed_ms(&self) -> u64 {
        self.world.now.time.as_ms() - self.started_ms
    }

    /// Lets time pass in steps of 10 ms and runs what is due; gives what timers said and sent.
    fn pass_ms(&mut self, milliseconds: u64) -> Vec<Fired> {
        let mut fired = Vec::new();
        let end = self.elapsed_ms() + milliseconds;
        while self.elapsed_ms() < end {
            self.world.pass_ms(10);
            while let Some(timer) = self.world.wheel.poll(self.world.now.time) {
                assert!(self.world.out.actions().is_empty(), "unread: {timer:?}");
                let mut turn = self.world.turn();
                let verdict = self.transactions.handle_timer(&mut turn, timer);
                let sent = self.world.sent();
                let at_ms = self.elapsed_ms();
                fired.push(Fired {
                    at_ms,
                    verdict,
                    sent,
                });
            }
        }
        fired
    }

    /// Nothing is left: no transaction, no absorber, no timer, no octets.
    fn assert_empty(&self) {
        assert_eq!(self.transactions.sizes(), (0, 0, 0));
        assert_eq!(self.world.wheel.len(), 0);
        assert_eq!(self.world.buffers.bytes_used(), 0);
    }

    fn count(&self, counter: Counter) -> u64 {
        self.world.count(counter)
    }
}

/// The times at which something was sent, to 100 ms: a timer is late by a tick at most, and so is
/// each one before it.
fn sending_times(fired: &[Fired]) -> Vec<u64> {
    let sending = fired.iter().filter(|fired| !fired.sent.is_empty());
    sending.map(|fired| fired.at_ms / 100 * 100).collect()
}

/// What timers had to say to the proxy, with the time to 100 ms.
fn verdicts(fired: &[Fired]) -> Vec<(u64, TimerVerdict)> {
    let telling = fired
        .iter()
        .filter(|fired| fired.verdict != TimerVerdict::Nothing);
    telling
        .map(|fired| (fired.at_ms / 100 * 100, fired.verdict))
        .collect()
}

/// The verdict on a first response to `client`.
fn pass(client: ClientId) -> ResponseVerdict {
    ResponseVerdict::Pass {
        client,
        context: CONTEXT,
        branch: 5,
    }
}

fn late() -> ResponseVerdict {
    ResponseVerdict::ForwardLate {
        upstream: arrival(CALLER).flow,
    }
}

fn timed_out(client: ClientId) -> TimerVerdict {
    TimerVerdict::ClientTimedOut {
        client,
        context: CONTEXT,
        branch: 5,
    }
}

fn callee() -> Flow {
    arrival(CALLEE).flow
}

/// A connection from `peer`.
fn stream(peer: &str) -> Flow {
    let Flow::Udp { listener, peer } = arrival(peer).flow else {
        unreachable!("arrivals of tests are datagrams")
    };
    Flow::Stream {
        shard: ShardId(0),
        listener,
        slot: 4,
        generation: 9,
        peer,
    }
}

/// A request of the caller; `branch` follows the magic cookie.
fn request(method: &str, branch: &str) -> String {
    request_with_via(
        method,
        &format!("SIP/2.0/UDP 198.51.100.7:5062;rport;branch=z9hG4bK{branch}"),
        "",
    )
}

fn request_with_via(method: &str, via: &str, to_tag: &str) -> String {
    format!(
        "{method} sip:bob@example.test SIP/2.0\r\n\
         Via: {via}\r\n\
         Max-Forwards: 70\r\n\
         From: \"Alice\" <sip:alice@example.test>;tag=from-tag\r\n\
         To: <sip:bob@example.test>{to_tag}\r\n\
         Call-ID: call@198.51.100.7\r\n\
         CSeq: 7 {method}\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// A response to the request of the caller with `branch`, as the proxy forwards it.
fn response(status: u16, method: &str, branch: &str) -> String {
    format!(
        "SIP/2.0 {status} Whatever\r\n\
         Via: SIP/2.0/UDP 198.51.100.7:5062;rport=5062;received=198.51.100.7\
         ;branch=z9hG4bK{branch}\r\n\
         From: \"Alice\" <sip:alice@example.test>;tag=from-tag\r\n\
         To: <sip:bob@example.test>;tag=callee-{status}\r\n\
         Call-ID: call@198.51.100.7\r\n\
         CSeq: 7 {method}\r\n\
         Contact: <sip:bob@203.0.113.20>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// A request as the proxy forwards it: our Via on top, a Route, a body.
fn forwarded(method: &str) -> String {
    format!(
        "{method} sip:bob@203.0.113.20;ob SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKours\r\n\
         Via: SIP/2.0/UDP 198.51.100.7:5062;rport=5062;branch=z9hG4bKtheirs\r\n\
         Route: <sip:hop1.example.net;lr>\r\n\
         Max-Forwards: 69\r\n\
         From: \"Alice\" <sip:alice@example.test>;tag=from-tag\r\n\
         Route: <sip:hop2.example.net;lr>\r\n\
         To: <sip:bob@example.test>\r\n\
         Call-ID: call@198.51.100.7\r\n\
         CSeq: 7 {method}\r\n\
         Require: 100rel\r\n\
         Content-Type: text/plain\r\n\
         Content-Length: 5\r\n\r\nhello"
    )
}

/// A response to [`forwarded`].
fn reply(status: u16, method: &str, tag: &str) -> String {
    format!(
        "SIP/2.0 {status} Whatever\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKours\r\n\
         Via: SIP/2.0/UDP 198.51.100.7:5062;rport=5062;branch=z9hG4bKtheirs\r\n\
         From: \"Alice\" <sip:alice@example.test>;tag=from-tag\r\n\
         To: <sip:bob@example.test>;tag={tag}\r\n\
         Call-ID: call@198.51.100.7\r\n\
         CSeq: 7 {method}\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// The first word of each message.
fn kinds(sent: &[(Flow, String)]) -> Vec<&str> {
    sent.iter()
        .map(|(_, text)| text.split(' ').next().unwrap_or_default())
        .collect()
}

/// True when some action of the outbox sends.
fn sends(out: &crate::sip::Outbox) -> bool {
    out.actions()
        .iter()
        .any(|action| matches!(action, Action::Send(_)))
}
