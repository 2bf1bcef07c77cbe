//! What the core wants done: bytes to send, messages to other shards, reports to the control side.

use std::ops::Range;

use super::{Flow, Report, ShardId};
use crate::limits;
use crate::wire::Writer;

/// One datagram or stream message to send; its octets lie in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// Where to.
    pub flow: Flow,
    /// Where its octets stand in the outbox.
    pub bytes: Range<u32>,
}

/// What one shard says to another. Variable-length parts travel as the message's octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardMessage {
    /// A message that belongs to the receiver by the home-shard function; octets: the message.
    HandOver {
        /// How it arrived.
        arrival: super::Arrival,
    },
    /// A REGISTER whose address of record the receiver owns; octets: the message.
    Register {
        /// How it arrived.
        arrival: super::Arrival,
    },
    /// A CANCEL that found no transaction at home; octets: the message. Answered by `CancelTaken`.
    Cancel {
        /// How it arrived.
        arrival: super::Arrival,
        /// Names the question at the asking shard.
        question: u64,
    },
    /// The answer to `Cancel`: true when the transaction was there and the CANCEL was answered.
    CancelTaken {
        /// The question answered.
        question: u64,
        /// True when taken.
        taken: bool,
    },
    /// A question for the bindings of an address of record; octets: `user@host`, canonical.
    Locate {
        /// Names the question at the asking shard.
        question: u64,
        /// The domain of the address of record.
        domain: crate::tenant::DomainId,
    },
    /// The answer to `Locate`; octets: an encoded target set.
    Located {
        /// The question answered.
        question: u64,
        /// True when the node is still replaying its bindings, so that a miss means nothing.
        replaying: bool,
    },
    /// Asks the counter of a limit for a permit; answered by `Permitted`.
    Permit {
        /// Names the question at the asking shard.
        question: u64,
        /// Which limit.
        limit: u64,
        /// Concurrent calls allowed, 0 = unlimited.
        calls_max: u32,
        /// Calls per second allowed, 0 = unlimited.
        cps_max: u32,
    },
    /// The answer to `Permit`.
    Permitted {
        /// The question answered.
        question: u64,
        /// True when the call may go on.
        granted: bool,
    },
    /// A call that held a permit has ended.
    Release {
        /// Which limit.
        limit: u64,
    },
    /// A trunk target was found dead or alive.
    TargetState {
        /// The trunk.
        trunk: crate::tenant::TrunkId,
        /// Index into its targets.
        target: u16,
        /// True when it answers.
        alive: bool,
    },
    /// An ICMP error came back for this flow.
    Unreachable {
        /// The flow.
        flow: Flow,
    },
}

impl ShardMessage {
    /// True for questions, whose answer needs a reserved place in the asking shard's queue.
    pub const fn is_request(&self) -> bool {
        matches!(
            self,
            Self::Locate { .. } | Self::Cancel { .. } | Self::Permit { .. }
        )
    }

    /// True for answers, which always have a place.
    pub const fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::Located { .. } | Self::CancelTaken { .. } | Self::Permitted { .. }
        )
    }
}

/// One thing to do.
#[derive(Debug)]
pub enum Action {
    /// Send octets.
    Send(Send),
    /// Give a message to another shard; the octets are a range of the outbox.
    ToShard(ShardId, ShardMessage, Range<u32>),
    /// Tell the control side; boxed as it is off the packet path.
    Report(Box<Report>),
}

/// The result of one call into the core: bounded, empty on entry, owned by the caller.
#[derive(Debug)]
pub struct Outbox {
    bytes: Box<[u8]>,
    length: usize,
    actions: Vec<Action>,
    /// Requests and one-way messages that each shard's queue can still take.
    requests_free: [u16; limits::SHARDS_MAX],
    handovers_free: [u16; limits::SHARDS_MAX],
}

impl Outbox {
    /// An empty outbox with all its memory; queues to other shards are taken to be empty.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bytes: vec![0; limits::OUTBOX_BYTES_MAX].into_boxed_slice(),
            length: 0,
            actions: Vec::with_capacity(limits::OUTBOX_ACTIONS_MAX),
            requests_free: [limits::SHARD_REQUESTS_MAX as u16; limits::SHARDS_MAX],
            handovers_free: [limits::SHARD_HANDOVERS_MAX as u16; limits::SHARDS_MAX],
        }
    }

    /// Says how much the queue towards `shard` can still take.
    pub fn set_room(&mut self, shard: ShardId, requests: u16, handovers: u16) {
        self.requests_free[usize::from(shard.0)] = requests;
        self.handovers_free[usize::from(shard.0)] = handovers;
    }

    /// Empties the outbox; room for other shards stays as it was told.
    pub fn clear(&mut self) {
        self.length = 0;
        self.actions.clear();
    }

    /// What to do, in order.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// Takes the reports out, leaving the other actions.
    pub fn take_reports(&mut self) -> impl Iterator<Item = Box<Report>> + '_ {
        self.actions
            .extract_if(.., |action| matches!(action, Action::Report(_)))
            .filter_map(|action| match action {
                Action::Report(report) => Some(report),
                Action::Send(_) | Action::ToShard(..) => None,
            })
    }

    /// The octets of an action.
    pub fn octets(&self, range: &Range<u32>) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }

    /// True when a timer may be run: it fits whatever it sends.
    pub fn has_room_for_timer(&self) -> bool {
        self.actions.len() + limits::OUTBOX_TIMER_RESERVE_ACTIONS <= limits::OUTBOX_ACTIONS_MAX
            && self.length + limits::OUTBOX_TIMER_RESERVE_BYTES <= limits::OUTBOX_BYTES_MAX
    }

    /// A writer over the free octets; what it wrote is kept by [`Self::send_written`],
    /// else forgotten.
    pub fn writer(&mut self) -> Writer<'_> {
        Writer::new(&mut self.bytes[self.length..])
    }

    /// Sends the first `length` octets written by the last [`Self::writer`] on `flow`. False when
    /// there is no room for one more action, or the message is larger than a datagram.
    pub fn send_written(&mut self, flow: Flow, length: usize) -> bool {
        if self.actions.len() == limits::OUTBOX_ACTIONS_MAX || length > limits::DATAGRAM_BYTES_MAX {
            return false;
        }
        let bytes = self.keep(length);
        self.actions.push(Action::Send(Send { flow, bytes }));
        true
    }

    /// Sends a copy of `bytes` on `flow`. False when there is no room.
    pub fn send(&mut self, flow: Flow, bytes: &[u8]) -> bool {
        let mut writer = self.writer();
        writer.put(bytes);
        match writer.finish() {
            Some(length) => self.send_written(flow, length),
            None => false,
        }
    }

    /// The octets of the last send, for keeping a copy.
    pub fn last_sent(&self) -> &[u8] {
        match self.actions.last() {
            Some(Action::Send(send)) => self.octets(&send.bytes),
            Some(Action::ToShard(..) | Action::Report(_)) | None => &[],
        }
    }

    /// Gives `message` with a copy of `bytes` to `shard`. False when its queue has no room (an
    /// answer always has: its place was reserved by the question).
    pub fn try_to_shard(&mut self, shard: ShardId, message: ShardMessage, bytes: &[u8]) -> bool {
        if self.actions.len() == limits::OUTBOX_ACTIONS_MAX
            || self.length + bytes.len() > self.bytes.len()
        {
            return false;
        }
        let free = if message.is_answer() {
            None
        } else if message.is_request() {
            Some(&mut self.requests_free[usize::from(shard.0)])
        } else {
            Some(&mut self.handovers_free[usize::from(shard.0)])
        };
        if let Some(free) = free {
            if *free == 0 {
                return false;
            }
            *free -= 1;
        }
        let end = self.length + bytes.len();
        self.bytes[self.length..end].copy_from_slice(bytes);
        let range = self.keep(bytes.len());
        self.actions.push(Action::ToShard(shard, message, range));
        true
    }

    /// Tells the control side. Never on the packet path: the report is heap memory.
    pub fn report(&mut self, report: Report) {
        self.actions.push(Action::Report(Box::new(report)));
    }

    fn keep(&mut self, length: usize) -> Range<u32> {
        let start = self.length as u32;
        self.length += length;
        start..self.length as u32
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}
