//! Socket options and the single send.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::RawAddress;

fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the descriptor is open while borrowed; the option value is an `int` that lives
    // through the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes ICMP errors readable from the socket's error queue.
pub(crate) fn set_error_queue(fd: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)
    } else {
        set_option(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1)
    }
}

/// Lets routers fragment what is too large for a link, instead of losing the first large message
/// on each new path to path-MTU discovery.
pub(crate) fn set_path_mtu_any(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_option(
        fd,
        libc::IPPROTO_IP,
        libc::IP_MTU_DISCOVER,
        libc::IP_PMTUDISC_DONT,
    )
}

/// Sets the receive buffer, beyond the system's limit where privileged; the kernel cuts it to
/// that limit otherwise.
pub(crate) fn set_receive_buffer(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
        .or_else(|_| set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes))
}

/// Sets the send buffer in the same way.
pub(crate) fn set_send_buffer(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes)
        .or_else(|_| set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, bytes))
}

/// Words of `SO_MEMINFO`, and the one that counts dropped datagrams (`SK_MEMINFO_DROPS`).
const MEMINFO_WORDS: usize = 9;
const MEMINFO_DROPS: usize = 8;

/// Datagrams that the kernel dropped at a socket so far.
pub(crate) fn dropped(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut words = [0_u32; MEMINFO_WORDS];
    let mut length = size_of_val(&words) as libc::socklen_t;
    // SAFETY: the descriptor is open while borrowed; `words` is writable for `length` octets, and
    // both live through the call.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            words.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(words[MEMINFO_DROPS])
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sends one datagram without blocking.
pub(crate) fn send_one(fd: BorrowedFd<'_>, bytes: &[u8], to: &RawAddress) -> io::Result<()> {
    // SAFETY: the descriptor is open while borrowed; `bytes` and `to` are readable for the lengths
    // given and live through the call.
    let result = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            to.as_ptr(),
            to.len() as libc::socklen_t,
        )
    };
    if result >= 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
