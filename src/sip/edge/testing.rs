//! A world in memory: shards of one node, agents at addresses, and what travels between them.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use super::Edge;
use crate::sip::testing::{self, Login, challenge_value};
use crate::sip::{
    Action, Arrival, BufferId, Command, Counter, Flow, Keys, ListenerId, Now, Outbox, Settings,
    ShardId, ShardMessage, Time, WallTime,
};
use crate::tenant::Tables;

/// A text message that reached an agent, and the listener it left by.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) listener: ListenerId,
    pub(super) text: String,
}

/// Shards, agents and their network, which loses nothing.
pub(super) struct World {
    pub(super) edges: Vec<Edge>,
    pub(super) now: Now,
    pub(super) settings: Arc<Settings>,
    pub(super) keys: Arc<Keys>,
    pub(super) tables: Arc<Tables>,
    /// Messages between shards stay here while this is set.
    pub(super) hold_shard_messages: bool,
    /// Told to every call into a shard: room in the queue to every other shard.
    pub(super) shard_room: u16,
    between_shards: VecDeque<(ShardId, ShardId, ShardMessage, Vec<u8>)>,
    looped: VecDeque<(usize, Arrival, Vec<u8>)>,
    inboxes: BTreeMap<SocketAddr, VecDeque<Received>>,
    out: Outbox,
    nonce_counts: u32,
}

impl World {
    /// A node of `shards` shards with these tenants.
    pub(super) fn new(provision: &str, shards: u8) -> Self {
        Self::with_settings(provision, shards, |_| {})
    }

    pub(super) fn with_settings(
        provision: &str,
        shards: u8,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let mut settings = testing::settings();
        settings.shards = shards;
        settings.source_requests_s = 100_000;
        settings.source_burst = 100_000;
        settings.source_allowance_bytes = 1 << 20;
        settings.nat_keepalive_s = 0;
        settings.capacity.bindings = 1024;
        settings.capacity.transactions = 256;
        settings.capacity.absorbers = 1024;
        settings.capacity.message_bytes = 4 << 20;
        settings.capacity.calls = 256;
        change(&mut settings);
        let now = Now {
            time: Time::default().plus_ms(1_000_000),
            wall: WallTime(1_700_000_000_000),
        };
        let mut world = Self {
            edges: Vec::new(),
            now,
            settings: Arc::new(settings),
            keys: Arc::new(testing::keys()),
            tables: Arc::new(testing::tables(provision)),
            hold_shard_messages: false,
            shard_room: 64,
            between_shards: VecDeque::new(),
            looped: VecDeque::new(),
            inboxes: BTreeMap::new(),
            out: Outbox::new(),
            nonce_counts: 0,
        };
        world.restart(shards);
        world
    }

    /// Every shard forgets everything; the node comes back with `shards` shards.
    pub(super) fn restart(&mut self, shards: u8) {
        let mut settings = Settings::clone(&self.settings);
        settings.shards = shards;
        self.settings = Arc::new(settings);
        let edge = |shard| {
            Edge::new(
                ShardId(shard),
                self.settings.clone(),
                self.keys.clone(),
                self.tables.clone(),
                self.now,
                u64::from(shard) + 1,
            )
        };
        self.edges = (0..shards).map(edge).collect();
        self.between_shards.clear();
    }

    /// The flow from `agent` to listener `listener`.
    pub(super) fn arrival(agent: &str, listener: u8) -> Arrival {
        let peer = agent.parse::<SocketAddr>().unwrap().into();
        let listener = ListenerId(listener);
        Arrival {
            flow: Flow::Udp { listener, peer },
        }
    }

    /// `agent` sends to listener 0; the kernel gives it to shard 0.
    pub(super) fn send(&mut self, agent: &str, text: &str) {
        self.send_to(0, agent, 0, text.as_bytes());
    }

    /// `agent` sends to `listener`; the kernel gives it to `shard`.
    pub(super) fn send_to(&mut self, shard: usize, agent: &str, listener: u8, bytes: &[u8]) {
        let arrival = Self::arrival(agent, listener);
        self.call(shard, |edge, now, out| {
            edge.handle_message(now, arrival, bytes, out)
        });
        self.deliver_between_shards();
    }

    pub(super) fn unreachable(&mut self, shard: usize, agent: &str, listener: u8) {
        let flow = Self::arrival(agent, listener).flow;
        self.call(shard, |edge, now, out| {
            edge.handle_unreachable(now, flow, out)
        });
        self.deliver_between_shards();
    }

    pub(super) fn command(&mut self, command: &Command) {
        for shard in 0..self.edges.len() {
            let command = command.clone();
            self.call(shard, |edge, now, out| {
                edge.handle_command(now, command, out)
            });
        }
    }

    /// Lets what is between the shards, and what they sent to themselves, arrive, and what
    /// follows from it.
    pub(super) fn deliver_between_shards(&mut self) {
        while let Some((shard, arrival, bytes)) = self.looped.pop_front() {
            self.call(shard, |edge, now, out| {
                edge.handle_message(now, arrival, &bytes, out)
            });
        }
        while !self.hold_shard_messages
            && let Some((from, to, message, bytes)) = self.between_shards.pop_front()
        {
            self.call(usize::from(to.0), |edge, now, out| {
                edge.handle_shard_message(now, from, message, &bytes, out);
            });
        }
    }

    /// Every shard takes new tables.
    pub(super) fn publish(&mut self, provision: &str) {
        self.tables = Arc::new(testing::tables(provision));
        for shard in 0..self.edges.len() {
            let tables = self.tables.clone();
            self.call(shard, |edge, now, out| {
                edge.handle_tables(now, tables, out);
            });
        }
        self.deliver_between_shards();
    }

    /// Lets one message between shards arrive.
    pub(super) fn deliver_one_between_shards(&mut self) {
        if let Some((from, to, message, bytes)) = self.between_shards.pop_front() {
            self.call(usize::from(to.0), |edge, now, out| {
                edge.handle_shard_message(now, from, message, &bytes, out);
            });
        }
    }

    fn call(&mut self, shard: usize, act: impl FnOnce(&mut Edge, Now, &mut Outbox)) {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        for other in 0..self.edges.len() {
            out.set_room(ShardId(other as u8), self.shard_room, self.shard_room);
        }
        act(&mut self.edges[shard], self.now, &mut out);
        for action in out.actions() {
            match action {
                Action::Send(send) => {
                    self.deliver(shard, send.flow, out.octets(&send.bytes).to_vec());
                }
                Action::ToShard(to, message, range) => {
                    let bytes = out.octets(range).to_vec();
                    let from = ShardId(shard as u8);
                    self.between_shards.push_back((from, *to, *message, bytes));
                }
                Action::Report(_) => {}
            }
        }
        self.out = out;
    }

    /// Puts a datagram into an agent's inbox, or keeps it for the shard when it is for ourselves.
    fn deliver(&mut self, shard: usize, flow: Flow, bytes: Vec<u8>) {
        let to = flow.peer().socket_addr();
        let listeners = &self.settings.listeners;
        if let Some(own) = listeners.iter().find(|it| it.bind == to) {
            let from = listeners[usize::from(flow.listener().0)].bind;
            let looped = Flow::Udp {
                listener: own.id,
                peer: from.into(),
            };
            self.looped
                .push_back((shard, Arrival { flow: looped }, bytes));
            return;
        }
        let received = Received {
            listener: flow.listener(),
            text: String::from_utf8(bytes).unwrap(),
        };
        self.inboxes.entry(to).or_default().push_back(received);
    }

    /// The next message at `agent`, which must be there.
    pub(super) fn next(&mut self, agent: &str) -> String {
        self.next_received(agent).text
    }

    pub(super) fn next_received(&mut self, agent: &str) -> Received {
        let address = agent.parse::<SocketAddr>().unwrap();
        match self.inboxes.get_mut(&address).and_then(VecDeque::pop_front) {
            Some(received) => received,
            None => panic!("nothing for {agent}; elsewhere: {:#?}", self.inboxes),
        }
    }

    /// The next message at `agent`, whose start line must begin with `start`.
    pub(super) fn expect(&mut self, agent: &str, start: &str) -> String {
        let text = self.next(agent);
        assert!(
            text.starts_with(start),
            "{agent} wants {start}, got\n{text}"
        );
        text
    }

    /// True when something is left for `agent`.
    pub(super) fn waits_for(&self, agent: &str) -> bool {
        let address = agent.parse::<SocketAddr>().unwrap();
        self.inboxes
            .get(&address)
            .is_some_and(|inbox| !inbox.is_empty())
    }

    /// Nothing is left for any agent.
    pub(super) fn expect_silence(&self) {
        let left: Vec<_> = self
            .inboxes
            .iter()
            .filter(|(_, inbox)| !inbox.is_empty())
            .collect();
        assert!(left.is_empty(), "unexpected: {left:#?}");
    }

    /// Forgets what agents have not read.
    pub(super) fn discard(&mut self) {
        self.inboxes.clear();
    }

    /// Time passes; every timer fires when it is due.
    pub(super) fn pass_ms(&mut self, milliseconds: u64) {
        let end = self.now.time.plus_ms(milliseconds);
        loop {
            let due = self.edges.iter().filter_map(Edge::poll_timeout).min();
            let Some(due) = due.filter(|&due| due <= end) else {
                break;
            };
            self.advance_to(due.max(self.now.time));
            for shard in 0..self.edges.len() {
                self.call(shard, |edge, now, out| edge.handle_timeout(now, out));
            }
            self.deliver_between_shards();
        }
        self.advance_to(end);
    }

    fn advance_to(&mut self, time: Time) {
        let passed = time.as_ms() - self.now.time.as_ms();
        self.now.wall.0 += passed;
        self.now.time = time;
    }

    /// Fills the message arena of shard 0 but for as many blocks that `octets` octets need; what
    /// it is filled with.
    pub(super) fn fill_arena(&mut self, spare: usize, octets: usize) -> Vec<BufferId> {
        let buffers = &mut self.edges[0].core.buffers;
        let spared: Vec<_> = (0..spare)
            .map(|_| buffers.store(&vec![0; octets]).unwrap())
            .collect();
        let mut filling = Vec::new();
        for size in [60_000, 4000, 1000, 500, 200, 100, 50, 1] {
            filling.extend(std::iter::from_fn(|| buffers.store(&vec![0; size])));
        }
        for id in spared {
            buffers.release(id);
        }
        filling
    }

    /// A counter, over all shards.
    pub(super) fn count(&self, counter: Counter) -> u64 {
        self.edges
            .iter()
            .map(|edge| edge.counters().value(counter))
            .sum()
    }

    /// Every message has exactly one disposition; one handed over has another where it lands.
    pub(super) fn check_sums(&self) {
        let dispositions = [
            Counter::Answered,
            Counter::Forwarded,
            Counter::Absorbed,
            Counter::Waiting,
            Counter::HandedOver,
            Counter::Dropped,
        ];
        let sum: u64 = dispositions.into_iter().map(|it| self.count(it)).sum();
        let handed = self.count(Counter::HandedOver);
        assert_eq!(sum, self.count(Counter::Received) + handed);
    }

    /// Nothing is in progress, and no message is kept.
    pub(super) fn expect_idle(&self) {
        for edge in &self.edges {
            let (servers, clients, absorbers, requests) = edge.sizes();
            assert_eq!((servers, clients, absorbers, requests), (0, 0, 0, 0));
            assert_eq!(
                edge.core.buffers.bytes_used(),
                0,
                "a message was not let go of"
            );
        }
    }

    /// Registers `contact` (a Contact value) of `user` at example.test from `agent`.
    pub(super) fn register(&mut self, agent: &str, user: &str, contact: &str) {
        let call_id = format!("reg-{agent}-{contact}");
        let request = |cseq: u32, extra: &str| {
            format!(
                "REGISTER sip:example.test SIP/2.0\r\n\
                 Via: SIP/2.0/UDP {agent};rport;branch=z9hG4bKr{cseq}{}\r\n\
                 From: <sip:{user}@example.test>;tag=r\r\n\
                 To: <sip:{user}@example.test>\r\n\
                 Call-ID: {call_id}\r\n\
                 CSeq: {cseq} REGISTER\r\n\
                 Contact: {contact}\r\nSupported: path, outbound\r\n\
                 {extra}Content-Length: 0\r\n\r\n",
                contact.len()
            )
        };
        self.send(agent, &request(1, ""));
        let challenge = self.expect(agent, "SIP/2.0 401");
        let nonce = challenge_value(&challenge, "nonce").unwrap();
        self.nonce_counts += 1;
        let nc = format!("{:08x}", self.nonce_counts);
        let login = Login {
            user,
            nc: &nc,
            ..Login::alice("REGISTER", "sip:example.test", &nonce)
        };
        self.send(
            agent,
            &request(2, &format!("Authorization: {}\r\n", login.value())),
        );
        self.expect(agent, "SIP/2.0 200");
    }
}

/// The values of header `name`, a line each.
pub(super) fn headers<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    text.split("\r\n")
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": "))
        .filter(|(header, _)| header.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}

/// The first value of header `name`; empty when there is none.
pub(super) fn header<'t>(text: &'t str, name: &str) -> &'t str {
    headers(text, name).first().copied().unwrap_or("")
}

/// The Request-URI.
pub(super) fn request_uri(text: &str) -> &str {
    text.split(' ').nth(1).unwrap()
}

/// The URI between `<` and `>`.
pub(super) fn uri_of(value: &str) -> &str {
    value.split_once('<').unwrap().1.split_once('>').unwrap().0
}

/// A response to `request`, as a user agent server makes it (RFC 3261 §8.2.6); `extra` is further
/// header lines.
pub(super) fn respond(request: &str, status: &str, to_tag: &str, extra: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
        for value in headers(request, name) {
            let tag = if name == "To" && !value.contains("tag=") && !to_tag.is_empty() {
                format!(";tag={to_tag}")
            } else {
                String::new()
            };
            text += &format!("{name}: {value}{tag}\r\n");
        }
    }
    text + extra + "Content-Length: 0\r\n\r\n"
}

/// A request outside a dialog from `agent`; `extra` is further header lines.
pub(super) fn request(agent: &str, method: &str, uri: &str, call: &str, extra: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {agent};rport;branch=z9hG4bK-{call}-{method}\r\n\
         From: <sip:caller@example.test>;tag=f-{call}\r\n\
         To: <{uri}>\r\n\
         Call-ID: {call}\r\n\
         CSeq: 1 {method}\r\n\
         Max-Forwards: 70\r\n\
         Contact: <sip:caller@{agent}>\r\n\
         {extra}Content-Length: 0\r\n\r\n"
    )
}

/// A request inside the dialog that `invite` and its 2xx `ok`, both as `agent` saw them, set up.
/// `from_caller` says whose end `agent` is (RFC 3261 §12.2.1.1).
pub(super) fn in_dialog(
    agent: &str,
    method: &str,
    cseq: u32,
    invite: &str,
    ok: &str,
    from_caller: bool,
) -> String {
    let mut routes = headers(if from_caller { ok } else { invite }, "Record-Route");
    if from_caller {
        routes.reverse();
    }
    let target = uri_of(header(if from_caller { ok } else { invite }, "Contact"));
    let (from, to) = match from_caller {
        true => (header(ok, "From"), header(ok, "To")),
        false => (header(ok, "To"), header(ok, "From")),
    };
    let routes: String = routes
        .iter()
        .map(|route| format!("Route: {route}\r\n"))
        .collect();
    format!(
        "{method} {target} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {agent};rport;branch=z9hG4bK-{method}-{cseq}-{from_caller}\r\n\
         {routes}From: {from}\r\nTo: {to}\r\n\
         Call-ID: {}\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\nContact: <sip:x@{agent}>\r\n\
         Content-Length: 0\r\n\r\n",
        header(ok, "Call-ID")
    )
}

/// The ACK to a final response other than 2xx, or the CANCEL, of `invite` (RFC 3261 §17.1.1.3,
/// §9.1).
pub(super) fn of_invite(method: &str, invite: &str, to: &str) -> String {
    let routes: String = headers(invite, "Route")
        .iter()
        .map(|route| format!("Route: {route}\r\n"))
        .collect();
    let number = header(invite, "CSeq").split(' ').next().unwrap();
    format!(
        "{method} {} SIP/2.0\r\nVia: {}\r\n{routes}From: {}\r\nTo: {to}\r\nCall-ID: {}\r\n\
         CSeq: {number} {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
        request_uri(invite),
        header(invite, "Via"),
        header(invite, "From"),
        header(invite, "Call-ID"),
    )
}
