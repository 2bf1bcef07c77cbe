//! One UDP socket that speaks for many peers: bound to the wildcard address, it sends from any
//! address of 127.0.0.0/8 and takes what comes to any of them, a batch at a time.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd as _;

use socket2::{Domain, Protocol, Socket, Type};

/// Datagrams per system call.
const BATCH: usize = 64;
/// Octets taken per datagram; longer ones are counted as cut.
const DATAGRAM_BYTES_MAX: usize = 4096;
/// Largest run sent as one super-datagram (the kernel takes 64 segments and 65 507 octets).
const RUN_BYTES_MAX: usize = 60_000;
const RUN_SEGMENTS_MAX: usize = 64;
/// Room for a packet-info and a segment-size control message.
const CONTROL_BYTES: usize = 64;

/// A datagram that came in.
#[derive(Debug)]
pub(crate) struct Received<'a> {
    /// The address of ours it was sent to.
    pub(crate) local: Ipv4Addr,
    /// Who sent it.
    pub(crate) source: SocketAddrV4,
    /// Its octets.
    pub(crate) bytes: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
struct Run {
    from: Ipv4Addr,
    to: SocketAddrV4,
    start: usize,
    length: usize,
    segment: usize,
    segments: usize,
}

/// The socket with its batches.
#[derive(Debug)]
pub(crate) struct PeerSocket {
    socket: Socket,
    port: u16,
    /// Longest run of equal-sized datagrams to one destination sent as one; 1 = off.
    burst: usize,
    arena: Vec<u8>,
    runs: Vec<Run>,
    receive: Box<[[u8; DATAGRAM_BYTES_MAX]]>,
    /// Datagrams given to the kernel.
    pub(crate) sent: u64,
    /// Datagrams taken from the kernel.
    pub(crate) received: u64,
}

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_BYTES]);

impl PeerSocket {
    /// Binds the wildcard address at `port` (0 = any).
    ///
    /// # Errors
    /// What the kernel says; the port may be in use.
    pub(crate) fn bind(port: u16, burst: usize) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        // Bounded by net.core.[rw]mem_max; drops are counted either way.
        socket.set_recv_buffer_size(32 << 20)?;
        socket.set_send_buffer_size(8 << 20)?;
        let on: libc::c_int = 1;
        // SAFETY: the descriptor is open, `on` is a live c_int and its size is given.
        let set = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_IP,
                libc::IP_PKTINFO,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
        let port = socket
            .local_addr()?
            .as_socket_ipv4()
            .map_or(port, |address| address.port());
        Ok(Self {
            socket,
            port,
            burst: burst.clamp(1, RUN_SEGMENTS_MAX),
            arena: Vec::with_capacity(1 << 20),
            runs: Vec::with_capacity(1024),
            receive: vec![[0; DATAGRAM_BYTES_MAX]; BATCH].into_boxed_slice(),
            sent: 0,
            received: 0,
        })
    }

    /// The port bound.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Queues a datagram; sent by [`Self::flush`].
    pub(crate) fn queue(&mut self, from: Ipv4Addr, to: SocketAddrV4, bytes: &[u8]) {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        if let Some(last) = self.runs.last_mut()
            && last.segments < self.burst
            && (last.from, last.to) == (from, to)
            && last.segment == bytes.len()
            && last.length + bytes.len() <= RUN_BYTES_MAX
        {
            last.length += bytes.len();
            last.segments += 1;
            return;
        }
        self.runs.push(Run {
            from,
            to,
            start,
            length: bytes.len(),
            segment: bytes.len(),
            segments: 1,
        });
    }

    /// Gives everything queued to the kernel.
    ///
    /// # Errors
    /// What the kernel says, a full socket buffer apart (that is waited for).
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let mut next = 0;
        while next < self.runs.len() {
            let end = (next + BATCH).min(self.runs.len());
            next += self.send_batch(next, end)?;
        }
        self.runs.clear();
        self.arena.clear();
        Ok(())
    }

    fn send_batch(&mut self, first: usize, end: usize) -> io::Result<usize> {
        let runs = &self.runs[first..end];
        let mut addresses = [zeroed_address(); BATCH];
        let mut vectors = [libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        }; BATCH];
        let mut controls = [Control([0; CONTROL_BYTES]); BATCH];
        let mut headers = [zeroed_header(); BATCH];
        for (at, run) in runs.iter().enumerate() {
            addresses[at].sin_port = run.to.port().to_be();
            addresses[at].sin_addr.s_addr = u32::from_ne_bytes(run.to.ip().octets());
            vectors[at].iov_base = self.arena[run.start..].as_mut_ptr().cast();
            vectors[at].iov_len = run.length;
            let segment = (run.segments > 1).then_some(run.segment as u16);
            let control_length = write_control(&mut controls[at], run.from, segment);
            let header = &mut headers[at].msg_hdr;
            header.msg_name = (&raw mut addresses[at]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            header.msg_iov = &raw mut vectors[at];
            header.msg_iovlen = 1;
            header.msg_control = controls[at].0.as_mut_ptr().cast();
            header.msg_controllen = control_length as _;
        }
        loop {
            // SAFETY: `headers` holds runs.len() initialised headers whose names, vectors and
            // control buffers are arrays of this frame and the arena, all alive over the call.
            let sent = unsafe {
                libc::sendmmsg(
                    self.socket.as_raw_fd(),
                    headers.as_mut_ptr(),
                    runs.len() as u32,
                    0,
                )
            };
            if sent > 0 {
                let sent = sent as usize;
                self.sent += runs[..sent]
                    .iter()
                    .map(|run| run.segments as u64)
                    .sum::<u64>();
                return Ok(sent);
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::WouldBlock => std::hint::spin_loop(),
                io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused => {}
                _ => return Err(error),
            }
        }
    }

    /// Takes up to one batch of datagrams; how many there were.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(Received<'_>)) -> io::Result<usize> {
        let mut addresses = [zeroed_address(); BATCH];
        let mut vectors = [libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        }; BATCH];
        let mut controls = [Control([0; CONTROL_BYTES]); BATCH];
        let mut headers = [zeroed_header(); BATCH];
        for at in 0..BATCH {
            vectors[at].iov_base = self.receive[at].as_mut_ptr().cast();
            vectors[at].iov_len = DATAGRAM_BYTES_MAX;
            let header = &mut headers[at].msg_hdr;
            header.msg_name = (&raw mut addresses[at]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            header.msg_iov = &raw mut vectors[at];
            header.msg_iovlen = 1;
            header.msg_control = controls[at].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_BYTES as _;
        }
        // SAFETY: BATCH initialised headers point into arrays of this frame and into `receive`,
        // all alive over the call; no time-out is given.
        let count = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::Interrupted
                | io::ErrorKind::ConnectionRefused => Ok(0),
                _ => Err(error),
            };
        }
        let count = count as usize;
        self.received += count as u64;
        for at in 0..count {
            let length = (headers[at].msg_len as usize).min(DATAGRAM_BYTES_MAX);
            let address = addresses[at];
            let ip = Ipv4Addr::from(address.sin_addr.s_addr.to_ne_bytes());
            each(Received {
                local: local_address(&headers[at].msg_hdr),
                source: SocketAddrV4::new(ip, u16::from_be(address.sin_port)),
                bytes: &self.receive[at][..length],
            });
        }
        Ok(count)
    }
}

fn zeroed_address() -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: 0 },
        sin_zero: [0; 8],
    }
}

fn zeroed_header() -> libc::mmsghdr {
    // SAFETY: an mmsghdr is integers and pointers, for all of which zero is a valid value.
    unsafe { std::mem::zeroed() }
}

/// Writes the source address, and the segment size of a run; the length written.
fn write_control(control: &mut Control, from: Ipv4Addr, segment: Option<u16>) -> usize {
    let mut length = 0;
    let info = libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: libc::in_addr {
            s_addr: u32::from_ne_bytes(from.octets()),
        },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    length += write_one(control, length, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
    if let Some(segment) = segment {
        length += write_one(control, length, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
    }
    length
}

fn write_one<T>(control: &mut Control, at: usize, level: i32, kind: i32, value: T) -> usize {
    let header = size_of::<libc::cmsghdr>();
    let space = (header + size_of::<T>()).next_multiple_of(align_of::<libc::cmsghdr>());
    assert!(at + space <= CONTROL_BYTES && at.is_multiple_of(align_of::<libc::cmsghdr>()));
    let message = libc::cmsghdr {
        cmsg_len: (header + size_of::<T>()) as _,
        cmsg_level: level,
        cmsg_type: kind,
    };
    // SAFETY: the assertion above shows that header and value lie inside the buffer, and that the
    // header is aligned (the buffer is aligned to 8); the value is written unaligned.
    unsafe {
        let place = control.0.as_mut_ptr().add(at);
        place.cast::<libc::cmsghdr>().write(message);
        place.add(header).cast::<T>().write_unaligned(value);
    }
    space
}

/// The local address a datagram was sent to, from its packet-info.
fn local_address(header: &libc::msghdr) -> Ipv4Addr {
    // SAFETY: `header` is as recvmmsg left it: msg_control and msg_controllen describe a live,
    // aligned buffer, which the CMSG macros walk within its length.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            if (*message).cmsg_level == libc::IPPROTO_IP && (*message).cmsg_type == libc::IP_PKTINFO
            {
                let info = libc::CMSG_DATA(message)
                    .cast::<libc::in_pktinfo>()
                    .read_unaligned();
                return Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes());
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    Ipv4Addr::UNSPECIFIED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_equal_datagrams_arrive_one_by_one_from_the_address_they_were_sent_from() {
        let mut sender = PeerSocket::bind(0, 16).expect("a free port");
        let mut receiver = PeerSocket::bind(0, 1).expect("a free port");
        let to = SocketAddrV4::new(Ipv4Addr::new(127, 9, 0, 1), receiver.port());
        for peer in 1..=3u8 {
            for number in 0..20u8 {
                sender.queue(Ipv4Addr::new(127, 8, 0, peer), to, &[peer, number]);
            }
        }
        sender.flush().expect("loopback takes it");
        let mut seen = Vec::new();
        for _ in 0..1000 {
            receiver
                .receive(|datagram| {
                    assert_eq!(datagram.local, *to.ip());
                    assert_eq!(datagram.source.ip().octets()[3], datagram.bytes[0]);
                    seen.push(datagram.bytes.to_vec());
                })
                .expect("loopback gives it");
        }
        let expected: Vec<Vec<u8>> = (1..=3u8)
            .flat_map(|peer| (0..20u8).map(move |number| vec![peer, number]))
            .collect();
        assert_eq!(seen, expected);
    }
}
