//! Provided buffers: a ring of free ones that the kernel takes from, one per datagram.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::{BufRingEntry, RecvMsgOut};

use crate::limits;
use crate::shard::backend::{RECEIVE_HEAD_BYTES, RECEIVE_STRIDE_BYTES};
use crate::shard::sys::{Mapping, RawAddress};
use crate::sip::SourceAddr;

/// Octets that the kernel puts before the payload: its header, and the room for the address.
const HEAD_BYTES: usize = 16 + RawAddress::CAPACITY;

/// Where a buffer starts in its stride, so that the payload starts on a cache line.
const LEAD_BYTES: usize = RECEIVE_HEAD_BYTES - HEAD_BYTES;

/// Octets of a buffer.
const BUFFER_BYTES: usize = HEAD_BYTES + limits::DATAGRAM_BYTES_MAX;

const _: () = assert!(LEAD_BYTES + BUFFER_BYTES <= RECEIVE_STRIDE_BYTES);
const _: () = assert!(size_of::<BufRingEntry>() == 16);

/// What lies in a buffer that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Who sent it; `None` when the address is of no known family.
    pub(super) peer: Option<SourceAddr>,
    /// Octets of payload.
    pub(super) length: usize,
    /// True when the datagram was larger than the buffer.
    pub(super) truncated: bool,
}

/// The buffers of one ring, and who owns each: the kernel or we.
pub(super) struct BufferRing {
    /// Entries that the kernel reads; the tail lies inside the first one.
    ring: Mapping,
    memory: Mapping,
    /// Our copy of the tail; the kernel's is set by [`Self::commit`].
    tail: u16,
    /// By buffer: true while it is ours.
    ours: Vec<bool>,
    /// How many are ours.
    ours_count: usize,
}

impl BufferRing {
    /// Makes the buffers and gives all of them to the kernel.
    pub(super) fn register(submitter: &Submitter<'_>, group: u16) -> io::Result<Self> {
        let ring = Mapping::new(limits::RECEIVE_BUFFERS * size_of::<BufRingEntry>())?;
        let memory = Mapping::new(limits::RECEIVE_BUFFERS * RECEIVE_STRIDE_BYTES)?;
        let count = limits::RECEIVE_BUFFERS as u16;
        // SAFETY: the ring is page-aligned, zeroed, has room for `count` entries (a power of two
        // of at most 2^15), and lives until `unregister`, which `close` calls before this value is
        // dropped.
        unsafe {
            submitter.register_buf_ring_with_flags(ring.start().as_ptr() as u64, count, group, 0)?
        };
        let mut buffers = Self {
            ring,
            memory,
            tail: 0,
            ours: vec![true; limits::RECEIVE_BUFFERS],
            ours_count: limits::RECEIVE_BUFFERS,
        };
        for buffer in 0..count {
            buffers.give_back(buffer);
        }
        buffers.commit();
        Ok(buffers)
    }

    /// Takes the registration back.
    pub(super) fn unregister(&self, submitter: &Submitter<'_>, group: u16) -> io::Result<()> {
        submitter.unregister_buf_ring(group)
    }

    /// True when the kernel has a buffer to fill.
    pub(super) fn has_free(&self) -> bool {
        self.ours_count < limits::RECEIVE_BUFFERS
    }

    /// The first octet of a buffer as the kernel sees it.
    fn address(&self, buffer: u16) -> *mut u8 {
        let offset = usize::from(buffer) * RECEIVE_STRIDE_BYTES + LEAD_BYTES;
        assert!(
            offset + BUFFER_BYTES <= self.memory.len(),
            "inside the memory"
        );
        self.memory.start().as_ptr().wrapping_add(offset)
    }

    /// Takes a buffer that the kernel filled with `filled` octets, its own header included.
    pub(super) fn take(&mut self, buffer: u16, filled: usize, header: &libc::msghdr) -> Taken {
        let mine = self
            .ours
            .get_mut(usize::from(buffer))
            .expect("a buffer id that was given out");
        assert!(!*mine, "the kernel fills only buffers that it was given");
        *mine = true;
        self.ours_count += 1;
        assert!(
            (HEAD_BYTES..=BUFFER_BYTES).contains(&filled),
            "a whole header, and no overrun"
        );
        // SAFETY: the range is the filled part of a buffer inside `memory`, which the kernel has
        // just handed over and will not touch until it is given back.
        let octets = unsafe { std::slice::from_raw_parts(self.address(buffer), filled) };
        let out = RecvMsgOut::parse(octets, header).expect("the header was found to be whole");
        let truncated = out.is_payload_truncated();
        let length = out.payload_data().len();
        assert!(
            length == filled - HEAD_BYTES || truncated,
            "header and completion agree"
        );
        let peer = match out.is_name_data_truncated() {
            true => None,
            false => RawAddress::parse(out.name_data()),
        };
        Taken {
            peer,
            length,
            truncated,
        }
    }

    /// The payload of a buffer that is ours.
    #[inline]
    pub(super) fn octets(&self, buffer: u16, length: usize) -> &[u8] {
        assert!(self.ours[usize::from(buffer)] && length <= limits::DATAGRAM_BYTES_MAX);
        // SAFETY: the range is the payload part of a buffer inside `memory`. It is ours, so the
        // kernel does not write there, and it becomes the kernel's only by `give_back`, which
        // takes this value exclusively.
        unsafe { std::slice::from_raw_parts(self.address(buffer).add(HEAD_BYTES), length) }
    }

    /// Gives a buffer of ours back; the kernel sees it after [`Self::commit`].
    #[inline]
    pub(super) fn give_back(&mut self, buffer: u16) {
        let mine = self
            .ours
            .get_mut(usize::from(buffer))
            .expect("a buffer id that was given out");
        assert!(*mine, "only a buffer of ours is given back");
        *mine = false;
        self.ours_count -= 1;
        let address = self.address(buffer) as u64;
        let index = usize::from(self.tail) & (limits::RECEIVE_BUFFERS - 1);
        // SAFETY: `index` is below the number of entries the ring was made for. The kernel reads
        // only entries before its tail, which this one is not: no more buffers are given out than
        // the ring has entries. The fields are written one by one, as the kernel's tail lies in
        // the reserved field of entry 0 and must not be overwritten.
        let entry = unsafe { &mut *self.ring.start().as_ptr().cast::<BufRingEntry>().add(index) };
        entry.set_addr(address);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel all buffers given back.
    #[inline]
    pub(super) fn commit(&mut self) {
        let base = self.ring.start().as_ptr().cast::<BufRingEntry>();
        // SAFETY: `base` is the first entry of the ring that was registered, page-aligned; the
        // tail lies in it, aligned for 16 bits, and is from registration on accessed as an atomic
        // by us alone (the kernel only reads it).
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(base).cast_mut()) };
        // Release: the entries are visible before the tail that covers them.
        tail.store(self.tail, Ordering::Release);
    }
}
