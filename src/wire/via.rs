//! Via (RFC 3261 §20.42, RFC 3581).

use super::class;
use super::cursor::{Cursor, Span};
use super::values::Values;
use super::{HeaderName, Message, Params, ParseError, Reason};

/// The transport named in a Via or a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[repr(u8)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
    Ws,
    Wss,
    Other,
}

impl Transport {
    /// The transport named by `token`, in any case.
    pub fn from_token(token: &[u8]) -> Self {
        let known = [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss];
        let named = known
            .into_iter()
            .find(|transport| token.eq_ignore_ascii_case(transport.as_str().as_bytes()));
        named.unwrap_or(Self::Other)
    }

    /// The name as it stands in a Via; empty for `Other`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
            Self::Other => "",
        }
    }
}

/// One Via value.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// The transport.
    pub transport: Transport,
    /// sent-by host, brackets of an IPv6 reference included.
    pub host: &'a [u8],
    /// sent-by port.
    pub port: Option<u16>,
    /// The branch, `z9hG4bK` included; empty when absent.
    pub branch: &'a [u8],
    /// `rport`: absent, present without value, or with a value.
    pub rport: Option<Option<u16>>,
    /// `received` as written.
    pub received: Option<&'a [u8]>,
    /// All parameters.
    pub params: Params<'a>,
    /// Start of the value in the message.
    pub start: u16,
    /// End of the value in the message (before a comma, white space or CRLF).
    pub end: u16,
}

/// Where the parts of a Via value stand in the message.
#[derive(Clone, Copy, Debug)]
pub(super) struct ViaSpans {
    value: Span,
    host: Span,
    branch: Span,
    received: Option<Span>,
    params: Span,
    port: Option<u16>,
    rport: Option<Option<u16>>,
    transport: Transport,
    /// Its parameters were read too.
    whole: bool,
}

impl ViaSpans {
    pub(super) const NONE: Self = {
        let nowhere = Span { start: 0, end: 0 };
        Self {
            value: nowhere,
            host: nowhere,
            branch: nowhere,
            received: None,
            params: nowhere,
            port: None,
            rport: None,
            transport: Transport::Other,
            whole: false,
        }
    };

    #[inline]
    pub(super) fn view(self, bytes: &[u8]) -> Via<'_> {
        Via {
            transport: self.transport,
            host: self.host.of(bytes),
            port: self.port,
            branch: self.branch.of(bytes),
            rport: self.rport,
            received: self.received.map(|span| span.of(bytes)),
            params: Params {
                rest: self.params.of(bytes),
            },
            start: self.value.start,
            end: self.value.end,
        }
    }
}

/// Parses one Via value; the cursor ends behind it. The spans are there too when only the
/// parameters are broken, without any of them: enough to send an error response.
#[inline]
pub(super) fn parse_via(cursor: &mut Cursor<'_>) -> (Option<ViaSpans>, Result<(), ParseError>) {
    let malformed = |cursor: &Cursor<'_>| (None, cursor.error(Reason::ViaMalformed));
    let start = cursor.at;
    let Some(transport) = sent_protocol(cursor) else {
        return malformed(cursor);
    };
    let Some(host) = cursor.host() else {
        return malformed(cursor);
    };
    let port = if cursor.take_spaced(b':') {
        let Some(port) = cursor.port() else {
            return malformed(cursor);
        };
        Some(port)
    } else {
        None
    };
    let mut via = ViaSpans {
        value: Span::new(start, cursor.at),
        host,
        transport,
        port,
        params: Span::new(cursor.at, cursor.at),
        ..ViaSpans::NONE
    };
    let bare = via;
    match via_params(cursor, &mut via) {
        Ok(()) => (Some(via), Ok(())),
        Err(error) => (Some(bare), Err(error)),
    }
}

/// `"SIP" SLASH protocol-version SLASH transport LWS`.
#[inline]
fn sent_protocol(cursor: &mut Cursor<'_>) -> Option<Transport> {
    if cursor.bytes[cursor.at..].starts_with(b"SIP/2.0/") {
        cursor.at += 8;
    } else {
        for _ in 0..2 {
            let part = cursor.skip_class(class::TOKEN);
            if part.is_empty() || !cursor.take_spaced(b'/') {
                return None;
            }
        }
    }
    let transport = cursor.skip_class(class::TOKEN);
    let behind = cursor.at;
    cursor.skip_space();
    if transport.is_empty() || cursor.at == behind {
        return None;
    }
    Some(match transport.of(cursor.bytes) {
        b"UDP" => Transport::Udp,
        other => Transport::from_token(other),
    })
}

/// The parameters, and a separator behind them or the end.
#[inline]
fn via_params(cursor: &mut Cursor<'_>, via: &mut ViaSpans) -> Result<(), ParseError> {
    let (mut branch, mut maddr) = (None, None);
    via.params = cursor.params(|cursor, name, value| {
        let bytes = cursor.bytes;
        let name = name.of(bytes);
        let slot = match name.len() {
            5 if class::is_name(name, b"maddr") => &mut maddr,
            6 if class::is_name(name, b"branch") => &mut branch,
            8 if class::is_name(name, b"received") => &mut via.received,
            5 if class::is_name(name, b"rport") => {
                if via.rport.is_some() {
                    return Err(Reason::ParameterRepeated);
                }
                via.rport = Some(match value {
                    None => None,
                    Some(value) => Some(rport(value.of(bytes)).ok_or(Reason::ViaMalformed)?),
                });
                return Ok(());
            }
            _ => return Ok(()),
        };
        if slot.is_some() {
            return Err(Reason::ParameterRepeated);
        }
        *slot = Some(value.ok_or(Reason::ViaMalformed)?);
        Ok(())
    })?;
    via.branch = branch.unwrap_or(Span::new(cursor.at, cursor.at));
    via.value.end = cursor.at as u16;
    via.whole = true;
    if cursor.is_at_end() {
        return Ok(());
    }
    cursor.skip_space();
    if cursor.is_at_end() || cursor.peek() == Some(b',') {
        return Ok(());
    }
    cursor.error(Reason::ViaMalformed)
}

fn rport(digits: &[u8]) -> Option<u16> {
    let mut port = Cursor::new(digits, 0, digits.len());
    port.port().filter(|_| port.is_at_end())
}

/// Iterates over every Via value of a message, topmost first, over all fields. Ends behind the
/// first error.
#[derive(Clone, Debug)]
pub struct Vias<'a> {
    message: Message<'a>,
    values: Values,
}

impl<'a> Vias<'a> {
    /// All Via values of `message`.
    pub fn new(message: Message<'a>) -> Self {
        Self {
            message,
            values: Values::new(),
        }
    }
}

impl<'a> Iterator for Vias<'a> {
    type Item = Result<Via<'a>, ParseError>;
    fn next(&mut self) -> Option<Self::Item> {
        let is_first = self.values.is_at_start();
        let mut cursor = self.values.next_value(self.message, HeaderName::Via)?;
        let top = self.message.index.keys.via;
        if is_first && top.whole {
            // The scanner has read it.
            let end = usize::from(top.value.end);
            self.values.finish(self.message, end, true);
            return Some(Ok(top.view(self.message.bytes)));
        }
        let parsed = match parse_via(&mut cursor) {
            (Some(via), Ok(())) => Ok(via.view(self.message.bytes)),
            (_, Err(error)) => Err(error),
            (None, Ok(())) => cursor.error(Reason::ViaMalformed),
        };
        self.values.finish(self.message, cursor.at, parsed.is_ok());
        Some(parsed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

    use super::*;

    fn parse(text: &str) -> Result<Via<'_>, Reason> {
        let mut cursor = Cursor::new(text.as_bytes(), 0, text.len());
        let (via, result) = parse_via(&mut cursor);
        result.map_err(|error| error.reason)?;
        Ok(via.unwrap().view(text.as_bytes()))
    }

    #[test]
    fn all_parts_are_read_and_white_space_does_not_matter() {
        let tidy = "SIP/2.0/TLS [2001:db8::1]:5061;branch=z9hG4bKx;rport=77;received=192.0.2.9;x";
        let loose = "SIP /\t2.0\r\n / tls \r\n [2001:db8::1] : 5061 ; branch = z9hG4bKx\r\n ;\
            RPORT = 77; Received=192.0.2.9 ; x";
        for text in [tidy, loose] {
            let via = parse(text).unwrap();
            assert_eq!(via.transport, Transport::Tls);
            assert_eq!((via.host, via.port), (&b"[2001:db8::1]"[..], Some(5061)));
            assert_eq!((via.branch, via.rport), (&b"z9hG4bKx"[..], Some(Some(77))));
            assert_eq!(via.received, Some(&b"192.0.2.9"[..]));
            assert_eq!(via.params.count(), 4);
            assert_eq!((via.start, usize::from(via.end)), (0, text.len()));
        }
    }

    #[test]
    fn what_may_be_absent_is_absent() {
        let via = parse("SIP/2.0/UDP host.test ,").unwrap();
        assert_eq!(
            (via.port, via.branch, via.rport, via.received),
            (None, &b""[..], None, None)
        );
        assert!(via.params.as_bytes().is_empty());
        assert_eq!(via.end, 21);
        assert_eq!(parse("SIP/2.0/UDP a;rport").unwrap().rport, Some(None));
        assert_eq!(parse("SIP/2.0/SCTP a").unwrap().transport, Transport::Other);
        assert_eq!(parse("SIP/2.0/wss a").unwrap().transport, Transport::Wss);
    }

    #[test]
    fn broken_values_are_refused() {
        for (text, reason) in [
            ("", Reason::ViaMalformed),
            ("SIP/2.0 a", Reason::ViaMalformed),
            ("SIP/2.0/UDPa", Reason::ViaMalformed),
            ("SIP/2.0/UDP a:0", Reason::ViaMalformed),
            ("SIP/2.0/UDP a:65536", Reason::ViaMalformed),
            ("SIP/2.0/UDP a:5060x", Reason::ViaMalformed),
            ("SIP/2.0/UDP [::1;branch=x", Reason::ViaMalformed),
            ("SIP/2.0/UDP a;rport=", Reason::ParameterMalformed),
            ("SIP/2.0/UDP a;rport=x", Reason::ViaMalformed),
            ("SIP/2.0/UDP a;branch", Reason::ViaMalformed),
            ("SIP/2.0/UDP a;branch=b;Branch=c", Reason::ParameterRepeated),
            ("SIP/2.0/UDP a;rport;rport", Reason::ParameterRepeated),
            (
                "SIP/2.0/UDP a;received=b;received=b",
                Reason::ParameterRepeated,
            ),
            ("SIP/2.0/UDP a;maddr=b;maddr=b", Reason::ParameterRepeated),
            ("SIP/2.0/UDP a;x=\"", Reason::ParameterMalformed),
            ("SIP/2.0/UDP a;", Reason::ParameterMalformed),
            ("SIP/2.0/UDP a b", Reason::ViaMalformed),
        ] {
            assert_eq!(parse(text).err(), Some(reason), "{text}");
        }
    }
}
