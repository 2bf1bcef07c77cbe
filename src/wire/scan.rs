//! The scanner: one pass over a message gives its start line and an index of header fields.

use std::fmt;

use crate::limits::{DATAGRAM_BYTES_MAX, HEADER_FIELD_BYTES_MAX, HEADERS_MAX};

use super::class::find_control;
use super::cursor::Span;
use super::keys::{Keys, repeated};
use super::start_line::{self, StartLine};
use super::{HeaderName, Message, ParseError, Reason};

/// One header field in the index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The name as written; its start is the start of the line.
    pub(super) name_text: Span,
    /// Without surrounding white space.
    pub(super) value: Span,
    /// Behind the CRLF.
    pub(super) line_end: u16,
    pub(super) name: HeaderName,
}

impl Entry {
    const NONE: Self = Self {
        name_text: Span { start: 0, end: 0 },
        value: Span { start: 0, end: 0 },
        line_end: 0,
        name: HeaderName::Other,
    };
}

/// No field of a name.
const ABSENT: u8 = u8::MAX;

const _: () = assert!(HEADERS_MAX < ABSENT as usize);

/// Scratch memory of the scanner: the index of one message. Made once, reused for every message.
pub struct Index {
    start: StartLine,
    keys: Keys,
    /// Number of the first field of each name, or `ABSENT`.
    first: [u8; HeaderName::COUNT],
    /// How many of `entries` belong to this message.
    count: u8,
    entries: [Entry; HEADERS_MAX],
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// A refused message.
#[derive(Debug)]
pub struct Rejected<'a> {
    /// Why, and where.
    pub error: ParseError,
    /// The message as far as it was understood, when it is a request that may be answered (not
    /// ACK, RFC 3261 §17.1.1.3) and its start line and the sent-by of its top Via were read.
    /// From, To, Call-ID and CSeq may be missing or as malformed as they came; no field holds a
    /// line end or control character. The Request-URI may be malformed or empty.
    pub answerable: Option<Message<'a>>,
}

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
    /// An empty index.
    #[must_use]
    pub fn new() -> Box<Self> {
        Box::new(Self {
            start: StartLine::NONE,
            keys: Keys::NONE,
            first: [ABSENT; HeaderName::COUNT],
            count: 0,
            entries: [Entry::NONE; HEADERS_MAX],
        })
    }

    /// Scans one datagram. On success the message ends where Content-Length says (octets after it
    /// are discarded, RFC 3261 §18.3), every line is CRLF-ended, no control character stands in
    /// the head but HTAB and what a quoted pair escapes, and Via, From, To, Call-ID and CSeq are
    /// present, single where they must be, and CSeq fits the method. Line ends before the start
    /// line are skipped (RFC 3261 §7.5); the message starts behind them.
    ///
    /// # Errors
    /// One [`super::Reason`] per way to be wrong, with the offset.
    pub fn scan<'a>(&'a mut self, datagram: &'a [u8]) -> Result<Message<'a>, Rejected<'a>> {
        let bytes = &datagram[leading_line_ends(datagram)..];
        let mut head = self.scan_head(bytes);
        let available = bytes.len() - head.end;
        let body = match head.content_length {
            Some(length) if length > available => {
                let at = self.value_start(HeaderName::ContentLength);
                head.error
                    .get_or_insert(ParseError::new(Reason::BodyTruncated, at));
                available
            }
            Some(length) => length,
            None => available,
        };
        self.conclude(bytes, &head, head.end + body)
    }

    /// The message of `length` octets at the start of `bytes`, or its refusal.
    #[inline]
    pub(super) fn conclude<'a>(
        &'a self,
        bytes: &'a [u8],
        head: &Head,
        length: usize,
    ) -> Result<Message<'a>, Rejected<'a>> {
        let Some(error) = head.error else {
            return Ok(Message {
                bytes: &bytes[..length],
                index: self,
            });
        };
        let answerable = head.answerable.then_some(Message {
            bytes: &bytes[..length],
            index: self,
        });
        Err(Rejected { error, answerable })
    }

    /// Reads start line and header fields, the routing keys and Content-Length.
    pub(super) fn scan_head(&mut self, bytes: &[u8]) -> Head {
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
        // Offsets are 16 bits wide; what lies beyond is not looked at.
        let (bytes, too_long) = match bytes.get(..DATAGRAM_BYTES_MAX) {
            Some(most) if bytes.len() > most.len() => (most, true),
            _ => (bytes, false),
        };
        if too_long {
            head.note(Reason::MessageTooLong, DATAGRAM_BYTES_MAX);
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
        let name = HeaderName::read(bytes, start, first_end);
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
        let Some((name, name_end, colon)) = name else {
            let folded = matches!(bytes[start], b' ' | b'\t');
            let reason = if folded {
                Reason::FirstHeaderFolded
            } else {
                Reason::HeaderSyntax
            };
            head.note(reason, start);
            return Some(line_end);
        };
        if line_end - start > HEADER_FIELD_BYTES_MAX {
            head.note(Reason::HeaderTooLong, start);
            return Some(line_end);
        }
        let value = trim_span(bytes, colon + 1, end);
        let name_text = Span::new(start, name_end);
        if !self.add(Entry {
            name_text,
            value,
            line_end: line_end as u16,
            name,
        }) {
            head.note(Reason::HeadersTooMany, start);
            return None;
        }
        Some(line_end)
    }

    /// Adds a field; false when the index is full.
    #[inline]
    fn add(&mut self, entry: Entry) -> bool {
        let Some(free) = self.entries.get_mut(usize::from(self.count)) else {
            return false;
        };
        *free = entry;
        let first = &mut self.first[entry.name as usize];
        if *first == ABSENT {
            *first = self.count;
        }
        self.count += 1;
        true
    }

    /// The fields of the message, in order.
    #[inline]
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries[..usize::from(self.count)]
    }

    /// Number of the first field named `name`.
    #[inline]
    pub(super) fn first(&self, name: HeaderName) -> Option<usize> {
        let number = self.first[name as usize];
        (number != ABSENT).then_some(usize::from(number))
    }

    /// Number of the first field named `name` that is `from` or later.
    #[inline]
    pub(super) fn position(&self, name: HeaderName, from: usize) -> Option<usize> {
        let start = self.first(name)?.max(from);
        let later = self.entries().get(start..)?;
        later
            .iter()
            .position(|entry| entry.name == name)
            .map(|more| start + more)
    }

    #[inline]
    pub(super) fn start(&self) -> &StartLine {
        &self.start
    }

    #[inline]
    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    #[inline]
    pub(super) fn keys_mut(&mut self) -> &mut Keys {
        &mut self.keys
    }

    /// Where the value of the first field named `name` stands; 0 when there is none.
    pub(super) fn value_start(&self, name: HeaderName) -> usize {
        let entry = self.first(name).and_then(|number| self.entries.get(number));
        entry.map_or(0, |entry| usize::from(entry.value.start))
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

/// Octets of CRLFs before the start line.
pub(super) fn leading_line_ends(bytes: &[u8]) -> usize {
    let mut at = 0;
    while bytes.get(at..at + 2) == Some(b"\r\n") {
        at += 2;
    }
    at
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

/// `start..end`, which a CR follows and which holds no stray control character, without white
/// space and folds at its ends.
#[inline]
fn trim_span(bytes: &[u8], mut start: usize, mut end: usize) -> Span {
    start += usize::from(bytes[start] == b' ');
    while start < end && bytes[start] <= b' ' {
        start += 1;
    }
    while start < end && bytes[end - 1] <= b' ' {
        end -= 1;
    }
    Span::new(start, end)
}
