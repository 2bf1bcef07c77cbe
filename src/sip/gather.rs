//! The input of a keyed hash, put together before it is hashed.

use std::hash::Hasher;

/// Octets gathered: what a request is told by is mostly shorter.
const GATHERED: usize = 192;

/// Hands octets to a hasher many at a time: SipHash takes eight octets at once, and its setting
/// up for each short piece costs more than copying the piece. The hash is that of the octets one
/// behind the other.
#[derive(Debug)]
pub(crate) struct Gather<H> {
    hasher: H,
    octets: [u8; GATHERED],
    length: usize,
}

impl<H: Hasher> Gather<H> {
    /// Gathers for `hasher`.
    #[inline]
    pub(crate) fn new(hasher: H) -> Self {
        Self {
            hasher,
            octets: [0; GATHERED],
            length: 0,
        }
    }

    /// Appends `bytes`.
    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if let Some(free) = self.octets.get_mut(self.length..end) {
            free.copy_from_slice(bytes);
            self.length = end;
        } else {
            self.hand_over(bytes);
        }
    }

    #[cold]
    fn hand_over(&mut self, bytes: &[u8]) {
        self.hasher.write(&self.octets[..self.length]);
        self.hasher.write(bytes);
        self.length = 0;
    }

    /// The hasher that has seen everything.
    #[inline]
    pub(crate) fn into_hasher(mut self) -> H {
        self.hasher.write(&self.octets[..self.length]);
        self.hasher
    }

    /// The hash of everything.
    #[inline]
    pub(crate) fn finish(self) -> u64 {
        self.into_hasher().finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;

    use super::*;

    proptest! {
        #[test]
        fn the_hash_is_that_of_all_octets_at_once(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..9)
        ) {
            let mut gather = Gather::new(SipHasher13::new_with_key(&[7; 16]));
            parts.iter().for_each(|part| gather.put(part));
            let whole = SipHasher13::new_with_key(&[7; 16]).hash(&parts.concat());
            prop_assert_eq!(gather.finish(), whole);
        }
    }
}
