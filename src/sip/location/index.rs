//! A hash index of fixed size: keyed hash -> slot of a table beside it.
//!
//! Open addressing with linear probing; a removed entry is closed by shifting back what follows,
//! so there are no tombstones and nothing to rebuild.

/// The index. A bucket is 0 when empty, else 32 bits of hash and the slot plus one.
#[derive(Debug)]
pub(super) struct Index {
    buckets: Box<[u64]>,
    length: u32,
}

impl Index {
    /// An index for `capacity` entries, at most four fifths full.
    pub(super) fn with_capacity(capacity: u32) -> Self {
        let buckets = capacity as usize + capacity as usize / 4 + 8;
        // Written, not merely reserved: zeroed memory would be mapped at first use.
        let mut buckets = vec![u64::MAX; buckets].into_boxed_slice();
        buckets.fill(0);
        Self { buckets, length: 0 }
    }

    /// The slot whose hash is `hash` and for which `is_it` holds.
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag_of(hash);
        let mut at = self.home(tag);
        // Ends at an empty bucket: at least a fifth of them are.
        loop {
            let bucket = self.buckets[at];
            if bucket == 0 {
                return None;
            }
            if (bucket >> 32) as u32 == tag {
                let slot = bucket as u32 - 1;
                if is_it(slot) {
                    return Some(slot);
                }
            }
            at = self.after(at);
        }
    }

    /// Adds an entry that is not there yet. The table beside it bounds the number of entries.
    pub(super) fn insert(&mut self, hash: u64, slot: u32) {
        let tag = tag_of(hash);
        let mut at = self.home(tag);
        while self.buckets[at] != 0 {
            at = self.after(at);
        }
        self.buckets[at] = u64::from(tag) << 32 | u64::from(slot + 1);
        self.length += 1;
        assert!(
            (self.length as usize) < self.buckets.len(),
            "an index always has an empty bucket"
        );
    }

    /// Removes the entry of `slot`; nothing happens when it is not there.
    pub(super) fn remove(&mut self, hash: u64, slot: u32) {
        let tag = tag_of(hash);
        let wanted = u64::from(tag) << 32 | u64::from(slot + 1);
        let mut hole = self.home(tag);
        while self.buckets[hole] != wanted {
            if self.buckets[hole] == 0 {
                return;
            }
            hole = self.after(hole);
        }
        self.length -= 1;
        let mut at = self.after(hole);
        while self.buckets[at] != 0 {
            let home = self.home((self.buckets[at] >> 32) as u32);
            // The entry may move into the hole unless its home lies behind the hole.
            if self.distance(home, at) >= self.distance(hole, at) {
                self.buckets[hole] = self.buckets[at];
                hole = at;
            }
            at = self.after(at);
        }
        self.buckets[hole] = 0;
    }

    /// Octets allocated.
    pub(super) fn bytes(&self) -> usize {
        self.buckets.len() * size_of::<u64>()
    }

    fn home(&self, tag: u32) -> usize {
        // Scales 32 bits to the number of buckets, which is no power of two.
        ((u64::from(tag) * self.buckets.len() as u64) >> 32) as usize
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.buckets.len() {
            0
        } else {
            at + 1
        }
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from {
            to - from
        } else {
            to + self.buckets.len() - from
        }
    }
}

const fn tag_of(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_what_a_map_finds(
            // Few distinct hashes, at both ends of the range, so that runs collide and wrap.
            steps in prop::collection::vec(
                (any::<bool>(), 0u32..24, 0u64..4, any::<bool>()), 1..300
            )
        ) {
            let mut index = Index::with_capacity(24);
            let mut model = BTreeMap::new();
            for (insert, slot, hash, high) in steps {
                let hash = if high { u64::MAX - (hash << 35) } else { hash << 61 | hash << 33 };
                if insert {
                    if let std::collections::btree_map::Entry::Vacant(entry) = model.entry(slot) {
                        entry.insert(hash);
                        index.insert(hash, slot);
                    }
                } else if let Some(hash) = model.remove(&slot) {
                    index.remove(hash, slot);
                } else {
                    index.remove(hash, slot);
                }
                for slot in 0..24 {
                    for hash in model.values() {
                        let found = index.find(*hash, |candidate| candidate == slot);
                        prop_assert_eq!(found.is_some(), model.get(&slot) == Some(hash));
                    }
                }
            }
            prop_assert_eq!(index.length as usize, model.len());
        }
    }
}
