//! A position in the value of a header field, and the tokens that stand there.

use crate::limits::PARAMS_MAX;

use super::class;
use super::{ParseError, Reason};

/// Where something stands in a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u16,
    pub(super) end: u16,
}

impl Span {
    /// `start..end`, both within a message, which is shorter than 2^16 octets.
    #[inline]
    pub(super) fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= usize::from(u16::MAX));
        Self {
            start: start as u16,
            end: end as u16,
        }
    }

    /// The octets of the span.
    #[inline]
    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[usize::from(self.start)..usize::from(self.end)]
    }

    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Reads tokens from `at` up to the end of `bytes`; offsets are those of the message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    /// Reads `bytes[start..end]`.
    #[inline]
    pub(super) fn new(bytes: &'a [u8], start: usize, end: usize) -> Self {
        Self {
            bytes: &bytes[..end],
            at: start,
        }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    #[inline]
    pub(super) fn error<T>(&self, reason: Reason) -> Result<T, ParseError> {
        Err(ParseError::new(reason, self.at))
    }

    /// Skips linear white space: SP, HTAB, and CRLF before one of them.
    #[inline]
    pub(super) fn skip_space(&mut self) {
        if self.peek().is_some_and(|byte| byte <= b' ') {
            self.skip_space_found();
        }
    }

    fn skip_space_found(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' => self.at += 1,
                b'\r' if self.is_fold() => self.at += 3,
                _ => return,
            }
        }
    }

    fn is_fold(&self) -> bool {
        matches!(
            self.bytes.get(self.at..self.at + 3),
            Some([b'\r', b'\n', b' ' | b'\t'])
        )
    }

    /// Skips octets of `class` and gives what was skipped.
    #[inline]
    pub(super) fn skip_class(&mut self, class: u16) -> Span {
        let start = self.at;
        self.at += class::span_of(&self.bytes[start..], class);
        Span::new(start, self.at)
    }

    /// Takes `byte` when it stands here.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    /// Takes `byte` with white space around it; moves nowhere when it does not stand here.
    #[inline]
    pub(super) fn take_spaced(&mut self, byte: u8) -> bool {
        let start = self.at;
        self.skip_space();
        if !self.take(byte) {
            self.at = start;
            return false;
        }
        self.skip_space();
        true
    }

    /// A quoted string, which starts here: the text between the quotes. `None` when it is not
    /// closed or holds a control character that no backslash precedes.
    pub(super) fn quoted(&mut self) -> Option<Span> {
        let start = self.at + 1;
        self.at = start;
        loop {
            self.skip_class(class::QUOTED);
            match self.peek()? {
                b'"' => break,
                // RFC 3261 §25.1: quoted-pair = "\" (%x00-09 / %x0B-0C / %x0E-7F)
                b'\\' if matches!(self.bytes.get(self.at + 1)?, b'\r' | b'\n' | 0x80..) => {
                    return None;
                }
                b'\\' => self.at += 2,
                b'\r' if self.is_fold() => self.at += 3,
                b'\t' => self.at += 1,
                _ => return None,
            }
        }
        self.at += 1;
        Some(Span::new(start, self.at - 1))
    }

    /// `*( SEMI generic-param )`: calls `each` with every name and value (between the quotes when
    /// quoted; `None` without `=`) and gives the span from the first `;` to the last parameter.
    #[inline]
    pub(super) fn params(
        &mut self,
        mut each: impl FnMut(&Self, Span, Option<Span>) -> Result<(), Reason>,
    ) -> Result<Span, ParseError> {
        let mut span = Span::new(self.at, self.at);
        for count in 0.. {
            let before = self.at;
            self.skip_space();
            if self.peek() != Some(b';') {
                self.at = before;
                break;
            }
            if count == 0 {
                span.start = self.at as u16;
            }
            if count == PARAMS_MAX {
                return self.error(Reason::ParametersTooMany);
            }
            self.at += 1;
            self.skip_space();
            let name = self.skip_class(class::TOKEN);
            if name.is_empty() {
                return self.error(Reason::ParameterMalformed);
            }
            let value = if self.take_spaced(b'=') {
                Some(self.param_value()?)
            } else {
                None
            };
            if let Err(reason) = each(self, name, value) {
                return Err(ParseError::new(reason, usize::from(name.start)));
            }
            span.end = self.at as u16;
        }
        Ok(span)
    }

    #[inline]
    fn param_value(&mut self) -> Result<Span, ParseError> {
        let start = self.at;
        let value = if self.peek() == Some(b'"') {
            self.quoted()
        } else {
            Some(self.skip_class(class::VALUE)).filter(|value| !value.is_empty())
        };
        value.ok_or_else(|| ParseError::new(Reason::ParameterMalformed, start))
    }

    /// `host`: a name, an IPv4 address, or an IPv6 reference with its brackets.
    #[inline]
    pub(super) fn host(&mut self) -> Option<Span> {
        if self.peek() == Some(b'[') {
            return self.ipv6_reference();
        }
        let start = self.at;
        // Every label has a first character, and none of a name's ends is `-`.
        let mut before = b'.';
        for &byte in &self.bytes[start..] {
            if !class::is(byte, class::HOST) {
                break;
            }
            if before == b'.' && (byte == b'.' || byte == b'-' && self.at == start) {
                return None;
            }
            before = byte;
            self.at += 1;
        }
        (self.at > start && before != b'-').then(|| Span::new(start, self.at))
    }

    fn ipv6_reference(&mut self) -> Option<Span> {
        let start = self.at;
        let length = memchr::memchr(b']', &self.bytes[start..])?;
        let text = std::str::from_utf8(&self.bytes[start + 1..start + length]).ok()?;
        text.parse::<std::net::Ipv6Addr>().ok()?;
        self.at = start + length + 1;
        Some(Span::new(start, self.at))
    }

    /// `1*DIGIT` as a port: 1 to 65 535.
    #[inline]
    pub(super) fn port(&mut self) -> Option<u16> {
        let mut port = 0u32;
        let start = self.at;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            port = port * 10 + u32::from(digit - b'0');
            if port > u32::from(u16::MAX) {
                return None;
            }
            self.at += 1;
        }
        if self.at == start || port == 0 {
            None
        } else {
            Some(port as u16)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

    use super::*;

    fn cursor(text: &str) -> Cursor<'_> {
        Cursor::new(text.as_bytes(), 0, text.len())
    }

    #[test]
    fn a_fold_is_white_space_and_a_line_end_is_not() {
        let mut folded = cursor(" \t\r\n \r\n\tx");
        folded.skip_space();
        assert_eq!(folded.peek(), Some(b'x'));
        let mut ended = cursor(" \r\nx");
        ended.skip_space();
        assert_eq!(ended.peek(), Some(b'\r'));
    }

    #[test]
    fn quoted_strings_end_at_the_first_bare_quote() {
        for (text, inside) in [
            (r#""""#, ""),
            (r#""a b"x"#, "a b"),
            (r#""a\"b" "#, r#"a\"b"#),
            (r#""\\""#, r"\\"),
            ("\"a\r\n b\"", "a\r\n b"),
            ("\"\\\u{0}\\\u{7f}\"", "\\\u{0}\\\u{7f}"),
            ("\"\u{e9}\"", "\u{e9}"),
        ] {
            let mut cursor = cursor(text);
            let span = cursor.quoted().unwrap();
            assert_eq!(span.of(text.as_bytes()), inside.as_bytes());
            assert_eq!(text.as_bytes()[cursor.at - 1], b'"');
        }
        for wrong in [
            "\"",
            "\"a",
            "\"a\\",
            "\"a\\\"",
            "\"\u{1}\"",
            "\"\u{7f}\"",
            "\"\r\n\"",
            "\"\\\r\"",
            "\"\\\u{e9}\"",
        ] {
            assert_eq!(cursor(wrong).quoted(), None, "{wrong:?}");
        }
    }

    #[test]
    fn hosts_are_names_and_addresses() {
        for host in [
            "a",
            "a.b",
            "a.b.",
            "192.0.2.1",
            "[2001:db8::1]",
            "[::ffff:192.0.2.1]",
            "a_b",
        ] {
            assert_eq!(
                cursor(host).host(),
                Some(Span::new(0, host.len())),
                "{host}"
            );
        }
        for wrong in [
            "",
            ".",
            ".a",
            "-a",
            "a-",
            "a..b",
            "[",
            "[]",
            "[1",
            "[g::]",
            "[fe80::1%1]",
        ] {
            assert_eq!(cursor(wrong).host(), None, "{wrong}");
        }
    }

    #[test]
    fn ports_are_one_to_65535() {
        for (text, port) in [
            ("5060", Some(5060)),
            ("65535", Some(65535)),
            ("0005060", Some(5060)),
            ("0", None),
            ("65536", None),
            ("", None),
            ("x", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(cursor(text).port(), port, "{text}");
        }
    }

    #[test]
    fn more_parameters_than_the_bound_are_refused() {
        let most = ";p".repeat(PARAMS_MAX);
        assert_eq!(
            cursor(&most).params(|_, _, _| Ok(())),
            Ok(Span::new(0, most.len()))
        );
        let error = cursor(&format!("{most};p"))
            .params(|_, _, _| Ok(()))
            .unwrap_err();
        assert_eq!(error.reason, Reason::ParametersTooMany);
    }
}
