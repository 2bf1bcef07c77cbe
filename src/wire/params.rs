//! `;name=value` parameters.

use super::value::{quoted_end, trim};

/// One parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// The name as written.
    pub name: &'a [u8],
    /// The value, without surrounding quotes; `None` when there is no `=`.
    pub value: Option<&'a [u8]>,
}

/// Iterates over parameters; starts at a `;` or at the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Params<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Params<'a> {
    /// The parameter named `name` in any case: `None` when absent, `Some(None)` when valueless.
    pub fn find(self, name: &str) -> Option<Option<&'a [u8]>> {
        let mut params = self;
        params.find_map(|param| {
            param
                .name
                .eq_ignore_ascii_case(name.as_bytes())
                .then_some(param.value)
        })
    }
    /// The value of the parameter named `name` in any case.
    pub fn value(self, name: &str) -> Option<&'a [u8]> {
        self.find(name).flatten()
    }
    /// The text the parameters were read from, from the first `;`.
    pub fn as_bytes(self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = Param<'a>;
    fn next(&mut self) -> Option<Param<'a>> {
        let text = self.rest.get(1..)?;
        let mut at = 0;
        let mut equals = None;
        while at < text.len() && text[at] != b';' {
            match text[at] {
                b'"' => at = quoted_end(text, at),
                b'=' if equals.is_none() => {
                    equals = Some(at);
                    at += 1;
                }
                _ => at += 1,
            }
        }
        self.rest = &text[at..];
        let Some(equals) = equals else {
            return Some(Param {
                name: trim(&text[..at]),
                value: None,
            });
        };
        let value = trim(&text[equals + 1..at]);
        let value = match value {
            [b'"', inside @ .., b'"'] => inside,
            _ => value,
        };
        Some(Param {
            name: trim(&text[..equals]),
            value: Some(value),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<(&str, Option<&str>)> {
        let text_of = |bytes| std::str::from_utf8(bytes).expect("made from text");
        Params {
            rest: text.as_bytes(),
        }
        .map(|param| (text_of(param.name), param.value.map(text_of)))
        .collect()
    }

    #[test]
    fn parameters_come_in_order_without_quotes_and_white_space() {
        assert_eq!(
            all(";a=1;b ; C\r\n = \"x;y\\\"=\" ;d=e=f"),
            [
                ("a", Some("1")),
                ("b", None),
                ("C", Some("x;y\\\"=")),
                ("d", Some("e=f"))
            ]
        );
        assert_eq!(all(""), []);
    }

    #[test]
    fn names_are_found_in_any_case_and_the_first_counts() {
        let params = Params {
            rest: b";Tag=a;tag=b;LR",
        };
        assert_eq!(params.find("tag"), Some(Some(&b"a"[..])));
        assert_eq!(params.find("lr"), Some(None));
        assert_eq!(params.find("r"), None);
        assert_eq!(params.value("lr"), None);
        assert_eq!(params.value("TAG"), Some(&b"a"[..]));
    }

    #[test]
    fn broken_text_still_ends() {
        for text in [";", ";;", ";=", ";a=\"", ";a=\"b;c", ";\"", "x"] {
            let _ = all(text);
        }
    }
}
