//! From, To, Contact, Route, Record-Route, Path: `name-addr` and `addr-spec` values.

use super::class;
use super::cursor::{Cursor, Span};
use super::values::Values;
use super::{HeaderName, Message, Params, ParseError, Reason};

/// One address value.
#[derive(Clone, Copy, Debug)]
pub struct NameAddr<'a> {
    /// The display name as written, quotes included.
    pub display: &'a [u8],
    /// The URI text, without `<>`.
    pub uri: &'a [u8],
    /// Header parameters. Without `<>`, parameters belong to the header (RFC 3261 §20.10).
    pub params: Params<'a>,
    /// Start of the value in the message.
    pub start: u16,
    /// End of the value in the message.
    pub end: u16,
}

impl<'a> NameAddr<'a> {
    /// Parses one value standing alone; `start` and `end` are relative to `text`. The URI is
    /// delimited, not parsed.
    ///
    /// # Errors
    /// What breaks the grammar.
    pub fn parse(text: &'a [u8]) -> Result<Self, ParseError> {
        if text.len() > usize::from(u16::MAX) {
            return Err(ParseError::new(Reason::AddressMalformed, usize::MAX));
        }
        let mut cursor = Cursor::new(text, 0, text.len());
        cursor.skip_space();
        let address = parse_address(&mut cursor)?;
        cursor.skip_space();
        if !cursor.is_at_end() {
            return cursor.error(Reason::AddressMalformed);
        }
        Ok(address.view(text))
    }
}

/// Where the parts of an address value stand in the message.
#[derive(Clone, Copy, Debug)]
pub(super) struct AddressSpans {
    display: Span,
    uri: Span,
    params: Span,
    value: Span,
    /// The tag; empty when there is none.
    pub(super) tag: Span,
}

impl AddressSpans {
    #[inline]
    fn view(self, bytes: &[u8]) -> NameAddr<'_> {
        NameAddr {
            display: self.display.of(bytes),
            uri: self.uri.of(bytes),
            params: Params {
                rest: self.params.of(bytes),
            },
            start: self.value.start,
            end: self.value.end,
        }
    }
}

/// Parses one address value; the cursor ends behind it, before white space and a comma or the
/// end of the field.
#[inline]
pub(super) fn parse_address(cursor: &mut Cursor<'_>) -> Result<AddressSpans, ParseError> {
    let start = cursor.at;
    let (display, uri) = match cursor.peek() {
        Some(b'<') => (Span::new(start, start), bracketed(cursor)?),
        Some(b'"') => {
            if cursor.quoted().is_none() {
                return Err(ParseError::new(Reason::AddressMalformed, start));
            }
            let display = Span::new(start, cursor.at);
            cursor.skip_space();
            (display, bracketed(cursor)?)
        }
        _ => unquoted(cursor)?,
    };
    let mut tag = None;
    let mut seen = 0u8;
    let params = cursor.params(|cursor, name, value| {
        let name = name.of(cursor.bytes);
        let bit = read_param(name);
        if seen & bit != 0 {
            return Err(Reason::ParameterRepeated);
        }
        seen |= bit;
        if bit == TAG {
            tag = Some(
                value
                    .filter(|tag| !tag.is_empty())
                    .ok_or(Reason::ParameterMalformed)?,
            );
        }
        Ok(())
    })?;
    let end = cursor.at;
    cursor.skip_space();
    if !cursor.is_at_end() && cursor.peek() != Some(b',') {
        return cursor.error(Reason::AddressMalformed);
    }
    cursor.at = end;
    let value = Span::new(start, end);
    Ok(AddressSpans {
        display,
        uri,
        params,
        value,
        tag: tag.unwrap_or(Span::new(end, end)),
    })
}

const TAG: u8 = 1;

/// The bit of a parameter that the edge reads, so that it may stand once; 0 for others.
#[inline]
fn read_param(name: &[u8]) -> u8 {
    if name == b"tag" {
        TAG
    } else {
        read_rare_param(name)
    }
}

fn read_rare_param(name: &[u8]) -> u8 {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    match name.len() {
        1 if is("q") => 1 << 1,
        2 if is("ob") => 1 << 2,
        3 if is("tag") => TAG,
        6 if is("reg-id") => 1 << 3,
        7 if is("expires") => 1 << 4,
        13 if is("+sip.instance") => 1 << 5,
        _ => 0,
    }
}

/// `<` URI `>`: the URI, which holds no white space (RFC 4475 §3.1.2.14).
#[inline]
fn bracketed(cursor: &mut Cursor<'_>) -> Result<Span, ParseError> {
    if !cursor.take(b'<') {
        return cursor.error(Reason::AddressMalformed);
    }
    let uri = cursor.skip_class(class::URI | class::TOKEN);
    if uri.is_empty() || !cursor.take(b'>') {
        return cursor.error(Reason::AddressMalformed);
    }
    Ok(uri)
}

/// A display name of tokens with a bracketed URI, or an `addr-spec`.
fn unquoted(cursor: &mut Cursor<'_>) -> Result<(Span, Span), ParseError> {
    let start = cursor.at;
    let mut end = start;
    loop {
        let token = display_token(cursor);
        if cursor.peek() == Some(b':') && end == start && !token.is_empty() {
            cursor.at = start;
            return Ok((Span::new(start, start), bare_uri(cursor)?));
        }
        if token.is_empty() {
            break;
        }
        end = cursor.at;
        cursor.skip_space();
    }
    Ok((Span::new(start, end), bracketed(cursor)?))
}

/// A token of a display name.
// RFC 3261 §25.1 deviation: octets above ASCII are taken unquoted too, because phones send names
// in UTF-8 so and no reader can misunderstand them.
fn display_token(cursor: &mut Cursor<'_>) -> Span {
    let start = cursor.at;
    while cursor
        .peek()
        .is_some_and(|byte| class::is(byte, class::TOKEN) || byte >= 0x80)
    {
        cursor.at += 1;
    }
    Span::new(start, cursor.at)
}

/// A URI without brackets.
fn bare_uri(cursor: &mut Cursor<'_>) -> Result<Span, ParseError> {
    let start = cursor.at;
    while let Some(byte) = cursor.peek() {
        match byte {
            // RFC 3261 §20: a URI with a comma, question mark or semicolon stands in brackets.
            b',' | b';' => break,
            b'?' => return cursor.error(Reason::AddressMalformed),
            _ if class::is(byte, class::URI | class::TOKEN) => cursor.at += 1,
            _ => break,
        }
    }
    Ok(Span::new(start, cursor.at))
}

/// Iterates over every value of an address header, over all its fields, topmost first. Ends
/// behind the first error.
#[derive(Clone, Debug)]
pub struct NameAddrs<'a> {
    message: Message<'a>,
    name: HeaderName,
    values: Values,
}

impl<'a> NameAddrs<'a> {
    /// All values of the header `name` in `message`.
    pub fn new(message: Message<'a>, name: HeaderName) -> Self {
        Self {
            message,
            name,
            values: Values::new(),
        }
    }
}

impl<'a> Iterator for NameAddrs<'a> {
    type Item = Result<NameAddr<'a>, ParseError>;
    fn next(&mut self) -> Option<Self::Item> {
        let mut cursor = self.values.next_value(self.message, self.name)?;
        let parsed = parse_address(&mut cursor);
        self.values.finish(self.message, cursor.at, parsed.is_ok());
        Some(parsed.map(|address| address.view(self.message.bytes)))
    }
}

/// The Contact header of a REGISTER.
#[derive(Clone, Debug)]
pub enum Contacts<'a> {
    /// No Contact: a query.
    Absent,
    /// `*`.
    Wildcard,
    /// One or more values.
    List(NameAddrs<'a>),
}

impl<'a> Contacts<'a> {
    /// Reads the Contact fields of `message`.
    ///
    /// # Errors
    /// `*` beside another value.
    pub fn of(message: Message<'a>) -> Result<Self, ParseError> {
        let mut fields = 0;
        let mut wildcard = None;
        for field in message.headers(HeaderName::Contact) {
            fields += 1;
            if field.value == b"*" {
                wildcard = Some(field.value_start);
            }
        }
        match wildcard {
            None if fields == 0 => Ok(Self::Absent),
            None => Ok(Self::List(NameAddrs::new(message, HeaderName::Contact))),
            Some(_) if fields == 1 => Ok(Self::Wildcard),
            // RFC 3261 §10.3 step 6: "*" is the only Contact, else the request is invalid.
            Some(offset) => Err(ParseError {
                reason: Reason::ContactWildcard,
                offset,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

    use super::super::Index;
    use super::*;

    #[test]
    fn names_uris_and_parameters_are_told_apart() {
        for (text, display, uri, params) in [
            ("<sip:a@b>", "", "sip:a@b", ""),
            ("<sip:a@b;x=1>;tag=t", "", "sip:a@b;x=1", ";tag=t"),
            ("sip:a@b;tag=t", "", "sip:a@b", ";tag=t"),
            ("tel:+1-555", "", "tel:+1-555", ""),
            ("Alice<sip:a@b>", "Alice", "sip:a@b", ""),
            (
                "Alice  B. Liddell \r\n <sip:a@b> ; q = 0.5",
                "Alice  B. Liddell",
                "sip:a@b",
                "; q = 0.5",
            ),
            ("J\u{fc}rgen <sip:a@b>", "J\u{fc}rgen", "sip:a@b", ""),
            (
                "\"a, <\\\"> ;\" <sips:a,b;c@d?e=f>;x=\"<,>\"",
                "\"a, <\\\"> ;\"",
                "sips:a,b;c@d?e=f",
                ";x=\"<,>\"",
            ),
            ("\"\" <sip:[::1]>", "\"\"", "sip:[::1]", ""),
        ] {
            let address = NameAddr::parse(text.as_bytes()).unwrap();
            assert_eq!(address.display, display.as_bytes(), "{text}");
            assert_eq!(address.uri, uri.as_bytes(), "{text}");
            assert_eq!(address.params.as_bytes(), params.as_bytes(), "{text}");
            assert_eq!((address.start, usize::from(address.end)), (0, text.len()));
        }
    }

    #[test]
    fn broken_values_are_refused() {
        for (text, reason) in [
            ("", Reason::AddressMalformed),
            ("*", Reason::AddressMalformed),
            ("None", Reason::AddressMalformed),
            ("<>", Reason::AddressMalformed),
            ("<sip:a@b", Reason::AddressMalformed),
            ("< sip:a@b>", Reason::AddressMalformed),
            ("<sip:a@b >", Reason::AddressMalformed),
            ("<sip:a@<b>>", Reason::AddressMalformed),
            ("\"a <sip:a@b>", Reason::AddressMalformed),
            ("a \"b\" <sip:a@b>", Reason::AddressMalformed),
            ("a@b <sip:a@b>", Reason::AddressMalformed),
            ("sip:a@b?x=y", Reason::AddressMalformed),
            ("sip:a@b c", Reason::AddressMalformed),
            ("<sip:a@b> c", Reason::AddressMalformed),
            ("<sip:a@b>, <sip:c@d>", Reason::AddressMalformed),
            ("<sip:a@b>;", Reason::ParameterMalformed),
            ("<sip:a@b>;;x", Reason::ParameterMalformed),
            ("<sip:a@b>;x=", Reason::ParameterMalformed),
            ("<sip:a@b>;x y", Reason::AddressMalformed),
            ("<sip:a@b>;tag=", Reason::ParameterMalformed),
            ("<sip:a@b>;tag=\"\"", Reason::ParameterMalformed),
            ("<sip:a@b>;q=1;Q=0", Reason::ParameterRepeated),
            ("<sip:a@b>;expires=1;expires=1", Reason::ParameterRepeated),
            ("<sip:a@b>;reg-id=1;reg-id=2", Reason::ParameterRepeated),
        ] {
            let error = NameAddr::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.reason, reason, "{text}");
        }
    }

    fn register(contacts: &str) -> String {
        "REGISTER sip:e.test SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\
            From: <sip:a@e.test>;tag=f\r\nTo: <sip:a@e.test>\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n"
            .to_owned()
            + contacts
            + "\r\n"
    }

    #[test]
    fn values_come_in_order_over_all_fields_with_their_places() {
        let text =
            register("m: <sip:a@b> ,\r\n \"x,y\" <sip:c@d>;q=1\r\nX: y\r\nContact: sip:e@f\r\n");
        let mut index = Index::new();
        let message = index.scan(text.as_bytes()).unwrap();
        let found: Vec<_> = NameAddrs::new(message, HeaderName::Contact)
            .map(|address| {
                let address = address.unwrap();
                &text[usize::from(address.start)..usize::from(address.end)]
            })
            .collect();
        assert_eq!(found, ["<sip:a@b>", "\"x,y\" <sip:c@d>;q=1", "sip:e@f"]);
    }

    #[test]
    fn a_broken_value_ends_the_values() {
        for contacts in [
            "<sip:a@b>,,<sip:c@d>",
            "<sip:a@b>,",
            "<sip:a@b>, x, <sip:c@d>",
        ] {
            let text = register(&format!("Contact: {contacts}\r\nContact: <sip:e@f>\r\n"));
            let mut index = Index::new();
            let message = index.scan(text.as_bytes()).unwrap();
            let mut addresses = NameAddrs::new(message, HeaderName::Contact);
            assert!(addresses.next().unwrap().is_ok());
            assert!(addresses.next().unwrap().is_err(), "{contacts}");
            assert!(addresses.next().is_none(), "{contacts}");
        }
    }

    #[test]
    fn a_star_stands_alone() {
        let kind = |contacts: &str| {
            let text = register(contacts);
            let mut index = Index::new();
            match Contacts::of(index.scan(text.as_bytes()).unwrap()) {
                Ok(Contacts::Absent) => "absent",
                Ok(Contacts::Wildcard) => "wildcard",
                Ok(Contacts::List(mut list)) => {
                    if list.all(|address| address.is_ok()) {
                        "list"
                    } else {
                        "broken"
                    }
                }
                Err(error) => error.reason.name(),
            }
        };
        assert_eq!(kind(""), "absent");
        assert_eq!(kind("Contact: *\r\n"), "wildcard");
        assert_eq!(kind("Contact:\r\n * \r\n"), "wildcard");
        assert_eq!(kind("Contact: <sip:a@b>\r\n"), "list");
        assert_eq!(
            kind("Contact: *\r\nContact: <sip:a@b>\r\n"),
            "contact_wildcard"
        );
        assert_eq!(kind("Contact: *\r\nContact: *\r\n"), "contact_wildcard");
        assert_eq!(kind("Contact: *, <sip:a@b>\r\n"), "broken");
        assert_eq!(kind("Contact: *;expires=0\r\n"), "broken");
        assert_eq!(kind("Contact:\r\n"), "broken");
    }
}
