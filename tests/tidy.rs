//! The house's rules that a program can check: who may import whom, how long things may be, and
//! that documents name what exists.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 800;
const LINE_CHARS_MAX: usize = 100;

/// Which rooms each room may name, beside itself.
const IMPORTS: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("wire", &["limits"]),
    ("acl", &["limits", "wire"]),
    ("tenant", &["limits", "wire", "acl"]),
    ("sip", &["limits", "wire", "acl", "tenant"]),
    ("shard", &["limits", "wire", "acl", "tenant", "sip"]),
    ("config", &["limits"]),
    (
        "control",
        &["limits", "wire", "acl", "tenant", "sip", "shard", "config"],
    ),
];

/// Rooms without unsafe code.
const SAFE_ROOMS: &[&str] = &["wire", "sip", "acl", "tenant", "control", "config"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` with one of `extensions`, build products apart.
fn files(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.map(Result::unwrap) {
            let path = entry.path();
            let name = entry.file_name().into_string().unwrap();
            if path.is_dir() {
                let product = ["target", "var", ".git", "corpus"].contains(&name.as_str());
                if !product && !path.join("CACHEDIR.TAG").exists() {
                    folders.push(path);
                }
            } else if extensions.iter().any(|extension| name.ends_with(extension)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", shown(&path)))
}

/// Fails with every finding at once.
fn none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// The words that stand after `crate::` in a line of code, groups in braces included.
fn rooms_named(code: &str) -> BTreeSet<String> {
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let word = |text: &str| -> String { text.chars().take_while(|&c| is_word(c)).collect() };
    let mut named = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(is_word) || code[..at].ends_with('$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            named.insert(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = true;
        for (at, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                _ if start && is_word(character) => {
                    named.insert(word(&group[at..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    named
}

/// The text with comments blanked, so that what is said in them does not count.
fn without_comments(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or(""))
        .collect::<Vec<_>>()
        .join("\n")
}

fn room_of(path: &Path) -> String {
    let below = path.strip_prefix(root().join("src")).unwrap();
    let first = below.iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn rooms_named_finds_paths_imports_and_groups() {
    let code = "use crate::limits;\nuse crate::{wire::{Uri, Via}, sip, acl as table};\n\
                let x = crate::shard::stop(); $crate::macro_path; othercrate::nothing";
    let named: Vec<_> = rooms_named(code).into_iter().collect();
    assert_eq!(named, ["acl", "limits", "shard", "sip", "wire"]);
}

#[test]
fn imports_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = IMPORTS.iter().copied().collect();
    let mut findings = Vec::new();
    for path in files("src", &[".rs"]) {
        let room = room_of(&path);
        if room == "lib" || room == "main" {
            continue;
        }
        let Some(may) = allowed.get(room.as_str()) else {
            findings.push(format!(
                "{}: tests/tidy.rs knows no room {room}",
                shown(&path)
            ));
            continue;
        };
        for named in rooms_named(&without_comments(&read(&path))) {
            let is_room = allowed.contains_key(named.as_str());
            if is_room && named != room && !may.contains(&named.as_str()) {
                findings.push(format!("{}: {room} must not import {named}", shown(&path)));
            }
        }
    }
    none(&findings);
}

#[test]
fn files_and_lines_stay_short() {
    let mut findings = Vec::new();
    for folder in [
        "src", "tests", "bench", "loadtest", "ebpf", "configs", "docs", ".ci",
    ] {
        for path in files(folder, &[".rs", ".c", ".h", ".toml", ".md", ".sh", "/run"]) {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().count();
            if lines > FILE_LINES_MAX {
                findings.push(format!("{}: {lines} lines", shown(&path)));
            }
            if path.extension().is_some_and(|extension| extension == "md") {
                continue;
            }
            for (number, line) in text.lines().enumerate() {
                let length = line.chars().count();
                if length > LINE_CHARS_MAX {
                    findings.push(format!("{}:{}: {length} columns", shown(&path), number + 1));
                }
            }
        }
    }
    none(&findings);
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let marks: Vec<String> = [
        ("TO", "DO"),
        ("FIX", "ME"),
        ("XX", "X:"),
        ("db", "g!("),
        ("to", "do!("),
        ("unimple", "mented!("),
        ("#[ig", "nore"),
    ]
    .iter()
    .map(|(head, tail)| format!("{head}{tail}"))
    .collect();
    let mut findings = Vec::new();
    for folder in [
        "src", "tests", "bench", "loadtest", "ebpf", "configs", "docs", ".ci",
    ] {
        for path in files(folder, &[".rs", ".c", ".h", ".toml", ".md", ".xml", ".sh"]) {
            let text = fs::read_to_string(&path).unwrap();
            for (number, line) in text.lines().enumerate() {
                for mark in marks.iter().filter(|mark| line.contains(mark.as_str())) {
                    findings.push(format!("{}:{}: {mark}", shown(&path), number + 1));
                }
            }
        }
    }
    none(&findings);
}

#[test]
fn every_module_folder_begins_with_what_it_owns() {
    let modules = files("src", &["/mod.rs", "mod.rs"]);
    assert!(modules.len() >= SAFE_ROOMS.len(), "{modules:?}");
    let findings: Vec<_> = modules
        .iter()
        .filter(|path| !fs::read_to_string(path).unwrap().starts_with("//! "))
        .map(|path| format!("{}: no `//!` head", shown(path)))
        .collect();
    none(&findings);
}

#[test]
fn safe_rooms_forbid_unsafe_code() {
    let findings: Vec<_> = SAFE_ROOMS
        .iter()
        .map(|room| format!("src/{room}/mod.rs"))
        .filter(|path| !read(path).contains("#![forbid(unsafe_code)]"))
        .map(|path| format!("{path}: no #![forbid(unsafe_code)]"))
        .collect();
    none(&findings);
}

/// Words of a document that look like a path of the repository: in backticks or a link, with a
/// known first folder.
fn paths_named(text: &str) -> BTreeSet<String> {
    let folders = [
        "src/",
        "tests/",
        "bench/",
        "loadtest/",
        "ebpf/",
        "configs/",
        "docs/",
        ".ci/",
        ".cargo/",
    ];
    let is_path = |c: char| c.is_ascii_alphanumeric() || ['.', '/', '_', '-', '*'].contains(&c);
    text.split(|character| !is_path(character))
        .map(|word| word.trim_end_matches(['.', '-']))
        .filter(|word| folders.iter().any(|folder| word.starts_with(folder)))
        .map(str::to_owned)
        .collect()
}

/// True when the path, whose last part may hold one `*`, is there.
fn exists(path: &str) -> bool {
    let Some((before, after)) = path.split_once('*') else {
        return root().join(path).exists();
    };
    let (folder, prefix) = before.rsplit_once('/').unwrap_or((".", before));
    let Ok(entries) = fs::read_dir(root().join(folder)) else {
        return false;
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .any(|name| name.starts_with(prefix) && name.ends_with(after))
}

#[test]
fn every_path_named_in_documents_exists() {
    let mut findings = Vec::new();
    let mut documents = files("docs", &[".md"]);
    documents.extend(["README.md", "CHANGELOG.md", "configs/dev.toml"].map(|f| root().join(f)));
    documents.push(root().join("configs/reference.toml"));
    documents.push(root().join("Makefile"));
    for document in documents {
        for path in paths_named(&fs::read_to_string(&document).unwrap()) {
            if !exists(&path) {
                findings.push(format!("{}: {path} does not exist", shown(&document)));
            }
        }
    }
    none(&findings);
}

#[test]
fn every_target_named_in_documents_is_in_the_makefile() {
    let makefile = read("Makefile");
    let mut findings = Vec::new();
    for document in ["README.md", "docs/operations.md", "docs/measurements.md"] {
        let text = read(document);
        for (at, _) in text.match_indices("`make ") {
            let rest = &text[at + "`make ".len()..];
            let target: String = rest
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '-')
                .collect();
            if !makefile
                .lines()
                .any(|line| line.starts_with(&format!("{target}:")))
            {
                findings.push(format!("{document}: make {target} is no target"));
            }
        }
    }
    none(&findings);
}

/// Every `RFC n §x deviation:` of the sources, with its file.
fn deviations() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for path in files("src", &[".rs"]) {
        for line in fs::read_to_string(&path).unwrap().lines() {
            let Some((rule, _)) = line.split_once(" deviation:") else {
                continue;
            };
            if let Some(at) = rule.find("RFC ") {
                found.insert((rule[at..].to_owned(), shown(&path)));
            }
        }
    }
    found
}

#[test]
fn every_deviation_from_an_rfc_is_listed_among_the_decisions_and_none_beside() {
    let decisions = read("docs/decisions.md");
    let listed: BTreeSet<(String, String)> = decisions
        .lines()
        .filter_map(|line| line.strip_prefix("| RFC "))
        .map(|line| {
            let mut cells = line.split(" | ");
            let rule = format!("RFC {}", cells.next().unwrap_or_default());
            (
                rule,
                cells
                    .next()
                    .unwrap_or_default()
                    .trim_matches('`')
                    .to_owned(),
            )
        })
        .collect();
    let there = deviations();
    let missing = there
        .difference(&listed)
        .map(|row| format!("docs/decisions.md lacks {row:?}"));
    let gone = listed
        .difference(&there)
        .map(|row| format!("docs/decisions.md has a stale {row:?}"));
    none(&missing.chain(gone).collect::<Vec<_>>());
}

#[test]
fn the_readme_s_commands_are_the_ones_that_are_tested() {
    let tested = read("tests/cli/readme.rs");
    assert!(
        tested.contains("README.md"),
        "tests/cli/readme.rs reads no README.md"
    );
    let readme = read("README.md");
    let blocks = readme.matches("```sh").count();
    assert!(blocks >= 3, "README.md has {blocks} blocks of commands");
    for command in ["make run", "make test"] {
        assert!(readme.contains(command), "README.md names no {command}");
    }
}

#[test]
fn the_reference_file_holds_every_key_and_only_those() {
    let reference: toml::Table = read("configs/reference.toml").parse().unwrap();
    let mut written: Vec<String> = reference
        .iter()
        .flat_map(|(section, keys)| {
            keys.as_table()
                .unwrap()
                .keys()
                .map(move |key| format!("{section}.{key}"))
        })
        .collect();
    let mut known = ringfence::config::Config::keys();
    written.sort();
    known.sort();
    assert_eq!(written, known);
}

#[test]
fn every_configuration_is_valid() {
    for path in files("configs", &[".toml"]) {
        if shown(&path).contains("tenants") {
            ringfence::tenant::provision::read(&path).unwrap();
        } else {
            ringfence::config::Config::load(Some(&path), &[]).unwrap();
        }
    }
}
