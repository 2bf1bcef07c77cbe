//! Users files: `username,password`, one a line.
//!
//! A first line `username,password` is a heading. Empty lines are skipped, a line may end in CRLF.
//! Everything after the first comma is the password; there is no quoting.

use std::path::{Path, PathBuf};

use super::Problem;
use crate::tenant::check::{Step, Violation};
use crate::tenant::model::{Provision, Secret, User};
use crate::tenant::text::Username;

/// Where the credentials of a users file stand in model and file.
pub(super) struct UserLines {
    file: PathBuf,
    /// Place of the account, and of the list in it.
    place: (usize, usize),
    /// Place in the list of the first credential that the file gave.
    first: usize,
    /// By credential: its line, from 1.
    lines: Vec<u32>,
}

/// Appends the credentials of a users file to `users`, and what is wrong to `problems`.
pub(super) fn read(
    file: &Path,
    place: (usize, usize),
    text: &str,
    users: &mut Vec<User>,
    problems: &mut Vec<Problem>,
) -> UserLines {
    let first = users.len();
    let mut lines = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, row) in text.split('\n').enumerate() {
        let row = row.strip_suffix('\r').unwrap_or(row);
        if row.is_empty() || (line == 0 && row == "username,password") {
            continue;
        }
        let line = line + 1;
        match parse_row(row) {
            Ok(user) => {
                users.push(user);
                lines.push(line as u32);
            }
            Err((key, value, message)) => problems.push(Problem {
                file: file.to_owned(),
                line,
                column: 0,
                span: None,
                key: key.to_owned(),
                value,
                message,
            }),
        }
    }
    UserLines {
        file: file.to_owned(),
        place,
        first,
        lines,
    }
}

/// A credential, or key, value and message of what is wrong; never with a password.
fn parse_row(row: &str) -> Result<User, (&'static str, Option<String>, String)> {
    let Some((username, password)) = row.split_once(',') else {
        let message = "the line has no comma; write \"username,password\"";
        return Err(("", None, message.to_owned()));
    };
    if username.starts_with('"') || (password.starts_with('"') && password.ends_with('"')) {
        let message = "the line is quoted; write user name and password without quotes";
        return Err(("", None, message.to_owned()));
    }
    let shown = || Some(format!("\"{}\"", username.escape_default()));
    let username = match username.parse::<Username>() {
        Ok(username) => username,
        Err(error) => return Err(("username", shown(), error.to_string())),
    };
    match password.parse::<Secret>() {
        Ok(secret) => Ok(User { username, secret }),
        Err(error) => Err((
            "password",
            None,
            format!("that of user \"{username}\" {error}"),
        )),
    }
}

impl UserLines {
    /// The problem of a violation that lies in this file.
    pub(super) fn problem(&self, model: &Provision, violation: &Violation) -> Option<Problem> {
        let [account, list, user, ..] = violation.path.as_slice() else {
            return None;
        };
        let is = |step: &Step, key, index| step.key == key && step.index == Some(index);
        if !is(account, "account", self.place.0) || !is(list, "credential_list", self.place.1) {
            return None;
        }
        let index = user.index.filter(|_| user.key == "users")?;
        let line = *self.lines.get(index.checked_sub(self.first)?)?;
        let list = &model.accounts[self.place.0].credential_lists[self.place.1];
        Some(Problem {
            file: self.file.clone(),
            line: line as usize,
            column: 0,
            span: None,
            key: "username".to_owned(),
            value: list
                .users
                .get(index)
                .map(|user| format!("\"{}\"", user.username)),
            message: violation.message.clone(),
        })
    }
}
