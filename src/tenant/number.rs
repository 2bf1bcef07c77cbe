//! Numbers in the one form they are compared in.

use std::borrow::Cow;

/// `user` without visual separators (`-`, `.`, `(`, `)`: RFC 3966 §3) when it is a number: at most
/// one `+` before digits, `*` and `#`, of which there is at least one. Any other user part is left
/// as it is. `user` is un-escaped and carries no parameters; `wire::Uri::write_number` gives the
/// same of a URI.
#[must_use]
pub fn normalize_number(user: &str) -> Cow<'_, str> {
    let mut number = String::with_capacity(user.len());
    let mut digits = false;
    for symbol in user.chars() {
        match symbol {
            '-' | '.' | '(' | ')' => continue,
            '+' if number.is_empty() => {}
            '0'..='9' | '*' | '#' => digits = true,
            _ => return Cow::Borrowed(user),
        }
        number.push(symbol);
    }
    if digits {
        Cow::Owned(number)
    } else {
        Cow::Borrowed(user)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::normalize_number;
    use crate::wire::{Uri, Writer};

    proptest! {
        #[test]
        fn requests_and_provisioning_agree_on_what_a_number_is(user in "[+0-9a*#.()-]{1,9}") {
            let text = format!("sip:{}@example.test", user.replace('#', "%23"));
            let uri = Uri::parse(text.as_bytes()).expect("the user part is escaped");
            let mut number = [0; 16];
            let mut writer = Writer::new(&mut number);
            if uri.write_number(&mut writer) {
                let length = writer.len();
                prop_assert_eq!(normalize_number(&user).as_bytes().to_vec(), &number[..length]);
            } else {
                prop_assert_eq!(normalize_number(&user), user.as_str());
            }
        }
    }

    #[test]
    fn separators_leave_numbers_and_stay_in_names() {
        for (written, compared) in [
            ("+1-555-0100", "+15550100"),
            ("+1(555)01.00", "+15550100"),
            ("(030)1234", "0301234"),
            ("(+49)30-1234", "+49301234"),
            ("*21#", "*21#"),
            ("+15550100", "+15550100"),
            ("+", "+"),
            ("", ""),
            ("-", "-"),
            ("alice", "alice"),
            ("first.last", "first.last"),
            ("room-12", "room-12"),
            ("1+2-3", "1+2-3"),
            ("++1-2", "++1-2"),
        ] {
            assert_eq!(normalize_number(written), compared, "{written}");
        }
    }
}
