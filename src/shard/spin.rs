//! How long a shard polls before it sleeps.
//!
//! A wake costs far more than polling a little longer, so a shard polls on after its last work.
//! The time adapts: sleeping through a longer silence halves it, work that comes soon after going
//! to sleep doubles it.

use std::time::Duration;

use crate::sip::Time;

/// Part of the longest time that is polled at least.
const SHARE_MIN: u64 = 16;

/// The spinning of one shard.
#[derive(Debug)]
pub(super) struct Spin {
    /// Longest time polled, nanoseconds; 0 = never.
    max_ns: u64,
    /// Time polled at present; between `max_ns / SHARE_MIN` and `max_ns`.
    budget_ns: u64,
    /// When the last work ended; `None` while there is work.
    idle_since: Option<Time>,
}

impl Spin {
    /// Polls at most `max_us` microseconds.
    pub(super) fn new(max_us: u32) -> Self {
        let max_ns = u64::from(max_us) * 1_000;
        Self {
            max_ns,
            budget_ns: max_ns,
            idle_since: None,
        }
    }

    /// A turn did work.
    #[inline]
    pub(super) fn on_work(&mut self) {
        self.idle_since = None;
    }

    /// A turn did nothing. True when the shard should sleep.
    #[inline]
    pub(super) fn on_idle(&mut self, now: Time) -> bool {
        let since = *self.idle_since.get_or_insert(now);
        now.since(since) >= Duration::from_nanos(self.budget_ns)
    }

    /// The shard slept from `start` to `end`; `worked` when something woke it.
    pub(super) fn on_slept(&mut self, start: Time, end: Time, worked: bool) {
        let short = end.since(start) < Duration::from_nanos(self.max_ns);
        self.budget_ns = match (worked, short) {
            (true, true) => (self.budget_ns * 2).min(self.max_ns),
            (false, true) => self.budget_ns,
            (true | false, false) => (self.budget_ns / 2).max(self.max_ns / SHARE_MIN),
        };
        self.idle_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;

    #[test]
    fn a_shard_polls_its_budget_after_the_last_work_and_then_sleeps() {
        let mut spin = Spin::new(1_000);
        assert!(!spin.on_idle(Time(0)));
        assert!(!spin.on_idle(Time(999 * US)));
        assert!(spin.on_idle(Time(1_000 * US)));
        spin.on_work();
        assert!(!spin.on_idle(Time(1_001 * US)));
    }

    #[test]
    fn without_a_budget_a_shard_sleeps_at_once() {
        let mut spin = Spin::new(0);
        assert!(spin.on_idle(Time(5)));
        spin.on_slept(Time(5), Time(6), true);
        assert!(spin.on_idle(Time(7)));
    }

    #[test]
    fn silence_halves_the_budget_down_to_a_share_and_quick_work_restores_it() {
        let mut spin = Spin::new(1_600);
        for _ in 0..10 {
            spin.on_slept(Time(0), Time(10_000 * US), true);
        }
        assert!(!spin.on_idle(Time(0)));
        assert!(!spin.on_idle(Time(99 * US)));
        assert!(spin.on_idle(Time(100 * US)));
        for _ in 0..10 {
            spin.on_slept(Time(0), Time(50 * US), true);
        }
        assert!(!spin.on_idle(Time(0)));
        assert!(!spin.on_idle(Time(1_599 * US)));
        assert!(spin.on_idle(Time(1_600 * US)));
    }
}
