//! Messages between shards: one bounded queue per ordered pair, parcels made at start.
//!
//! A parcel belongs to the shard that made it. One-way messages come back empty by the pair's
//! return queue. The parcel of a question stays with the shard that was asked and carries the
//! answer back, so an answer always has a parcel; and a pair's queue has places for as many
//! answers as there may be questions, so it always has a place too. A shard that waits for another
//! one's answer can thus not be kept waiting by a full queue.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::stats::Stats;
use super::wake::Doorbell;
use crate::limits;
use crate::sip::{Outbox, ShardId, ShardMessage};

/// A message on its way, with its octets.
#[derive(Debug)]
pub(super) struct Parcel {
    /// What is said.
    pub(super) message: ShardMessage,
    /// Its octets; keeps its memory.
    pub(super) octets: Vec<u8>,
}

impl Parcel {
    fn empty() -> Box<Self> {
        let mut octets = vec![1; limits::PARCEL_BYTES];
        octets.clear();
        Box::new(Self {
            message: ShardMessage::Release { limit: 0 },
            octets,
        })
    }

    fn fill(&mut self, message: ShardMessage, octets: &[u8]) {
        self.message = message;
        self.octets.clear();
        self.octets.extend_from_slice(octets);
    }
}

/// The queues of one ordered pair of shards.
#[derive(Debug)]
struct Pair {
    /// From the first to the second.
    parcels: ArrayQueue<Box<Parcel>>,
    /// Empty parcels of one-way messages, back from the second to the first.
    returns: ArrayQueue<Box<Parcel>>,
}

impl Pair {
    fn new() -> Self {
        Self {
            parcels: ArrayQueue::new(limits::SHARD_QUEUE_MAX),
            returns: ArrayQueue::new(limits::SHARD_HANDOVERS_MAX),
        }
    }
}

/// One other shard, as this one sees it.
#[derive(Debug)]
struct Peer {
    outgoing: Arc<Pair>,
    incoming: Arc<Pair>,
    doorbell: Arc<Doorbell>,
    /// Questions asked and not answered: at most `limits::SHARD_REQUESTS_MAX`.
    questions: usize,
    /// One-way messages whose parcels have not come back: at most `limits::SHARD_HANDOVERS_MAX`.
    handovers: usize,
    /// Parcels of questions this peer asked, for the answers.
    held: Vec<Box<Parcel>>,
    /// True when something was put into its queue since the doorbell was last rung.
    is_rung: bool,
    /// True when the room last told to the core was none.
    is_full: bool,
}

/// One shard's end of all its queues.
#[derive(Debug)]
pub(super) struct Post {
    here: ShardId,
    /// By shard number; `None` for this one.
    peers: Vec<Option<Peer>>,
    /// Parcels of ours that are empty.
    free: Vec<Box<Parcel>>,
    /// Peers whose queue towards us may hold something, one bit each.
    ready: u64,
    /// The peer that is served first next time.
    first: u8,
    /// True when the core was not told yet what changed.
    is_room_changed: bool,
}

/// A parcel taken, to be given back by [`Post::finish`].
#[derive(Debug)]
pub(super) struct Taken {
    /// Who sent it.
    pub(super) from: ShardId,
    /// The parcel.
    pub(super) parcel: Box<Parcel>,
}

impl Post {
    /// The ends of all shards' queues; `doorbells` are theirs, in order.
    pub(super) fn connect(doorbells: &[Arc<Doorbell>]) -> Vec<Self> {
        let count = doorbells.len();
        assert!(count <= limits::SHARDS_MAX);
        let pairs: Vec<Arc<Pair>> = (0..count * count).map(|_| Arc::new(Pair::new())).collect();
        let pair = |from: usize, to: usize| Arc::clone(&pairs[from * count + to]);
        (0..count)
            .map(|here| {
                let peers = (0..count)
                    .map(|there| {
                        (there != here).then(|| Peer {
                            outgoing: pair(here, there),
                            incoming: pair(there, here),
                            doorbell: Arc::clone(&doorbells[there]),
                            questions: 0,
                            handovers: 0,
                            held: Vec::with_capacity(limits::SHARD_REQUESTS_MAX),
                            is_rung: false,
                            is_full: false,
                        })
                    })
                    .collect();
                Self {
                    here: ShardId(here as u8),
                    peers,
                    free: Vec::new(),
                    ready: 0,
                    first: 0,
                    is_room_changed: true,
                }
            })
            .collect()
    }

    /// Makes the parcels; called on the shard's own thread, so that they lie in its memory.
    pub(super) fn fill(&mut self) {
        let peers = (self.peers.len() - 1).min(limits::PARCEL_PEERS_MAX);
        if peers == 0 {
            return;
        }
        // What one call may use up is kept on top, see `tell_room_changed`.
        let count = peers * (limits::SHARD_REQUESTS_MAX + limits::SHARD_HANDOVERS_MAX)
            + limits::OUTBOX_ACTIONS_MAX
            + 1;
        self.free = (0..count).map(|_| Parcel::empty()).collect();
    }

    /// True when there is another shard.
    pub(super) fn has_peers(&self) -> bool {
        self.peers.len() > 1
    }

    fn peer_mut(&mut self, shard: ShardId) -> &mut Peer {
        self.peers
            .get_mut(usize::from(shard.0))
            .and_then(Option::as_mut)
            .expect("the core names another shard of this node")
    }

    /// Tells the core the room towards every shard, if it changed.
    #[inline]
    pub(super) fn tell_room(&mut self, out: &mut Outbox, stats: &mut Stats) {
        if self.is_room_changed {
            self.is_room_changed = false;
            self.tell_room_changed(out, stats);
        }
    }

    /// No room towards any shard while parcels are so few that one call could use them up.
    fn tell_room_changed(&mut self, out: &mut Outbox, stats: &mut Stats) {
        let has_parcels = self.free.len() > limits::OUTBOX_ACTIONS_MAX;
        for (shard, peer) in self.peers.iter_mut().enumerate() {
            let Some(peer) = peer else {
                continue;
            };
            let (questions, handovers) = match has_parcels {
                true => (
                    limits::SHARD_REQUESTS_MAX - peer.questions,
                    limits::SHARD_HANDOVERS_MAX - peer.handovers,
                ),
                false => (0, 0),
            };
            let is_full = questions == 0 || handovers == 0;
            if is_full && !peer.is_full {
                stats.hops_full += 1;
            }
            peer.is_full = is_full;
            out.set_room(ShardId(shard as u8), questions as u16, handovers as u16);
        }
        out.set_room(self.here, 0, 0);
    }

    /// Sends `message` with a copy of `octets` to `to`, for which the core was told there is room.
    pub(super) fn send(&mut self, to: ShardId, message: ShardMessage, octets: &[u8]) {
        self.is_room_changed = true;
        let mut free = if message.is_answer() {
            None
        } else {
            self.free.pop()
        };
        let peer = self.peer_mut(to);
        if message.is_answer() {
            free = peer.held.pop();
        } else if message.is_request() {
            peer.questions += 1;
            assert!(
                peer.questions <= limits::SHARD_REQUESTS_MAX,
                "the core kept to the room"
            );
        } else {
            peer.handovers += 1;
            assert!(
                peer.handovers <= limits::SHARD_HANDOVERS_MAX,
                "the core kept to the room"
            );
        }
        let mut parcel = free.expect("a parcel for whatever there was room for, or was asked");
        parcel.fill(message, octets);
        let pushed = peer.outgoing.parcels.push(parcel);
        assert!(
            pushed.is_ok(),
            "the queue has a place for everything that may be under way"
        );
        peer.is_rung = true;
    }

    /// Rings the doorbells of shards that something was sent to.
    pub(super) fn ring(&mut self, stats: &mut Stats) {
        let here = self.here;
        for peer in self.peers.iter_mut().flatten() {
            if std::mem::take(&mut peer.is_rung) {
                stats.wakes += u64::from(peer.doorbell.ring_shard(here));
            }
        }
    }

    /// Notes shards that have sent something.
    pub(super) fn mark_ready(&mut self, shards: u64) {
        self.ready |= shards;
    }

    /// True when something may wait.
    pub(super) fn is_ready(&self) -> bool {
        self.ready != 0
    }

    /// Takes the next parcel, the peers in turn.
    pub(super) fn take(&mut self) -> Option<Taken> {
        while self.ready != 0 {
            // The lowest ready peer at or after `first`, else the lowest of all.
            let after = self.ready & (u64::MAX << self.first);
            let shard = if after != 0 { after } else { self.ready }.trailing_zeros() as u8;
            let from = ShardId(shard);
            let peer = self.peer_mut(from);
            let Some(parcel) = peer.incoming.parcels.pop() else {
                self.ready &= !(1 << shard);
                continue;
            };
            if parcel.message.is_answer() {
                assert!(peer.questions > 0, "an answer answers a question");
                peer.questions -= 1;
                self.is_room_changed = true;
            }
            self.first = (shard + 1) % limits::SHARDS_MAX as u8;
            return Some(Taken { from, parcel });
        }
        None
    }

    /// Puts a parcel that was taken where it belongs: to be called when the core has read it, and
    /// before its actions are carried out, among which may be the answer.
    pub(super) fn finish(&mut self, from: ShardId, parcel: Box<Parcel>) {
        if parcel.message.is_answer() {
            self.free.push(trim(parcel));
            return;
        }
        let is_request = parcel.message.is_request();
        let peer = self.peer_mut(from);
        if is_request {
            peer.held.push(parcel);
        } else {
            let pushed = peer.incoming.returns.push(parcel);
            assert!(
                pushed.is_ok(),
                "as many returns as one-way messages may be under way"
            );
        }
    }

    /// Takes back the empty parcels of one-way messages.
    pub(super) fn reclaim(&mut self) {
        let free = &mut self.free;
        for peer in self.peers.iter_mut().flatten() {
            while peer.handovers > 0 {
                let Some(parcel) = peer.outgoing.returns.pop() else {
                    break;
                };
                peer.handovers -= 1;
                self.is_room_changed = true;
                free.push(trim(parcel));
            }
        }
    }
}

/// A parcel that grew for a large datagram gives the memory back.
fn trim(mut parcel: Box<Parcel>) -> Box<Parcel> {
    if parcel.octets.capacity() > limits::PARCEL_BYTES {
        parcel.octets.clear();
        parcel.octets.shrink_to(limits::PARCEL_BYTES);
    }
    parcel
}
