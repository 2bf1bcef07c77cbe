//! An address as the trie reads it: 16 bits for the slot, then octets.

/// An IPv4 or IPv6 address as a number, first octet highest.
pub(super) trait Key: Copy + Ord + Default {
    /// Words an address takes in a block.
    const WORDS: usize;

    /// The first 16 bits.
    fn slot(self) -> usize;
    /// The octet at `index`, counted from the first.
    fn octet(self, index: u32) -> u8;
    /// True when the first `octets` (at least 1) octets are those of the address in `words`.
    fn begins_like(self, words: &[u32], octets: u32) -> bool;
    /// Appends the address to a block.
    fn push_to(self, words: &mut Vec<u32>);
    /// How many leading bits two addresses share.
    fn common_bits(self, other: Self) -> u32;
}

impl Key for u32 {
    const WORDS: usize = 1;

    #[inline]
    fn slot(self) -> usize {
        (self >> 16) as usize
    }

    #[inline]
    fn octet(self, index: u32) -> u8 {
        (self >> (24 - 8 * index)) as u8
    }

    #[inline]
    fn begins_like(self, words: &[u32], octets: u32) -> bool {
        (self ^ words[0]) >> (32 - 8 * octets) == 0
    }

    fn push_to(self, words: &mut Vec<u32>) {
        words.push(self);
    }

    fn common_bits(self, other: Self) -> u32 {
        (self ^ other).leading_zeros()
    }
}

impl Key for u128 {
    const WORDS: usize = 4;

    #[inline]
    fn slot(self) -> usize {
        (self >> 112) as usize
    }

    #[inline]
    fn octet(self, index: u32) -> u8 {
        (self >> (120 - 8 * index)) as u8
    }

    #[inline]
    fn begins_like(self, words: &[u32], octets: u32) -> bool {
        let [a, b, c, d] = [words[0], words[1], words[2], words[3]].map(Self::from);
        let key = (a << 96) | (b << 64) | (c << 32) | d;
        (self ^ key) >> (128 - 8 * octets) == 0
    }

    fn push_to(self, words: &mut Vec<u32>) {
        words.extend([96, 64, 32, 0].map(|shift| (self >> shift) as u32));
    }

    fn common_bits(self, other: Self) -> u32 {
        (self ^ other).leading_zeros()
    }
}
