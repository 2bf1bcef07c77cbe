//! The tables as shards read them, compiled from provisioning files.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::net::SocketAddr;
use std::path::Path;

use super::model::Provision;
use super::provision::parse;
use super::{
    AccountId, CompileError, Compiler, Credential, Destination, DomainId, Tables, TrunkId, compile,
};
use crate::acl::AclId;
use crate::wire::DigestAlgorithm;

const TENANTS: &str = r#"
[[account]]
name = "one"
  [[account.credential_list]]
  name = "phones"
  users = [{ username = "alice", password = "Wonderland-2026" }]
  [[account.credential_list]]
  name = "desks"
  users = [{ username = "alice", password = "Looking-Glass-1" }]
  [[account.ip_acl]]
  name = "office"
  entries = ["192.0.2.0/24", "2001:db8::/32"]
  [[account.ip_acl]]
  name = "home"
  entries = ["198.51.100.7"]
  [[account.domain]]
  name = "one.test"
  calls = { credential_lists = ["desks", "phones"], ip_acls = ["home", "office"] }
  registrations = { credential_lists = ["phones"] }
  algorithms = ["SHA-256", "MD5"]
  cps_max = 5
  [[account.domain]]
  name = "empty.one.test"
  registrations = {}
  [[account.trunk]]
  name = "pbx"
  targets = [{ uri = "sip:203.0.113.9", priority = 2 }, { uri = "sip:203.0.113.8" }]
  sources = ["203.0.113.0/28"]
  contacts = ["10.9.0.0/16"]
  keep_host = true
  [[account.route]]
  domain = "one.test"
  prefix = "+"
  trunk = "carrier"
  [[account.route]]
  domain = "one.test"
  prefix = "+1900"
  status = 403
  [[account.route]]
  domain = "one.test"
  number = "+19005550100"
  trunk = "pbx"
  strip = 2
  prepend = "00"
  [[account.route]]
  from_trunk = "carrier"
  number = "+15550100"
  aor = "alice@one.test"
  keep_number = true
  [[account.route]]
  from_trunk = "pbx"
  prefix = ""
  trunk = "carrier"
[[account]]
name = "two"
  [[account.domain]]
  name = "two.test"
  [[account.route]]
  from_trunk = "carrier"
  prefix = "+1555"
  aor = "bob@two.test"
  [[account.route]]
  from_trunk = "backup"
  number = "+15550102"
  status = 404
[[trunk]]
name = "carrier"
targets = [{ uri = "sip:127.0.0.1:5090" }]
sources = ["127.0.0.1:5090", "[2001:db8::9]:5060"]
[[trunk]]
name = "backup"
accounts = ["two"]
sources = ["127.0.0.1"]
"#;

fn model(text: &str) -> Provision {
    parse(text, Path::new("tenants.toml")).unwrap_or_else(|error| panic!("{error}"))
}

fn tables() -> Tables {
    compile(&model(TENANTS), "realm").unwrap()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn trunk(tables: &Tables, name: &str) -> TrunkId {
    tables
        .trunks()
        .iter()
        .find(|trunk| &*trunk.name == name)
        .unwrap()
        .id
}

#[test]
fn default_tables_know_nobody() {
    let tables = Tables::default();
    assert!(tables.domain_by_name(b"one.test").is_none());
    assert!(tables.domain(DomainId(0)).is_none());
    assert!(tables.trunk(TrunkId(0)).is_none());
    assert!(!tables.is_trunk_source(address("127.0.0.1:5090")));
    assert!(
        tables
            .route_from_trunk(address("127.0.0.1:5090"), b"1")
            .is_none()
    );
    assert!(!tables.may_use(AccountId(0), TrunkId(0)));
}

#[test]
fn domains_are_found_by_name_in_any_case_and_by_number() {
    let tables = tables();
    let domain = tables.domain_by_name(b"ONE.test").unwrap();
    assert_eq!(&*domain.name, "one.test");
    assert_eq!(
        &*domain.algorithms,
        [DigestAlgorithm::Sha256, DigestAlgorithm::Md5]
    );
    assert_eq!(
        (domain.calls_max, domain.cps_max, domain.from_any),
        (0, 5, false)
    );
    assert_eq!(&*tables.domain(domain.id).unwrap().name, "one.test");
    for unknown in ["", "one.test.", "test", "three.test"] {
        assert!(
            tables.domain_by_name(unknown.as_bytes()).is_none(),
            "{unknown}"
        );
    }
    assert!(tables.domain_by_name(&[b'a'; 254]).is_none());
    // Registration without a list is not the same as registration switched off.
    let mapped = |name: &[u8]| {
        tables
            .domain_by_name(name)
            .unwrap()
            .registration_lists
            .clone()
    };
    assert_eq!(mapped(b"empty.one.test"), Some([].into()));
    assert_eq!(mapped(b"two.test"), None);
}

#[test]
fn credentials_belong_to_their_list() {
    let tables = tables();
    let domain = tables.domain_by_name(b"one.test").unwrap();
    let [desks, phones] = *domain.call_lists else {
        panic!("{domain:?}")
    };
    assert_eq!(
        domain.registration_lists.as_deref(),
        Some([phones].as_slice())
    );
    for (list, password) in [(phones, "Wonderland-2026"), (desks, "Looking-Glass-1")] {
        let expected = Credential::from_password("alice", "realm", password);
        assert!(tables.credential(list, b"alice") == Some(&expected));
    }
    assert!(tables.credential(phones, b"Alice").is_none());
    assert!(tables.credential(phones, b"bob").is_none());
}

#[test]
fn hashed_passwords_give_the_same_tables() {
    let mut model = model(TENANTS);
    model.hash_passwords("realm");
    // The realm no longer counts once hashes are there.
    let tables = compile(&model, "another").unwrap();
    let list = tables.domain_by_name(b"one.test").unwrap().call_lists[1];
    let expected = Credential::from_password("alice", "realm", "Wonderland-2026");
    assert!(tables.credential(list, b"alice") == Some(&expected));
}

#[test]
fn sources_are_admitted_by_the_lists_of_the_domain() {
    let tables = tables();
    let acls: &[AclId] = &tables.domain_by_name(b"one.test").unwrap().call_acls;
    assert!(acls.is_sorted() && acls.len() == 2);
    for source in [
        "192.0.2.200:1",
        "198.51.100.7:1",
        "[2001:db8:1::]:1",
        "[::ffff:192.0.2.1]:1",
    ] {
        assert!(tables.acl().admits(address(source).ip(), acls), "{source}");
    }
    for source in ["192.0.3.1:1", "198.51.100.8:1", "[2001:db9::]:1"] {
        assert!(!tables.acl().admits(address(source).ip(), acls), "{source}");
    }
}

#[test]
fn exact_number_comes_before_the_longest_prefix() {
    let tables = tables();
    let domain = tables.domain_by_name(b"one.test").unwrap().id;
    let carrier = Destination::Trunk(trunk(&tables, "carrier"));
    let to = |number: &[u8]| {
        tables
            .route(domain, number)
            .map(|route| route.destination.clone())
    };
    assert_eq!(to(b"+44201234"), Some(carrier));
    assert_eq!(to(b"+19001"), Some(Destination::Status(403)));
    assert_eq!(
        to(b"+19005550100"),
        Some(Destination::Trunk(trunk(&tables, "pbx")))
    );
    assert_eq!(to(b"alice"), None);
    let exact = tables.route(domain, b"+19005550100").unwrap();
    assert_eq!((exact.strip, &*exact.prepend), (2, "00"));
    let other = tables.domain_by_name(b"two.test").unwrap().id;
    assert!(tables.route(other, b"+44201234").is_none());
}

#[test]
fn trunks_that_share_a_source_are_told_apart_by_the_number() {
    let tables = tables();
    let shared = address("127.0.0.1:5090");
    let from = |source: &str, number: &[u8]| {
        let found = tables.route_from_trunk(address(source), number);
        found.map(|(trunk, route)| (trunk.name.to_string(), route.destination.clone()))
    };
    let two = tables.domain_by_name(b"two.test").unwrap();
    let bob = Destination::Aor {
        user: "bob".into(),
        domain: two.id,
    };
    let alice = tables.route_from_trunk(shared, b"+15550100").unwrap();
    assert!(alice.1.keep_number && &*alice.0.name == "carrier");
    assert_eq!(
        from("127.0.0.1:5090", b"+15550101"),
        Some(("carrier".into(), bob.clone()))
    );
    // Exact in one trunk beats a prefix in the other, whichever source is the longer prefix.
    let exact = ("backup".to_owned(), Destination::Status(404));
    assert_eq!(from("127.0.0.1:5090", b"+15550102"), Some(exact.clone()));
    assert_eq!(from("127.0.0.1:9", b"+15550102"), Some(exact));
    assert_eq!(from("127.0.0.1:9", b"+15550101"), None);
    assert_eq!(
        from("[2001:db8::9]:5060", b"+15550101"),
        Some(("carrier".into(), bob))
    );
    assert_eq!(from("[2001:db8::9]:5061", b"+15550101"), None);
    assert_eq!(from("127.0.0.1:5090", b"+1"), None);
    let pbx = from("203.0.113.15:9999", b"anything").unwrap();
    assert_eq!(
        pbx,
        ("pbx".into(), Destination::Trunk(trunk(&tables, "carrier")))
    );
    assert!(tables.is_trunk_source(shared));
    assert!(tables.is_trunk_source(address("[::ffff:127.0.0.1]:1")));
    assert!(!tables.is_trunk_source(address("[2001:db8::9]:5061")));
    assert!(!tables.is_trunk_source(address("203.0.113.16:5060")));
}

#[test]
fn exact_numbers_from_trunks_are_owned_by_their_account() {
    let tables = tables();
    let account = |name: &[u8]| tables.domain_by_name(name).unwrap().account;
    let (one, two) = (account(b"one.test"), account(b"two.test"));
    assert!(tables.owns_number(one, b"+15550100") && !tables.owns_number(two, b"+15550100"));
    assert!(tables.owns_number(two, b"+15550102"));
    assert!(!tables.owns_number(two, b"+1555"));
    assert!(!tables.owns_number(one, b"+19005550100"));
}

#[test]
fn trunks_serve_their_accounts_and_reach_their_addresses() {
    let tables = tables();
    let account = |name: &[u8]| tables.domain_by_name(name).unwrap().account;
    let (one, two) = (account(b"one.test"), account(b"two.test"));
    let ids = ["carrier", "backup", "pbx"].map(|name| trunk(&tables, name));
    assert_eq!(ids.map(|id| tables.may_use(one, id)), [true, false, true]);
    assert_eq!(ids.map(|id| tables.may_use(two, id)), [true, true, false]);
    let [carrier, backup, pbx] = ids;
    let reaches = |id, text| {
        let at = address(text);
        tables.trunk_reaches(id, at.ip(), at.port())
    };
    assert!(reaches(carrier, "127.0.0.1:5090") && !reaches(carrier, "127.0.0.1:5091"));
    assert!(reaches(carrier, "[::ffff:127.0.0.1]:5090"));
    assert!(reaches(backup, "127.0.0.1:5091"));
    assert!(reaches(pbx, "10.9.8.7:1") && !reaches(pbx, "10.10.8.7:1"));
    assert!(!tables.trunk_reaches(TrunkId(1), "10.9.8.7".parse().unwrap(), 1));
    let pbx = tables.trunk(pbx).unwrap();
    assert_eq!(
        pbx.targets[0].address,
        address("203.0.113.8:5060"),
        "lower priority first"
    );
    assert_eq!(
        (pbx.owner, pbx.keep_host, pbx.first_response_ms),
        (Some(one), true, 3000)
    );
}

#[test]
fn numbers_stay_with_their_objects_over_generations() {
    let mut compiler = Compiler::new("realm");
    let first = compiler.compile(&model(TENANTS)).unwrap();
    let new = "[[account]]\nname = \"new\"\n[[account.domain]]\nname = \"new.test\"\n";
    let second = compiler
        .compile(&model(&format!("{new}{TENANTS}")))
        .unwrap();
    let third = compiler
        .compile(&model(&TENANTS.replace("two.test", "three.test")))
        .unwrap();
    assert_eq!(
        [first.generation, second.generation, third.generation],
        [1, 2, 3]
    );
    let domain = |tables: &Tables, name: &str| {
        tables
            .domain_by_name(name.as_bytes())
            .map(|d| (d.id, d.account, d.call_lists.clone()))
    };
    for tables in [&second, &third] {
        assert_eq!(domain(tables, "one.test"), domain(&first, "one.test"));
        assert_eq!(trunk(tables, "pbx"), trunk(&first, "pbx"));
    }
    let two = first.domain_by_name(b"two.test").unwrap().id;
    assert_eq!(
        second.domain(two).map(|d| d.name.to_string()),
        Some("two.test".to_owned())
    );
    assert!(
        third.domain(two).is_none(),
        "a number is not given to another domain"
    );
    assert!(third.domain_by_name(b"three.test").unwrap().id.0 > two.0);
    // Another process counts afresh, but trunk numbers are in tokens that outlive it.
    let again = compile(&model(&format!("{new}{TENANTS}")), "realm").unwrap();
    assert_eq!(trunk(&again, "pbx"), trunk(&first, "pbx"));
    assert_ne!(trunk(&again, "pbx"), trunk(&again, "carrier"));
}

#[test]
fn names_that_nothing_has_are_an_error_and_no_panic() {
    let mut broken = model(TENANTS);
    broken.accounts[0].credential_lists.clear();
    let error = compile(&broken, "realm").unwrap_err();
    assert!(
        matches!(
            error,
            CompileError::Unknown {
                kind: "credential list",
                ..
            }
        ),
        "{error}"
    );
    let mut broken = model(TENANTS);
    broken.accounts[0].ip_acls.clear();
    assert!(compile(&broken, "realm").is_err());
    let mut broken = model(TENANTS);
    broken.trunks.clear();
    assert!(compile(&broken, "realm").is_err());
    let mut broken = model(TENANTS);
    broken.accounts[0].routes[0].prefix = None;
    assert_eq!(
        compile(&broken, "realm").unwrap_err(),
        CompileError::Route("one".into())
    );
    let mut broken = model(TENANTS);
    let twin = broken.trunks[0].clone();
    broken.trunks.push(twin);
    let error = compile(&broken, "realm").unwrap_err();
    assert_eq!(error, CompileError::TrunkNumber("carrier".into()));
}
