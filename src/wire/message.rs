//! A scanned message and its fields.

use std::fmt;
use std::ops::Range;

use super::scan::Entry;
use super::{HeaderName, Index, Method, ParseError, Reason, Uri, Via, parse_decimal};

/// A scanned message: borrowed bytes and their index. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) index: &'a Index,
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({})", self.bytes.escape_ascii())
    }
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

impl<'a> Field<'a> {
    #[inline]
    fn of(bytes: &'a [u8], entry: Entry) -> Self {
        Self {
            name: entry.name,
            name_text: entry.name_text.of(bytes),
            value: entry.value.of(bytes),
            line_start: entry.name_text.start,
            line_end: entry.line_end,
            value_start: entry.value.start,
        }
    }
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
        let index = self.message.index;
        let number = match self.name {
            Some(name) => index.position(name, self.next)?,
            None => self.next,
        };
        let entry = index.entries().get(number)?;
        self.next = number + 1;
        Some(Field::of(self.message.bytes, *entry))
    }
}

impl<'a> Message<'a> {
    /// The octets of the message, body included, trailing garbage excluded.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }
    /// The request line, or `None` for a response.
    pub fn request_line(self) -> Option<RequestLine<'a>> {
        let start = self.index.start;
        (start.status == 0).then(|| RequestLine {
            method: start.method,
            method_text: start.method_text.of(self.bytes),
            uri: start.uri.of(self.bytes),
        })
    }
    /// The Request-URI, as the scanner has parsed it; `None` for a response, and in a refused
    /// message whose Request-URI can not be read.
    #[inline]
    pub fn request_uri(self) -> Option<Uri<'a>> {
        let uri = self.index.keys.request_uri?;
        Some(uri.view(self.bytes))
    }
    /// Where the Request-URI stands in [`Self::bytes`]; empty for a response.
    pub fn request_uri_range(self) -> Range<usize> {
        let uri = self.index.start.uri;
        usize::from(uri.start)..usize::from(uri.end)
    }
    /// The method of a request, or of a response's CSeq.
    pub fn method(self) -> Method {
        let start = self.index.start;
        if start.status == 0 {
            start.method
        } else {
            self.index.keys.cseq_method
        }
    }
    /// The status code, or `None` for a request.
    pub fn status(self) -> Option<u16> {
        let status = self.index.start.status;
        (status != 0).then_some(status)
    }
    /// The reason phrase of a response; empty for a request.
    pub fn reason_phrase(self) -> &'a [u8] {
        self.index.start.reason.of(self.bytes)
    }
    /// The first field named `name`.
    #[inline]
    pub fn header(self, name: HeaderName) -> Option<Field<'a>> {
        let number = self.index.first(name)?;
        self.index
            .entries()
            .get(number)
            .map(|entry| Field::of(self.bytes, *entry))
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
        usize::from(self.index.start.end)
    }
    /// Offset of the empty line that ends the head: where a header line may be inserted last.
    pub fn head_end(self) -> usize {
        usize::from(self.index.keys.head_end)
    }
    /// The body.
    pub fn body(self) -> &'a [u8] {
        self.bytes.get(self.head_end() + 2..).unwrap_or_default()
    }
    /// The topmost Via; the scanner has checked it.
    #[inline]
    pub fn top_via(self) -> Via<'a> {
        self.index.keys.via.view(self.bytes)
    }
    /// Call-ID as written; empty when a refused message has none.
    #[inline]
    pub fn call_id(self) -> &'a [u8] {
        self.index.keys.call_id.of(self.bytes)
    }
    /// CSeq; the scanner has checked it. Of a refused message without a good one, number 0 and
    /// the method of the request with an empty text.
    #[inline]
    pub fn cseq(self) -> CSeq<'a> {
        let keys = self.index.keys;
        CSeq {
            number: keys.cseq_number,
            method: keys.cseq_method,
            method_text: keys.cseq_method_text.of(self.bytes),
        }
    }
    /// The tag of From; empty when there is none.
    #[inline]
    pub fn from_tag(self) -> &'a [u8] {
        self.index.keys.from_tag.of(self.bytes)
    }
    /// The tag of To; empty when there is none.
    #[inline]
    pub fn to_tag(self) -> &'a [u8] {
        self.index.keys.to_tag.of(self.bytes)
    }
    /// The remaining hops in Max-Forwards, which the scanner has checked; `None` when absent.
    #[inline]
    pub fn max_forwards(self) -> Option<u8> {
        self.index.keys.max_forwards
    }
    /// The seconds in Expires; `None` when absent. More than 2^32 - 1 count as that many
    /// (RFC 4475 §3.1.2.4).
    ///
    /// # Errors
    /// A value that is no decimal number.
    pub fn expires(self) -> Result<Option<u32>, ParseError> {
        let Some(field) = self.header(HeaderName::Expires) else {
            return Ok(None);
        };
        if field.value.is_empty() || !field.value.iter().all(u8::is_ascii_digit) {
            return Err(ParseError {
                reason: Reason::ExpiresMalformed,
                offset: field.value_start,
            });
        }
        let seconds = parse_decimal(field.value, u64::from(u32::MAX));
        Ok(Some(seconds.map_or(u32::MAX, |seconds| seconds as u32)))
    }
}
