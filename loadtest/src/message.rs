//! The generator's messages: written from pieces, read by looking for what it put there itself.

use std::io::Write as _;
use std::net::SocketAddrV4;

use memchr::memmem;

use crate::load::Exchange;

/// A message under construction.
#[derive(Debug, Default)]
pub(crate) struct Text(pub(crate) Vec<u8>);

impl Text {
    /// Starts over.
    pub(crate) fn clear(&mut self) -> &mut Self {
        self.0.clear();
        self
    }

    /// Appends `text`.
    pub(crate) fn put(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        self.0.extend_from_slice(text.as_ref());
        self
    }

    /// Appends an address.
    pub(crate) fn address(&mut self, address: SocketAddrV4) -> &mut Self {
        let _ = write!(self.0, "{address}");
        self
    }

    /// Appends a number with `width` decimal digits, zeros in front.
    pub(crate) fn number(&mut self, number: u64, width: usize) -> &mut Self {
        let mut digits = [b'0'; 20];
        let mut rest = number;
        for digit in digits[..width].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        self.0.extend_from_slice(&digits[..width]);
        self
    }

    /// Appends 16 hexadecimal digits that name an exchange.
    pub(crate) fn exchange(&mut self, exchange: Exchange) -> &mut Self {
        let value = u64::from(exchange.slot) << 32 | u64::from(exchange.sequence);
        for shift in (0..16).rev() {
            self.0
                .push(b"0123456789abcdef"[(value >> (4 * shift)) as usize & 15]);
        }
        self
    }
}

/// Reads what [`Text::exchange`] wrote.
pub(crate) fn parse_exchange(text: &[u8]) -> Option<Exchange> {
    let digits = std::str::from_utf8(text.get(..16)?).ok()?;
    let value = u64::from_str_radix(digits, 16).ok()?;
    Some(Exchange {
        slot: (value >> 32) as u32,
        sequence: value as u32,
    })
}

/// The status of a response; 0 for a request.
pub(crate) fn status(message: &[u8]) -> u16 {
    message
        .strip_prefix(b"SIP/2.0 ")
        .and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok())
        .unwrap_or(0)
}

/// The value of the first header line that starts with `name` (with its colon and space).
pub(crate) fn header<'m>(message: &'m [u8], name: &str) -> Option<&'m [u8]> {
    header_lines(message, name).next()
}

/// The values of every header line that starts with `name`.
pub(crate) fn header_lines<'m>(message: &'m [u8], name: &str) -> impl Iterator<Item = &'m [u8]> {
    let end = memmem::find(message, b"\r\n\r\n").map_or(message.len(), |at| at + 2);
    message[..end]
        .split(|&byte| byte == b'\n')
        .filter_map(move |line| line.strip_prefix(name.as_bytes()))
        .map(|value| value.strip_suffix(b"\r").unwrap_or(value))
}

/// The exchange in the Call-ID, which the generator put at its start.
pub(crate) fn exchange_of(message: &[u8]) -> Option<Exchange> {
    let at = memmem::find(message, b"\nCall-ID: ")? + b"\nCall-ID: ".len();
    parse_exchange(&message[at..])
}

/// The number in CSeq.
pub(crate) fn cseq_number(message: &[u8]) -> u64 {
    header(message, "CSeq: ")
        .and_then(|value| value.split(|&byte| byte == b' ').next())
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
        .unwrap_or(0)
}

/// The method in CSeq.
pub(crate) fn cseq_method(message: &[u8]) -> &[u8] {
    header(message, "CSeq: ")
        .and_then(|value| value.split(|&byte| byte == b' ').nth(1))
        .unwrap_or_default()
}

/// The quoted value of an authentication parameter.
pub(crate) fn quoted<'m>(value: &'m [u8], name: &str) -> Option<&'m [u8]> {
    let mut needle = name.as_bytes().to_vec();
    needle.extend_from_slice(b"=\"");
    let start = memmem::find(value, &needle)? + needle.len();
    let end = memchr::memchr(b'"', &value[start..])? + start;
    Some(&value[start..end])
}

/// The URI between the first `<` and `>` of a value, or the value itself.
pub(crate) fn uri(value: &[u8]) -> &[u8] {
    match (memchr::memchr(b'<', value), memchr::memchr(b'>', value)) {
        (Some(start), Some(end)) if start < end => &value[start + 1..end],
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_written_into_a_call_id_is_found_again() {
        let exchange = Exchange {
            slot: 7,
            sequence: 0xFFFF_FFFE,
        };
        let mut text = Text::default();
        text.put("SIP/2.0 200 OK\r\nCall-ID: ")
            .exchange(exchange)
            .put("@x\r\n\r\n");
        assert_eq!(exchange_of(&text.0), Some(exchange));
        assert_eq!(
            (status(&text.0), status(b"BYE sip:a@b SIP/2.0\r\n")),
            (200, 0)
        );
    }

    #[test]
    fn header_values_are_read_in_order_and_not_from_the_body() {
        let message =
            b"SIP/2.0 401 No\r\nX-A: 1\r\nX-A: 2\r\nW: Digest nonce=\"n1\"\r\n\r\nX-A: 3\r\n";
        let values: Vec<&[u8]> = header_lines(message, "X-A: ").collect();
        assert_eq!(values, [b"1", b"2"]);
        let challenge = header(message, "W: ").expect("it is there");
        assert_eq!(quoted(challenge, "nonce"), Some(&b"n1"[..]));
    }
}
