//! The words of a block, and how a look-up walks them.
//!
//! ```text
//! block  0, then leaves and nodes in any order
//! entry  0 = no prefix | offset of a leaf | NODE + offset of a node
//! leaf   covering leaf (0 = none in this block), count, ids ascending
//! node   head, key (1 or 4 words), outside, then for
//!        few runs   last octets (2 words), runs
//!        many runs  run of each octet (64 words), runs
//! ```
//! A node judges the octet at its depth, which may lie several octets below its parent's: an
//! address whose first octets are not those of `key` gets the entry `outside`. The 256 entries are
//! kept as runs of equal ones. Up to 8 runs are found by their last octets, four to a word, 255
//! where there is none; that is the node of a lone prefix, which then fits into 32 octets. More
//! runs are found by a table with the number of each octet's run, four to a word. The head is the
//! depth, and `MANY` where there is such a table.

use super::key::Key;

/// Set in an entry that is a node.
pub(super) const NODE: u32 = 1 << 31;

/// Set in the head of a node that has a bitmap.
const MANY: u32 = 1 << 8;

/// Most runs of a node without a bitmap.
const FEW_MAX: usize = 8;

/// Words of the last octets of up to `FEW_MAX` runs.
const FEW_WORDS: usize = FEW_MAX / 4;

/// Words of the table of a node with many runs.
const TABLE_WORDS: usize = 256 / 4;

/// The longest prefix below the entry `root` of a block that covers `key`: a leaf, or 0.
#[inline]
pub(super) fn longest<K: Key>(words: &[u32], root: u32, key: K) -> u32 {
    let mut entry = root;
    while entry & NODE != 0 {
        let node = &words[(entry ^ NODE) as usize..];
        let depth = node[0] & !MANY;
        let runs = &node[2 + K::WORDS..];
        entry = if !key.begins_like(&node[1..=K::WORDS], depth) {
            node[1 + K::WORDS]
        } else if node[0] & MANY == 0 {
            few(runs, key.octet(depth))
        } else {
            many(runs, key.octet(depth))
        };
    }
    entry
}

/// The entry of `octet`; `words` begins with the last octets.
#[inline]
fn few(words: &[u32], octet: u8) -> u32 {
    let ended = |word: u32| word.to_le_bytes().map(|last| usize::from(last < octet));
    let [a, b, c, d] = ended(words[0]);
    let [e, f, g, h] = ended(words[1]);
    words[FEW_WORDS + a + b + c + d + e + f + g + h]
}

/// The entry of `octet`; `words` begins with the table.
#[inline]
fn many(words: &[u32], octet: u8) -> u32 {
    let run = words[usize::from(octet / 4)] >> (8 * (octet % 4));
    words[TABLE_WORDS + (run & 0xff) as usize]
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
    let begins = |octet: &usize| *octet == 0 || entries[*octet] != entries[*octet - 1];
    let count = (0..256).filter(begins).count();
    words.push(if count <= FEW_MAX {
        depth
    } else {
        depth | MANY
    });
    key.push_to(words);
    words.push(outside);
    if count <= FEW_MAX {
        // A run ends before the next one begins; the last ends at 255, as do those not there.
        let mut last = [u8::MAX; FEW_MAX];
        for (last, begin) in last.iter_mut().zip((0..256).filter(begins).skip(1)) {
            *last = (begin - 1) as u8;
        }
        push_octets(words, &last);
    } else {
        let mut table = [0; 256];
        let mut run = 0;
        for (octet, number) in table.iter_mut().enumerate().skip(1) {
            // At most 255 runs begin after octet 0.
            run += u8::from(begins(&octet));
            *number = run;
        }
        push_octets(words, &table);
    }
    words.extend((0..256).filter(begins).map(|octet| entries[octet]));
    at | NODE
}

/// Appends octets, four to a word, the first one lowest.
fn push_octets(words: &mut Vec<u32>, octets: &[u8]) {
    words.extend(octets.chunks_exact(4).map(|four| {
        four.iter()
            .rev()
            .fold(0, |word, octet| (word << 8) | u32::from(*octet))
    }));
}

fn offset(words: &[u32]) -> u32 {
    assert!(words.len() < NODE as usize, "a block is out of offsets");
    words.len() as u32
}
