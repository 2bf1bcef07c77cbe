//! Digest credentials (RFC 2617 §3.2.2, RFC 7616 §3.4, RFC 8760).

use super::class;
use super::cursor::{Cursor, Span};
use super::{ParseError, Reason};

/// A digest algorithm the edge knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum DigestAlgorithm {
    Md5,
    Sha256,
}

impl DigestAlgorithm {
    /// The algorithm named by `token`, in any case.
    pub fn from_token(token: &[u8]) -> Option<Self> {
        let known = [Self::Md5, Self::Sha256];
        known
            .into_iter()
            .find(|known| token.eq_ignore_ascii_case(known.as_str().as_bytes()))
    }

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }
}

/// The fields of a Digest (Proxy-)Authorization value; texts are as between the quotes.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Credentials<'a> {
    pub username: &'a [u8],
    pub realm: &'a [u8],
    pub nonce: &'a [u8],
    pub uri: &'a [u8],
    /// Lower-case hexadecimal as sent; 32 or 64 characters.
    pub response: &'a [u8],
    /// `None` when the parameter names an algorithm that the edge does not know; MD5 when absent.
    pub algorithm: Option<DigestAlgorithm>,
    pub cnonce: &'a [u8],
    /// The nonce count, hexadecimal as sent; empty when absent.
    pub nc: &'a [u8],
    /// Empty when absent.
    pub qop: &'a [u8],
    pub opaque: &'a [u8],
}

/// Parameters that are read, in the order of their slots.
const NAMES: [&[u8]; 10] = [
    b"username",
    b"realm",
    b"nonce",
    b"uri",
    b"response",
    b"algorithm",
    b"cnonce",
    b"nc",
    b"qop",
    b"opaque",
];

impl<'a> Credentials<'a> {
    /// Parses the value of Authorization or Proxy-Authorization. `Ok(None)` for another scheme.
    ///
    /// # Errors
    /// A Digest value with a broken, repeated or missing parameter.
    pub fn parse(value: &'a [u8]) -> Result<Option<Self>, ParseError> {
        let error = |reason, offset| Err(ParseError::new(reason, offset));
        if value.len() > usize::from(u16::MAX) {
            return error(Reason::AuthMalformed, usize::MAX);
        }
        let mut cursor = Cursor::new(value, 0, value.len());
        let scheme = cursor.skip_class(class::TOKEN);
        let behind = cursor.at;
        cursor.skip_space();
        if scheme.is_empty() || cursor.at == behind && !cursor.is_at_end() {
            return error(Reason::AuthMalformed, behind);
        }
        if !scheme.of(value).eq_ignore_ascii_case(b"Digest") {
            return Ok(None);
        }
        let slots = read_params(&mut cursor)?;
        let text = |slot: usize| slots[slot].map_or(&b""[..], |span| span.of(value));
        // RFC 7616 §3.4: these five are always there.
        if slots[..5].iter().any(Option::is_none) {
            return error(Reason::AuthMalformed, value.len());
        }
        let credentials = Self {
            username: text(0),
            realm: text(1),
            nonce: text(2),
            uri: text(3),
            response: text(4),
            algorithm: match slots[5] {
                Some(span) => DigestAlgorithm::from_token(span.of(value)),
                None => Some(DigestAlgorithm::Md5),
            },
            cnonce: text(6),
            nc: text(7),
            qop: text(8),
            opaque: text(9),
        };
        let is_digest = |text: &[u8]| {
            matches!(text.len(), 32 | 64)
                && text
                    .iter()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        if !is_digest(credentials.response) {
            return error(
                Reason::AuthMalformed,
                slots[4].map_or(0, |s| usize::from(s.start)),
            );
        }
        // RFC 7616 §3.4: nc is eight hexadecimal digits.
        if slots[7].is_some()
            && !(credentials.nc.len() == 8 && credentials.nc.iter().all(u8::is_ascii_hexdigit))
        {
            return error(
                Reason::AuthMalformed,
                slots[7].map_or(0, |s| usize::from(s.start)),
            );
        }
        Ok(Some(credentials))
    }
}

/// The slot of the parameter `name`; most are written as they are registered.
#[inline]
fn slot_of(name: &[u8]) -> Option<usize> {
    let exact = NAMES.iter().position(|known| *known == name);
    exact.or_else(|| slot_in_any_case(name))
}

#[cold]
fn slot_in_any_case(name: &[u8]) -> Option<usize> {
    NAMES
        .iter()
        .position(|known| known.eq_ignore_ascii_case(name))
}

/// `dig-resp *( COMMA dig-resp )`: where the values of the known parameters stand.
fn read_params(cursor: &mut Cursor<'_>) -> Result<[Option<Span>; NAMES.len()], ParseError> {
    let mut slots = [None; NAMES.len()];
    loop {
        let start = cursor.at;
        let name = cursor.skip_class(class::TOKEN);
        if name.is_empty() || !cursor.take_spaced(b'=') {
            return cursor.error(Reason::AuthMalformed);
        }
        let value = if cursor.peek() == Some(b'"') {
            cursor.quoted()
        } else {
            Some(cursor.skip_class(class::VALUE)).filter(|value| !value.is_empty())
        };
        let Some(value) = value else {
            return Err(ParseError::new(Reason::AuthMalformed, start));
        };
        let name = name.of(cursor.bytes);
        if let Some(slot) = slot_of(name)
            && slots[slot].replace(value).is_some()
        {
            return Err(ParseError::new(Reason::AuthRepeated, start));
        }
        cursor.skip_space();
        if cursor.is_at_end() {
            return Ok(slots);
        }
        if !cursor.take(b',') {
            return cursor.error(Reason::AuthMalformed);
        }
        cursor.skip_space();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

    use super::*;

    const NEEDED: &str = "username=\"alice\", realm=\"edge\", nonce=\"n0\", uri=\"sip:edge.test\", \
        response=\"00112233445566778899aabbccddeeff\"";

    fn parse(text: &str) -> Result<Option<Credentials<'_>>, Reason> {
        Credentials::parse(text.as_bytes()).map_err(|error| error.reason)
    }

    #[test]
    fn all_fields_are_read_quoted_or_not_in_any_order_and_case() {
        let text = "digest\r\n QOP=auth,nc=0000000a , cnonce = \"c,\\\"=\",Algorithm=\"sha-256\",\
            opaque=\"\",other=x, "
            .to_owned()
            + NEEDED;
        let credentials = parse(&text).unwrap().unwrap();
        assert_eq!(credentials.username, b"alice");
        assert_eq!(credentials.realm, b"edge");
        assert_eq!(credentials.nonce, b"n0");
        assert_eq!(credentials.uri, b"sip:edge.test");
        assert_eq!(credentials.response, b"00112233445566778899aabbccddeeff");
        assert_eq!(credentials.algorithm, Some(DigestAlgorithm::Sha256));
        assert_eq!(
            (credentials.qop, credentials.nc),
            (&b"auth"[..], &b"0000000a"[..])
        );
        assert_eq!(
            (credentials.cnonce, credentials.opaque),
            (&b"c,\\\"="[..], &b""[..])
        );
    }

    #[test]
    fn an_absent_algorithm_is_md5_and_an_unknown_one_none() {
        let algorithm = |more: &str| {
            let text = format!("Digest {NEEDED}{more}");
            parse(&text).unwrap().unwrap().algorithm
        };
        assert_eq!(algorithm(""), Some(DigestAlgorithm::Md5));
        assert_eq!(algorithm(",algorithm=md5"), Some(DigestAlgorithm::Md5));
        assert_eq!(algorithm(",algorithm=MD5-sess"), None);
        assert_eq!(algorithm(",algorithm=SHA-512-256"), None);
    }

    #[test]
    fn other_schemes_are_none() {
        for text in [
            "Basic YTpi",
            "NoOneKnows a=b",
            "Bearer x.y.z",
            "Digests a=b",
            "Negotiate",
        ] {
            assert!(parse(text).unwrap().is_none(), "{text}");
        }
    }

    #[test]
    fn broken_credentials_are_refused() {
        for text in [
            "",
            "Digest",
            "Digest ",
            "Digest x",
            "Digest x=",
            "Digest x=\"",
            "=",
            "Digest,a=b",
        ] {
            assert_eq!(parse(text).err(), Some(Reason::AuthMalformed), "{text}");
        }
        for (more, reason) in [
            (",", Reason::AuthMalformed),
            (",,a=b", Reason::AuthMalformed),
            (" a=b", Reason::AuthMalformed),
            (",nc=1", Reason::AuthMalformed),
            (",nc=0000000g", Reason::AuthMalformed),
            (",username=\"bob\"", Reason::AuthRepeated),
            (",NONCE=x", Reason::AuthRepeated),
        ] {
            let text = format!("Digest {NEEDED}{more}");
            assert_eq!(parse(&text).err(), Some(reason), "{more}");
        }
        for missing in ["username", "realm", "nonce", "uri", "response"] {
            let text = format!("Digest {}", NEEDED.replace(missing, "else"));
            assert_eq!(parse(&text).err(), Some(Reason::AuthMalformed), "{missing}");
        }
        for response in [
            "00",
            "00112233445566778899AABBCCDDEEFF",
            "0011223344556677889 aabbccddeeff",
        ] {
            let text = format!(
                "Digest {}",
                NEEDED.replace("00112233445566778899aabbccddeeff", response)
            );
            assert_eq!(
                parse(&text).err(),
                Some(Reason::AuthMalformed),
                "{response}"
            );
        }
    }
}
