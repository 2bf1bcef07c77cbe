//! The socket error queue: which peer an ICMP error was about.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::RawAddress;
use crate::sip::SourceAddr;

/// Room for control messages: `sock_extended_err` with the offender's address, twice over.
const CONTROL_BYTES: usize = 256;

/// Aligned as control messages must be.
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// One entry of the error queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueuedError {
    /// Where the datagram that caused it had been sent.
    pub(crate) peer: Option<SourceAddr>,
    /// The error number it stands for.
    pub(crate) errno: i32,
}

/// Takes one entry off the error queue; `None` when it is empty. Does not block.
pub(crate) fn read_error(fd: BorrowedFd<'_>) -> io::Result<Option<QueuedError>> {
    let mut name = RawAddress::EMPTY;
    let mut control = Control([0; CONTROL_BYTES]);
    // The payload of the offending datagram is of no use: no room for it.
    let mut vector = libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    };
    // SAFETY: `msghdr` is plain data for which all zeroes is a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = RawAddress::CAPACITY as libc::socklen_t;
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_BYTES as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: name, vector and control are valid for the lengths in the header and live through
    // the call; the descriptor is open while borrowed.
    let result = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, flags) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::EAGAIN) => Ok(None),
            _ => Err(error),
        };
    }
    let errno = extended_error(&header).map_or(0, |extended| extended.ee_errno as i32);
    let peer = if header.msg_namelen == 0 {
        None
    } else {
        name.source()
    };
    Ok(Some(QueuedError { peer, errno }))
}

/// The `sock_extended_err` among the control messages of `header`.
fn extended_error(header: &libc::msghdr) -> Option<libc::sock_extended_err> {
    // SAFETY: `header` describes the control octets that the kernel just wrote.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: not null, so CMSG_FIRSTHDR or CMSG_NXTHDR found a whole header there; the
        // control buffer is aligned for it.
        let head = unsafe { *message };
        let wanted = (head.cmsg_level == libc::IPPROTO_IP && head.cmsg_type == libc::IP_RECVERR)
            || (head.cmsg_level == libc::IPPROTO_IPV6 && head.cmsg_type == libc::IPV6_RECVERR);
        // SAFETY: CMSG_LEN only computes.
        let needed = unsafe { libc::CMSG_LEN(size_of::<libc::sock_extended_err>() as u32) };
        if wanted && head.cmsg_len as usize >= needed as usize {
            // SAFETY: the length just checked covers the structure, which is plain data.
            return Some(unsafe {
                libc::CMSG_DATA(message)
                    .cast::<libc::sock_extended_err>()
                    .read_unaligned()
            });
        }
        // SAFETY: `message` is a header of this buffer.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    None
}
