//! The values of a list header, over all its fields.

use super::cursor::Cursor;
use super::{HeaderName, Message};

/// Walks over the values of a comma-separated header; a parser says where each one ends.
#[derive(Clone, Debug)]
pub(super) struct Values {
    /// Number of the field that is read, or of the first one that may be.
    field: usize,
    /// End of the value read last in this field; `None` before its first.
    end: Option<usize>,
    /// Behind an error.
    ended: bool,
}

impl Values {
    pub(super) fn new() -> Self {
        Self {
            field: 0,
            end: None,
            ended: false,
        }
    }

    /// True before the first value.
    #[inline]
    pub(super) fn is_at_start(&self) -> bool {
        self.field == 0 && self.end.is_none() && !self.ended
    }

    /// A cursor at the next value of `name`, up to the end of its field.
    #[inline]
    pub(super) fn next_value<'a>(
        &mut self,
        message: Message<'a>,
        name: HeaderName,
    ) -> Option<Cursor<'a>> {
        if self.ended {
            return None;
        }
        self.field = message.index.position(name, self.field)?;
        let value = message.index.entries()[self.field].value;
        let start = self.end.unwrap_or(usize::from(value.start));
        let mut cursor = Cursor::new(message.bytes, start, usize::from(value.end));
        if self.end.is_some() {
            // The parser of the value before has seen that white space and a comma follow.
            cursor.take_spaced(b',');
        }
        Some(cursor)
    }

    /// Says where the value given last ended, and whether it was one.
    #[inline]
    pub(super) fn finish(&mut self, message: Message<'_>, end: usize, valid: bool) {
        let value = message.index.entries()[self.field].value;
        self.ended = !valid;
        if end >= usize::from(value.end) {
            self.field += 1;
            self.end = None;
        } else {
            self.end = Some(end);
        }
    }
}
