//! The home shard of a message: one pure function of its bytes and where it came in.
//!
//! Steering needs no secret and checks none: a forged token only chooses who refuses it.

use super::token::{Branch, RouteToken};
use super::{Arrival, Keys, Settings, ShardId, Steering};
use crate::wire::{HeaderName, Message, NameAddrs, Uri};

/// Leading Route values that are looked at: a phone's outbound proxy and two of ours.
const ROUTES_LOOKED_AT: usize = 3;

/// The shard that must handle `message`, received by `here`: a response by our Via branch; a
/// request with To tag and our Route token by the token; any other by hash(Call-ID) where its
/// listener steers by Call-ID, else `here`.
pub(crate) fn home_shard(
    settings: &Settings,
    keys: &Keys,
    here: ShardId,
    arrival: Arrival,
    message: Message<'_>,
) -> ShardId {
    if settings.shards <= 1 {
        return here;
    }
    let hint = match message.request_line() {
        None => Branch::shard_hint(message.top_via().branch),
        Some(line) if !message.to_tag().is_empty() => token_hint(line.uri, message),
        Some(_) => None,
    };
    if let Some(hint) = hint {
        // A token may be older than the number of shards.
        return ShardId(hint.0 % settings.shards);
    }
    let listener = usize::from(arrival.flow.listener().0);
    match settings.listeners.get(listener).map(|it| it.steering) {
        Some(Steering::CallId) if message.request_line().is_some() => {
            let hash = u64::from(call_id_hash(keys, message.call_id()));
            ShardId(((hash * u64::from(settings.shards)) >> 32) as u8)
        }
        Some(Steering::CallId | Steering::Flow | Steering::Ports) | None => here,
    }
}

/// The shard named in the first of our tokens: in the leading Route values, or in the Request-URI
/// that a strict router rewrote (RFC 3261 §16.4).
fn token_hint(request_uri: &[u8], message: Message<'_>) -> Option<ShardId> {
    let hint = |uri: &[u8]| RouteToken::shard_hint(Uri::parse(uri).ok()?.user?);
    NameAddrs::new(message, HeaderName::Route)
        .take(ROUTES_LOOKED_AT)
        .find_map(|route| hint(route.ok()?.uri))
        .or_else(|| hint(request_uri))
}

/// FNV-1a over Call-ID, begun with a key of this start, so that nobody outside can aim at a shard;
/// simple enough for the kernel's steering program to compute too.
fn call_id_hash(keys: &Keys, call_id: &[u8]) -> u32 {
    let [a, b, c, d, ..] = keys.hash;
    let basis = 0x811c_9dc5 ^ u32::from_be_bytes([a, b, c, d]);
    let hash = call_id.iter().fold(basis, |hash, &octet| {
        (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193)
    });
    // The last octets have not reached the high bits yet, by which the shard is chosen.
    let mixed = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    let mixed = (mixed ^ (mixed >> 13)).wrapping_mul(0xc2b2_ae35);
    mixed ^ (mixed >> 16)
}
