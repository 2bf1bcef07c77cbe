//! Responses made from a request (RFC 3261 §8.2.6, §18.2.1; RFC 3581 §4).

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use super::uri::host_addr;
use super::value::quoted_end;
use super::{Field, HeaderName, Message, Writer};

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
    /// Writes the start of a response to `request`, which may be a refused one: fields that are
    /// missing stay so. `to_tag` is appended to To when To has no tag and the slice is not empty.
    pub fn write(
        out: &mut Writer<'_>,
        request: Message<'_>,
        status: u16,
        reason: &str,
        to_tag: &[u8],
        reply: ReplyTo,
    ) {
        out.put(b"SIP/2.0 ");
        out.put_decimal(u64::from(status));
        out.put(b" ");
        out.put(reason.as_bytes());
        out.put(b"\r\n");
        // RFC 3261 §8.2.6.2: the Via values in order, From, Call-ID and CSeq as they were.
        let mut vias = request.headers(HeaderName::Via);
        if let Some(top) = vias.next() {
            write_top_via(out, request, top, reply.source);
        }
        for via in vias {
            put_line(out, request, via);
        }
        for name in [
            HeaderName::From,
            HeaderName::To,
            HeaderName::CallId,
            HeaderName::CSeq,
        ] {
            let Some(field) = request.header(name) else {
                continue;
            };
            if name == HeaderName::To && request.to_tag().is_empty() && !to_tag.is_empty() {
                out.put(b"To: ");
                out.put(field.value);
                out.put(b";tag=");
                out.put(to_tag);
                out.put(b"\r\n");
            } else {
                put_line(out, request, field);
            }
        }
        // RFC 3261 §8.2.6.1: a Timestamp is copied into the 100.
        if status == 100
            && let Some(field) = request.header(HeaderName::Timestamp)
        {
            put_line(out, request, field);
        }
    }

    /// Writes Content-Length, the empty line and the body.
    pub fn end(out: &mut Writer<'_>, body: &[u8]) {
        out.put(b"Content-Length: ");
        out.put_decimal(body.len() as u64);
        out.put(b"\r\n\r\n");
        out.put(body);
    }
}

fn put_line(out: &mut Writer<'_>, request: Message<'_>, field: Field<'_>) {
    out.put(&request.bytes[usize::from(field.line_start)..usize::from(field.line_end)]);
}

/// The line of the top Via, with where the request really came from.
fn write_top_via(out: &mut Writer<'_>, request: Message<'_>, line: Field<'_>, source: SocketAddr) {
    let via = request.top_via();
    let known = host_addr(via.host) == Some(source.ip());
    // RFC 3581 §4: with rport, received is added even when sent-by holds that address.
    // RFC 3261 §18.2.1: else it is added when sent-by is a name or another address. One that the
    // sender wrote is never believed.
    let needs_received = !known || via.rport.is_some() || via.received.is_some();
    if !needs_received {
        return put_line(out, request, line);
    }
    let params = via.params.as_bytes();
    let params_start = usize::from(via.end) - params.len();
    out.put(&request.bytes[usize::from(line.line_start)..params_start]);
    let mut rest = params;
    while !rest.is_empty() {
        let (param, tail) = rest.split_at(param_end(rest));
        rest = tail;
        match param_name(param) {
            name if name.eq_ignore_ascii_case(b"received") => {}
            name if name.eq_ignore_ascii_case(b"rport") => {
                out.put(b";rport=");
                out.put_decimal(u64::from(source.port()));
            }
            _ => out.put(param),
        }
    }
    out.put(b";received=");
    put_addr(out, source.ip());
    out.put(&request.bytes[usize::from(via.end)..usize::from(line.line_end)]);
}

/// Length of the parameter that `text` starts with, its `;` included.
fn param_end(text: &[u8]) -> usize {
    let mut at = 1;
    while at < text.len() && text[at] != b';' {
        at = if text[at] == b'"' {
            quoted_end(text, at)
        } else {
            at + 1
        };
    }
    at
}

fn param_name(param: &[u8]) -> &[u8] {
    let text = param.get(1..).unwrap_or_default();
    let end = text
        .iter()
        .position(|&byte| byte == b'=')
        .unwrap_or(text.len());
    super::trim(&text[..end])
}

/// RFC 3261 §25.1: `received` holds an IPv6 address without brackets.
fn put_addr(out: &mut Writer<'_>, addr: IpAddr) {
    if let IpAddr::V4(addr) = addr {
        let [first, rest @ ..] = addr.octets();
        out.put_decimal(u64::from(first));
        for octet in rest {
            out.put(b".");
            out.put_decimal(u64::from(octet));
        }
        return;
    }
    // The longest text of an address has 45 octets.
    let mut text = [0u8; 48];
    let mut rest = &mut text[..];
    if write!(rest, "{addr}").is_ok() {
        let left = rest.len();
        out.put(&text[..text.len() - left]);
    }
}

/// The registered reason phrase of `status`, or one of its class.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        400..=499 => request_failure(status),
        500..=599 => server_failure(status),
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        199 => "Early Dialog Terminated",
        200 => "OK",
        202 => "Accepted",
        204 => "No Notification",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        607 => "Unwanted",
        608 => "Rejected",
        0..=199 => "Progress",
        201..=299 => "Success",
        303..=399 => "Redirected",
        _ => "Global Failure",
    }
}

fn request_failure(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        417 => "Unknown Resource-Priority",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        424 => "Bad Location Information",
        425 => "Bad Alert Message",
        428 => "Use Identity Header",
        429 => "Provide Referrer Identity",
        430 => "Flow Failed",
        433 => "Anonymity Disallowed",
        436 => "Bad Identity Info",
        437 => "Unsupported Credential",
        438 => "Invalid Identity Header",
        439 => "First Hop Lacks Outbound Support",
        440 => "Max-Breadth Exceeded",
        469 => "Bad Info Package",
        470 => "Consent Needed",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        494 => "Security Agreement Required",
        _ => "Request Failure",
    }
}

fn server_failure(status: u16) -> &'static str {
    match status {
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        555 => "Push Notification Service Not Supported",
        580 => "Precondition Failure",
        _ => "Server Failure",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

    use super::super::Index;
    use super::*;

    fn request(via: &str, to: &str) -> String {
        format!(
            "INVITE sip:b@edge.test SIP/2.0\r\n{via}v: SIP/2.0/TCP first.test;branch=z9hG4bK0\r\n\
             f: \"A\"\r\n <sip:a@edge.test>;tag=f\r\n{to}Timestamp: 54.2\r\nMax-Forwards: 1\r\n\
             Call-ID: c1\r\nCSeq: 7\r\n INVITE\r\nContent-Length: 0\r\n\r\n"
        )
    }

    fn respond(text: &str, status: u16, tag: &str, source: &str) -> String {
        let mut index = Index::new();
        let message = index.scan(text.as_bytes()).unwrap();
        let mut buffer = [0u8; 2048];
        let mut out = Writer::new(&mut buffer);
        let reply = ReplyTo {
            source: source.parse().unwrap(),
        };
        let phrase = reason_phrase(status);
        ResponseHead::write(&mut out, message, status, phrase, tag.as_bytes(), reply);
        ResponseHead::end(&mut out, b"body");
        String::from_utf8(out.written().to_vec()).unwrap()
    }

    const SOURCE: &str = "192.0.2.9:40000";

    #[test]
    fn a_response_copies_what_identifies_the_request() {
        let text = request(
            "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\n",
            "To: sip:b@edge.test\r\n",
        );
        assert_eq!(
            respond(&text, 404, "mine", SOURCE),
            "SIP/2.0 404 Not Found\r\n\
             Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\n\
             v: SIP/2.0/TCP first.test;branch=z9hG4bK0\r\n\
             f: \"A\"\r\n <sip:a@edge.test>;tag=f\r\n\
             To: sip:b@edge.test;tag=mine\r\n\
             Call-ID: c1\r\nCSeq: 7\r\n INVITE\r\n\
             Content-Length: 4\r\n\r\nbody"
        );
    }

    #[test]
    fn a_100_takes_the_timestamp_and_no_tag() {
        let text = request("Via: SIP/2.0/UDP 192.0.2.9\r\n", "t: sip:b@edge.test\r\n");
        let response = respond(&text, 100, "", SOURCE);
        assert!(response.contains("\r\nt: sip:b@edge.test\r\n"));
        assert!(response.contains("\r\nTimestamp: 54.2\r\n"));
    }

    #[test]
    fn a_tag_that_is_there_stays() {
        let text = request(
            "Via: SIP/2.0/UDP 192.0.2.9\r\n",
            "To: <sip:b@edge.test>;tag=theirs\r\n",
        );
        let response = respond(&text, 200, "mine", SOURCE);
        assert!(response.contains("\r\nTo: <sip:b@edge.test>;tag=theirs\r\n"));
        assert!(!response.contains("mine"));
    }

    #[test]
    fn the_top_via_says_where_the_request_came_from() {
        for (via, source, expected) in [
            // RFC 3581 §4: received and the port are filled in when rport is asked for.
            (
                "192.0.2.9;rport;branch=b",
                SOURCE,
                "192.0.2.9;rport=40000;branch=b;received=192.0.2.9",
            ),
            (
                "10.0.0.1:5060;branch=b;rport",
                SOURCE,
                "10.0.0.1:5060;branch=b;rport=40000;received=192.0.2.9",
            ),
            // RFC 3261 §18.2.1: received alone when sent-by is another address or a name.
            (
                "10.0.0.1:5060;branch=b",
                SOURCE,
                "10.0.0.1:5060;branch=b;received=192.0.2.9",
            ),
            ("phone.test", SOURCE, "phone.test;received=192.0.2.9"),
            ("192.0.2.9:5060", SOURCE, "192.0.2.9:5060"),
            ("[2001:db8::1]", "[2001:db8::1]:5", "[2001:db8::1]"),
            (
                "[2001:db8::2]",
                "[2001:db8::1]:5",
                "[2001:db8::2];received=2001:db8::1",
            ),
            // What the sender says about itself is replaced.
            (
                "192.0.2.9;received=1.2.3.4;a=\";rport\"",
                SOURCE,
                "192.0.2.9;a=\";rport\";received=192.0.2.9",
            ),
            (
                "192.0.2.9 ; RPORT = 1 ;b",
                SOURCE,
                "192.0.2.9 ;rport=40000;b;received=192.0.2.9",
            ),
            (
                "a;rport , SIP/2.0/UDP b;rport",
                SOURCE,
                "a;rport=40000;received=192.0.2.9 , SIP/2.0/UDP b;rport",
            ),
        ] {
            let text = request(
                &format!("Via: SIP/2.0/UDP {via}\r\n"),
                "To: sip:b@edge.test\r\n",
            );
            let response = respond(&text, 200, "t", source);
            let line = response.split("\r\n").nth(1).unwrap();
            assert_eq!(line, format!("Via: SIP/2.0/UDP {expected}"), "{via}");
        }
    }

    #[test]
    fn a_refused_request_is_answered_with_what_it_has() {
        let text =
            "INVITE sip:b@edge.test SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;;,\r\nCSeq: x\r\n\r\n";
        let mut index = Index::new();
        let message = index.scan(text.as_bytes()).unwrap_err().answerable.unwrap();
        let mut buffer = [0u8; 256];
        let mut out = Writer::new(&mut buffer);
        let reply = ReplyTo {
            source: SOURCE.parse().unwrap(),
        };
        ResponseHead::write(&mut out, message, 400, "Bad Request", b"t", reply);
        assert_eq!(
            out.written(),
            b"SIP/2.0 400 Bad Request\r\n\
              Via: SIP/2.0/UDP 10.0.0.1;received=192.0.2.9;;,\r\nCSeq: x\r\n"
        );
    }

    #[test]
    fn every_status_has_a_phrase() {
        for status in 100..700 {
            let phrase = reason_phrase(status);
            assert!(phrase.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) && phrase.len() > 1);
        }
        assert_eq!(reason_phrase(486), "Busy Here");
        assert_eq!(reason_phrase(499), "Request Failure");
        assert_eq!(reason_phrase(699), "Global Failure");
    }
}
