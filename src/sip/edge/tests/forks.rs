//! Forking, the best response, instances, and CANCEL.

use super::super::testing::*;
use super::*;
use crate::sip::Counter;

/// bob at two places.
fn world() -> World {
    let mut world = World::new(TENANTS, 1);
    world.register(BOB, "bob", "<sip:bob@10.0.0.1>");
    world.register(BOB_2, "bob", "<sip:bob@10.0.0.2>");
    world
}

/// An INVITE to bob that rings at both places: what was sent, and what each got.
fn fork(world: &mut World, call: &str) -> (String, String, String) {
    let invite = request(CALLER, "INVITE", "sip:bob@example.test", call, "");
    world.send(CALLER, &invite);
    world.expect(CALLER, "SIP/2.0 100");
    let first = world.expect(BOB, "INVITE");
    let second = world.expect(BOB_2, "INVITE");
    world.expect_silence();
    (invite, first, second)
}

/// The CANCEL of `got` is at `agent`, who ends the branch as RFC 3261 §9.2 says.
fn cancelled(world: &mut World, agent: &str, got: &str) {
    let cancel = world.expect(agent, "CANCEL");
    assert_eq!(header(&cancel, "Via"), header(got, "Via"));
    world.send(agent, &respond(&cancel, "200 OK", "x", ""));
    world.send(agent, &respond(got, "487 Request Terminated", agent, ""));
    world.expect(agent, "ACK");
}

#[test]
fn every_contact_rings_and_the_first_to_answer_wins() {
    let mut world = world();
    let (_, first, second) = fork(&mut world, "f1");
    assert_ne!(header(&first, "Via"), header(&second, "Via"));
    assert_ne!(
        header(&first, "Record-Route"),
        header(&second, "Record-Route")
    );
    for (agent, got) in [(BOB, &first), (BOB_2, &second)] {
        world.send(agent, &respond(got, "180 Ringing", agent, ""));
        world.expect(CALLER, "SIP/2.0 180");
    }
    world.send(
        BOB_2,
        &respond(&second, "200 OK", "2", "Contact: <sip:bob@10.0.0.2>\r\n"),
    );
    let ok = world.expect(CALLER, "SIP/2.0 200");
    cancelled(&mut world, BOB, &first);
    world.expect_silence();
    world.send(CALLER, &in_dialog(CALLER, "ACK", 1, &second, &ok, true));
    world.expect(BOB_2, "ACK");
    world.send(CALLER, &in_dialog(CALLER, "BYE", 2, &second, &ok, true));
    let bye = world.expect(BOB_2, "BYE");
    world.send(BOB_2, &respond(&bye, "200 OK", "", ""));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect_silence();
    world.check_sums();
    world.pass_ms(100_000);
    world.expect_silence();
    world.expect_idle();
}

#[test]
fn a_branch_that_answers_after_another_is_forwarded_too() {
    let mut world = world();
    let (_, first, second) = fork(&mut world, "f2");
    world.send(
        BOB,
        &respond(&first, "200 OK", "1", "Contact: <sip:bob@10.0.0.1>\r\n"),
    );
    world.expect(CALLER, "SIP/2.0 200");
    // It crosses with the CANCEL, which waits for a provisional response that never came.
    world.expect_silence();
    world.send(
        BOB_2,
        &respond(&second, "200 OK", "2", "Contact: <sip:bob@10.0.0.2>\r\n"),
    );
    let late = world.expect(CALLER, "SIP/2.0 200");
    assert!(header(&late, "To").ends_with(";tag=2"));
    assert_eq!(headers(&late, "Via").len(), 1);
    // The caller ends the second dialog, whose token leads to the second phone.
    world.send(CALLER, &in_dialog(CALLER, "ACK", 1, &second, &late, true));
    world.expect(BOB_2, "ACK");
    world.send(CALLER, &in_dialog(CALLER, "BYE", 2, &second, &late, true));
    world.expect(BOB_2, "BYE");
    world.expect_silence();
}

#[test]
fn the_best_response_is_given_when_the_last_has_come() {
    let cases = [
        ("404 Not Found", "486 Busy Here", "404"),
        ("500 Server Internal Error", "486 Busy Here", "486"),
        ("302 Moved Temporarily", "486 Busy Here", "302"),
        (
            "480 Temporarily Unavailable",
            "415 Unsupported Media Type",
            "415",
        ),
        ("503 Service Unavailable", "503 Service Unavailable", "500"),
        ("503 Service Unavailable", "501 Not Implemented", "501"),
        ("430 Flow Failed", "430 Flow Failed", "480"),
        ("408 Request Timeout", "486 Busy Here", "486"),
    ];
    for (index, (one, other, best)) in cases.into_iter().enumerate() {
        let mut world = world();
        let (_, first, second) = fork(&mut world, &format!("b{index}"));
        world.send(
            BOB,
            &respond(&first, one, "1", "Contact: <sip:elsewhere@x.test>\r\n"),
        );
        world.expect(BOB, "ACK");
        world.expect_silence();
        world.send(BOB_2, &respond(&second, other, "2", ""));
        world.expect(BOB_2, "ACK");
        let given = world.expect(CALLER, &format!("SIP/2.0 {best} "));
        assert_eq!(headers(&given, "Via").len(), 1);
        world.expect_silence();
        world.check_sums();
    }
}

#[test]
fn a_6xx_ends_every_branch() {
    let mut world = world();
    let (_, first, second) = fork(&mut world, "g1");
    world.send(BOB_2, &respond(&second, "180 Ringing", "2", ""));
    world.expect(CALLER, "SIP/2.0 180");
    world.send(BOB, &respond(&first, "603 Decline", "1", ""));
    world.expect(BOB, "ACK");
    cancelled(&mut world, BOB_2, &second);
    world.expect(CALLER, "SIP/2.0 603");
    world.expect_silence();
}

#[test]
fn challenges_of_all_branches_go_up_in_one_response() {
    let mut world = world();
    let (_, first, second) = fork(&mut world, "q1");
    let one = "WWW-Authenticate: Digest realm=\"one\", nonce=\"1\"\r\n";
    let two = "Proxy-Authenticate: Digest realm=\"two\", nonce=\"2\"\r\n";
    world.send(BOB, &respond(&first, "401 Unauthorized", "1", one));
    world.expect(BOB, "ACK");
    world.send(
        BOB_2,
        &respond(&second, "407 Proxy Authentication Required", "2", two),
    );
    world.expect(BOB_2, "ACK");
    let given = world.expect(CALLER, "SIP/2.0 401");
    assert_eq!(headers(&given, "WWW-Authenticate").len(), 1);
    assert_eq!(headers(&given, "Proxy-Authenticate").len(), 1);
    world.expect_silence();
}

#[test]
fn a_challenge_of_a_single_branch_is_passed_on() {
    let mut world = World::new(TENANTS, 1);
    world.register(BOB, "bob", "<sip:bob@10.0.0.1>");
    world.send(
        CALLER,
        &request(CALLER, "INVITE", "sip:bob@example.test", "q2", ""),
    );
    world.expect(CALLER, "SIP/2.0 100");
    let got = world.expect(BOB, "INVITE");
    let one = "WWW-Authenticate: Digest realm=\"one\", nonce=\"1\"\r\n";
    world.send(BOB, &respond(&got, "401 Unauthorized", "1", one));
    let given = world.expect(CALLER, "SIP/2.0 401");
    assert_eq!(headers(&given, "WWW-Authenticate").len(), 1);
}

#[test]
fn a_silent_contact_does_not_hold_back_the_best_response() {
    let mut world = world();
    let (_, first, _) = fork(&mut world, "n1");
    world.send(BOB, &respond(&first, "486 Busy Here", "1", ""));
    world.expect(BOB, "ACK");
    world.pass_ms(4_500);
    assert!(!world.waits_for(CALLER));
    world.pass_ms(600);
    world.expect(CALLER, "SIP/2.0 486");
    // Should it wake, it is cancelled.
    while world.waits_for(BOB_2) {
        world.expect(BOB_2, "INVITE");
    }
}

#[test]
fn a_contact_that_wakes_after_the_end_is_cancelled() {
    let mut world = world();
    let (_, first, second) = fork(&mut world, "n2");
    world.send(BOB, &respond(&first, "486 Busy Here", "1", ""));
    world.pass_ms(5_100);
    world.discard();
    world.send(BOB_2, &respond(&second, "180 Ringing", "2", ""));
    cancelled(&mut world, BOB_2, &second);
}

#[test]
fn contacts_of_lower_q_are_tried_when_those_above_have_failed() {
    let mut world = World::new(TENANTS, 1);
    world.register(BOB, "bob", "<sip:bob@10.0.0.1>;q=0.9");
    world.register(BOB_2, "bob", "<sip:bob@10.0.0.2>;q=0.5");
    let invite = request(CALLER, "INVITE", "sip:bob@example.test", "l1", "");
    world.send(CALLER, &invite);
    world.expect(CALLER, "SIP/2.0 100");
    let first = world.expect(BOB, "INVITE");
    world.expect_silence();
    world.send(BOB, &respond(&first, "486 Busy Here", "1", ""));
    world.expect(BOB, "ACK");
    let second = world.expect(BOB_2, "INVITE sip:bob@10.0.0.2 ");
    assert_eq!(
        header(&second, "P-Called-Party-ID"),
        "<sip:bob@example.test>"
    );
    assert_eq!(header(&second, "Max-Forwards"), "69");
    world.expect_silence();
    world.send(BOB_2, &respond(&second, "404 Not Found", "2", ""));
    world.expect(BOB_2, "ACK");
    let given = world.expect(CALLER, "SIP/2.0 486");
    assert!(
        header(&given, "To").ends_with(";tag=1"),
        "of one class the first"
    );
    world.expect_silence();
    world.pass_ms(100_000);
    world.discard();
    world.expect_idle();
}

#[test]
fn of_one_instance_only_the_newest_flow_rings_and_the_next_when_it_failed() {
    let mut world = World::new(TENANTS, 1);
    let instance = "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\"";
    world.register(
        BOB,
        "bob",
        &format!("<sip:bob@10.0.0.1;ob>;reg-id=1;{instance}"),
    );
    world.pass_ms(1000);
    world.register(
        BOB_2,
        "bob",
        &format!("<sip:bob@10.0.0.1;ob>;reg-id=2;{instance}"),
    );
    let invite = request(CALLER, "INVITE", "sip:bob@example.test", "i1", "");
    world.send(CALLER, &invite);
    world.expect(CALLER, "SIP/2.0 100");
    let newest = world.expect(BOB_2, "INVITE");
    world.expect_silence();
    world.send(BOB_2, &respond(&newest, "430 Flow Failed", "1", ""));
    world.expect(BOB_2, "ACK");
    let other = world.expect(BOB, "INVITE");
    world.expect_silence();
    world.send(BOB, &respond(&other, "486 Busy Here", "2", ""));
    world.expect(BOB, "ACK");
    world.expect(CALLER, "SIP/2.0 486");
    // Silence is as good as 430, a refusal is not.
    for silent in [true, false] {
        world.send(
            CALLER,
            &request(
                CALLER,
                "INVITE",
                "sip:bob@example.test",
                &format!("i2{silent}"),
                "",
            ),
        );
        world.expect(CALLER, "SIP/2.0 100");
        let newest = world.expect(BOB_2, "INVITE");
        if silent {
            world.pass_ms(5_100);
            world.expect(BOB, "INVITE");
            world.discard();
        } else {
            world.send(BOB_2, &respond(&newest, "486 Busy Here", "1", ""));
            world.expect(BOB_2, "ACK");
            world.expect(CALLER, "SIP/2.0 486");
            world.expect_silence();
        }
    }
}

#[test]
fn a_cancel_ends_every_branch_and_the_call() {
    let mut world = world();
    let (invite, first, second) = fork(&mut world, "x1");
    world.send(BOB, &respond(&first, "180 Ringing", "1", ""));
    world.expect(CALLER, "SIP/2.0 180");
    world.send(CALLER, &of_invite("CANCEL", &invite, header(&invite, "To")));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(header(&ok, "CSeq"), "1 CANCEL");
    cancelled(&mut world, BOB, &first);
    // The other has said nothing yet: its CANCEL waits for that (RFC 3261 §9.1).
    world.expect_silence();
    world.send(BOB_2, &respond(&second, "180 Ringing", "2", ""));
    world.expect(CALLER, "SIP/2.0 180");
    cancelled(&mut world, BOB_2, &second);
    let ended = world.expect(CALLER, "SIP/2.0 487");
    world.send(CALLER, &of_invite("ACK", &invite, header(&ended, "To")));
    // The CANCEL again: answered again, nothing else.
    world.send(CALLER, &of_invite("CANCEL", &invite, header(&invite, "To")));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect_silence();
    world.check_sums();
    world.pass_ms(100_000);
    world.expect_silence();
    world.expect_idle();
}

#[test]
fn a_cancelled_call_to_silent_phones_ends_soon() {
    let mut world = world();
    let (invite, first, _) = fork(&mut world, "x2");
    world.send(CALLER, &of_invite("CANCEL", &invite, header(&invite, "To")));
    world.expect(CALLER, "SIP/2.0 200");
    world.pass_ms(5_100);
    let ended = world.expect(CALLER, "SIP/2.0 487");
    world.send(CALLER, &of_invite("ACK", &invite, header(&ended, "To")));
    world.discard();
    // One wakes up, and is cancelled.
    world.send(BOB, &respond(&first, "180 Ringing", "1", ""));
    cancelled(&mut world, BOB, &first);
}

#[test]
fn an_answer_that_crosses_the_cancel_is_forwarded() {
    let mut world = world();
    let (invite, first, second) = fork(&mut world, "x3");
    for (agent, got) in [(BOB, &first), (BOB_2, &second)] {
        world.send(agent, &respond(got, "180 Ringing", agent, ""));
    }
    world.discard();
    world.send(CALLER, &of_invite("CANCEL", &invite, header(&invite, "To")));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(BOB, "CANCEL");
    world.send(
        BOB,
        &respond(&first, "200 OK", "1", "Contact: <sip:bob@10.0.0.1>\r\n"),
    );
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(header(&ok, "CSeq"), "1 INVITE");
    cancelled(&mut world, BOB_2, &second);
    world.expect_silence();
}

#[test]
fn a_cancel_that_matches_nothing_is_481_and_one_from_elsewhere_too() {
    let mut world = world();
    let (invite, ..) = fork(&mut world, "x4");
    let cancel = of_invite("CANCEL", &invite, header(&invite, "To"));
    world.send("203.0.113.66:5062", &cancel);
    world.expect("203.0.113.66:5062", "SIP/2.0 481");
    world.send(
        CALLER,
        &cancel.replace("branch=z9hG4bK-x4", "branch=z9hG4bK-x5"),
    );
    world.expect(CALLER, "SIP/2.0 481");
    world.expect_silence();
}

#[test]
fn a_fork_is_cut_to_what_the_tables_hold() {
    let mut world = World::with_settings(TENANTS, 1, |settings| {
        settings.capacity.transactions = 2;
    });
    for contact in 1..=6 {
        let agent = format!("198.51.100.4{contact}:5060");
        world.register(&agent, "bob", &format!("<sip:bob@10.0.0.{contact}>"));
    }
    world.send(
        CALLER,
        &request(CALLER, "INVITE", "sip:bob@example.test", "k1", ""),
    );
    world.expect(CALLER, "SIP/2.0 100");
    let ringing = (1..=6)
        .filter(|it| world.waits_for(&format!("198.51.100.4{it}:5060")))
        .count();
    assert_eq!(ringing, 4);
    assert_eq!(world.count(Counter::ForksCut), 2);
}
