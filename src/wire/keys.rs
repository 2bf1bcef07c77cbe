//! What is read from a message while it is scanned: the routing keys, and the values that make a
//! message wrong whoever reads it.

use crate::limits::DATAGRAM_BYTES_MAX;

use super::class;
use super::cursor::{Cursor, Span};
use super::head::Head;
use super::name_addr::parse_address;
use super::scan::{Entry, Index};
use super::uri::UriSpans;
use super::via::{ViaSpans, parse_via};
use super::{HeaderName, Method, ParseError, Reason, Scheme, Uri, parse_decimal};

/// The routing keys of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    /// `None` for a response, and for a Request-URI that can not be read.
    pub(super) request_uri: Option<UriSpans>,
    pub(super) via: ViaSpans,
    pub(super) call_id: Span,
    pub(super) from_tag: Span,
    pub(super) to_tag: Span,
    pub(super) cseq_method_text: Span,
    pub(super) cseq_number: u32,
    pub(super) head_end: u16,
    pub(super) cseq_method: Method,
    pub(super) max_forwards: Option<u8>,
}

impl Keys {
    pub(super) const NONE: Self = {
        let nowhere = Span { start: 0, end: 0 };
        Self {
            request_uri: None,
            via: ViaSpans::NONE,
            call_id: nowhere,
            from_tag: nowhere,
            to_tag: nowhere,
            cseq_method_text: nowhere,
            cseq_number: 0,
            head_end: 0,
            cseq_method: Method::Other,
            max_forwards: None,
        }
    };
}

/// RFC 3261 §8.1.1.5: a sequence number is below 2^31.
const CSEQ_MAX: u64 = (1 << 31) - 1;

/// Why a second field named `name` makes a message wrong; `None` for a list header, and for one
/// that no two readers of the message would act on differently.
// RFC 3261 §7.3.1: a field may be repeated only when its value is a list.
#[cold]
pub(super) fn repeated(name: HeaderName) -> Option<Reason> {
    use HeaderName as H;
    #[allow(clippy::wildcard_enum_match_arm, reason = "all others may be repeated")]
    match name {
        H::From => Some(Reason::FromRepeated),
        H::To => Some(Reason::ToRepeated),
        H::CallId => Some(Reason::CallIdRepeated),
        H::CSeq => Some(Reason::CSeqRepeated),
        H::MaxForwards => Some(Reason::MaxForwardsRepeated),
        H::ContentLength => Some(Reason::ContentLengthRepeated),
        H::ContentType => Some(Reason::ContentTypeRepeated),
        H::Expires => Some(Reason::ExpiresRepeated),
        H::MinExpires
        | H::Event
        | H::SessionExpires
        | H::MinSe
        | H::ReferTo
        | H::ReferredBy
        | H::Replaces
        | H::Timestamp
        | H::MaxBreadth
        | H::FlowTimer
        | H::RSeq
        | H::RAck => Some(Reason::HeaderRepeated),
        _ => None,
    }
}

impl Index {
    /// Reads the routing keys of the indexed fields and checks what is wrong for every reader.
    #[inline]
    pub(super) fn read_keys(&mut self, bytes: &[u8], head: &mut Head) {
        self.read_request_uri(bytes, head);
        let via = self.read_via(bytes, head);
        let from = self.field_or(HeaderName::From, Reason::FromMissing, head);
        self.keys.from_tag = tag(bytes, from, Reason::FromMalformed, head);
        let to = self.field_or(HeaderName::To, Reason::ToMissing, head);
        self.keys.to_tag = tag(bytes, to, Reason::ToMalformed, head);
        self.read_call_id(bytes, head);
        self.read_cseq(bytes, head);
        self.read_content_length(bytes, head);
        self.read_max_forwards(bytes, head);
        let start = self.start;
        head.answerable = via && start.status == 0 && start.end > 0 && start.method != Method::Ack;
    }

    #[inline]
    fn field_or(&self, name: HeaderName, missing: Reason, head: &mut Head) -> Option<Entry> {
        let Some(number) = self.first(name) else {
            head.note(missing, usize::from(self.keys.head_end));
            return None;
        };
        self.entries().get(number).copied()
    }

    #[inline]
    fn read_request_uri(&mut self, bytes: &[u8], head: &mut Head) {
        let start = self.start;
        if start.status != 0 || start.uri.is_empty() {
            return;
        }
        let offset = usize::from(start.uri.start);
        match Uri::parse(start.uri.of(bytes)) {
            Ok(uri) => {
                // RFC 3261 §19.1.1: headers are not allowed in a Request-URI.
                if !uri.headers.is_empty() && uri.scheme != Scheme::Other {
                    head.note(Reason::UriHeadersForbidden, offset);
                }
                self.keys.request_uri = Some(UriSpans::of(&uri, bytes));
            }
            Err(error) => head.note(error.reason, offset + usize::from(error.offset)),
        }
    }

    /// Reads the topmost Via; true when it says where a response goes.
    #[inline]
    fn read_via(&mut self, bytes: &[u8], head: &mut Head) -> bool {
        let Some(entry) = self.field_or(HeaderName::Via, Reason::ViaMissing, head) else {
            return false;
        };
        let (via, result) = parse_via(&mut cursor(bytes, entry));
        if let Err(error) = result {
            head.note_error(error);
        }
        self.keys.via = via.unwrap_or(ViaSpans::NONE);
        via.is_some()
    }

    #[inline]
    fn read_call_id(&mut self, bytes: &[u8], head: &mut Head) {
        let Some(entry) = self.field_or(HeaderName::CallId, Reason::CallIdMissing, head) else {
            return;
        };
        let value = entry.value.of(bytes);
        // RFC 3261 §25.1 deviation: callid = word [ "@" word ]; any text without white space is
        // taken, because it is compared octet by octet and never parsed.
        let spaced = value.iter().fold(false, |any, &byte| any | (byte <= b' '));
        if value.is_empty() || spaced {
            head.note(Reason::CallIdMalformed, usize::from(entry.value.start));
        } else {
            self.keys.call_id = entry.value;
        }
    }

    #[inline]
    fn read_cseq(&mut self, bytes: &[u8], head: &mut Head) {
        self.keys.cseq_method = self.start.method;
        let Some(entry) = self.field_or(HeaderName::CSeq, Reason::CSeqMissing, head) else {
            return;
        };
        let offset = usize::from(entry.value.start);
        let mut cursor = cursor(bytes, entry);
        let digits = cursor.at;
        while cursor.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            cursor.at += 1;
        }
        let digits = Span::new(digits, cursor.at);
        cursor.skip_space();
        let spaced = cursor.at > usize::from(digits.end);
        let method_text = cursor.skip_class(class::TOKEN);
        if digits.is_empty() || !spaced || method_text.is_empty() || !cursor.is_at_end() {
            return head.note(Reason::CSeqMalformed, offset);
        }
        let Some(number) = parse_decimal(digits.of(bytes), CSEQ_MAX) else {
            return head.note(Reason::CSeqTooLarge, offset);
        };
        let start = self.start;
        let text = method_text.of(bytes);
        let method = if start.status != 0 {
            Method::from_token(text)
        } else {
            // RFC 3261 §8.1.1.5: the method of CSeq is that of the request.
            if text != start.method_text.of(bytes) {
                return head.note(Reason::CSeqMethodMismatch, offset);
            }
            start.method
        };
        let keys = &mut self.keys;
        keys.cseq_number = number as u32;
        keys.cseq_method = method;
        keys.cseq_method_text = method_text;
    }

    #[inline]
    fn read_content_length(&self, bytes: &[u8], head: &mut Head) {
        let Some(number) = self.first(HeaderName::ContentLength) else {
            return;
        };
        let value = self.entries()[number].value;
        let offset = usize::from(value.start);
        let digits = value.of(bytes);
        match parse_decimal(digits, DATAGRAM_BYTES_MAX as u64) {
            Some(length) => head.content_length = Some(length as usize),
            None if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
                head.note(Reason::ContentLengthTooLarge, offset);
            }
            None => head.note(Reason::ContentLengthMalformed, offset),
        }
    }

    #[inline]
    fn read_max_forwards(&mut self, bytes: &[u8], head: &mut Head) {
        let Some(number) = self.first(HeaderName::MaxForwards) else {
            return;
        };
        let value = self.entries()[number].value;
        // RFC 3261 §20.22: 0 to 255.
        match parse_decimal(value.of(bytes), 255) {
            Some(hops) => self.keys.max_forwards = Some(hops as u8),
            None => head.note(Reason::MaxForwardsMalformed, usize::from(value.start)),
        }
    }
}

#[inline]
fn cursor(bytes: &[u8], entry: Entry) -> Cursor<'_> {
    Cursor::new(
        bytes,
        usize::from(entry.value.start),
        usize::from(entry.value.end),
    )
}

/// The tag of From or To, which is one address and nothing else.
#[inline]
fn tag(bytes: &[u8], entry: Option<Entry>, malformed: Reason, head: &mut Head) -> Span {
    let Some(entry) = entry else {
        return Span::default();
    };
    let mut cursor = cursor(bytes, entry);
    match parse_address(&mut cursor) {
        Ok(address) if cursor.is_at_end() => return address.tag,
        Ok(_) => head.note(malformed, cursor.at),
        Err(error) => {
            let general = error.reason == Reason::AddressMalformed;
            let reason = if general { malformed } else { error.reason };
            head.note_error(ParseError { reason, ..error });
        }
    }
    Span::default()
}
