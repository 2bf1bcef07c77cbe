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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

    use proptest::prelude::*;

    use super::super::Index;
    use super::*;

    const TEXT: &str = "INVITE sip:b@e SIP/2.0\r\nVia: SIP/2.0/UDP a , SIP/2.0/UDP b\r\n\
        From: <sip:a@e>;tag=f\r\nTo: <sip:b@e>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
        Route: <sip:r1>,<sip:r2>\r\nRoute: <sip:r3>\r\n\r\n0123456789";

    /// `TEXT` after `edit`, or `None` when it was refused.
    fn spliced(edit: impl FnOnce(&mut Splice<'_>)) -> Option<String> {
        let mut index = Index::new();
        let message = index.scan(TEXT.as_bytes()).unwrap();
        let mut splice = Splice::new(message);
        edit(&mut splice);
        let mut buffer = [0u8; 1024];
        let mut out = Writer::new(&mut buffer);
        splice
            .write(&mut out)
            .then(|| String::from_utf8(out.written().to_vec()).unwrap())
    }

    fn body(edit: impl FnOnce(&mut Splice<'_>, usize)) -> Option<String> {
        let start = TEXT.len() - 10;
        spliced(|splice| edit(splice, start)).map(|text| text[start..].to_owned())
    }

    #[test]
    fn edits_apply_in_the_order_of_the_message() {
        let text = body(|splice, at| {
            splice.insert(at + 10, b"!");
            splice.replace(at + 3, at + 5, b"three-four");
            splice.insert(at, b"a");
            splice.remove(at + 7, at + 9);
            splice.insert(at, b"b");
            splice.insert(at + 3, b"-");
            splice.insert(at + 5, b"+");
            splice.remove(at + 1, at + 1);
        });
        assert_eq!(text.as_deref(), Some("ab012-three-four+569!"));
    }

    #[test]
    fn overlapping_edits_are_refused() {
        for wrong in [
            (2, 4),
            (3, 3),
            (3, 6),
            (1, 3),
            (2, 5),
            (0, 9),
            (9, 11),
            (4, 3),
        ] {
            let text = body(|splice, at| {
                splice.replace(at + 2, at + 5, b"x");
                splice.replace(at + wrong.0, at + wrong.1, b"y");
            });
            assert_eq!(text, None, "{wrong:?}");
        }
    }

    #[test]
    fn an_edit_too_many_or_too_small_a_buffer_fails() {
        let insert =
            |count: usize| body(|splice, at| (0..count).for_each(|_| splice.insert(at, b"x")));
        assert_eq!(
            insert(SPLICE_EDITS_MAX).map(|text| text.len()),
            Some(10 + SPLICE_EDITS_MAX)
        );
        assert_eq!(insert(SPLICE_EDITS_MAX + 1), None);
        let mut index = Index::new();
        let message = index.scan(TEXT.as_bytes()).unwrap();
        let mut buffer = vec![0u8; message.bytes().len()];
        let less = buffer.len() - 1;
        assert!(Splice::new(message).write(&mut Writer::new(&mut buffer)));
        assert!(!Splice::new(message).write(&mut Writer::new(&mut buffer[..less])));
    }

    fn lines(text: &str, name: &str) -> Vec<String> {
        text.split("\r\n")
            .filter(|l| l.starts_with(name))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn first_values_go_with_their_comma_or_their_line() {
        let text = spliced(|splice| splice.remove_first_value(HeaderName::Via)).unwrap();
        assert_eq!(lines(&text, "Via"), ["Via: SIP/2.0/UDP b"]);
        let routes = |count: usize| {
            spliced(|splice| (0..count).for_each(|_| splice.remove_first_value(HeaderName::Route)))
                .map(|text| lines(&text, "Route"))
        };
        assert_eq!(routes(1).unwrap(), ["Route: <sip:r2>", "Route: <sip:r3>"]);
        assert_eq!(routes(2).unwrap(), ["Route: <sip:r3>"]);
        assert_eq!(routes(3).unwrap(), [""; 0]);
        assert_eq!(routes(4), None);
        assert_eq!(
            spliced(|splice| splice.remove_first_value(HeaderName::Path)),
            None
        );
    }

    #[test]
    fn a_first_value_may_be_removed_and_another_line_inserted_before_it() {
        let text = spliced(|splice| {
            splice.remove_first_value(HeaderName::Route);
            splice.remove_first_value(HeaderName::Route);
            let at = TEXT.find("Via").unwrap();
            splice.insert(at, b"Via: SIP/2.0/UDP me\r\n");
            let at = TEXT.find("Route").unwrap();
            splice.insert(at, b"Record-Route: <sip:me>\r\n");
        });
        let text = text.unwrap();
        assert!(text.contains("INVITE\r\nRecord-Route: <sip:me>\r\nRoute: <sip:r3>\r\n\r\n"));
        assert!(text.contains("SIP/2.0\r\nVia: SIP/2.0/UDP me\r\nVia: SIP/2.0/UDP a"));
    }

    proptest! {
        #[test]
        fn splicing_agrees_with_edits_from_behind(
            edits in prop::collection::vec((0usize..12, 0usize..4, "[a-c]{0,3}"), 0..8),
        ) {
            // The plain way: sort the edits as promised and apply the last first.
            let range = |edit: &(usize, usize, String)| edit.0..edit.0 + edit.1;
            let ranges: Vec<_> = edits.iter().map(range).collect();
            let clash = |a: &std::ops::Range<usize>, b: &std::ops::Range<usize>| {
                a.start < b.end && b.start < a.end
            };
            let refused = ranges.iter().enumerate().any(|(number, range)| {
                range.end > 10 || ranges[..number].iter().any(|other| clash(range, other))
            });
            let mut sorted: Vec<_> = ranges.iter().zip(&edits).collect();
            sorted.sort_by_key(|(range, _)| (range.start, !range.is_empty()));
            let mut plain = b"0123456789".to_vec();
            if !refused {
                for (range, (_, _, text)) in sorted.into_iter().rev() {
                    plain.splice(range.clone(), text.bytes());
                }
            }

            let body = TEXT.len() - 10;
            let mut index = Index::new();
            let mut splice = Splice::new(index.scan(TEXT.as_bytes()).unwrap());
            for (start, length, text) in &edits {
                splice.replace(body + start, body + start + length, text.as_bytes());
            }
            let mut buffer = [0u8; 512];
            let mut out = Writer::new(&mut buffer);
            let ours = splice.write(&mut out).then(|| out.written()[body..].to_vec());
            let plain = (!refused).then_some(plain);
            prop_assert_eq!(ours, plain);
        }
    }
}
