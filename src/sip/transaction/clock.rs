//! The one running timer of a live transaction: its next retransmission or its end, whichever is
//! sooner.

use super::super::turn::Turn;
use super::super::{Flow, Key, Time, Timer, TimerId, TimerKind};
use crate::limits;

/// RFC 3261 §17: what is sent over a connection is never sent again by a transaction.
pub(super) const fn is_reliable(flow: Flow) -> bool {
    match flow {
        Flow::Stream { .. } => true,
        Flow::Udp { .. } => false,
    }
}

/// The timer kinds of one side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kinds {
    /// The end.
    pub(super) end: TimerKind,
    /// The next retransmission.
    pub(super) retransmit: TimerKind,
}

/// Timers of a server transaction.
pub(super) const SERVER: Kinds = Kinds {
    end: TimerKind::Server,
    retransmit: TimerKind::ServerRetransmit,
};

/// Timers of a client transaction.
pub(super) const CLIENT: Kinds = Kinds {
    end: TimerKind::Client,
    retransmit: TimerKind::ClientRetransmit,
};

/// What a live transaction waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// Armed while there is an end. `None` as soon as it has fired.
    timer: Option<TimerId>,
    /// When the transaction ends, if it ends by itself.
    end: Option<Time>,
    /// The running retransmission interval, milliseconds; 0 = nothing is retransmitted.
    interval_ms: u16,
}

const _: () = assert!(limits::TRANSACTION_MS <= u16::MAX as u64);

impl Clock {
    /// Nothing to wait for.
    pub(super) const STOPPED: Self = Self {
        timer: None,
        end: None,
        interval_ms: 0,
    };

    pub(super) const fn is_running(&self) -> bool {
        self.end.is_some()
    }

    /// Starts anew: the end in 64*T1, and retransmission from T1 on where `retransmits`. False
    /// when the wheel is full, and the clock is stopped then.
    #[must_use]
    pub(super) fn start(
        &mut self,
        turn: &mut Turn<'_>,
        kinds: Kinds,
        key: Key,
        retransmits: bool,
    ) -> bool {
        self.stop(turn);
        self.end = Some(turn.now.time.plus_ms(limits::TRANSACTION_MS));
        self.interval_ms = if retransmits { limits::T1_MS as u16 } else { 0 };
        self.arm(turn, kinds, key)
    }

    /// Says that the timer has fired; [`Self::rearm`] follows unless the transaction ends.
    pub(super) const fn on_fired(&mut self) {
        self.timer = None;
    }

    /// The next retransmission comes after twice the interval, at most `interval_ms_max`.
    pub(super) fn double(&mut self, interval_ms_max: u64) {
        self.interval_ms = (u64::from(self.interval_ms) * 2).min(interval_ms_max) as u16;
    }

    /// The next retransmission comes after T2.
    pub(super) const fn slow_down(&mut self) {
        self.interval_ms = limits::T2_MS as u16;
    }

    /// Ends retransmission; the end stays. A timer that is armed finds nothing to send.
    pub(super) const fn stop_retransmission(&mut self) {
        self.interval_ms = 0;
    }

    /// Arms what fired, if there is still something to wait for. False when the wheel is full,
    /// and the clock is stopped then.
    #[must_use]
    pub(super) fn rearm(&mut self, turn: &mut Turn<'_>, kinds: Kinds, key: Key) -> bool {
        self.end.is_none() || self.timer.is_some() || self.arm(turn, kinds, key)
    }

    /// Waits for nothing any more.
    pub(super) fn stop(&mut self, turn: &mut Turn<'_>) {
        self.cancel(turn);
        *self = Self::STOPPED;
    }

    fn cancel(&mut self, turn: &mut Turn<'_>) {
        if let Some(timer) = self.timer.take() {
            turn.wheel.cancel(timer);
        }
    }

    fn arm(&mut self, turn: &mut Turn<'_>, kinds: Kinds, key: Key) -> bool {
        let Some(end) = self.end else { return false };
        let again = turn.now.time.plus_ms(u64::from(self.interval_ms));
        let (at, kind) = if self.interval_ms > 0 && again < end {
            (again, kinds.retransmit)
        } else {
            (end, kinds.end)
        };
        self.timer = turn.wheel.insert(at, Timer { kind, key });
        if self.timer.is_none() {
            *self = Self::STOPPED;
        }
        self.timer.is_some()
    }
}
