//! Octets of the location table: size classes on pages in one arena of fixed size.
//!
//! A page holds slots of one class; an empty page goes back to the pool and serves any class.
//! Lengths are kept by the owners of the strings, so a string costs its class and nothing more.

/// Octets of a page.
const PAGE_BYTES: usize = 4096;

/// Slot sizes. Steps of 8 where addresses of record and contacts of ordinary phones lie, so that
/// their slack is 4 octets on average; 1360 = a third of a page, the largest.
const CLASS_BYTES: [u16; 34] = [
    16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128, 136, 144, 152, 160, 168, 176,
    184, 192, 208, 224, 256, 288, 320, 384, 448, 512, 680, 1016, 1360,
];

/// Longest string kept.
pub(super) const STRING_BYTES_MAX: usize = CLASS_BYTES[CLASS_BYTES.len() - 1] as usize;

const NONE_SLOT: u16 = u16::MAX;
const NONE_PAGE: u32 = u32::MAX;

const _: () = assert!(PAGE_BYTES / (CLASS_BYTES[0] as usize) <= 256);
const _: () = assert!(3 * STRING_BYTES_MAX <= PAGE_BYTES);

/// Names a stored string: page number and slot within the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StringId(u32);

impl StringId {
    const fn page(self) -> usize {
        (self.0 >> 8) as usize
    }
    const fn slot(self) -> usize {
        (self.0 & 0xFF) as usize
    }
}

/// What is known of one page.
#[derive(Clone, Copy, Debug)]
struct Page {
    /// Neighbours in the list of pages of this class with a free slot; `next` also links the pool.
    next: u32,
    prev: u32,
    /// First slot given back, or `NONE_SLOT`; a free slot's first two octets name the next one.
    free: u16,
    /// Slots from here on were never used.
    fresh: u16,
    /// Slots in use; 0 = the page is in the pool.
    used: u16,
    /// Index into `CLASS_BYTES`.
    class: u8,
}

/// The arena.
#[derive(Debug)]
pub(super) struct Strings {
    arena: Box<[u8]>,
    pages: Box<[Page]>,
    /// First page of the pool.
    pool: u32,
    /// First page with a free slot, by class.
    partial: [u32; CLASS_BYTES.len()],
    /// Pages out of the pool.
    pages_used: u32,
}

impl Strings {
    /// An arena of at least `bytes` octets, with at least one page for each class.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        let count = bytes.div_ceil(PAGE_BYTES) + CLASS_BYTES.len();
        let mut pages = Vec::with_capacity(count);
        for page in 0..count as u32 {
            let next = if page as usize + 1 == count {
                NONE_PAGE
            } else {
                page + 1
            };
            pages.push(Page {
                next,
                prev: NONE_PAGE,
                free: NONE_SLOT,
                fresh: 0,
                used: 0,
                class: 0,
            });
        }
        Self {
            // Another value than zero, so that every page is written, hence present, from now on.
            arena: vec![0xFF; count * PAGE_BYTES].into_boxed_slice(),
            pages: pages.into_boxed_slice(),
            pool: 0,
            partial: [NONE_PAGE; CLASS_BYTES.len()],
            pages_used: 0,
        }
    }

    /// Takes a slot for `length` octets; `None` when there is no room or `length` is too large.
    pub(super) fn reserve(&mut self, length: usize) -> Option<StringId> {
        let class = class_of(length)?;
        if self.partial[class] == NONE_PAGE {
            self.take_page(class)?;
        }
        let number = self.partial[class];
        let size = usize::from(CLASS_BYTES[class]);
        let page = &mut self.pages[number as usize];
        let slot = if page.free == NONE_SLOT {
            page.fresh += 1;
            page.fresh - 1
        } else {
            let slot = page.free;
            let at = number as usize * PAGE_BYTES + usize::from(slot) * size;
            page.free = u16::from_le_bytes([self.arena[at], self.arena[at + 1]]);
            slot
        };
        page.used += 1;
        if page.free == NONE_SLOT && usize::from(page.fresh) == PAGE_BYTES / size {
            self.unlink(number);
        }
        Some(StringId(number << 8 | u32::from(slot)))
    }

    /// Keeps the octets of `parts`, one behind the other; `None` when there is no room.
    pub(super) fn store(&mut self, parts: &[&[u8]]) -> Option<StringId> {
        let id = self.reserve(parts.iter().map(|part| part.len()).sum())?;
        let mut at = self.start(id);
        for part in parts {
            self.arena[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Some(id)
    }

    /// The first `length` octets stored under `id`.
    pub(super) fn octets(&self, id: StringId, length: usize) -> &[u8] {
        let start = self.start(id);
        &self.arena[start..start + length]
    }

    /// Gives a slot back.
    pub(super) fn release(&mut self, id: StringId) {
        let at = self.start(id);
        let number = id.page() as u32;
        let page = &mut self.pages[id.page()];
        let slots = PAGE_BYTES / usize::from(CLASS_BYTES[usize::from(page.class)]);
        let was_full = page.free == NONE_SLOT && usize::from(page.fresh) == slots;
        self.arena[at..at + 2].copy_from_slice(&page.free.to_le_bytes());
        page.free = id.slot() as u16;
        page.used -= 1;
        let is_empty = page.used == 0;
        if was_full {
            self.link(number);
        }
        if is_empty {
            self.unlink(number);
            let page = &mut self.pages[id.page()];
            page.next = self.pool;
            self.pool = number;
            self.pages_used -= 1;
        }
    }

    /// Octets of the pages in use and of their records.
    pub(super) fn bytes_used(&self) -> usize {
        self.pages_used as usize * (PAGE_BYTES + size_of::<Page>())
    }

    /// Octets allocated.
    pub(super) fn bytes_allocated(&self) -> usize {
        self.pages.len() * (PAGE_BYTES + size_of::<Page>())
    }

    fn start(&self, id: StringId) -> usize {
        let class = usize::from(self.pages[id.page()].class);
        id.page() * PAGE_BYTES + id.slot() * usize::from(CLASS_BYTES[class])
    }

    fn take_page(&mut self, class: usize) -> Option<()> {
        if self.pool == NONE_PAGE {
            return None;
        }
        let number = self.pool;
        let page = &mut self.pages[number as usize];
        self.pool = page.next;
        page.free = NONE_SLOT;
        page.fresh = 0;
        page.class = class as u8;
        self.pages_used += 1;
        self.link(number);
        Some(())
    }

    fn link(&mut self, number: u32) {
        let class = usize::from(self.pages[number as usize].class);
        let head = self.partial[class];
        if head != NONE_PAGE {
            self.pages[head as usize].prev = number;
        }
        let page = &mut self.pages[number as usize];
        page.next = head;
        page.prev = NONE_PAGE;
        self.partial[class] = number;
    }

    fn unlink(&mut self, number: u32) {
        let Page {
            next, prev, class, ..
        } = self.pages[number as usize];
        if prev == NONE_PAGE {
            self.partial[usize::from(class)] = next;
        } else {
            self.pages[prev as usize].next = next;
        }
        if next != NONE_PAGE {
            self.pages[next as usize].prev = prev;
        }
    }
}

fn class_of(length: usize) -> Option<usize> {
    let class = CLASS_BYTES.partition_point(|size| usize::from(*size) < length);
    (class < CLASS_BYTES.len()).then_some(class)
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_page_given_back_serves_another_class() {
        let mut strings = Strings::with_capacity(0);
        let mut small = Vec::new();
        while let Some(id) = strings.store(&[&[1; 16]]) {
            small.push(id);
        }
        assert_eq!(small.len(), CLASS_BYTES.len() * 256);
        assert_eq!(strings.store(&[&[2; 1360]]), None);
        for id in small {
            strings.release(id);
        }
        assert_eq!(strings.bytes_used(), 0);
        let large = (0..CLASS_BYTES.len() * 3).map(|_| strings.store(&[&[2; 1360]]).unwrap());
        assert_eq!(large.count(), CLASS_BYTES.len() * 3);
        assert_eq!(strings.store(&[&[2; 1]]), None);
    }

    #[test]
    fn a_string_too_long_is_refused() {
        let mut strings = Strings::with_capacity(1 << 16);
        assert_eq!(strings.store(&[&[0; STRING_BYTES_MAX], b"x"]), None);
        assert!(strings.store(&[&[0; STRING_BYTES_MAX]]).is_some());
        assert!(strings.store(&[b""]).is_some());
    }

    proptest! {
        #[test]
        fn strings_keep_their_octets_whatever_else_is_stored_and_released(
            steps in prop::collection::vec((any::<u8>(), 0usize..1500, any::<u16>()), 1..400)
        ) {
            let mut strings = Strings::with_capacity(8 * PAGE_BYTES);
            let mut model: Vec<(StringId, Vec<u8>)> = Vec::new();
            for (fill, length, choice) in steps {
                if choice % 3 == 0 && !model.is_empty() {
                    let (id, _) = model.swap_remove(usize::from(choice) % model.len());
                    strings.release(id);
                } else {
                    let text = vec![fill; length];
                    let (left, right) = text.split_at(length / 3);
                    match strings.store(&[left, right]) {
                        Some(id) => model.push((id, text)),
                        None => prop_assert!(
                            length > STRING_BYTES_MAX || strings.pages_used as usize > 32
                        ),
                    }
                }
                for (id, text) in &model {
                    prop_assert_eq!(strings.octets(*id, text.len()), text.as_slice());
                }
            }
            for (id, _) in model {
                strings.release(id);
            }
            prop_assert_eq!(strings.bytes_used(), 0);
        }
    }
}
