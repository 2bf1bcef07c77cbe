//! The counters of limits: concurrent calls, and calls per second. A limit is counted by one
//! shard, so that it holds exactly for the node.

use super::Proxy;
use crate::limits::LIMITS_COUNTED_MAX;
use crate::sip::turn::Turn;
use crate::sip::{Counter, ShardId, ShardMessage, Time};
use crate::tenant::{DomainId, TrunkId};

/// Names a limit on every shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LimitId(pub(super) u64);

impl LimitId {
    pub(super) const fn of_domain(domain: DomainId) -> Self {
        Self(1 << 32 | domain.0 as u64)
    }

    pub(super) const fn of_trunk(trunk: TrunkId) -> Self {
        Self(2 << 32 | trunk.0 as u64)
    }

    const fn hash(self) -> u64 {
        self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    /// The shard that counts it.
    pub(super) const fn shard(self, shards: u8) -> ShardId {
        ShardId((self.hash() >> 56) as u8 % shards)
    }
}

/// What came of a call that wants to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// It is counted.
    Granted,
    /// The limit is reached.
    Reached,
    /// The table has no place for the limit.
    NoPlace,
}

impl Begin {
    /// True when the call may go on; a missing place is counted.
    pub(super) fn granted(self, turn: &mut Turn<'_>) -> bool {
        if self == Self::NoPlace {
            turn.counters.add(Counter::LimitsTableFull);
        }
        self == Self::Granted
    }
}

/// Parts of a second, in milliseconds: a call counts for a second and at most one part more.
const PART_MS: u64 = 100;
/// Parts of a second and the one that has begun.
const PARTS: usize = 1000 / PART_MS as usize + 1;
/// Places looked at for one limit.
const PROBES: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// 0 = free.
    limit: u64,
    /// Calls in progress.
    calls: u32,
    /// The part that `started[0]` stands for, since the start of time.
    part: u64,
    /// Calls begun in that part and in those before it.
    started: [u32; PARTS],
}

const FREE: Entry = Entry {
    limit: 0,
    calls: 0,
    part: 0,
    started: [0; PARTS],
};

impl Entry {
    /// Moves the parts on to `part`.
    fn advance(&mut self, part: u64) {
        let passed = (part.saturating_sub(self.part) as usize).min(PARTS);
        self.started.copy_within(..PARTS - passed, passed);
        self.started[..passed].fill(0);
        self.part = self.part.max(part);
    }

    /// True when forgetting it changes no verdict.
    fn is_idle(&self, part: u64) -> bool {
        self.limit == 0 || self.calls == 0 && part >= self.part + PARTS as u64
    }
}

/// The limits that this shard counts.
#[derive(Debug)]
pub(super) struct Limits {
    entries: Box<[Entry]>,
}

impl Limits {
    pub(super) fn new() -> Self {
        Self {
            entries: vec![FREE; LIMITS_COUNTED_MAX].into_boxed_slice(),
        }
    }

    fn places(limit: LimitId) -> impl Iterator<Item = usize> {
        let start = limit.hash() as usize >> 20;
        (0..PROBES).map(move |step| (start + step) % LIMITS_COUNTED_MAX)
    }

    fn find(&self, limit: LimitId) -> Option<usize> {
        Self::places(limit).find(|&place| self.entries[place].limit == limit.0)
    }

    /// Counts a call that begins, unless it would be one too many in progress (`calls_max`) or in
    /// any second (`cps_max`), 0 = any number; or the table has no place for the limit.
    pub(super) fn try_begin(
        &mut self,
        now: Time,
        limit: LimitId,
        calls_max: u32,
        cps_max: u32,
    ) -> Begin {
        let part = now.as_ms() / PART_MS;
        let idle = || Self::places(limit).find(|&place| self.entries[place].is_idle(part));
        let Some(place) = self.find(limit).or_else(idle) else {
            return Begin::NoPlace;
        };
        let entry = &mut self.entries[place];
        if entry.limit != limit.0 {
            *entry = Entry {
                limit: limit.0,
                part,
                ..FREE
            };
        }
        entry.advance(part);
        let begun: u32 = entry.started.iter().sum();
        if calls_max > 0 && entry.calls >= calls_max || cps_max > 0 && begun >= cps_max {
            return Begin::Reached;
        }
        entry.started[0] += 1;
        if calls_max > 0 {
            entry.calls += 1;
        }
        Begin::Granted
    }

    /// A call that was counted as in progress has ended.
    pub(super) fn end(&mut self, limit: LimitId) {
        if let Some(place) = self.find(limit) {
            let entry = &mut self.entries[place];
            entry.calls = entry.calls.saturating_sub(1);
        }
    }
}

impl Proxy {
    /// Another shard asks for a permit.
    pub(crate) fn answer_permit(
        &mut self,
        turn: &mut Turn<'_>,
        from: ShardId,
        question: u64,
        limit: u64,
        calls_max: u32,
        cps_max: u32,
    ) {
        let limit = LimitId(limit);
        let granted = self
            .limits
            .try_begin(turn.now.time, limit, calls_max, cps_max)
            .granted(turn);
        let answer = ShardMessage::Permitted { question, granted };
        if !turn.out.try_to_shard(from, answer, &[]) {
            turn.counters.add(Counter::DroppedQueueFull);
        }
    }

    /// A call of another shard has ended.
    pub(crate) fn release_permit(&mut self, limit: u64) {
        self.limits.end(LimitId(limit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const LIMIT: LimitId = LimitId(7);

    #[test]
    fn calls_in_progress_are_counted_exactly() {
        let mut limits = Limits::new();
        let now = Time::default();
        for _ in 0..3 {
            assert_eq!(limits.try_begin(now, LIMIT, 3, 0), Begin::Granted);
        }
        assert_eq!(limits.try_begin(now, LIMIT, 3, 0), Begin::Reached);
        assert_eq!(
            limits.try_begin(now, LimitId(8), 3, 0),
            Begin::Granted,
            "another limit is another count"
        );
        limits.end(LIMIT);
        assert_eq!(limits.try_begin(now, LIMIT, 3, 0), Begin::Granted);
        assert_eq!(
            limits.try_begin(now.plus_ms(1_000_000), LIMIT, 3, 0),
            Begin::Reached,
            "time ends no call"
        );
    }

    #[test]
    fn no_second_has_more_calls_than_allowed_and_a_steady_stream_has_nearly_as_many() {
        let mut limits = Limits::new();
        let mut random = crate::sip::Random::new(5);
        let mut now = Time::default().plus_ms(123);
        let mut granted: VecDeque<u64> = VecDeque::new();
        let mut total = 0;
        for _ in 0..20_000 {
            now = now.plus_ms(random.below(10));
            if limits.try_begin(now, LIMIT, 0, 20) == Begin::Granted {
                total += 1;
                granted.push_back(now.as_ms());
                while granted
                    .front()
                    .is_some_and(|&then| then + 1000 <= now.as_ms())
                {
                    granted.pop_front();
                }
                assert!(granted.len() <= 20, "{} in one second", granted.len());
            }
        }
        let seconds = now.as_ms() / 1000;
        assert!(total > 17 * seconds, "{total} in {seconds} s");
    }

    #[test]
    fn a_table_of_limits_that_are_over_takes_new_ones() {
        let mut limits = Limits::new();
        let mut now = Time::default();
        for round in 0..4 {
            for id in 0..LIMITS_COUNTED_MAX as u64 / 4 {
                let limit = LimitId::of_domain(DomainId(id as u32 + round * 1_000_000));
                assert_eq!(
                    limits.try_begin(now, limit, 1, 1),
                    Begin::Granted,
                    "limit {id} of round {round}"
                );
                limits.end(limit);
            }
            now = now.plus_ms(1_300);
        }
    }

    #[test]
    fn a_limit_without_a_place_is_told_from_one_that_is_reached() {
        let mut limits = Limits::new();
        let now = Time::default();
        let mut ids = (0..).map(|id| LimitId::of_domain(DomainId(id)));
        let without = ids
            .find(|&limit| limits.try_begin(now, limit, 1, 0) != Begin::Granted)
            .expect("the table is finite");
        assert_eq!(limits.try_begin(now, without, 1, 0), Begin::NoPlace);
        let first = LimitId::of_domain(DomainId(0));
        assert_eq!(limits.try_begin(now, first, 1, 0), Begin::Reached);
    }

    #[test]
    fn every_shard_counts_some_limits() {
        let mut counts = [0; 4];
        for id in 0..1000 {
            counts[usize::from(LimitId::of_trunk(TrunkId(id)).shard(4).0)] += 1;
        }
        assert!(counts.iter().all(|&count| count > 150), "{counts:?}");
    }
}
