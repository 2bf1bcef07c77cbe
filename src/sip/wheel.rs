//! The timer wheel of one shard: hierarchical, 10 ms ticks, O(1) insert and cancel, fixed capacity.

use super::{Key, Time};

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TimerKind {
    /// A server transaction; which timer is in its state.
    Server,
    /// Retransmission of a server transaction's final response (G).
    ServerRetransmit,
    /// A client transaction's time-out (B, F, D, K, M).
    Client,
    /// Retransmission of a client transaction's request (A, E).
    ClientRetransmit,
    /// A finished transaction.
    Absorber,
    /// A proxied request's context: timer C, the next contact, first response.
    Context,
    /// A binding's expiry.
    Binding,
    /// A binding's next keep-alive.
    KeepAlive,
    /// A call record's end.
    Call,
    /// A trunk target's next OPTIONS.
    Target,
    /// Housekeeping of one part of the core, by slot number.
    Housekeeping,
}

/// A timer: its kind and the entry it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// What for.
    pub kind: TimerKind,
    /// Whose.
    pub key: Key,
}

/// Names a running timer; an id whose timer has fired or was cancelled names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerId(pub(super) Key);

/// The wheel.
#[derive(Debug)]
pub struct Wheel {
    now: Time,
}

impl Wheel {
    /// A wheel for `capacity` timers, at `now`.
    pub fn with_capacity(capacity: u32, now: Time) -> Self {
        let _ = capacity;
        Self { now }
    }
    /// Arms a timer; it fires at `at` or up to one tick later, never earlier. `None` when full.
    pub fn insert(&mut self, at: Time, timer: Timer) -> Option<TimerId> {
        unimplemented!("{at:?}{timer:?}")
    }
    /// Disarms; false when it had fired or was cancelled.
    pub fn cancel(&mut self, id: TimerId) -> bool {
        unimplemented!("{id:?}")
    }
    /// The next timer due at `now`, removed from the wheel; in order of time up to one tick.
    pub fn poll(&mut self, now: Time) -> Option<Timer> {
        unimplemented!("{now:?}{:?}", self.now)
    }
    /// When the reactor should call again at the latest: a lower bound of the next deadline that
    /// is at most one wheel level early.
    pub fn next_deadline(&self) -> Option<Time> {
        unimplemented!()
    }
    /// Timers armed.
    pub fn len(&self) -> u32 {
        unimplemented!()
    }
    /// True when none is armed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
