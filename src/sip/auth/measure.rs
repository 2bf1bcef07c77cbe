//! The digest work of a request without the rest of the edge, for `bench/digest.rs`.

use super::nonce::NONCE_CHARS;
use super::window::NonceCounts;
use super::{Authenticator, Verdict};
use crate::limits;
use crate::sip::turn::Turn;
use crate::sip::{Arrival, Buffers, Counters, Keys, Now, Outbox, Random, Settings, ShardId, Wheel};
use crate::tenant::Tables;
use crate::wire::{HeaderName, Message, Writer};

/// Room for the timers and messages of a call that makes none.
const UNUSED: u32 = 16;
const UNUSED_BYTES: usize = 1 << 20;

/// An authenticator with its surroundings; not for use outside of benchmarks.
#[doc(hidden)]
#[derive(Debug)]
pub struct DigestMeasure {
    authenticator: Authenticator,
    settings: Settings,
    keys: Keys,
    tables: Tables,
    now: Now,
    out: Outbox,
    counters: Counters,
    wheel: Wheel,
    buffers: Buffers,
    random: Random,
}

impl DigestMeasure {
    /// An authenticator of shard 0 with `settings.capacity.nonces` entries.
    #[must_use]
    pub fn new(settings: Settings, keys: Keys, tables: Tables, now: Now) -> Self {
        Self {
            authenticator: Authenticator::new(settings.capacity.nonces, &keys, settings.node),
            settings,
            keys,
            tables,
            now,
            out: Outbox::new(),
            counters: Counters::new(),
            wheel: Wheel::with_capacity(UNUSED, now.time),
            buffers: Buffers::with_capacity(UNUSED_BYTES),
            random: Random::new(1),
        }
    }

    /// Issues a nonce.
    pub fn issue(&mut self, arrival: Arrival) -> [u8; NONCE_CHARS] {
        self.authenticator
            .mint
            .issue(self.now.time, ShardId(0), arrival.flow.peer())
    }

    /// True when `nonce` is ours and was issued to that network.
    pub fn is_ours(&self, arrival: Arrival, nonce: &[u8]) -> bool {
        let mint = &self.authenticator.mint;
        mint.read(nonce)
            .is_some_and(|nonce| mint.is_bound_to(nonce, arrival.flow.peer()))
    }

    /// True when the Authorization of `message` is accepted for `domain`.
    pub fn accepts(&mut self, arrival: Arrival, message: Message<'_>, domain: &str) -> bool {
        let Some(domain) = self.tables.domain_by_name(domain.as_bytes()) else {
            return false;
        };
        let mut turn = Turn {
            now: self.now,
            shard: ShardId(0),
            settings: &self.settings,
            keys: &self.keys,
            tables: &self.tables,
            out: &mut self.out,
            counters: &mut self.counters,
            wheel: &mut self.wheel,
            buffers: &mut self.buffers,
            random: &mut self.random,
        };
        let lists = domain.registration_lists.as_deref().unwrap_or_default();
        let mut username = [0; limits::AOR_USER_BYTES_MAX];
        let mut out = Writer::new(&mut username);
        let name = HeaderName::Authorization;
        let verdict = self
            .authenticator
            .verify(&mut turn, arrival, message, name, domain, lists, &mut out);
        matches!(verdict, Verdict::Accepted { .. })
    }

    /// Forgets which nonce counts were used.
    pub fn forget(&mut self) {
        self.authenticator.counts = NonceCounts::new(self.settings.capacity.nonces);
    }
}
