//! The scanner: one pass over a message gives its start line and an index of header fields.

use std::fmt;

use crate::limits::{DATAGRAM_BYTES_MAX, HEADERS_MAX};

use super::cursor::Span;
use super::head::Head;
use super::keys::Keys;
use super::start_line::StartLine;
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
pub(super) const ABSENT: u8 = u8::MAX;

const _: () = assert!(HEADERS_MAX < ABSENT as usize);

/// Scratch memory of the scanner: the index of one message. Made once, reused for every message.
pub struct Index {
    pub(super) start: StartLine,
    pub(super) keys: Keys,
    /// Number of the first field of each name, or `ABSENT`.
    pub(super) first: [u8; HeaderName::COUNT],
    /// How many of `entries` belong to this message.
    pub(super) count: u8,
    pub(super) entries: [Entry; HEADERS_MAX],
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
        let too_long = bytes.len() > DATAGRAM_BYTES_MAX;
        let bytes = &bytes[..bytes.len().min(DATAGRAM_BYTES_MAX)];
        let mut head = self.scan_head(bytes, too_long);
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

    /// Where the value of the first field named `name` stands; 0 when there is none.
    pub(super) fn value_start(&self, name: HeaderName) -> usize {
        let entry = self.first(name).and_then(|number| self.entries.get(number));
        entry.map_or(0, |entry| usize::from(entry.value.start))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

    use crate::limits::HEADER_FIELD_BYTES_MAX;

    use super::super::Method;
    use super::*;

    const HEAD: &str = "OPTIONS sip:edge.test SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
        From: <sip:a@edge.test>;tag=f\r\n\
        To: <sip:b@edge.test>\r\n\
        Call-ID: c1\r\n\
        CSeq: 7 OPTIONS\r\n";

    fn with(lines: &str) -> String {
        format!("{HEAD}{lines}\r\n")
    }

    /// `HEAD` with one line replaced or, when `line` is empty, left out.
    fn replaced(start: &str, line: &str) -> String {
        let lines = HEAD.split_inclusive("\r\n");
        let all: String = lines
            .map(|l| if l.starts_with(start) { line } else { l })
            .collect();
        format!("{all}\r\n")
    }

    /// Reason, offset, and whether an answer can be made.
    fn refusal(text: &str) -> (Reason, u16, bool) {
        let mut index = Index::new();
        let rejected = index.scan(text.as_bytes()).unwrap_err();
        (
            rejected.error.reason,
            rejected.error.offset,
            rejected.answerable.is_some(),
        )
    }

    fn assert_refused(cases: &[(String, Reason, bool)]) {
        for (text, reason, answerable) in cases {
            let (found, _, answered) = refusal(text);
            assert_eq!(
                (found, answered),
                (*reason, *answerable),
                "{}",
                text.escape_debug()
            );
        }
    }

    #[test]
    fn a_wrong_start_line_has_its_reason() {
        assert_refused(&[
            (String::new(), Reason::Empty, false),
            ("\r\n\r\n".to_owned(), Reason::Empty, false),
            ("hello\r\n\r\n".to_owned(), Reason::NotSip, false),
            (
                replaced("OPTIONS", "GET / HTTP/1.1\r\n"),
                Reason::NotSip,
                false,
            ),
            (
                replaced("OPTIONS", "\u{feff}OPTIONS sip:e SIP/2.0\r\n"),
                Reason::NotSip,
                false,
            ),
            (
                replaced("OPTIONS", "OPTIONS  sip:e SIP/2.0\r\n"),
                Reason::StartLineMalformed,
                true,
            ),
            (
                replaced("OPTIONS", "OPTIONS sip:e SIP/2.0 \r\n"),
                Reason::StartLineMalformed,
                true,
            ),
            (
                replaced("OPTIONS", "OPTIONS sip:e SIP/3.0\r\n"),
                Reason::VersionUnknown,
                true,
            ),
            (
                replaced("OPTIONS", "OPTIONS sip:\u{0}e SIP/2.0\r\n"),
                Reason::NotSip,
                false,
            ),
            (
                replaced("OPTIONS", "OPTIONS <sip:e> SIP/2.0\r\n"),
                Reason::UriMalformed,
                true,
            ),
            (
                replaced("OPTIONS", "OPTIONS sip:%4@e SIP/2.0\r\n"),
                Reason::UriEscapeMalformed,
                true,
            ),
            (
                replaced("OPTIONS", "OPTIONS sip:e?a=b SIP/2.0\r\n"),
                Reason::UriHeadersForbidden,
                true,
            ),
        ]);
    }

    #[test]
    fn a_wrong_line_has_its_reason() {
        let long = format!("Subject: {}\r\n", "x".repeat(HEADER_FIELD_BYTES_MAX));
        let many = "Y: y\r\n".repeat(HEADERS_MAX);
        assert_refused(&[
            (
                HEAD.replacen("\r\n", "\r\n folded\r\n", 1),
                Reason::FirstHeaderFolded,
                true,
            ),
            (with("no colon\r\n"), Reason::HeaderSyntax, true),
            (with("Via\r\n"), Reason::HeaderSyntax, true),
            (with("l\r\n"), Reason::HeaderSyntax, true),
            (
                with("Content-Length\r\n : 0\r\n"),
                Reason::HeaderSyntax,
                true,
            ),
            (with(": no name\r\n"), Reason::HeaderSyntax, true),
            (with("two words: x\r\n"), Reason::HeaderSyntax, true),
            (with("X: a\rb\r\n"), Reason::BareCr, true),
            (with("X: a\nb\r\n"), Reason::BareLf, true),
            (with("X: a\u{0}\r\n"), Reason::Nul, true),
            (with("X: \"\u{0}\"\r\n"), Reason::Nul, true),
            (with("X: \\\u{0}\r\n"), Reason::Nul, true),
            (with("X: a\u{1b}b\r\n"), Reason::ControlCharacter, true),
            (with("X: a\u{7f}b\r\n"), Reason::ControlCharacter, true),
            (with("X\u{1}: a\r\n"), Reason::ControlCharacter, true),
            (HEAD.to_owned(), Reason::HeadUnterminated, true),
            (format!("{HEAD}X: y"), Reason::HeadTruncated, true),
            (with(&many), Reason::HeadersTooMany, true),
            (with(&long), Reason::HeaderTooLong, true),
        ]);
    }

    #[test]
    fn a_missing_or_repeated_field_has_its_reason() {
        assert_refused(&[
            (replaced("Via", ""), Reason::ViaMissing, false),
            (replaced("From", ""), Reason::FromMissing, true),
            (replaced("To", ""), Reason::ToMissing, true),
            (replaced("Call-ID", ""), Reason::CallIdMissing, true),
            (replaced("CSeq", ""), Reason::CSeqMissing, true),
            (
                with("f: <sip:a@edge.test>;tag=f\r\n"),
                Reason::FromRepeated,
                true,
            ),
            (with("To: <sip:b@edge.test>\r\n"), Reason::ToRepeated, true),
            (with("i: c1\r\n"), Reason::CallIdRepeated, true),
            (with("CSeq: 7 OPTIONS\r\n"), Reason::CSeqRepeated, true),
            (
                with("Max-Forwards: 1\r\nMax-Forwards: 1\r\n"),
                Reason::MaxForwardsRepeated,
                true,
            ),
            (
                with("c: a/b\r\nContent-Type: a/b\r\n"),
                Reason::ContentTypeRepeated,
                true,
            ),
            (
                with("Expires: 1\r\nExpires: 1\r\n"),
                Reason::ExpiresRepeated,
                true,
            ),
            (with("Event: a\r\no: a\r\n"), Reason::HeaderRepeated, true),
        ]);
    }

    #[test]
    fn a_wrong_content_length_has_its_reason() {
        assert_refused(&[
            (
                with("l: 0\r\nContent-Length: 0\r\n"),
                Reason::ContentLengthRepeated,
                true,
            ),
            (
                with("Content-Length: -1\r\n"),
                Reason::ContentLengthMalformed,
                true,
            ),
            (
                with("Content-Length: 0, 0\r\n"),
                Reason::ContentLengthMalformed,
                true,
            ),
            (
                with("Content-Length:\r\n"),
                Reason::ContentLengthMalformed,
                true,
            ),
            (
                with("Content-Length: 4294967296\r\n"),
                Reason::ContentLengthTooLarge,
                true,
            ),
            (
                with("Content-Length: 99999999999999999999\r\n"),
                Reason::ContentLengthTooLarge,
                true,
            ),
            (with("Content-Length: 1\r\n"), Reason::BodyTruncated, true),
        ]);
    }

    #[test]
    fn a_wrong_via_or_address_has_its_reason() {
        let params = format!("To: <sip:b@edge.test>{}\r\n", ";p".repeat(65));
        assert_refused(&[
            (
                replaced("Via", "Via: SIP/2.0 192.0.2.1\r\n"),
                Reason::ViaMalformed,
                false,
            ),
            (
                replaced("Via", "Via: SIP/2.0/UDP\r\n"),
                Reason::ViaMalformed,
                false,
            ),
            (
                replaced("Via", "Via: SIP/2.0/UDP a;rport=0\r\n"),
                Reason::ViaMalformed,
                true,
            ),
            (
                replaced("Via", "Via: SIP/2.0/UDP a;;\r\n"),
                Reason::ParameterMalformed,
                true,
            ),
            (
                replaced("Via", "Via: SIP/2.0/UDP a b\r\n"),
                Reason::ViaMalformed,
                true,
            ),
            (
                replaced("From", "From: \"A <sip:a@e>;tag=f\r\n"),
                Reason::FromMalformed,
                true,
            ),
            (
                replaced("From", "From: A, B <sip:a@e>;tag=f\r\n"),
                Reason::FromMalformed,
                true,
            ),
            (
                replaced("From", "From: <sip:a@e>;tag=a;tag=b\r\n"),
                Reason::ParameterRepeated,
                true,
            ),
            (
                replaced("From", "From: <sip:a@e>;tag\r\n"),
                Reason::ParameterMalformed,
                true,
            ),
            (
                replaced("To", "To: < sip:a@e >\r\n"),
                Reason::ToMalformed,
                true,
            ),
            (
                replaced("To", "To: <sip:a@e>, <sip:b@e>\r\n"),
                Reason::ToMalformed,
                true,
            ),
            (replaced("To", &params), Reason::ParametersTooMany, true),
        ]);
    }

    #[test]
    fn a_wrong_identifier_or_hop_count_has_its_reason() {
        assert_refused(&[
            (
                replaced("Call-ID", "Call-ID:\r\n"),
                Reason::CallIdMalformed,
                true,
            ),
            (
                replaced("Call-ID", "Call-ID: a b\r\n"),
                Reason::CallIdMalformed,
                true,
            ),
            (
                replaced("CSeq", "CSeq: OPTIONS\r\n"),
                Reason::CSeqMalformed,
                true,
            ),
            (
                replaced("CSeq", "CSeq: 7OPTIONS\r\n"),
                Reason::CSeqMalformed,
                true,
            ),
            (
                replaced("CSeq", "CSeq: 7 OPTIONS x\r\n"),
                Reason::CSeqMalformed,
                true,
            ),
            (
                replaced("CSeq", "CSeq: 2147483648 OPTIONS\r\n"),
                Reason::CSeqTooLarge,
                true,
            ),
            (
                replaced("CSeq", "CSeq: 7 options\r\n"),
                Reason::CSeqMethodMismatch,
                true,
            ),
            (
                with("Max-Forwards: 256\r\n"),
                Reason::MaxForwardsMalformed,
                true,
            ),
            (
                with("Max-Forwards: x\r\n"),
                Reason::MaxForwardsMalformed,
                true,
            ),
        ]);
    }

    #[test]
    fn the_first_wrong_octet_is_named() {
        let text = with("X: a\u{0}b\r\n");
        let nul = text.find('\0').unwrap();
        assert_eq!(usize::from(refusal(&text).1), nul);
        let text = replaced("OPTIONS", "OPTIONS sip:a@b:x SIP/2.0\r\n");
        assert_eq!(refusal(&text).1, 16);
    }

    #[test]
    fn a_field_with_a_control_character_is_not_in_the_message_that_is_answered() {
        let text = with("Subject: a\r\nTimestamp: 1\r2\r\n");
        let mut index = Index::new();
        let message = index.scan(text.as_bytes()).unwrap_err().answerable.unwrap();
        assert!(message.header(HeaderName::Timestamp).is_none());
        assert_eq!(message.header(HeaderName::Subject).unwrap().value, b"a");
        assert_eq!((message.call_id(), message.cseq().number), (&b"c1"[..], 7));
    }

    #[test]
    fn a_refused_ack_or_response_is_not_answered() {
        let ack = with("X: \u{0}\r\n").replace("OPTIONS", "ACK");
        assert_eq!(refusal(&ack), (Reason::Nul, 154, false));
        let response =
            with("X: \u{0}\r\n").replacen("OPTIONS sip:edge.test SIP/2.0", "SIP/2.0 200 OK", 1);
        assert!(!refusal(&response).2);
    }

    #[test]
    fn controls_in_quoted_pairs_and_white_space_before_the_colon_are_legal() {
        let text = replaced(
            "To",
            "To \t: \"\\\u{0} \\\u{7f} \\\"\\\\\" <sip:b@edge.test>;tag=t\r\n",
        );
        let mut index = Index::new();
        let message = index.scan(text.as_bytes()).unwrap();
        assert_eq!(message.to_tag(), b"t");
    }

    #[test]
    fn folds_are_inside_a_value_and_not_around_it() {
        let text = with("Subject:\r\n \r\n one\r\n\ttwo \r\n \r\nX-Next: y\r\n");
        let mut index = Index::new();
        let message = index.scan(text.as_bytes()).unwrap();
        assert_eq!(
            message.header(HeaderName::Subject).unwrap().value,
            b"one\r\n\ttwo"
        );
        assert_eq!(message.fields().last().unwrap().value, b"y");
    }

    #[test]
    fn the_body_ends_where_content_length_says() {
        let mut index = Index::new();
        let text = with("Content-Length: 3\r\n") + "abcINVITE";
        let message = index.scan(text.as_bytes()).unwrap();
        assert_eq!(message.body(), b"abc");
        assert_eq!(message.bytes().len(), text.len() - 6);
        let text = with("") + "all of it";
        assert_eq!(index.scan(text.as_bytes()).unwrap().body(), b"all of it");
    }

    #[test]
    fn line_ends_before_the_message_are_skipped() {
        let mut index = Index::new();
        let text = "\r\n\r\n".to_owned() + &with("");
        let message = index.scan(text.as_bytes()).unwrap();
        assert_eq!(message.bytes(), with("").as_bytes());
        assert_eq!(message.head_start(), 31);
    }

    #[test]
    fn responses_give_status_phrase_and_the_method_of_cseq() {
        for (line, status, phrase) in [
            ("SIP/2.0 200 OK", 200, "OK"),
            ("SIP/2.0 100 ", 100, ""),
            ("SIP/2.0 183", 183, ""),
            (
                "sip/2.0 404 \u{43d}\u{435}\u{442}  x",
                404,
                "\u{43d}\u{435}\u{442}  x",
            ),
        ] {
            let text = with("").replacen("OPTIONS sip:edge.test SIP/2.0", line, 1);
            let mut index = Index::new();
            let message = index.scan(text.as_bytes()).unwrap();
            assert_eq!(message.status(), Some(status));
            assert_eq!(message.reason_phrase(), phrase.as_bytes());
            assert_eq!(message.method(), Method::Options);
            assert!(message.request_line().is_none() && message.request_uri_range().is_empty());
        }
        for line in [
            "SIP/2.0 99 x",
            "SIP/2.0 700 x",
            "SIP/2.0 2000 x",
            "SIP/2.0  200 x",
            "SIP/2.0",
        ] {
            let text = with("").replacen("OPTIONS sip:edge.test SIP/2.0", line, 1);
            assert_eq!(refusal(&text).0, Reason::StartLineMalformed, "{line}");
        }
    }

    #[test]
    fn an_index_keeps_nothing_of_the_message_before() {
        let mut index = Index::new();
        let first = with("Subject: x\r\nMax-Forwards: 3\r\nY: y\r\nY: y\r\n");
        assert_eq!(
            index.scan(first.as_bytes()).unwrap().max_forwards(),
            Some(3)
        );
        let second = with("");
        let message = index.scan(second.as_bytes()).unwrap();
        assert_eq!(message.max_forwards(), None);
        assert!(message.header(HeaderName::Subject).is_none());
        assert_eq!(message.fields().count(), 5);
    }

    #[test]
    fn the_largest_message_is_read_and_one_octet_more_is_not() {
        let mut index = Index::new();
        let mut text = with("").into_bytes();
        text.resize(DATAGRAM_BYTES_MAX, b'x');
        assert!(index.scan(&text).is_ok());
        text.push(b'x');
        let rejected = index.scan(&text).unwrap_err();
        assert_eq!(rejected.error.reason, Reason::MessageTooLong);
        assert!(rejected.answerable.is_some());
        let most = with(&"Y: y\r\n".repeat(HEADERS_MAX - 5));
        assert_eq!(
            index.scan(most.as_bytes()).unwrap().fields().count(),
            HEADERS_MAX
        );
    }
}
