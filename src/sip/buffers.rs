//! Octets kept beyond a call: messages of live transactions, strings of bindings. Size classes in
//! one arena of fixed size.

/// Names stored octets; 4 octets wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferId(pub(super) std::num::NonZeroU32);

/// An arena of fixed size with size classes.
#[derive(Debug)]
pub struct Buffers {
    arena: Box<[u8]>,
}

impl Buffers {
    /// An arena of about `bytes` octets, allocated and touched now. Classes serve from 16 octets
    /// to the largest datagram; free memory moves between classes in whole pages.
    pub fn with_capacity(bytes: usize) -> Self {
        unimplemented!("{bytes}")
    }
    /// Keeps a copy; `None` when there is no room.
    pub fn store(&mut self, bytes: &[u8]) -> Option<BufferId> {
        unimplemented!("{bytes:?}")
    }
    /// The octets stored.
    pub fn octets(&self, id: BufferId) -> &[u8] {
        unimplemented!("{id:?}{}", self.arena.len())
    }
    /// Gives the memory back.
    pub fn release(&mut self, id: BufferId) {
        unimplemented!("{id:?}")
    }
    /// Octets in use, slack of size classes included.
    pub fn bytes_used(&self) -> usize {
        unimplemented!()
    }
}
