//! Compiles prefixes into slots and blocks.

use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use super::block::{push_id, push_leaf, push_node};
use super::key::Key;
use super::{AclId, Slot, Table, Trie};

/// Slots of one family: the values of the first 16 bits.
const SLOTS: usize = 1 << 16;

/// Prefixes up to this length are `Slot::cover`.
const SHORT_BITS: u8 = 16;

/// One entry; the order puts a prefix before those inside it, and ids ascending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Entry<K> {
    key: K,
    bits: u8,
    id: u32,
}

pub(super) fn table(entries: &[(IpNet, AclId)]) -> Table {
    let mut ipv4 = Vec::new();
    let mut ipv6 = Vec::new();
    for (net, AclId(id)) in entries {
        match canonical(*net) {
            IpNet::V4(net) => {
                let key = u32::from(net.network());
                ipv4.push(Entry {
                    key,
                    bits: net.prefix_len(),
                    id: *id,
                });
            }
            IpNet::V6(net) => {
                let key = u128::from(net.network());
                ipv6.push(Entry {
                    key,
                    bits: net.prefix_len(),
                    id: *id,
                });
            }
        }
    }
    Table {
        ipv4: trie(ipv4),
        ipv6: trie(ipv6),
    }
}

/// A prefix of v4-mapped addresses as the IPv4 prefix.
fn canonical(net: IpNet) -> IpNet {
    if let IpNet::V6(v6) = net
        && let Some(bits) = v6.prefix_len().checked_sub(96)
        && let Some(address) = v6.network().to_ipv4_mapped()
        && let Ok(v4) = Ipv4Net::new(address, bits)
    {
        return IpNet::V4(v4);
    }
    net
}

fn trie<K: Key>(mut entries: Vec<Entry<K>>) -> Trie {
    if entries.is_empty() {
        return Trie::default();
    }
    entries.sort_unstable();
    entries.dedup();
    let mut slots = vec![Slot::default(); SLOTS].into_boxed_slice();
    let short = covers(&entries, &mut slots);
    let mut builder = Builder::default();
    for slot in entries.chunk_by(|a, b| a.key.slot() == b.key.slot()) {
        if let Some((block, root)) = builder.block(slot) {
            let slot = &mut slots[slot[0].key.slot()];
            (slot.block, slot.root) = (Some(block), root);
        }
    }
    Trie { slots, short }
}

/// Paints the prefixes of at most 16 bits over the slots, shorter ones first, so that what a slot
/// holds when a prefix comes is the prefix that covers it.
fn covers<K: Key>(entries: &[Entry<K>], slots: &mut [Slot]) -> Arc<[u32]> {
    let mut words = vec![0];
    let short = entries.iter().filter(|entry| entry.bits <= SHORT_BITS);
    let short: Vec<&Entry<K>> = short.collect();
    for bits in 0..=SHORT_BITS {
        let mut last: Option<(K, u32)> = None;
        for entry in short.iter().filter(|entry| entry.bits == bits) {
            let leaf = match last {
                Some((key, leaf)) if key == entry.key => leaf,
                Some(_) | None => {
                    let first = entry.key.slot();
                    let leaf = push_leaf(&mut words, slots[first].cover);
                    let covered = 1 << (SHORT_BITS - bits);
                    for slot in &mut slots[first..first + covered] {
                        slot.cover = leaf;
                    }
                    leaf
                }
            };
            push_id(&mut words, leaf, entry.id);
            last = Some((entry.key, leaf));
        }
    }
    words.into()
}

/// A distinct prefix of a block with its leaf.
#[derive(Clone, Copy)]
struct Prefix<K> {
    key: K,
    bits: u32,
    leaf: u32,
}

/// Builds one block after the other in the same memory.
#[derive(Default)]
struct Builder<K> {
    words: Vec<u32>,
    prefixes: Vec<Prefix<K>>,
    /// The prefixes around the one that is read, outermost first.
    around: Vec<Prefix<K>>,
}

impl<K: Key> Builder<K> {
    /// The block of one slot's entries and its root entry; `None` when all of them are short.
    fn block(&mut self, entries: &[Entry<K>]) -> Option<(Arc<[u32]>, u32)> {
        self.words.clear();
        self.words.push(0);
        self.prefixes.clear();
        self.around.clear();
        for entry in entries.iter().filter(|entry| entry.bits > SHORT_BITS) {
            let leaf = self.leaf(entry.key, u32::from(entry.bits));
            push_id(&mut self.words, leaf, entry.id);
        }
        if self.prefixes.is_empty() {
            return None;
        }
        let prefixes = std::mem::take(&mut self.prefixes);
        let root = self.node(&prefixes, 0);
        self.prefixes = prefixes;
        Some((Arc::from(&self.words[..]), root))
    }

    /// The leaf of a prefix; entries of the same prefix follow each other.
    fn leaf(&mut self, key: K, bits: u32) -> u32 {
        while let Some(outer) = self.around.last() {
            if outer.key == key && outer.bits == bits {
                return outer.leaf;
            }
            if outer.key.common_bits(key) >= outer.bits {
                break;
            }
            self.around.pop();
        }
        let parent = self.around.last().map_or(0, |outer| outer.leaf);
        let leaf = push_leaf(&mut self.words, parent);
        self.around.push(Prefix { key, bits, leaf });
        self.prefixes.push(Prefix { key, bits, leaf });
        leaf
    }

    /// The entry of a region whose prefixes are `prefixes` (sorted, not empty) and which `outside`
    /// covers as a whole. Recursion ends, as each level judges a later octet.
    fn node(&mut self, prefixes: &[Prefix<K>], outside: u32) -> u32 {
        let (first, last) = (prefixes[0], prefixes[prefixes.len() - 1]);
        let bits_min = prefixes
            .iter()
            .map(|prefix| prefix.bits)
            .min()
            .unwrap_or(first.bits);
        // The first octet in which prefixes differ or one ends.
        let depth = first.key.common_bits(last.key).min(bits_min - 1) / 8;
        let mut entries = [outside; 256];
        let octet = |prefix: &Prefix<K>| usize::from(prefix.key.octet(depth));
        for group in prefixes.chunk_by(|a, b| octet(a) == octet(b)) {
            // A prefix comes before those inside it, so the ones that end in this octet lead.
            let ending = group.partition_point(|prefix| prefix.bits <= 8 * depth + 8);
            let (ending, longer) = group.split_at(ending);
            for prefix in ending {
                let first = octet(prefix);
                entries[first..first + (1 << (8 * depth + 8 - prefix.bits))].fill(prefix.leaf);
            }
            if !longer.is_empty() {
                let at = octet(&longer[0]);
                entries[at] = self.node(longer, entries[at]);
            }
        }
        push_node(&mut self.words, first.key, depth, outside, &entries)
    }
}
