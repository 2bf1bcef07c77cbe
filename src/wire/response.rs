//! Responses made from a request (RFC 3261 §8.2.6, §18.2.1; RFC 3581 §4).

use std::net::SocketAddr;

use super::{Message, Writer};

/// Where the request came from, for the top Via of the response.
#[derive(Clone, Copy, Debug)]
pub struct ReplyTo {
    /// Source address and port of the request.
    pub source: SocketAddr,
}

/// The start of a response: status, Via (with `received` and `rport` filled in), From, To (with a
/// tag), Call-ID, CSeq, and Timestamp of a 100. The caller appends further header lines and ends
/// with [`ResponseHead::end`].
#[derive(Debug)]
pub struct ResponseHead;

impl ResponseHead {
    /// Writes the start of a response to `request`. `to_tag` is appended to To when To has no tag
    /// and the slice is not empty.
    pub fn write(
        out: &mut Writer<'_>,
        request: Message<'_>,
        status: u16,
        reason: &str,
        to_tag: &[u8],
        reply: ReplyTo,
    ) {
        unimplemented!("{out:?}{request:?}{status}{reason}{to_tag:?}{reply:?}")
    }

    /// Writes Content-Length, the empty line and the body.
    pub fn end(out: &mut Writer<'_>, body: &[u8]) {
        unimplemented!("{out:?}{body:?}")
    }
}

/// The registered reason phrase of `status`, or one of its class.
pub fn reason_phrase(status: u16) -> &'static str {
    unimplemented!("{status}")
}
