//! A response as it goes upstream (RFC 3261 §16.7 items 3, 6, 7 and 9).

use super::identity::{self, Asserted};
use crate::wire::{HeaderName, Message, Splice, Vias, Writer};

const CHALLENGES: [HeaderName; 2] = [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate];

/// How good a final response is; the lowest goes upstream (RFC 3261 §16.7 item 6).
pub(super) const fn rank(status: u16) -> u8 {
    match status {
        600.. => 0,
        300..=399 => 1,
        // They tell the caller how to ask again.
        401 | 407 | 415 | 420 | 484 => 2,
        // What says least comes last in its class.
        408 | 430 | 487 => 4,
        400..=499 => 3,
        503 => 6,
        _ => 5,
    }
}

/// The status that goes upstream in place of `status`.
pub(super) const fn upstream_status(status: u16) -> u16 {
    match status {
        // RFC 3261 §16.7 item 6: that one neighbour is overloaded says nothing about us.
        503 => 500,
        // RFC 5626 §5.3: that a flow failed is between us and the edge that kept it.
        430 => 480,
        _ => status,
    }
}

/// Writes `message` without our Via; false when no Via is below it or it does not fit. Identity
/// headers are kept from trunks only; `challenges` says whether those lines stay.
pub(super) fn write_response(
    message: Message<'_>,
    trusted: bool,
    challenges: bool,
    out: &mut Writer<'_>,
) -> bool {
    let (Some(Ok(_)), Some(status)) = (Vias::new(message).nth(1), message.status()) else {
        return false;
    };
    let mut splice = Splice::new(message);
    let line: &[u8] = match (status, upstream_status(status)) {
        (503, _) => b"SIP/2.0 500 Server Internal Error\r\n",
        (430, _) => b"SIP/2.0 480 Temporarily Unavailable\r\n",
        (_, _) => b"",
    };
    if !line.is_empty() {
        splice.replace(0, message.head_start(), line);
    }
    splice.remove_first_value(HeaderName::Via);
    let asserted = if trusted {
        Asserted::Kept
    } else {
        Asserted::Removed
    };
    identity::remove_unasserted(asserted, message, &mut splice);
    if !challenges {
        for field in CHALLENGES
            .into_iter()
            .flat_map(|name| message.headers(name))
        {
            splice.remove(usize::from(field.line_start), usize::from(field.line_end));
        }
    }
    splice.write(out)
}

/// Writes the challenge lines of a 401 or 407.
pub(super) fn put_challenges(message: Message<'_>, out: &mut Writer<'_>) {
    for field in CHALLENGES
        .into_iter()
        .flat_map(|name| message.headers(name))
    {
        out.put(&message.bytes()[usize::from(field.line_start)..usize::from(field.line_end)]);
    }
}

/// Inserts `lines` at the end of the head of the response in `buffer`, which is `length` octets
/// long. `None` when it does not fit.
pub(super) fn insert_lines(buffer: &mut [u8], length: usize, lines: &[u8]) -> Option<usize> {
    let head_end = buffer[..length]
        .windows(4)
        .position(|it| it == b"\r\n\r\n")?
        + 2;
    let end = length + lines.len();
    if end > buffer.len() {
        return None;
    }
    buffer.copy_within(head_end..length, head_end + lines.len());
    buffer[head_end..head_end + lines.len()].copy_from_slice(lines);
    Some(end)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_lower_class_is_better_and_6xx_is_best() {
        let order = [603, 302, 401, 486, 408, 500, 503];
        let ranks: Vec<u8> = order.iter().map(|&status| rank(status)).collect();
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
        for status in [401, 407, 415, 420, 484] {
            assert!(rank(status) < rank(404));
        }
    }

    #[test]
    fn lines_are_inserted_at_the_end_of_the_head() {
        let mut buffer = [0u8; 64];
        let text = b"SIP/2.0 401 X\r\nA: b\r\n\r\nbody";
        buffer[..text.len()].copy_from_slice(text);
        let length = insert_lines(&mut buffer, text.len(), b"C: d\r\n").unwrap();
        assert_eq!(
            &buffer[..length],
            b"SIP/2.0 401 X\r\nA: b\r\nC: d\r\n\r\nbody"
        );
        assert_eq!(insert_lines(&mut buffer, length, &[b'x'; 64]), None);
    }
}
