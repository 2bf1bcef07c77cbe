//! Reading one table: every key asked for is known, every other one is a problem.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

use super::OrAuto;
use super::document::{Node, Table, Value};
use super::problem::{Location, Problem, nearest};

/// What all sections share: the problems found, and the keys that exist.
#[derive(Debug, Default)]
pub(super) struct Review {
    pub(super) problems: Vec<Problem>,
    /// Full paths of every key asked for.
    pub(super) keys: Vec<String>,
    /// Keys that were not asked for, judged at the end when all keys are known.
    unknown: Vec<(String, Location)>,
}

impl Review {
    /// Every section that was not read is unknown; `keyless` are those without keys of their own.
    pub(super) fn sections_known(&mut self, root: &Table, keyless: &[&str]) {
        for (name, (location, _)) in &root.entries {
            let known = keyless.contains(&name.as_str())
                || self
                    .keys
                    .iter()
                    .any(|key| key.split_once('.').is_some_and(|(s, _)| s == name));
            if !known {
                self.unknown.push((name.clone(), location.clone()));
            }
        }
    }

    /// Turns unknown keys into problems that name the nearest key.
    pub(super) fn judge_unknown(&mut self) {
        for (path, location) in std::mem::take(&mut self.unknown) {
            let help = match self.meant(&path) {
                Some(meant) => format!("did you mean {meant}?"),
                None => "configs/reference.toml lists every key".to_owned(),
            };
            let message = "there is no such key".to_owned();
            self.problems.push(Problem {
                key: path,
                location: Some(location),
                message,
                help,
            });
        }
    }

    /// The known key or section nearest to `path`: the same name in another section first.
    fn meant(&self, path: &str) -> Option<&str> {
        let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
        let last = |key: &str| {
            key.rsplit('.')
                .next()
                .map(str::to_owned)
                .unwrap_or_default()
        };
        let siblings = self.keys.iter().filter(|key| match key.rsplit_once('.') {
            Some((parent, _)) => parent == section,
            None => section.is_empty(),
        });
        let sections: BTreeSet<&str> = self
            .keys
            .iter()
            .filter_map(|key| key.split_once('.'))
            .map(|(first, _)| first)
            .collect();
        if section.is_empty()
            && let Some(meant) = nearest(name, sections)
        {
            return Some(meant);
        }
        let prefix = format!("{section}.");
        let full: Vec<&str> = siblings.map(String::as_str).collect();
        let names = full
            .iter()
            .map(|key| key.strip_prefix(&prefix).unwrap_or(key));
        if let Some(meant) = nearest(name, names) {
            return full
                .into_iter()
                .find(|key| key.strip_prefix(&prefix).unwrap_or(key) == meant);
        }
        self.keys
            .iter()
            .find(|key| last(key) == name)
            .map(String::as_str)
    }
}

/// One table being read.
pub(super) struct Section<'a> {
    path: &'a str,
    table: Option<&'a Table>,
    seen: Vec<&'static str>,
    review: &'a mut Review,
}

impl<'a> Section<'a> {
    /// Reads the table `name` of `root` with `read`; a missing table reads as an empty one.
    pub(super) fn read(
        root: &Table,
        name: &'static str,
        review: &mut Review,
        read: impl FnOnce(&mut Section<'_>),
    ) {
        let table = match root.entries.get(name) {
            None => None,
            Some((
                _,
                Node {
                    value: Value::Table(table),
                    ..
                },
            )) => Some(table),
            Some((_, node)) => {
                review.problems.push(wrong_kind(name, node, "a table"));
                None
            }
        };
        let mut section = Section {
            path: name,
            table,
            seen: Vec::new(),
            review,
        };
        read(&mut section);
        section.finish();
    }

    /// Reads the nodes of a table inside an array, whose path is `path`.
    pub(super) fn read_item(
        path: &str,
        table: &Table,
        review: &mut Review,
        read: impl FnOnce(&mut Section<'_>),
    ) {
        let mut section = Section {
            path,
            table: Some(table),
            seen: Vec::new(),
            review,
        };
        read(&mut section);
        section.finish();
    }

    fn finish(self) {
        let Some(table) = self.table else { return };
        for (key, (location, _)) in &table.entries {
            if !self.seen.contains(&key.as_str()) {
                self.review
                    .unknown
                    .push((format!("{}.{key}", self.path), location.clone()));
            }
        }
    }

    /// The node of `key`, which is known from now on.
    fn node(&mut self, key: &'static str) -> Option<&'a Node> {
        self.seen.push(key);
        let path = self.path_of(key);
        if !self.review.keys.contains(&path) {
            self.review.keys.push(path);
        }
        self.table?.entries.get(key).map(|(_, node)| node)
    }

    fn path_of(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    /// Adds a problem about the value at `node`.
    pub(super) fn refuse(&mut self, key: &str, node: &Node, bound: impl Display, help: &str) {
        let message = format!("{} {bound}", node.value.shown());
        let location = Some(node.location.clone());
        let key = self.path_of(key);
        self.review.problems.push(Problem {
            key,
            location,
            message,
            help: help.to_owned(),
        });
    }

    /// Adds a problem about `key` as a whole, unless one about it is there already. It stands
    /// where `key` or the first of `others` that is given stands.
    pub(super) fn refuse_key(&mut self, key: &str, others: &[&str], message: String, help: &str) {
        let path = self.path_of(key);
        if self
            .review
            .problems
            .iter()
            .any(|problem| problem.key == path)
        {
            return;
        }
        let location = std::iter::once(&key)
            .chain(others)
            .find_map(|key| self.location(key));
        let problem = Problem {
            key: path,
            location,
            message,
            help: help.to_owned(),
        };
        self.review.problems.push(problem);
    }

    /// What is shared by all sections.
    pub(super) fn review(&mut self) -> &mut Review {
        self.review
    }

    /// Where `key` stands; `None` when it has its default.
    fn location(&self, key: &str) -> Option<Location> {
        self.table?
            .entries
            .get(key)
            .map(|(_, node)| node.location.clone())
    }

    /// A whole number within `bounds`.
    pub(super) fn integer<T: TryFrom<i64>>(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<i64>,
        help: &str,
        into: &mut T,
    ) {
        let Some(node) = self.node(key) else { return };
        if let Some(number) = self.bounded(key, node, &bounds, help) {
            *into = number;
        }
    }

    /// A whole number within `bounds`, or `"auto"`.
    pub(super) fn integer_or_auto<T: TryFrom<i64>>(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<i64>,
        help: &str,
        into: &mut OrAuto<T>,
    ) {
        let Some(node) = self.node(key) else { return };
        if matches!(&node.value, Value::Text(text) if text == "auto") {
            *into = OrAuto::Auto;
        } else if let Some(number) = self.bounded(key, node, &bounds, help) {
            *into = OrAuto::Fixed(number);
        }
    }

    fn bounded<T: TryFrom<i64>>(
        &mut self,
        key: &str,
        node: &Node,
        bounds: &RangeInclusive<i64>,
        help: &str,
    ) -> Option<T> {
        let Value::Integer(number) = node.value else {
            self.refuse_kind(key, node, "a whole number");
            return None;
        };
        let fits = bounds
            .contains(&number)
            .then(|| T::try_from(number).ok())
            .flatten();
        if fits.is_none() {
            let bound = format!("is outside {}..={}", bounds.start(), bounds.end());
            self.refuse(key, node, bound, help);
        }
        fits
    }

    /// A whole number that is a power of two within `bounds`.
    pub(super) fn power_of_two(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<i64>,
        into: &mut u32,
    ) {
        let Some(node) = self.node(key) else { return };
        let Some(number) = self.bounded::<u32>(key, node, &bounds, "") else {
            return;
        };
        if number.is_power_of_two() {
            *into = number;
        } else {
            let help = format!("the next one is {}", number.next_power_of_two());
            self.refuse(key, node, "is not a power of two", &help);
        }
    }

    /// A string that `check` finds nothing wrong with; it answers with what is wrong.
    pub(super) fn text(
        &mut self,
        key: &'static str,
        check: impl FnOnce(&str) -> Result<(), (&'static str, &'static str)>,
        into: &mut String,
    ) {
        let Some(node) = self.node(key) else { return };
        let Value::Text(text) = &node.value else {
            return self.refuse_kind(key, node, "a string");
        };
        match check(text) {
            Ok(()) => into.clone_from(text),
            Err((bound, help)) => self.refuse(key, node, bound, help),
        }
    }

    /// One word of a vocabulary.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)], into: &mut T) {
        let Some(node) = self.node(key) else { return };
        if let Some(choice) = self.chosen(key, node, words) {
            *into = choice;
        }
    }

    fn chosen<T: Copy>(&mut self, key: &str, node: &Node, words: &[(&str, T)]) -> Option<T> {
        let Value::Text(text) = &node.value else {
            self.refuse_kind(key, node, "a string");
            return None;
        };
        if let Some((_, choice)) = words.iter().find(|(word, _)| word == text) {
            return Some(*choice);
        }
        let known: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let bound = format!("is not one of {}", known.join(", "));
        let lower = text.to_lowercase();
        let names = || words.iter().map(|(word, _)| *word);
        let meant = names()
            .find(|word| word.to_lowercase() == lower)
            .or_else(|| names().find(|word| word.starts_with(lower.as_str())))
            .or_else(|| nearest(text, names()));
        let help = meant
            .map(|word| format!("did you mean {word:?}?"))
            .unwrap_or_default();
        self.refuse(key, node, bound, &help);
        None
    }

    /// A word that exists, of which only some can be had in this version.
    pub(super) fn choice_so_far<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
        later: &[&str],
        into: &mut T,
    ) {
        let Some(node) = self.node(key) else { return };
        match &node.value {
            Value::Text(text) if later.contains(&text.as_str()) => {
                let so_far: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
                let help = format!("use {}", so_far.join(" or "));
                self.refuse(key, node, "is not supported in this version", &help);
            }
            Value::Text(_)
            | Value::Integer(_)
            | Value::Boolean(_)
            | Value::Other(_)
            | Value::Array(_)
            | Value::Table(_) => {
                if let Some(choice) = self.chosen(key, node, words) {
                    *into = choice;
                }
            }
        }
    }

    /// A list whose items `read` takes one by one; it says what is wrong by [`Self::refuse`].
    /// A single value may be written without brackets.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Self, &Node) -> Option<T>,
        into: &mut Vec<T>,
    ) {
        let Some(node) = self.node(key) else { return };
        let items = match &node.value {
            Value::Array(items) => items.as_slice(),
            Value::Text(_) | Value::Table(_) => std::slice::from_ref(node),
            Value::Integer(_) | Value::Boolean(_) | Value::Other(_) => {
                return self.refuse_kind(key, node, "a list");
            }
        };
        *into = items.iter().filter_map(|item| read(self, item)).collect();
    }

    /// A list of words of a vocabulary.
    pub(super) fn choices<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
        into: &mut Vec<T>,
    ) {
        self.list(key, |section, item| section.chosen(key, item, words), into);
    }

    /// A list or string of a feature that this version lacks: only the empty one is taken.
    pub(super) fn later(&mut self, key: &'static str, what: &str) {
        let Some(node) = self.node(key) else { return };
        let empty = match &node.value {
            Value::Text(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Table(table) => table.entries.is_empty(),
            Value::Integer(_) | Value::Boolean(_) | Value::Other(_) => false,
        };
        if !empty {
            let bound = format!("asks for {what}, which is not supported in this version");
            self.refuse(key, node, bound, "remove the key");
        }
    }

    /// Every key of a section of a feature that this version lacks.
    pub(super) fn all_later(&mut self, what: &str) {
        let Some(table) = self.table else { return };
        for (key, (location, _)) in &table.entries {
            let problem = Problem {
                key: self.path_of(key),
                location: Some(location.clone()),
                message: format!("asks for {what}, which is not supported in this version"),
                help: "remove the key".to_owned(),
            };
            self.review.problems.push(problem);
        }
        self.table = None;
    }

    fn refuse_kind(&mut self, key: &str, node: &Node, kind: &str) {
        let problem = wrong_kind(&self.path_of(key), node, kind);
        self.review.problems.push(problem);
    }
}

/// A value of the wrong kind.
pub(super) fn wrong_kind(key: &str, node: &Node, kind: &str) -> Problem {
    Problem {
        key: key.to_owned(),
        location: Some(node.location.clone()),
        message: format!("{} is not {kind}", node.value.shown()),
        help: String::new(),
    }
}
