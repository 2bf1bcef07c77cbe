//! What sources may cost: budgets of sources that have proved nothing, and of addresses of record.

use super::{Settings, SourceAddr, Time};

/// Per-source table of one shard: fixed size, direct-mapped by a keyed hash (IPv4 /32, IPv6 /64).
#[derive(Debug)]
pub(crate) struct Sources;

impl Sources {
    /// `entries` must be a power of two.
    pub(crate) fn new(entries: u32, hash_key: [u8; 16]) -> Self {
        unimplemented!("{entries}{hash_key:?}")
    }
    /// Takes one unauthenticated request of `bytes` octets from the budget of `source`, and adds
    /// the octets to what it may be sent. False when the budget is spent: drop the request.
    pub(crate) fn try_request(
        &mut self,
        now: Time,
        settings: &Settings,
        source: SourceAddr,
        bytes: usize,
    ) -> bool {
        unimplemented!("{now:?}{settings:?}{source:?}{bytes}")
    }
    /// True when an answer of `bytes` octets may go to `source`; an unproven source is sent at
    /// most what came from it in this second plus the allowance.
    pub(crate) fn try_answer(
        &mut self,
        now: Time,
        settings: &Settings,
        source: SourceAddr,
        bytes: usize,
    ) -> bool {
        unimplemented!("{now:?}{settings:?}{source:?}{bytes}")
    }
    /// `source` answered a challenge correctly: it is proved, and the request and the challenge
    /// before it are given back to its budget.
    pub(crate) fn on_proved(&mut self, now: Time, settings: &Settings, source: SourceAddr) {
        unimplemented!("{now:?}{settings:?}{source:?}")
    }
}
