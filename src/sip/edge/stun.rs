//! STUN Binding requests on SIP ports: what a phone keeps its NAT binding open with
//! (RFC 5626 §8, RFC 5389).

use std::net::IpAddr;

use crate::sip::SourceAddr;
use crate::wire::Writer;

const HEADER_BYTES: usize = 20;
const MAGIC_COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// RFC 5389 §15: attributes below this number must be understood.
const OPTIONAL_FROM: u16 = 0x8000;
/// RFC 5389 §18.2: the attributes of that document that must be understood. Those of
/// authentication are ignored, as RFC 5626 §8 uses none.
const KNOWN: [u16; 8] = [
    0x0001, 0x0006, 0x0008, 0x0009, 0x000A, 0x0014, 0x0015, 0x0020,
];
/// Unknown attributes named in an answer; more are not named.
const UNKNOWN_MAX: usize = 8;

/// Largest answer: XOR-MAPPED-ADDRESS of an IPv6 source.
pub(super) const ANSWER_BYTES_MAX: usize = HEADER_BYTES + 24;

const _: () = assert!(12 + 4 + 2 * UNKNOWN_MAX <= 24 + 8);

/// True when `bytes` is one whole STUN message (RFC 5389 §6); a SIP message never is, as its first
/// octet is a letter.
pub(super) fn is_stun(bytes: &[u8]) -> bool {
    let Some((head, attributes)) = bytes.split_at_checked(HEADER_BYTES) else {
        return false;
    };
    head[0] & 0xC0 == 0
        && head[4..8] == MAGIC_COOKIE
        && usize::from(be16(&head[2..4])) == attributes.len()
        && attributes.len().is_multiple_of(4)
}

/// Writes the answer to a STUN message from `source`; false when it is not a Binding request.
pub(super) fn write_answer(bytes: &[u8], source: SourceAddr, out: &mut Writer<'_>) -> bool {
    if !is_stun(bytes) || be16(&bytes[..2]) != BINDING_REQUEST {
        return false;
    }
    let transaction = &bytes[4..HEADER_BYTES];
    let mut unknown = [0u16; UNKNOWN_MAX];
    let count = unknown_attributes(&bytes[HEADER_BYTES..], &mut unknown);
    if count > 0 {
        write_unknown(&unknown[..count], transaction, out);
    } else {
        write_mapped(source, transaction, out);
    }
    true
}

fn write_mapped(source: SourceAddr, transaction: &[u8], out: &mut Writer<'_>) {
    let mut address = [0u8; 16];
    let (family, length) = match source.ip() {
        IpAddr::V4(v4) => {
            address[..4].copy_from_slice(&v4.octets());
            (1, 4)
        }
        IpAddr::V6(v6) => {
            address.copy_from_slice(&v6.octets());
            (2, 16)
        }
    };
    // RFC 5389 §15.2: the address is combined with the magic cookie and the transaction ID.
    for (octet, mask) in address.iter_mut().zip(transaction) {
        *octet ^= mask;
    }
    let port = source.port() ^ u16::from_be_bytes([MAGIC_COOKIE[0], MAGIC_COOKIE[1]]);
    put_head(BINDING_SUCCESS, 8 + length, transaction, out);
    put16(XOR_MAPPED_ADDRESS, out);
    put16(4 + length as u16, out);
    out.put(&[0, family]);
    put16(port, out);
    out.put(&address[..length]);
}

/// RFC 5389 §7.3.1: a request with unknown attributes that must be understood gets 420.
fn write_unknown(unknown: &[u16], transaction: &[u8], out: &mut Writer<'_>) {
    let listed = 2 * unknown.len();
    let padded = listed.next_multiple_of(4);
    put_head(BINDING_ERROR, 8 + 4 + padded, transaction, out);
    put16(ERROR_CODE, out);
    put16(4, out);
    out.put(&[0, 0, 4, 20]);
    put16(UNKNOWN_ATTRIBUTES, out);
    put16(listed as u16, out);
    for &attribute in unknown {
        put16(attribute, out);
    }
    out.put(&[0; 2][..padded - listed]);
}

fn put_head(kind: u16, length: usize, transaction: &[u8], out: &mut Writer<'_>) {
    put16(kind, out);
    put16(length as u16, out);
    out.put(transaction);
}

/// Collects unknown attributes that must be understood; an attribute that runs over the end ends
/// the walk.
fn unknown_attributes(mut rest: &[u8], unknown: &mut [u16; UNKNOWN_MAX]) -> usize {
    let mut count = 0;
    while let Some((head, body)) = rest.split_at_checked(4) {
        let attribute = be16(&head[..2]);
        let padded = usize::from(be16(&head[2..4])).next_multiple_of(4);
        if attribute < OPTIONAL_FROM && !KNOWN.contains(&attribute) && count < UNKNOWN_MAX {
            unknown[count] = attribute;
            count += 1;
        }
        let Some(next) = body.get(padded..) else {
            break;
        };
        rest = next;
    }
    count
}

fn be16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

fn put16(value: u16, out: &mut Writer<'_>) {
    out.put(&value.to_be_bytes());
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn request(attributes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, attributes.len() as u8];
        bytes.extend(MAGIC_COOKIE);
        // The transaction ID of RFC 5769 §2.
        bytes.extend([
            0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
        ]);
        bytes.extend(attributes);
        bytes
    }

    fn answer(bytes: &[u8], source: &str) -> Option<Vec<u8>> {
        let mut buffer = [0u8; 128];
        let mut out = Writer::new(&mut buffer);
        let source = SourceAddr::from(source.parse::<std::net::SocketAddr>().unwrap());
        write_answer(bytes, source, &mut out).then(|| out.written().to_vec())
    }

    #[test]
    fn a_binding_request_is_told_its_ipv4_address_as_in_rfc_5769() {
        // RFC 5769 §2.2: 192.0.2.1 port 32853.
        let got = answer(&request(&[]), "192.0.2.1:32853").unwrap();
        assert_eq!(got[..4], [1, 1, 0, 12]);
        assert_eq!(got[4..20], request(&[])[4..20]);
        let mapped = [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
        assert_eq!(got[20..], mapped);
    }

    #[test]
    fn a_binding_request_is_told_its_ipv6_address_as_in_rfc_5769() {
        // RFC 5769 §2.3.
        let got = answer(
            &request(&[]),
            "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
        )
        .unwrap();
        assert_eq!(got.len(), ANSWER_BYTES_MAX);
        let mapped = [
            0, 0x20, 0, 20, 0, 2, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc,
            0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
        ];
        assert_eq!(got[20..], mapped);
    }

    #[test]
    fn an_attribute_that_must_be_understood_and_is_not_gets_420() {
        // CHANGE-REQUEST, and an optional one beside it.
        let got = answer(
            &request(&[0, 3, 0, 4, 0, 0, 0, 6, 0x80, 0x22, 0, 1, b'x', 0, 0, 0]),
            "192.0.2.1:9",
        )
        .unwrap();
        assert_eq!(got[..2], [1, 0x11]);
        assert_eq!(usize::from(got[3]), got.len() - 20);
        assert_eq!(
            got[20..],
            [0, 9, 0, 4, 0, 0, 4, 20, 0, 10, 0, 2, 0, 3, 0, 0]
        );
    }

    #[test]
    fn what_is_no_binding_request_is_not_answered() {
        let mut indication = request(&[]);
        indication[1] = 0x11;
        assert_eq!(answer(&indication, "192.0.2.1:9"), None);
        let mut no_cookie = request(&[]);
        no_cookie[5] ^= 1;
        assert_eq!(answer(&no_cookie, "192.0.2.1:9"), None);
        let short = request(&[0, 3, 0, 4]);
        for length in 0..short.len() {
            assert_eq!(answer(&short[..length], "192.0.2.1:9"), None);
        }
    }
}
