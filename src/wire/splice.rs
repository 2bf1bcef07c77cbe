//! Forwarding by splicing: copied ranges of the received message plus edits.

use crate::limits::SPLICE_EDITS_MAX;

use super::value::item_end;
use super::{HeaderName, Message, Writer};

/// The octets `start..end` of the message become `text`.
#[derive(Clone, Copy, Debug)]
struct Edit<'a> {
    start: usize,
    end: usize,
    text: &'a [u8],
}

impl Edit<'_> {
    const NONE: Self = Self {
        start: 0,
        end: 0,
        text: b"",
    };

    fn is_insertion(&self) -> bool {
        self.start == self.end
    }
}

/// Edits of one message, applied in one copy. Edits may be added in any order; several insertions
/// at one place keep the order in which they were added, and stand before what replaces the
/// octets behind that place. Bounded; an edit too many, or overlapping edits, make
/// [`Splice::write`] fail.
#[derive(Debug)]
pub struct Splice<'a> {
    message: Message<'a>,
    /// The first `count` are valid and lie in the order of the message without overlap.
    edits: [Edit<'a>; SPLICE_EDITS_MAX],
    count: usize,
    refused: bool,
}

impl<'a> Splice<'a> {
    /// No edits yet.
    pub fn new(message: Message<'a>) -> Self {
        Self {
            message,
            edits: [Edit::NONE; SPLICE_EDITS_MAX],
            count: 0,
            refused: false,
        }
    }
    /// Inserts `text` before the octet at `at`.
    pub fn insert(&mut self, at: usize, text: &'a [u8]) {
        self.add(Edit {
            start: at,
            end: at,
            text,
        });
    }
    /// Replaces the octets `start..end` by `text`.
    pub fn replace(&mut self, start: usize, end: usize, text: &'a [u8]) {
        self.add(Edit { start, end, text });
    }
    /// Removes the octets `start..end`.
    pub fn remove(&mut self, start: usize, end: usize) {
        if start != end {
            self.add(Edit {
                start,
                end,
                text: b"",
            });
        }
    }

    fn add(&mut self, edit: Edit<'a>) {
        let edits = &self.edits[..self.count];
        // Behind every edit that starts earlier, and behind insertions at the same place.
        let place = edits
            .iter()
            .rposition(|other| {
                other.start < edit.start || other.start == edit.start && other.is_insertion()
            })
            .map_or(0, |before| before + 1);
        let fits_before = place == 0 || edits[place - 1].end <= edit.start;
        let fits_behind = edits.get(place).is_none_or(|next| edit.end <= next.start);
        let in_message = edit.start <= edit.end && edit.end <= self.message.bytes.len();
        if !(fits_before && fits_behind && in_message && self.count < SPLICE_EDITS_MAX) {
            self.refused = true;
            return;
        }
        self.edits.copy_within(place..self.count, place + 1);
        self.edits[place] = edit;
        self.count += 1;
    }

    /// Removes the first value of a comma-separated header field list (Via, Route), with its
    /// comma, or the whole line when it was the only one. Asked again for the same name, removes
    /// the value behind it. Refused when there is no value left.
    pub fn remove_first_value(&mut self, name: HeaderName) {
        let message = self.message;
        for field in message.headers(name) {
            let line = (usize::from(field.line_start), usize::from(field.line_end));
            let value_start = usize::from(field.value_start);
            if self
                .removal_at(line.0)
                .is_some_and(|number| self.edits[number].end >= line.1)
            {
                continue;
            }
            let removed = self.removal_at(value_start);
            let start = removed.map_or(value_start, |number| self.edits[number].end);
            let value_end = value_start + field.value.len();
            let rest = &message.bytes[start..value_end];
            let comma = start + item_end(rest);
            if comma < value_end {
                let next = comma + 1 + leading_space(&message.bytes[comma + 1..value_end]);
                match removed {
                    Some(number) => self.extend(number, value_start, next),
                    None => self.remove(value_start, next),
                }
            } else {
                match removed {
                    Some(number) => self.extend(number, line.0, line.1),
                    None => self.remove(line.0, line.1),
                }
            }
            return;
        }
        self.refused = true;
    }

    /// The removal that starts at `start`.
    fn removal_at(&self, start: usize) -> Option<usize> {
        let edits = &self.edits[..self.count];
        edits
            .iter()
            .position(|e| e.start == start && !e.is_insertion() && e.text.is_empty())
    }

    /// Widens a removal to `start..end`.
    fn extend(&mut self, number: usize, start: usize, end: usize) {
        self.edits.copy_within(number + 1..self.count, number);
        self.count -= 1;
        self.add(Edit {
            start,
            end,
            text: b"",
        });
    }

    /// Writes the edited message. False when an edit was refused or the output does not fit.
    pub fn write(&mut self, out: &mut Writer<'_>) -> bool {
        if self.refused {
            return false;
        }
        let bytes = self.message.bytes;
        let mut at = 0;
        for edit in &self.edits[..self.count] {
            out.put(&bytes[at..edit.start]);
            out.put(edit.text);
            at = edit.end;
        }
        out.put(&bytes[at..]);
        !out.has_overflowed()
    }
}

/// Octets of white space and folds at the start of `bytes`.
fn leading_space(bytes: &[u8]) -> usize {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    bytes
        .iter()
        .position(|byte| !is_space(byte))
        .unwrap_or(bytes.len())
}
