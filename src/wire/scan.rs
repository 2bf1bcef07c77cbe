//! The scanner: one pass over a message gives its start line and an index of header fields.

use super::{Message, ParseError};

/// Scratch memory of the scanner: the index of one message. Made once, reused for every message.
#[derive(Debug)]
pub struct Index {
    pub(super) private: (),
}

/// A refused message.
#[derive(Debug)]
pub struct Rejected<'a> {
    /// Why, and where.
    pub error: ParseError,
    /// The message as far as it was understood, when it is a request from which an error response
    /// can be made: start line, a well-formed top Via, From, To, Call-ID and CSeq are there.
    pub answerable: Option<Message<'a>>,
}

impl Index {
    /// An empty index.
    #[must_use]
    pub fn new() -> Box<Self> {
        Box::new(Self { private: () })
    }

    /// Scans one datagram. On success the message ends where Content-Length says (octets after it
    /// are discarded, RFC 3261 §18.3), every line is CRLF-ended, no control character stands in
    /// the head, and Via, From, To, Call-ID and CSeq are present, single where they must be, and
    /// CSeq fits the method.
    ///
    /// # Errors
    /// One [`super::Reason`] per way to be wrong, with the offset.
    pub fn scan<'a>(&'a mut self, datagram: &'a [u8]) -> Result<Message<'a>, Rejected<'a>> {
        unimplemented!("{datagram:?}")
    }
}
