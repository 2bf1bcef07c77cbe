//! The two requests that an INVITE client transaction makes from its INVITE: ACK and CANCEL.

use crate::wire::{HeaderName, Message, Writer};

/// RFC 3261 §8.1.1.6: the initial value of Max-Forwards.
const MAX_FORWARDS: u64 = 70;

/// Writes the ACK to a final response other than 2xx; `to` is the To value of that response.
// RFC 3261 §17.1.1.3
pub(super) fn write_ack(out: &mut Writer<'_>, invite: Message<'_>, to: &[u8]) {
    write(out, b"ACK", invite, to);
}

/// Writes the CANCEL of an INVITE.
// RFC 3261 §9.1: its To is that of the request, and it has no Require.
pub(super) fn write_cancel(out: &mut Writer<'_>, invite: Message<'_>) {
    let to = invite
        .header(HeaderName::To)
        .map_or(&b""[..], |field| field.value);
    write(out, b"CANCEL", invite, to);
}

fn write(out: &mut Writer<'_>, method: &[u8], invite: Message<'_>, to: &[u8]) {
    out.put(method);
    out.put(b" ");
    out.put(&invite.bytes()[invite.request_uri_range()]);
    out.put(b" SIP/2.0\r\n");
    // RFC 3261 §17.1.1.3, §9.1: one Via, the topmost of the INVITE, so that the branch is the same.
    let via = invite.top_via();
    put_header(
        out,
        b"Via",
        &invite.bytes()[usize::from(via.start)..usize::from(via.end)],
    );
    for route in invite.headers(HeaderName::Route) {
        put_header(out, b"Route", route.value);
    }
    out.put(b"Max-Forwards: ");
    out.put_decimal(MAX_FORWARDS);
    out.put(b"\r\n");
    if let Some(from) = invite.header(HeaderName::From) {
        put_header(out, b"From", from.value);
    }
    put_header(out, b"To", to);
    put_header(out, b"Call-ID", invite.call_id());
    out.put(b"CSeq: ");
    out.put_decimal(u64::from(invite.cseq().number));
    out.put(b" ");
    out.put(method);
    out.put(b"\r\nContent-Length: 0\r\n\r\n");
}

fn put_header(out: &mut Writer<'_>, name: &[u8], value: &[u8]) {
    out.put(name);
    out.put(b": ");
    out.put(value);
    out.put(b"\r\n");
}
