//! Datagrams that ended an earlier process by a panic, and are dropped for a while after the start,
//! so that one packet that is sent again and again can not become a crash loop.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::limits;
use crate::sip::{SourceAddr, Time};

/// A datagram as it is remembered over a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poison {
    /// Who sent it.
    pub source: SourceAddr,
    /// The digest of its octets, the same in every process.
    pub digest: u64,
}

impl Poison {
    /// The datagram with these octets.
    #[must_use]
    pub fn new(source: SourceAddr, bytes: &[u8]) -> Self {
        // No secret key: who can find a second datagram with this digest harms only the source
        // address it must come from.
        let mut hasher = SipHasher13::new_with_keys(0, 0);
        hasher.write(bytes);
        Self {
            source,
            digest: hasher.finish(),
        }
    }
}

/// What a shard drops.
#[derive(Debug)]
pub(super) struct Poisons {
    list: Vec<Poison>,
    /// From then on nothing is dropped.
    until: Time,
}

impl Poisons {
    /// Drops `list` for 64*T1, the time in which a request is retransmitted.
    pub(super) fn new(list: Vec<Poison>, now: Time) -> Self {
        Self {
            list,
            until: now.plus_ms(limits::TRANSACTION_MS),
        }
    }

    /// True when the datagram must be dropped.
    #[inline]
    pub(super) fn is_poison(&mut self, now: Time, source: SourceAddr, bytes: &[u8]) -> bool {
        !self.list.is_empty() && self.is_listed(now, source, bytes)
    }

    #[cold]
    fn is_listed(&mut self, now: Time, source: SourceAddr, bytes: &[u8]) -> bool {
        if now >= self.until {
            self.list.clear();
        }
        let mut from_source = self
            .list
            .iter()
            .filter(|poison| poison.source == source)
            .peekable();
        from_source.peek().is_some() && {
            let found = Poison::new(source, bytes);
            from_source.any(|poison| *poison == found)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn a_poison_is_known_by_source_and_octets_and_forgotten_after_64_t1() {
        let source = SourceAddr::from("192.0.2.1:5060".parse::<std::net::SocketAddr>().unwrap());
        let mut poisons = Poisons::new(vec![Poison::new(source, b"bad")], Time(7));
        assert!(poisons.is_poison(Time(8), source, b"bad"));
        assert!(!poisons.is_poison(Time(8), source, b"good"));
        assert!(!poisons.is_poison(Time(8), source.with_port(5061), b"bad"));
        let last = Time(7).plus_ms(limits::TRANSACTION_MS);
        assert!(poisons.is_poison(Time(last.0 - 1), source, b"bad"));
        assert!(!poisons.is_poison(last, source, b"bad"));
    }

    #[test]
    fn the_digest_is_the_same_in_every_process() {
        let source = SourceAddr::from("192.0.2.1:5060".parse::<std::net::SocketAddr>().unwrap());
        assert_eq!(
            Poison::new(source, b"OPTIONS").digest,
            10_282_713_193_136_998_333
        );
    }
}
