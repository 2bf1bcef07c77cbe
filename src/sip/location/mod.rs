//! The location table of one shard: bindings of the addresses of record it owns.
//!
//! Owns bindings, their expiry and their keep-alives. Must not authenticate. Implements
//! RFC 3261 §10.3 (steps 6-8), RFC 5626 §6 (instance and reg-id).

mod targets;

pub(crate) use targets::{Target, TargetSet, TargetSetWriter};

use super::turn::Turn;
use super::{Keys, ShardId};

/// The partition (0..256) of a canonical address of record, by keyed SipHash.
pub(crate) fn partition(keys: &Keys, aor: &[u8]) -> u8 {
    unimplemented!("{keys:?}{aor:?}")
}

/// The shard that owns a canonical address of record.
pub(crate) fn owner(keys: &Keys, shards: u8, aor: &[u8]) -> ShardId {
    ShardId(partition(keys, aor) % shards)
}

/// The table.
#[derive(Debug)]
pub(crate) struct Location;

impl Location {
    /// Writes the targets of `aor` as of now, best first; none when it has no valid binding.
    pub(crate) fn locate(&self, turn: &Turn<'_>, aor: &[u8], out: &mut TargetSetWriter<'_>) {
        let _ = (turn, aor, out);
        unimplemented!()
    }
}
