//! How often an address of record may be registered.
//!
//! Counted by address of record and source address together: a stranger who sends REGISTERs for
//! somebody's address spends a budget of his own, never that of the phone.

use siphasher::sip::SipHasher13;

use crate::sip::gather::Gather;
use crate::sip::{SourceAddr, Time};

/// Fewest entries: so that small tables still tell addresses apart.
const ENTRIES_MIN: usize = 1024;

/// Bindings per entry. An entry matters for a second; phones come once in minutes.
const BINDINGS_PER_ENTRY: usize = 8;

/// A budget of one second's requests, refilled evenly. Direct-mapped: another key takes the entry
/// over with a whole budget, so a collision errs on the side of the phone.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u64,
    /// When the budget is whole again.
    whole_at: Time,
}

/// The budgets of one shard.
#[derive(Debug)]
pub(super) struct RegisterRates {
    entries: Box<[Entry]>,
    hash_key: [u8; 16],
}

impl RegisterRates {
    /// A table fit for `bindings` bindings.
    pub(super) fn new(bindings: u32, hash_key: [u8; 16]) -> Self {
        let entries = (bindings as usize / BINDINGS_PER_ENTRY).max(ENTRIES_MIN);
        let empty = Entry {
            // Not zero: so that the memory is written, hence present, from now on.
            key: u64::MAX,
            whole_at: Time(0),
        };
        Self {
            entries: vec![empty; entries.next_power_of_two()].into_boxed_slice(),
            hash_key,
        }
    }

    /// Takes one request from the budget; false when it is spent. `per_second` 0 = unlimited.
    pub(super) fn try_request(
        &mut self,
        now: Time,
        per_second: u32,
        aor: &[u8],
        source: SourceAddr,
    ) -> bool {
        if per_second == 0 {
            return true;
        }
        let mut input = Gather::new(SipHasher13::new_with_key(&self.hash_key));
        input.put(source.octets());
        input.put(aor);
        let key = input.finish();
        let at = key as usize & (self.entries.len() - 1);
        let entry = &mut self.entries[at];
        if entry.key != key {
            *entry = Entry { key, whole_at: now };
        }
        let interval = 1_000_000_000 / u64::from(per_second);
        let whole_at = entry.whole_at.max(now).0 + interval;
        if whole_at > now.0 + interval * u64::from(per_second) {
            return false;
        }
        entry.whole_at = Time(whole_at);
        true
    }

    /// Octets allocated.
    pub(super) fn bytes(&self) -> usize {
        self.entries.len() * size_of::<Entry>()
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn source(text: &str) -> SourceAddr {
        SourceAddr::from(text.parse::<SocketAddr>().unwrap())
    }

    #[test]
    fn five_at_once_then_one_every_fifth_of_a_second() {
        let mut rates = RegisterRates::new(0, [1; 16]);
        let phone = source("192.0.2.1:5060");
        let mut now = Time(7_000_000_000);
        for _ in 0..5 {
            assert!(rates.try_request(now, 5, b"alice@example.test", phone));
        }
        assert!(!rates.try_request(now, 5, b"alice@example.test", phone));
        for _ in 0..20 {
            now = now.plus_ms(200);
            assert!(rates.try_request(now, 5, b"alice@example.test", phone));
            assert!(!rates.try_request(now, 5, b"alice@example.test", phone));
        }
    }

    #[test]
    fn a_stranger_does_not_spend_the_budget_of_the_phone() {
        let mut rates = RegisterRates::new(0, [1; 16]);
        let now = Time(0);
        while rates.try_request(now, 5, b"alice@example.test", source("203.0.113.9:5060")) {}
        assert!(rates.try_request(now, 5, b"alice@example.test", source("192.0.2.1:5060")));
        // The port is no way round it.
        assert!(!rates.try_request(now, 5, b"alice@example.test", source("203.0.113.9:5061")));
        assert!(rates.try_request(now, 5, b"bob@example.test", source("203.0.113.9:5060")));
    }

    #[test]
    fn zero_is_no_limit() {
        let mut rates = RegisterRates::new(0, [1; 16]);
        for _ in 0..10_000 {
            assert!(rates.try_request(Time(0), 0, b"alice@example.test", source("192.0.2.1:5060")));
        }
    }
}
