//! SIP, SIPS and tel URIs (RFC 3261 §19.1, RFC 3966).

use std::net::{IpAddr, Ipv4Addr};

use crate::limits::PARAMS_MAX;

use super::class;
use super::cursor::{Cursor, Span};
use super::{Params, ParseError, Reason, Writer};

/// A URI scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Scheme {
    Sip,
    Sips,
    Tel,
    Other,
}

/// The parts of a URI as written; nothing is un-escaped.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    /// The scheme.
    pub scheme: Scheme,
    /// The user part, without password; the number of a tel URI.
    pub user: Option<&'a [u8]>,
    /// The password.
    pub password: Option<&'a [u8]>,
    /// The host, brackets of an IPv6 reference included; empty for tel.
    pub host: &'a [u8],
    /// The port.
    pub port: Option<u16>,
    /// URI parameters.
    pub params: Params<'a>,
    /// What follows `?`.
    pub headers: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Parses a whole URI. An unknown scheme gives `Scheme::Other` with everything else empty.
    ///
    /// # Errors
    /// What breaks RFC 3261 §25.1; offsets are relative to `text`.
    pub fn parse(text: &'a [u8]) -> Result<Self, ParseError> {
        if text.len() > usize::from(u16::MAX) {
            return Err(ParseError::new(Reason::UriMalformed, usize::MAX));
        }
        let mut cursor = Cursor::new(text, 0, text.len());
        match scheme(&mut cursor)? {
            Scheme::Tel => tel(cursor),
            Scheme::Other => other(cursor),
            scheme @ (Scheme::Sip | Scheme::Sips) => sip(cursor, scheme),
        }
    }

    const fn empty(scheme: Scheme) -> Self {
        Self {
            scheme,
            user: None,
            password: None,
            host: b"",
            port: None,
            params: Params { rest: b"" },
            headers: b"",
        }
    }

    /// Writes the user part un-escaped; returns false when an escape is malformed or yields a
    /// control character.
    pub fn write_user(&self, out: &mut Writer<'_>) -> bool {
        let mut rest = self.user.unwrap_or_default();
        while let Some((byte, escaped, tail)) = next_octet(rest) {
            if escaped && byte.is_ascii_control() || byte == b'%' && !escaped {
                return false;
            }
            out.put(&[byte]);
            rest = tail;
        }
        true
    }

    /// Writes the number in the user part for comparison: un-escaped, visual separators
    /// (`-`, `.`, `(`, `)`) and parameters removed. False when the user is not a number.
    pub fn write_number(&self, out: &mut Writer<'_>) -> bool {
        let mut rest = self.user.unwrap_or_default();
        let mut digits = 0;
        let mut plus = false;
        while let Some((byte, escaped, tail)) = next_octet(rest) {
            rest = tail;
            match byte {
                // RFC 3261 §19.1.6: telephone-subscriber parameters lie in the user part.
                b';' if !escaped => break,
                b'-' | b'.' | b'(' | b')' => {}
                b'+' if digits == 0 && !plus => {
                    plus = true;
                    out.put(b"+");
                }
                b'0'..=b'9' | b'*' | b'#' => {
                    digits += 1;
                    out.put(&[byte]);
                }
                _ => return false,
            }
        }
        digits > 0
    }

    /// The host as an address, when it is one; an IPv6 reference without its brackets.
    pub fn host_addr(&self) -> Option<IpAddr> {
        host_addr(self.host)
    }
}

/// Where the parts of a URI stand in a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct UriSpans {
    scheme: Scheme,
    user: Option<Span>,
    password: Option<Span>,
    host: Span,
    port: Option<u16>,
    params: Span,
    headers: Span,
}

impl UriSpans {
    /// Those of `uri`, which was parsed from a part of `bytes`.
    pub(super) fn of(uri: &Uri<'_>, bytes: &[u8]) -> Self {
        let span = |part: &[u8]| {
            if part.is_empty() {
                return Span::default();
            }
            let start = part.as_ptr().addr() - bytes.as_ptr().addr();
            Span::new(start, start + part.len())
        };
        Self {
            scheme: uri.scheme,
            user: uri.user.map(span),
            password: uri.password.map(span),
            host: span(uri.host),
            port: uri.port,
            params: span(uri.params.rest),
            headers: span(uri.headers),
        }
    }

    /// The URI, of the same `bytes`.
    pub(super) fn view(self, bytes: &[u8]) -> Uri<'_> {
        Uri {
            scheme: self.scheme,
            user: self.user.map(|span| span.of(bytes)),
            password: self.password.map(|span| span.of(bytes)),
            host: self.host.of(bytes),
            port: self.port,
            params: Params {
                rest: self.params.of(bytes),
            },
            headers: self.headers.of(bytes),
        }
    }
}

/// The address that a host of a URI or a Via is, without brackets.
#[must_use]
pub fn host_addr(host: &[u8]) -> Option<IpAddr> {
    match host.strip_prefix(b"[") {
        Some(rest) => {
            let text = std::str::from_utf8(rest.strip_suffix(b"]")?).ok()?;
            text.parse().ok().map(IpAddr::V6)
        }
        None => ipv4_addr(host).map(IpAddr::V4),
    }
}

/// `1*3DIGIT "." 1*3DIGIT "." 1*3DIGIT "." 1*3DIGIT`, as the standard library reads it: no number
/// above 255, none with a zero in front.
fn ipv4_addr(text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut at = 0;
    let mut digits = 0;
    for &byte in text {
        let octet = &mut octets[at];
        match byte {
            b'0'..=b'9' if digits == 0 || *octet > 0 => {
                digits += 1;
                *octet = *octet * 10 + u16::from(byte - b'0');
                if *octet > 255 {
                    return None;
                }
            }
            b'.' if digits > 0 && at < 3 => {
                at += 1;
                digits = 0;
            }
            _ => return None,
        }
    }
    let [a, b, c, d] = octets.map(|octet: u16| octet as u8);
    (at == 3 && digits > 0).then(|| Ipv4Addr::new(a, b, c, d))
}

/// The first octet of `text` un-escaped, whether it was escaped, and what follows. A `%` without
/// two hexadecimal digits stands for itself.
#[inline]
pub(super) fn next_octet(text: &[u8]) -> Option<(u8, bool, &[u8])> {
    let (&first, rest) = text.split_first()?;
    if first == b'%'
        && let [high, low, tail @ ..] = rest
        && let (Some(high), Some(low)) = (hex(*high), hex(*low))
    {
        return Some((high << 4 | low, true, tail));
    }
    Some((first, false, rest))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// The scheme and its colon.
#[inline]
fn scheme(cursor: &mut Cursor<'_>) -> Result<Scheme, ParseError> {
    let text = cursor.bytes;
    if text.starts_with(b"sip:") {
        cursor.at = 4;
        return Ok(Scheme::Sip);
    }
    while cursor
        .peek()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    {
        cursor.at += 1;
    }
    let name = &text[..cursor.at];
    if !name.first().is_some_and(u8::is_ascii_alphabetic) || !cursor.take(b':') {
        return cursor.error(Reason::UriMalformed);
    }
    // RFC 3261 §19.1.4 and RFC 3986 §3.1: schemes are compared without regard to case.
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    Ok(if is("sip") {
        Scheme::Sip
    } else if is("sips") {
        Scheme::Sips
    } else if is("tel") {
        Scheme::Tel
    } else {
        Scheme::Other
    })
}

fn other(mut cursor: Cursor<'_>) -> Result<Uri<'_>, ParseError> {
    let rest = skip_escaped(&mut cursor, class::URI)?;
    if rest.is_empty() || !cursor.is_at_end() {
        return cursor.error(Reason::UriMalformed);
    }
    Ok(Uri::empty(Scheme::Other))
}

fn tel(mut cursor: Cursor<'_>) -> Result<Uri<'_>, ParseError> {
    let start = cursor.at;
    cursor.take(b'+');
    // RFC 3966 §3: digits, hexadecimal ones in local numbers, `*`, `#` and visual separators.
    while cursor
        .peek()
        .is_some_and(|byte| byte.is_ascii_hexdigit() || b"*#-.()".contains(&byte))
    {
        cursor.at += 1;
    }
    let number = &cursor.bytes[start..cursor.at];
    if !number
        .iter()
        .any(|byte| byte.is_ascii_hexdigit() || b"*#".contains(byte))
    {
        return cursor.error(Reason::UriMalformed);
    }
    let params = uri_params(&mut cursor)?;
    if !cursor.is_at_end() {
        return cursor.error(Reason::UriMalformed);
    }
    let params = Params {
        rest: params.of(cursor.bytes),
    };
    Ok(Uri {
        user: Some(number),
        params,
        ..Uri::empty(Scheme::Tel)
    })
}

#[inline]
fn sip(mut cursor: Cursor<'_>, scheme: Scheme) -> Result<Uri<'_>, ParseError> {
    let text = cursor.bytes;
    let mut uri = Uri::empty(scheme);
    userinfo(&mut cursor, &mut uri)?;
    let Some(host) = cursor.host() else {
        return cursor.error(Reason::UriMalformed);
    };
    uri.host = host.of(text);
    if cursor.take(b':') {
        let Some(port) = cursor.port() else {
            return cursor.error(Reason::UriMalformed);
        };
        uri.port = Some(port);
    }
    uri.params = Params {
        rest: uri_params(&mut cursor)?.of(text),
    };
    if cursor.take(b'?') {
        uri.headers = uri_headers(&mut cursor)?.of(text);
    }
    if !cursor.is_at_end() {
        return cursor.error(Reason::UriMalformed);
    }
    Ok(uri)
}

/// `[ userinfo ]`: without an `@` behind it there is none, and the cursor stays.
#[inline]
fn userinfo<'a>(cursor: &mut Cursor<'a>, uri: &mut Uri<'a>) -> Result<(), ParseError> {
    let start = cursor.at;
    let user = skip_escaped(cursor, class::USER)?;
    let mut password = None;
    if cursor.take(b':') {
        password = Some(skip_escaped(cursor, class::PASSWORD)?.of(cursor.bytes));
    }
    if !cursor.take(b'@') {
        cursor.at = start;
        return Ok(());
    }
    if user.is_empty() {
        return Err(ParseError::new(Reason::UriMalformed, start));
    }
    uri.user = Some(user.of(cursor.bytes));
    uri.password = password;
    Ok(())
}

/// Skips octets of `class` and escapes.
#[inline]
fn skip_escaped(cursor: &mut Cursor<'_>, class: u16) -> Result<Span, ParseError> {
    let start = cursor.at;
    loop {
        cursor.skip_class(class);
        if cursor.peek() != Some(b'%') {
            return Ok(Span::new(start, cursor.at));
        }
        match cursor.bytes.get(cursor.at + 1..cursor.at + 3) {
            Some([high, low]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                cursor.at += 3;
            }
            _ => return cursor.error(Reason::UriEscapeMalformed),
        }
    }
}

/// `*( ";" pname [ "=" pvalue ] )`: the span of it all.
#[inline]
fn uri_params(cursor: &mut Cursor<'_>) -> Result<Span, ParseError> {
    let start = cursor.at;
    let mut seen = 0u8;
    for count in 0.. {
        let at = cursor.at;
        if !cursor.take(b';') {
            break;
        }
        if count == PARAMS_MAX {
            return Err(ParseError::new(Reason::ParametersTooMany, at));
        }
        let name = skip_escaped(cursor, class::URI_PARAM)?;
        if name.is_empty() {
            return cursor.error(Reason::UriMalformed);
        }
        if cursor.take(b'=') && skip_escaped(cursor, class::URI_PARAM)?.is_empty() {
            return cursor.error(Reason::UriMalformed);
        }
        let bit = read_param(name.of(cursor.bytes));
        if seen & bit != 0 {
            return Err(ParseError::new(Reason::ParameterRepeated, at));
        }
        seen |= bit;
    }
    Ok(Span::new(start, cursor.at))
}

/// The bit of a parameter that the edge reads, so that it may stand once; 0 for others.
#[inline]
fn read_param(name: &[u8]) -> u8 {
    match name {
        b"lr" => LR,
        b"transport" => TRANSPORT,
        _ => read_rare_param(name),
    }
}

const LR: u8 = 1;
const TRANSPORT: u8 = 1 << 1;

fn read_rare_param(name: &[u8]) -> u8 {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    match name.len() {
        2 if is("lr") => LR,
        2 if is("ob") => 1 << 2,
        2 if is("gr") => 1 << 3,
        3 if is("ttl") => 1 << 4,
        4 if is("user") => 1 << 5,
        5 if is("maddr") => 1 << 6,
        6 if is("method") => 1 << 7,
        9 if is("transport") => TRANSPORT,
        _ => 0,
    }
}

/// `hname "=" hvalue *( "&" hname "=" hvalue )`, where `hvalue` may be empty.
fn uri_headers(cursor: &mut Cursor<'_>) -> Result<Span, ParseError> {
    let start = cursor.at;
    let headers = skip_escaped(cursor, class::URI_HEADER)?;
    for header in headers.of(cursor.bytes).split(|&byte| byte == b'&') {
        if header
            .iter()
            .position(|&byte| byte == b'=')
            .is_none_or(|equals| equals == 0)
        {
            return Err(ParseError::new(Reason::UriMalformed, start));
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Uri<'_> {
        Uri::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error:?}"))
    }

    fn bytes(text: &str) -> &[u8] {
        text.as_bytes()
    }

    #[test]
    fn all_parts_of_a_sip_uri_are_read() {
        let uri = parse("SIPS:al;ice%20?x=/:p&w@[2001:db8::1]:5061;lr;a=b?subject=x&y=");
        assert_eq!(uri.scheme, Scheme::Sips);
        assert_eq!(uri.user, Some(bytes("al;ice%20?x=/")));
        assert_eq!(uri.password, Some(bytes("p&w")));
        assert_eq!((uri.host, uri.port), (bytes("[2001:db8::1]"), Some(5061)));
        assert_eq!(uri.params.find("LR"), Some(None));
        assert_eq!(uri.params.value("a"), Some(bytes("b")));
        assert_eq!(uri.headers, bytes("subject=x&y="));
        assert_eq!(uri.host_addr(), Some("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn what_may_be_absent_is_absent() {
        let uri = parse("sip:edge.test");
        assert_eq!((uri.user, uri.password, uri.port), (None, None, None));
        assert_eq!((uri.host, uri.host_addr()), (bytes("edge.test"), None));
        assert!(uri.params.as_bytes().is_empty() && uri.headers.is_empty());
        assert_eq!(parse("sip:u:@h").password, Some(bytes("")));
        assert_eq!(parse("sip:192.0.2.1:5060;transport=udp").port, Some(5060));
        assert_eq!(
            parse("sip:192.0.2.1").host_addr(),
            Some("192.0.2.1".parse().unwrap())
        );
    }

    #[test]
    fn tel_and_unknown_schemes_are_told_apart() {
        let uri = parse("tel:+1-555(0100);phone-context=x.test");
        assert_eq!(uri.scheme, Scheme::Tel);
        assert_eq!(
            (uri.user, uri.host),
            (Some(bytes("+1-555(0100)")), bytes(""))
        );
        assert_eq!(uri.params.value("phone-context"), Some(bytes("x.test")));
        for other in [
            "urn:service:sos",
            "soap.beep://192.0.2.1:3002",
            "nobody:opaque",
            "http://a/b?c",
        ] {
            assert_eq!(parse(other).scheme, Scheme::Other, "{other}");
        }
    }

    #[test]
    fn broken_uris_are_refused() {
        for (text, reason) in [
            ("", Reason::UriMalformed),
            ("sip", Reason::UriMalformed),
            ("sip:", Reason::UriMalformed),
            (":a", Reason::UriMalformed),
            ("1sip:a", Reason::UriMalformed),
            ("sip:@h", Reason::UriMalformed),
            ("sip:a@", Reason::UriMalformed),
            ("sip:a@b@c", Reason::UriMalformed),
            ("sip:a b@c", Reason::UriMalformed),
            ("sip:a\"@c", Reason::UriMalformed),
            ("sip:a@b:", Reason::UriMalformed),
            ("sip:a@b:x", Reason::UriMalformed),
            ("sip:a@b:70000", Reason::UriMalformed),
            ("sip:a@b..c", Reason::UriMalformed),
            ("sip:a@[::1", Reason::UriMalformed),
            ("sip:a@[1.2.3.4]", Reason::UriMalformed),
            ("sip:a@b;", Reason::UriMalformed),
            ("sip:a@b;=x", Reason::UriMalformed),
            ("sip:a@b;x=", Reason::UriMalformed),
            ("sip:a@b;x=\"y\"", Reason::UriMalformed),
            ("sip:a@b?", Reason::UriMalformed),
            ("sip:a@b?x", Reason::UriMalformed),
            ("sip:a@b?=x", Reason::UriMalformed),
            ("sip:a@b c", Reason::UriMalformed),
            ("sip:a@b>", Reason::UriMalformed),
            ("sip:%@b", Reason::UriEscapeMalformed),
            ("sip:%4@b", Reason::UriEscapeMalformed),
            ("sip:%4g@b", Reason::UriEscapeMalformed),
            ("sip:a@b;x=%", Reason::UriEscapeMalformed),
            ("sip:a@b;lr;LR", Reason::ParameterRepeated),
            (
                "sip:a@b;transport=udp;transport=tcp",
                Reason::ParameterRepeated,
            ),
            ("tel:", Reason::UriMalformed),
            ("tel:+", Reason::UriMalformed),
            ("tel:1@2", Reason::UriMalformed),
            ("urn:", Reason::UriMalformed),
            ("urn:<x>", Reason::UriMalformed),
        ] {
            let error = Uri::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.reason, reason, "{text}");
        }
        let many = format!("sip:a@b{}", ";p".repeat(PARAMS_MAX + 1));
        assert_eq!(
            Uri::parse(many.as_bytes()).unwrap_err().reason,
            Reason::ParametersTooMany
        );
    }

    fn written(write: impl FnOnce(&mut Writer<'_>) -> bool) -> Option<String> {
        let mut buffer = [0u8; 64];
        let mut out = Writer::new(&mut buffer);
        write(&mut out).then(|| String::from_utf8(out.written().to_vec()).unwrap())
    }

    #[test]
    fn users_are_written_un_escaped_once() {
        for (text, user) in [
            ("sip:a%6Cice@h", Some("alice")),
            ("sip:%2541@h", Some("%41")),
            ("sip:sips%3Auser%40x@h", Some("sips:user@x")),
            ("sip:a%00b@h", None),
            ("sip:a%0d%0Ab@h", None),
            ("sip:a%7f@h", None),
            ("sip:h", Some("")),
        ] {
            let uri = parse(text);
            assert_eq!(
                written(|out| uri.write_user(out)).as_deref(),
                user,
                "{text}"
            );
        }
    }

    #[test]
    fn numbers_are_written_without_separators_and_parameters() {
        for (text, number) in [
            ("sip:+1-555.0100@h", Some("+15550100")),
            ("sip:%2B15550100;ext=5@h;user=phone", Some("+15550100")),
            ("tel:+1(555)0100;ext=5", Some("+15550100")),
            ("sip:*21%23@h", Some("*21#")),
            ("sip:100@h", Some("100")),
            ("sip:alice@h", None),
            ("sip:1a@h", None),
            ("sip:1+2@h", None),
            ("sip:++1@h", None),
            ("sip:+@h", None),
            ("sip:h", None),
        ] {
            let uri = parse(text);
            assert_eq!(
                written(|out| uri.write_number(out)).as_deref(),
                number,
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn addresses_are_those_the_standard_library_reads(
            text in prop_oneof![
                "([0-9]{0,4}\\.){2,4}[0-9]{0,4}",
                "((1?[0-9]|2[0-5])?[0-9]\\.){3}[0-9]{1,3}[.x ]?",
                "[0-9a-f.: ]{0,12}",
            ]
        ) {
            let expected = text.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
            prop_assert_eq!(host_addr(text.as_bytes()), expected);
        }
    }
}
