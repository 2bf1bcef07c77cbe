//! Equality of URIs (RFC 3261 §19.1.4; RFC 3966 §4 for tel).

use super::uri::next_octet;
use super::{Params, Scheme, Uri};

impl Uri<'_> {
    /// Equality by RFC 3261 §19.1.4. URIs of unknown schemes are never equal.
    pub fn equals(&self, other: &Uri<'_>) -> bool {
        // RFC 3261 §19.1.4: a SIP and a SIPS URI are never equivalent.
        if self.scheme != other.scheme {
            return false;
        }
        match self.scheme {
            Scheme::Other => false,
            Scheme::Tel => {
                number(self).eq(number(other))
                    && holds_all(self.params, other.params)
                    && holds_all(other.params, self.params)
            }
            Scheme::Sip | Scheme::Sips => {
                // RFC 3261 §19.1.4: the userinfo is compared with case; an absent user, password
                // or port does not match one that is there, even at its default.
                same_part(self.user, other.user, Case::Counts)
                    && same_part(self.password, other.password, Case::Counts)
                    && same_text(self.host, other.host, Case::Ignored)
                    && self.port == other.port
                    && params_fit(self.params, other.params)
                    && params_fit(other.params, self.params)
                    && same_headers(self.headers, other.headers)
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Counts,
    Ignored,
}

/// The digits of a tel URI without visual separators (RFC 3966 §5.1.1), letters in lower case.
fn number<'a>(uri: &Uri<'a>) -> impl Iterator<Item = u8> + use<'a> {
    let text = uri.user.unwrap_or_default().iter();
    text.filter(|byte| !b"-.()".contains(byte))
        .map(u8::to_ascii_lowercase)
}

/// RFC 2396 §2.2, which RFC 3261 §19.1.4 refers to: an escape of one of these is not the same as
/// the octet itself.
fn is_reserved(byte: u8) -> bool {
    b";/?:@&=+$,".contains(&byte)
}

fn same_text(left: &[u8], right: &[u8], case: Case) -> bool {
    let (mut left, mut right) = (left, right);
    loop {
        match (next_octet(left), next_octet(right)) {
            (None, None) => return true,
            (Some((a, a_escaped, a_rest)), Some((b, b_escaped, b_rest))) => {
                let same = a == b || case == Case::Ignored && a.eq_ignore_ascii_case(&b);
                if !same || a_escaped != b_escaped && is_reserved(a) {
                    return false;
                }
                (left, right) = (a_rest, b_rest);
            }
            (Some(_), None) | (None, Some(_)) => return false,
        }
    }
}

fn same_part(left: Option<&[u8]>, right: Option<&[u8]>, case: Case) -> bool {
    match (left, right) {
        (None, None) => true,
        (Some(left), Some(right)) => same_text(left, right, case),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn find<'a>(params: Params<'a>, name: &[u8]) -> Option<Option<&'a [u8]>> {
    let mut params = params;
    params.find_map(|p| same_text(p.name, name, Case::Ignored).then_some(p.value))
}

/// Whether no parameter of `left` speaks against equality.
fn params_fit(left: Params<'_>, right: Params<'_>) -> bool {
    left.into_iter().all(|param| match find(right, param.name) {
        Some(value) => {
            // RFC 3261 §7.1: methods are compared with case.
            let method = same_text(param.name, b"method", Case::Ignored);
            same_part(
                param.value,
                value,
                if method { Case::Counts } else { Case::Ignored },
            )
        }
        // RFC 3261 §19.1.4: these never match their absence; all others are ignored then.
        None => {
            let counting: [&[u8]; 5] = [b"user", b"ttl", b"method", b"maddr", b"transport"];
            !counting
                .iter()
                .any(|name| same_text(param.name, name, Case::Ignored))
        }
    })
}

/// Whether every parameter of `left` stands in `right` with an equal value (RFC 3966 §4).
fn holds_all(left: Params<'_>, right: Params<'_>) -> bool {
    left.into_iter().all(|param| {
        find(right, param.name).is_some_and(|value| same_part(param.value, value, Case::Ignored))
    })
}

/// Most header fields of a URI that are compared one by one; URIs with more are equal only when
/// their headers are the same octets. Bounds the quadratic comparison.
const HEADERS_COMPARED_MAX: usize = 16;

/// RFC 3261 §19.1.4: headers are never ignored and come in any order.
fn same_headers(left: &[u8], right: &[u8]) -> bool {
    if left == right {
        return true;
    }
    let count = headers(left).count();
    count == headers(right).count()
        && count <= HEADERS_COMPARED_MAX
        && headers(left).all(|header| occurrences(left, header) == occurrences(right, header))
}

fn headers(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'&')
        .filter(|header| !header.is_empty())
}

fn occurrences(text: &[u8], header: &[u8]) -> usize {
    headers(text)
        .filter(|other| same_header(header, other))
        .count()
}

fn same_header(left: &[u8], right: &[u8]) -> bool {
    let split = |header: &[u8]| memchr::memchr(b'=', header).unwrap_or(header.len());
    let (left_name, left_value) = left.split_at(split(left));
    let (right_name, right_value) = right.split_at(split(right));
    same_text(left_name, right_name, Case::Ignored)
        && same_text(left_value, right_value, Case::Counts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

    use super::*;

    fn equal(left: &str, right: &str) -> bool {
        let left = Uri::parse(left.as_bytes()).unwrap();
        let right = Uri::parse(right.as_bytes()).unwrap();
        let equal = left.equals(&right);
        assert_eq!(right.equals(&left), equal, "equality is symmetric");
        equal
    }

    #[test]
    fn equal_uris_differ_in_what_does_not_count() {
        for (left, right) in [
            ("sip:anna@edge.test", "sip:anna@EDGE.Test"),
            ("SIP:anna@edge.test", "sip:anna@edge.test"),
            ("sip:%61nna@edge.test", "sip:anna@edge.test"),
            ("sip:anna@edge.test", "sip:anna@edge.test;extra=1"),
            ("sip:anna@edge.test;one=1", "sip:anna@edge.test;two=2"),
            ("sip:anna@edge.test;a=1;b=2", "sip:anna@edge.test;B=2;A=1"),
            ("sip:edge.test;transport=TCP", "sip:edge.test;Transport=tcp"),
            ("sip:edge.test;%6C%72", "sip:edge.test;lr"),
            ("sip:e.test?a=1&b=%32", "sip:e.test?B=2&A=1"),
            ("sip:e.test?a=1&a=1&a=2", "sip:e.test?a=2&a=1&a=1"),
            ("sip:a:p%77@e.test:5061", "sip:a:pw@e.test:5061"),
            ("sips:a@[2001:DB8::1]", "sips:a@[2001:db8::1]"),
            ("tel:+1-555-0100", "tel:+1(555)0100"),
            (
                "tel:0a1;phone-context=x.test;ext=5",
                "tel:0A1;ext=5;phone-context=X.test",
            ),
        ] {
            assert!(equal(left, right), "{left} {right}");
        }
    }

    #[test]
    fn different_uris_differ_in_what_counts() {
        for (left, right) in [
            ("sip:anna@edge.test", "sip:Anna@edge.test"),
            ("sip:anna@edge.test", "sips:anna@edge.test"),
            ("sip:anna@edge.test", "sip:anna@edge.test:5060"),
            ("sip:anna@edge.test", "sip:edge.test"),
            ("sip:anna:pw@edge.test", "sip:anna@edge.test"),
            ("sip:anna:pw@edge.test", "sip:anna:PW@edge.test"),
            ("sip:edge.test", "sip:edge.test;transport=udp"),
            ("sip:edge.test", "sip:edge.test;user=ip"),
            ("sip:edge.test", "sip:edge.test;ttl=1"),
            ("sip:edge.test", "sip:edge.test;method=INVITE"),
            ("sip:edge.test;method=INVITE", "sip:edge.test;method=invite"),
            ("sip:edge.test", "sip:edge.test;maddr=10.0.0.1"),
            ("sip:edge.test;transport=udp", "sip:edge.test;transport=tcp"),
            ("sip:edge.test;x=1", "sip:edge.test;x=2"),
            ("sip:edge.test;x", "sip:edge.test;x=2"),
            ("sip:edge.test", "sip:edge.test?subject=hello"),
            ("sip:e.test?a=1&a=2", "sip:e.test?a=1&a=1"),
            ("sip:e.test?a=1", "sip:e.test?a=1&a=1"),
            ("sip:a%3Bb@e.test", "sip:a;b@e.test"),
            ("sip:a%2Bb@e.test", "sip:a+b@e.test"),
            ("sip:1@e.test", "sip:10@e.test"),
            ("tel:+15550100", "tel:15550100"),
            ("tel:+15550100", "tel:+15550100;ext=1"),
            ("urn:service:sos", "urn:service:sos"),
        ] {
            assert!(!equal(left, right), "{left} {right}");
        }
    }
}
