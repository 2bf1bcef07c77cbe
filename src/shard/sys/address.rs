//! Socket addresses in the kernel's layout.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::sip::SourceAddr;

/// Octets of `struct sockaddr_in`.
const V4_BYTES: usize = size_of::<libc::sockaddr_in>();
/// Octets of `struct sockaddr_in6`, the largest address here.
const V6_BYTES: usize = size_of::<libc::sockaddr_in6>();

const _: () = assert!(V4_BYTES == 16 && V6_BYTES == 28);

/// A `sockaddr_in` or `sockaddr_in6`, held as octets. Scope ids are not kept: link-local
/// addresses are no listeners.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct RawAddress {
    bytes: [u8; V6_BYTES],
    length: u32,
}

impl RawAddress {
    /// Room for an address that the kernel writes.
    pub(crate) const CAPACITY: usize = V6_BYTES;

    /// No address, as room for the kernel to write one.
    pub(crate) const EMPTY: Self = Self {
        bytes: [0; V6_BYTES],
        length: V6_BYTES as u32,
    };

    /// The kernel's form of `address`; IPv4 is an `AF_INET` address.
    #[inline]
    pub(crate) fn new(address: SourceAddr) -> Self {
        let mut bytes = [0; V6_BYTES];
        let port = address.port().to_be_bytes();
        let octets = address.octets();
        bytes[2..4].copy_from_slice(&port);
        if octets[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff] {
            bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            bytes[4..8].copy_from_slice(&octets[12..]);
            Self {
                bytes,
                length: V4_BYTES as u32,
            }
        } else {
            bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            bytes[8..24].copy_from_slice(octets);
            Self {
                bytes,
                length: V6_BYTES as u32,
            }
        }
    }

    /// The address that the kernel wrote, `None` when it is of neither family.
    #[inline]
    pub(crate) fn parse(bytes: &[u8]) -> Option<SourceAddr> {
        let family = u16::from_ne_bytes(*bytes.first_chunk()?);
        let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
        let ip = match i32::from(family) {
            libc::AF_INET => IpAddr::V4(Ipv4Addr::from(*bytes.get(4..)?.first_chunk::<4>()?)),
            libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(*bytes.get(8..)?.first_chunk::<16>()?)),
            _ => return None,
        };
        Some(SourceAddr::from(SocketAddr::new(ip, port)))
    }

    /// The address held.
    #[inline]
    pub(crate) fn source(&self) -> Option<SourceAddr> {
        Self::parse(&self.bytes[..self.len()])
    }

    /// Where the kernel finds it.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        self.bytes.as_ptr().cast()
    }

    /// Where the kernel writes one of at most [`Self::CAPACITY`] octets.
    #[inline]
    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        self.bytes.as_mut_ptr().cast()
    }

    /// Its length in octets.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        (self.length as usize).min(V6_BYTES)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_survive_the_round_trip() {
        for text in [
            "127.0.0.1:5060",
            "203.0.113.9:65535",
            "[::1]:5060",
            "[2001:db8::5]:1",
        ] {
            let address = SourceAddr::from(text.parse::<SocketAddr>().unwrap());
            let raw = RawAddress::new(address);
            assert_eq!(raw.source(), Some(address), "{text}");
        }
    }

    #[test]
    fn the_kernel_layout_matches_that_of_socket2() {
        for text in ["192.0.2.7:5060", "[2001:db8::5]:5061"] {
            let address = text.parse::<SocketAddr>().unwrap();
            let reference = socket2::SockAddr::from(address);
            let raw = RawAddress::new(SourceAddr::from(address));
            assert_eq!(raw.len(), reference.len() as usize);
            let back = reference.as_socket().unwrap();
            assert_eq!(raw.source().unwrap().socket_addr(), back);
        }
    }

    #[test]
    fn a_short_or_foreign_address_is_none() {
        assert_eq!(RawAddress::parse(&[]), None);
        assert_eq!(RawAddress::parse(&[1, 0, 0, 0]), None);
        let raw = RawAddress::new(SourceAddr::from("1.2.3.4:5".parse::<SocketAddr>().unwrap()));
        assert_eq!(RawAddress::parse(&raw.bytes[..7]), None);
    }
}
