//! Via (RFC 3261 §20.42, RFC 3581).

use super::{Message, Params, ParseError};

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

/// Iterates over every Via value of a message, topmost first, over all fields.
#[derive(Clone, Debug)]
pub struct Vias<'a> {
    pub(super) message: Message<'a>,
}

impl<'a> Vias<'a> {
    /// All Via values of `message`.
    pub fn new(message: Message<'a>) -> Self {
        Self { message }
    }
}

impl<'a> Iterator for Vias<'a> {
    type Item = Result<Via<'a>, ParseError>;
    fn next(&mut self) -> Option<Self::Item> {
        unimplemented!()
    }
}
