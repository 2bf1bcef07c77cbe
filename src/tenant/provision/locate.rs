//! From a place in the model, or an offset in the text, to line, column, key and value.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Problem;
use crate::tenant::check::{Step, Violation};

/// Longest value shown, in characters.
const VALUE_CHARS_MAX: usize = 80;

/// A file that is valid TOML, with the place of every value.
pub(super) struct Document<'a> {
    path: &'a Path,
    text: &'a str,
    /// `None` only if the text is no TOML; places are then unknown.
    table: Option<Spanned<DeTable<'a>>>,
}

/// A value or the table it is missing from.
enum Node<'t, 'a> {
    Table(&'t DeTable<'a>),
    Value(&'t DeValue<'a>),
}

impl<'a> Document<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str) -> Self {
        Self {
            path,
            text,
            table: DeTable::parse(text).ok(),
        }
    }

    /// Where the value of a violation stands; a value that is missing stands where its table does.
    pub(super) fn problem(&self, violation: &Violation) -> Problem {
        let mut span = 0..0;
        let mut value = None;
        if let Some(table) = &self.table {
            let mut node = Node::Table(table.get_ref());
            for step in &violation.path {
                value = None;
                let Some(next) = child(&node, *step) else {
                    break;
                };
                let place = next.span();
                if !place.is_empty() {
                    span = place;
                }
                value = shown(self.text, next);
                node = Node::Value(next.get_ref());
            }
        }
        let key = violation.path.iter().map(|step| match step.index {
            Some(index) => format!("{}[{index}]", step.key),
            None => step.key.to_owned(),
        });
        let key = key.collect::<Vec<_>>().join(".");
        let hidden = is_secret(&key);
        problem(
            self.path,
            self.text,
            span,
            key,
            value.filter(|_| !hidden),
            &violation.message,
        )
    }
}

fn child<'t, 'a>(node: &Node<'t, 'a>, step: Step) -> Option<&'t Spanned<DeValue<'a>>> {
    let table = match node {
        Node::Table(table) => table,
        Node::Value(DeValue::Table(table)) => table,
        Node::Value(_) => return None,
    };
    let value = table.get(step.key)?;
    match (step.index, value.get_ref()) {
        (Some(index), DeValue::Array(array)) => array.get(index).or(Some(value)),
        (Some(_), _) | (None, _) => Some(value),
    }
}

/// A scalar as written.
fn shown(text: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::Table(_) | DeValue::Array(_) => None,
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => {
            let written = text.get(value.span())?;
            let short: String = written.chars().take(VALUE_CHARS_MAX).collect();
            let cut = short.len() < written.len();
            Some(if cut { short + "..." } else { short })
        }
    }
}

fn is_secret(key: &str) -> bool {
    key.ends_with("password") || key.ends_with("token")
}

/// The problem of a text that is no TOML, or whose shape or values are not those of the model.
pub(super) fn syntax_problem(path: &Path, text: &str, error: &toml::de::Error) -> Problem {
    let span = error.span().unwrap_or(0..0);
    let table = DeTable::parse(text).ok();
    let found = table
        .as_ref()
        .and_then(|table| innermost(table.get_ref(), span.start));
    let (key, value) = match found {
        Some((key, value)) => (key, value.and_then(|value| shown(text, value))),
        None => (String::new(), None),
    };
    if is_secret(&key) {
        // What the parser says of a value of another type may hold the value.
        let message = match error.message() {
            message if message.starts_with("invalid type") => "is no string; put it in quotes",
            message => message,
        };
        return problem(path, text, span, key, None, message);
    }
    problem(path, text, span, key, value, error.message())
}

/// The key whose own text or whose value holds `offset`, with the value when it is the value that
/// does; the innermost where values lie in each other.
fn innermost<'t, 'a>(
    table: &'t DeTable<'a>,
    offset: usize,
) -> Option<(String, Option<&'t Spanned<DeValue<'a>>>)> {
    for (key, value) in table {
        let name: &str = key.get_ref();
        if key.span().contains(&offset) {
            return Some((name.to_owned(), None));
        }
        if let Some((inner, inner_value)) = inside(value, offset) {
            let dot = if inner.starts_with('[') { "" } else { "." };
            return Some((format!("{name}{dot}{inner}"), inner_value));
        }
        if value.span().contains(&offset) {
            return Some((name.to_owned(), Some(value)));
        }
    }
    None
}

/// `innermost` below a value; elements of arrays are written `[index]`.
fn inside<'t, 'a>(
    value: &'t Spanned<DeValue<'a>>,
    offset: usize,
) -> Option<(String, Option<&'t Spanned<DeValue<'a>>>)> {
    match value.get_ref() {
        DeValue::Table(table) => innermost(table, offset),
        DeValue::Array(array) => array.iter().enumerate().find_map(|(index, element)| {
            if let Some((inner, value)) = inside(element, offset) {
                let dot = if inner.starts_with('[') { "" } else { "." };
                return Some((format!("[{index}]{dot}{inner}"), value));
            }
            element
                .span()
                .contains(&offset)
                .then(|| (format!("[{index}]"), Some(element)))
        }),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => None,
    }
}

fn problem(
    path: &Path,
    text: &str,
    span: Range<usize>,
    key: String,
    value: Option<String>,
    message: &str,
) -> Problem {
    let before = text.get(..span.start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Problem {
        file: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        span: Some(span),
        key,
        value,
        message: message.to_owned(),
    }
}
