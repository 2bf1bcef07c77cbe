//! Many datagrams per system call: `recvmmsg` and `sendmmsg`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Mapping, RawAddress};
use crate::sip::SourceAddr;

/// A datagram that lies in a [`ReceiveBatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// Who sent it; `None` when the kernel named no address of a known family.
    pub(crate) peer: Option<SourceAddr>,
    /// Its length in octets.
    pub(crate) length: usize,
    /// True when it was larger than its place.
    pub(crate) truncated: bool,
}

/// Places for received datagrams, filled by `recvmmsg`.
pub(crate) struct ReceiveBatch {
    memory: Mapping,
    /// Octets from one place to the next.
    stride: usize,
    /// Octets of a place that the kernel may fill.
    room: usize,
    names: Vec<RawAddress>,
    /// One per place, pointing into `memory`; only the headers point here.
    _vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

impl ReceiveBatch {
    /// `count` places of `room` octets each, `stride` octets apart.
    pub(crate) fn new(count: usize, room: usize, stride: usize) -> io::Result<Self> {
        assert!(room <= stride, "places must not overlap");
        let memory = Mapping::new(count * stride)?;
        let mut names = vec![RawAddress::EMPTY; count];
        let mut vectors: Vec<libc::iovec> = (0..count)
            .map(|index| libc::iovec {
                iov_base: memory.start().as_ptr().wrapping_add(index * stride).cast(),
                iov_len: room,
            })
            .collect();
        let vector = vectors.as_mut_ptr();
        let name = names.as_mut_ptr();
        let headers = (0..count)
            .map(|index| {
                // SAFETY: `mmsghdr` is plain data for which all zeroes is a valid value.
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_name = name.wrapping_add(index).cast();
                header.msg_hdr.msg_iov = vector.wrapping_add(index);
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        Ok(Self {
            memory,
            stride,
            room,
            names,
            _vectors: vectors,
            headers,
        })
    }

    /// Fills places from `first` on with what has arrived; does not block. The count filled.
    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>, first: usize) -> io::Result<usize> {
        let headers = &mut self.headers[first..];
        for header in headers.iter_mut() {
            header.msg_hdr.msg_namelen = RawAddress::CAPACITY as libc::socklen_t;
        }
        // SAFETY: every header points to a name of this batch with its capacity (a `RawAddress`
        // starts with its octets) and to a vector over a place of `memory`; none of them is moved
        // or freed while this value lives. No timeout is given.
        let result = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        let count = result as usize;
        assert!(
            count <= self.headers.len() - first,
            "the kernel fills no more than was offered"
        );
        Ok(count)
    }

    /// What lies in place `index`, which the last [`Self::receive`] filled.
    pub(crate) fn received(&self, index: usize) -> Received {
        let header = &self.headers[index];
        let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        let length = header.msg_len as usize;
        assert!(
            length <= self.room,
            "the kernel writes no more than there is room"
        );
        let peer = match header.msg_hdr.msg_namelen {
            0 => None,
            _ => self.names[index].source(),
        };
        Received {
            peer,
            length,
            truncated,
        }
    }

    /// The octets in place `index`, which the last [`Self::receive`] filled.
    pub(crate) fn octets(&self, index: usize, length: usize) -> &[u8] {
        assert!(
            index < self.headers.len() && length <= self.room,
            "inside one place"
        );
        // SAFETY: the range lies in place `index` of the mapping, by the assertion. The kernel
        // writes there only inside `receive`, which takes this value exclusively.
        unsafe {
            let start = self.memory.start().as_ptr().add(index * self.stride);
            std::slice::from_raw_parts(start, length)
        }
    }

    /// Number of places.
    pub(crate) fn len(&self) -> usize {
        self.headers.len()
    }
}

/// Headers for `sendmmsg`.
pub(crate) struct SendBatch {
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

impl SendBatch {
    /// Room for `count` datagrams per call.
    pub(crate) fn new(count: usize) -> Self {
        Self {
            vectors: Vec::with_capacity(count),
            headers: Vec::with_capacity(count),
        }
    }

    /// Sends `count` datagrams, or as many as there is room for, each given by `datagram`; does
    /// not block. The count sent, at least one; an error is that of the first datagram.
    pub(crate) fn send<'a>(
        &mut self,
        fd: BorrowedFd<'_>,
        count: usize,
        datagram: impl Fn(usize) -> (&'a [u8], &'a RawAddress),
    ) -> io::Result<usize> {
        let count = count
            .min(self.vectors.capacity())
            .min(self.headers.capacity());
        self.vectors.clear();
        self.headers.clear();
        for index in 0..count {
            let (bytes, _) = datagram(index);
            self.vectors.push(libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            });
        }
        for index in 0..count {
            let (_, to) = datagram(index);
            // SAFETY: `mmsghdr` is plain data for which all zeroes is a valid value.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_name = to.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = to.len() as libc::socklen_t;
            header.msg_hdr.msg_iov = &raw mut self.vectors[index];
            header.msg_hdr.msg_iovlen = 1;
            self.headers.push(header);
        }
        // SAFETY: headers point to vectors of this value and to octets and addresses borrowed for
        // 'a, all of which outlive the call; the kernel only reads them, but for `msg_len` of the
        // headers, which are borrowed exclusively.
        let result = unsafe {
            libc::sendmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(result as usize)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_batch_sent_arrives_whole_and_in_order_with_its_source() {
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = RawAddress::new(to.local_addr().unwrap().into());
        let texts: Vec<Vec<u8>> = (0..5_u8).map(|n| vec![n; usize::from(n) * 100]).collect();
        let mut sender = SendBatch::new(8);
        let sent = sender
            .send(from.as_fd(), 5, |index| (&texts[index], &address))
            .unwrap();
        assert_eq!(sent, 5);
        let mut batch = ReceiveBatch::new(8, 300, 4096).unwrap();
        let count = batch.receive(to.as_fd(), 1).unwrap();
        assert_eq!(count, 5);
        for (n, text) in texts.iter().enumerate() {
            let received = batch.received(n + 1);
            assert_eq!(received.peer, Some(from.local_addr().unwrap().into()));
            assert_eq!(received.truncated, text.len() > 300);
            assert_eq!(
                batch.octets(n + 1, received.length),
                &text[..text.len().min(300)]
            );
        }
        let empty = batch.receive(to.as_fd(), 0).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
    }
}
