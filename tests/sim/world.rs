//! The world: a node of several shards, agents around it, one clock and one queue of events.
//!
//! Everything that happens follows from one seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use ringfence::limits;
use ringfence::sip::{
    Action, Arrival, BindingFilter, BindingRow, Command, Counter, Counters, Edge, Flow, Keys,
    ListenerId, Now, Outbox, Random, Report, Settings, ShardId, ShardMessage, Time,
};
use ringfence::tenant::Tables;

use crate::agent::attacker::{BYSTANDER, MARK};
use crate::agent::{Agent, Datagram, Io};
use crate::message::Message;
use crate::network::{Faults, Place};
use crate::oracle::{Cause, Oracle};
use crate::trace::Trace;

/// Timers of a shard that may run at one instant; more means that it does not come to rest.
const TURNS_PER_INSTANT_MAX: u32 = 10_000;

/// Rows of one page of bindings.
const PAGE_ROWS: u32 = 7;

/// Messages that an attacker remembers.
const OVERHEARD_MAX: usize = 64;

/// What happens.
#[derive(Debug)]
enum Happening {
    /// A datagram arrives at the edge.
    ToEdge {
        from: SocketAddr,
        listener: usize,
        bytes: Vec<u8>,
    },
    /// A datagram arrives where an agent is, or was.
    ToAgent {
        to: SocketAddr,
        listener: usize,
        bytes: Vec<u8>,
    },
    /// A shard takes the next message from the queue of another.
    BetweenShards { from: usize, to: usize },
    /// An ICMP error arrives at a shard.
    Unreachable { shard: usize, flow: Flow },
}

/// A happening in the queue: by time, then in the order in which they were caused.
#[derive(Debug)]
struct Event {
    at: Time,
    sequence: u64,
    what: Happening,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// The queue from one shard to another. Messages leave it in order.
#[derive(Debug, Default)]
struct PairQueue {
    messages: VecDeque<(ShardMessage, Vec<u8>)>,
    /// Messages handed over that wait.
    handovers: u16,
    /// Questions whose answer has not come back.
    questions: u16,
    /// When the last message in it will be taken.
    last_at: Time,
}

/// Datagrams of the edge that the network loses for certain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    /// How they start, and the method in their CSeq.
    pub(crate) start: &'static str,
    pub(crate) method: &'static str,
    /// How many.
    pub(crate) count: u32,
}

impl Loss {
    fn is_hit(&self, bytes: &[u8]) -> bool {
        let method = |message: Message| message.cseq().is_some_and(|(_, it)| it == self.method);
        bytes.starts_with(self.start.as_bytes()) && Message::parse(bytes).is_some_and(method)
    }
}

/// What one call into a shard is to do.
pub(crate) enum Call<'a> {
    Message(Arrival, &'a [u8]),
    FromShard(ShardId, ShardMessage, &'a [u8]),
    Timeout,
    Unreachable(Flow),
    Command(Command),
    Tables(Arc<Tables>),
}

/// The world.
pub(crate) struct World {
    pub(crate) now: Now,
    pub(crate) random: Random,
    pub(crate) edges: Vec<Edge>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) places: Vec<Place>,
    pub(crate) faults: Faults,
    pub(crate) trace: Trace,
    pub(crate) oracle: Oracle,
    /// Lost for certain.
    pub(crate) lose: Option<Loss>,
    settings: Arc<Settings>,
    keys: Arc<Keys>,
    tables: Arc<Tables>,
    listeners: Vec<String>,
    queue: BinaryHeap<Reverse<Event>>,
    pairs: BTreeMap<(usize, usize), PairQueue>,
    /// Messages of other shards that each shard judged as its own.
    landed: Vec<u64>,
    sequence: u64,
    serial: u64,
    outbox: Outbox,
    rows: Vec<BindingRow>,
    cursor: Option<u64>,
    /// What was counted by processes that are gone.
    past: Vec<Counters>,
}

impl World {
    pub(crate) fn new(seed: u64, now: Now, settings: Settings, keys: Keys, tables: Tables) -> Self {
        let listeners = settings.listeners.iter().map(|it| it.bind.to_string());
        let mut world = Self {
            now,
            random: Random::new(seed),
            edges: Vec::new(),
            agents: Vec::new(),
            places: Vec::new(),
            faults: Faults::NONE,
            trace: Trace::new(seed),
            oracle: Oracle::default(),
            lose: None,
            listeners: listeners.collect(),
            landed: Vec::new(),
            settings: Arc::new(settings),
            keys: Arc::new(keys),
            tables: Arc::new(tables),
            queue: BinaryHeap::new(),
            pairs: BTreeMap::new(),
            sequence: 0,
            serial: 0,
            outbox: Outbox::new(),
            rows: Vec::new(),
            cursor: None,
            past: Vec::new(),
        };
        world.start();
        world
    }

    fn start(&mut self) {
        let shards = self.settings.shards;
        self.edges = (0..shards)
            .map(|shard| self.new_edge(ShardId(shard)))
            .collect();
        self.landed = vec![0; usize::from(shards)];
    }

    /// The process is killed, and started again with `shards` shards. Its keys outlive it, but for
    /// those that are made at each start.
    pub(crate) fn restart(&mut self, shards: u8) {
        self.past
            .extend(self.edges.iter().map(|edge| edge.counters().clone()));
        let mut settings = Settings::clone(&self.settings);
        settings.shards = shards;
        self.settings = Arc::new(settings);
        let mut keys = Keys::clone(&self.keys);
        keys.boot += 1;
        keys.hash[..8].copy_from_slice(&self.random.next_u64().to_be_bytes());
        self.keys = Arc::new(keys);
        self.pairs.clear();
        self.queue.retain(|Reverse(event)| match event.what {
            Happening::ToEdge { .. } | Happening::ToAgent { .. } => true,
            Happening::BetweenShards { .. } | Happening::Unreachable { .. } => false,
        });
        self.oracle.note_restart();
        self.start();
    }

    fn new_edge(&mut self, shard: ShardId) -> Edge {
        Edge::new(
            shard,
            self.settings.clone(),
            self.keys.clone(),
            self.tables.clone(),
            self.now,
            self.random.next_u64(),
        )
    }

    /// Puts an agent at an address; its number.
    pub(crate) fn add(&mut self, agent: Agent, place: Place) -> usize {
        self.agents.push(agent);
        self.places.push(place);
        self.agents.len() - 1
    }

    /// Ends the run: something is not as it must be.
    pub(crate) fn fail(&self, fault: &str) -> ! {
        panic!("{fault}\n(at {:.6} s)", seconds(self.now.time));
    }

    fn push(&mut self, at: Time, what: Happening) {
        self.sequence += 1;
        let sequence = self.sequence;
        self.queue.push(Reverse(Event { at, sequence, what }));
    }

    /// Lets everything happen that happens within `milliseconds`.
    pub(crate) fn run_ms(&mut self, milliseconds: u64) {
        let end = self.now.time.plus_ms(milliseconds);
        let (mut at, mut turns) = (self.now.time, 0);
        while let Some(next) = self.next_at().filter(|&next| next <= end) {
            self.advance_to(next);
            if next > at {
                (at, turns) = (next, 0);
            }
            turns += 1;
            if turns > TURNS_PER_INSTANT_MAX {
                self.fail("time stands still");
            }
            self.step();
        }
        self.advance_to(end);
    }

    fn next_at(&self) -> Option<Time> {
        let event = self.queue.peek().map(|Reverse(event)| event.at);
        let edges = self.edges.iter().filter_map(Edge::poll_timeout);
        let agents = self.agents.iter().map(Agent::poll_timeout);
        let next = event.into_iter().chain(edges).chain(agents).min();
        next.filter(|&next| next != crate::agent::NEVER)
    }

    /// One thing that is due.
    fn step(&mut self) {
        let now = self.now.time;
        let due = |edge: &Edge| edge.poll_timeout().is_some_and(|at| at <= now);
        if self
            .queue
            .peek()
            .is_some_and(|Reverse(event)| event.at <= now)
        {
            if let Some(Reverse(event)) = self.queue.pop() {
                self.happen(event.what);
            }
        } else if let Some(shard) = self.edges.iter().position(due) {
            self.call(shard, &Call::Timeout);
        } else if let Some(agent) = self.agents.iter().position(|it| it.poll_timeout() <= now) {
            self.with_agent(agent, |agent, io| agent.handle_timeout(io));
        }
    }

    fn advance_to(&mut self, time: Time) {
        let time = time.max(self.now.time);
        let passed_ms = time.as_ms() - self.now.time.as_ms();
        self.now.wall.0 += passed_ms;
        self.now.time = time;
    }

    /// The wall clock is set; the other one goes on.
    pub(crate) fn jump_wall_ms(&mut self, milliseconds: i64) {
        self.now.wall.0 = self.now.wall.0.saturating_add_signed(milliseconds);
        self.oracle.note_clock_jump();
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::ToEdge {
                from,
                listener,
                bytes,
            } => {
                self.trace.datagram(self.now.time, from, "edge", &bytes);
                let shard = self.receiving_shard(from, listener);
                let flow = Flow::Udp {
                    listener: ListenerId(listener as u8),
                    peer: from.into(),
                };
                self.call(shard, &Call::Message(Arrival { flow }, &bytes));
            }
            Happening::ToAgent {
                to,
                listener,
                bytes,
            } => {
                self.trace.datagram(self.now.time, "edge", to, &bytes);
                let here = |place: &Place| place.address == to && place.cut_until <= self.now.time;
                if let Some(agent) = self.places.iter().position(here) {
                    self.with_agent(agent, |agent, io| agent.handle(io, listener, &bytes));
                }
            }
            Happening::BetweenShards { from, to } => self.take_from_shard(from, to),
            Happening::Unreachable { shard, flow } => self.call(shard, &Call::Unreachable(flow)),
        }
    }

    /// The kernel chooses by the addresses of a datagram.
    fn receiving_shard(&self, from: SocketAddr, listener: usize) -> usize {
        let mut hash = u64::from(from.port()) << 8 | listener as u64;
        if let std::net::IpAddr::V4(v4) = from.ip() {
            hash ^= u64::from(u32::from(v4)) << 24;
        }
        Random::new(hash).below(self.edges.len() as u64) as usize
    }

    fn take_from_shard(&mut self, from: usize, to: usize) {
        let Some(pair) = self.pairs.get_mut(&(from, to)) else {
            return;
        };
        let Some((message, bytes)) = pair.messages.pop_front() else {
            return;
        };
        if message.is_answer() {
            if let Some(asked) = self.pairs.get_mut(&(to, from)) {
                asked.questions = asked.questions.saturating_sub(1);
            }
        } else if !message.is_request() {
            pair.handovers -= 1;
        }
        if matches!(
            message,
            ShardMessage::HandOver { .. } | ShardMessage::Register { .. }
        ) {
            self.landed[to] += 1;
        }
        self.call(to, &Call::FromShard(ShardId(from as u8), message, &bytes));
    }

    /// Calls into a shard, does what it wants done, and judges it.
    fn call(&mut self, shard: usize, call: &Call<'_>) {
        let mut outbox = std::mem::take(&mut self.outbox);
        outbox.clear();
        for other in 0..self.edges.len() {
            let (questions, handovers) = self
                .pairs
                .get(&(shard, other))
                .map_or((0, 0), |pair| (pair.questions, pair.handovers));
            outbox.set_room(
                ShardId(other as u8),
                self.faults.shard_questions.saturating_sub(questions),
                self.faults.shard_handovers.saturating_sub(handovers),
            );
        }
        let now = self.now;
        let edge = &mut self.edges[shard];
        let cause = match call {
            Call::Message(arrival, bytes) => {
                edge.handle_message(now, *arrival, bytes, &mut outbox);
                cause_of(*arrival, bytes)
            }
            Call::FromShard(from, message, bytes) => {
                edge.handle_shard_message(now, *from, *message, bytes, &mut outbox);
                match message {
                    ShardMessage::HandOver { arrival } | ShardMessage::Register { arrival } => {
                        cause_of(*arrival, bytes)
                    }
                    _ => NO_CAUSE,
                }
            }
            Call::Timeout => {
                edge.handle_timeout(now, &mut outbox);
                NO_CAUSE
            }
            Call::Unreachable(flow) => {
                edge.handle_unreachable(now, *flow, &mut outbox);
                NO_CAUSE
            }
            Call::Command(command) => {
                edge.handle_command(now, command.clone(), &mut outbox);
                NO_CAUSE
            }
            Call::Tables(tables) => {
                edge.handle_tables(now, tables.clone(), &mut outbox);
                NO_CAUSE
            }
        };
        self.judge(shard, &cause, &outbox);
        self.act(shard, &outbox);
        for report in outbox.take_reports() {
            if let Report::Bindings { rows, cursor, .. } = *report {
                self.rows.extend(rows);
                self.cursor = cursor;
            }
        }
        self.outbox = outbox;
    }

    fn judge(&mut self, shard: usize, cause: &Cause<'_>, outbox: &Outbox) {
        let sends: Vec<_> = outbox
            .actions()
            .iter()
            .filter_map(|action| match action {
                Action::Send(send) => {
                    Some((send.flow.peer().socket_addr(), outbox.octets(&send.bytes)))
                }
                Action::ToShard(..) | Action::Report(_) => None,
            })
            .collect();
        for (to, _) in &sends {
            let known = |place: &Place| place.address == *to || place.past.contains(to);
            if !self.places.iter().any(known) {
                let who = if to.to_string() == BYSTANDER {
                    "a bystander"
                } else {
                    "nobody"
                };
                self.fail(&format!("the edge sends to {to}, where {who} is"));
            }
        }
        if let Err(fault) = self
            .oracle
            .judge(self.now.time, cause, &sends, self.is_cramped())
        {
            self.fail(&fault);
        }
        self.judge_sums(shard);
        self.judge_bounds(shard);
        // Credentials that were not taken are still good, for whoever has them.
        let taken =
            |bytes: &[u8]| !bytes.starts_with(b"SIP/2.0 40") && !bytes.starts_with(b"SIP/2.0 5");
        if !sends.is_empty() && sends.iter().all(|(_, bytes)| taken(bytes)) {
            self.overhear(cause.bytes);
        }
    }

    /// No table holds more than it may.
    fn judge_bounds(&self, shard: usize) {
        let capacity = self.settings.capacity;
        let (edge, branches) = (&self.edges[shard], limits::BRANCHES_PER_REQUEST);
        let ((servers, clients, absorbers, requests), kept) = (edge.sizes(), edge.kept());
        let held = [
            (servers, capacity.transactions),
            (clients, capacity.transactions * branches),
            (absorbers, capacity.absorbers),
            (requests, capacity.transactions),
            (kept.bindings, capacity.bindings),
        ];
        if held.iter().any(|(held, bound)| held > bound)
            || kept.message_bytes > capacity.message_bytes
        {
            self.fail(&format!("shard {shard} holds {held:?} and {kept:?}"));
        }
    }

    /// True once the tables were too small for what came: finished transactions were forgotten
    /// before their time, or requests in a dialog forwarded without one.
    pub(crate) fn is_cramped(&self) -> bool {
        self.count(Counter::AbsorbersEvicted) + self.count(Counter::ForwardedStateless) > 0
    }

    /// Every datagram has exactly one disposition, and what was handed over another one where it
    /// landed.
    fn judge_sums(&self, shard: usize) {
        let counters = self.edges[shard].counters();
        let dispositions = [
            Counter::Answered,
            Counter::Forwarded,
            Counter::Absorbed,
            Counter::Waiting,
            Counter::HandedOver,
            Counter::Dropped,
        ];
        let judged: u64 = dispositions.into_iter().map(|it| counters.value(it)).sum();
        let received = counters.value(Counter::Received) + self.landed[shard];
        if judged != received {
            self.fail(&format!(
                "shard {shard} judged {judged} of {received} messages"
            ));
        }
    }

    fn act(&mut self, shard: usize, outbox: &Outbox) {
        for action in outbox.actions() {
            match action {
                Action::Send(send) => {
                    self.send_to_agent(shard, send.flow, outbox.octets(&send.bytes));
                }
                Action::ToShard(to, message, range) => {
                    let bytes = outbox.octets(range).to_vec();
                    self.send_to_shard(shard, usize::from(to.0), *message, bytes);
                }
                Action::Report(_) => {}
            }
        }
    }

    fn send_to_agent(&mut self, shard: usize, flow: Flow, bytes: &[u8]) {
        let to = flow.peer().socket_addr();
        let listener = usize::from(flow.listener().0);
        self.trace.datagram(self.now.time, "edge sends", to, bytes);
        let off = |world: &Self, agent: &Agent| {
            agent
                .user()
                .is_some_and(|user| user.off_until > world.now.time)
        };
        let gone = self.places.iter().zip(&self.agents).any(|(place, agent)| {
            place.past.contains(&to) || place.address == to && off(self, agent)
        });
        if let Some(loss) = &mut self.lose
            && loss.count > 0
            && loss.is_hit(bytes)
        {
            loss.count -= 1;
            return;
        }
        // A host that is there without the program answers by ICMP, now and then.
        if gone && self.random.below(100) < 30 {
            let at = self.now.time.plus_ms(1 + self.random.below(20));
            self.push(at, Happening::Unreachable { shard, flow });
            return;
        }
        for delay in self.faults.deliveries(&mut self.random) {
            let what = Happening::ToAgent {
                to,
                listener,
                bytes: bytes.to_vec(),
            };
            self.push(Time(self.now.time.0 + delay), what);
        }
    }

    fn send_to_shard(&mut self, from: usize, to: usize, message: ShardMessage, bytes: Vec<u8>) {
        self.trace
            .between_shards(self.now.time, from, to, &message, &bytes);
        let delay = 1_000 + self.random.below(self.faults.shard_delay_us_max * 1_000);
        let at = Time(self.now.time.0 + delay);
        let (questions, handovers) = (self.faults.shard_questions, self.faults.shard_handovers);
        let pair = self.pairs.entry((from, to)).or_default();
        if message.is_request() {
            pair.questions += 1;
        } else if !message.is_answer() {
            pair.handovers += 1;
        }
        pair.messages.push_back((message, bytes));
        let at = at.max(pair.last_at);
        pair.last_at = at;
        let over = pair.questions > questions || pair.handovers > handovers;
        self.push(at, Happening::BetweenShards { from, to });
        if over {
            self.fail(&format!(
                "shard {from} put more into the queue of {to} than it may"
            ));
        }
    }

    /// Lets an agent act, and sends what it wants sent.
    pub(crate) fn with_agent<R>(
        &mut self,
        number: usize,
        act: impl FnOnce(&mut Agent, &mut Io<'_>) -> R,
    ) -> R {
        let (mut out, mut complaints) = (Vec::new(), Vec::new());
        let mut io = Io {
            now: self.now.time,
            random: &mut self.random,
            serial: &mut self.serial,
            out: &mut out,
            listeners: &self.listeners,
            complaints: &mut complaints,
        };
        let result = act(&mut self.agents[number], &mut io);
        for datagram in out {
            self.send_to_edge(number, datagram);
        }
        if let Some(complaint) = complaints.first() {
            self.fail(complaint);
        }
        result
    }

    fn send_to_edge(&mut self, number: usize, datagram: Datagram) {
        let Datagram { listener, bytes } = datagram;
        let bytes = match self.agents[number] {
            Agent::User(_) => self.mark(bytes),
            Agent::Attacker(_) => bytes,
        };
        let place = &self.places[number];
        let (from, cut) = (place.address, place.cut_until > self.now.time);
        self.trace.datagram(self.now.time, from, "network", &bytes);
        if cut {
            return;
        }
        for delay in self.faults.deliveries(&mut self.random) {
            let what = Happening::ToEdge {
                from,
                listener,
                bytes: bytes.clone(),
            };
            self.push(Time(self.now.time.0 + delay), what);
        }
    }

    /// Marks a message, so that it can be told what the edge makes of it. Its retransmission has
    /// the same mark.
    fn mark(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let mark = format!("{:016x}", Trace::hash_of(&bytes));
        let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
            return bytes;
        };
        let mut marked = bytes[..end].to_vec();
        marked.extend_from_slice(format!("\r\nX-Sim: {mark}").as_bytes());
        marked.extend_from_slice(&bytes[end..]);
        self.oracle.note_sent(&mark, &marked);
        marked
    }

    /// Attackers overhear a message that the edge has taken.
    fn overhear(&mut self, bytes: &[u8]) {
        let marked = bytes
            .windows(MARK.len())
            .any(|part| part == MARK.as_bytes());
        for agent in &mut self.agents {
            if let Agent::Attacker(attacker) = agent
                && !marked
                && !bytes.is_empty()
            {
                if attacker.overheard.len() == OVERHEARD_MAX {
                    attacker.overheard.remove(0);
                }
                attacker.overheard.push(bytes.to_vec());
            }
        }
    }

    /// Gives a command to every shard.
    pub(crate) fn command(&mut self, command: &Command) {
        for shard in 0..self.edges.len() {
            self.call(shard, &Call::Command(command.clone()));
        }
    }

    /// Every shard takes other tenant tables.
    pub(crate) fn take_tables(&mut self, tables: Tables) {
        self.tables = Arc::new(tables);
        self.oracle.note_tenants_changed();
        for shard in 0..self.edges.len() {
            self.call(shard, &Call::Tables(self.tables.clone()));
        }
    }

    /// Every binding of the node, page by page.
    pub(crate) fn list_bindings(&mut self) -> Vec<BindingRow> {
        self.rows.clear();
        for shard in 0..self.edges.len() {
            let mut cursor = 0;
            loop {
                let command = Command::ListBindings {
                    id: 1,
                    cursor,
                    count: PAGE_ROWS,
                    filter: BindingFilter::default(),
                };
                self.cursor = None;
                self.call(shard, &Call::Command(command));
                let Some(next) = self.cursor else { break };
                cursor = next;
            }
        }
        std::mem::take(&mut self.rows)
    }

    /// The bindings are those that were told.
    pub(crate) fn judge_bindings(&mut self) {
        let rows = self.list_bindings();
        if let Err(fault) = self.oracle.judge_bindings(self.now.time, &rows) {
            self.fail(&fault);
        }
    }

    /// A counter, over all shards.
    pub(crate) fn count(&self, counter: Counter) -> u64 {
        let values = self.edges.iter().map(|edge| edge.counters().value(counter));
        values.sum()
    }
}

const NO_CAUSE: Cause<'static> = Cause {
    source: None,
    bytes: b"",
};

fn cause_of(arrival: Arrival, bytes: &[u8]) -> Cause<'_> {
    Cause {
        source: Some(arrival.flow.peer().socket_addr()),
        bytes,
    }
}

/// For people.
pub(crate) fn seconds(time: Time) -> f64 {
    time.0 as f64 / 1e9
}
