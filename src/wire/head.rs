//! The head of a message: its lines, and the fields they make.

use crate::limits::{DATAGRAM_BYTES_MAX, HEADER_FIELD_BYTES_MAX};

use super::class::{self, find_control};
use super::cursor::Span;
use super::keys::{Keys, repeated};
use super::scan::{ABSENT, Entry, Index};
use super::start_line::{self, StartLine};
use super::{HeaderName, ParseError, Reason};

/// What the head of a message came to.
pub(super) struct Head {
    /// The first error.
    pub(super) error: Option<ParseError>,
    /// One of the errors leaves the end of the message unknown or doubtful.
    pub(super) framing_lost: bool,
    /// Behind the empty line, or where reading stopped.
    pub(super) end: usize,
    /// Content-Length, when it is there and good.
    pub(super) content_length: Option<usize>,
    /// An error response can be made.
    pub(super) answerable: bool,
}

impl Index {
    /// Reads start line and header fields, the routing keys and Content-Length from at most
    /// `DATAGRAM_BYTES_MAX` octets, as offsets are 16 bits wide; `too_long` when the message goes
    /// on behind them.
    pub(super) fn scan_head(&mut self, bytes: &[u8], too_long: bool) -> Head {
        assert!(bytes.len() <= DATAGRAM_BYTES_MAX);
        self.first = [ABSENT; HeaderName::COUNT];
        self.count = 0;
        self.start = StartLine::NONE;
        self.keys = Keys::NONE;
        let mut head = Head {
            error: None,
            framing_lost: false,
            end: 0,
            content_length: None,
            answerable: false,
        };
        if bytes.is_empty() {
            head.note(Reason::Empty, 0);
            return head;
        }
        if too_long {
            head.note(Reason::MessageTooLong, bytes.len());
        }
        let Some(first_header) = self.read_start_line(bytes, &mut head) else {
            return head;
        };
        self.read_fields(bytes, first_header, &mut head);
        self.read_keys(bytes, &mut head);
        head
    }

    /// Reads the start line; gives the start of the next, or `None` when no more can be made of
    /// the message.
    #[inline]
    fn read_start_line(&mut self, bytes: &[u8], head: &mut Head) -> Option<usize> {
        let end = find_control(bytes, 0);
        let (start, result) = start_line::parse(bytes, end);
        if let Err(error) = result {
            head.note_error(error);
        }
        let mut start = start?;
        if bytes.get(end..end + 2) != Some(b"\r\n") {
            head.note(control_reason(bytes, end), end);
            return None;
        }
        start.end = (end + 2) as u16;
        self.start = start;
        Some(end + 2)
    }

    /// Reads header fields from `at` to the empty line.
    #[inline]
    fn read_fields(&mut self, bytes: &[u8], mut at: usize, head: &mut Head) {
        loop {
            let Some(&first) = bytes.get(at) else {
                head.note(Reason::HeadUnterminated, at);
                break;
            };
            if first == b'\r' && bytes.get(at + 1) == Some(&b'\n') {
                self.keys.head_end = at as u16;
                head.end = at + 2;
                return;
            }
            let Some(next) = self.read_field(bytes, at, head) else {
                break;
            };
            at = next;
        }
        // The head has no end: what was read so far is all there is.
        self.keys.head_end = at as u16;
        head.end = bytes.len();
    }

    /// Reads the field that starts at `start`; gives the start of the next line, or `None` when
    /// reading ends here.
    #[inline]
    fn read_field(&mut self, bytes: &[u8], start: usize, head: &mut Head) -> Option<usize> {
        let first_end = find_control(bytes, start);
        let (mut name, colon) = HeaderName::read(bytes, start, first_end);
        let mut name_end = colon;
        let end = if ends_field(bytes, first_end) {
            first_end
        } else {
            let end = field_end(bytes, first_end);
            if end >= bytes.len() {
                head.note(Reason::HeadTruncated, end);
                return None;
            }
            if let Some(at) = stray_control(bytes, start, end) {
                head.note(control_reason(bytes, at), at);
                return Some(end + 2);
            }
            end
        };
        let line_end = end + 2;
        // RFC 3261 §7.3.1: a name that is known but has no colon is no header field either.
        if name == HeaderName::Other || colon == first_end {
            let read = if colon < first_end {
                read_rare(&bytes[start..colon])
            } else {
                None
            };
            let Some((rare, length)) = read else {
                let folded = matches!(bytes[start], b' ' | b'\t');
                let reason = if folded {
                    Reason::FirstHeaderFolded
                } else {
                    Reason::HeaderSyntax
                };
                head.note(reason, start);
                return Some(line_end);
            };
            name = rare;
            name_end = start + length;
        }
        if line_end - start > HEADER_FIELD_BYTES_MAX {
            head.note(Reason::HeaderTooLong, start);
            return Some(line_end);
        }
        let value = trim_span(bytes, colon + 1, end);
        let name_text = Span::new(start, name_end);
        let Some(free) = self.entries.get_mut(usize::from(self.count)) else {
            head.note(Reason::HeadersTooMany, start);
            return None;
        };
        *free = Entry {
            name_text,
            value,
            line_end: line_end as u16,
            name,
        };
        let first = &mut self.first[name as usize];
        if *first == ABSENT {
            *first = self.count;
        } else if let Some(reason) = repeated(name) {
            head.note(reason, start);
        }
        self.count += 1;
        Some(line_end)
    }
}

impl Head {
    #[inline]
    pub(super) fn note(&mut self, reason: Reason, offset: usize) {
        self.note_error(ParseError::new(reason, offset));
    }

    /// Keeps the first error, and whether any loses the framing.
    pub(super) fn note_error(&mut self, error: ParseError) {
        self.framing_lost |= error.reason.loses_framing();
        self.error.get_or_insert(error);
    }
}

/// What is wrong with the octet at `at`, which should be a line end or no control character.
#[cold]
fn control_reason(bytes: &[u8], at: usize) -> Reason {
    match bytes.get(at) {
        None => Reason::HeadTruncated,
        Some(b'\r') => Reason::BareCr,
        Some(b'\n') => Reason::BareLf,
        Some(0) => Reason::Nul,
        Some(_) => Reason::ControlCharacter,
    }
}

/// The first control character in `bytes[start..end]` that is neither HTAB, part of a fold, nor
/// escaped in a quoted string.
// RFC 3261 §25.1: quoted-pair = "\" (%x00-09 / %x0B-0C / %x0E-7F); RFC 4475 §3.1.1.2 has NUL so.
#[cold]
fn stray_control(bytes: &[u8], start: usize, end: usize) -> Option<usize> {
    let mut quoted = false;
    let mut at = start;
    while at < end {
        match bytes[at] {
            b'"' => quoted = !quoted,
            b'\\' if quoted && !matches!(bytes.get(at + 1), Some(b'\r' | b'\n')) => at += 1,
            b'\r' if bytes.get(at + 1) == Some(&b'\n') && at + 1 < end => at += 1,
            b'\t' => {}
            0..b' ' | 0x7f => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The name before a colon that was not recognised at once, and its length: an unknown one, one
/// with white space behind it, or one at the end of the buffer. `None` when it is no token.
#[cold]
fn read_rare(text: &[u8]) -> Option<(HeaderName, usize)> {
    // RFC 3261 §25.1: HCOLON = *( SP / HTAB ) ":" SWS
    let length = text
        .iter()
        .rposition(|&byte| byte != b' ' && byte != b'\t')?
        + 1;
    let name = &text[..length];
    let token = class::span_of(name, class::TOKEN) == length;
    token.then(|| (HeaderName::from_bytes(name), length))
}

/// Whether the CRLF at `at` ends a field: no white space follows that would continue it.
#[inline]
fn ends_field(bytes: &[u8], at: usize) -> bool {
    bytes.get(at) == Some(&b'\r')
        && bytes.get(at + 1) == Some(&b'\n')
        && !matches!(bytes.get(at + 2), Some(b' ' | b'\t'))
}

/// The CRLF at or after `at` that ends the field, or the length of `bytes`.
#[cold]
fn field_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && !ends_field(bytes, at) {
        // RFC 3261 §7.3.1: a line that starts with white space continues the one before.
        let fold = bytes[at] == b'\r' && bytes.get(at + 1) == Some(&b'\n');
        at = find_control(bytes, if fold { at + 2 } else { at + 1 });
    }
    at
}

/// `start..end`, which holds no stray control character, without white space and folds at its
/// ends.
#[inline]
fn trim_span(bytes: &[u8], mut start: usize, mut end: usize) -> Span {
    let mut text = &bytes[start..end];
    while let [b'\0'..=b' ', rest @ ..] = text {
        text = rest;
        start += 1;
    }
    while let [rest @ .., b'\0'..=b' '] = text {
        text = rest;
        end -= 1;
    }
    Span::new(start, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_names_are_tokens_with_white_space_behind_them() {
        assert_eq!(read_rare(b"Via \t "), Some((HeaderName::Via, 3)));
        assert_eq!(read_rare(b"t"), Some((HeaderName::To, 1)));
        assert_eq!(read_rare(b"X-Some.Body"), Some((HeaderName::Other, 11)));
        for wrong in [
            &b""[..],
            b" ",
            b" Via",
            b"Vi a",
            b"\"Via\"",
            b"V\xe9a",
            b"Via\t\x0b",
        ] {
            assert_eq!(read_rare(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_known_name_without_a_colon_is_no_header_field() {
        for line in ["Via", "To", "v", "Content-Length", "Call-ID\r\n : 1"] {
            let text = format!("OPTIONS sip:a SIP/2.0\r\n{line}\r\nFrom: <sip:a@b>;tag=1\r\n\r\n");
            let mut index = Index::new();
            let refused = index.scan(text.as_bytes()).err();
            let reason = refused.map(|rejected| rejected.error.reason);
            assert_eq!(reason, Some(Reason::HeaderSyntax), "{line:?}");
        }
    }

    #[test]
    fn a_field_ends_at_a_line_end_that_no_white_space_follows() {
        for (text, end) in [
            ("a\r\nb", 1),
            ("a\r\n b\r\n\tc\r\nd", 9),
            ("a\rb\nc\r\n", 5),
            ("a\r\r\n", 2),
            ("a\r\n ", 4),
            ("a\r", 2),
            ("", 0),
        ] {
            let first = find_control(text.as_bytes(), 0);
            assert_eq!(field_end(text.as_bytes(), first), end, "{text:?}");
        }
    }
}
