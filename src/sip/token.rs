//! Tokens the edge writes into messages and reads back: branch and Record-Route. Fixed length, a
//! version, key id, node, shard, slot, generation and a keyed check.

use super::{Key, Keys, ListenerId, NodeId, ShardId, SourceAddr};
use crate::tenant::TrunkId;
use crate::wire::Writer;

/// Characters of an encoded branch, magic cookie included.
pub(crate) const BRANCH_CHARS: usize = 7 + 32;

/// A Via branch of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Branch {
    pub(crate) shard: ShardId,
    /// The client transaction; `None` for a request forwarded without one.
    pub(crate) transaction: Option<Key>,
    /// RFC 3261 §16.6 item 8: hash over what decides the route, to tell a loop from a spiral.
    pub(crate) loop_hash: u32,
}

impl Branch {
    /// Writes `z9hG4bK` and the token. `bound` goes into the check: the octets that the upstream
    /// address of a stateless request is made of, empty otherwise.
    pub(crate) fn write(&self, keys: &Keys, node: NodeId, bound: &[u8], out: &mut Writer<'_>) {
        unimplemented!("{keys:?}{node:?}{bound:?}{out:?}")
    }
    /// Reads a branch of ours; `None` when it is not ours or its check fails under every key.
    pub(crate) fn read(branch: &[u8], keys: &Keys, node: NodeId, bound: &[u8]) -> Option<Self> {
        unimplemented!("{branch:?}{keys:?}{node:?}{bound:?}")
    }
    /// The shard named in a branch of ours, unchecked: for steering.
    pub(crate) fn shard_hint(branch: &[u8]) -> Option<ShardId> {
        unimplemented!("{branch:?}")
    }
}

/// One end of a call, as a Record-Route token remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FarEnd {
    /// A datagram flow.
    Udp {
        listener: ListenerId,
        peer: SourceAddr,
    },
    /// A connection.
    Stream {
        shard: ShardId,
        listener: ListenerId,
        slot: u32,
        generation: u32,
    },
    /// A trunk, with the listener that faces it.
    Trunk {
        trunk: TrunkId,
        listener: ListenerId,
    },
}

/// A Record-Route token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RouteToken {
    pub(crate) shard: ShardId,
    /// The call's record, with the boot it belongs to.
    pub(crate) call: Option<(u32, Key)>,
    pub(crate) caller: FarEnd,
    pub(crate) callee: FarEnd,
}

/// Which way a request inside a dialog travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the caller: it goes to `callee`.
    FromCaller,
    /// From the callee: it goes to `caller`.
    FromCallee,
}

impl RouteToken {
    /// Writes the token: at most `limits::ROUTE_TOKEN_CHARS_MAX` characters that need no escape
    /// in a user part. The check covers Call-ID and the caller's tag.
    pub(crate) fn write(
        &self,
        keys: &Keys,
        node: NodeId,
        call_id: &[u8],
        caller_tag: &[u8],
        out: &mut Writer<'_>,
    ) {
        unimplemented!("{keys:?}{node:?}{call_id:?}{caller_tag:?}{out:?}")
    }

    /// Reads a token and tells by the tag that fits which way the request travels; `None` when it
    /// is not ours or fits neither tag under any key.
    pub(crate) fn read(
        user: &[u8],
        keys: &Keys,
        node: NodeId,
        call_id: &[u8],
        from_tag: &[u8],
        to_tag: &[u8],
    ) -> Option<(Self, Direction)> {
        unimplemented!("{user:?}{keys:?}{node:?}{call_id:?}{from_tag:?}{to_tag:?}")
    }

    /// The shard named in a token, unchecked: for steering.
    pub(crate) fn shard_hint(user: &[u8]) -> Option<ShardId> {
        unimplemented!("{user:?}")
    }
}
