//! Small values.

/// `bytes` without surrounding linear white space (SP, HTAB, and folds).
pub fn trim(bytes: &[u8]) -> &[u8] {
    unimplemented!("{bytes:?}")
}

/// A `1*DIGIT` number that fits `max`; `None` otherwise.
pub fn parse_decimal(digits: &[u8], max: u64) -> Option<u64> {
    unimplemented!("{digits:?}{max}")
}

/// Splits a comma-separated value at its top level: commas inside quotes and `<>` do not count.
/// Items are trimmed; an empty item is yielded as an empty slice.
pub fn split_values(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::once(value)
}
