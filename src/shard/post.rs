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
#[allow(
    clippy::vec_box,
    reason = "parcels travel through the queues by pointer"
)]
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
#[allow(
    clippy::vec_box,
    reason = "parcels travel through the queues by pointer"
)]
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::tenant::DomainId;

    const SHARDS: usize = 3;

    /// Shards whose posts are driven by one thread, beside an obvious model of them.
    struct World {
        posts: Vec<Post>,
        outs: Vec<Outbox>,
        bells: Vec<Arc<Doorbell>>,
        stats: Stats,
        /// By pair `from * SHARDS + to`: what is on its way, by number.
        model: Vec<VecDeque<(u64, Kind)>>,
        /// By pair: questions the second has taken and not answered.
        owed: Vec<VecDeque<u64>>,
        /// By pair: questions asked and not answered.
        asked: Vec<usize>,
        /// By pair: one-way messages whose parcels have not been reclaimed.
        abroad: Vec<usize>,
        /// By pair: one-way messages taken, whose parcels were not reclaimed yet.
        taken: Vec<usize>,
        number: u64,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Kind {
        OneWay,
        Question,
        Answer,
    }

    impl World {
        fn new() -> Self {
            let bells: Vec<_> = (0..SHARDS)
                .map(|_| Arc::new(Doorbell::new().unwrap()))
                .collect();
            let mut posts = Post::connect(&bells);
            posts.iter_mut().for_each(Post::fill);
            Self {
                posts,
                outs: (0..SHARDS).map(|_| Outbox::new()).collect(),
                bells,
                stats: Stats::default(),
                model: vec![VecDeque::new(); SHARDS * SHARDS],
                owed: vec![VecDeque::new(); SHARDS * SHARDS],
                asked: vec![0; SHARDS * SHARDS],
                abroad: vec![0; SHARDS * SHARDS],
                taken: vec![0; SHARDS * SHARDS],
                number: 0,
            }
        }

        fn message(kind: Kind, number: u64) -> ShardMessage {
            match kind {
                Kind::OneWay => ShardMessage::Release { limit: number },
                Kind::Question => ShardMessage::Locate {
                    question: number,
                    domain: DomainId(0),
                },
                Kind::Answer => ShardMessage::Located {
                    question: number,
                    replaying: false,
                },
            }
        }

        /// One call of the core of `from`; true when there was room.
        fn say(&mut self, from: usize, to: usize, kind: Kind, size: usize) -> bool {
            let pair = from * SHARDS + to;
            let number = match kind {
                Kind::Answer => self.owed[to * SHARDS + from].pop_front().unwrap(),
                Kind::OneWay | Kind::Question => self.number + 1,
            };
            self.posts[from].tell_room(&mut self.outs[from], &mut self.stats);
            let octets = vec![number as u8; size];
            let message = Self::message(kind, number);
            let there = ShardId(to as u8);
            let taken = self.outs[from].try_to_shard(there, message, &octets);
            self.outs[from].clear();
            if taken {
                self.posts[from].send(there, message, &octets);
                self.model[pair].push_back((number, kind));
                self.number = self.number.max(number);
                match kind {
                    Kind::OneWay => self.abroad[pair] += 1,
                    Kind::Question => self.asked[pair] += 1,
                    Kind::Answer => {}
                }
            }
            taken
        }

        /// The core of `shard` is given what waits, at most `count`.
        fn listen(&mut self, shard: usize, count: usize) {
            (0..SHARDS).for_each(|from| self.posts[from].ring(&mut self.stats));
            let rung = self.bells[shard].take_shards();
            self.posts[shard].mark_ready(rung);
            for _ in 0..count {
                let Some(taken) = self.posts[shard].take() else {
                    let waiting = (0..SHARDS).map(|from| self.model[from * SHARDS + shard].len());
                    assert_eq!(waiting.sum::<usize>(), 0, "all was taken");
                    return;
                };
                let from = usize::from(taken.from.0);
                let (number, kind) = self.model[from * SHARDS + shard].pop_front().unwrap();
                assert_eq!(taken.parcel.message, Self::message(kind, number));
                assert!(
                    taken
                        .parcel
                        .octets
                        .iter()
                        .all(|octet| *octet == number as u8)
                );
                match kind {
                    Kind::OneWay => self.taken[from * SHARDS + shard] += 1,
                    Kind::Question => self.owed[from * SHARDS + shard].push_back(number),
                    Kind::Answer => self.asked[shard * SHARDS + from] -= 1,
                }
                self.posts[shard].finish(taken.from, taken.parcel);
            }
        }

        fn reclaim(&mut self, shard: usize) {
            self.posts[shard].reclaim();
            for to in 0..SHARDS {
                let pair = shard * SHARDS + to;
                self.abroad[pair] -= std::mem::take(&mut self.taken[pair]);
            }
        }

        /// Parcels are neither lost nor made.
        fn check(&self) {
            let whole = 2 * (limits::SHARD_REQUESTS_MAX + limits::SHARD_HANDOVERS_MAX)
                + limits::OUTBOX_ACTIONS_MAX
                + 1;
            for (shard, post) in self.posts.iter().enumerate() {
                let row = shard * SHARDS..(shard + 1) * SHARDS;
                let asked: usize = self.asked[row.clone()].iter().sum();
                let abroad: usize = self.abroad[row].iter().sum();
                assert_eq!(post.free.len() + asked + abroad, whole);
                let sizes = post.free.iter().map(|parcel| parcel.octets.capacity());
                assert!(
                    sizes.max() <= Some(limits::PARCEL_BYTES),
                    "large parcels shrink"
                );
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Say {
            from: usize,
            to: usize,
            kind: bool,
            size: usize,
            count: usize,
        },
        Answer {
            from: usize,
            to: usize,
            count: usize,
        },
        Listen {
            shard: usize,
            count: usize,
        },
        Reclaim {
            shard: usize,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        let sizes = prop_oneof![9 => 0..600_usize, 1 => 3_000..5_000_usize];
        prop_oneof![
            (0..SHARDS, 1..SHARDS, any::<bool>(), sizes, 1..700_usize).prop_map(
                |(from, step, kind, size, count)| {
                    let to = (from + step) % SHARDS;
                    Step::Say {
                        from,
                        to,
                        kind,
                        size,
                        count,
                    }
                }
            ),
            (0..SHARDS, 1..SHARDS, 1..900_usize).prop_map(|(from, step, count)| Step::Answer {
                from,
                to: (from + step) % SHARDS,
                count
            }),
            (0..SHARDS, 1..900_usize).prop_map(|(shard, count)| Step::Listen { shard, count }),
            (0..SHARDS).prop_map(|shard| Step::Reclaim { shard }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn every_message_arrives_once_in_order_and_room_is_told_exactly(
            steps in prop::collection::vec(step(), 1..60)
        ) {
            let mut world = World::new();
            for step in steps {
                match step {
                    Step::Say { from, to, kind, size, count } => {
                        let pair = from * SHARDS + to;
                        for _ in 0..count {
                            let (kind, used, bound) = match kind {
                                true => {
                                    (Kind::Question, world.asked[pair], limits::SHARD_REQUESTS_MAX)
                                }
                                false => {
                                    (Kind::OneWay, world.abroad[pair], limits::SHARD_HANDOVERS_MAX)
                                }
                            };
                            assert_eq!(world.say(from, to, kind, size), used < bound);
                        }
                    }
                    Step::Answer { from, to, count } => {
                        let owed = world.owed[to * SHARDS + from].len();
                        for _ in 0..count.min(owed) {
                            assert!(world.say(from, to, Kind::Answer, 10), "always has a place");
                        }
                    }
                    Step::Listen { shard, count } => world.listen(shard, count),
                    Step::Reclaim { shard } => world.reclaim(shard),
                }
                world.check();
            }
        }
    }

    #[test]
    fn a_busy_peer_does_not_keep_the_others_from_being_heard() {
        let mut world = World::new();
        for _ in 0..500 {
            assert!(world.say(1, 0, Kind::OneWay, 1));
        }
        assert!(world.say(2, 0, Kind::OneWay, 1));
        world.listen(0, 2);
        assert!(world.model[2 * SHARDS].is_empty());
    }
}
