//! A table of fixed capacity whose keys outlive their entries safely.

/// Names an entry: slot and generation. A key whose entry is gone finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The slot.
    pub slot: u32,
    /// The generation of the slot; never 0.
    pub generation: u32,
}

/// A fixed number of slots, allocated at once.
#[derive(Debug)]
pub struct Slab<T> {
    entries: Vec<T>,
}

impl<T> Slab<T> {
    /// A slab of `capacity` slots.
    pub fn with_capacity(capacity: u32) -> Self {
        unimplemented!("{capacity}")
    }
    /// The key that the next [`Self::insert`] will give; `None` when full.
    pub fn next_key(&self) -> Option<Key> {
        unimplemented!()
    }
    /// Puts `value` in; gives it back when full.
    pub fn insert(&mut self, value: T) -> Result<Key, T> {
        Err(value)
    }
    /// The entry.
    pub fn get(&self, key: Key) -> Option<&T> {
        unimplemented!("{key:?}")
    }
    /// The entry.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        unimplemented!("{key:?}")
    }
    /// Takes the entry out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        unimplemented!("{key:?}")
    }
    /// The entry in `slot`, whatever its generation, with its key: for sweeps by cursor.
    pub fn at(&self, slot: u32) -> Option<(Key, &T)> {
        unimplemented!("{slot}")
    }
    /// Entries in use.
    pub fn len(&self) -> u32 {
        self.entries.len() as u32
    }
    /// True when nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Slots.
    pub fn capacity(&self) -> u32 {
        unimplemented!()
    }
}
