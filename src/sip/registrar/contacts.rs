//! The Contact header of a REGISTER, read into what is wanted of the location table
//! (RFC 3261 §10.2, §10.3 steps 6 and 7; RFC 5626 §6).

use std::net::IpAddr;

use super::Refused;
use crate::limits;
use crate::sip::location::{Q_ABSENT, Wanted, WantedList};
use crate::sip::reply::default_port;
use crate::sip::turn::Turn;
use crate::sip::{Arrival, admission};
use crate::wire::{
    Contacts, HeaderName, Message, NameAddr, Param, Scheme, Transport, Uri, host_addr,
    parse_decimal, split_values,
};

/// Longest value of `+sip.instance` kept, in octets; a URN of a UUID has 47.
const INSTANCE_BYTES_MAX: usize = 160;

/// RFC 5626 §11.1: reg-id is below 2^31.
const REG_ID_MAX: u64 = (1 << 31) - 1;

/// RFC 3261 §20.19: a malformed value counts as 3600.
const EXPIRES_MALFORMED_S: u32 = 3600;

const _: () = assert!(INSTANCE_BYTES_MAX <= u8::MAX as usize);

/// What the Contact header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// No Contact: the bindings are asked for.
    Query,
    /// `*`: every binding goes.
    RemoveAll,
    /// One or more contacts.
    Change,
}

/// Reads the contacts of a REGISTER into `wanted`, which is empty.
pub(super) fn read<'a>(
    turn: &Turn<'_>,
    arrival: Arrival,
    message: Message<'a>,
    wanted: &mut WantedList<'a>,
) -> Result<Ask, Refused> {
    let contacts = Contacts::of(message)
        .map_err(|_| Refused::warn(400, "The Contact header can not be read"))?;
    let header = message
        .header(HeaderName::Expires)
        .map(|field| read_expires(field.value));
    match contacts {
        Contacts::Absent => Ok(Ask::Query),
        // RFC 3261 §10.2.2: `*` only with an Expires header of 0.
        Contacts::Wildcard if header == Some(0) => Ok(Ask::RemoveAll),
        Contacts::Wildcard => Err(Refused::warn(400, "Contact * needs Expires: 0")),
        Contacts::List(values) => {
            let via_is_natted = is_via_behind_nat(arrival, message);
            for value in values {
                let value = value.map_err(|_| Refused::warn(400, "A Contact can not be read"))?;
                if !wanted.push(read_one(turn, arrival, &value, header, via_is_natted)?) {
                    return Err(Refused::warn(403, "Too many contacts"));
                }
            }
            Ok(Ask::Change)
        }
    }
}

fn read_one<'a>(
    turn: &Turn<'_>,
    arrival: Arrival,
    value: &NameAddr<'a>,
    header: Option<u32>,
    via_is_natted: bool,
) -> Result<Wanted<'a>, Refused> {
    let uri =
        Uri::parse(value.uri).map_err(|_| Refused::warn(400, "A Contact URI can not be read"))?;
    let Parameters {
        expires,
        q_milli,
        instance,
        reg_id,
    } = read_parameters(value)?;
    let asked = expires
        .or(header)
        .unwrap_or(turn.settings.expires_default_s);
    // RFC 3261 §10.3 step 7: an interval shorter than the minimum is refused, but 0 removes.
    if asked > 0 && asked < turn.settings.expires_min_s {
        return Err(Refused::TooBrief);
    }
    let expires_s = asked.min(turn.settings.expires_max_s);
    let source = arrival.flow.peer();
    let address = address_of(uri.host);
    let port = uri.port.unwrap_or(default_port(match uri.scheme {
        Scheme::Sips => Transport::Tls,
        Scheme::Sip | Scheme::Tel | Scheme::Other => Transport::Udp,
    }));
    if expires_s > 0 {
        check_uri(turn, arrival, value.uri, &uri, address, port)?;
    }
    let behind_nat = via_is_natted || address != Some(source.ip());
    Ok(Wanted {
        contact: value.uri,
        uri,
        instance,
        // RFC 5626 §6: without an instance reg-id means nothing.
        reg_id: if instance.is_empty() { 0 } else { reg_id },
        q_milli,
        expires_s,
        behind_nat,
        // Where the Contact is taken its host is the source address, so the port tells it all.
        target_port: if behind_nat { source.port() } else { port },
    })
}

/// What a contact must be to be kept.
fn check_uri(
    turn: &Turn<'_>,
    arrival: Arrival,
    text: &[u8],
    uri: &Uri<'_>,
    address: Option<IpAddr>,
    port: u16,
) -> Result<(), Refused> {
    match uri.scheme {
        Scheme::Sip | Scheme::Sips => {}
        Scheme::Tel | Scheme::Other => {
            return Err(Refused::warn(403, "A Contact must be a sip or sips URI"));
        }
    }
    if text.len() > limits::CONTACT_URI_BYTES_MAX {
        return Err(Refused::warn(403, "A Contact URI is too long"));
    }
    // RFC 3261 §19.1.5: a Request-URI has no headers, so a contact must not have them either.
    if !uri.headers.is_empty() {
        return Err(Refused::warn(403, "A Contact URI must not have headers"));
    }
    if admission::is_us(turn.settings, uri.host, Some(port)) {
        return Err(Refused::warn(403, "A Contact must not be this registrar"));
    }
    let is_loopback = address.is_some_and(|address| address.is_loopback());
    if is_loopback && !arrival.flow.peer().ip().is_loopback() {
        return Err(Refused::warn(
            403,
            "A Contact must not be a loopback address",
        ));
    }
    Ok(())
}

struct Parameters<'a> {
    expires: Option<u32>,
    q_milli: u16,
    instance: &'a [u8],
    reg_id: u32,
}

fn read_parameters<'a>(value: &NameAddr<'a>) -> Result<Parameters<'a>, Refused> {
    let mut found = Parameters {
        expires: None,
        q_milli: Q_ABSENT,
        instance: b"",
        reg_id: 0,
    };
    for Param { name, value } in value.params {
        if name.eq_ignore_ascii_case(b"expires") {
            found.expires = Some(read_expires(value.unwrap_or_default()));
        } else if name.eq_ignore_ascii_case(b"q") {
            found.q_milli = value
                .and_then(read_q)
                .ok_or(Refused::warn(400, "A q-value is between 0 and 1"))?;
        } else if name.eq_ignore_ascii_case(b"+sip.instance") {
            found.instance = value.unwrap_or_default();
            if found.instance.len() > INSTANCE_BYTES_MAX {
                return Err(Refused::warn(403, "A +sip.instance is too long"));
            }
            // A fold within the quotes would come back in every 200.
            if found.instance.iter().any(u8::is_ascii_control) {
                return Err(Refused::warn(400, "A +sip.instance can not be read"));
            }
        } else if name.eq_ignore_ascii_case(b"reg-id") {
            let number = value.and_then(|digits| parse_decimal(digits, REG_ID_MAX));
            found.reg_id = match number {
                Some(number) if number > 0 => number as u32,
                Some(_) | None => {
                    return Err(Refused::warn(
                        400,
                        "A reg-id is a number from 1 to 2147483647",
                    ));
                }
            };
        }
    }
    Ok(found)
}

/// Seconds in an Expires header or parameter. A number of any length is a number: one too large
/// is as good as the largest.
fn read_expires(text: &[u8]) -> u32 {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return EXPIRES_MALFORMED_S;
    }
    let number = parse_decimal(text, u64::from(u32::MAX));
    number.map_or(u32::MAX, |number| number as u32)
}

/// A qvalue in thousandths (RFC 3261 §25.1: `0`, `1`, and at most three decimals).
fn read_q(text: &[u8]) -> Option<u16> {
    let (whole, decimals) = match text {
        [whole] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let mut milli = match whole {
        b'0' => 0,
        b'1' => 1000,
        _ => return None,
    };
    let mut weight = 100;
    for digit in decimals {
        if !digit.is_ascii_digit() {
            return None;
        }
        milli += u16::from(digit - b'0') * weight;
        weight /= 10;
    }
    (milli <= 1000).then_some(milli)
}

/// True when the top Via says that the sender sees itself elsewhere than we see it.
fn is_via_behind_nat(arrival: Arrival, message: Message<'_>) -> bool {
    let via = message.top_via();
    let source = arrival.flow.peer();
    let port = via.port.unwrap_or(default_port(via.transport));
    address_of(via.host) != Some(source.ip()) || via.rport.is_some() && port != source.port()
}

/// A host as an address, when it is one; an IPv4-mapped one is IPv4, as sources are.
fn address_of(host: &[u8]) -> Option<IpAddr> {
    host_addr(host).map(|address| address.to_canonical())
}

/// RFC 5626 §6: true when the user agent says that it supports outbound.
pub(super) fn is_outbound(message: Message<'_>) -> bool {
    has_option(message, HeaderName::Supported, b"outbound")
        || has_option(message, HeaderName::Require, b"outbound")
}

/// True when `tag` is among the values of the headers named `name`.
pub(super) fn has_option(message: Message<'_>, name: HeaderName, tag: &[u8]) -> bool {
    message
        .headers(name)
        .any(|field| split_values(field.value).any(|value| value.eq_ignore_ascii_case(tag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_values_are_read_to_the_thousandth_and_no_further() {
        for (text, milli) in [
            ("0", Some(0)),
            ("1", Some(1000)),
            ("0.", Some(0)),
            ("0.5", Some(500)),
            ("0.05", Some(50)),
            ("0.123", Some(123)),
            ("1.000", Some(1000)),
            ("1.001", None),
            ("0.1234", None),
            ("0.1x", None),
            (".5", None),
            ("2", None),
            ("-1", None),
            ("10", None),
            ("", None),
        ] {
            assert_eq!(read_q(text.as_bytes()), milli, "{text}");
        }
    }

    #[test]
    fn seconds_too_many_to_count_are_as_many_as_can_be() {
        for (text, seconds) in [
            ("0", 0),
            ("0000", 0),
            ("60", 60),
            ("4294967295", u32::MAX),
            ("4294967296", u32::MAX),
            ("99999999999999999999999999", u32::MAX),
            ("", 3600),
            ("-1", 3600),
            ("1.5", 3600),
            ("soon", 3600),
        ] {
            assert_eq!(read_expires(text.as_bytes()), seconds, "{text}");
        }
    }
}
