//! Numbers in the one form they are compared in.

use std::borrow::Cow;

/// `user` without visual separators (`-`, `.`, `(`, `)`: RFC 3966 §3) when it is a number: an
/// optional `+`, then digits, `*` and `#`, at least one. Any other user part is left as it is.
/// `user` is un-escaped and carries no parameters.
#[must_use]
pub fn normalize_number(user: &str) -> Cow<'_, str> {
    let digits = user.strip_prefix('+').unwrap_or(user);
    let separator = |c: char| matches!(c, '-' | '.' | '(' | ')');
    let symbol = |c: char| c.is_ascii_digit() || matches!(c, '*' | '#');
    let is_number = digits.contains(symbol) && digits.chars().all(|c| symbol(c) || separator(c));
    if is_number && digits.contains(separator) {
        Cow::Owned(user.chars().filter(|c| !separator(*c)).collect())
    } else {
        Cow::Borrowed(user)
    }
}

#[cfg(test)]
mod tests {
    use super::normalize_number;

    #[test]
    fn separators_leave_numbers_and_stay_in_names() {
        for (written, compared) in [
            ("+1-555-0100", "+15550100"),
            ("+1(555)01.00", "+15550100"),
            ("(030)1234", "0301234"),
            ("*21#", "*21#"),
            ("+15550100", "+15550100"),
            ("+", "+"),
            ("", ""),
            ("-", "-"),
            ("alice", "alice"),
            ("first.last", "first.last"),
            ("room-12", "room-12"),
            ("1+2-3", "1+2-3"),
        ] {
            assert_eq!(normalize_number(written), compared, "{written}");
        }
    }
}
