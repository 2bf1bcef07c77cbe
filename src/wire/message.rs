//! A scanned message and its fields.

use std::ops::Range;

use super::{HeaderName, Index, Method, Via};

/// A scanned message: borrowed bytes and their index. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) index: &'a Index,
}

/// The parts of a request line.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// The method, `Other` when unregistered.
    pub method: Method,
    /// The method as written.
    pub method_text: &'a [u8],
    /// The Request-URI as written.
    pub uri: &'a [u8],
}

/// One header field.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Which header.
    pub name: HeaderName,
    /// The name as written.
    pub name_text: &'a [u8],
    /// The value without surrounding white space; folding is left inside.
    pub value: &'a [u8],
    /// Start of the line in the message.
    pub line_start: u16,
    /// End of the line in the message, behind its CRLF.
    pub line_end: u16,
    /// Start of the value in the message.
    pub value_start: u16,
}

/// A parsed CSeq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The sequence number, below 2^31 (RFC 3261 §8.1.1.5).
    pub number: u32,
    /// The method.
    pub method: Method,
    /// The method as written.
    pub method_text: &'a [u8],
}

/// Iterates over the fields of one name, in order.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    pub(super) message: Message<'a>,
    pub(super) name: Option<HeaderName>,
    pub(super) next: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;
    fn next(&mut self) -> Option<Field<'a>> {
        unimplemented!()
    }
}

impl<'a> Message<'a> {
    /// The octets of the message, body included, trailing garbage excluded.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }
    /// The request line, or `None` for a response.
    pub fn request_line(self) -> Option<RequestLine<'a>> {
        unimplemented!()
    }
    /// Where the Request-URI stands in [`Self::bytes`]; empty for a response.
    pub fn request_uri_range(self) -> Range<usize> {
        unimplemented!()
    }
    /// The method of a request, or of a response's CSeq.
    pub fn method(self) -> Method {
        unimplemented!()
    }
    /// The status code, or `None` for a request.
    pub fn status(self) -> Option<u16> {
        unimplemented!()
    }
    /// The reason phrase of a response; empty for a request.
    pub fn reason_phrase(self) -> &'a [u8] {
        unimplemented!()
    }
    /// The first field named `name`.
    pub fn header(self, name: HeaderName) -> Option<Field<'a>> {
        unimplemented!("{name:?}")
    }
    /// Every field named `name`, in order.
    pub fn headers(self, name: HeaderName) -> Fields<'a> {
        Fields {
            message: self,
            name: Some(name),
            next: 0,
        }
    }
    /// Every field, in order.
    pub fn fields(self) -> Fields<'a> {
        Fields {
            message: self,
            name: None,
            next: 0,
        }
    }
    /// Offset of the first header line: behind the start line's CRLF.
    pub fn head_start(self) -> usize {
        unimplemented!()
    }
    /// Offset of the empty line that ends the head: where a header line may be inserted last.
    pub fn head_end(self) -> usize {
        unimplemented!()
    }
    /// The body.
    pub fn body(self) -> &'a [u8] {
        unimplemented!()
    }
    /// The topmost Via; the scanner has checked it.
    pub fn top_via(self) -> Via<'a> {
        unimplemented!()
    }
    /// Call-ID as written.
    pub fn call_id(self) -> &'a [u8] {
        unimplemented!()
    }
    /// CSeq; the scanner has checked it.
    pub fn cseq(self) -> CSeq<'a> {
        unimplemented!()
    }
    /// The tag of From; empty when there is none.
    pub fn from_tag(self) -> &'a [u8] {
        unimplemented!()
    }
    /// The tag of To; empty when there is none.
    pub fn to_tag(self) -> &'a [u8] {
        unimplemented!()
    }
}
