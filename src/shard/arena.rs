//! Where datagrams to be sent lie from the core's call until the kernel has taken them.

use super::sys::RawAddress;
use crate::limits;
use crate::sip::{ListenerId, SourceAddr};

/// One datagram of the arena.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    /// The listener whose socket sends it.
    pub(super) listener: ListenerId,
    /// Where to.
    pub(super) peer: SourceAddr,
    /// The same in the kernel's form.
    pub(super) to: RawAddress,
    start: u32,
    length: u32,
}

/// Octets and addresses of the sends of one submission. A backend empties it when the kernel has
/// taken all of them, and submits early when it is full.
pub(super) struct Arena {
    bytes: Box<[u8]>,
    used: usize,
    slots: Vec<Slot>,
}

impl Arena {
    /// Room for `limits::SUBMISSION_SENDS_MAX` datagrams, touched.
    pub(super) fn new() -> Self {
        Self {
            // Not zero, so that the pages are touched now and not by the first packets.
            bytes: vec![1; limits::SUBMISSION_BYTES_MAX].into_boxed_slice(),
            used: 0,
            slots: Vec::with_capacity(limits::SUBMISSION_SENDS_MAX),
        }
    }

    /// True when a datagram of `length` octets fits.
    #[inline]
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.slots.len() < limits::SUBMISSION_SENDS_MAX && self.bytes.len() - self.used >= length
    }

    /// Copies a datagram, for which there is room; the index of its slot.
    #[inline]
    pub(super) fn push(&mut self, listener: ListenerId, peer: SourceAddr, bytes: &[u8]) -> usize {
        assert!(self.has_room(bytes.len()), "the caller makes room first");
        let start = self.used;
        self.used += bytes.len();
        self.bytes[start..self.used].copy_from_slice(bytes);
        self.slots.push(Slot {
            listener,
            peer,
            to: RawAddress::new(peer),
            start: start as u32,
            length: bytes.len() as u32,
        });
        self.slots.len() - 1
    }

    /// A slot in use.
    #[inline]
    pub(super) fn slot(&self, index: usize) -> &Slot {
        &self.slots[index]
    }

    /// The slots in use, in order.
    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The octets of a slot.
    #[inline]
    pub(super) fn octets(&self, slot: &Slot) -> &[u8] {
        &self.bytes[slot.start as usize..(slot.start + slot.length) as usize]
    }

    /// Empties it. The kernel must have taken everything.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.slots.clear();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn an_arena_takes_datagrams_until_octets_or_slots_run_out() {
        let peer = SourceAddr::from("192.0.2.1:5060".parse::<std::net::SocketAddr>().unwrap());
        let mut arena = Arena::new();
        let large = vec![7; limits::DATAGRAM_BYTES_MAX];
        let mut count = 0;
        while arena.has_room(large.len()) {
            arena.push(ListenerId(0), peer, &large);
            count += 1;
        }
        assert_eq!(
            count,
            limits::SUBMISSION_BYTES_MAX / limits::DATAGRAM_BYTES_MAX
        );
        arena.clear();
        for n in 0..limits::SUBMISSION_SENDS_MAX {
            let index = arena.push(ListenerId(3), peer, &[n as u8; 5]);
            assert_eq!(index, n);
        }
        assert!(!arena.has_room(0));
        let slot = arena.slot(300);
        assert_eq!(arena.octets(slot), &[300_usize as u8; 5]);
    }
}
