//! From, To, Contact, Route, Record-Route, Path: `name-addr` and `addr-spec` values.

use super::{HeaderName, Message, Params, ParseError};

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
    /// Parses one value standing alone; `start` and `end` are relative to `text`.
    ///
    /// # Errors
    /// What breaks the grammar.
    pub fn parse(text: &'a [u8]) -> Result<Self, ParseError> {
        unimplemented!("{text:?}")
    }
}

/// Iterates over every value of an address header, over all its fields, topmost first.
#[derive(Clone, Debug)]
pub struct NameAddrs<'a> {
    pub(super) message: Message<'a>,
    pub(super) name: HeaderName,
}

impl<'a> NameAddrs<'a> {
    /// All values of the header `name` in `message`.
    pub fn new(message: Message<'a>, name: HeaderName) -> Self {
        Self { message, name }
    }
}

impl<'a> Iterator for NameAddrs<'a> {
    type Item = Result<NameAddr<'a>, ParseError>;
    fn next(&mut self) -> Option<Self::Item> {
        unimplemented!("{:?}", self.name)
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
        unimplemented!("{message:?}")
    }
}
