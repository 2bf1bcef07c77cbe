//! Event descriptors and waiting for several descriptors.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// An eventfd: one thread signals, another one waits for it.
#[derive(Debug)]
pub(crate) struct Event {
    fd: OwnedFd,
}

impl Event {
    /// A new event, not signalled.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers; a descriptor returned is new and owned by nobody else.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just opened and is handed to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// Signals it.
    pub(crate) fn signal(&self) {
        let one = 1_u64;
        // SAFETY: eight readable octets, as an eventfd wants.
        let result = unsafe {
            libc::write(
                self.fd.as_raw_fd(),
                (&raw const one).cast(),
                size_of::<u64>(),
            )
        };
        // The only refusal is a full counter, and then it is signalled already.
        debug_assert!(
            result == 8 || io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
        );
    }

    /// Takes the signal back.
    pub(crate) fn clear(&self) {
        let mut count = 0_u64;
        // SAFETY: eight writable octets, as an eventfd wants; it does not block, and with no
        // signal there is nothing to take back.
        let _ = unsafe {
            libc::read(
                self.fd.as_raw_fd(),
                (&raw mut count).cast(),
                size_of::<u64>(),
            )
        };
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Waits until one of several descriptors is readable or has an error.
#[derive(Debug)]
pub(crate) struct Waiter {
    entries: Vec<libc::pollfd>,
}

impl Waiter {
    /// A waiter for `fds`, which the caller keeps open as long as the waiter is used.
    pub(crate) fn new<'a>(fds: impl Iterator<Item = BorrowedFd<'a>>) -> Self {
        let entries = fds
            .map(|fd| libc::pollfd {
                fd: fd.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            })
            .collect();
        Self { entries }
    }

    /// Waits; `None` waits without end. Returns early on a signal.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let limit = timeout.map(|timeout| libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: timeout.subsec_nanos() as libc::c_long,
        });
        let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the entries are valid and their number is given; the timeout is null or lives
        // through the call; no signal mask is given.
        let result = unsafe {
            libc::ppoll(
                self.entries.as_mut_ptr(),
                self.entries.len() as libc::nfds_t,
                limit,
                std::ptr::null(),
            )
        };
        if result >= 0 {
            return Ok(());
        }
        for entry in &mut self.entries {
            entry.revents = 0;
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::Interrupted {
            Ok(())
        } else {
            Err(error)
        }
    }

    /// True when the last wait found descriptor `index` ready, be it with an error.
    pub(crate) fn is_ready(&self, index: usize) -> bool {
        self.entries[index].revents != 0
    }

    /// True when the last wait found an error at descriptor `index`.
    pub(crate) fn has_error(&self, index: usize) -> bool {
        self.entries[index].revents & libc::POLLERR != 0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_seen_until_it_is_cleared() {
        let event = Event::new().unwrap();
        let mut waiter = Waiter::new([event.as_fd()].into_iter());
        waiter.wait(Some(Duration::ZERO)).unwrap();
        assert!(!waiter.is_ready(0));
        event.signal();
        event.signal();
        waiter.wait(Some(Duration::from_secs(5))).unwrap();
        assert!(waiter.is_ready(0));
        event.clear();
        waiter.wait(Some(Duration::ZERO)).unwrap();
        assert!(!waiter.is_ready(0));
    }
}
