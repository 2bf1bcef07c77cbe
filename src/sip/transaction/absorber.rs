//! Finished transactions: as much as is needed to absorb what is retransmitted to them.
//!
//! An absorber lives for one of two durations, so absorbers stand in queues in order of their end
//! and a queue needs one timer. At a bound the oldest goes first and is counted.

use super::super::turn::Turn;
use super::super::{BufferId, Bytes, Counter, Flow, Key, Slab, Time, Timer, TimerId, TimerKind};
use super::chains::{self, Chains};
use super::identity::Identity;
use super::replay::Replay;
use crate::limits;

/// End of a queue.
const NONE: u32 = u32::MAX;

/// What a finished transaction still does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Remains {
    /// INVITE server in Accepted (timer L): absorbs the request, passes the ACK.
    AcceptedServer,
    /// INVITE server in Confirmed (timer I): absorbs request and ACK.
    ConfirmedServer,
    /// Non-INVITE server in Completed (timer J): its final response again.
    CompletedServer(Replay),
    /// INVITE client in Accepted (timer M): each 2xx goes upstream.
    AcceptedClient {
        /// Where to.
        upstream: Flow,
    },
    /// INVITE client in Completed (timer D): the ACK again.
    RejectedClient {
        /// Where to.
        flow: Flow,
        /// The ACK; `None` when there was no room to keep it.
        ack: Option<BufferId>,
    },
    /// Non-INVITE client in Completed (timer K): absorbs the response.
    CompletedClient,
}

impl Remains {
    const fn kept(&self) -> Option<BufferId> {
        match self {
            Self::CompletedServer(Replay::Kept(id))
            | Self::RejectedClient { ack: Some(id), .. } => Some(*id),
            Self::AcceptedServer
            | Self::ConfirmedServer
            | Self::CompletedServer(Replay::Nothing | Replay::Rebuilt { .. })
            | Self::AcceptedClient { .. }
            | Self::RejectedClient { ack: None, .. }
            | Self::CompletedClient => None,
        }
    }

    const fn queue(&self) -> Queue {
        match self {
            // RFC 3261 §17.2.1, §17.1.2.2: timers I and K are T4.
            Self::ConfirmedServer | Self::CompletedClient => Queue::Short,
            Self::AcceptedServer
            | Self::CompletedServer(_)
            | Self::AcceptedClient { .. }
            | Self::RejectedClient { .. } => {
                if self.kept().is_some() {
                    Queue::LongWithOctets
                } else {
                    Queue::Long
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    /// T4.
    Short,
    /// 64*T1.
    Long,
    /// 64*T1, holding octets of the message arena.
    LongWithOctets,
}

impl Queue {
    const ALL: [Self; 3] = [Self::Short, Self::Long, Self::LongWithOctets];

    const fn duration_ms(self) -> u64 {
        match self {
            Self::Short => limits::T4_MS,
            Self::Long | Self::LongWithOctets => limits::TRANSACTION_MS,
        }
    }

    const fn timer(self) -> Timer {
        Timer {
            kind: TimerKind::Absorber,
            key: Key {
                slot: self as u32,
                generation: 1,
            },
        }
    }
}

#[derive(Debug)]
struct Absorber {
    identity: Identity,
    /// Not before that of the absorber in front of it in its queue.
    expires: Time,
    remains: Remains,
    /// The slot behind it in its queue.
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    head: u32,
    tail: u32,
    /// Armed for the head's end while the queue is not empty.
    timer: Option<TimerId>,
}

/// All finished transactions of one shard.
#[derive(Debug)]
pub(super) struct Absorbers {
    slab: Slab<Absorber>,
    index: Chains,
    queues: [Ends; 3],
    /// Octets kept by absorbers, size-class slack apart; at most half of the arena.
    octets: usize,
}

/// Octets of one finished transaction: slot and index. The three timers are shared by all.
const ABSORBER_BYTES: usize = Slab::<Absorber>::slot_bytes() + chains::BYTES_PER_SLOT;

const _: () = assert!(ABSORBER_BYTES <= 128);

impl Absorbers {
    pub(super) fn with_capacity(capacity: u32) -> Self {
        Self {
            slab: Slab::with_capacity(capacity),
            index: Chains::with_capacity(capacity),
            queues: [Ends {
                head: NONE,
                tail: NONE,
                timer: None,
            }; 3],
            octets: 0,
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.slab.len()
    }

    /// What finished transactions cost, octets of messages apart.
    pub(super) fn bytes(&self) -> Bytes {
        let (length, capacity) = (self.slab.len() as usize, self.slab.capacity() as usize);
        let (entry, index) = (Slab::<Absorber>::slot_bytes(), self.index.bytes());
        Bytes {
            occupied: length * entry + index * length / capacity.max(1),
            allocated: capacity * entry + index,
        }
    }

    pub(super) fn find(&self, identity: Identity) -> Option<Key> {
        self.index.slots(identity.bucket_hash()).find_map(|slot| {
            let (key, absorber) = self.slab.at(slot)?;
            (absorber.identity == identity).then_some(key)
        })
    }

    pub(super) fn remains(&self, key: Key) -> Option<Remains> {
        self.slab.get(key).map(|absorber| absorber.remains)
    }

    /// Keeps what remains of a transaction until its timer ends it; owns its octets from now on.
    pub(super) fn insert(&mut self, turn: &mut Turn<'_>, identity: Identity, remains: Remains) {
        if self.slab.len() == self.slab.capacity() {
            self.evict_oldest(turn);
        }
        let queue = remains.queue();
        let expires = turn.now.time.plus_ms(queue.duration_ms());
        let absorber = Absorber {
            identity,
            expires,
            remains,
            next: NONE,
        };
        let Ok(key) = self.slab.insert(absorber) else {
            // No absorbers at all: what is retransmitted is taken for new.
            turn.counters.add(Counter::AbsorbersEvicted);
            if let Some(id) = remains.kept() {
                turn.buffers.release(id);
            }
            return;
        };
        self.index.insert(identity.bucket_hash(), key.slot);
        self.append(queue, key.slot);
        if let Some(id) = remains.kept() {
            self.octets += turn.buffers.octets(id).len();
        }
        if !self.arm(turn, queue) {
            // Without a timer it could stay for ever.
            self.evict(turn, queue);
        }
        if remains.kept().is_some() {
            // RFC 3261 §17.2.2 deviation: when forwarded finals fill their half of the arena, the
            // oldest transaction does not live as long as timer J, because live transactions need
            // the other half. A request retransmitted after that is forwarded again.
            while self.octets > turn.buffers.bytes_capacity() / 2 {
                self.evict(turn, Queue::LongWithOctets);
            }
        }
    }

    /// Makes room in the message arena: evicts at most `count` absorbers that keep octets. False
    /// when none does.
    pub(super) fn give_up_octets(&mut self, turn: &mut Turn<'_>, count: usize) -> bool {
        let before = self.octets;
        for _ in 0..count {
            self.evict(turn, Queue::LongWithOctets);
        }
        self.octets < before
    }

    /// A queue's timer fired.
    pub(super) fn handle_timer(&mut self, turn: &mut Turn<'_>, timer: Timer) {
        let Some(queue) = Queue::ALL.into_iter().find(|queue| queue.timer() == timer) else {
            return;
        };
        self.queues[queue as usize].timer = None;
        for _ in 0..limits::ABSORBERS_PER_TIMER_MAX {
            match self.head(queue) {
                Some((_, expires)) if expires <= turn.now.time => self.remove_head(turn, queue),
                Some(_) | None => break,
            };
        }
        let armed = self.arm(turn, queue);
        debug_assert!(armed, "the timer that fired has left its place");
    }

    fn append(&mut self, queue: Queue, slot: u32) {
        let ends = &mut self.queues[queue as usize];
        let last = std::mem::replace(&mut ends.tail, slot);
        if last == NONE {
            ends.head = slot;
        } else if let Some((key, _)) = self.slab.at(last)
            && let Some(absorber) = self.slab.get_mut(key)
        {
            absorber.next = slot;
        }
    }

    fn head(&self, queue: Queue) -> Option<(Key, Time)> {
        let (key, absorber) = self.slab.at(self.queues[queue as usize].head)?;
        Some((key, absorber.expires))
    }

    /// Takes the oldest of `queue` out; false when it is empty.
    fn remove_head(&mut self, turn: &mut Turn<'_>, queue: Queue) -> bool {
        let Some((key, _)) = self.head(queue) else {
            return false;
        };
        let Some(absorber) = self.slab.remove(key) else {
            return false;
        };
        self.index.remove(absorber.identity.bucket_hash(), key.slot);
        let ends = &mut self.queues[queue as usize];
        ends.head = absorber.next;
        if absorber.next == NONE {
            ends.tail = NONE;
        }
        if let Some(id) = absorber.remains.kept() {
            self.octets -= turn.buffers.octets(id).len();
            turn.buffers.release(id);
        }
        true
    }

    fn evict(&mut self, turn: &mut Turn<'_>, queue: Queue) {
        if self.remove_head(turn, queue) {
            turn.counters.add(Counter::AbsorbersEvicted);
        }
    }

    fn evict_oldest(&mut self, turn: &mut Turn<'_>) {
        let heads = Queue::ALL.into_iter().filter_map(|queue| {
            let (_, expires) = self.head(queue)?;
            Some((expires, queue))
        });
        if let Some((_, queue)) = heads.min_by_key(|(expires, _)| *expires) {
            self.evict(turn, queue);
        }
    }

    /// Arms the timer of a queue that has none. It may find that its head was evicted meanwhile
    /// and is armed again. False when the wheel is full; it is not when the timer has just fired.
    fn arm(&mut self, turn: &mut Turn<'_>, queue: Queue) -> bool {
        let Some((_, expires)) = self.head(queue) else {
            return true;
        };
        let timer = &mut self.queues[queue as usize].timer;
        if timer.is_none() {
            *timer = turn.wheel.insert(expires, queue.timer());
        }
        timer.is_some()
    }
}
