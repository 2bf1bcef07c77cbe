//! Octets kept beyond a call: messages of live transactions, strings of bindings. Size classes in
//! one arena of fixed size.

use std::num::NonZeroU32;

use crate::limits::{DATAGRAM_BYTES_MAX, MESSAGE_BYTES_MIN};

/// Names stored octets; 4 octets wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferId(NonZeroU32);

/// Octets of a page, the unit that moves between size classes: one block of the largest class.
const PAGE: usize = 65_536;
/// Blocks start at multiples of this, so that a 32-bit id reaches 64 GiB.
const GRAIN: usize = 16;
/// Octets in front of every block's content: its length.
const LENGTH: usize = 2;
/// Block sizes; each wastes at most a third.
const CLASSES: [usize; 23] = [
    16, 32, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512, 768, 1024, 1280, 1536, 2048, 3072, 4096,
    8192, 16_384, 32_768, PAGE,
];
/// End of a list of pages, or of a page's list of blocks.
const NONE: u32 = u32::MAX;
const NO_BLOCK: u16 = u16::MAX;

const _: () = assert!(DATAGRAM_BYTES_MAX + LENGTH <= PAGE);
const _: () = assert!(PAGE / CLASSES[0] < NO_BLOCK as usize);
// Every class can have a page, and there are some for messages of the usual sizes.
const _: () = assert!((CLASSES.len() + 8) * PAGE <= MESSAGE_BYTES_MIN);

#[derive(Clone, Copy, Debug)]
struct Page {
    /// Neighbours in the list of its class's pages with free blocks, or `next` in the free list.
    next: u32,
    previous: u32,
    /// First block given back; each holds the number of the next one in its first two octets.
    free: u16,
    /// Blocks handed out for the first time so far; those behind it were never used.
    fresh: u16,
    /// Blocks in use.
    used: u16,
    class: u8,
}

/// An arena of fixed size with size classes.
#[derive(Debug)]
pub struct Buffers {
    arena: Box<[u8]>,
    pages: Box<[Page]>,
    /// Pages of each class that have a free block.
    open: [u32; CLASSES.len()],
    /// Pages of no class.
    free: u32,
    bytes_used: usize,
}

impl Buffers {
    /// An arena of about `bytes` octets (whole pages of 64 KiB, at least one), allocated and
    /// touched now. Classes serve from 14 octets to the largest datagram; a page whose blocks are
    /// all given back is free for any class.
    pub fn with_capacity(bytes: usize) -> Self {
        let count = bytes.div_ceil(PAGE).max(1);
        let mut arena = vec![0u8; count * PAGE].into_boxed_slice();
        for at in (0..arena.len()).step_by(4096) {
            // A store that the optimiser keeps: the page is mapped now, not under load.
            *std::hint::black_box(&mut arena[at]) = 0;
        }
        let pages = (0..count as u32)
            .map(|page| Page {
                next: if page + 1 == count as u32 {
                    NONE
                } else {
                    page + 1
                },
                previous: NONE,
                free: NO_BLOCK,
                fresh: 0,
                used: 0,
                class: 0,
            })
            .collect();
        Self {
            arena,
            pages,
            open: [NONE; CLASSES.len()],
            free: 0,
            bytes_used: 0,
        }
    }

    /// Keeps a copy; `None` when there is no room, or `bytes` is longer than a datagram.
    #[inline]
    pub fn store(&mut self, bytes: &[u8]) -> Option<BufferId> {
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return None;
        }
        let (class, page) = self.room(class_of(bytes.len() + LENGTH))?;
        let size = CLASSES[class];
        let entry = &mut self.pages[page as usize];
        let block = if entry.free == NO_BLOCK {
            entry.fresh += 1;
            entry.fresh - 1
        } else {
            entry.free
        };
        let at = page as usize * PAGE + usize::from(block) * size;
        if block == entry.free {
            entry.free = u16::from_le_bytes([self.arena[at], self.arena[at + 1]]);
        }
        entry.used += 1;
        if usize::from(entry.used) == PAGE / size {
            self.unlink(page, class);
        }
        self.arena[at..at + LENGTH].copy_from_slice(&(bytes.len() as u16).to_le_bytes());
        self.arena[at + LENGTH..at + LENGTH + bytes.len()].copy_from_slice(bytes);
        self.bytes_used += size;
        // The first grain has number 1, so that 0 stays free for "none".
        NonZeroU32::new((at / GRAIN) as u32 + 1).map(BufferId)
    }

    /// The octets stored.
    #[inline]
    pub fn octets(&self, id: BufferId) -> &[u8] {
        let at = offset(id);
        let length = usize::from(u16::from_le_bytes([self.arena[at], self.arena[at + 1]]));
        &self.arena[at + LENGTH..at + LENGTH + length]
    }

    /// Gives the memory back. An id must be given back once: it is the caller's to keep track.
    #[inline]
    pub fn release(&mut self, id: BufferId) {
        let at = offset(id);
        let page = (at / PAGE) as u32;
        let class = usize::from(self.pages[page as usize].class);
        let size = CLASSES[class];
        let block = ((at % PAGE) / size) as u16;
        let was_full = usize::from(self.pages[page as usize].used) == PAGE / size;
        let entry = &mut self.pages[page as usize];
        self.arena[at..at + LENGTH].copy_from_slice(&entry.free.to_le_bytes());
        entry.free = block;
        entry.used -= 1;
        let empty = entry.used == 0;
        self.bytes_used -= size;
        if was_full {
            self.give_up_empty(class);
            self.link(page, class);
        }
        // The last open page of a class stays with it, so that one message coming and going does
        // not move a page each time. It is the only one that is empty, and stands alone in its
        // list, where `open_page` finds it.
        if empty && (self.pages[page as usize].next != NONE || self.open[class] != page) {
            self.give_up(page, class);
        }
    }

    /// Octets in use, slack of size classes included.
    #[inline]
    pub fn bytes_used(&self) -> usize {
        self.bytes_used
    }

    /// Octets of the arena.
    #[inline]
    pub fn bytes_capacity(&self) -> usize {
        self.arena.len()
    }

    /// A page with a free block of `class`. When no page is left for it, one with a free block of
    /// the next larger class that has one: a few messages of many sizes can hold every page of
    /// a small arena, each by one block.
    #[inline]
    fn room(&mut self, class: usize) -> Option<(usize, u32)> {
        if self.open[class] != NONE {
            return Some((class, self.open[class]));
        }
        if let Some(page) = self.open_page(class) {
            return Some((class, page));
        }
        let larger = (class + 1..CLASSES.len()).find(|&larger| self.open[larger] != NONE)?;
        Some((larger, self.open[larger]))
    }

    /// Takes a free page for `class`; when there is none, an empty one that another class holds.
    fn open_page(&mut self, class: usize) -> Option<u32> {
        if self.free == NONE {
            (0..CLASSES.len()).find(|&other| self.give_up_empty(other))?;
        }
        let page = self.free;
        let entry = &mut self.pages[page as usize];
        self.free = entry.next;
        *entry = Page {
            next: NONE,
            previous: NONE,
            free: NO_BLOCK,
            fresh: 0,
            used: 0,
            class: class as u8,
        };
        self.link(page, class);
        Some(page)
    }

    /// Frees the page that an idle `class` holds; false when it holds none.
    fn give_up_empty(&mut self, class: usize) -> bool {
        let page = self.open[class];
        let empty = page != NONE && self.pages[page as usize].used == 0;
        if empty {
            self.give_up(page, class);
        }
        empty
    }

    /// Frees an empty page.
    fn give_up(&mut self, page: u32, class: usize) {
        self.unlink(page, class);
        self.pages[page as usize].next = self.free;
        self.free = page;
    }

    fn link(&mut self, page: u32, class: usize) {
        let first = self.open[class];
        self.pages[page as usize].next = first;
        self.pages[page as usize].previous = NONE;
        if let Some(first) = self.pages.get_mut(first as usize) {
            first.previous = page;
        }
        self.open[class] = page;
    }

    fn unlink(&mut self, page: u32, class: usize) {
        let Page { next, previous, .. } = self.pages[page as usize];
        match self.pages.get_mut(previous as usize) {
            Some(before) => before.next = next,
            None => self.open[class] = next,
        }
        if let Some(after) = self.pages.get_mut(next as usize) {
            after.previous = previous;
        }
    }
}

#[inline]
fn class_of(bytes: usize) -> usize {
    CLASSES.partition_point(|&size| size < bytes)
}

#[inline]
fn offset(id: BufferId) -> usize {
    (id.0.get() as usize - 1) * GRAIN
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_largest_datagram_fits_and_one_octet_more_does_not() {
        let mut buffers = Buffers::with_capacity(PAGE);
        let largest = vec![7u8; DATAGRAM_BYTES_MAX];
        let id = buffers.store(&largest).expect("one page is free");
        assert_eq!(buffers.octets(id), largest);
        assert_eq!(buffers.store(b"x"), None);
        buffers.release(id);
        assert_eq!(buffers.store(&vec![7u8; DATAGRAM_BYTES_MAX + 1]), None);
        assert_eq!(buffers.bytes_used(), 0);
    }

    #[test]
    fn an_empty_page_held_by_one_class_serves_another_when_nothing_else_is_free() {
        let mut buffers = Buffers::with_capacity(PAGE);
        let small = buffers.store(b"small").expect("one page is free");
        assert_eq!(buffers.store(&[0; 1000]), None);
        buffers.release(small);
        assert!(buffers.store(&[0; 1000]).is_some());
    }

    #[test]
    fn an_empty_page_behind_another_of_its_class_serves_another_class() {
        let mut buffers = Buffers::with_capacity(2 * PAGE);
        let per_page = PAGE / 1024;
        let mut kept: Vec<_> = (0..=per_page)
            .map(|_| buffers.store(&[1; 1000]).expect("two pages are free"))
            .collect();
        // The second page becomes empty, then the first one, full until now, has a free block.
        buffers.release(kept.pop().expect("the last one"));
        buffers.release(kept.pop().expect("one of the first page"));
        assert!(buffers.store(&[2; 60_000]).is_some());
    }

    #[test]
    fn a_message_takes_a_larger_block_when_no_page_is_left_for_its_own_size() {
        let mut buffers = Buffers::with_capacity(PAGE);
        let long = buffers.store(&[1; 3000]).expect("one page is free");
        let short = buffers.store(&[2; 300]).expect("a block of 3072 octets");
        assert_eq!(buffers.store(&[3; 5000]), None, "no larger block is free");
        assert_eq!(buffers.octets(short), [2; 300]);
        buffers.release(long);
        buffers.release(short);
        assert_eq!(buffers.bytes_used(), 0);
        assert!(buffers.store(&[3; 60_000]).is_some());
    }

    #[test]
    fn the_smallest_arena_serves_every_size_while_each_class_holds_a_page() {
        let mut buffers = Buffers::with_capacity(MESSAGE_BYTES_MIN);
        let content = CLASSES.map(|size| vec![1; (size - LENGTH).min(DATAGRAM_BYTES_MAX)]);
        let kept = content
            .each_ref()
            .map(|octets| buffers.store(octets).expect("a page is free"));
        for octets in &content {
            let id = buffers.store(octets).expect("there is room");
            buffers.release(id);
        }
        for id in kept {
            buffers.release(id);
        }
        assert_eq!(buffers.bytes_used(), 0);
    }

    #[test]
    fn every_page_can_be_filled_and_emptied_again_and_again() {
        let mut buffers = Buffers::with_capacity(4 * PAGE);
        for size in [1usize, 100, 900, 5000, 60_000] {
            let content = vec![size as u8; size];
            let mut kept = Vec::new();
            while let Some(id) = buffers.store(&content) {
                kept.push(id);
            }
            let block = CLASSES[class_of(size + LENGTH)];
            assert_eq!(kept.len(), 4 * (PAGE / block), "{size}");
            assert!(kept.iter().all(|&id| buffers.octets(id) == content));
            for id in kept {
                buffers.release(id);
            }
            assert_eq!(buffers.bytes_used(), 0);
        }
    }

    proptest! {
        #[test]
        fn stored_octets_stay_as_they_were_whatever_comes_and_goes(
            steps in prop::collection::vec((any::<bool>(), 0usize..3000, any::<u8>()), 1..400),
        ) {
            let mut buffers = Buffers::with_capacity(8 * PAGE);
            let mut model: Vec<(BufferId, Vec<u8>)> = Vec::new();
            for (store, size, fill) in steps {
                if store || model.is_empty() {
                    let content = vec![fill; size];
                    if let Some(id) = buffers.store(&content) {
                        model.push((id, content));
                    }
                } else {
                    let (id, content) = model.swap_remove(size % model.len());
                    prop_assert_eq!(buffers.octets(id), &content[..]);
                    buffers.release(id);
                }
            }
            for (id, content) in &model {
                prop_assert_eq!(buffers.octets(*id), &content[..]);
            }
            for (id, _) in model {
                buffers.release(id);
            }
            prop_assert_eq!(buffers.bytes_used(), 0);
            // Whatever came and went, every page serves any class again.
            for _ in 0..8 {
                prop_assert!(buffers.store(&[0; 60_000]).is_some());
            }
        }
    }
}
