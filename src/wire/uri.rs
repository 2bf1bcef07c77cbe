//! SIP, SIPS and tel URIs (RFC 3261 §19.1, RFC 3966).

use super::{Params, ParseError, Writer};

/// A URI scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Scheme {
    Sip,
    Sips,
    Tel,
    Other,
}

/// The parts of a URI as written; nothing is un-escaped.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    /// The scheme.
    pub scheme: Scheme,
    /// The user part, without password; the number of a tel URI.
    pub user: Option<&'a [u8]>,
    /// The password.
    pub password: Option<&'a [u8]>,
    /// The host, brackets of an IPv6 reference included; empty for tel.
    pub host: &'a [u8],
    /// The port.
    pub port: Option<u16>,
    /// URI parameters.
    pub params: Params<'a>,
    /// What follows `?`.
    pub headers: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Parses a whole URI. An unknown scheme gives `Scheme::Other` with everything else empty.
    ///
    /// # Errors
    /// What breaks RFC 3261 §25.1; offsets are relative to `text`.
    pub fn parse(text: &'a [u8]) -> Result<Self, ParseError> {
        unimplemented!("{text:?}")
    }

    /// Equality by RFC 3261 §19.1.4.
    pub fn equals(&self, other: &Uri<'_>) -> bool {
        unimplemented!("{other:?}")
    }

    /// Writes the user part un-escaped; returns false when an escape is malformed or yields a
    /// control character.
    pub fn write_user(&self, out: &mut Writer<'_>) -> bool {
        unimplemented!("{out:?}")
    }

    /// Writes the number in the user part for comparison: un-escaped, visual separators
    /// (`-`, `.`, `(`, `)`) and parameters removed. False when the user is not a number.
    pub fn write_number(&self, out: &mut Writer<'_>) -> bool {
        unimplemented!("{out:?}")
    }

    /// The host as an address, when it is one; an IPv6 reference without its brackets.
    pub fn host_addr(&self) -> Option<std::net::IpAddr> {
        unimplemented!()
    }
}
