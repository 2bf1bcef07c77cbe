//! Forwarding by splicing: copied ranges of the received message plus edits.

use super::{Message, Writer};

/// Edits of one message, applied in one copy. Edits may be added in any order; several insertions
/// at one place keep the order in which they were added. Bounded; an edit too many, or overlapping
/// edits, make [`Splice::write`] fail.
#[derive(Debug)]
pub struct Splice<'a> {
    message: Message<'a>,
}

impl<'a> Splice<'a> {
    /// No edits yet.
    pub fn new(message: Message<'a>) -> Self {
        Self { message }
    }
    /// Inserts `text` before the octet at `at`.
    pub fn insert(&mut self, at: usize, text: &'a [u8]) {
        unimplemented!("{at}{text:?}{:?}", self.message)
    }
    /// Replaces the octets `start..end` by `text`.
    pub fn replace(&mut self, start: usize, end: usize, text: &'a [u8]) {
        unimplemented!("{start}{end}{text:?}")
    }
    /// Removes the octets `start..end`.
    pub fn remove(&mut self, start: usize, end: usize) {
        unimplemented!("{start}{end}")
    }
    /// Removes the first value of a comma-separated header field list (Via, Route), with its
    /// comma, or the whole line when it was the only one.
    pub fn remove_first_value(&mut self, name: super::HeaderName) {
        unimplemented!("{name:?}")
    }
    /// Writes the edited message. False when an edit was refused or the output does not fit.
    pub fn write(&mut self, out: &mut Writer<'_>) -> bool {
        unimplemented!("{out:?}")
    }
}
