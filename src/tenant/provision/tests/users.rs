//! Users files: their form, their size, and errors that name a line and never a password.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{parse, problems};
use crate::tenant::provision::ProvisionError;
use crate::tenant::{Tables, compile};

/// A directory of its own that goes when the test ends.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringfence-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The outcome of a file with one list that takes `inline` and a users file of this text.
    fn parse(&self, inline: &str, users: &str) -> Result<Tables, ProvisionError> {
        std::fs::write(self.0.join("users.csv"), users).unwrap();
        let text = format!(
            "[[account]]\nname = \"demo\"\n[[account.credential_list]]\nname = \"phones\"\n\
             users = [{inline}]\nusers_file = \"users.csv\"\n\
             [[account.domain]]\nname = \"example.test\"\n\
             registrations = {{ credential_lists = [\"phones\"] }}\n"
        );
        let model = parse(&text, &self.0.join("tenants.toml"))?;
        Ok(compile(&model, "realm").unwrap())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A directory that stays in the temporary place is no failure of the test.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_hundred_thousand_users_are_all_there_in_at_most_two_hundred_octets_each() {
    let directory = Directory::new("many");
    let mut text = String::from("username,password\n");
    for user in 0..100_000 {
        writeln!(text, "user{user},Password-{user:06}").unwrap();
    }
    let tables = directory.parse("", &text).unwrap();
    assert_eq!(tables.credentials_count(), 100_000);
    assert!(tables.credentials_bytes() / 100_000 <= 200);
    let list = tables.domains()[0].registration_lists.as_ref().unwrap()[0];
    for user in 0..100_000 {
        assert!(
            tables
                .credential(list, format!("user{user}").as_bytes())
                .is_some(),
            "{user}"
        );
    }
    assert!(tables.credential(list, b"user100000").is_none());
}

#[test]
fn users_file_takes_crlf_empty_lines_a_heading_and_commas_in_passwords() {
    let directory = Directory::new("forms");
    let text = "\u{feff}username,password\r\nbob,Pass,word-2026\r\n\r\ncarol,Christmas-2026";
    let inline = "{ username = \"alice\", password = \"Wonderland-2026\" }";
    let tables = directory.parse(inline, text).unwrap();
    let list = tables.domains()[0].registration_lists.as_ref().unwrap()[0];
    assert_eq!(tables.credentials_count(), 3);
    for (user, password) in [
        ("alice", "Wonderland-2026"),
        ("bob", "Pass,word-2026"),
        ("carol", "Christmas-2026"),
    ] {
        let expected = crate::tenant::Credential::from_password(user, "realm", password);
        assert!(
            tables.credential(list, user.as_bytes()) == Some(&expected),
            "{user}"
        );
    }
}

#[test]
fn errors_in_a_users_file_name_its_line_and_never_a_password() {
    let directory = Directory::new("errors");
    let inline = "{ username = \"alice\", password = \"Wonderland-2026\" }";
    for (row, key, value, says) in [
        ("bob;Builder-2026-Demo", "", None, "no comma"),
        ("\"bob\",\"Builder-2026-Demo\"", "", None, "quoted"),
        (
            "b ob,Builder-2026-Demo",
            "username",
            Some("\"b ob\""),
            "no user name may hold",
        ),
        (",Builder-2026-Demo", "username", Some("\"\""), "1 to 32"),
        (
            "b\u{1},Builder-2026-Demo",
            "username",
            Some("\"b\\u{1}\""),
            "no user name may hold",
        ),
        (
            "bob,builder-2026-demo",
            "password",
            None,
            "user \"bob\" lacks an upper-case letter",
        ),
        (
            "bob,Builder\u{0}-2026-Demo",
            "password",
            None,
            "control character",
        ),
        (
            "alice,Builder-2026-Demo",
            "username",
            Some("\"alice\""),
            "in this list already",
        ),
        (
            "carol,Builder-2026-Demo",
            "username",
            Some("\"carol\""),
            "in this list already",
        ),
    ] {
        let text = format!("carol,Christmas-2026\n\n{row}\ndave,Christmas-2026\n");
        let error = directory.parse(inline, &text).unwrap_err();
        assert_eq!(error.problems.len(), 1, "{error}");
        let problem = &error.problems[0];
        assert_eq!(problem.file, directory.0.join("users.csv"));
        assert_eq!((problem.line, problem.column), (3, 0), "{problem}");
        assert_eq!(
            (problem.key.as_str(), problem.value.as_deref()),
            (key, value),
            "{problem}"
        );
        assert!(problem.message.contains(says), "{problem}");
        let shown = problem.to_string().to_lowercase();
        assert!(!shown.contains("2026-demo"), "{shown}");
    }
}

#[test]
fn users_file_that_is_missing_is_told_at_its_key() {
    let text = "[[account]]\nname = \"demo\"\n[[account.credential_list]]\nname = \"phones\"\n\
                users_file = \"nowhere/users.csv\" #!\n";
    let key = "account[0].credential_list[0].users_file";
    super::refused_at(text, key, Some("\"nowhere/users.csv\""), "can not be read");
    assert_eq!(problems(text).len(), 1);
    let error = super::read(Path::new("nowhere/tenants.toml")).unwrap_err();
    assert_eq!((error.problems.len(), error.problems[0].line), (1, 0));
}
