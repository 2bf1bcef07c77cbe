//! The order of refusals, and who is let in.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use super::*;
use crate::sip::testing::{self, Login, World, challenge_value};
use crate::sip::{Disposition, ListenerId};
use crate::wire::DigestAlgorithm;

mod refusals;

/// One account with a domain of each kind, a second account, and a carrier.
const TENANTS: &str = r#"
[[account]]
name = "a"
  [[account.credential_list]]
  name = "phones"
  users = [
    { username = "alice", password = "Wonderland-2026" },
    { username = "b/b;b", password = "Escaped-Names-2026" },
  ]
  [[account.ip_acl]]
  name = "office"
  entries = ["198.51.100.0/24", "2001:db8:7::/48"]
  [[account.domain]]
  name = "none.test"
  [[account.domain]]
  name = "acl.test"
  calls = { ip_acls = ["office"] }
  [[account.domain]]
  name = "cred.test"
  calls = { credential_lists = ["phones"] }
  [[account.domain]]
  name = "both.test"
  calls = { credential_lists = ["phones"], ip_acls = ["office"] }
  [[account.domain]]
  name = "any.test"
  calls = { credential_lists = ["phones"] }
  from = "any"
  [[account.route]]
  from_trunk = "carrier"
  number = "+15550100"
  aor = "alice@cred.test"

[[account]]
name = "b"
  [[account.ip_acl]]
  name = "everybody"
  entries = ["0.0.0.0/1", "128.0.0.0/1"]
  [[account.domain]]
  name = "open.test"
  calls = { ip_acls = ["everybody"] }

[[trunk]]
name = "carrier"
targets = [{ uri = "sip:203.0.113.10:5060" }]
sources = ["203.0.113.10/32"]
"#;

const OFFICE: &str = "198.51.100.7:5062";
const ELSEWHERE: &str = "192.0.2.200:5062";
const CARRIER: &str = "203.0.113.10:5060";

/// Every method of the IANA registry that may come outside a dialog, and some that are unknown.
const METHODS: [&str; 16] = [
    "INVITE",
    "OPTIONS",
    "BYE",
    "PRACK",
    "UPDATE",
    "INFO",
    "MESSAGE",
    "SUBSCRIBE",
    "NOTIFY",
    "REFER",
    "PUBLISH",
    "FOO",
    "invite",
    "X-1",
    "REGISTERX",
    "KDMQ",
];

struct Fixture {
    world: World,
    authenticator: Authenticator,
    sources: Sources,
    username: String,
}

impl Fixture {
    fn new() -> Self {
        let world = World::new(testing::tables(TENANTS));
        let authenticator = Authenticator::new(64, &world.keys, world.settings.node);
        let sources = Sources::new(64, world.keys.hash);
        Self {
            world,
            authenticator,
            sources,
            username: String::new(),
        }
    }

    fn basics(&mut self, text: &str) -> Result<(), Refusal> {
        testing::with_message(text, |message| {
            check_basics(&mut self.world.turn(), message)
        })
    }

    fn admit(&mut self, source: &str, text: &str) -> Result<Admitted, Refusal> {
        let mut username = [0; 128];
        let Self {
            world,
            authenticator,
            sources,
            ..
        } = self;
        let arrival = testing::arrival(source);
        let verdict = testing::with_message(text, |message| {
            let turn = &mut world.turn();
            admit_call(
                turn,
                authenticator,
                sources,
                arrival,
                message,
                &mut username,
            )
        });
        if let Ok(admitted) = verdict {
            let name = &username[..admitted.username_length];
            self.username = String::from_utf8(name.to_vec()).unwrap();
        }
        verdict
    }

    fn refuse(&mut self, source: &str, text: &str, refusal: Refusal) -> Disposition {
        let Self {
            world,
            authenticator,
            sources,
            ..
        } = self;
        let arrival = testing::arrival(source);
        testing::with_message(text, |message| {
            refuse(
                &mut world.turn(),
                authenticator,
                sources,
                arrival,
                message,
                refusal,
            )
        })
    }

    /// Judges the request and answers it when it is refused: the answer, or `None` for silence.
    fn answer(&mut self, source: &str, text: &str) -> Option<String> {
        let refusal = self.admit(source, text).unwrap_err();
        let disposition = self.refuse(source, text, refusal);
        let mut sent = self.world.sent();
        match disposition {
            Disposition::Answered => Some(sent.remove(0).1),
            Disposition::Dropped(_) => {
                assert!(sent.is_empty());
                None
            }
            other => panic!("{other:?}"),
        }
    }

    /// Calls `uri` as `from` with credentials, after the challenge.
    fn login(&mut self, source: &str, uri: &str, from: &str, user: Login<'_>) -> Verdicts {
        let plain = testing::request("INVITE", uri, from, "");
        let challenge = self.answer(source, &plain).unwrap();
        assert!(challenge.starts_with("SIP/2.0 407 "), "{challenge}");
        let nonce = challenge_value(&challenge, "nonce").unwrap();
        let value = Login {
            uri,
            nonce: &nonce,
            ..user
        }
        .value();
        let line = format!("Proxy-Authorization: {value}\r\n");
        self.admit(source, &testing::request("INVITE", uri, from, &line))
    }

    fn domain(&self, name: &str) -> DomainId {
        self.world
            .tables
            .domain_by_name(name.as_bytes())
            .unwrap()
            .id
    }

    fn challenge_of(&self, name: &str) -> Refusal {
        Refusal::Challenge {
            status: 407,
            domain: self.domain(name),
            stale: false,
        }
    }
}

type Verdicts = Result<Admitted, Refusal>;

const ALICE: Login<'_> = Login {
    user: "alice",
    password: "Wonderland-2026",
    realm: "ringfence",
    algorithm: DigestAlgorithm::Md5,
    method: "INVITE",
    uri: "",
    nonce: "",
    nc: "00000001",
    cnonce: "c0ffee",
};

fn call(uri: &str, extra: &str) -> String {
    testing::request("INVITE", uri, "<sip:alice@cred.test>", extra)
}

const FORBIDDEN: Refusal = Refusal::Status(403, Counter::RefusedAcl);
const NOT_YOURS: Refusal = Refusal::Status(403, Counter::RefusedIdentity);

#[test]
fn basics_are_judged_in_the_order_416_483_420() {
    let mut fixture = Fixture::new();
    let scheme = Refusal::Status(416, Counter::RefusedUri);
    let hops = Refusal::Status(483, Counter::RefusedTooManyHops);
    let zero = "Max-Forwards: 0\r\n";
    let all = "Max-Forwards: 0\r\nProxy-Require: foo\r\n";
    let required = "Require: 100rel, foo\r\n";
    for (method, uri, extra, expected) in [
        ("INVITE", "sip:bob@cred.test", "", Ok(())),
        (
            "INVITE",
            "sips:bob@cred.test",
            "Max-Forwards: 1\r\n",
            Ok(()),
        ),
        ("INVITE", "tel:+15550100", "", Ok(())),
        ("INVITE", "soap.beep://192.0.2.103:3002", all, Err(scheme)),
        ("INVITE", "http://cred.test", "", Err(scheme)),
        ("REGISTER", "tel:+15550100", "", Err(scheme)),
        ("INVITE", "sip:bob@cred.test", all, Err(hops)),
        ("INVITE", "sip:192.0.2.1", zero, Err(hops)),
        ("OPTIONS", "sip:bob@cred.test", zero, Err(hops)),
        ("OPTIONS", "sip:elsewhere.test", zero, Err(hops)),
        ("OPTIONS", "sip:cred.test", zero, Ok(())),
        ("OPTIONS", "sip:192.0.2.1:5060", zero, Ok(())),
        ("REGISTER", "sip:cred.test", zero, Ok(())),
        (
            "INVITE",
            "sip:bob@cred.test",
            "Proxy-Require: foo\r\n",
            Err(Refusal::BadExtension),
        ),
        (
            "CANCEL",
            "sip:bob@cred.test",
            "Proxy-Require: foo\r\n",
            Ok(()),
        ),
        // Require is for who answers: the edge for itself, the callee else.
        ("INVITE", "sip:bob@cred.test", required, Ok(())),
        ("OPTIONS", "sip:bob@cred.test", required, Ok(())),
        (
            "OPTIONS",
            "sip:cred.test",
            required,
            Err(Refusal::BadExtension),
        ),
        (
            "REGISTER",
            "sip:cred.test",
            required,
            Err(Refusal::BadExtension),
        ),
        (
            "REGISTER",
            "sip:cred.test",
            "Require: path\r\nRequire: Outbound\r\n",
            Ok(()),
        ),
    ] {
        let text = testing::request(method, uri, "<sip:alice@cred.test>", extra);
        assert_eq!(fixture.basics(&text), expected, "{method} {uri} {extra}");
    }
}

#[test]
fn this_node_is_known_by_its_listeners_and_names() {
    let settings = testing::settings();
    for (host, port, expected) in [
        ("192.0.2.1", None, true),
        ("192.0.2.1", Some(5060), true),
        ("192.0.2.1", Some(5061), false),
        ("192.0.2.2", None, false),
        ("[2001:db8::1]", Some(5080), true),
        ("[2001:DB8:0:0::1]", None, true),
        ("[2001:db8::1]", Some(5060), false),
        ("[::ffff:192.0.2.1]", Some(5060), true),
        ("203.0.113.9", Some(5070), true),
        ("203.0.113.9", Some(5080), false),
        ("edge.example.org", None, true),
        ("EDGE.example.ORG.", Some(5070), true),
        ("edge.example.org", Some(5060), false),
        ("sip.example.org", None, true),
        ("Sip.Example.Org", Some(5060), true),
        ("sip.example.org", Some(5080), true),
        ("sip.example.org", Some(5090), false),
        ("example.org", None, false),
        ("", None, false),
        (".", None, false),
        ("[", None, false),
    ] {
        assert_eq!(
            is_us(&settings, host.as_bytes(), port),
            expected,
            "{host} {port:?}"
        );
    }
}

#[test]
fn a_sent_by_is_split_at_its_port() {
    assert_eq!(split_port("a.test:5060"), ("a.test", Some(5060)));
    assert_eq!(split_port("a.test"), ("a.test", None));
    assert_eq!(
        split_port("[2001:db8::1]:5060"),
        ("[2001:db8::1]", Some(5060))
    );
    assert_eq!(split_port("[2001:db8::1]"), ("[2001:db8::1]", None));
}

#[test]
fn every_method_outside_a_dialog_is_judged_alike_for_every_class_of_source() {
    let mut fixture = Fixture::new();
    let none = Refusal::Status(404, Counter::RefusedNoDomain);
    for method in METHODS {
        for (source, uri, expected) in [
            (ELSEWHERE, "sip:bob@none.test", FORBIDDEN),
            (OFFICE, "sip:bob@none.test", FORBIDDEN),
            (CARRIER, "sip:bob@none.test", FORBIDDEN),
            (ELSEWHERE, "sip:bob@acl.test", FORBIDDEN),
            (
                ELSEWHERE,
                "sip:bob@cred.test",
                fixture.challenge_of("cred.test"),
            ),
            (
                OFFICE,
                "sip:bob@cred.test",
                fixture.challenge_of("cred.test"),
            ),
            (
                CARRIER,
                "sip:bob@cred.test",
                fixture.challenge_of("cred.test"),
            ),
            (ELSEWHERE, "sip:bob@both.test", FORBIDDEN),
            (
                OFFICE,
                "sip:bob@both.test",
                fixture.challenge_of("both.test"),
            ),
            (ELSEWHERE, "sip:bob@sip.example.org", none),
            (ELSEWHERE, "sip:bob@elsewhere.test", none),
            (ELSEWHERE, "tel:+15550100", none),
            (CARRIER, "sip:+15550199@sip.example.org", none),
        ] {
            // From is a stranger's, so that the target's mappings decide.
            let text = testing::request(method, uri, "<sip:x@elsewhere.test>", "");
            assert_eq!(
                fixture.admit(source, &text),
                Err(expected),
                "{method} {uri} {source}"
            );
        }
        let text = testing::request(method, "sip:bob@acl.test", "<sip:x@elsewhere.test>", "");
        let admitted = fixture.admit(OFFICE, &text).unwrap();
        let acl = fixture.domain("acl.test");
        let origin = Origin::Domain {
            domain: acl,
            target: acl,
            authenticated: false,
        };
        assert_eq!(admitted.origin, origin, "{method}");
    }
}

#[test]
fn a_trunk_reaches_its_numbers_whatever_host_it_names_and_nothing_else() {
    let mut fixture = Fixture::new();
    let account = fixture
        .world
        .tables
        .domain_by_name(b"cred.test")
        .unwrap()
        .account;
    for uri in [
        "sip:+15550100@192.0.2.1",
        "sip:%2B1-555-0100@cred.test",
        "sip:+15550100@anything.test;user=phone",
        "tel:+1-555-0100",
    ] {
        let admitted = fixture.admit(CARRIER, &call(uri, "")).unwrap();
        assert!(matches!(admitted.origin, Origin::Trunk { .. }), "{uri}");
        assert_eq!((admitted.account, admitted.username_length), (account, 0));
        // The number is the trunk's alone.
        assert!(fixture.admit(ELSEWHERE, &call(uri, "")).is_err(), "{uri}");
    }
    // The same address may be a tenant: then it is judged as one.
    let refused = fixture.admit(CARRIER, &call("sip:bob@cred.test", ""));
    assert_eq!(refused, Err(fixture.challenge_of("cred.test")));
}

#[test]
fn strangers_are_dropped_where_the_operator_says_so_but_trunks_are_told() {
    let mut fixture = Fixture::new();
    fixture.world.settings.strangers = Strangers::Drop;
    let text = call("sip:bob@elsewhere.test", "");
    let silence = Refusal::Drop(Counter::DroppedStranger);
    assert_eq!(fixture.admit(ELSEWHERE, &text), Err(silence));
    let disposition = fixture.refuse(ELSEWHERE, &text, silence);
    assert_eq!(disposition, Disposition::Dropped(Counter::DroppedStranger));
    assert!(fixture.world.sent().is_empty());
    let refused = fixture.admit(CARRIER, &text);
    assert_eq!(refused, Err(Refusal::Status(404, Counter::RefusedNoDomain)));
}

#[test]
fn a_challenge_that_is_answered_admits_with_the_user_name() {
    let mut fixture = Fixture::new();
    let source = fixture.domain("cred.test");
    let admitted = fixture
        .login(
            ELSEWHERE,
            "sip:bob@cred.test",
            "<sip:alice@cred.test>",
            ALICE,
        )
        .unwrap();
    let origin = Origin::Domain {
        domain: source,
        target: source,
        authenticated: true,
    };
    assert_eq!(admitted.origin, origin);
    assert_eq!(fixture.username, "alice");
    let peer = testing::arrival(ELSEWHERE).flow.peer();
    assert!(fixture.sources.is_proved(fixture.world.now.time, peer));
    let wrong = Login {
        password: "x",
        ..ALICE
    };
    let refused = fixture.login(
        ELSEWHERE,
        "sip:bob@cred.test",
        "<sip:alice@cred.test>",
        wrong,
    );
    assert_eq!(refused, Err(fixture.challenge_of("cred.test")));
    // Both mapped: the source must match even with good credentials.
    let (from, uri) = ("<sip:alice@both.test>", "sip:bob@both.test");
    assert!(fixture.login(OFFICE, uri, from, ALICE).is_ok());
    let line = "Proxy-Authorization: Digest username=\"alice\"\r\n";
    let text = testing::request("INVITE", uri, from, line);
    assert_eq!(
        fixture.admit(ELSEWHERE, &text),
        Err(FORBIDDEN),
        "before credentials are read"
    );
    let malformed = Refusal::Status(400, Counter::AuthMalformed);
    assert_eq!(fixture.admit(OFFICE, &text), Err(malformed));
}

#[test]
fn a_caller_of_another_domain_of_the_account_is_judged_by_its_own() {
    let mut fixture = Fixture::new();
    let (acl, cred) = (fixture.domain("acl.test"), fixture.domain("cred.test"));
    // From acl.test, whose access control list decides, to cred.test.
    let text = testing::request("INVITE", "sip:bob@cred.test", "<sip:x@ACL.test>", "");
    let origin = Origin::Domain {
        domain: acl,
        target: cred,
        authenticated: false,
    };
    assert_eq!(fixture.admit(OFFICE, &text).unwrap().origin, origin);
    assert_eq!(fixture.admit(ELSEWHERE, &text), Err(FORBIDDEN));
    // From a domain with nothing mapped: refused, whatever the target allows.
    let text = testing::request("INVITE", "sip:bob@acl.test", "<sip:x@none.test>", "");
    assert_eq!(fixture.admit(OFFICE, &text), Err(FORBIDDEN));
    // From cred.test to acl.test: credentials, though the source is listed.
    let text = testing::request("INVITE", "sip:bob@acl.test", "<sip:alice@cred.test>", "");
    assert_eq!(
        fixture.admit(OFFICE, &text),
        Err(fixture.challenge_of("cred.test"))
    );
    // Another account's domain opens no door: the target's mappings decide.
    let text = testing::request("INVITE", "sip:bob@cred.test", "<sip:x@open.test>", "");
    assert_eq!(
        fixture.admit(ELSEWHERE, &text),
        Err(fixture.challenge_of("cred.test"))
    );
}

#[test]
fn with_credentials_from_names_the_caller_and_by_acl_alone_it_is_free() {
    let mut fixture = Fixture::new();
    let escaped = Login {
        user: "b/b;b",
        password: "Escaped-Names-2026",
        ..ALICE
    };
    for (from, user, fine) in [
        ("<sip:alice@cred.test>", ALICE, true),
        ("\"Bob\" <sip:alice@192.0.2.200:5062>", ALICE, true),
        ("<sip:%61lice@cred.test>", ALICE, true),
        ("<sip:b%2Fb%3bb@cred.test>", escaped, true),
        ("<sip:b/b;b@cred.test>", escaped, true),
        ("<sip:+15550100@cred.test>", ALICE, true),
        ("<sip:%2B1-555-0100@cred.test>", ALICE, true),
        ("<tel:+1-555-0100>", ALICE, true),
        (
            "\"Anonymous\" <sip:anonymous@anonymous.invalid>",
            ALICE,
            true,
        ),
        ("<sip:Alice@cred.test>", ALICE, false),
        ("<sip:bob@cred.test>", ALICE, false),
        ("<sip:+15550199@cred.test>", ALICE, false),
        ("<sip:cred.test>", ALICE, false),
        ("<sip:anonymous@cred.test>", ALICE, false),
        ("<sip:alice@open.test>", ALICE, false),
        ("<mailto:alice@cred.test>", ALICE, false),
    ] {
        let verdict = fixture.login(ELSEWHERE, "sip:bob@cred.test", from, user);
        if fine {
            assert!(verdict.is_ok(), "{from} {verdict:?}");
        } else {
            assert_eq!(verdict, Err(NOT_YOURS), "{from}");
        }
    }
    for from in ["<sip:whoever@any.test>", "<sip:+15550199@any.test>"] {
        assert!(
            fixture
                .login(ELSEWHERE, "sip:bob@any.test", from, ALICE)
                .is_ok(),
            "{from}"
        );
    }
    let text = testing::request("INVITE", "sip:bob@acl.test", "<sip:+15550199@x.test>", "");
    assert!(fixture.admit(OFFICE, &text).is_ok());
}
