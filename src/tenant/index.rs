//! A hash index over entries that lie elsewhere: built once, read without allocation.

use std::hash::{BuildHasher, Hasher};

/// Marks a free slot.
const FREE: u32 = u32::MAX;

/// Open addressing with linear probing, at most half full.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Entry numbers or `FREE`; a power of two, or empty.
    slots: Box<[u32]>,
}

impl Index {
    /// Indexes entries `0..` by their hashes.
    pub(super) fn build(hashes: impl ExactSizeIterator<Item = u64>) -> Self {
        let count = hashes.len();
        if count == 0 {
            return Self::default();
        }
        assert!(
            count < FREE as usize / 4,
            "an index is out of entry numbers"
        );
        let mut slots = vec![FREE; (count * 2).next_power_of_two()].into_boxed_slice();
        let mask = slots.len() - 1;
        for (entry, hash) in hashes.enumerate() {
            let mut at = hash as usize & mask;
            while slots[at] != FREE {
                at = (at + 1) & mask;
            }
            slots[at] = entry as u32;
        }
        Self { slots }
    }

    /// The entry with this hash that `is_it` accepts.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(usize) -> bool) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        // Half of the slots are free, so the probe ends.
        while self.slots[at] != FREE {
            let entry = self.slots[at] as usize;
            if is_it(entry) {
                return Some(entry);
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// Octets held.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.slots[..])
    }
}

/// A keyed hash, new for every table, so that no tenant can choose names that collide.
#[derive(Clone)]
pub(super) struct Keyed(ahash::RandomState);

impl Default for Keyed {
    fn default() -> Self {
        let seed = || std::hash::RandomState::new().build_hasher().finish();
        Self(ahash::RandomState::with_seeds(
            seed(),
            seed(),
            seed(),
            seed(),
        ))
    }
}

impl Keyed {
    /// The hash of `text` under `scope`.
    #[inline]
    pub(super) fn hash(&self, scope: u64, text: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write_u64(scope);
        hasher.write(text);
        hasher.finish()
    }
}

impl std::fmt::Debug for Keyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyed(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::{Index, Keyed};

    #[test]
    fn empty_index_finds_nothing() {
        assert_eq!(Index::default().find(7, |_| true), None);
        assert_eq!(
            Index::build(std::iter::empty::<u64>().collect::<Vec<_>>().into_iter()).bytes(),
            0
        );
    }

    #[test]
    fn every_entry_is_found_even_when_all_hashes_collide() {
        for hash in [0, u64::MAX] {
            let index = Index::build(vec![hash; 100].into_iter());
            for wanted in 0..100 {
                assert_eq!(index.find(hash, |entry| entry == wanted), Some(wanted));
            }
            assert_eq!(index.find(hash, |_| false), None);
        }
    }

    #[test]
    fn scope_and_text_both_count() {
        let keyed = Keyed::default();
        assert_eq!(keyed.hash(1, b"alice"), keyed.hash(1, b"alice"));
        assert_ne!(keyed.hash(1, b"alice"), keyed.hash(2, b"alice"));
        assert_ne!(keyed.hash(1, b"alice"), keyed.hash(1, b"alicf"));
    }
}
