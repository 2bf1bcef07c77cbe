//! Cutting a stream of octets into messages (RFC 3261 §18.3), with the scanner for datagrams.

use crate::limits::DATAGRAM_BYTES_MAX;

use super::scan::leading_line_ends;
use super::{HeaderName, Index, Message, ParseError, Reason, Rejected};

/// What the octets at the start of a stream buffer are.
#[derive(Debug)]
pub enum Framing<'a> {
    /// Nothing but the first `length` octets of line ends, which are to be taken from the buffer:
    /// keep-alives (RFC 5626 §4.4.1) or what precedes a message (RFC 3261 §7.5).
    LineEnds {
        /// How many octets.
        length: usize,
    },
    /// A message begins; at least `missing` octets more are needed.
    Partial {
        /// How many octets at least; 1 or more.
        missing: usize,
    },
    /// A message and the octets it takes from the buffer.
    Complete {
        /// The message.
        message: Message<'a>,
        /// How many octets.
        length: usize,
    },
    /// A refused message.
    Rejected {
        /// Why, and what an error response is made from.
        rejected: Rejected<'a>,
        /// The octets it takes from the buffer; `None` when the end of the message is unknown or
        /// doubtful, so that the connection must end behind the error response.
        length: Option<usize>,
    },
}

impl Index {
    /// Reads the message at the start of `buffer`, the octets received on a stream and not taken
    /// yet. `searched` belongs to the stream and is 0 whenever octets were taken: it remembers how
    /// far the end of the head was looked for, so that a message that arrives octet by octet
    /// costs no more than its length.
    pub fn scan_stream<'a>(&'a mut self, buffer: &'a [u8], searched: &mut usize) -> Framing<'a> {
        let line_ends = leading_line_ends(buffer);
        if line_ends > 0 {
            return Framing::LineEnds { length: line_ends };
        }
        if buffer.is_empty() || buffer == b"\r" {
            return Framing::Partial { missing: 1 };
        }
        let window = &buffer[..buffer.len().min(DATAGRAM_BYTES_MAX)];
        let from = (*searched).min(window.len());
        let head_ends = memchr::memmem::find(&window[from..], b"\r\n\r\n").is_some();
        if !head_ends && window.len() < DATAGRAM_BYTES_MAX {
            // The last three octets may be the start of the end.
            *searched = window.len().saturating_sub(3);
            return Framing::Partial { missing: 1 };
        }
        self.frame(window, !head_ends)
    }

    /// Reads a message whose head is in `buffer` whole, or which is too long.
    fn frame<'a>(&'a mut self, buffer: &'a [u8], too_long: bool) -> Framing<'a> {
        let mut head = self.scan_head(buffer, too_long);
        let length = match head.content_length {
            Some(body) => head.end + body,
            None => {
                // RFC 3261 §18.3: over a stream Content-Length is the only framing.
                if self.first(HeaderName::ContentLength).is_none() {
                    head.note(Reason::ContentLengthMissing, head.end);
                }
                head.framing_lost = true;
                head.end
            }
        };
        if length > DATAGRAM_BYTES_MAX {
            let at = self.value_start(HeaderName::ContentLength);
            head.note_error(ParseError::new(Reason::ContentLengthTooLarge, at));
        }
        if let Some(error) = head.error
            && head.framing_lost
        {
            let message = Message {
                bytes: &buffer[..head.end],
                index: self,
            };
            let answerable = head.answerable.then_some(message);
            return Framing::Rejected {
                rejected: Rejected { error, answerable },
                length: None,
            };
        }
        if length > buffer.len() {
            return Framing::Partial {
                missing: length - buffer.len(),
            };
        }
        match self.conclude(buffer, &head, length) {
            Ok(message) => Framing::Complete { message, length },
            Err(rejected) => Framing::Rejected {
                rejected,
                length: Some(length),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Method;
    use super::*;

    const OPTIONS: &str = "OPTIONS sip:edge.test SIP/2.0\r\n\
        Via: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK1\r\n\
        From: <sip:a@edge.test>;tag=f\r\n\
        To: <sip:b@edge.test>\r\n\
        Call-ID: c1\r\n\
        CSeq: 7 OPTIONS\r\n";

    fn message(lines: &str, body: &str) -> String {
        format!("{OPTIONS}{lines}\r\n{body}")
    }

    /// What one reader of a stream sees, as text.
    #[derive(Default)]
    struct Reader {
        buffer: Vec<u8>,
        searched: usize,
        seen: Vec<String>,
        ended: bool,
    }

    impl Reader {
        fn receive(&mut self, bytes: &[u8]) {
            self.buffer.extend_from_slice(bytes);
            let mut index = Index::new();
            while !self.ended && !self.buffer.is_empty() {
                let taken = match index.scan_stream(&self.buffer, &mut self.searched) {
                    Framing::Partial { missing } => {
                        assert!(missing > 0);
                        return;
                    }
                    Framing::LineEnds { length } => length,
                    Framing::Complete { message, length } => {
                        assert_eq!(message.bytes().len(), length);
                        self.seen.push(format!("{}", message.body().escape_ascii()));
                        length
                    }
                    Framing::Rejected { rejected, length } => {
                        let answered = if rejected.answerable.is_some() {
                            "!"
                        } else {
                            ""
                        };
                        self.seen
                            .push(format!("{}{answered}", rejected.error.reason.name()));
                        self.ended = length.is_none();
                        length.unwrap_or(self.buffer.len())
                    }
                };
                self.buffer.drain(..taken);
                self.searched = 0;
            }
        }
    }

    fn read(parts: &[&[u8]]) -> (Vec<String>, bool) {
        let mut reader = Reader::default();
        for part in parts {
            reader.receive(part);
        }
        (reader.seen, reader.ended)
    }

    #[test]
    fn a_stream_reads_the_same_wherever_it_is_split() {
        let stream = "\r\n\r\n".to_owned()
            + &message("Content-Length: 5\r\n", "a\r\n\r\n")
            + &message("l\t: 0\r\n", "")
            + "\r\n"
            + &message("Content-Length:\r\n 0003\r\n", "end");
        let bytes = stream.as_bytes();
        let whole = read(&[bytes]);
        let expected = ["a\\r\\n\\r\\n", "", "end"].map(str::to_owned).to_vec();
        assert_eq!(whole, (expected, false));
        for at in 0..=bytes.len() {
            assert_eq!(read(&[&bytes[..at], &bytes[at..]]), whole, "split at {at}");
        }
        let octets: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&octets), whole);
    }

    #[test]
    fn doubtful_framing_ends_the_connection_and_the_rest_is_never_read() {
        let next = message("Content-Length: 0\r\n", "");
        for (lines, reason) in [
            ("", "content_length_missing!"),
            (
                "Content-Length: 4294967296\r\n",
                "content_length_too_large!",
            ),
            ("Content-Length: 65507\r\n", "content_length_too_large!"),
            ("Content-Length: -999\r\n", "content_length_malformed!"),
            ("Content-Length: 0, 0\r\n", "content_length_malformed!"),
            ("Content-Length: 0\r\nl: 3\r\n", "content_length_repeated!"),
            ("Content-Length: 0\u{0}\r\n", "nul!"),
            ("Content-Length: 0\r\nX: a\nb\r\n", "bare_lf!"),
            ("Content-Length: 0\r\nno colon\r\n", "header_syntax!"),
        ] {
            let stream = message(lines, "") + &next;
            let expected = (vec![reason.to_owned()], true);
            assert_eq!(read(&[stream.as_bytes()]), expected, "{lines:?}");
            let octets: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
            assert_eq!(read(&octets), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_refused_message_whose_end_is_known_does_not_end_the_connection() {
        let wrong = message("Content-Length: 2\r\nMax-Forwards: x\r\n", "ab");
        let stream = wrong + &message("Content-Length: 2\r\n", "cd");
        let seen = ["max_forwards_malformed!", "cd"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(read(&[stream.as_bytes()]), (seen, false));
    }

    #[test]
    fn a_head_without_end_is_refused_at_the_bound() {
        let mut reader = Reader::default();
        reader.receive(OPTIONS.as_bytes());
        let line = format!("X: {}\r\n", "y".repeat(1000));
        for _ in 0..64 {
            reader.receive(line.as_bytes());
        }
        assert!(!reader.ended);
        reader.receive(line.as_bytes());
        reader.receive(line.as_bytes());
        assert!(reader.ended);
        assert_eq!(reader.seen, ["message_too_long!"]);
    }

    #[test]
    fn more_in_the_buffer_than_one_message_may_have_is_no_harm() {
        let one = message("Content-Length: 40000\r\n", &"x".repeat(40_000));
        let (seen, ended) = read(&[(one.clone() + &one + &one).as_bytes()]);
        assert_eq!((seen.len(), ended), (3, false));
        let largest = DATAGRAM_BYTES_MAX - message("Content-Length: 65300\r\n", "").len();
        let lines = format!("Content-Length: {largest}\r\n");
        let stream = message(&lines, &"x".repeat(largest)) + &message("l: 0\r\n", "");
        let (seen, ended) = read(&[stream.as_bytes()]);
        assert_eq!((seen.len(), ended), (2, false));
    }

    #[test]
    fn what_is_missing_is_known_once_the_head_is_there() {
        let text = message("Content-Length: 10\r\n", "abc");
        let mut index = Index::new();
        let mut searched = 0;
        let framing = index.scan_stream(text.as_bytes(), &mut searched);
        assert!(matches!(framing, Framing::Partial { missing: 7 }));
        let whole = text.clone() + "defghij";
        match index.scan_stream(whole.as_bytes(), &mut searched) {
            Framing::Complete { message, .. } => assert_eq!(message.method(), Method::Options),
            other => panic!("{other:?}"),
        }
    }
}
