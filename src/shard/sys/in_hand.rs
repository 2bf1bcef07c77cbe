//! The datagram that the thread's core is working on, for the panic hook.

use std::cell::Cell;

use crate::sip::SourceAddr;

thread_local! {
    /// Source and octets; set exactly while [`hold`] runs what it was given.
    static IN_HAND: Cell<Option<(SourceAddr, *const [u8])>> = const { Cell::new(None) };
}

/// Takes the datagram out of the hand, also when the core panics.
struct Release;

impl Drop for Release {
    fn drop(&mut self) {
        IN_HAND.set(None);
    }
}

/// Runs `work` with the datagram in hand.
#[inline]
pub(crate) fn hold<R>(source: SourceAddr, bytes: &[u8], work: impl FnOnce(&[u8]) -> R) -> R {
    IN_HAND.set(Some((source, std::ptr::from_ref(bytes))));
    let _release = Release;
    work(bytes)
}

/// Gives `read` the datagram that the calling thread is working on; `None` when there is none.
/// For the panic hook: it runs on the thread that panics, before anything is unwound.
pub fn datagram_in_hand<R>(read: impl FnOnce(SourceAddr, &[u8]) -> R) -> Option<R> {
    let (source, bytes) = IN_HAND.try_with(Cell::get).ok().flatten()?;
    // SAFETY: the pointer is there only while `hold` of this thread runs, which borrows the octets
    // all that time; `read` runs inside it, and nobody may write to them meanwhile.
    let bytes = unsafe { &*bytes };
    Some(read(source, bytes))
}
