//! The words of a block, and how a look-up walks them.
//!
//! ```text
//! block  root entry, then leaves and nodes in any order
//! entry  0 = no prefix | offset of a leaf | NODE + offset of a node
//! leaf   covering leaf (0 = none in this block), count, ids ascending
//! node   depth, key (1 or 4 words), outside, bitmap (8 words), ranks (2 words), runs
//! ```
//! A node judges the octet at `depth`, which may lie several octets below its parent's: an address
//! whose first `depth` octets are not those of `key` gets the entry `outside`. The 256 entries are
//! kept as runs: bit b of the bitmap is set where the entry of octet b differs from the one before
//! (bit 0 always is); `ranks` counts, for each word of the bitmap, the bits set in earlier words.

use super::key::Key;

/// Set in an entry that is a node.
pub(super) const NODE: u32 = 1 << 31;

/// Words of a bitmap.
const BITMAP_WORDS: usize = 256 / 32;

/// Words of the ranks, an octet for each word of the bitmap.
const RANK_WORDS: usize = BITMAP_WORDS / 4;

/// The longest prefix of a block that covers `key`: a leaf, or 0.
#[inline]
pub(super) fn longest<K: Key>(words: &[u32], key: K) -> u32 {
    let mut entry = words[0];
    while entry & NODE != 0 {
        let node = &words[(entry ^ NODE) as usize..];
        let depth = node[0];
        entry = if key.begins_like(&node[1..=K::WORDS], depth) {
            run(&node[2 + K::WORDS..], key.octet(depth))
        } else {
            node[1 + K::WORDS]
        };
    }
    entry
}

/// The entry of `octet`; `words` begins with the bitmap.
#[inline]
fn run(words: &[u32], octet: u8) -> u32 {
    let (word, bit) = (usize::from(octet >> 5), u32::from(octet & 31));
    let upto = (words[word] & (u32::MAX >> (31 - bit))).count_ones();
    let before = words[BITMAP_WORDS + word / 4] >> (8 * (word % 4)) & 0xff;
    // Bit 0 of the bitmap is set, so at least one is counted.
    words[BITMAP_WORDS + RANK_WORDS + (before + upto) as usize - 1]
}

/// A leaf: the leaf of the covering prefix (0 = none) and the ids.
#[inline]
pub(super) fn leaf(words: &[u32], at: u32) -> (u32, &[u32]) {
    let leaf = &words[at as usize..];
    (leaf[0], &leaf[2..2 + leaf[1] as usize])
}

/// Appends a leaf without ids; the caller appends them and raises the count.
pub(super) fn push_leaf(words: &mut Vec<u32>, parent: u32) -> u32 {
    let at = offset(words);
    words.extend([parent, 0]);
    at
}

/// Appends an id to the leaf that was appended last.
pub(super) fn push_id(words: &mut Vec<u32>, leaf: u32, id: u32) {
    words.push(id);
    words[leaf as usize + 1] += 1;
}

/// Appends a node and returns its entry.
pub(super) fn push_node<K: Key>(
    words: &mut Vec<u32>,
    key: K,
    depth: u32,
    outside: u32,
    entries: &[u32; 256],
) -> u32 {
    let at = offset(words);
    words.push(depth);
    key.push_to(words);
    words.push(outside);
    let bitmap = words.len();
    words.extend([0; BITMAP_WORDS + RANK_WORDS]);
    let mut before = None;
    let mut runs = 0;
    for (octet, entry) in entries.iter().enumerate() {
        if octet % 32 == 0 {
            let word = octet / 32;
            words[bitmap + BITMAP_WORDS + word / 4] |= runs << (8 * (word % 4));
        }
        if before != Some(entry) {
            before = Some(entry);
            runs += 1;
            words[bitmap + octet / 32] |= 1 << (octet % 32);
            words.push(*entry);
        }
    }
    at | NODE
}

fn offset(words: &[u32]) -> u32 {
    assert!(words.len() < NODE as usize, "a block is out of offsets");
    words.len() as u32
}
