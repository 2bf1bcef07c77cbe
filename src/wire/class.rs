//! Classes of octets (RFC 3261 §25.1) and word-wide searches.

/// `token`.
pub(super) const TOKEN: u16 = 1;
/// `user`, without escapes.
// RFC 3261 §25.1 deviation: `#` belongs escaped, but phones dial service codes with it as it is.
pub(super) const USER: u16 = 1 << 1;
/// `password`, without escapes.
pub(super) const PASSWORD: u16 = 1 << 2;
/// `paramchar` of a URI parameter, without escapes.
pub(super) const URI_PARAM: u16 = 1 << 3;
/// `hnv` of a URI header, with its `=` and `&`, without escapes.
pub(super) const URI_HEADER: u16 = 1 << 4;
/// What the value of a header parameter may hold when it is not quoted.
// RFC 3261 §25.1 deviation: `gen-value` is a token, a host or a quoted string; phones also send
// `/`, `=`, `@` and their like unquoted in tags and branches, because other parsers let them pass.
pub(super) const VALUE: u16 = 1 << 5;
/// Letters, digits, `-`, `.` and `_` of a host name.
// RFC 3261 §25.1 deviation: `_` is no host name character but stands in names people use.
pub(super) const HOST: u16 = 1 << 6;
/// `reserved`, `unreserved`, `[]` and `#`: any URI.
pub(super) const URI: u16 = 1 << 7;
/// What stands for itself in a quoted string; not a `"`, a backslash or a control character.
pub(super) const QUOTED: u16 = 1 << 8;

static CLASSES: [u16; 256] = classes();

const fn classes() -> [u16; 256] {
    let mut table = [0u16; 256];
    let mut octet = 0;
    while octet < 256 {
        let byte = octet as u8;
        let mut class = 0;
        let unreserved = byte.is_ascii_alphanumeric() || contains(b"-_.!~*'()", byte);
        if byte.is_ascii_alphanumeric() || contains(b"-.!%*_+`'~", byte) {
            class |= TOKEN;
        }
        if unreserved || contains(b"&=+$,;?/#", byte) {
            class |= USER;
        }
        if unreserved || contains(b"&=+$,", byte) {
            class |= PASSWORD;
        }
        if unreserved || contains(b"[]/:&+$", byte) {
            class |= URI_PARAM;
        }
        if unreserved || contains(b"[]/?:+$=&", byte) {
            class |= URI_HEADER;
        }
        if byte > b' ' && byte != 0x7f && !contains(b"\"<>;,()\\{}", byte) {
            class |= VALUE;
        }
        if byte.is_ascii_alphanumeric() || contains(b"-._", byte) {
            class |= HOST;
        }
        if unreserved || contains(b";/?:@&=+$,[]#", byte) {
            class |= URI;
        }
        if !byte.is_ascii_control() && byte != b'"' && byte != b'\\' {
            class |= QUOTED;
        }
        table[octet] = class;
        octet += 1;
    }
    table
}

const fn contains(set: &[u8], byte: u8) -> bool {
    let mut at = 0;
    while at < set.len() {
        if set[at] == byte {
            return true;
        }
        at += 1;
    }
    false
}

/// Whether `name` is `known` in any case; most are written as they are registered.
#[inline]
pub(super) fn is_name(name: &[u8], known: &[u8]) -> bool {
    name == known || name.eq_ignore_ascii_case(known)
}

/// Whether `byte` is of one of the classes in `class`.
#[inline]
pub(super) fn is(byte: u8, class: u16) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The eight octets at `at`, the first lowest.
#[inline]
pub(super) fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..)?
        .first_chunk::<8>()
        .map(|chunk| u64::from_le_bytes(*chunk))
}

/// High bits of the lanes of `word` that hold `byte`; exact up to the lowest one set.
#[inline]
pub(super) fn lanes_equal(word: u64, byte: u8) -> u64 {
    let difference = word ^ ONES.wrapping_mul(byte as u64);
    difference.wrapping_sub(ONES) & !difference & HIGHS
}

/// Number of the lowest lane of a non-zero lane mask.
#[inline]
pub(super) fn lane(mask: u64) -> usize {
    (mask.trailing_zeros() >> 3) as usize
}

/// Position of the first control character but HTAB at or after `at`, or the length of `bytes`.
#[inline(always)]
pub(super) fn find_control(bytes: &[u8], at: usize) -> usize {
    let mut rest = bytes.get(at..).unwrap_or_default();
    while let Some((chunk, tail)) = rest.split_first_chunk::<16>() {
        // The compiler makes one vector comparison of the fold.
        if !chunk
            .iter()
            .fold(false, |any, &byte| any | (byte < b' ') | (byte == DEL))
        {
            rest = tail;
            continue;
        }
        let lane = lane_of_control(chunk);
        if chunk[lane % 16] != b'\t' {
            return bytes.len() - rest.len() + lane;
        }
        rest = &rest[lane + 1..];
    }
    let stop = rest
        .iter()
        .position(|&byte| byte.is_ascii_control() && byte != b'\t');
    bytes.len() - rest.len() + stop.unwrap_or(rest.len())
}

/// Position of the first control character of a chunk that has one.
#[inline]
fn lane_of_control(chunk: &[u8; 16]) -> usize {
    let low = controls(
        chunk
            .first_chunk()
            .map_or(0, |half| u64::from_le_bytes(*half)),
    );
    if low != 0 {
        return lane(low);
    }
    8 + lane(controls(
        chunk
            .last_chunk()
            .map_or(0, |half| u64::from_le_bytes(*half)),
    ))
}

/// Position of the first `byte` in `text`, or its length. For texts of some ten octets, where
/// memchr's dispatch costs more than the search.
#[inline]
pub(super) fn find_byte(text: &[u8], byte: u8) -> usize {
    let mut rest = text;
    while let Some((word, tail)) = rest.split_first_chunk::<8>() {
        let hits = lanes_equal(u64::from_le_bytes(*word), byte);
        if hits != 0 {
            return text.len() - rest.len() + lane(hits);
        }
        rest = tail;
    }
    let stop = rest.iter().position(|&other| other == byte);
    text.len() - rest.len() + stop.unwrap_or(rest.len())
}

const DEL: u8 = 0x7f;

/// High bits of the lanes of `word` that hold a control character; exact up to the lowest one.
#[inline]
fn controls(word: u64) -> u64 {
    // An octet below 0x20 borrows into its high bit; those at or above 0x80 are masked out.
    (word.wrapping_sub(ONES.wrapping_mul(0x20)) & !word & HIGHS) | lanes_equal(word, DEL)
}

/// How many octets at the start of `text` are of `class`.
pub(super) fn span_of(text: &[u8], class: u16) -> usize {
    let mut rest = text;
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        for (at, &byte) in chunk.iter().enumerate() {
            if !is(byte, class) {
                return text.len() - rest.len() + at;
            }
        }
        rest = tail;
    }
    let more = rest.iter().take_while(|&&byte| is(byte, class)).count();
    text.len() - rest.len() + more
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn word_at_stops_before_the_end() {
        assert_eq!(
            word_at(b"12345678", 0),
            Some(u64::from_le_bytes(*b"12345678"))
        );
        assert_eq!(word_at(b"12345678", 1), None);
        assert_eq!(word_at(b"", 9), None);
    }

    #[test]
    fn classes_follow_the_grammar() {
        for byte in 0..=255u8 {
            let separator = b"()<>@,;:\\\"/[]?={} \t".contains(&byte);
            let token = byte > b' ' && byte < 0x7f && !separator && !b"#$&^|".contains(&byte);
            assert_eq!(is(byte, TOKEN), token, "{byte:#x}");
            if byte >= 0x80 || byte <= b' ' || byte == 0x7f {
                assert!(!is(byte, !(VALUE | QUOTED)), "{byte:#x}");
            }
        }
        assert!(is(0xc3, VALUE));
        assert!(!is(b'"', VALUE | URI));
    }

    proptest! {
        #[test]
        fn find_control_agrees_with_a_plain_loop(
            bytes in prop::collection::vec(prop_oneof![9 => b' '..=255u8, 1 => 0..32u8], 0..80),
            at in 0usize..90,
        ) {
            let plain = (at..bytes.len())
                .find(|&i| bytes[i] < b' ' && bytes[i] != b'\t' || bytes[i] == 0x7f)
                .unwrap_or(bytes.len());
            prop_assert_eq!(find_control(&bytes, at), plain, "{:?}", bytes);
        }

        #[test]
        fn span_of_counts_the_octets_of_a_class(text in "[a-c;]{0,24}") {
            let plain = text.bytes().take_while(|&byte| byte != b';').count();
            prop_assert_eq!(span_of(text.as_bytes(), TOKEN), plain);
        }

        #[test]
        fn find_byte_agrees_with_a_plain_loop(text in "[a-c;]{0,24}") {
            let plain = text.find(';').unwrap_or(text.len());
            prop_assert_eq!(find_byte(text.as_bytes(), b';'), plain);
        }

        #[test]
        fn lanes_equal_finds_the_first(word: u64, byte: u8) {
            let plain = word.to_le_bytes().iter().position(|&b| b == byte);
            let mask = lanes_equal(word, byte);
            prop_assert_eq!((mask != 0).then(|| lane(mask)), plain);
        }
    }
}
