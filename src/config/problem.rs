//! What is wrong with a configuration, in words an operator can act on.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// The name of the command line as a source.
pub(super) const SET: &str = "--set";

/// Where in which text something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// File name, or `--set` for a value of the command line.
    pub source: Arc<str>,
    /// The whole text that the span points into.
    pub text: Arc<str>,
    /// Octets of `text`.
    pub span: Range<usize>,
}

impl Location {
    /// Line of the start, counted from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        1 + self
            .before()
            .bytes()
            .filter(|&octet| octet == b'\n')
            .count()
    }

    /// Column of the start in characters, counted from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        let before = self.before();
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        1 + before[start..].chars().count()
    }

    /// True for an assignment of the command line.
    #[must_use]
    pub fn is_set(&self) -> bool {
        &*self.source == SET
    }

    fn before(&self) -> &str {
        self.text.get(..self.span.start).unwrap_or(&self.text)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key as `section.key`; empty when the text could not be read at all.
    pub key: String,
    /// Where it stands; `None` when a default takes part or the file could not be opened.
    pub location: Option<Location>,
    /// What is wrong: the value and the bound it breaks.
    pub message: String,
    /// The likely fix; empty when there is nothing to add.
    pub help: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = self.location.as_ref().filter(|location| location.is_set()) {
            write!(f, "--set {}: ", location.text)?;
        } else if let Some(location) = &self.location {
            write!(
                f,
                "{}:{}:{}: ",
                location.source,
                location.line(),
                location.column()
            )?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if !self.help.is_empty() {
            write!(f, " ({})", self.help)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The candidate that `word` was most likely meant to be; `None` when nothing is near.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let far = 1 + word.len() / 3;
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= far)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, remove, replace, swap of neighbours) that turn `left` into `right`.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    // rows[i][j]: edits between the first i characters of `left` and the first j of `right`.
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut edits = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            let swapped =
                i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1];
            if swapped {
                edits = edits.min(rows[i - 2][j - 2] + 1);
            }
            row.push(edits);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_single_edits_and_swaps() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("realm", "realm"), 0);
        assert_eq!(distance("relam", "realm"), 1);
        assert_eq!(distance("expires_min", "expires_min_s"), 2);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn nearest_gives_nothing_for_a_word_that_is_far_from_all() {
        assert_eq!(nearest("colour", ["realm", "algorithms"]), None);
        assert_eq!(
            nearest("algoritms", ["realm", "algorithms"]),
            Some("algorithms")
        );
    }

    #[test]
    fn line_and_column_count_from_one_and_in_characters() {
        let text: Arc<str> = "a = 1\nä = 2 x".into();
        let start = text.find('x').map_or(0, |at| at);
        let location = Location {
            source: "f".into(),
            span: start..start + 1,
            text,
        };
        assert_eq!((location.line(), location.column()), (2, 7));
    }
}
