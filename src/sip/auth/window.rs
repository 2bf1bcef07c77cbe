//! Which nonce counts were used: a window of 64 bits per nonce, in a table of fixed size.

/// Nonces that share a set; the one issued first leaves when a fifth comes.
const WAYS: usize = 4;

/// Counts remembered below the highest one seen.
const WINDOW_BITS: u32 = u64::BITS;

/// What came of a nonce count whose response has verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// Not seen before. `evicted` is true when a nonce that was still good had to leave.
    Fresh { evicted: bool },
    /// Seen before, or so far below the highest that it can not be told.
    Replayed,
    /// The nonce may have left the table, so that its counts are unknown.
    Forgotten,
}

/// Four nonces and what is known of those that left.
#[derive(Clone, Debug, Default)]
struct Set {
    /// Ids of nonces; 0 = free.
    ids: [u64; WAYS],
    /// Bit `i` = the count `highest - i` was used.
    windows: [u64; WAYS],
    /// The highest count used.
    highest: [u32; WAYS],
    /// No nonce with an id above this one has ever left the set. As ids rise with time, an absent
    /// nonce above it was never used, and one at or below it may have been.
    evicted_up_to: u64,
}

/// The table of one shard.
#[derive(Debug)]
pub(super) struct NonceCounts {
    sets: Box<[Set]>,
    /// Moves the hash's upper bits down to a set number.
    shift: u32,
}

impl NonceCounts {
    /// Room for `nonces` nonces, a power of two.
    pub(super) fn new(nonces: u32) -> Self {
        assert!(
            nonces.is_power_of_two(),
            "[limits] nonces must be a power of two"
        );
        // At least two sets, so that the shift stays below 64.
        let sets = (nonces as usize / WAYS).max(2);
        Self {
            sets: vec![Set::default(); sets].into(),
            shift: u64::BITS - sets.ilog2(),
        }
    }

    /// Notes that `count` was used with the nonce `id`. Nonces below `id_valid_min` have expired.
    pub(super) fn use_count(&mut self, id: u64, count: u32, id_valid_min: u64) -> Count {
        debug_assert_ne!(id, 0, "0 marks a free place");
        // Fibonacci hashing: neighbouring ids, as one burst of challenges makes them, spread out.
        let hash = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let set = &mut self.sets[(hash >> self.shift) as usize];
        if let Some(way) = set.ids.iter().position(|known| *known == id) {
            return set.advance(way, count);
        }
        if id <= set.evicted_up_to {
            return Count::Forgotten;
        }
        let mut way = 0;
        for other in 1..WAYS {
            // A free place has id 0 and so comes before any nonce.
            if set.ids[other] < set.ids[way] {
                way = other;
            }
        }
        let leaving = set.ids[way];
        set.evicted_up_to = set.evicted_up_to.max(leaving);
        set.ids[way] = id;
        set.windows[way] = 1;
        set.highest[way] = count;
        Count::Fresh {
            evicted: leaving != 0 && leaving >= id_valid_min,
        }
    }
}

impl Set {
    fn advance(&mut self, way: usize, count: u32) -> Count {
        let window = &mut self.windows[way];
        let highest = &mut self.highest[way];
        if count > *highest {
            let distance = count - *highest;
            *window = window.checked_shl(distance).unwrap_or(0) | 1;
            *highest = count;
            return Count::Fresh { evicted: false };
        }
        let below = *highest - count;
        if below >= WINDOW_BITS || *window & (1 << below) != 0 {
            return Count::Replayed;
        }
        *window |= 1 << below;
        Count::Fresh { evicted: false }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    const FRESH: Count = Count::Fresh { evicted: false };

    #[test]
    fn a_count_is_good_once_in_any_order_within_the_window() {
        let mut counts = NonceCounts::new(64);
        assert_eq!(counts.use_count(9, 70, 0), FRESH);
        assert_eq!(counts.use_count(9, 70, 0), Count::Replayed);
        assert_eq!(
            counts.use_count(9, 7, 0),
            FRESH,
            "63 below the highest is remembered"
        );
        assert_eq!(counts.use_count(9, 7, 0), Count::Replayed);
        assert_eq!(
            counts.use_count(9, 6, 0),
            Count::Replayed,
            "64 below is not"
        );
        assert_eq!(counts.use_count(9, 71, 0), FRESH);
        assert_eq!(counts.use_count(9, 7, 0), Count::Replayed);
        assert_eq!(counts.use_count(9, u32::MAX, 0), FRESH);
        assert_eq!(counts.use_count(9, 71, 0), Count::Replayed);
        assert_eq!(counts.use_count(9, u32::MAX, 0), Count::Replayed);
    }

    #[test]
    fn an_evicted_nonce_is_forgotten_and_never_good_again() {
        let mut counts = NonceCounts::new(8);
        let mut evictions = 0;
        for id in 1..=100 {
            match counts.use_count(id, 1, 0) {
                Count::Fresh { evicted } => evictions += u32::from(evicted),
                Count::Replayed | Count::Forgotten => panic!("nonce {id} is new"),
            }
        }
        assert_eq!(evictions, 92, "two sets of four keep eight");
        let mut forgotten = 0;
        for id in 1..=100 {
            match counts.use_count(id, 1, 0) {
                Count::Fresh { .. } => panic!("count 1 of nonce {id} was used"),
                Count::Replayed => {}
                Count::Forgotten => forgotten += 1,
            }
        }
        assert_eq!(forgotten, 92);
    }

    #[test]
    fn an_expired_nonce_leaves_without_being_counted() {
        let mut counts = NonceCounts::new(8);
        for id in 1..=8 {
            counts.use_count(id, 1, 0);
        }
        for id in 1001..=1016 {
            assert_eq!(
                counts.use_count(id, 1, id),
                FRESH,
                "all before {id} have expired"
            );
        }
    }

    proptest! {
        #[test]
        fn no_count_is_ever_good_twice(
            uses in prop::collection::vec((1u64..40, 0u32..90), 1..400)
        ) {
            let mut counts = NonceCounts::new(16);
            let mut used = BTreeSet::new();
            for (id, count) in uses {
                if matches!(counts.use_count(id, count, 0), Count::Fresh { .. }) {
                    prop_assert!(used.insert((id, count)), "count {count} of {id} was used");
                }
            }
        }

        #[test]
        fn without_eviction_only_replays_and_far_stragglers_are_refused(
            uses in prop::collection::vec((1u64..5, 0u32..200), 1..300)
        ) {
            let mut counts = NonceCounts::new(64);
            let mut used: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
            for (id, count) in uses {
                let seen = used.entry(id).or_default();
                let highest = seen.last().copied().unwrap_or(0);
                let refused = seen.contains(&count) || (!seen.is_empty() && count + 64 <= highest);
                let expected = if refused { Count::Replayed } else { FRESH };
                prop_assert_eq!(counts.use_count(id, count, 0), expected);
                if !refused {
                    seen.insert(count);
                }
            }
        }
    }
}
