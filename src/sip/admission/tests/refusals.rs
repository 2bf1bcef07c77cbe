//! What those who are not let in are told, and how much of it.

use super::*;
use crate::sip::{Flow, ShardId};

#[test]
fn unknown_user_and_wrong_password_get_the_same_octets() {
    let mut fixture = Fixture::new();
    let uri = "sip:bob@cred.test";
    let mut answer = |user, password| {
        let plain = call(uri, "");
        let nonce = challenge_value(&fixture.answer(ELSEWHERE, &plain).unwrap(), "nonce").unwrap();
        let value = Login {
            uri,
            nonce: &nonce,
            user,
            password,
            ..ALICE
        }
        .value();
        let text = call(uri, &format!("Proxy-Authorization: {value}\r\n"));
        let answer = fixture.answer(ELSEWHERE, &text).unwrap();
        let nonce = challenge_value(&answer, "nonce").unwrap();
        answer.replace(&nonce, "NONCE")
    };
    let wrong = answer("alice", "guess");
    assert_eq!(answer("nobody", "guess"), wrong);
    assert!(wrong.starts_with("SIP/2.0 407 "));
    assert!(!wrong.contains("stale"));
}

#[test]
fn refusals_carry_what_the_client_needs_to_know() {
    let mut fixture = Fixture::new();
    let text = call(
        "sip:bob@cred.test",
        "Proxy-Require: foo, bar\r\nProxy-Require: baz\r\n",
    );
    fixture.refuse(ELSEWHERE, &text, Refusal::BadExtension);
    fixture.refuse(
        ELSEWHERE,
        &text,
        Refusal::Status(503, Counter::RefusedOverload),
    );
    fixture.refuse(ELSEWHERE, &text, NOT_YOURS);
    let cred = fixture.domain("cred.test");
    for (status, stale) in [(401, false), (407, true)] {
        let refusal = Refusal::Challenge {
            status,
            domain: cred,
            stale,
        };
        fixture.refuse(ELSEWHERE, &text, refusal);
    }
    let sent: Vec<_> = fixture
        .world
        .sent()
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert!(sent[0].starts_with("SIP/2.0 420 "));
    assert!(
        sent[0].contains("\r\nUnsupported: foo, bar, baz\r\n"),
        "{}",
        sent[0]
    );
    assert!(sent[1].contains("\r\nRetry-After: 5\r\n"), "{}", sent[1]);
    assert!(
        sent[2].contains("\r\nWarning: 399 192.0.2.1:5060 \""),
        "{}",
        sent[2]
    );
    assert!(
        sent[3].contains("\r\nWWW-Authenticate: Digest "),
        "{}",
        sent[3]
    );
    assert!(
        sent[4].contains("\r\nProxy-Authenticate: Digest "),
        "{}",
        sent[4]
    );
    assert!(sent[4].contains("stale=true"), "{}", sent[4]);
    assert_eq!(fixture.world.count(Counter::RefusedExtension), 1);
    assert_eq!(fixture.world.count(Counter::RefusedOverload), 1);
    assert_eq!(fixture.world.count(Counter::RefusedIdentity), 1);
    assert_eq!(fixture.world.count(Counter::Challenges), 2);
    assert_eq!(fixture.world.count(Counter::ChallengesStale), 1);
    let ack = testing::request("ACK", "sip:bob@cred.test", "<sip:alice@cred.test>", "");
    let disposition = fixture.refuse(ELSEWHERE, &ack, FORBIDDEN);
    assert_eq!(disposition, Disposition::Dropped(Counter::DroppedStrayAck));
    assert!(fixture.world.sent().is_empty(), "an ACK is never answered");
}

#[test]
fn a_flood_is_answered_by_its_budget_and_never_by_more_than_it_sent() {
    let mut fixture = Fixture::new();
    fixture.world.settings.source_allowance_bytes = 0;
    let text = call(
        "sip:bob@cred.test",
        &format!("Subject: {}\r\n", "x".repeat(300)),
    );
    let (mut packets, mut answers, mut bytes) = (0, 0, 0);
    for _ in 0..1000 {
        packets += 1;
        if let Some(answer) = fixture.answer(ELSEWHERE, &text) {
            answers += 1;
            bytes += answer.len();
        }
    }
    assert_eq!(answers, 100, "the burst");
    assert!(answers <= packets && bytes <= packets * text.len());
    // A short request that would be answered by more than it weighs, without an allowance.
    let short = call("sip:bob@cred.test", "");
    let refusal = fixture.challenge_of("cred.test");
    let disposition = fixture.refuse("192.0.2.201:5060", &short, refusal);
    assert_eq!(
        disposition,
        Disposition::Dropped(Counter::DroppedAmplification)
    );
}

#[test]
fn trunks_and_listed_sources_have_no_budget_and_registrations_always_do() {
    let mut fixture = Fixture::new();
    let answers = |fixture: &mut Fixture, source, method: &str, uri: &str, refusal| {
        let text = testing::request(method, uri, "<sip:alice@cred.test>", "");
        let mut answers = 0;
        for _ in 0..300 {
            let disposition = fixture.refuse(source, &text, refusal);
            answers += u32::from(disposition == Disposition::Answered);
            fixture.world.sent();
        }
        answers
    };
    fixture.world.settings.source_allowance_bytes = 1 << 20;
    let both = fixture.challenge_of("both.test");
    let cred = fixture.challenge_of("cred.test");
    assert_eq!(
        answers(&mut fixture, CARRIER, "INVITE", "sip:bob@cred.test", cred),
        300
    );
    assert_eq!(
        answers(&mut fixture, OFFICE, "INVITE", "sip:bob@both.test", both),
        300
    );
    assert_eq!(
        answers(
            &mut fixture,
            OFFICE,
            "INVITE",
            "sip:bob@acl.test",
            NOT_YOURS
        ),
        300
    );
    assert_eq!(
        answers(&mut fixture, OFFICE, "INVITE", "sip:bob@cred.test", cred),
        100
    );
    fixture.world.pass_ms(60_000);
    assert_eq!(
        answers(&mut fixture, OFFICE, "REGISTER", "sip:both.test", both),
        100
    );
    // What the node can not do is not held against anybody.
    let busy = Refusal::Status(503, Counter::RefusedOverload);
    assert_eq!(
        answers(&mut fixture, ELSEWHERE, "INVITE", "sip:bob@cred.test", busy),
        300
    );
    assert_eq!(
        answers(&mut fixture, ELSEWHERE, "INVITE", "sip:bob@cred.test", cred),
        100
    );
}

#[test]
fn phones_behind_one_address_pass_while_guesses_among_them_do_not() {
    let mut fixture = Fixture::new();
    let (uri, from) = ("sip:bob@cred.test", "<sip:alice@cred.test>");
    for _ in 0..2_000 {
        fixture.login(ELSEWHERE, uri, from, ALICE).unwrap();
    }
    // No time has passed. Every guess below is preceded by two right answers: one gives back what
    // the challenge cost, the other must not give back what a guess cost.
    let mut guesses = 0;
    for _ in 0..300 {
        let challenge = fixture.answer(ELSEWHERE, &call(uri, ""));
        let Some(nonce) = challenge.and_then(|text| challenge_value(&text, "nonce")) else {
            continue;
        };
        let value = |login: Login<'_>| {
            let login = Login {
                uri,
                nonce: &nonce,
                ..login
            };
            call(uri, &format!("Proxy-Authorization: {}\r\n", login.value()))
        };
        fixture.admit(ELSEWHERE, &value(ALICE)).unwrap();
        fixture
            .admit(
                ELSEWHERE,
                &value(Login {
                    nc: "00000002",
                    ..ALICE
                }),
            )
            .unwrap();
        let wrong = Login {
            password: "guess",
            nc: "00000003",
            ..ALICE
        };
        guesses += u32::from(fixture.answer(ELSEWHERE, &value(wrong)).is_some());
    }
    assert_eq!(guesses, 100, "the burst");
}

#[test]
fn guesses_with_a_nonce_of_another_network_are_charged_like_any() {
    let mut fixture = Fixture::new();
    fixture.world.settings.source_allowance_bytes = 1 << 20;
    let uri = "sip:bob@cred.test";
    let challenge = fixture
        .answer("198.51.100.77:5060", &call(uri, ""))
        .unwrap();
    let nonce = challenge_value(&challenge, "nonce").unwrap();
    let value = Login {
        uri,
        nonce: &nonce,
        password: "guess",
        ..ALICE
    }
    .value();
    let text = call(uri, &format!("Proxy-Authorization: {value}\r\n"));
    let mut answers = 0;
    while let Some(answer) = fixture.answer(ELSEWHERE, &text) {
        assert!(answer.starts_with("SIP/2.0 407 "), "{answer}");
        assert_eq!(challenge_value(&answer, "stale"), None);
        answers += 1;
    }
    assert_eq!(answers, 100, "the burst");
}

#[test]
fn a_stale_nonce_is_renewed_even_when_the_budget_is_spent() {
    let mut fixture = Fixture::new();
    fixture.world.settings.source_allowance_bytes = 1 << 20;
    let uri = "sip:bob@cred.test";
    let first = fixture.answer(ELSEWHERE, &call(uri, "")).unwrap();
    let nonce = challenge_value(&first, "nonce").unwrap();
    fixture.world.pass_ms(400_000);
    while fixture.answer(ELSEWHERE, &call(uri, "")).is_some() {}
    let value = Login {
        uri,
        nonce: &nonce,
        ..ALICE
    }
    .value();
    let text = call(uri, &format!("Proxy-Authorization: {value}\r\n"));
    let plain = fixture.refuse(ELSEWHERE, &call(uri, ""), fixture.challenge_of("cred.test"));
    assert_eq!(plain, Disposition::Dropped(Counter::DroppedSourceBudget));
    let answer = fixture.answer(ELSEWHERE, &text).unwrap();
    assert_eq!(challenge_value(&answer, "stale").as_deref(), Some("true"));
    let nonce = challenge_value(&answer, "nonce").unwrap();
    let value = Login {
        uri,
        nonce: &nonce,
        ..ALICE
    }
    .value();
    let text = call(uri, &format!("Proxy-Authorization: {value}\r\n"));
    assert!(fixture.admit(ELSEWHERE, &text).is_ok());
}

#[test]
fn a_connection_has_proved_where_it_is_and_a_datagram_has_not() {
    let mut fixture = Fixture::new();
    fixture.world.settings.source_allowance_bytes = 0;
    let text = testing::request("OPTIONS", "sip:192.0.2.1", "<sip:x@y.test>", "");
    let long = "x".repeat(text.len());
    let mut answer = |arrival| {
        testing::with_message(&text, |message| {
            let Fixture { world, sources, .. } = &mut fixture;
            let extra = |out: &mut Writer<'_>| {
                out.put(b"Subject: ");
                out.put(long.as_bytes());
                out.put(b"\r\n");
            };
            answer_stranger(&mut world.turn(), sources, arrival, message, 200, extra)
        })
    };
    let datagram = testing::arrival(ELSEWHERE);
    let stream = Arrival {
        flow: Flow::Stream {
            shard: ShardId(0),
            listener: ListenerId(0),
            slot: 1,
            generation: 1,
            peer: datagram.flow.peer(),
        },
    };
    let dropped = Disposition::Dropped(Counter::DroppedAmplification);
    assert_eq!(answer(datagram), dropped);
    assert_eq!(answer(stream), Disposition::Answered);
    assert_eq!(answer(testing::arrival(CARRIER)), Disposition::Answered);
    let sent = fixture.world.sent();
    assert_eq!(
        sent.len(),
        2,
        "what is not sent leaves nothing in the outbox"
    );
    assert_eq!(sent[0].0, stream.flow);
}
