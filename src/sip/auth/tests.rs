//! Verification as a phone sees it.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use super::*;
use crate::sip::testing::{self, Login, World, challenge_value};

const URI: &str = "sip:bob@a.test";
const PHONE: &str = "198.51.100.7:5062";

/// alice is in both lists with different passwords, bob in the second, o'neil in the first.
const TENANTS: &str = r#"
[[account]]
name = "a"
  [[account.credential_list]]
  name = "one"
  users = [
    { username = "alice", password = "Wonderland-2026" },
    { username = "o'neil", password = "Quoted-Pairs-2026" },
  ]
  [[account.credential_list]]
  name = "two"
  users = [
    { username = "alice", password = "Lookingglass-2026" },
    { username = "bob", password = "Builder-Bobby-2026" },
  ]
  [[account.domain]]
  name = "a.test"
  calls = { credential_lists = ["one", "two"] }
"#;

struct Fixture {
    world: World,
    authenticator: Authenticator,
    domain: Domain,
    username: Vec<u8>,
}

impl Fixture {
    fn new() -> Self {
        let world = World::new(testing::tables(TENANTS));
        let authenticator = Authenticator::new(64, &world.keys, world.settings.node);
        let domain = world.tables.domain_by_name(b"a.test").unwrap().clone();
        Self {
            world,
            authenticator,
            domain,
            username: Vec::new(),
        }
    }

    fn challenge(&mut self, source: &str, stale: bool) -> String {
        let mut text = [0; 1024];
        let mut out = Writer::new(&mut text);
        let Self {
            world,
            authenticator,
            domain,
            ..
        } = self;
        let arrival = testing::arrival(source);
        let (now, shard, settings) = (world.now, world.shard, &world.settings);
        authenticator.write_challenges(now, shard, settings, arrival, domain, 407, stale, &mut out);
        let length = out.finish().unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    }

    fn nonce(&mut self) -> String {
        challenge_value(&self.challenge(PHONE, false), "nonce").unwrap()
    }

    /// The verdict on a request from `source` with these header lines.
    fn verify_lines(&mut self, source: &str, method: &str, uri: &str, lines: &str) -> Verdict {
        let text = testing::request(method, uri, "<sip:alice@a.test>", lines);
        let mut username = [0; 128];
        let mut out = Writer::new(&mut username);
        let Self {
            world,
            authenticator,
            domain,
            ..
        } = self;
        let arrival = testing::arrival(source);
        let name = HeaderName::ProxyAuthorization;
        let verdict = testing::with_message(&text, |message| {
            let turn = &mut world.turn();
            let lists = &domain.call_lists;
            authenticator.verify(turn, arrival, message, name, domain, lists, &mut out)
        });
        self.username = out.written().to_vec();
        verdict
    }

    fn verify(&mut self, login: Login<'_>) -> Verdict {
        self.verify_from(PHONE, login)
    }

    fn verify_from(&mut self, source: &str, login: Login<'_>) -> Verdict {
        let line = format!("Proxy-Authorization: {}\r\n", login.value());
        self.verify_lines(source, login.method, URI, &line)
    }
}

const fn list(verdict: Verdict) -> Option<CredentialListId> {
    match verdict {
        Verdict::Accepted { list, .. } => Some(list),
        Verdict::Challenge { .. } | Verdict::Rejected | Verdict::Malformed => None,
    }
}

const NEW: Verdict = Verdict::Challenge { stale: false };
const STALE: Verdict = Verdict::Challenge { stale: true };

#[test]
fn challenges_come_in_the_order_of_the_domain_with_one_nonce() {
    let mut fixture = Fixture::new();
    let line = fixture.challenge(PHONE, false);
    let nonce = challenge_value(&line, "nonce").unwrap();
    assert_eq!(nonce.len(), 32);
    assert_eq!(
        line,
        format!(
            "Proxy-Authenticate: Digest realm=\"ringfence\", nonce=\"{nonce}\", \
             algorithm=MD5, qop=\"auth\"\r\n"
        )
    );
    fixture.domain.algorithms = Box::new([DigestAlgorithm::Sha256, DigestAlgorithm::Md5]);
    fixture.world.settings.realm = "a \"b\\".into();
    let lines = fixture.challenge(PHONE, true);
    let nonce = challenge_value(&lines, "nonce").unwrap();
    let line = |name| {
        format!(
            "Proxy-Authenticate: Digest realm=\"a \\\"b\\\\\", nonce=\"{nonce}\", stale=true, \
             algorithm={name}, qop=\"auth\"\r\n"
        )
    };
    assert_eq!(lines, line("SHA-256") + &line("MD5"));
}

#[test]
fn the_right_password_is_accepted_and_tells_whose_list_it_is_in() {
    let mut fixture = Fixture::new();
    let lists = fixture.domain.call_lists.clone();
    assert_eq!(lists.len(), 2);
    let at = |fixture: &Fixture, verdict| {
        let found = list(verdict).unwrap();
        let user = std::str::from_utf8(&fixture.username).unwrap().to_owned();
        (
            user,
            lists.iter().position(|known| *known == found).unwrap(),
        )
    };
    for (user, password, expected) in [
        ("alice", "Wonderland-2026", 0),
        ("alice", "Lookingglass-2026", 1),
        ("bob", "Builder-Bobby-2026", 1),
        ("o'neil", "Quoted-Pairs-2026", 0),
    ] {
        let nonce = fixture.nonce();
        let login = Login {
            user,
            password,
            ..Login::alice("INVITE", URI, &nonce)
        };
        let verdict = fixture.verify(login);
        // Which of its lists a domain looks into first is not told by its order in the file.
        let (name, found) = at(&fixture, verdict);
        assert_eq!(name, user);
        let credential = fixture
            .world
            .tables
            .credential(lists[found], user.as_bytes())
            .unwrap();
        assert!(
            *credential == Credential::from_password(user, "ringfence", password),
            "{expected}"
        );
    }
    assert_eq!(fixture.world.count(Counter::AuthAccepted), 4);
}

#[test]
fn sha_256_is_accepted_where_it_is_offered_and_asked_for_anew_elsewhere() {
    let mut fixture = Fixture::new();
    let nonce = fixture.nonce();
    let sha = Login {
        algorithm: DigestAlgorithm::Sha256,
        ..Login::alice("INVITE", URI, &nonce)
    };
    assert_eq!(fixture.verify(sha), NEW);
    fixture.domain.algorithms = Box::new([DigestAlgorithm::Sha256]);
    assert!(list(fixture.verify(sha)).is_some());
    let md5 = Login {
        nc: "00000002",
        algorithm: DigestAlgorithm::Md5,
        ..sha
    };
    assert_eq!(
        fixture.verify(md5),
        NEW,
        "no weaker algorithm than was offered"
    );
    // RFC 7616 §3.4: without the parameter it is MD5.
    fixture.domain.algorithms = Box::new([DigestAlgorithm::Md5]);
    let value = md5.value().replace("algorithm=MD5, ", "");
    let line = format!("Proxy-Authorization: {value}\r\n");
    assert!(list(fixture.verify_lines(PHONE, "INVITE", URI, &line)).is_some());
    let line = line.replace("nc=00000002", "nc=00000002, algorithm=SHA-512-256");
    assert_eq!(fixture.verify_lines(PHONE, "INVITE", URI, &line), NEW);
}

#[test]
fn an_unknown_user_and_a_wrong_password_are_one_case_and_use_up_no_count() {
    let mut fixture = Fixture::new();
    let nonce = fixture.nonce();
    let good = Login::alice("INVITE", URI, &nonce);
    let long = "x".repeat(400);
    for bad in [
        Login {
            password: "wonderland-2026",
            ..good
        },
        Login {
            user: "mallory",
            ..good
        },
        Login {
            user: "Alice",
            ..good
        },
        Login { user: "", ..good },
        Login {
            user: &long,
            ..good
        },
        Login {
            password: "",
            ..good
        },
    ] {
        assert_eq!(fixture.verify(bad), Verdict::Rejected);
        assert!(fixture.username.is_empty());
    }
    assert_eq!(fixture.world.count(Counter::AuthRejected), 6);
    assert!(
        list(fixture.verify(good)).is_some(),
        "the count is still good"
    );
}

#[test]
fn a_response_for_another_method_or_uri_is_rejected() {
    let mut fixture = Fixture::new();
    let nonce = fixture.nonce();
    let value = Login::alice("INVITE", URI, &nonce).value();
    let line = format!("Proxy-Authorization: {value}\r\n");
    assert_eq!(
        fixture.verify_lines(PHONE, "MESSAGE", URI, &line),
        Verdict::Rejected
    );
    let other = line.replace(URI, "sip:carol@a.test");
    assert_eq!(
        fixture.verify_lines(PHONE, "INVITE", URI, &other),
        Verdict::Rejected
    );
    assert!(list(fixture.verify_lines(PHONE, "INVITE", URI, &line)).is_some());
}

#[test]
fn the_uri_may_name_the_target_the_domain_or_this_node_and_nothing_else() {
    let mut fixture = Fixture::new();
    for (uri, fine) in [
        (URI, true),
        ("sip:a.test", true),
        ("sip:A.TEST;transport=udp", true),
        ("sips:carol@a.test:5061", true),
        ("sip:192.0.2.1", true),
        ("sip:192.0.2.1:5060", true),
        ("sip:edge.example.org:5070", true),
        ("sip:sip.example.org", true),
        ("sip:b.test", false),
        ("sip:bob@192.0.2.2", false),
        ("sip:192.0.2.1:5099", false),
        ("tel:+15550100", false),
        ("*", false),
    ] {
        let nonce = fixture.nonce();
        let verdict = fixture.verify(Login {
            uri,
            ..Login::alice("INVITE", URI, &nonce)
        });
        if fine {
            assert!(list(verdict).is_some(), "{uri}");
        } else {
            assert_eq!(verdict, Verdict::Malformed, "{uri}");
        }
    }
}

#[test]
fn a_replayed_request_is_never_accepted() {
    let mut fixture = Fixture::new();
    let nonce = fixture.nonce();
    let login = Login::alice("INVITE", URI, &nonce);
    assert!(list(fixture.verify(login)).is_some());
    for _ in 0..10_000 {
        assert_eq!(fixture.verify(login), STALE);
    }
    assert_eq!(fixture.world.count(Counter::AuthReplayed), 10_000);
    assert!(
        list(fixture.verify(Login {
            nc: "00000003",
            ..login
        }))
        .is_some()
    );
    assert!(
        list(fixture.verify(Login {
            nc: "00000002",
            ..login
        }))
        .is_some(),
        "out of order"
    );
    assert_eq!(
        fixture.verify(Login {
            nc: "00000003",
            ..login
        }),
        STALE
    );
}

#[test]
fn a_nonce_is_good_for_its_lifetime_and_then_stale() {
    let mut fixture = Fixture::new();
    let nonce = fixture.nonce();
    let issued_at = fixture.world.now.time;
    let login = Login::alice("INVITE", URI, &nonce);
    fixture.world.pass_ms(300_000);
    match fixture.verify(login) {
        Verdict::Accepted {
            issued_at: told, ..
        } => assert_eq!(told, issued_at),
        other => panic!("{other:?}"),
    }
    fixture.world.pass_ms(1000);
    let late = Login {
        nc: "00000002",
        ..login
    };
    assert_eq!(fixture.verify(late), STALE);
    assert_eq!(
        fixture.verify(Login {
            password: "wrong",
            ..late
        }),
        Verdict::Rejected
    );
    // The clock on the wall plays no part.
    fixture.world.now.wall.0 = 0;
    let nonce = fixture.nonce();
    assert!(list(fixture.verify(Login::alice("INVITE", URI, &nonce))).is_some());
}

#[test]
fn a_nonce_used_from_another_network_is_stale_if_the_response_is_right() {
    let mut fixture = Fixture::new();
    let nonce = fixture.nonce();
    let login = Login::alice("INVITE", URI, &nonce);
    assert_eq!(fixture.verify_from("203.0.113.7:5062", login), STALE);
    let wrong = Login {
        password: "wrong",
        ..login
    };
    // What a stranger sends with somebody else's nonce is no proof that it hears us.
    assert_eq!(fixture.verify_from("203.0.113.7:5062", wrong), NEW);
    assert_eq!(fixture.world.count(Counter::AuthRejected), 1);
    assert!(
        list(fixture.verify_from("198.51.100.200:9", login)).is_some(),
        "the same /24"
    );
}

#[test]
fn a_nonce_of_another_shard_or_boot_is_stale_and_of_another_key_unknown() {
    let mut fixture = Fixture::new();
    let nonce = fixture.nonce();
    let login = Login::alice("INVITE", URI, &nonce);
    let wrong = Login {
        password: "wrong",
        ..login
    };
    fixture.world.shard = ShardId(1);
    assert_eq!(fixture.verify(login), STALE);
    assert_eq!(fixture.verify(wrong), Verdict::Rejected);
    fixture.world.shard = ShardId(0);
    fixture.world.keys.boot += 1;
    fixture.authenticator = Authenticator::new(64, &fixture.world.keys, NodeId(1));
    assert_eq!(fixture.verify(login), STALE);
    assert_eq!(fixture.verify(wrong), Verdict::Rejected);
    fixture.world.keys.nonce = [9; 32];
    fixture.authenticator = Authenticator::new(64, &fixture.world.keys, NodeId(1));
    assert_eq!(fixture.verify(login), NEW);
    assert_eq!(fixture.verify(wrong), NEW);
}

#[test]
fn a_full_table_makes_old_nonces_stale_and_serves_new_ones() {
    let mut fixture = Fixture::new();
    let nonces: Vec<_> = (0..1000).map(|_| fixture.nonce()).collect();
    for nonce in &nonces {
        assert_ne!(
            fixture.verify(Login::alice("INVITE", URI, nonce)),
            Verdict::Rejected
        );
    }
    let evicted = fixture.world.count(Counter::NoncesEvicted);
    let accepted = fixture.world.count(Counter::AuthAccepted);
    assert_eq!(accepted - evicted, 64, "the table is full");
    for nonce in &nonces {
        let verdict = fixture.verify(Login::alice("INVITE", URI, nonce));
        assert_eq!(verdict, STALE, "used, or perhaps used");
    }
    let nonce = fixture.nonce();
    assert!(list(fixture.verify(Login::alice("INVITE", URI, &nonce))).is_some());
}

#[test]
fn credentials_for_other_realms_are_passed_over() {
    let mut fixture = Fixture::new();
    let nonce = fixture.nonce();
    let ours = Login::alice("INVITE", URI, &nonce).value();
    let theirs = Login {
        realm: "carrier",
        ..Login::alice("INVITE", URI, "abc")
    }
    .value();
    let line = format!("Proxy-Authorization: {theirs}\r\n");
    assert_eq!(fixture.verify_lines(PHONE, "INVITE", URI, &line), NEW);
    let lines = format!("{line}Proxy-Authorization: Basic YTpi\r\nProxy-Authorization: {ours}\r\n");
    assert!(list(fixture.verify_lines(PHONE, "INVITE", URI, &lines)).is_some());
    assert_eq!(fixture.verify_lines(PHONE, "INVITE", URI, ""), NEW);
    let elsewhere = format!("Authorization: {ours}\r\n");
    assert_eq!(fixture.verify_lines(PHONE, "INVITE", URI, &elsewhere), NEW);
    let settings = &fixture.world.settings;
    assert!(credentials_are_ours(settings, ours.as_bytes()));
    for other in [
        theirs.as_str(),
        "Basic YTpi",
        "Digest",
        "Digest realm=\"ringfence\"",
    ] {
        assert!(!credentials_are_ours(settings, other.as_bytes()), "{other}");
    }
    assert!(credentials_are_ours(
        settings,
        ours.replace("ringfence", "ring\\fence").as_bytes()
    ));
}

#[test]
fn broken_credentials_are_malformed_unless_good_ones_stand_beside_them() {
    let mut fixture = Fixture::new();
    let nonce = fixture.nonce();
    let good = Login::alice("INVITE", URI, &nonce).value();
    for broken in [
        "Digest".to_owned(),
        "Digest username=\"alice\"".to_owned(),
        good.replace("nc=00000001", "nc=0000000g"),
        good.replace("nc=00000001", "nc=000000001"),
        good.replace(", nc=00000001", ""),
        good.replace("cnonce=\"c0ffee\"", "cnonce=\"\""),
    ] {
        let line = format!("Proxy-Authorization: {broken}\r\n");
        let verdict = fixture.verify_lines(PHONE, "INVITE", URI, &line);
        assert_eq!(verdict, Verdict::Malformed, "{broken}");
    }
    let lines = format!("Proxy-Authorization: Digest\r\nProxy-Authorization: {good}\r\n");
    assert!(list(fixture.verify_lines(PHONE, "INVITE", URI, &lines)).is_some());
}

#[test]
fn a_response_without_qop_or_with_another_is_asked_for_anew() {
    let mut fixture = Fixture::new();
    let nonce = fixture.nonce();
    let good = Login::alice("INVITE", URI, &nonce).value();
    for value in [
        good.replace(", qop=auth", ""),
        good.replace("qop=auth", "qop=auth-int"),
        good.replace("qop=auth", "qop=\"\""),
    ] {
        let line = format!("Proxy-Authorization: {value}\r\n");
        let verdict = fixture.verify_lines(PHONE, "INVITE", URI, &line);
        assert_eq!(verdict, NEW, "{value}");
    }
    let old = good
        .replace(", qop=auth", "")
        .replace(", nc=00000001", "")
        .replace(", cnonce=\"c0ffee\"", "");
    let line = format!("Proxy-Authorization: {old}\r\n");
    assert_eq!(
        fixture.verify_lines(PHONE, "INVITE", URI, &line),
        NEW,
        "RFC 2069"
    );
}

#[test]
fn the_answer_to_an_unproven_source_is_smaller_than_a_kilobyte() {
    let mut fixture = Fixture::new();
    fixture.domain.algorithms = Box::new([DigestAlgorithm::Sha256, DigestAlgorithm::Md5]);
    assert!(fixture.challenge(PHONE, true).len() < 300);
}
