//! The configuration file: every key, its bounds, its default, and errors that name the line.
//!
//! Owns syntax and bounds. Must not open sockets or know tenants. `configs/reference.toml` explains
//! every key; [`Config::default`] holds the defaults.

#![forbid(unsafe_code)]

mod document;
mod problem;
mod schema;
mod section;
mod types;

use std::path::Path;

use document::{Source, Table};
pub use problem::{Location, Problem, Problems};
use section::Review;
pub use types::{
    Advertise, Algorithm, Auth, Bootstrap, Config, ContactsFull, Durability, Filter, FilterMode,
    Io, Limits, Listen, Log, LogFormat, LogLevel, Node, OrAuto, Overload, Registrar, Shards,
    Steering, Strangers, UdpListener,
};

impl Config {
    /// Reads the file at `path` (`None` = defaults alone) with the assignments of `--set` laid
    /// over it.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn load(path: Option<&Path>, assignments: &[String]) -> Result<Self, Problems> {
        let Some(path) = path else {
            return Self::parse("defaults", "", assignments);
        };
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&path.display().to_string(), &text, assignments),
            Err(error) => Err(Problems(vec![Problem {
                key: String::new(),
                location: None,
                message: format!("cannot read {}: {error}", path.display()),
                help: "configs/dev.toml and configs/reference.toml are files to start from"
                    .to_owned(),
            }])),
        }
    }

    /// Reads `text`, called `name` in errors, with the assignments of `--set` laid over it.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn parse(name: &str, text: &str, assignments: &[String]) -> Result<Self, Problems> {
        let mut review = Review::default();
        let mut root = Table::parse(&Source::new(name, text), &mut review.problems);
        for assignment in assignments {
            if let Err(problem) = root.set(assignment) {
                review.problems.push(problem);
            }
        }
        let config = schema::read(&root, &mut review);
        if review.problems.is_empty() {
            Ok(config)
        } else {
            Err(Problems(review.problems))
        }
    }

    /// Every key, as `section.key`.
    #[must_use]
    pub fn keys() -> Vec<String> {
        let mut review = Review::default();
        schema::read(&Table::default(), &mut review);
        review.keys
    }

    /// Every key with its value as TOML, in order of the key.
    #[must_use]
    pub fn entries(&self) -> Vec<(String, String)> {
        let table = toml::Table::try_from(self).expect("every field has a form in TOML");
        let mut entries = Vec::new();
        for (section, value) in &table {
            if let toml::Value::Table(keys) = value {
                entries.extend(
                    keys.iter()
                        .map(|(key, value)| (format!("{section}.{key}"), value.to_string())),
                );
            }
        }
        entries
    }
}

#[cfg(test)]
mod tests;
