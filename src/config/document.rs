//! The document that is checked: the file's values with the command line's laid over them, each
//! value with the place it came from.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Location, Problem, SET};

/// One text that values come from.
#[derive(Clone, Debug)]
pub(super) struct Source {
    name: Arc<str>,
    text: Arc<str>,
}

impl Source {
    pub(super) fn new(name: &str, text: &str) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }

    fn at(&self, span: Range<usize>) -> Location {
        Location {
            source: Arc::clone(&self.name),
            text: Arc::clone(&self.text),
            span,
        }
    }

    fn problem(&self, error: &toml::de::Error) -> Problem {
        Problem {
            key: String::new(),
            location: Some(self.at(error.span().unwrap_or(0..0))),
            message: error.message().to_owned(),
            help: String::new(),
        }
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) location: Location,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    /// A float, a date, or an integer beyond 64 bits: no key takes them. Its text.
    Other(String),
    Array(Vec<Node>),
    Table(Table),
}

/// A table: values by key, with the place of the key.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) entries: BTreeMap<String, (Location, Node)>,
}

impl Value {
    /// The value as an operator would write it, for messages.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(text) => format!("{text:?}"),
            Self::Integer(number) => number.to_string(),
            Self::Boolean(flag) => flag.to_string(),
            Self::Other(text) => text.clone(),
            Self::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| item.value.shown()).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Table(table) => {
                let keys: Vec<_> = table.entries.keys().map(String::as_str).collect();
                format!("{{{}}}", keys.join(", "))
            }
        }
    }
}

impl Table {
    /// Reads a whole file. Syntax errors are added to `problems`; what could be read is returned.
    pub(super) fn parse(source: &Source, problems: &mut Vec<Problem>) -> Self {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        problems.extend(errors.iter().map(|error| source.problem(error)));
        convert_table(source, table.into_inner())
    }

    /// Lays `path=value` of the command line over the table. The assignment is TOML; a value that
    /// is a bare word is taken as a string.
    pub(super) fn set(&mut self, assignment: &str) -> Result<(), Problem> {
        let source = Source::new(SET, assignment);
        let refused = |message: &str| Problem {
            key: String::new(),
            location: Some(source.at(0..assignment.len())),
            message: format!("{assignment:?} {message}"),
            help: "write --set section.key=value, for example --set shards.count=1".to_owned(),
        };
        let (path, word) = assignment
            .split_once('=')
            .ok_or_else(|| refused("has no ="))?;
        let over = match DeTable::parse(assignment) {
            Ok(table) => convert_table(&source, table.into_inner()),
            Err(error) if looks_like_toml(word.trim()) => {
                return Err(refused(&format!("is not TOML: {}", error.message())));
            }
            Err(_) => {
                let quoted = toml::Value::String(word.trim().to_owned());
                let whole = Source::new(SET, &format!("{path} = {quoted}"));
                let table = DeTable::parse(&whole.text)
                    .map_err(|error| refused(&format!("is not TOML: {}", error.message())))?;
                convert_table(&whole, table.into_inner())
            }
        };
        self.merge(over);
        Ok(())
    }

    /// Lays `over` over this table: tables merge, everything else is replaced.
    fn merge(&mut self, over: Self) {
        for (key, (place, node)) in over.entries {
            match (self.entries.get_mut(&key), node) {
                (
                    Some((
                        _,
                        Node {
                            value: Value::Table(below),
                            ..
                        },
                    )),
                    Node {
                        value: Value::Table(above),
                        ..
                    },
                ) => below.merge(above),
                (_, node) => {
                    self.entries.insert(key, (place, node));
                }
            }
        }
    }
}

/// True when a value that failed to parse was meant as TOML and not as a bare word.
fn looks_like_toml(text: &str) -> bool {
    text.is_empty() || text.starts_with(['"', '\'', '[', '{'])
}

fn convert_table(source: &Source, table: DeTable<'_>) -> Table {
    let convert_entry =
        |(key, value): (Spanned<std::borrow::Cow<'_, str>>, Spanned<DeValue<'_>>)| {
            let key_location = source.at(key.span());
            (
                key.into_inner().into_owned(),
                (key_location, convert_node(source, value)),
            )
        };
    Table {
        entries: table.into_iter().map(convert_entry).collect(),
    }
}

fn convert_node(source: &Source, value: Spanned<DeValue<'_>>) -> Node {
    let location = source.at(value.span());
    Node {
        value: convert(source, value.into_inner()),
        location,
    }
}

fn convert(source: &Source, value: DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::Other(number.to_string()), Value::Integer),
        DeValue::Boolean(flag) => Value::Boolean(flag),
        DeValue::Float(number) => Value::Other(number.to_string()),
        DeValue::Datetime(date) => Value::Other(date.to_string()),
        DeValue::Array(items) => Value::Array(
            items
                .into_iter()
                .map(|item| convert_node(source, item))
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(convert_table(source, table)),
    }
}
