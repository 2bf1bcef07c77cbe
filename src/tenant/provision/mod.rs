//! The provisioning file: TOML into the model, with errors that name file, line, key and value.
//!
//! Owns the file's syntax, users files, and where things stand in them. Must not know tables.

mod locate;
#[cfg(test)]
mod tests;
mod users;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use self::locate::Document;
use self::users::UserLines;
use super::check::{Bounds, Step, Violation, check};
use super::model::Provision;

/// Problems shown at most; a file with more is wrong as a whole.
const PROBLEMS_MAX: usize = 50;

/// One thing that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The provisioning file or a users file.
    pub file: PathBuf,
    /// From 1; 0 = the file as a whole.
    pub line: usize,
    /// From 1, in characters; 0 = the line as a whole.
    pub column: usize,
    /// Octets of the file, where it is known.
    pub span: Option<Range<usize>>,
    /// The key with its tables, as in `account[0].domain[1].secure`; empty where there is none.
    pub key: String,
    /// The value as written; never a password or token.
    pub value: Option<String>,
    /// What is wrong, the bound, and the likely fix.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        f.write_str(": ")?;
        match (self.key.as_str(), &self.value) {
            ("", _) => {}
            (key, Some(value)) => write!(f, "{key} = {value}: ")?,
            (key, None) => write!(f, "{key}: ")?,
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong in a provisioning file and its users files, in the order of lines;
/// at least one problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ProvisionError {
    /// The problems.
    pub problems: Vec<Problem>,
    /// Problems found beyond those.
    pub more: usize,
}

impl ProvisionError {
    fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        let more = problems.len().saturating_sub(PROBLEMS_MAX);
        problems.truncate(PROBLEMS_MAX);
        Self { problems, more }
    }
}

impl fmt::Display for ProvisionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

/// Reads a provisioning file and the users files it names.
///
/// # Errors
/// A file that can not be read, and everything in it that is wrong.
pub fn read(path: &Path) -> Result<Provision, ProvisionError> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, path),
        Err(error) => Err(ProvisionError::new(vec![unreadable(path, &error)])),
    }
}

/// Reads the text of a provisioning file; `path` names it in errors, and users files are looked
/// for beside it. The model has a SID everywhere.
///
/// # Errors
/// Everything that is wrong in it.
pub fn parse(text: &str, path: &Path) -> Result<Provision, ProvisionError> {
    let mut model: Provision = match toml::from_str(text) {
        Ok(model) => model,
        Err(error) => {
            return Err(ProvisionError::new(vec![locate::syntax_problem(
                path, text, &error,
            )]));
        }
    };
    let mut problems = Vec::new();
    let lines = read_users(&mut model, path, text, &mut problems);
    let violations = check(&model, &Bounds::OPERATOR);
    if problems.is_empty() && violations.is_empty() {
        model.assign_sids();
        return Ok(model);
    }
    let document = Document::new(path, text);
    let of_users_file = |violation: &Violation| {
        lines
            .iter()
            .find_map(|lines| lines.problem(&model, violation))
    };
    let located = violations
        .iter()
        .take(PROBLEMS_MAX * 2)
        .map(|violation| of_users_file(violation).unwrap_or_else(|| document.problem(violation)));
    problems.extend(located);
    let mut error = ProvisionError::new(problems);
    error.more += violations.len().saturating_sub(PROBLEMS_MAX * 2);
    Err(error)
}

/// Moves the credentials of every users file into its list.
fn read_users(
    model: &mut Provision,
    path: &Path,
    text: &str,
    problems: &mut Vec<Problem>,
) -> Vec<UserLines> {
    let mut lines = Vec::new();
    for (account, owner) in model.accounts.iter_mut().enumerate() {
        for (list, credentials) in owner.credential_lists.iter_mut().enumerate() {
            let Some(written) = credentials.users_file.take() else {
                continue;
            };
            let file = path.parent().unwrap_or(Path::new("")).join(&written);
            match std::fs::read_to_string(&file) {
                Ok(text) => {
                    let users = &mut credentials.users;
                    let place = (account, list);
                    lines.push(users::read(&file, place, &text, users, problems));
                }
                Err(error) => {
                    let step = |key, index| Step { key, index };
                    let message = unreadable(&file, &error).message;
                    problems.push(Document::new(path, text).problem(&Violation {
                        path: vec![
                            step("account", Some(account)),
                            step("credential_list", Some(list)),
                            step("users_file", None),
                        ],
                        message,
                    }));
                }
            }
        }
    }
    lines
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    Problem {
        file: path.to_owned(),
        line: 0,
        column: 0,
        span: None,
        key: String::new(),
        value: None,
        message: format!(
            "{} can not be read: {error}; check that the file exists, that this user may read it \
             and that it is UTF-8",
            path.display()
        ),
    }
}
