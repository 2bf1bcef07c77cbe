//! UDP sockets: one per listener and shard, opened before any shard runs.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::error::StartError;
use super::sys;
use crate::limits;
use crate::sip::ListenerId;

/// One address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The listener's number in the core's settings.
    pub id: ListenerId,
    /// The address, no wildcard; port 0 = any free port, the same for all shards.
    pub address: SocketAddr,
}

/// `address`, or one address for each of this machine's where it is a wildcard, in order. An
/// address that the machine gets later is not listened on before the next start.
///
/// # Errors
/// When the addresses of this machine can not be listed.
pub fn expand_wildcard(address: SocketAddr) -> Result<Vec<SocketAddr>, StartError> {
    if !address.ip().is_unspecified() {
        return Ok(vec![address]);
    }
    let local = sys::local_addresses().map_err(StartError::LocalAddresses)?;
    let same_family = |ip: &IpAddr| ip.is_ipv4() == address.is_ipv4();
    Ok(local
        .into_iter()
        .filter(same_family)
        .map(|ip| SocketAddr::new(ip, address.port()))
        .collect())
}

/// The sockets of one shard.
#[derive(Debug)]
pub(super) struct ShardSockets {
    entries: Vec<(ListenerId, Socket)>,
    /// Index into `entries` by listener number; `NONE` where this shard has no socket.
    index: [u8; limits::LISTENERS_MAX],
}

const NONE: u8 = u8::MAX;
const _: () = assert!(limits::LISTENERS_MAX < NONE as usize);

impl ShardSockets {
    fn new() -> Self {
        Self {
            entries: Vec::new(),
            index: [NONE; limits::LISTENERS_MAX],
        }
    }

    fn push(&mut self, id: ListenerId, socket: Socket) {
        self.index[usize::from(id.0)] = self.entries.len() as u8;
        self.entries.push((id, socket));
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The listener of socket `index`.
    #[inline]
    pub(super) fn id(&self, index: usize) -> ListenerId {
        self.entries[index].0
    }

    /// Socket `index`.
    #[inline]
    pub(super) fn fd(&self, index: usize) -> BorrowedFd<'_> {
        self.entries[index].1.as_fd()
    }

    /// Datagrams that the kernel dropped at these sockets, for want of room in their buffers.
    pub(super) fn dropped(&self) -> u64 {
        let fds = (0..self.len()).map(|index| self.fd(index));
        fds.filter_map(|fd| sys::dropped(fd).ok())
            .map(u64::from)
            .sum()
    }

    /// The socket of a listener.
    #[inline]
    pub(super) fn index_of(&self, id: ListenerId) -> Option<usize> {
        match self.index.get(usize::from(id.0)) {
            Some(&index) if index != NONE => Some(usize::from(index)),
            Some(_) | None => None,
        }
    }
}

/// The sockets of all shards.
#[derive(Debug)]
pub struct Listeners {
    pub(super) shards: Vec<ShardSockets>,
    binds: Vec<Bind>,
}

impl Listeners {
    /// Opens `binds` for `shards` shards, in shard order, so that the index of a socket in its
    /// reuseport group is the number of its shard.
    ///
    /// # Errors
    /// A bound exceeded, a port in use for `limits::BIND_RETRY_MS`, or what the system reports.
    pub fn open(binds: &[Bind], shards: usize) -> Result<Self, StartError> {
        check_bound("[shards] count", shards, limits::SHARDS_MAX)?;
        check_bound("[listen] listeners", binds.len(), limits::LISTENERS_MAX)?;
        let mut opened = Self {
            shards: (0..shards).map(|_| ShardSockets::new()).collect(),
            binds: Vec::with_capacity(binds.len()),
        };
        for bind in binds {
            let highest = usize::from(bind.id.0) + 1;
            check_bound("[listen] listeners", highest, limits::LISTENERS_MAX)?;
            let address = opened.open_group(*bind)?;
            opened.binds.push(Bind {
                id: bind.id,
                address,
            });
        }
        Ok(opened)
    }

    /// One reuseport group; the address with its real port.
    fn open_group(&mut self, bind: Bind) -> Result<SocketAddr, StartError> {
        let failed = |source| StartError::Bind {
            address: bind.address,
            source,
        };
        let first = bind_first(bind.address)?;
        let address = first
            .local_addr()
            .map_err(failed)?
            .as_socket()
            .ok_or_else(|| failed(io::Error::from(io::ErrorKind::AddrNotAvailable)))?;
        let others = self.shards.len() - 1;
        if others > 0 {
            // Only now: had the first one been bound with it, another process of the same user
            // could already have the port, and would go on taking its share of the datagrams.
            first.set_reuse_port(true).map_err(failed)?;
        }
        self.shards[0].push(bind.id, first);
        for shard in 1..=others {
            let socket = new_socket(address).map_err(failed)?;
            socket.set_reuse_port(true).map_err(failed)?;
            socket.bind(&address.into()).map_err(failed)?;
            self.shards[shard].push(bind.id, socket);
        }
        Ok(address)
    }

    /// What was bound, with the real port where port 0 was asked for.
    #[must_use]
    pub fn binds(&self) -> &[Bind] {
        &self.binds
    }

    /// For how many shards.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.len()
    }
}

fn check_bound(what: &'static str, value: usize, bound: usize) -> Result<(), StartError> {
    if value == 0 || value > bound {
        return Err(StartError::Bound { what, value, bound });
    }
    Ok(())
}

/// Binds the first socket of a port, alone, with retries while the port is in use.
fn bind_first(address: SocketAddr) -> Result<Socket, StartError> {
    let deadline = Instant::now() + Duration::from_millis(limits::BIND_RETRY_MS);
    loop {
        let socket = new_socket(address).map_err(|source| StartError::Bind { address, source })?;
        match socket.bind(&address.into()) {
            Ok(()) => return Ok(socket),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if Instant::now() >= deadline {
                    return Err(StartError::InUse { address });
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(source) => return Err(StartError::Bind { address, source }),
        }
    }
}

/// A socket with its options, not bound.
fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    } else {
        sys::set_path_mtu_any(socket.as_fd())?;
    }
    sys::set_error_queue(socket.as_fd(), address.is_ipv6())?;
    sys::set_receive_buffer(socket.as_fd(), limits::SOCKET_BUFFER_BYTES)?;
    sys::set_send_buffer(socket.as_fd(), limits::SOCKET_BUFFER_BYTES)?;
    Ok(socket)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    fn bind(text: &str) -> Bind {
        Bind {
            id: ListenerId(0),
            address: text.parse().unwrap(),
        }
    }

    #[test]
    fn all_shards_share_the_port_that_was_chosen_for_port_0() {
        let listeners = Listeners::open(&[bind("127.0.0.1:0"), bind("[::1]:0")], 3).unwrap();
        for (index, bind) in listeners.binds().iter().enumerate() {
            assert_ne!(bind.address.port(), 0);
            for shard in &listeners.shards {
                let local = shard.entries[index]
                    .1
                    .local_addr()
                    .unwrap()
                    .as_socket()
                    .unwrap();
                assert_eq!(local, bind.address);
            }
        }
    }

    #[test]
    fn a_port_in_use_is_an_error_that_names_it_even_when_it_is_shared() {
        let first = Listeners::open(&[bind("127.0.0.1:0")], 2).unwrap();
        let address = first.binds()[0].address;
        let started = Instant::now();
        let again = Listeners::open(
            &[Bind {
                id: ListenerId(0),
                address,
            }],
            2,
        );
        let text = again.unwrap_err().to_string();
        assert!(started.elapsed() >= Duration::from_millis(limits::BIND_RETRY_MS));
        assert!(
            text.contains(&address.to_string()) && text.contains("in use"),
            "{text}"
        );
    }

    #[test]
    fn a_port_that_becomes_free_within_the_retries_is_taken() {
        let first = Listeners::open(&[bind("127.0.0.1:0")], 1).unwrap();
        let address = first.binds()[0].address;
        let holder = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            drop(first);
        });
        let again = Listeners::open(
            &[Bind {
                id: ListenerId(0),
                address,
            }],
            1,
        )
        .unwrap();
        assert_eq!(again.binds()[0].address, address);
        holder.join().unwrap();
    }

    #[test]
    fn a_foreign_address_is_refused_with_a_hint() {
        let text = Listeners::open(&[bind("192.0.2.77:5060")], 1)
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("192.0.2.77:5060") && text.contains("no interface"),
            "{text}"
        );
    }

    #[test]
    fn a_wildcard_becomes_the_local_addresses_of_its_family() {
        let v4 = expand_wildcard("0.0.0.0:5070".parse().unwrap()).unwrap();
        assert!(v4.contains(&"127.0.0.1:5070".parse().unwrap()));
        assert!(
            v4.iter()
                .all(|address| address.is_ipv4() && !address.ip().is_unspecified())
        );
        let one = expand_wildcard("10.0.0.5:5060".parse().unwrap()).unwrap();
        assert_eq!(one, ["10.0.0.5:5060".parse().unwrap()]);
    }

    #[test]
    fn no_shards_and_too_many_shards_are_refused() {
        assert!(Listeners::open(&[bind("127.0.0.1:0")], 0).is_err());
        assert!(Listeners::open(&[bind("127.0.0.1:0")], limits::SHARDS_MAX + 1).is_err());
    }
}
