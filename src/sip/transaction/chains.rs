//! A hash index over the slots of a table: buckets of doubly linked chains, beside the table.

/// End of a chain.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    next: u32,
    /// The slot before; `NONE` at the head of its chain.
    previous: u32,
}

/// Chains of slot numbers by hash. A slot is in at most one chain; O(1) in and out.
#[derive(Debug)]
pub(super) struct Chains {
    heads: Box<[u32]>,
    links: Box<[Link]>,
}

/// Octets of the index for each slot, at most: a link and two heads (their number is a power of
/// two below twice the capacity).
pub(super) const BYTES_PER_SLOT: usize = size_of::<Link>() + 2 * size_of::<u32>();

impl Chains {
    /// An index for slots `0..capacity`.
    pub(super) fn with_capacity(capacity: u32) -> Self {
        let heads = (capacity as usize).max(1).next_power_of_two();
        Self {
            heads: vec![NONE; heads].into_boxed_slice(),
            links: vec![
                Link {
                    next: NONE,
                    previous: NONE
                };
                capacity as usize
            ]
            .into_boxed_slice(),
        }
    }

    /// Octets allocated.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.heads[..]) + size_of_val(&self.links[..])
    }

    fn bucket(&self, hash: u64) -> usize {
        hash as usize & (self.heads.len() - 1)
    }

    /// Puts `slot`, which is in no chain, at the head of the chain of `hash`.
    pub(super) fn insert(&mut self, hash: u64, slot: u32) {
        let bucket = self.bucket(hash);
        let next = std::mem::replace(&mut self.heads[bucket], slot);
        self.links[slot as usize] = Link {
            next,
            previous: NONE,
        };
        if next != NONE {
            self.links[next as usize].previous = slot;
        }
    }

    /// Takes `slot`, which is in the chain of `hash`, out.
    pub(super) fn remove(&mut self, hash: u64, slot: u32) {
        let Link { next, previous } = self.links[slot as usize];
        if previous == NONE {
            let bucket = self.bucket(hash);
            debug_assert_eq!(self.heads[bucket], slot);
            self.heads[bucket] = next;
        } else {
            self.links[previous as usize].next = next;
        }
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
    }

    /// The first slot in the chain of `hash`.
    pub(super) fn first(&self, hash: u64) -> Option<u32> {
        let slot = self.heads[self.bucket(hash)];
        (slot != NONE).then_some(slot)
    }

    /// The slot behind `slot` in its chain.
    pub(super) fn after(&self, slot: u32) -> Option<u32> {
        let next = self.links[slot as usize].next;
        (next != NONE).then_some(next)
    }

    /// The slots in the chain of `hash`, the youngest first. Other hashes may share the chain.
    pub(super) fn slots(&self, hash: u64) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(self.first(hash), |slot| self.after(*slot))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{BYTES_PER_SLOT, Chains};

    proptest! {
        #[test]
        fn chains_agree_with_a_map_of_lists(
            steps in proptest::collection::vec((0u32..16, 0u64..64), 0..200),
        ) {
            let mut chains = Chains::with_capacity(16);
            let mut placed: BTreeMap<u32, u64> = BTreeMap::new();
            for (slot, hash) in steps {
                match placed.remove(&slot) {
                    Some(old) => chains.remove(old, slot),
                    None => {
                        chains.insert(hash, slot);
                        placed.insert(slot, hash);
                    }
                }
                for bucket in 0..16 {
                    let mut found: Vec<u32> = chains.slots(bucket).collect();
                    found.sort_unstable();
                    let expected: Vec<u32> = placed
                        .iter()
                        .filter(|(_, hash)| **hash % 16 == bucket)
                        .map(|(slot, _)| *slot)
                        .collect();
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }

    #[test]
    fn an_index_takes_no_more_octets_for_each_slot_than_it_says() {
        for capacity in 1..=1025 {
            let chains = Chains::with_capacity(capacity);
            let octets = size_of_val(&*chains.heads) + size_of_val(&*chains.links);
            assert!(
                octets <= capacity as usize * BYTES_PER_SLOT,
                "{capacity}: {octets}"
            );
        }
    }

    #[test]
    fn an_index_of_no_slots_finds_nothing() {
        assert_eq!(Chains::with_capacity(0).first(7), None);
    }
}
