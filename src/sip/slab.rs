//! A table of fixed capacity whose keys outlive their entries safely.

/// Names an entry: slot and generation. A key whose entry is gone finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The slot.
    pub slot: u32,
    /// The generation of the slot; never 0.
    pub generation: u32,
}

/// End of the free list.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Entry<T> {
    /// Rises with every removal, so that old keys no longer fit; never 0.
    generation: u32,
    /// The next free slot while this one is free.
    next_free: u32,
    value: Option<T>,
}

/// A fixed number of slots, allocated and touched at once. The slot freed last is used first.
#[derive(Debug)]
pub struct Slab<T> {
    entries: Box<[Entry<T>]>,
    free: u32,
    length: u32,
}

impl<T> Slab<T> {
    /// A slab of `capacity` slots.
    pub fn with_capacity(capacity: u32) -> Self {
        let entries = (0..capacity)
            .map(|slot| Entry {
                generation: 1,
                next_free: if slot + 1 == capacity { NONE } else { slot + 1 },
                value: None,
            })
            .collect();
        Self {
            entries,
            free: if capacity == 0 { NONE } else { 0 },
            length: 0,
        }
    }

    /// The key that the next [`Self::insert`] will give; `None` when full.
    #[inline]
    pub fn next_key(&self) -> Option<Key> {
        let entry = self.entries.get(self.free as usize)?;
        Some(Key {
            slot: self.free,
            generation: entry.generation,
        })
    }

    /// Puts `value` in.
    ///
    /// # Errors
    /// Gives `value` back when the slab is full.
    #[inline]
    pub fn insert(&mut self, value: T) -> Result<Key, T> {
        let slot = self.free;
        let Some(entry) = self.entries.get_mut(slot as usize) else {
            return Err(value);
        };
        self.free = entry.next_free;
        entry.value = Some(value);
        self.length += 1;
        Ok(Key {
            slot,
            generation: entry.generation,
        })
    }

    /// The entry.
    #[inline]
    pub fn get(&self, key: Key) -> Option<&T> {
        let entry = self.entries.get(key.slot as usize)?;
        if entry.generation == key.generation {
            entry.value.as_ref()
        } else {
            None
        }
    }

    /// The entry.
    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.slot as usize)?;
        if entry.generation == key.generation {
            entry.value.as_mut()
        } else {
            None
        }
    }

    /// Takes the entry out.
    #[inline]
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get_mut(key.slot as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1).max(1);
        entry.next_free = self.free;
        self.free = key.slot;
        self.length -= 1;
        Some(value)
    }

    /// The entry in `slot`, whatever its generation, with its key: for sweeps by cursor.
    #[inline]
    pub fn at(&self, slot: u32) -> Option<(Key, &T)> {
        let entry = self.entries.get(slot as usize)?;
        let value = entry.value.as_ref()?;
        Some((
            Key {
                slot,
                generation: entry.generation,
            },
            value,
        ))
    }

    /// Entries in use.
    #[inline]
    pub fn len(&self) -> u32 {
        self.length
    }

    /// True when nothing is in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Slots.
    #[inline]
    pub fn capacity(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Octets of one slot.
    pub const fn slot_bytes() -> usize {
        size_of::<Entry<T>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_entry_is_not_found_by_its_old_key_when_the_slot_is_used_again() {
        let mut slab = Slab::with_capacity(1);
        let first = slab.insert('a').expect("one slot is free");
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b').expect("the slot is free again");
        assert_eq!(second.slot, first.slot);
        assert_eq!((slab.get(first), slab.get(second)), (None, Some(&'b')));
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn a_full_slab_gives_the_value_back_and_has_no_next_key() {
        let mut slab = Slab::with_capacity(2);
        for value in [1, 2] {
            let announced = slab.next_key();
            assert_eq!(slab.insert(value).ok(), announced);
        }
        assert_eq!((slab.next_key(), slab.insert(3)), (None, Err(3)));
        assert_eq!(Slab::<u8>::with_capacity(0).insert(1), Err(1));
    }

    #[test]
    fn a_sweep_by_slot_meets_every_entry_once() {
        let mut slab = Slab::with_capacity(8);
        let keys: Vec<Key> = (0..8).filter_map(|value| slab.insert(value).ok()).collect();
        slab.remove(keys[3]);
        let met: Vec<i32> = (0..slab.capacity())
            .filter_map(|slot| slab.at(slot))
            .map(|(_, value)| *value)
            .collect();
        assert_eq!(met, [0, 1, 2, 4, 5, 6, 7]);
    }
}
