//! Small values.

/// `bytes` without surrounding linear white space (SP, HTAB, and folds).
#[inline]
pub fn trim(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [b' ' | b'\t' | b'\r' | b'\n', tail @ ..] = rest {
        rest = tail;
    }
    while let [head @ .., b' ' | b'\t' | b'\r' | b'\n'] = rest {
        rest = head;
    }
    rest
}

/// A `1*DIGIT` number that fits `max`; `None` otherwise.
#[inline]
pub fn parse_decimal(digits: &[u8], max: u64) -> Option<u64> {
    // Nineteen digits fit without a look at every step; leading zeros may make it more.
    if digits.is_empty() || digits.len() > 19 {
        return parse_long_decimal(digits, max);
    }
    let mut number = 0u64;
    for &digit in digits {
        let value = digit.wrapping_sub(b'0');
        if value > 9 {
            return None;
        }
        number = number.wrapping_mul(10).wrapping_add(u64::from(value));
    }
    (number <= max).then_some(number)
}

#[cold]
fn parse_long_decimal(digits: &[u8], max: u64) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut number = 0u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
    }
    (number <= max).then_some(number)
}

/// Splits a comma-separated value at its top level: commas inside quotes and `<>` do not count.
/// Items are trimmed; an empty item is yielded as an empty slice. A quote or bracket that is not
/// closed takes the rest of the value.
pub fn split_values(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let value = rest?;
        let end = item_end(value);
        rest = value.get(end + 1..);
        Some(trim(&value[..end]))
    })
}

/// Offset of the comma that ends the first item of a list, or the length of `value`.
pub(super) fn item_end(value: &[u8]) -> usize {
    let mut at = 0;
    while at < value.len() {
        match value[at] {
            b',' => return at,
            b'"' => at = quoted_end(value, at),
            b'<' => {
                at = memchr::memchr(b'>', &value[at..]).map_or(value.len(), |end| at + end + 1);
            }
            _ => at += 1,
        }
    }
    value.len()
}

/// Offset behind the quoted string that starts at `start`, or the length when it is not closed.
pub(super) fn quoted_end(value: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < value.len() {
        match value[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    value.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn trim_takes_white_space_and_folds_from_both_ends() {
        assert_eq!(trim(b" \t\r\n a b\r\n \t"), b"a b");
        assert_eq!(trim(b"\r\n "), b"");
        assert_eq!(trim(b"a"), b"a");
    }

    #[test]
    fn decimals_are_digits_within_the_bound() {
        assert_eq!(parse_decimal(b"0", 0), Some(0));
        assert_eq!(parse_decimal(b"00000000000000000000000255", 255), Some(255));
        assert_eq!(parse_decimal(b"256", 255), None);
        assert_eq!(
            parse_decimal(b"18446744073709551615", u64::MAX),
            Some(u64::MAX)
        );
        assert_eq!(parse_decimal(b"18446744073709551616", u64::MAX), None);
        for wrong in [
            &b""[..],
            b"+1",
            b"-1",
            b" 1",
            b"1 ",
            b"0x1",
            b"1.0",
            b"\xd9\xa1",
        ] {
            assert_eq!(parse_decimal(wrong, u64::MAX), None, "{wrong:?}");
        }
    }

    fn items(value: &[u8]) -> Vec<&[u8]> {
        split_values(value).collect()
    }

    #[test]
    fn values_split_at_commas_outside_quotes_and_brackets() {
        assert_eq!(items(b"a, b ,c"), [&b"a"[..], b"b", b"c"]);
        assert_eq!(
            items(b"\"a,b\" <sip:c,d@e>, f"),
            [&b"\"a,b\" <sip:c,d@e>"[..], b"f"]
        );
        assert_eq!(items(br#""a\",b", c"#), [&br#""a\",b""#[..], b"c"]);
        assert_eq!(items(b""), [&b""[..]]);
        assert_eq!(items(b",a,"), [&b""[..], b"a", b""]);
        assert_eq!(items(b"\"a,b"), [&b"\"a,b"[..]]);
        assert_eq!(items(b"<a,b"), [&b"<a,b"[..]]);
        assert_eq!(items(b"\"a\\"), [&b"\"a\\"[..]]);
    }

    /// One octet at a time, by states.
    fn split_naively(value: &[u8]) -> Vec<Vec<u8>> {
        let mut items = vec![Vec::new()];
        let (mut quoted, mut escaped, mut bracketed) = (false, false, false);
        for &byte in value {
            if byte == b',' && !quoted && !bracketed {
                items.push(Vec::new());
                continue;
            }
            if quoted {
                if escaped {
                    escaped = false;
                } else if byte == b'\\' {
                    escaped = true;
                } else if byte == b'"' {
                    quoted = false;
                }
            } else if bracketed {
                bracketed = byte != b'>';
            } else {
                quoted = byte == b'"';
                bracketed = byte == b'<';
            }
            items.last_mut().expect("never empty").push(byte);
        }
        items.iter().map(|item| trim(item).to_vec()).collect()
    }

    proptest! {
        #[test]
        fn splitting_agrees_with_a_naive_splitter(value in "[a,\"<>\\\\ ;]{0,24}") {
            let ours: Vec<Vec<u8>> =
                split_values(value.as_bytes()).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(ours, split_naively(value.as_bytes()));
        }

        #[test]
        fn decimals_agree_with_the_standard_library(text in "0{0,20}[0-9+x ]{0,22}", max: u64) {
            let plain = text.parse::<u64>().ok().filter(|number| {
                *number <= max && text.bytes().all(|b| b.is_ascii_digit())
            });
            prop_assert_eq!(parse_decimal(text.as_bytes(), max), plain);
        }
    }
}
