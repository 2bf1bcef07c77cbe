//! Where a message came from and where it goes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A shard of this node, `0..shards.count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u8);

/// A listener of this node: its index in `Settings::listeners`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u8);

/// A peer's address in 18 octets; IPv4 is held v4-mapped.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceAddr {
    ip: [u8; 16],
    port: u16,
}

impl SourceAddr {
    /// The address; IPv4 comes back as IPv4.
    #[inline]
    pub fn ip(self) -> IpAddr {
        let ip = Ipv6Addr::from(self.ip);
        match ip.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(ip),
        }
    }

    /// The port.
    #[inline]
    pub const fn port(self) -> u16 {
        self.port
    }

    /// The address as 16 octets, IPv4 v4-mapped.
    #[inline]
    pub const fn octets(&self) -> &[u8; 16] {
        &self.ip
    }

    /// The same address with another port.
    #[must_use]
    #[inline]
    pub const fn with_port(self, port: u16) -> Self {
        Self { ip: self.ip, port }
    }

    /// Address and port as the standard library has them.
    #[inline]
    pub fn socket_addr(self) -> SocketAddr {
        SocketAddr::new(self.ip(), self.port)
    }
}

impl From<SocketAddr> for SourceAddr {
    #[inline]
    fn from(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(v4) => Ipv4Addr::to_ipv6_mapped(&v4).octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        Self {
            ip,
            port: address.port(),
        }
    }
}

impl std::fmt::Debug for SourceAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.socket_addr())
    }
}

/// A path on which messages travel: a UDP pair, or a connection of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// A datagram flow: our listener and the peer's address.
    Udp {
        /// Our side.
        listener: ListenerId,
        /// The far side.
        peer: SourceAddr,
    },
    /// A connection, named by the shard that owns it.
    Stream {
        /// The owner.
        shard: ShardId,
        /// Our side.
        listener: ListenerId,
        /// Its slot in the owner's connection table.
        slot: u32,
        /// Its generation; another one means that connection is gone.
        generation: u32,
        /// The far side.
        peer: SourceAddr,
    },
}

impl Flow {
    /// The far side's address.
    #[inline]
    pub const fn peer(self) -> SourceAddr {
        match self {
            Self::Udp { peer, .. } | Self::Stream { peer, .. } => peer,
        }
    }

    /// Our listener.
    #[inline]
    pub const fn listener(self) -> ListenerId {
        match self {
            Self::Udp { listener, .. } | Self::Stream { listener, .. } => listener,
        }
    }
}

/// How a message arrived. Wildcard binds are expanded to one listener per local address, so the
/// flow's listener tells the local address too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The path it came on.
    pub flow: Flow,
}
