//! Tokens the edge writes into messages and reads back: branch and Record-Route.
//!
//! Both are base64url of a version, key id, node, shard, what they name, and a keyed check
//! (SipHash-2-4). The length depends on nothing but the kinds of far ends.

use std::net::IpAddr;

use siphasher::sip::SipHasher24;

use super::gather::Gather;
use super::{Key, Keys, ListenerId, NodeId, ShardId, SourceAddr, TokenKey};
use crate::limits::ROUTE_TOKEN_CHARS_MAX;
use crate::tenant::TrunkId;
use crate::wire::Writer;

/// RFC 3261 §8.1.1.7: what every branch begins with.
pub(crate) const MAGIC_COOKIE: &[u8] = b"z9hG4bK";
/// The layout this code writes and reads.
const VERSION: u8 = 1;
/// Version, key id, node, shard: what both tokens begin with; 6 octets with the flags, so that
/// eight characters are enough to find the shard.
const HEAD_BYTES: usize = 6;
/// Head, slot, generation, loop hash, check.
const BRANCH_BYTES: usize = HEAD_BYTES + 4 + 4 + 4 + 6;
const BRANCH_CHECK_AT: usize = BRANCH_BYTES - 6;
/// A slot that names no transaction.
const NO_SLOT: u32 = u32::MAX;
const CHECK_BYTES: usize = 8;
/// Head, call record, two IPv6 flows, check.
const ROUTE_BYTES_MAX: usize = HEAD_BYTES + 12 + 2 * 19 + CHECK_BYTES;

const FLAG_CALL: u8 = 1;
const KIND_UDP4: u8 = 0;
const KIND_UDP6: u8 = 1;
const KIND_STREAM: u8 = 2;
const KIND_TRUNK: u8 = 3;

const _: () = assert!(BRANCH_BYTES.is_multiple_of(3));
const _: () = assert!((ROUTE_BYTES_MAX * 4).div_ceil(3) <= ROUTE_TOKEN_CHARS_MAX);

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
        let mut bytes = [0u8; BRANCH_BYTES];
        let key = &keys.token[0];
        put_head(&mut bytes, key, node, self.shard, 0);
        let (slot, generation) = self.transaction.map_or((NO_SLOT, 0), |transaction| {
            (transaction.slot, transaction.generation)
        });
        bytes[6..10].copy_from_slice(&slot.to_be_bytes());
        bytes[10..14].copy_from_slice(&generation.to_be_bytes());
        bytes[14..18].copy_from_slice(&self.loop_hash.to_be_bytes());
        let check = branch_check(key, keys, slot, &bytes, bound);
        bytes[BRANCH_CHECK_AT..].copy_from_slice(&check);
        out.put(MAGIC_COOKIE);
        encode(&bytes, out);
    }

    /// Reads a branch of ours; `None` when it is not ours, its check fails under every key, or it
    /// was written before this start.
    pub(crate) fn read(branch: &[u8], keys: &Keys, node: NodeId, bound: &[u8]) -> Option<Self> {
        let token = branch.strip_prefix(MAGIC_COOKIE)?;
        let mut bytes = [0u8; BRANCH_BYTES];
        if token.len() != BRANCH_BYTES * 4 / 3 || decode(token, &mut bytes)? != BRANCH_BYTES {
            return None;
        }
        let (key, shard, _) = head(&bytes, keys, node)?;
        let slot = be32(&bytes[6..10]);
        if branch_check(key, keys, slot, &bytes, bound) != bytes[BRANCH_CHECK_AT..] {
            return None;
        }
        let generation = be32(&bytes[10..14]);
        Some(Self {
            shard,
            transaction: (slot != NO_SLOT).then_some(Key { slot, generation }),
            loop_hash: be32(&bytes[14..18]),
        })
    }

    /// The shard named in a branch of ours, unchecked: for steering.
    pub(crate) fn shard_hint(branch: &[u8]) -> Option<ShardId> {
        let token = branch.strip_prefix(MAGIC_COOKIE)?;
        if token.len() != BRANCH_BYTES * 4 / 3 {
            None
        } else {
            hint(token)
        }
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
        let mut bytes = [0u8; ROUTE_BYTES_MAX];
        let key = &keys.token[0];
        let call = if self.call.is_some() { FLAG_CALL } else { 0 };
        let flags = call | (kind(self.caller) << 1) | (kind(self.callee) << 3);
        put_head(&mut bytes, key, node, self.shard, flags);
        let mut body = Writer::new(&mut bytes[HEAD_BYTES..]);
        if let Some((boot, call)) = self.call {
            body.put(&boot.to_be_bytes());
            body.put(&call.slot.to_be_bytes());
            body.put(&call.generation.to_be_bytes());
        }
        put_far_end(self.caller, &mut body);
        put_far_end(self.callee, &mut body);
        let end = HEAD_BYTES + body.len();
        let check = check(key, &bytes[..end], &[call_id, caller_tag]);
        bytes[end..end + CHECK_BYTES].copy_from_slice(&check);
        encode(&bytes[..end + CHECK_BYTES], out);
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
        let mut bytes = [0u8; ROUTE_BYTES_MAX];
        let length = decode(user, &mut bytes)?;
        let end = length
            .checked_sub(CHECK_BYTES)
            .filter(|&end| end > HEAD_BYTES)?;
        let (key, shard, flags) = head(&bytes, keys, node)?;
        let fits = |tag: &[u8]| {
            !tag.is_empty() && check(key, &bytes[..end], &[call_id, tag]) == bytes[end..length]
        };
        let direction = if fits(from_tag) {
            Direction::FromCaller
        } else if fits(to_tag) {
            Direction::FromCallee
        } else {
            return None;
        };
        let mut body = &bytes[HEAD_BYTES..end];
        let call = if flags & FLAG_CALL == 0 {
            None
        } else {
            let (call, rest) = body.split_at_checked(12)?;
            body = rest;
            let key = Key {
                slot: be32(&call[4..8]),
                generation: be32(&call[8..12]),
            };
            Some((be32(&call[..4]), key))
        };
        let caller = take_far_end((flags >> 1) & 3, &mut body)?;
        let callee = take_far_end((flags >> 3) & 3, &mut body)?;
        body.is_empty().then_some((
            Self {
                shard,
                call,
                caller,
                callee,
            },
            direction,
        ))
    }

    /// The shard named in a token, unchecked: for steering.
    pub(crate) fn shard_hint(user: &[u8]) -> Option<ShardId> {
        if user.len() > ROUTE_TOKEN_CHARS_MAX {
            None
        } else {
            hint(user)
        }
    }
}

fn put_head(bytes: &mut [u8], key: &TokenKey, node: NodeId, shard: ShardId, flags: u8) {
    let node = node.0.to_be_bytes();
    bytes[..HEAD_BYTES].copy_from_slice(&[VERSION, key.id, node[0], node[1], shard.0, flags]);
}

/// The key, shard and flags of a token of ours.
fn head<'k>(bytes: &[u8], keys: &'k Keys, node: NodeId) -> Option<(&'k TokenKey, ShardId, u8)> {
    let &[version, key_id, node_high, node_low, shard, flags] = bytes.first_chunk()?;
    if version != VERSION || u16::from_be_bytes([node_high, node_low]) != node.0 {
        return None;
    }
    let key = keys.token.iter().find(|key| key.id == key_id)?;
    Some((key, ShardId(shard), flags))
}

fn hint(token: &[u8]) -> Option<ShardId> {
    let mut bytes = [0u8; HEAD_BYTES];
    decode(token.first_chunk::<8>()?, &mut bytes)?;
    (bytes[0] == VERSION).then_some(ShardId(bytes[4]))
}

/// The check of a branch. One that names a transaction is good for this start of the process
/// only: after the next its slot and generation are those of another.
fn branch_check(
    key: &TokenKey,
    keys: &Keys,
    slot: u32,
    bytes: &[u8; BRANCH_BYTES],
    bound: &[u8],
) -> [u8; 6] {
    let boot = if slot == NO_SLOT { 0 } else { keys.boot };
    let [a, b, c, d, e, f, ..] = check(
        key,
        &bytes[..BRANCH_CHECK_AT],
        &[bound, &boot.to_be_bytes()],
    );
    [a, b, c, d, e, f]
}

/// SipHash-2-4 over the body and every part, each preceded by its length.
fn check(key: &TokenKey, body: &[u8], parts: &[&[u8]]) -> [u8; CHECK_BYTES] {
    let mut input = Gather::new(SipHasher24::new_with_key(&key.key));
    input.put(body);
    for part in parts {
        input.put(&(part.len() as u32).to_be_bytes());
        input.put(part);
    }
    input.finish().to_be_bytes()
}

fn kind(end: FarEnd) -> u8 {
    match end {
        FarEnd::Udp { peer, .. } => match peer.ip() {
            IpAddr::V4(_) => KIND_UDP4,
            IpAddr::V6(_) => KIND_UDP6,
        },
        FarEnd::Stream { .. } => KIND_STREAM,
        FarEnd::Trunk { .. } => KIND_TRUNK,
    }
}

fn put_far_end(end: FarEnd, out: &mut Writer<'_>) {
    match end {
        FarEnd::Udp { listener, peer } => {
            out.put(&[listener.0]);
            match peer.ip() {
                IpAddr::V4(v4) => out.put(&v4.octets()),
                IpAddr::V6(v6) => out.put(&v6.octets()),
            }
            out.put(&peer.port().to_be_bytes());
        }
        FarEnd::Stream {
            shard,
            listener,
            slot,
            generation,
        } => {
            out.put(&[shard.0, listener.0]);
            out.put(&slot.to_be_bytes());
            out.put(&generation.to_be_bytes());
        }
        FarEnd::Trunk { trunk, listener } => {
            out.put(&trunk.0.to_be_bytes());
            out.put(&[listener.0]);
        }
    }
}

fn take_far_end(kind: u8, body: &mut &[u8]) -> Option<FarEnd> {
    let length = match kind {
        KIND_UDP4 => 7,
        KIND_UDP6 => 19,
        KIND_STREAM => 10,
        _ => 5,
    };
    let (end, rest) = body.split_at_checked(length)?;
    *body = rest;
    Some(match kind {
        KIND_UDP4 | KIND_UDP6 => {
            let ip = match <[u8; 4]>::try_from(&end[1..length - 2]) {
                Ok(v4) => IpAddr::from(v4),
                Err(_) => IpAddr::from(<[u8; 16]>::try_from(&end[1..length - 2]).ok()?),
            };
            let port = u16::from_be_bytes([end[length - 2], end[length - 1]]);
            FarEnd::Udp {
                listener: ListenerId(end[0]),
                peer: SourceAddr::from(std::net::SocketAddr::new(ip, port)),
            }
        }
        KIND_STREAM => FarEnd::Stream {
            shard: ShardId(end[0]),
            listener: ListenerId(end[1]),
            slot: be32(&end[2..6]),
            generation: be32(&end[6..10]),
        },
        _ => FarEnd::Trunk {
            trunk: TrunkId(be32(&end[..4])),
            listener: ListenerId(end[4]),
        },
    })
}

fn be32(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |number, &byte| (number << 8) | u32::from(byte))
}

/// RFC 4648 §5: characters that stand unescaped in a token and in a user part.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

const VALUES: [u8; 256] = {
    let mut values = [u8::MAX; 256];
    let mut value = 0;
    while value < 64 {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// Writes base64url without padding.
pub(crate) fn encode(bytes: &[u8], out: &mut Writer<'_>) {
    for chunk in bytes.chunks(3) {
        let group = be32(chunk) << (8 * (3 - chunk.len()));
        let characters = [18, 12, 6, 0].map(|bits| ALPHABET[(group >> bits) as usize & 63]);
        out.put(&characters[..=chunk.len()]);
    }
}

/// Reads base64url without padding; the number of octets, or `None` when a character is foreign,
/// unused bits are set, or `out` is too small.
pub(crate) fn decode(text: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut written = 0;
    for chunk in text.chunks(4) {
        let mut group = 0u32;
        for &character in chunk {
            let value = VALUES[usize::from(character)];
            if value == u8::MAX {
                return None;
            }
            group = (group << 6) | u32::from(value);
        }
        let octets = chunk.len() - 1;
        let aligned = group << (6 * (4 - chunk.len()));
        let bytes = [(aligned >> 16) as u8, (aligned >> 8) as u8, aligned as u8];
        if octets == 0 || bytes[octets..].iter().any(|&rest| rest != 0) {
            return None;
        }
        out.get_mut(written..written + octets)?
            .copy_from_slice(&bytes[..octets]);
        written += octets;
    }
    Some(written)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(current: u8, previous: u8) -> Keys {
        let token = [current, previous].map(|id| TokenKey { id, key: [id; 16] });
        Keys {
            token,
            partition: [1; 16],
            nonce: [2; 32],
            hash: [3; 16],
            boot: 7,
        }
    }

    fn text(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut buffer = [0; 128];
        let mut writer = Writer::new(&mut buffer);
        write(&mut writer);
        writer.written().to_vec()
    }

    fn far_end() -> impl Strategy<Value = FarEnd> {
        let address = prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from),
        ];
        prop_oneof![
            (any::<u8>(), address, any::<u16>()).prop_map(|(listener, ip, port)| FarEnd::Udp {
                listener: ListenerId(listener),
                peer: SourceAddr::from(std::net::SocketAddr::new(ip, port)),
            }),
            (any::<[u8; 2]>(), any::<[u32; 2]>()).prop_map(|([shard, listener], numbers)| {
                FarEnd::Stream {
                    shard: ShardId(shard),
                    listener: ListenerId(listener),
                    slot: numbers[0],
                    generation: numbers[1],
                }
            }),
            (any::<u32>(), any::<u8>()).prop_map(|(trunk, listener)| FarEnd::Trunk {
                trunk: TrunkId(trunk),
                listener: ListenerId(listener),
            }),
        ]
    }

    proptest! {
        #[test]
        fn base64url_reads_back_what_it_wrote(bytes in prop::collection::vec(any::<u8>(), 0..90)) {
            let encoded = text(|out| encode(&bytes, out));
            let mut decoded = [0; 96];
            prop_assert_eq!(decode(&encoded, &mut decoded), Some(bytes.len()));
            prop_assert_eq!(&decoded[..bytes.len()], &bytes[..]);
        }

        #[test]
        fn decoding_never_panics_and_has_one_spelling_per_value(input in "[A-Za-z0-9_=-]{0,40}") {
            let mut decoded = [0; 64];
            if let Some(length) = decode(input.as_bytes(), &mut decoded) {
                prop_assert_eq!(text(|out| encode(&decoded[..length], out)), input.as_bytes());
            }
        }

        #[test]
        fn a_route_token_reads_back_in_both_directions_and_only_with_its_call(
            caller in far_end(),
            callee in far_end(),
            shard in any::<u8>(),
            call in any::<Option<(u32, u32, u32)>>(),
        ) {
            let call = call.map(|(boot, slot, generation)| (boot, Key { slot, generation }));
            let token = RouteToken { shard: ShardId(shard), call, caller, callee };
            let node = NodeId(9);
            let keys = keys(1, 0);
            let user = text(|out| token.write(&keys, node, b"call", b"tag-a", out));
            prop_assert!(user.len() <= ROUTE_TOKEN_CHARS_MAX);
            prop_assert_eq!(RouteToken::shard_hint(&user), Some(ShardId(shard)));
            let read = |call: &[u8], from: &[u8], to: &[u8]| {
                RouteToken::read(&user, &keys, node, call, from, to)
            };
            prop_assert_eq!(
                read(b"call", b"tag-a", b"tag-b"),
                Some((token, Direction::FromCaller))
            );
            prop_assert_eq!(
                read(b"call", b"tag-b", b"tag-a"),
                Some((token, Direction::FromCallee))
            );
            prop_assert_eq!(read(b"other", b"tag-a", b"tag-b"), None);
            prop_assert_eq!(read(b"call", b"tag-x", b"tag-b"), None);
            let other_node = NodeId(8);
            prop_assert_eq!(
                RouteToken::read(&user, &keys, other_node, b"call", b"tag-a", b""),
                None
            );
        }

        #[test]
        fn a_token_with_any_character_changed_is_refused(
            at in any::<prop::sample::Index>(),
            replacement in "[A-Za-z0-9_-]",
        ) {
            let end = FarEnd::Trunk { trunk: TrunkId(5), listener: ListenerId(0) };
            let token = RouteToken { shard: ShardId(1), call: None, caller: end, callee: end };
            let keys = keys(1, 0);
            let mut user = text(|out| token.write(&keys, NodeId(1), b"call", b"tag", out));
            let at = at.index(user.len());
            prop_assume!(user[at] != replacement.as_bytes()[0]);
            user[at] = replacement.as_bytes()[0];
            prop_assert_eq!(RouteToken::read(&user, &keys, NodeId(1), b"call", b"tag", b""), None);

            let branch = Branch { shard: ShardId(1), transaction: None, loop_hash: 3 };
            let mut sent = text(|out| branch.write(&keys, NodeId(1), b"", out));
            let at = MAGIC_COOKIE.len() + at % (sent.len() - MAGIC_COOKIE.len());
            prop_assume!(sent[at] != replacement.as_bytes()[0]);
            sent[at] = replacement.as_bytes()[0];
            prop_assert_eq!(Branch::read(&sent, &keys, NodeId(1), b""), None);
        }
    }

    #[test]
    fn a_branch_reads_back_and_is_bound_to_its_upstream() {
        let keys = keys(1, 0);
        let transaction = Some(Key {
            slot: 77,
            generation: 3,
        });
        let branch = Branch {
            shard: ShardId(5),
            transaction,
            loop_hash: 0xDEAD_BEEF,
        };
        let sent = text(|out| branch.write(&keys, NodeId(1), b"upstream", out));
        assert_eq!(sent.len(), MAGIC_COOKIE.len() + 32);
        assert_eq!(Branch::shard_hint(&sent), Some(ShardId(5)));
        assert_eq!(
            Branch::read(&sent, &keys, NodeId(1), b"upstream"),
            Some(branch)
        );
        assert_eq!(Branch::read(&sent, &keys, NodeId(1), b"elsewhere"), None);
        assert_eq!(Branch::read(&sent, &keys, NodeId(2), b"upstream"), None);
        let restarted = Keys { boot: 8, ..keys };
        assert_eq!(
            Branch::read(&sent, &restarted, NodeId(1), b"upstream"),
            None
        );
    }

    #[test]
    fn a_branch_with_a_transaction_is_good_until_the_next_start_and_one_without_longer() {
        let before = keys(1, 0);
        let after = Keys {
            boot: before.boot + 1,
            ..keys(1, 0)
        };
        let transaction = Some(Key {
            slot: 0,
            generation: 0,
        });
        for (transaction, is_read) in [(transaction, false), (None, true)] {
            let branch = Branch {
                shard: ShardId(0),
                transaction,
                loop_hash: 1,
            };
            let sent = text(|out| branch.write(&before, NodeId(1), b"", out));
            let read = |keys: &Keys| Branch::read(&sent, keys, NodeId(1), b"");
            assert_eq!(read(&before), Some(branch));
            assert_eq!(read(&after).is_some(), is_read);
        }
    }

    #[test]
    fn a_token_of_the_previous_key_is_read_and_one_of_an_older_key_is_not() {
        let end = FarEnd::Trunk {
            trunk: TrunkId(5),
            listener: ListenerId(0),
        };
        let token = RouteToken {
            shard: ShardId(1),
            call: None,
            caller: end,
            callee: end,
        };
        let user = text(|out| token.write(&keys(1, 0), NodeId(1), b"call", b"tag", out));
        let read = |keys: &Keys| RouteToken::read(&user, keys, NodeId(1), b"call", b"tag", b"");
        assert!(read(&keys(2, 1)).is_some());
        assert_eq!(read(&keys(3, 2)), None);
    }
}
