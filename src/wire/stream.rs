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
        let from = (*searched).min(buffer.len());
        let head_ends = memchr::memmem::find(&buffer[from..], b"\r\n\r\n").is_some();
        if !head_ends && buffer.len() < DATAGRAM_BYTES_MAX {
            // The last three octets may be the start of the end.
            *searched = buffer.len().saturating_sub(3);
            return Framing::Partial { missing: 1 };
        }
        self.frame(buffer)
    }

    /// Reads a message whose head is in `buffer` whole, or which is too long.
    fn frame<'a>(&'a mut self, buffer: &'a [u8]) -> Framing<'a> {
        let mut head = self.scan_head(buffer);
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
