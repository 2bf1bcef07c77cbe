//! The provisioning file: what is read from it, and every error with its line.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

mod accounts;
mod trunks;
mod users;

use std::path::Path;

use super::{Problem, ProvisionError, parse, read};
use crate::tenant::model::{FromUser, Secret};
use crate::tenant::{SecureMedia, compile};

/// A provisioning file that is right; tests spoil one line of it.
pub(super) const GOOD: &str = r#"
[[account]]
name = "demo"
token = "0123456789abcdef0123456789abcdef"
  [[account.credential_list]]
  name = "phones"
  users = [
    { username = "alice", password = "Wonderland-2026" },
    { username = "bob", password = "Builder-2026-Demo" },
  ]
  [[account.ip_acl]]
  name = "office"
  entries = ["127.0.0.0/8", "2001:db8::/32", "192.0.2.7"]
  [[account.domain]]
  name = "Example.test"
  calls = { credential_lists = ["phones"], ip_acls = ["office"] }
  registrations = { credential_lists = ["phones"] }
  algorithms = ["SHA-256", "MD5"]
  secure = "off"
  from = "any"
  calls_max = 30
  [[account.trunk]]
  name = "pbx"
  targets = [{ uri = "sip:192.0.2.7" }, { uri = "sip:[2001:db8::7]:5070;transport=udp" }]
  sources = ["192.0.2.7"]
  first_response_ms = 1500
  failover_statuses = [503]
  [[account.route]]
  domain = "example.test"
  prefix = "+"
  trunk = "carrier"
  [[account.route]]
  from_trunk = "carrier"
  number = "+1-555-0100"
  aor = "alice@example.test"
  keep_number = true
  [[account.route]]
  from_trunk = "pbx"
  prefix = "0"
  strip = 1
  prepend = "+49"
  trunk = "carrier"
  [[account.route]]
  domain = "example.test"
  number = "operator"
  status = 480
[[account]]
name = "other"
  [[account.domain]]
  name = "other.test"
[[trunk]]
name = "carrier"
accounts = ["demo"]
targets = [{ uri = "sip:127.0.0.1:5090", priority = 1, weight = 1 }]
sources = ["127.0.0.1:5090", "[2001:db8::9]:5060"]
contacts = ["198.51.100.0/24"]
"#;

pub(super) fn problems(text: &str) -> Vec<Problem> {
    match parse(text, Path::new("tenants.toml")) {
        Ok(_) => Vec::new(),
        Err(ProvisionError { problems, .. }) => problems,
    }
}

/// Replaces the only line that holds `from`, and demands one problem there with that key, value
/// and a message that holds `says`.
#[track_caller]
pub(super) fn refused(from: &str, to: &str, key: &str, value: Option<&str>, says: &str) {
    assert_eq!(GOOD.matches(from).count(), 1, "{from} is not there once");
    let line = GOOD.lines().position(|line| line.contains(from)).unwrap() + 1;
    refused_in(&GOOD.replace(from, to), line, key, value, says);
}

/// Demands one problem, on the line that ends in `#!`.
#[track_caller]
pub(super) fn refused_at(text: &str, key: &str, value: Option<&str>, says: &str) {
    assert_eq!(text.matches("#!").count(), 1, "one line is marked");
    let line = text.lines().position(|line| line.ends_with("#!")).unwrap() + 1;
    refused_in(text, line, key, value, says);
}

#[track_caller]
fn refused_in(text: &str, line: usize, key: &str, value: Option<&str>, says: &str) {
    let problems = problems(text);
    let [problem] = problems.as_slice() else {
        panic!("not one problem: {problems:#?}")
    };
    assert_eq!(problem.line, line, "{problem}");
    assert_eq!(problem.key, key, "{problem}");
    assert_eq!(problem.value.as_deref(), value, "{problem}");
    assert!(problem.message.contains(says), "{problem}");
    assert_eq!(problem.file, Path::new("tenants.toml"));
    assert!(problem.column > 0);
}

#[test]
fn whole_format_is_read() {
    let model = parse(GOOD, Path::new("tenants.toml")).unwrap();
    let demo = &model.accounts[0];
    assert_eq!(demo.name.as_str(), "demo");
    assert_eq!(demo.credential_lists[0].users.len(), 2);
    assert_eq!(demo.ip_acls[0].entries.len(), 3);
    let domain = &demo.domains[0];
    assert_eq!(domain.name.as_str(), "example.test");
    assert_eq!(domain.secure, SecureMedia::Off);
    assert_eq!(domain.from, FromUser::Any);
    assert_eq!(domain.calls_max, 30);
    assert!(model.accounts[1].domains[0].registrations.is_none());
    assert_eq!(demo.trunks[0].first_response_ms, 1500);
    assert_eq!(&*demo.trunks[0].targets[1].uri.host, "[2001:db8::7]:5070");
    assert_eq!(demo.trunks[0].targets[0].uri.address.port(), 5060);
    assert_eq!(model.trunks[0].failover_statuses, [500, 502, 503, 504]);
    assert_eq!(
        demo.routes[1].number.as_ref().unwrap().as_str(),
        "+15550100"
    );
    assert!(compile(&model, "realm").is_ok());
}

#[test]
fn demo_configuration_is_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/demo-tenants.toml");
    let model = read(&path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(model.accounts[0].credential_lists[0].users.len(), 3);
    compile(&model, "ringfence").unwrap();
}

#[test]
fn same_file_gives_the_same_model_and_sids() {
    let first = parse(GOOD, Path::new("tenants.toml")).unwrap();
    let second = parse(GOOD, Path::new("tenants.toml")).unwrap();
    assert_eq!(first, second);
    let account = first.accounts[0].sid.unwrap();
    assert!(account.to_string().starts_with("AC"));
    assert!(
        first.accounts[0].domains[0]
            .sid
            .unwrap()
            .to_string()
            .starts_with("SD")
    );
    assert_ne!(first.accounts[1].sid, Some(account));
}

#[test]
fn unknown_keys_are_refused_with_the_known_ones() {
    refused(
        "  secure = \"off\"",
        "  secur = \"off\"",
        "account[0].domain[0].secur",
        None,
        "expected one of `name`",
    );
    refused(
        "[[trunk]]",
        "[[trunks]]",
        "trunks",
        None,
        "unknown field `trunks`",
    );
    refused(
        "ip_acls = [\"office\"] }",
        "ip_acl = [\"office\"] }",
        "account[0].domain[0].calls.ip_acl",
        None,
        "expected `credential_lists` or `ip_acls`",
    );
}

#[test]
fn values_of_another_type_are_refused() {
    refused(
        "calls_max = 30",
        "calls_max = -1",
        "account[0].domain[0].calls_max",
        Some("-1"),
        "expected u32",
    );
    refused(
        "keep_number = true",
        "keep_number = \"yes\"",
        "account[0].route[1].keep_number",
        Some("\"yes\""),
        "expected a boolean",
    );
    refused(
        "from = \"any\"",
        "from = \"anybody\"",
        "account[0].domain[0].from",
        Some("\"anybody\""),
        "expected `user` or `any`",
    );
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let mut model = parse(GOOD, Path::new("tenants.toml")).unwrap();
    assert!(!format!("{model:?}").contains("Wonderland"));
    model.hash_passwords("realm");
    let secret = &model.accounts[0].credential_lists[0].users[0].secret;
    assert!(matches!(secret, Secret::Hashed(_)));
    assert_eq!(format!("{secret:?}"), "Secret(..)");
}

#[test]
fn text_that_is_no_toml_is_refused_at_its_line() {
    refused_at("[[account]]\nname = demo #!\n", "", None, "must be quoted");
    refused_at(
        "[[account]]\nname = \"a\"\nname = \"b\" #!\n",
        "",
        None,
        "duplicate key",
    );
    refused_at(
        "[[account]] #!\n",
        "account[0]",
        None,
        "missing field `name`",
    );
}

#[test]
fn all_problems_are_told_in_the_order_of_lines() {
    let text = GOOD
        .replace("secure = \"off\"", "secure = \"required\"")
        .replace("first_response_ms = 1500", "first_response_ms = 1")
        .replace("status = 480", "status = 100");
    let expected: Vec<usize> = ["\"required\"", "_ms = 1", "status = 100"]
        .iter()
        .map(|spoiled| {
            text.lines()
                .position(|line| line.contains(spoiled))
                .unwrap()
                + 1
        })
        .collect();
    let lines: Vec<usize> = problems(&text).iter().map(|problem| problem.line).collect();
    assert_eq!(lines, expected);
    let error = parse(&text, Path::new("tenants.toml"))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("tenants.toml:19:12: account[0].domain[0].secure = \"required\": "));
    assert_eq!(error.lines().count(), 3);
    let many: String = (0..60)
        .map(|n| format!("[[account]]\nname = \"a{n}\"\n[[account.domain]]\nname = \"x.test\"\n"))
        .collect();
    let error = parse(&many, Path::new("tenants.toml")).unwrap_err();
    assert_eq!((error.problems.len(), error.more), (50, 9));
    assert!(error.to_string().ends_with("\nand 9 more"));
}
