//! Header field names.

use super::class::{self, word_at};

/// Declares the names with their long forms.
macro_rules! header_names {
    ($($variant:ident $text:literal,)+) => {
        /// A header field name that the edge reads or writes; `Other` is passed on untouched.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        #[repr(u8)]
        pub enum HeaderName {
            $($variant,)+
            Other,
        }

        impl HeaderName {
            /// Every name but `Other`, in order of its number.
            const KNOWN: [Self; Self::Other as usize] = [$(Self::$variant),+];

            /// The long form as the edge writes it; empty for `Other`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other => "",
                }
            }
        }
    };
}

header_names! {
    Via "Via",
    From "From",
    To "To",
    CallId "Call-ID",
    CSeq "CSeq",
    Contact "Contact",
    MaxForwards "Max-Forwards",
    Route "Route",
    RecordRoute "Record-Route",
    ContentLength "Content-Length",
    ContentType "Content-Type",
    ContentEncoding "Content-Encoding",
    Expires "Expires",
    MinExpires "Min-Expires",
    Require "Require",
    ProxyRequire "Proxy-Require",
    Supported "Supported",
    Unsupported "Unsupported",
    Allow "Allow",
    Accept "Accept",
    Authorization "Authorization",
    ProxyAuthorization "Proxy-Authorization",
    WwwAuthenticate "WWW-Authenticate",
    ProxyAuthenticate "Proxy-Authenticate",
    AuthenticationInfo "Authentication-Info",
    ProxyAuthenticationInfo "Proxy-Authentication-Info",
    Path "Path",
    ServiceRoute "Service-Route",
    UserAgent "User-Agent",
    Server "Server",
    Subject "Subject",
    Event "Event",
    SessionExpires "Session-Expires",
    MinSe "Min-SE",
    ReferTo "Refer-To",
    ReferredBy "Referred-By",
    Replaces "Replaces",
    RetryAfter "Retry-After",
    Timestamp "Timestamp",
    Warning "Warning",
    Reason "Reason",
    Privacy "Privacy",
    PAssertedIdentity "P-Asserted-Identity",
    PPreferredIdentity "P-Preferred-Identity",
    PCalledPartyId "P-Called-Party-ID",
    RemotePartyId "Remote-Party-ID",
    Diversion "Diversion",
    MaxBreadth "Max-Breadth",
    FlowTimer "Flow-Timer",
    RSeq "RSeq",
    RAck "RAck",
    Date "Date",
}

/// What a name is recognised by: its first and last eight octets in lower case (all of them twice
/// when it has fewer), the first one lowest, and its length.
#[derive(Clone, Copy)]
struct Key {
    first: u64,
    last: u64,
    length: usize,
}

impl Key {
    #[inline]
    fn is(self, other: Self) -> bool {
        let differs = (self.first ^ other.first) | (self.last ^ other.last);
        differs | (self.length ^ other.length) as u64 == 0
    }
}

/// The longest known name.
const NAME_BYTES_MAX: usize = 25;

/// Names with their compact forms.
const NAMES: usize = HeaderName::KNOWN.len() + COMPACT.len();

/// Slots of the table of names: with so many for 66 names, one multiplier in some hundreds gives
/// no collision.
const SLOTS: usize = 512;

/// RFC 3261 §7.3.3, RFC 3515 §2.1, RFC 3892 §8, RFC 4028 §4, RFC 6665 §8.2.1.
const COMPACT: [(&str, HeaderName); 14] = [
    ("v", HeaderName::Via),
    ("f", HeaderName::From),
    ("t", HeaderName::To),
    ("i", HeaderName::CallId),
    ("m", HeaderName::Contact),
    ("l", HeaderName::ContentLength),
    ("c", HeaderName::ContentType),
    ("e", HeaderName::ContentEncoding),
    ("s", HeaderName::Subject),
    ("k", HeaderName::Supported),
    ("o", HeaderName::Event),
    ("r", HeaderName::ReferTo),
    ("b", HeaderName::ReferredBy),
    ("x", HeaderName::SessionExpires),
];

/// The number of a slot without a name; the key there fits nothing.
const NO_NAME: u8 = 127;

static KEYS: [(Key, HeaderName); 128] = {
    let mut padded = [(
        Key {
            first: 0,
            last: 0,
            length: 0,
        },
        HeaderName::Other,
    ); 128];
    let keys = keys();
    let mut at = 0;
    while at < NAMES {
        padded[at] = keys[at];
        at += 1;
    }
    padded
};

const MULTIPLIER: u64 = multiplier();
static TABLE: [u8; SLOTS] = match table(&keys(), MULTIPLIER) {
    Some(table) => table,
    None => panic!("the multiplier was chosen because it gives a table"),
};

const fn keys() -> [(Key, HeaderName); NAMES] {
    let mut keys = [(
        Key {
            first: 0,
            last: 0,
            length: 0,
        },
        HeaderName::Other,
    ); NAMES];
    let mut at = 0;
    while at < NAMES {
        let known = HeaderName::KNOWN.len();
        let (text, name) = if at < known {
            (HeaderName::KNOWN[at].as_str(), HeaderName::KNOWN[at])
        } else {
            COMPACT[at - known]
        };
        keys[at] = (key(text.as_bytes()), name);
        at += 1;
    }
    keys
}

const fn key(text: &[u8]) -> Key {
    assert!(!text.is_empty() && text.len() <= NAME_BYTES_MAX);
    let width = if text.len() < 8 { text.len() } else { 8 };
    let last = lower(text, text.len() - width, width);
    Key {
        first: lower(text, 0, width),
        last,
        length: text.len(),
    }
}

const fn lower(text: &[u8], start: usize, width: usize) -> u64 {
    let mut word = 0u64;
    let mut at = 0;
    while at < width {
        word |= (text[start + at].to_ascii_lowercase() as u64) << (8 * at);
        at += 1;
    }
    word
}

const fn slot(key: Key, multiplier: u64) -> usize {
    let mixed = key.first ^ key.last.rotate_left(29) ^ key.length as u64;
    (mixed.wrapping_mul(multiplier) >> (u64::BITS - SLOTS.ilog2())) as usize
}

const fn table(keys: &[(Key, HeaderName); NAMES], multiplier: u64) -> Option<[u8; SLOTS]> {
    let mut table = [NO_NAME; SLOTS];
    let mut at = 0;
    while at < keys.len() {
        let slot = slot(keys[at].0, multiplier);
        if table[slot] != NO_NAME {
            return None;
        }
        table[slot] = at as u8;
        at += 1;
    }
    Some(table)
}

const fn multiplier() -> u64 {
    // A linear congruential walk (Knuth's MMIX constants) over odd multipliers.
    let keys = keys();
    let mut candidate = 0x9e37_79b9_7f4a_7c15u64;
    while table(&keys, candidate | 1).is_none() {
        candidate = candidate
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
    }
    candidate | 1
}

/// Bit 0x20 of every lane: makes letters lower-case. Of the octets of a line without control
/// characters it maps none but letters onto letters or `-`.
const CASE: u64 = 0x2020_2020_2020_2020;

impl HeaderName {
    /// Number of variants.
    pub const COUNT: usize = Self::Other as usize + 1;

    /// The name written as `name`, in any case, long or compact (RFC 3261 §7.3.3, §20).
    pub fn from_bytes(name: &[u8]) -> Self {
        let mut padded = [0u8; NAME_BYTES_MAX + 8];
        let Some(copy) = padded.get_mut(..name.len().min(NAME_BYTES_MAX + 1)) else {
            return Self::Other;
        };
        if copy.len() != name.len() || name.iter().any(|&byte| byte < b' ') {
            return Self::Other;
        }
        copy.copy_from_slice(name);
        Self::at(&padded, name.len())
    }

    /// The name that the first `length` octets of `line` are, which hold no control character.
    /// `Other` too when fewer than eight octets follow its start.
    #[inline]
    fn at(line: &[u8], length: usize) -> Self {
        let (Some(first), Some(last)) = (word_at(line, 0), word_at(line, length.max(8) - 8)) else {
            return Self::Other;
        };
        if length == 0 {
            return Self::Other;
        }
        let mask = u64::MAX >> (64 - 8 * length.min(8));
        let key = Key {
            first: (first | CASE) & mask,
            last: (last | CASE) & mask,
            length,
        };
        let number = usize::from(TABLE[slot(key, MULTIPLIER)]);
        let (known, name) = KEYS[number % KEYS.len()];
        if !known.is(key) {
            return Self::Other;
        }
        // Sixteen octets are covered by the key; the middle of a longer name is not.
        let middle_fits = length <= 16 || class::is_name(&line[..length], name.as_str().as_bytes());
        if middle_fits { name } else { Self::Other }
    }

    /// The name at the start of a header line that ends at `end` and holds no control character
    /// but HTAB, and the offset of its colon, `end` when there is none. `Other` says only that the
    /// name was not recognised at once.
    #[inline]
    pub(super) fn read(bytes: &[u8], start: usize, end: usize) -> (Self, usize) {
        let line = &bytes[start..];
        let length = class::find_byte(&line[..end - start], b':');
        // A name alone on its line is none: no value follows it.
        let name = if length < end - start {
            Self::at(line, length)
        } else {
            Self::Other
        };
        (name, start + length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(name: &str) -> HeaderName {
        let long = HeaderName::KNOWN
            .into_iter()
            .find(|k| k.as_str().eq_ignore_ascii_case(name));
        let short = COMPACT
            .into_iter()
            .find(|(text, _)| text.eq_ignore_ascii_case(name));
        long.or(short.map(|(_, name)| name))
            .unwrap_or(HeaderName::Other)
    }

    #[test]
    fn every_name_is_known_in_any_case() {
        for name in HeaderName::KNOWN {
            assert_eq!(HeaderName::from_bytes(name.as_str().as_bytes()), name);
            assert_eq!(
                HeaderName::from_bytes(name.as_str().to_uppercase().as_bytes()),
                name
            );
            assert_eq!(
                HeaderName::from_bytes(name.as_str().to_lowercase().as_bytes()),
                name
            );
        }
        for letter in 0..=255u8 {
            let text = char::from(letter).to_string();
            let expected = if letter.is_ascii() {
                naive(&text)
            } else {
                HeaderName::Other
            };
            assert_eq!(HeaderName::from_bytes(&[letter]), expected);
        }
    }

    #[test]
    fn a_name_with_one_octet_changed_is_another() {
        for name in HeaderName::KNOWN {
            let text = name.as_str().as_bytes();
            for at in 0..text.len() {
                for byte in 0..=255u8 {
                    let mut changed = text.to_vec();
                    changed[at] = byte;
                    let expected = std::str::from_utf8(&changed).map_or(HeaderName::Other, naive);
                    assert_eq!(HeaderName::from_bytes(&changed), expected, "{changed:?}");
                }
            }
        }
    }

    #[test]
    fn names_longer_than_any_known_are_other() {
        for length in 0..64 {
            assert_eq!(
                HeaderName::from_bytes(&vec![b'a'; length + 2]),
                HeaderName::Other
            );
        }
        assert_eq!(HeaderName::from_bytes(b""), HeaderName::Other);
    }

    #[test]
    fn read_finds_name_and_colon() {
        let read = |line: &str| HeaderName::read(line.as_bytes(), 0, line.len());
        assert_eq!(read("Via: xyz"), (HeaderName::Via, 3));
        assert_eq!(read("v:xyzabc"), (HeaderName::Via, 1));
        assert_eq!(read("Via \t : x"), (HeaderName::Other, 6));
        assert_eq!(read("To:"), (HeaderName::Other, 2));
        assert_eq!(
            read("X-Long-Header-Name-Of-Somebody: a:b"),
            (HeaderName::Other, 30)
        );
        assert_eq!(read("no colon"), (HeaderName::Other, 8));
        assert_eq!(read("Content-Length"), (HeaderName::Other, 14));
        // The colon of the next line is not this line's.
        let read = HeaderName::read(b"Via\r\nTo: x      ", 0, 3);
        assert_eq!(read, (HeaderName::Other, 3));
    }

    proptest! {
        #[test]
        fn names_agree_with_a_linear_search(name in "[A-Za-z-]{0,27}") {
            prop_assert_eq!(HeaderName::from_bytes(name.as_bytes()), naive(&name));
        }
    }
}
