//! Anonymous memory with huge pages where granted, touched at start.

use std::io;
use std::ptr::NonNull;

/// A private anonymous mapping, zeroed and touched, page-aligned.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is plain memory owned by this value; nothing in it belongs to a thread.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps and touches `length` octets. Huge pages are asked for; where they are not granted the
    /// mapping works with small ones.
    pub(crate) fn new(length: usize) -> io::Result<Self> {
        assert!(length > 0, "an empty mapping is a mistake of the caller");
        // SAFETY: no address is asked for and no file is mapped, so the kernel picks free address
        // space; flags and protection are valid together.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast::<u8>())
            .expect("mmap without a fixed address never gives page 0");
        let mapping = Self { start, length };
        // SAFETY: the range is exactly the mapping made above. Refusal (no huge pages in this
        // kernel) changes nothing, so the result does not matter.
        let _ = unsafe { libc::madvise(start.as_ptr().cast(), length, libc::MADV_HUGEPAGE) };
        mapping.touch()?;
        Ok(mapping)
    }

    /// Makes every page present, so that no packet pays for a page fault.
    fn touch(&self) -> io::Result<()> {
        // SAFETY: the range is exactly this mapping, which is writable.
        let result = unsafe {
            libc::madvise(
                self.start.as_ptr().cast(),
                self.length,
                libc::MADV_POPULATE_WRITE,
            )
        };
        if result == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // Kernels before 5.14 do not know it: write into every page instead.
            Some(libc::EINVAL) => {
                for offset in (0..self.length).step_by(4096) {
                    // SAFETY: `offset` is inside the mapping, nothing else refers to it yet.
                    unsafe { self.start.as_ptr().add(offset).write_volatile(0) };
                }
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Its first octet.
    pub(crate) const fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Its length in octets.
    pub(crate) const fn len(&self) -> usize {
        self.length
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: start and length are those of the mapping, which nothing else unmaps. Whoever
        // gave the kernel pointers into it keeps the mapping until the kernel is done.
        let result = unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
        debug_assert_eq!(result, 0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_zeroed_page_aligned_and_writable_to_its_end() {
        let mapping = Mapping::new(3 * 4096 + 5).unwrap();
        assert_eq!(mapping.start().as_ptr() as usize % 4096, 0);
        let last = mapping.start().as_ptr().wrapping_add(mapping.len() - 1);
        // SAFETY: `last` is inside the mapping, and nothing else refers to it.
        unsafe {
            assert_eq!(last.read(), 0);
            last.write(7);
            assert_eq!(last.read(), 7);
        }
    }
}
