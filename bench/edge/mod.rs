//! Whole cores without I/O: what the benchmark of the core and the test of its allocations share.
//!
//! Messages go in by batches of octets that were laid out before; what the core sends is copied
//! out of its outbox into memory that is there from the start. Only that is watched: what phones
//! do between batches costs nothing that is measured.

#![allow(dead_code, reason = "benchmark and test use a part of it each")]

pub(crate) mod calls;
pub(crate) mod phones;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use ringfence::limits::Capacity;
use ringfence::sip::{
    Action, Arrival, ContactsFull, Edge, Flow, Keys, Listener, ListenerId, NodeId, Now, Outbox,
    Settings, ShardId, ShardMessage, SourceAddr, Steering, Strangers, Time, TokenKey, WallTime,
};
use ringfence::tenant::Tables;
use ringfence::wire::{DigestAlgorithm, Transport};

/// Where every edge listens.
pub(crate) const EDGE: &str = "192.0.2.1:5060";

/// The realm of every credential.
pub(crate) const REALM: &str = "ringfence";

/// Messages of one batch at most.
pub(crate) const BATCH: usize = 256;

/// Octets kept of one batch, and of what is sent for it.
const BATCH_BYTES: usize = BATCH * 4096;

/// Told when the core begins and ends to work.
pub(crate) trait Watch {
    fn begin(&mut self);
    fn end(&mut self);
}

/// One message and its way.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The far end.
    pub(crate) peer: SourceAddr,
    bytes: Range<usize>,
}

/// Messages, one behind the other.
#[derive(Debug)]
pub(crate) struct Batch {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            entries: Vec::with_capacity(2 * BATCH),
            bytes: Vec::with_capacity(BATCH_BYTES),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Appends the message that `write` lays out.
    pub(crate) fn add(&mut self, peer: SourceAddr, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let bytes = start..self.bytes.len();
        self.entries.push(Entry { peer, bytes });
    }

    fn copy(&mut self, peer: SourceAddr, octets: &[u8]) {
        self.add(peer, |bytes| bytes.extend_from_slice(octets));
    }

    /// Every message with its far end.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SourceAddr, &[u8])> {
        let one = |entry: &Entry| (entry.peer, &self.bytes[entry.bytes.clone()]);
        self.entries.iter().map(one)
    }
}

/// What came in and what went out.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    pub(crate) received: Vec<Vec<u8>>,
    pub(crate) sent: Vec<Vec<u8>>,
}

/// What lies between two shards.
#[derive(Debug)]
struct Parcel {
    from: ShardId,
    to: ShardId,
    message: ShardMessage,
    bytes: Range<usize>,
}

/// Cores of one node, their clock, and what they sent for the last batch.
#[derive(Debug)]
pub(crate) struct World<W> {
    edges: Vec<Edge>,
    out: Outbox,
    now: Now,
    /// Core time from one message to the next.
    pub(crate) message_ns: u64,
    pub(crate) sent: Batch,
    parcels: VecDeque<Parcel>,
    parcel_bytes: Vec<u8>,
    /// The shard that the next message comes to.
    next: usize,
    pub(crate) watch: W,
    /// True while nothing is watched.
    pub(crate) prepares: bool,
    /// Every message from now on, when wanted.
    pub(crate) recording: Option<Recording>,
}

impl<W: Watch> World<W> {
    pub(crate) fn new(settings: Settings, tables: Tables, watch: W) -> Self {
        let now = Now {
            time: Time::default().plus_ms(1_000_000),
            wall: WallTime(1_790_000_000_000),
        };
        let (settings, keys, tables) = (Arc::new(settings), Arc::new(keys()), Arc::new(tables));
        let edge = |shard| {
            let (settings, keys, tables) = (settings.clone(), keys.clone(), tables.clone());
            Edge::new(ShardId(shard), settings, keys, tables, now, shard.into())
        };
        Self {
            edges: (0..settings.shards).map(edge).collect(),
            out: Outbox::new(),
            now,
            message_ns: 10_000,
            sent: Batch::new(),
            parcels: VecDeque::with_capacity(4 * BATCH),
            parcel_bytes: Vec::with_capacity(BATCH_BYTES),
            next: 0,
            watch,
            prepares: false,
            recording: None,
        }
    }

    /// The cores, to be asked.
    pub(crate) fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// Gives every message of `batch` to a shard, in turn; then lets what is between the shards
    /// arrive and due timers run. What was sent lies in `sent`.
    pub(crate) fn feed(&mut self, batch: &Batch) {
        self.sent.clear();
        if self.prepares {
            self.work(batch);
        } else {
            self.watch.begin();
            self.watched(batch);
            self.watch.end();
        }
        if let Some(recording) = &mut self.recording {
            let copies = |batch: &Batch| -> Vec<_> {
                batch.iter().map(|(_, octets)| octets.to_vec()).collect()
            };
            recording.received.extend(copies(batch));
            recording.sent.extend(copies(&self.sent));
        }
    }

    /// Apart, so that a profiler can tell what counts from what does not.
    #[inline(never)]
    fn watched(&mut self, batch: &Batch) {
        self.work(batch);
    }

    #[inline(always)]
    fn work(&mut self, batch: &Batch) {
        for (peer, octets) in batch.iter() {
            let listener = ListenerId(0);
            let arrival = Arrival {
                flow: Flow::Udp { listener, peer },
            };
            self.now.time = Time(self.now.time.0 + self.message_ns);
            let shard = self.next;
            self.next = (self.next + 1) % self.edges.len();
            self.edges[shard].handle_message(self.now, arrival, octets, &mut self.out);
            self.read_outbox(shard);
        }
        self.deliver();
        for shard in 0..self.edges.len() {
            while let Some(due) = self.edges[shard].poll_timeout() {
                if due > self.now.time {
                    break;
                }
                self.edges[shard].handle_timeout(self.now, &mut self.out);
                self.read_outbox(shard);
            }
        }
        self.deliver();
        self.parcel_bytes.clear();
    }

    fn deliver(&mut self) {
        while let Some(Parcel {
            from,
            to,
            message,
            bytes,
        }) = self.parcels.pop_front()
        {
            let shard = usize::from(to.0);
            let octets = &self.parcel_bytes[bytes];
            self.edges[shard].handle_shard_message(self.now, from, message, octets, &mut self.out);
            self.read_outbox(shard);
        }
    }

    fn read_outbox(&mut self, shard: usize) {
        for action in self.out.actions() {
            match action {
                Action::Send(send) => {
                    self.sent
                        .copy(send.flow.peer(), self.out.octets(&send.bytes));
                }
                Action::ToShard(to, message, range) => {
                    let start = self.parcel_bytes.len();
                    self.parcel_bytes.extend_from_slice(self.out.octets(range));
                    self.parcels.push_back(Parcel {
                        from: ShardId(shard as u8),
                        to: *to,
                        message: *message,
                        bytes: start..self.parcel_bytes.len(),
                    });
                }
                Action::Report(_) => {}
            }
        }
        self.out.clear();
        for other in 0..self.edges.len() {
            self.out.set_room(ShardId(other as u8), 1024, 1024);
        }
    }
}

pub(crate) fn keys() -> Keys {
    let token = |id| TokenKey { id, key: [id; 16] };
    Keys {
        token: [token(1), token(2)],
        partition: [3; 16],
        nonce: [4; 32],
        hash: [5; 16],
        boot: 6,
    }
}

/// One UDP listener at `EDGE`, every limit as an operator has it who changes nothing.
pub(crate) fn settings(shards: u8, capacity: Capacity) -> Settings {
    let bind: SocketAddr = EDGE.parse().expect("an address");
    Settings {
        node: NodeId(1),
        shards,
        listeners: Box::new([Listener {
            id: ListenerId(0),
            transport: Transport::Udp,
            bind,
            sent_by: EDGE.into(),
            advertise: bind,
            name: None,
            steering: Steering::Flow,
        }]),
        names: Box::default(),
        realm: REALM.into(),
        nonce_lifetime_s: 300,
        algorithms: Box::new([DigestAlgorithm::Md5]),
        expires_min_s: 60,
        expires_max_s: 3600,
        expires_default_s: 3600,
        contacts_per_aor_max: 10,
        contacts_full: ContactsFull::Refuse,
        nat_keepalive_s: 25,
        registers_per_aor_s: 10,
        source_requests_s: 50,
        source_burst: 100,
        source_allowance_bytes: 4096,
        strangers: Strangers::Answer,
        retry_after_s: 5,
        timer_c_s: 180,
        contact_silence_ms: 5000,
        call_s_max: 14_400,
        trunk_options_s: 0,
        capacity,
    }
}

/// The lines of the head of `message` that begin with `name`, a colon and a space, without CRLF.
pub(crate) fn lines<'m>(message: &'m [u8], name: &'m [u8]) -> impl Iterator<Item = &'m [u8]> {
    message
        .split(|&octet| octet == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .take_while(|line| !line.is_empty())
        .filter(move |line| line.starts_with(name) && line[name.len()..].starts_with(b": "))
}

/// What stands between `start` and the next `end` in `text`.
pub(crate) fn between<'t>(text: &'t [u8], start: &[u8], end: u8) -> &'t [u8] {
    let from = text
        .windows(start.len())
        .position(|window| window == start)
        .map_or(text.len(), |at| at + start.len());
    let rest = &text[from..];
    let length = rest.iter().position(|&octet| octet == end);
    &rest[..length.unwrap_or(rest.len())]
}
