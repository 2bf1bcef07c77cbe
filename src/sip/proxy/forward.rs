//! The request as it goes out on one branch (RFC 3261 §16.6): the received one, spliced.

use std::net::IpAddr;

use super::identity::{self, Asserted};
use super::route;
use crate::limits::HEADER_FIELD_BYTES_MAX;
use crate::sip::token::{Branch, RouteToken};
use crate::sip::turn::Turn;
use crate::sip::{Arrival, Listener, ListenerId, Settings, auth};
use crate::wire::{HeaderName, Message, Splice, Transport, Via, Writer, host_addr, parse_decimal};

/// RFC 3261 §16.6 item 3: Max-Forwards of a request that has none.
const MAX_FORWARDS: &[u8] = b"Max-Forwards: 70\r\n";

/// Record-Route of a branch.
#[derive(Clone, Copy, Debug)]
pub(super) enum RecordRoute<'a> {
    /// None: the request forms no dialog.
    No,
    /// This token, made for the branch or that of the dialog.
    New {
        token: &'a RouteToken,
        /// The tag that the token is bound to.
        caller_tag: &'a [u8],
    },
}

/// One way out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop<'a> {
    /// The listener it leaves by.
    pub(super) listener: ListenerId,
    /// The Request-URI to be, when it is another one.
    pub(super) request_uri: Option<&'a [u8]>,
    /// Record-Route of this branch.
    pub(super) record_route: RecordRoute<'a>,
    /// Leading Route values removed.
    pub(super) routes_removed: usize,
    /// True when the last Route value is removed too: it has become the Request-URI.
    pub(super) last_route_removed: bool,
    /// A Route value put behind the others: the Request-URI, on the way to a strict router.
    pub(super) route_appended: Option<&'a [u8]>,
    /// Path values of the binding, put before the others.
    pub(super) path: &'a [u8],
    /// True when the Request-URI received is told as P-Called-Party-ID (RFC 7315 §4.2).
    pub(super) called_party: bool,
    /// What becomes of identity headers.
    pub(super) asserted: Asserted<'a>,
    /// Our Via branch.
    pub(super) branch: Branch,
    /// What its check covers beside it.
    pub(super) bound: &'a [u8],
}

/// Scratch for the lines that are put in.
#[derive(Debug)]
pub(super) struct Scratch {
    head: Box<[u8]>,
    via: Box<[u8]>,
}

impl Scratch {
    /// Lines put in: P-Called-Party-ID with the largest Request-URI there can be, and beside it
    /// Via, two Record-Routes, Path and P-Asserted-Identity.
    const HEAD_BYTES: usize = HEADER_FIELD_BYTES_MAX + 8192;
    /// A top Via with parameters that must be rewritten.
    const VIA_BYTES: usize = 1024;

    pub(super) fn new() -> Self {
        Self {
            head: vec![0; Self::HEAD_BYTES].into_boxed_slice(),
            via: vec![0; Self::VIA_BYTES].into_boxed_slice(),
        }
    }
}

/// Writes `message`, received on `arrival`, as it leaves by `hop`. `None` when it does not fit or
/// needs more edits than are allowed.
pub(super) fn write_request(
    turn: &Turn<'_>,
    message: Message<'_>,
    arrival: Arrival,
    hop: &Hop<'_>,
    scratch: &mut Scratch,
    out: &mut [u8],
) -> Option<usize> {
    let mut splice = Splice::new(message);
    if let Some(uri) = hop.request_uri {
        let range = message.request_uri_range();
        splice.replace(range.start, range.end, uri);
    }
    let head = write_head(turn, message, arrival, hop, &mut scratch.head)?;
    splice.insert(message.head_start(), head);
    let stamp = Stamp::of(message.top_via(), arrival);
    if !stamp.apply(message, &mut splice, &mut scratch.via) {
        return None;
    }
    let hops = max_forwards(message);
    if let Some((start, end, digits)) = &hops {
        splice.replace(*start, *end, digits.as_bytes());
    }
    if hop.routes_removed > 0 || hop.last_route_removed {
        route::remove_routes(
            &mut splice,
            message,
            hop.routes_removed,
            hop.last_route_removed,
        );
    }
    let mut appended = [&b""[..]; 3];
    if let Some(uri) = hop.route_appended {
        appended = [b"Route: <", uri, b">\r\n"];
    }
    for part in appended.into_iter().filter(|part| !part.is_empty()) {
        splice.insert(message.head_end(), part);
    }
    remove_lines(turn.settings, message, hop, &mut splice);
    let mut out = Writer::new(out);
    if splice.write(&mut out) {
        out.finish()
    } else {
        None
    }
}

/// The lines that go before the received ones: our Via topmost.
fn write_head<'s>(
    turn: &Turn<'_>,
    message: Message<'_>,
    arrival: Arrival,
    hop: &Hop<'_>,
    scratch: &'s mut [u8],
) -> Option<&'s [u8]> {
    let settings = turn.settings;
    let listener = listener(settings, hop.listener)?;
    let mut out = Writer::new(scratch);
    // RFC 3261 §16.6 item 8.
    out.put(b"Via: SIP/2.0/");
    out.put(transport_name(listener.transport));
    out.put(b" ");
    out.put(listener.sent_by.as_bytes());
    out.put(b";branch=");
    hop.branch
        .write(turn.keys, settings.node, hop.bound, &mut out);
    out.put(b"\r\n");
    if let RecordRoute::New { token, caller_tag } = hop.record_route {
        let call_id = message.call_id();
        // RFC 5658 §3: where the two sides are reached differently, the side the request goes to
        // finds its own way topmost, the side it came from below.
        put_record_route(turn, token, call_id, caller_tag, listener, &mut out);
        if hop.listener != arrival.flow.listener() {
            let inward = self::listener(settings, arrival.flow.listener())?;
            put_record_route(turn, token, call_id, caller_tag, inward, &mut out);
        }
    }
    if !hop.path.is_empty() {
        out.put(b"Route: ");
        out.put(hop.path);
        out.put(b"\r\n");
    }
    if message.header(HeaderName::MaxForwards).is_none() {
        out.put(MAX_FORWARDS);
    }
    if hop.called_party {
        out.put(b"P-Called-Party-ID: <");
        out.put(&message.bytes()[message.request_uri_range()]);
        out.put(b">\r\n");
    }
    identity::put_asserted(hop.asserted, &mut out);
    let length = out.finish()?;
    Some(&scratch[..length])
}

fn put_record_route(
    turn: &Turn<'_>,
    token: &RouteToken,
    call_id: &[u8],
    caller_tag: &[u8],
    listener: &Listener,
    out: &mut Writer<'_>,
) {
    out.put(b"Record-Route: <sip:");
    token.write(turn.keys, turn.settings.node, call_id, caller_tag, out);
    out.put(b"@");
    out.put(listener.sent_by.as_bytes());
    match listener.transport {
        Transport::Udp | Transport::Other => {}
        Transport::Tcp => out.put(b";transport=tcp"),
        Transport::Tls => out.put(b";transport=tls"),
        Transport::Ws | Transport::Wss => out.put(b";transport=ws"),
    }
    out.put(b";lr>\r\n");
}

pub(super) fn listener(settings: &Settings, id: ListenerId) -> Option<&Listener> {
    settings.listeners.get(usize::from(id.0))
}

fn transport_name(transport: Transport) -> &'static [u8] {
    match transport {
        Transport::Udp | Transport::Other => b"UDP",
        Transport::Tcp => b"TCP",
        Transport::Tls => b"TLS",
        Transport::Ws => b"WS",
        Transport::Wss => b"WSS",
    }
}

/// Removes what is not for the next hop: credentials for our realm (RFC 3261 §22.3), identities
/// that nobody vouches for, and a P-Called-Party-ID that ours replaces.
fn remove_lines(settings: &Settings, message: Message<'_>, hop: &Hop<'_>, splice: &mut Splice<'_>) {
    for name in [HeaderName::ProxyAuthorization, HeaderName::Authorization] {
        for field in message.headers(name) {
            if auth::credentials_are_ours(settings, field.value) {
                splice.remove(usize::from(field.line_start), usize::from(field.line_end));
            }
        }
    }
    identity::remove_unasserted(hop.asserted, message, splice);
    if hop.called_party {
        for field in message.headers(HeaderName::PCalledPartyId) {
            splice.remove(usize::from(field.line_start), usize::from(field.line_end));
        }
    }
}

/// Where Max-Forwards has its digits, and those of one hop less (RFC 3261 §16.6 item 3).
fn max_forwards(message: Message<'_>) -> Option<(usize, usize, Digits)> {
    let field = message.header(HeaderName::MaxForwards)?;
    let hops = parse_decimal(field.value, 255)?;
    let start = usize::from(field.value_start);
    Some((
        start,
        start + field.value.len(),
        Digits::of(hops.saturating_sub(1) as u32),
    ))
}

/// A small decimal number as text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digits {
    bytes: [u8; 10],
    length: usize,
}

impl Digits {
    pub(super) fn of(number: u32) -> Self {
        let mut bytes = [0; 10];
        let mut out = Writer::new(&mut bytes);
        out.put_decimal(u64::from(number));
        let length = out.len();
        Self { bytes, length }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// What is noted in the sender's Via: where it came from (RFC 3261 §18.2.1, RFC 3581 §4).
struct Stamp<'m> {
    via: Via<'m>,
    /// `;received=ADDRESS`, `;rport=PORT` or both; empty when nothing is to be noted.
    text: [u8; 80],
    length: usize,
    port: Digits,
    noted: bool,
}

impl<'m> Stamp<'m> {
    fn of(via: Via<'m>, arrival: Arrival) -> Self {
        let source = arrival.flow.peer();
        let mut stamp = Self {
            via,
            text: [0; 80],
            length: 0,
            port: Digits::of(u32::from(source.port())),
            noted: false,
        };
        // RFC 3581 §4 deviation: rport is noted for a sender behind NAT even if it did not ask,
        // because its answers go to its source port all the same.
        if via.rport.is_none() && host_addr(via.host) == Some(source.ip()) {
            return stamp;
        }
        stamp.noted = true;
        let mut out = Writer::new(&mut stamp.text);
        out.put(b";received=");
        put_ip(source.ip(), &mut out);
        if via.rport.is_none() {
            out.put(b";rport=");
            out.put(stamp.port.as_bytes());
        }
        stamp.length = out.len();
        stamp
    }

    /// Puts the note in. False when a Via that lies about itself is too long to be rewritten.
    fn apply<'s>(
        &'s self,
        message: Message<'m>,
        splice: &mut Splice<'s>,
        scratch: &'s mut [u8],
    ) -> bool
    where
        'm: 's,
    {
        if !self.noted && self.via.received.is_none() {
            return true;
        }
        let start = usize::from(self.via.start);
        let end = usize::from(self.via.end);
        if self.via.received.is_none() && !matches!(self.via.rport, Some(Some(_))) {
            if let Some(at) = valueless_rport(message, self.via) {
                splice.insert(at, b"=");
                splice.insert(at, self.port.as_bytes());
            }
            splice.insert(end, &self.text[..self.length]);
            return true;
        }
        // The sender has filled in what is ours to fill in: its parameters are copied but these.
        let params = self.via.params.as_bytes();
        let params_at = route::offset_in(message, params).clamp(start, end);
        let mut out = Writer::new(scratch);
        out.put(&message.bytes()[start..params_at]);
        for param in raw_params(params) {
            if !is_named(param, b"received") && !is_named(param, b"rport") {
                out.put(b";");
                out.put(param);
            }
        }
        out.put(&self.text[..self.length]);
        if self.noted && self.via.rport.is_some() {
            out.put(b";rport=");
            out.put(self.port.as_bytes());
        }
        let Some(length) = out.finish() else {
            return false;
        };
        splice.replace(start, end, &scratch[..length]);
        true
    }
}

/// The place behind the name of a valueless rport parameter.
fn valueless_rport(message: Message<'_>, via: Via<'_>) -> Option<usize> {
    if via.rport != Some(None) {
        return None;
    }
    let param = raw_params(via.params.as_bytes()).find(|param| is_named(param, b"rport"))?;
    let name = param.trim_ascii();
    Some(route::offset_in(message, name) + b"rport".len())
}

/// The parameters as written, without their `;`, split outside quotes.
fn raw_params(params: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let mut escaped = false;
    params
        .split(move |&octet| {
            let separator = octet == b';' && !quoted;
            if escaped {
                escaped = false;
            } else if octet == b'\\' && quoted {
                escaped = true;
            } else if octet == b'"' {
                quoted = !quoted;
            }
            separator
        })
        .skip(1)
}

fn is_named(param: &[u8], name: &[u8]) -> bool {
    let end = param
        .iter()
        .position(|&octet| octet == b'=')
        .unwrap_or(param.len());
    param[..end].trim_ascii().eq_ignore_ascii_case(name)
}

fn put_ip(ip: IpAddr, out: &mut Writer<'_>) {
    match ip {
        IpAddr::V4(v4) => {
            for (index, octet) in v4.octets().into_iter().enumerate() {
                if index > 0 {
                    out.put(b".");
                }
                out.put_decimal(u64::from(octet));
            }
        }
        IpAddr::V6(v6) => put_ipv6(v6, out),
    }
}

/// Formats without allocation; RFC 3581 §4 and RFC 5118 §4.5: `received` takes no brackets.
fn put_ipv6(v6: std::net::Ipv6Addr, out: &mut Writer<'_>) {
    use std::io::Write as _;
    let mut text = [0u8; 64];
    let mut cursor = std::io::Cursor::new(&mut text[..]);
    if write!(cursor, "{v6}").is_ok() {
        let length = cursor.position() as usize;
        out.put(&text[..length]);
    }
}
