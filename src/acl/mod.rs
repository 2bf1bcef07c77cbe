//! IP access control lists of every tenant in one immutable table: source address -> ACL ids.
//!
//! Owns longest-prefix match for IPv4 and IPv6. Must not know what an ACL id stands for.
//!
//! The first 16 bits of an address choose a slot. A slot holds the longest prefix of at most
//! 16 bits that covers it (`cover`) and, where longer prefixes begin with these bits, a block:
//! one immutable array with a trie of 8-bit steps, its leaves and their ids. A leaf holds the ids
//! of its own prefix and a link to the prefix that covers it, so that memory is linear in the
//! entries whatever lies above them. A block knows nothing outside itself, so a later generation
//! can share every block whose prefixes did not change.

#![forbid(unsafe_code)]

mod block;
mod build;
mod key;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use self::key::Key;

/// An access control list, numbered by the compiler of the tenant tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclId(pub u32);

/// The compiled table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    ipv4: Trie,
    ipv6: Trie,
}

/// The table of one address family.
#[derive(Clone, Debug, Default)]
struct Trie {
    /// By the first 16 bits; empty where the family has no prefix.
    slots: Box<[Slot]>,
    /// Leaves of the prefixes of at most 16 bits.
    short: Arc<[u32]>,
}

/// What begins with the same 16 bits.
#[derive(Clone, Debug, Default)]
struct Slot {
    /// The prefixes longer than 16 bits.
    block: Option<Arc<[u32]>>,
    /// The entry in `block` where a look-up begins.
    root: u32,
    /// The leaf in `Trie::short` of the longest prefix of at most 16 bits, 0 = none.
    cover: u32,
}

impl Table {
    /// Compiles prefixes; the same prefix may belong to any number of lists. Host bits are
    /// ignored. A prefix inside `::ffff:0:0/96` is the IPv4 prefix it maps; a shorter IPv6 prefix
    /// does not cover IPv4 sources.
    ///
    /// # Panics
    /// When one /16 holds more than some 40 million prefixes; `ACL_ENTRIES_MAX` lies far below.
    #[must_use]
    pub fn build(entries: &[(IpNet, AclId)]) -> Self {
        build::table(entries)
    }

    /// True when a prefix that covers `source` belongs to one of `wanted` (sorted ascending).
    /// A v4-mapped IPv6 source is looked up as IPv4.
    #[must_use]
    pub fn admits(&self, source: IpAddr, wanted: &[AclId]) -> bool {
        !wanted.is_empty() && self.covering(source).any(|ids| intersects(ids, wanted))
    }

    /// The ids of every list with a prefix covering `source`, longest prefix first, ascending
    /// within one prefix. A list with several such prefixes is named once for each.
    pub fn ids(&self, source: IpAddr) -> impl Iterator<Item = AclId> {
        self.covering(source).flatten().map(|id| AclId(*id))
    }

    /// Octets held, allocator slack apart.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.ipv4.bytes() + self.ipv6.bytes()
    }

    fn covering(&self, source: IpAddr) -> Covering<'_> {
        match source.to_canonical() {
            IpAddr::V4(address) => self.ipv4.covering(u32::from(address)),
            IpAddr::V6(address) => self.ipv6.covering(u128::from(address)),
        }
    }
}

impl Trie {
    #[inline]
    fn covering<K: Key>(&self, key: K) -> Covering<'_> {
        let Some(slot) = self.slots.get(key.slot()) else {
            return Covering::default();
        };
        let (words, leaf) = match &slot.block {
            Some(block) => (&block[..], block::longest(block, slot.root, key)),
            None => (&[][..], 0),
        };
        Covering {
            words,
            leaf,
            short: &self.short,
            cover: slot.cover,
        }
    }

    fn bytes(&self) -> usize {
        let counters = 2 * size_of::<usize>();
        let blocks = self.slots.iter().filter_map(|slot| slot.block.as_ref());
        let blocks: usize = blocks.map(|block| counters + size_of_val(&block[..])).sum();
        size_of_val(&self.slots[..]) + size_of_val(&self.short[..]) + blocks
    }
}

/// The ids of each prefix that covers an address, longest prefix first.
#[derive(Default)]
struct Covering<'a> {
    /// The array `leaf` lies in.
    words: &'a [u32],
    /// The leaf that comes next, 0 = none in `words`.
    leaf: u32,
    /// Where `cover` lies.
    short: &'a [u32],
    /// The leaf that comes after those of `words`, 0 = none.
    cover: u32,
}

impl<'a> Iterator for Covering<'a> {
    type Item = &'a [u32];

    #[inline]
    fn next(&mut self) -> Option<&'a [u32]> {
        if self.leaf == 0 {
            self.words = self.short;
            self.leaf = std::mem::take(&mut self.cover);
            if self.leaf == 0 {
                return None;
            }
        }
        let (parent, ids) = block::leaf(self.words, self.leaf);
        self.leaf = parent;
        Some(ids)
    }
}

/// True when two ascending lists share an id: the shorter is looked for in what is left of the
/// longer, so that one wanted id costs a binary search where ten thousand tenants share a prefix.
fn intersects(ids: &[u32], wanted: &[AclId]) -> bool {
    if ids.len() < wanted.len() {
        let mut rest = wanted;
        ids.iter().any(|id| match rest.binary_search(&AclId(*id)) {
            Ok(_) => true,
            Err(at) => {
                rest = &rest[at..];
                false
            }
        })
    } else {
        let mut rest = ids;
        wanted.iter().any(|id| match rest.binary_search(&id.0) {
            Ok(_) => true,
            Err(at) => {
                rest = &rest[at..];
                false
            }
        })
    }
}
