//! Nonces: 24 octets that say when, by whom and for which network they were made, as 32
//! characters of base64url. Nothing is kept until a response to one has verified.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use siphasher::sip::SipHasher24;
use subtle::ConstantTimeEq;

use crate::limits;
use crate::sip::{Keys, NodeId, ShardId, SourceAddr, Time, token};
use crate::wire::Writer;

/// Octets of a nonce before encoding.
const NONCE_BYTES: usize = 24;

/// Characters of a nonce: an answer to a source that has proved nothing must stay small.
pub(super) const NONCE_CHARS: usize = 32;

/// Octets covered by the keyed check; the check fills the rest.
const FIELDS_BYTES: usize = 16;

/// The layout this code writes and reads, in the upper two bits of the first octet.
const VERSION: u8 = 1;

/// Nonces of one second: 24 bits, the lower part of a nonce's id.
const SEQUENCE_BITS: u32 = 24;

const _: () = assert!(NONCE_CHARS * 6 == NONCE_BYTES * 8);
// The check is 64 bits.
const _: () = assert!(NONCE_BYTES - FIELDS_BYTES == 8);
// The shard has the six bits beside the version.
const _: () = assert!(limits::SHARDS_MAX <= 64);

/// What a nonce made with our key says. Layout, big-endian:
///
/// | octets | field |
/// |---|---|
/// | 0 | version (2 bits), issuing shard (6 bits) |
/// | 1-4 | incarnation: keyed hash of node and boot |
/// | 5-8 | seconds of the shard's monotonic clock |
/// | 9-11 | sequence within the second |
/// | 12-15 | keyed hash of the source's prefix and of this nonce's id |
/// | 16-23 | HMAC-SHA-256 over octets 0-15, truncated |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nonce {
    /// Who issued it.
    pub(super) shard: ShardId,
    /// Which start of which node issued it.
    pub(super) incarnation: u32,
    /// Rises with every nonce of one shard and boot; never 0.
    pub(super) id: u64,
    /// Which network it was issued to.
    binding: u32,
}

impl Nonce {
    /// When it was issued, by the monotonic clock of its issuer, to the second.
    pub(super) const fn issued_at(self) -> Time {
        Time((self.id >> SEQUENCE_BITS) * 1_000_000_000)
    }
}

/// The smallest id that a nonce issued in the second of `time` can have.
pub(super) const fn first_id_of(time: Time) -> u64 {
    (time.0 / 1_000_000_000) << SEQUENCE_BITS
}

/// Makes and checks nonces of one shard.
#[derive(Debug)]
pub(super) struct Mint {
    /// HMAC with its key already absorbed.
    mac: Hmac<Sha256>,
    /// Keyed hash of prefixes; derived from the same key.
    binding: SipHasher24,
    /// This node and boot.
    incarnation: u32,
    /// The id given last.
    id_last: u64,
}

impl Mint {
    pub(super) fn new(keys: &Keys, node: NodeId) -> Self {
        let mac = Hmac::<Sha256>::new_from_slice(&keys.nonce).expect("HMAC takes keys of any size");
        let binding_key = derive(&mac, b"ringfence nonce binding");
        let binding =
            SipHasher24::new_with_key(binding_key.first_chunk().expect("32 octets begin with 16"));
        let mut start = [0; 6];
        start[..4].copy_from_slice(&keys.boot.to_be_bytes());
        start[4..].copy_from_slice(&node.0.to_be_bytes());
        let incarnation = binding.hash(&start) as u32;
        Self {
            mac,
            binding,
            incarnation,
            id_last: 0,
        }
    }

    /// Octets that nobody outside can know, for `purpose`.
    pub(super) fn secret(&self, purpose: &[u8]) -> [u8; 32] {
        derive(&self.mac, purpose)
    }

    /// Makes a nonce for `source`.
    pub(super) fn issue(
        &mut self,
        now: Time,
        shard: ShardId,
        source: SourceAddr,
    ) -> [u8; NONCE_CHARS] {
        // More than 2^24 nonces in a second run into the next one; ids still only rise.
        self.id_last = (self.id_last + 1).max(first_id_of(now));
        let mut octets = [0; NONCE_BYTES];
        octets[0] = (VERSION << 6) | (shard.0 & 0x3F);
        octets[1..5].copy_from_slice(&self.incarnation.to_be_bytes());
        octets[5..12].copy_from_slice(&self.id_last.to_be_bytes()[1..]);
        octets[12..16].copy_from_slice(&self.bind(source, self.id_last).to_be_bytes());
        let check = self.check(&octets);
        octets[FIELDS_BYTES..].copy_from_slice(&check);
        encode(&octets)
    }

    /// Reads a nonce; `None` when it was not made with our key.
    pub(super) fn read(&self, text: &[u8]) -> Option<Nonce> {
        let octets = decode(text)?;
        if octets[0] >> 6 != VERSION {
            return None;
        }
        if !bool::from(self.check(&octets).ct_eq(&octets[FIELDS_BYTES..])) {
            return None;
        }
        let mut id = [0; 8];
        id[1..].copy_from_slice(&octets[5..12]);
        Some(Nonce {
            shard: ShardId(octets[0] & 0x3F),
            incarnation: u32::from_be_bytes([octets[1], octets[2], octets[3], octets[4]]),
            id: u64::from_be_bytes(id),
            binding: u32::from_be_bytes([octets[12], octets[13], octets[14], octets[15]]),
        })
    }

    /// True when this node issued `nonce` since it was started.
    pub(super) fn is_of_this_boot(&self, nonce: Nonce) -> bool {
        nonce.incarnation == self.incarnation
    }

    /// True when `nonce` was issued to the network that `source` is in. Meaningless for a nonce
    /// of another node with another key, which [`Self::read`] has refused already.
    pub(super) fn is_bound_to(&self, nonce: Nonce, source: SourceAddr) -> bool {
        nonce.binding == self.bind(source, nonce.id)
    }

    fn bind(&self, source: SourceAddr, id: u64) -> u32 {
        let mut input = [0; 24];
        input[..16].copy_from_slice(&prefix(source));
        input[16..].copy_from_slice(&id.to_be_bytes());
        self.binding.hash(&input) as u32
    }

    fn check(&self, octets: &[u8; NONCE_BYTES]) -> [u8; NONCE_BYTES - FIELDS_BYTES] {
        let mut mac = self.mac.clone();
        mac.update(&octets[..FIELDS_BYTES]);
        let full: [u8; 32] = mac.finalize().into_bytes().into();
        *full.first_chunk().expect("32 octets begin with 8")
    }
}

fn derive(mac: &Hmac<Sha256>, purpose: &[u8]) -> [u8; 32] {
    let mut mac = mac.clone();
    mac.update(purpose);
    mac.finalize().into_bytes().into()
}

/// The network of `source`: /24 of IPv4, /56 of IPv6. A phone behind a pool of NAT addresses, or
/// with IPv6 privacy addresses, keeps its nonce; another network can not use it.
fn prefix(source: SourceAddr) -> [u8; 16] {
    let mut octets = *source.octets();
    // ::ffff:a.b.c.d: 12 octets say "IPv4", three are the network.
    let kept = if source.ip().is_ipv4() { 12 + 3 } else { 7 };
    octets[kept..].fill(0);
    octets
}

fn encode(octets: &[u8; NONCE_BYTES]) -> [u8; NONCE_CHARS] {
    let mut text = [0; NONCE_CHARS];
    token::encode(octets, &mut Writer::new(&mut text));
    text
}

fn decode(text: &[u8]) -> Option<[u8; NONCE_BYTES]> {
    let mut octets = [0; NONCE_BYTES];
    (text.len() == NONCE_CHARS && token::decode(text, &mut octets)? == NONCE_BYTES)
        .then_some(octets)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::sip::TokenKey;

    fn keys(nonce: u8, boot: u32) -> Keys {
        let token = TokenKey {
            id: 0,
            key: [0; 16],
        };
        Keys {
            token: [token; 2],
            partition: [0; 16],
            nonce: [nonce; 32],
            hash: [0; 16],
            boot,
        }
    }

    fn source(text: &str) -> SourceAddr {
        text.parse::<SocketAddr>().unwrap().into()
    }

    fn seconds(seconds: u64) -> Time {
        Time(seconds * 1_000_000_000)
    }

    #[test]
    fn nonce_reads_back_what_it_was_made_of() {
        let mut mint = Mint::new(&keys(1, 7), NodeId(3));
        let text = mint.issue(seconds(1234), ShardId(63), source("192.0.2.7:5060"));
        assert!(
            text.iter()
                .all(|c| c.is_ascii_alphanumeric() || *c == b'-' || *c == b'_')
        );
        let nonce = mint.read(&text).unwrap();
        assert_eq!(nonce.shard, ShardId(63));
        assert_eq!(nonce.issued_at(), seconds(1234));
        assert!(mint.is_of_this_boot(nonce));
        assert!(mint.is_bound_to(nonce, source("192.0.2.7:5060")));
    }

    #[test]
    fn any_changed_character_makes_a_nonce_foreign() {
        let mut mint = Mint::new(&keys(1, 7), NodeId(3));
        let text = mint.issue(seconds(9), ShardId(0), source("192.0.2.7:5060"));
        for at in 0..text.len() {
            for other in 0..=u8::MAX {
                if other != text[at] {
                    let mut changed = text;
                    changed[at] = other;
                    assert_eq!(mint.read(&changed), None, "character {at} as {other}");
                }
            }
        }
        for bad in [
            &text[..31],
            b"",
            b"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!",
            &[b'='; 33],
        ] {
            assert_eq!(mint.read(bad), None);
        }
    }

    #[test]
    fn nonce_of_another_key_is_foreign_and_of_another_boot_or_node_is_known_as_such() {
        let mut mint = Mint::new(&keys(1, 7), NodeId(3));
        let text = mint.issue(seconds(9), ShardId(0), source("192.0.2.7:5060"));
        assert_eq!(Mint::new(&keys(2, 7), NodeId(3)).read(&text), None);
        for (boot, node) in [(8, 3), (7, 4)] {
            let other = Mint::new(&keys(1, boot), NodeId(node));
            let nonce = other.read(&text).unwrap();
            assert!(!other.is_of_this_boot(nonce));
        }
    }

    #[test]
    fn nonce_is_bound_to_24_bits_of_ipv4_and_56_of_ipv6_but_not_to_the_port() {
        let mut mint = Mint::new(&keys(1, 7), NodeId(0));
        let mut fits = |issued: &str, used: &str| {
            let text = mint.issue(seconds(9), ShardId(0), source(issued));
            let nonce = mint.read(&text).unwrap();
            mint.is_bound_to(nonce, source(used))
        };
        assert!(fits("192.0.2.7:5060", "192.0.2.255:1024"));
        assert!(fits("192.0.2.7:5060", "[::ffff:192.0.2.9]:5060"));
        assert!(!fits("192.0.2.7:5060", "192.0.3.7:5060"));
        assert!(fits("[2001:db8:1:2200::1]:5060", "[2001:db8:1:22ff:9::]:1"));
        assert!(!fits(
            "[2001:db8:1:2200::1]:5060",
            "[2001:db8:1:2300::1]:5060"
        ));
    }

    #[test]
    fn ids_rise_even_when_a_second_is_exhausted() {
        let mut mint = Mint::new(&keys(1, 7), NodeId(0));
        let peer = source("192.0.2.7:5060");
        let mut id = |time| {
            let text = mint.issue(time, ShardId(0), peer);
            mint.read(&text).unwrap().id
        };
        assert_eq!(
            id(seconds(0)),
            1,
            "0 stands for a free place in the count table"
        );
        assert_eq!(id(seconds(5)), 5 << 24);
        assert_eq!(id(seconds(5)), (5 << 24) + 1);
        mint.id_last = (6 << 24) - 1;
        let text = mint.issue(seconds(5), ShardId(0), peer);
        assert_eq!(mint.read(&text).unwrap().id, 6 << 24);
    }
}
