//! Accounts, domains, credentials and access control lists in a file: names, bounds, uniqueness.

use super::{GOOD, problems, refused, refused_at};

#[test]
fn names_are_bounded_and_hold_no_control_characters() {
    let key = "account[1].name";
    let line = "name = \"other\"";
    refused(
        line,
        "name = \"\"",
        key,
        Some("\"\""),
        "allowed are 1 to 64",
    );
    let long = format!("\"{}\"", "x".repeat(65));
    refused(
        line,
        &format!("name = {long}"),
        key,
        Some(&long),
        "has 65 characters",
    );
    refused(
        line,
        r#"name = "a\u0007b""#,
        key,
        Some(r#""a\u0007b""#),
        "control character",
    );
    refused(line, "name = \" a\"", key, Some("\" a\""), "space");
}

#[test]
fn domain_names_are_host_names_of_two_labels_or_more() {
    let line = "  name = \"other.test\"";
    for (name, says) in [
        ("test", "one label"),
        ("a..test", "0 characters, allowed are 1 to 63"),
        ("-a.test", "inner hyphens"),
        ("a-.test", "inner hyphens"),
        ("a_b.test", "inner hyphens"),
        ("täst.test", "inner hyphens"),
        ("other.test.", "0 characters"),
        ("192.0.2.1", "address"),
        ("a.1", "last label is a number"),
        ("", "0 characters"),
    ] {
        let value = format!("\"{name}\"");
        let to = format!("  name = {value}");
        refused(line, &to, "account[1].domain[0].name", Some(&value), says);
    }
    let long = format!("\"{}.test\"", "a".repeat(64));
    let to = format!("  name = {long}");
    refused(
        line,
        &to,
        "account[1].domain[0].name",
        Some(&long),
        "64 characters",
    );
}

#[test]
fn user_names_and_passwords_follow_the_rules_and_passwords_are_never_shown() {
    let line = "username = \"bob\"";
    let key = "account[0].credential_list[0].users[1].username";
    for (name, says) in [
        ("", "1 to 32"),
        ("a b", "no user name may hold"),
        ("a@b", "no user name may hold"),
        ("a:b", "no user name may hold"),
        ("bøb", "no user name may hold"),
        ("alice", "in this list already"),
    ] {
        let value = format!("\"{name}\"");
        refused(
            line,
            &format!("username = {value}"),
            key,
            Some(&value),
            says,
        );
    }
    let long = format!("\"{}\"", "u".repeat(33));
    refused(
        line,
        &format!("username = {long}"),
        key,
        Some(&long),
        "has 33 characters",
    );
    let key = "account[0].credential_list[0].users[1].password";
    for (password, says) in [
        ("\"Short-2026\"", "12 to 128"),
        ("\"No-digits-here\"", "lacks a digit"),
        ("\"lower-case-2026\"", "lacks an upper-case letter"),
        ("\"UPPER-CASE-2026\"", "lacks a lower-case letter"),
        ("\"Control\\u0000-2026\"", "control character"),
        ("202620262026", "is no string"),
    ] {
        let text = GOOD.replace("\"Builder-2026-Demo\" },", &format!("{password} }}, #!"));
        refused_at(&text, key, None, says);
        let shown = problems(&text)[0].to_string();
        assert!(!shown.contains(password.trim_matches('"')), "{shown}");
    }
}

#[test]
fn prefixes_are_addresses_with_one_bit_or_more() {
    let key = "account[0].ip_acl[0].entries[2]";
    for (entry, says) in [
        ("0.0.0.0/0", "1 to 32"),
        ("::/0", "1 to 128"),
        ("10.0.0.0/33", "no address or prefix"),
        ("10.0.0", "no address or prefix"),
        ("host.example", "no address or prefix"),
        ("127.1.2.3/8", "in this list already"),
    ] {
        let value = format!("\"{entry}\"");
        refused(
            "\"2001:db8::/32\", \"192.0.2.7\"",
            &format!("\"::2\", {value}"),
            key,
            Some(&value),
            says,
        );
    }
}

#[test]
fn algorithms_are_named_once() {
    let (line, key) = (
        "algorithms = [\"SHA-256\", \"MD5\"]",
        "account[0].domain[0].algorithms",
    );
    refused(line, "algorithms = []", key, None, "names no algorithm");
    refused(
        line,
        "algorithms = [\"MD5\", \"MD5\"]",
        "account[0].domain[0].algorithms[1]",
        Some("\"MD5\""),
        "named twice",
    );
    refused(
        line,
        "algorithms = [\"SHA-512-256\"]",
        "account[0].domain[0].algorithms[0]",
        Some("\"SHA-512-256\""),
        "expected `MD5` or `SHA-256`",
    );
}

/// `GOOD` with these lines put before the line that holds `before`.
fn with(before: &str, lines: &str) -> String {
    assert_eq!(
        GOOD.matches(before).count(),
        1,
        "{before} is not there once"
    );
    GOOD.replace(before, &format!("{lines}\n{before}"))
}

#[test]
fn names_are_unique() {
    let key = "account[1].name";
    refused(
        "name = \"other\"",
        "name = \"demo\"",
        key,
        Some("\"demo\""),
        "another account",
    );
    let text = with(
        "  [[account.domain]]\n  name = \"Ex",
        "  [[account.ip_acl]]\n  name = \"office\" #!",
    );
    refused_at(
        &text,
        "account[0].ip_acl[1].name",
        Some("\"office\""),
        "choose another",
    );
    let list = "  [[account.credential_list]]\n  name = \"phones\" #!";
    let key = "account[0].credential_list[1].name";
    refused_at(
        &with("  [[account.ip_acl]]", list),
        key,
        Some("\"phones\""),
        "choose another",
    );
    let trunk = "  [[account.trunk]]\n  name = \"pbx\" #!\n  sources = [\"203.0.113.1\"]";
    let text = with("[[account]]\nname = \"other\"", trunk);
    refused_at(
        &text,
        "account[0].trunk[1].name",
        Some("\"pbx\""),
        "choose another",
    );
    let text = format!("{GOOD}[[trunk]]\nname = \"carrier\" #!\nsources = [\"203.0.113.1\"]\n");
    refused_at(
        &text,
        "trunk[1].name",
        Some("\"carrier\""),
        "another [[trunk]]",
    );
}

#[test]
fn domain_names_belong_to_one_account() {
    let (line, key) = ("  name = \"other.test\"", "account[1].domain[0].name");
    for (name, says) in [
        ("EXAMPLE.test", "unique over all accounts"),
        ("a.example.test", "sub-domain of \"example.test\""),
        ("a.b.example.test", "sub-domain of \"example.test\""),
    ] {
        let value = format!("\"{name}\"");
        refused(line, &format!("  name = {value}"), key, Some(&value), says);
    }
    for name in ["notexample.test", "example.test.org"] {
        assert_eq!(
            problems(&GOOD.replace(line, &format!("  name = \"{name}\""))),
            [],
            "{name}"
        );
    }
    // It is the sub-domain that is refused, whichever stands first in the file.
    let text = GOOD
        .replace("\"Example.test\"", "\"sub.other.test\" #!")
        .replace("domain = \"example.test\"", "domain = \"sub.other.test\"")
        .replace("alice@example.test", "alice@sub.other.test");
    let key = "account[0].domain[0].name";
    refused_at(
        &text,
        key,
        Some("\"sub.other.test\""),
        "sub-domain of \"other.test\"",
    );
    // Its own sub-domain is an account's own affair.
    let own = "  [[account.domain]]\n  name = \"sub.example.test\"";
    assert_eq!(problems(&with("  [[account.trunk]]", own)), []);
}

#[test]
fn references_name_what_exists_in_the_account() {
    refused(
        "calls = { credential_lists = [\"phones\"]",
        "calls = { credential_lists = [\"fones\"]",
        "account[0].domain[0].calls.credential_lists[0]",
        Some("\"fones\""),
        "no credential list of this account",
    );
    refused(
        "registrations = { credential_lists = [\"phones\"]",
        "registrations = { credential_lists = [\"phones\", \"phones\"]",
        "account[0].domain[0].registrations.credential_lists[1]",
        Some("\"phones\""),
        "in this list already",
    );
    refused(
        "ip_acls = [\"office\"]",
        "ip_acls = [\"home\"]",
        "account[0].domain[0].calls.ip_acls[0]",
        Some("\"home\""),
        "no access control list of this account",
    );
    refused(
        "  aor = \"alice@example.test\"",
        "  aor = \"alice@other.test\"",
        "account[0].route[1].aor",
        Some("\"alice@other.test\""),
        "not in a domain of this account",
    );
}

#[test]
fn sids_and_tokens_are_of_their_kind_and_used_once() {
    let text = |key: &str, value: &str| {
        GOOD.replace(
            "name = \"other\"",
            &format!("name = \"other\"\n{key} = {value} #!"),
        )
    };
    let sid = "\"AC00112233445566778899aabbccddeeff\"";
    assert_eq!(problems(&text("sid", sid)), []);
    refused_at(
        &text("sid", "\"AC0\""),
        "account[1].sid",
        Some("\"AC0\""),
        "is not a SID",
    );
    let other = "\"SD00112233445566778899aabbccddeeff\"";
    refused_at(
        &text("sid", other),
        "account[1].sid",
        Some(other),
        "begins with AC",
    );
    let twice =
        text("sid", sid).replace("\"demo\"\ntoken", &format!("\"demo\"\nsid = {sid}\ntoken"));
    refused_at(&twice, "account[1].sid", Some(sid), "another resource");
    refused_at(
        &text("token", "\"short\""),
        "account[1].token",
        None,
        "32 to 64",
    );
}

#[test]
fn error_in_an_array_over_several_lines_names_the_element_and_its_line() {
    let entries = "entries = [\n    \"127.0.0.0/8\",\n    \"300.0.0.1\", #!\n  ]";
    let text = GOOD.replace(
        r#"entries = ["127.0.0.0/8", "2001:db8::/32", "192.0.2.7"]"#,
        entries,
    );
    let key = "account[0].ip_acl[0].entries[1]";
    refused_at(&text, key, Some("\"300.0.0.1\""), "no address or prefix");
}
