//! Calls between users: set-up, teardown, ACK, re-INVITE, forking, CANCEL.

use super::super::testing::*;
use super::*;
use crate::sip::Counter;

fn world() -> World {
    let mut world = World::new(TENANTS, 1);
    world.register(BOB, "bob", "<sip:bob@10.0.0.1:5070>");
    world
}

/// An INVITE from `CALLER` to bob, up to where bob has it: what was sent, and what he got.
fn invite_bob(world: &mut World, call: &str) -> (String, String) {
    let invite = request(CALLER, "INVITE", "sip:bob@example.test", call, "");
    world.send(CALLER, &invite);
    let trying = world.expect(CALLER, "SIP/2.0 100");
    assert!(!header(&trying, "To").contains("tag="));
    let got = world.expect(BOB, "INVITE");
    world.expect_silence();
    (invite, got)
}

#[test]
fn a_call_is_set_up_and_taken_down_by_the_caller() {
    let mut world = world();
    let (_, got) = invite_bob(&mut world, "c1");
    assert_eq!(request_uri(&got), "sip:bob@10.0.0.1:5070");
    assert_eq!(headers(&got, "Via").len(), 2);
    assert!(header(&got, "Via").starts_with("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK"));
    assert!(headers(&got, "Via")[1].contains("rport=5062"));
    assert!(headers(&got, "Via")[1].contains("received=198.51.100.7"));
    assert_eq!(header(&got, "Max-Forwards"), "69");
    assert_eq!(header(&got, "P-Called-Party-ID"), "<sip:bob@example.test>");
    assert_eq!(headers(&got, "Record-Route").len(), 1);
    world.send(BOB, &respond(&got, "180 Ringing", "b", ""));
    let ringing = world.expect(CALLER, "SIP/2.0 180");
    assert_eq!(headers(&ringing, "Via").len(), 1);
    let ok = respond(&got, "200 OK", "b", "Contact: <sip:bob@10.0.0.1:5070>\r\n");
    world.send(BOB, &ok);
    let answered = world.expect(CALLER, "SIP/2.0 200");
    world.send(CALLER, &in_dialog(CALLER, "ACK", 1, &got, &answered, true));
    let ack = world.expect(BOB, "ACK sip:bob@10.0.0.1:5070 ");
    assert!(headers(&ack, "Route").is_empty() && headers(&ack, "Record-Route").is_empty());
    let bye = in_dialog(CALLER, "BYE", 2, &got, &answered, true);
    world.send(CALLER, &bye);
    let bye = world.expect(BOB, "BYE sip:bob@10.0.0.1:5070 ");
    assert!(headers(&bye, "Route").is_empty());
    world.send(BOB, &respond(&bye, "200 OK", "", ""));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect_silence();
    assert_eq!(world.count(Counter::CallsAdmitted), 1);
    assert_eq!(world.count(Counter::CallsAnswered), 1);
    world.check_sums();
    world.pass_ms(70_000);
    world.expect_silence();
    world.expect_idle();
}

#[test]
fn the_callee_hangs_up_towards_a_private_contact() {
    let mut world = world();
    let invite = request(CALLER, "INVITE", "sip:bob@example.test", "c2", "").replace(
        &format!("<sip:caller@{CALLER}>"),
        "<sip:caller@192.168.1.5>",
    );
    world.send(CALLER, &invite);
    world.expect(CALLER, "SIP/2.0 100");
    let got = world.expect(BOB, "INVITE");
    let ok = respond(&got, "200 OK", "b", "Contact: <sip:bob@10.0.0.1:5070>\r\n");
    world.send(BOB, &ok);
    world.discard();
    world.send(BOB, &in_dialog(BOB, "BYE", 1, &got, &ok, false));
    let bye = world.expect(CALLER, "BYE sip:caller@192.168.1.5 ");
    world.send(CALLER, &respond(&bye, "200 OK", "", ""));
    world.expect(BOB, "SIP/2.0 200");
    world.expect_silence();
}

/// A call from `CALLER` to bob that was answered: the INVITE as bob got it, and the 200 as the
/// caller got it.
fn answered(world: &mut World, call: &str) -> (String, String) {
    let (_, got) = invite_bob(world, call);
    world.send(
        BOB,
        &respond(&got, "200 OK", "b", "Contact: <sip:bob@10.0.0.1:5070>\r\n"),
    );
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.send(CALLER, &in_dialog(CALLER, "ACK", 1, &got, &ok, true));
    world.expect(BOB, "ACK");
    world.expect_silence();
    (got, ok)
}

#[test]
fn a_final_refusal_is_acknowledged_hop_by_hop() {
    let mut world = world();
    let (invite, got) = invite_bob(&mut world, "c3");
    world.send(BOB, &respond(&got, "486 Busy Here", "b", ""));
    let ack = world.expect(BOB, "ACK sip:bob@10.0.0.1:5070 ");
    assert_eq!(header(&ack, "Via"), header(&got, "Via"));
    let busy = world.expect(CALLER, "SIP/2.0 486");
    assert_eq!(headers(&busy, "Via").len(), 1);
    world.send(CALLER, &of_invite("ACK", &invite, header(&busy, "To")));
    world.expect_silence();
    // RFC 3261 §17.2.1: the INVITE again, late, is absorbed.
    world.send(CALLER, &invite);
    world.expect_silence();
    world.check_sums();
}

#[test]
fn a_retransmitted_invite_gets_the_last_response_again_and_goes_nowhere() {
    let mut world = world();
    let (invite, got) = invite_bob(&mut world, "c4");
    world.send(CALLER, &invite);
    world.expect(CALLER, "SIP/2.0 100");
    world.send(BOB, &respond(&got, "180 Ringing", "b", ""));
    world.expect(CALLER, "SIP/2.0 180");
    world.send(CALLER, &invite);
    world.expect(CALLER, "SIP/2.0 180");
    world.expect_silence();
}

#[test]
fn a_retransmitted_200_is_forwarded_again_and_so_is_its_ack() {
    let mut world = world();
    let (_, got) = invite_bob(&mut world, "c5");
    let ok = respond(&got, "200 OK", "b", "Contact: <sip:bob@10.0.0.1:5070>\r\n");
    let mut branches = Vec::new();
    for _ in 0..3 {
        world.send(BOB, &ok);
        let ok = world.expect(CALLER, "SIP/2.0 200");
        assert_eq!(headers(&ok, "Via").len(), 1);
        world.send(CALLER, &in_dialog(CALLER, "ACK", 1, &got, &ok, true));
        let ack = world.expect(BOB, "ACK");
        branches.push(header(&ack, "Via").to_owned());
    }
    // RFC 3261 §16.11: a retransmission leaves with the same branch.
    assert!(
        branches.iter().all(|branch| *branch == branches[0]),
        "{branches:?}"
    );
    world.expect_silence();
}

#[test]
fn the_dialog_is_refreshed_from_both_ends() {
    let mut world = world();
    let (got, ok) = answered(&mut world, "c6");
    world.send(CALLER, &in_dialog(CALLER, "INVITE", 2, &got, &ok, true));
    world.expect(CALLER, "SIP/2.0 100");
    let again = world.expect(BOB, "INVITE sip:bob@10.0.0.1:5070 ");
    assert_eq!(
        headers(&again, "Record-Route"),
        headers(&got, "Record-Route")
    );
    let ok2 = respond(&again, "200 OK", "", "Contact: <sip:bob@10.0.0.1:5070>\r\n");
    world.send(BOB, &ok2);
    let ok2 = world.expect(CALLER, "SIP/2.0 200");
    world.send(CALLER, &in_dialog(CALLER, "ACK", 2, &got, &ok2, true));
    world.expect(BOB, "ACK");
    let from_bob = respond(&got, "200 OK", "b", "");
    world.send(BOB, &in_dialog(BOB, "INVITE", 7, &got, &from_bob, false));
    world.expect(BOB, "SIP/2.0 100");
    let again = world.expect(CALLER, "INVITE sip:caller@198.51.100.7:5062 ");
    assert_eq!(
        headers(&again, "Record-Route"),
        headers(&got, "Record-Route")
    );
    world.send(CALLER, &respond(&again, "488 Not Acceptable Here", "", ""));
    world.expect(CALLER, "ACK");
    let refused = world.expect(BOB, "SIP/2.0 488");
    let invite = in_dialog(BOB, "INVITE", 7, &got, &from_bob, false);
    world.send(BOB, &of_invite("ACK", &invite, header(&refused, "To")));
    world.expect_silence();
    assert_eq!(
        world.count(Counter::CallsAdmitted),
        1,
        "a refresh is no call"
    );
    world.check_sums();
}

#[test]
fn a_token_does_not_fit_another_call_or_tag() {
    let mut world = world();
    let (got, ok) = answered(&mut world, "c7");
    let bye = in_dialog(CALLER, "BYE", 2, &got, &ok, true);
    let call_id = header(&ok, "Call-ID").to_owned();
    let forged = [
        bye.replace(&format!("Call-ID: {call_id}"), "Call-ID: another"),
        bye.replace("tag=f-c7", "tag=f-c8"),
        // A token of another call.
        {
            let (other, other_ok) = answered(&mut world, "c8");
            let theirs = in_dialog(CALLER, "BYE", 2, &other, &other_ok, true);
            bye.replace(header(&bye, "Route"), header(&theirs, "Route"))
        },
    ];
    for text in forged {
        assert_ne!(text, bye);
        world.send(CALLER, &text);
        // Not in a dialog, and its Request-URI names no domain of ours.
        world.expect(CALLER, "SIP/2.0 404");
        world.expect_silence();
    }
    world.send(CALLER, &bye);
    world.expect(BOB, "BYE");
}

#[test]
fn a_request_with_a_to_tag_and_no_token_is_in_no_dialog() {
    let mut world = world();
    for method in ["BYE", "INVITE", "INFO", "UPDATE", "NOTIFY"] {
        let text = request(CALLER, method, "sip:bob@example.test", "c9", "").replace(
            "To: <sip:bob@example.test>",
            "To: <sip:bob@example.test>;tag=x",
        );
        world.send(CALLER, &text);
        world.expect(CALLER, "SIP/2.0 481");
        world.expect_silence();
    }
    let ack = request(CALLER, "ACK", "sip:bob@example.test", "c9", "");
    world.send(CALLER, &ack);
    world.expect_silence();
    assert_eq!(world.count(Counter::DroppedStrayAck), 1);
    world.check_sums();
}

#[test]
fn an_unauthenticated_bye_without_a_token_is_challenged_first() {
    let mut world = world();
    for method in ["BYE", "INVITE", "MESSAGE", "SUBSCRIBE", "FOO"] {
        let text = request(CALLER, method, "sip:alice@closed.test", "c10", "")
            .replace("caller@example.test", "caller@closed.test")
            .replace(
                "To: <sip:alice@closed.test>",
                "To: <sip:alice@closed.test>;tag=x",
            );
        world.send(CALLER, &text);
        world.expect(CALLER, "SIP/2.0 407");
        world.expect_silence();
    }
}

#[test]
fn a_response_nobody_asked_for_is_dropped() {
    let mut world = world();
    let (_, got) = invite_bob(&mut world, "c11");
    let ok = respond(&got, "200 OK", "b", "");
    let via = header(&got, "Via").to_owned();
    let foreign = ok.replace(&via, "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKabcdef");
    let forged = ok.replace("branch=z9hG4bKA", "branch=z9hG4bKB");
    assert_ne!(forged, ok);
    let no_upstream = format!(
        "SIP/2.0 200 OK\r\nVia: {via}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\n\
         Call-ID: x\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    );
    for text in [foreign, forged] {
        world.send(BOB, &text);
        world.expect_silence();
    }
    world.send(BOB, &no_upstream);
    world.expect_silence();
    assert_eq!(world.count(Counter::Forwarded), 1);
    world.send(BOB, &ok);
    world.expect(CALLER, "SIP/2.0 200");
    world.check_sums();
}

#[test]
fn a_user_without_a_binding_is_480_and_nobody_is_404() {
    let mut world = world();
    for (user, status) in [("carol", "480"), ("mallory", "404")] {
        let uri = format!("sip:{user}@example.test");
        let invite = request(CALLER, "INVITE", &uri, user, "");
        world.send(CALLER, &invite);
        world.expect(CALLER, "SIP/2.0 100");
        let refused = world.expect(CALLER, &format!("SIP/2.0 {status}"));
        world.send(CALLER, &of_invite("ACK", &invite, header(&refused, "To")));
        world.expect_silence();
        world.send(CALLER, &request(CALLER, "MESSAGE", &uri, user, ""));
        world.expect(CALLER, &format!("SIP/2.0 {status}"));
        world.expect_silence();
    }
    world.pass_ms(70_000);
    world.expect_idle();
}

#[test]
fn routes_lead_to_users_and_statuses() {
    let mut world = world();
    let invite = request(
        CALLER,
        "INVITE",
        "sip:1-000;x=y@example.test;user=phone",
        "r1",
        "",
    );
    world.send(CALLER, &invite);
    world.expect(CALLER, "SIP/2.0 100");
    let got = world.expect(BOB, "INVITE sip:1000@10.0.0.1:5070 ");
    let dialled = "<sip:1-000;x=y@example.test;user=phone>";
    assert_eq!(header(&got, "P-Called-Party-ID"), dialled);
    world.send(
        CALLER,
        &request(CALLER, "INVITE", "sip:1001@example.test", "r2", ""),
    );
    world.expect(CALLER, "SIP/2.0 100");
    world.expect(CALLER, "SIP/2.0 486");
    world.expect_silence();
}

#[test]
fn hops_and_loops_end() {
    let mut world = world();
    let invite = request(CALLER, "INVITE", "sip:bob@example.test", "h1", "");
    world.send(
        CALLER,
        &invite.replace("Max-Forwards: 70", "Max-Forwards: 0"),
    );
    world.expect(CALLER, "SIP/2.0 483");
    let none = request(CALLER, "INVITE", "sip:bob@example.test", "h2", "");
    world.send(CALLER, &none.replace("Max-Forwards: 70\r\n", ""));
    world.expect(CALLER, "SIP/2.0 100");
    let got = world.expect(BOB, "INVITE");
    assert_eq!(header(&got, "Max-Forwards"), "70");
    world.expect_silence();
    // bob's phone sends it back for the address of record it came for.
    let back = got.replacen("sip:bob@10.0.0.1:5070", "sip:bob@example.test", 1);
    let own = format!("\r\nVia: SIP/2.0/UDP {BOB};branch=z9hG4bKback\r\nVia: ");
    let looped = back.replacen("\r\nVia: ", &own, 1);
    assert_ne!(looped, back);
    world.send(BOB, &looped);
    world.expect(BOB, "SIP/2.0 482");
    // For somebody else it is a spiral, and goes on.
    let spiral = looped.replacen("sip:bob@example.test", "sip:carol@example.test", 1);
    world.send(BOB, &spiral);
    world.expect(BOB, "SIP/2.0 100");
    world.expect(BOB, "SIP/2.0 480");
    world.expect_silence();
    assert_eq!(world.count(Counter::RefusedLoop), 1);
    assert_eq!(world.count(Counter::RefusedTooManyHops), 1);
}

#[test]
fn a_route_that_is_not_ours_makes_no_relay() {
    let mut world = world();
    let relay = "Route: <sip:203.0.113.200;lr>\r\n";
    world.send(
        CALLER,
        &request(CALLER, "INVITE", "sip:bob@example.test", "o1", relay),
    );
    world.expect(CALLER, "SIP/2.0 403");
    world.expect_silence();
    let ours = "Route: <sip:192.0.2.1:5060;lr>\r\n";
    world.send(
        CALLER,
        &request(CALLER, "INVITE", "sip:bob@example.test", "o2", ours),
    );
    world.expect(CALLER, "SIP/2.0 100");
    let got = world.expect(BOB, "INVITE");
    assert!(headers(&got, "Route").is_empty());
    // An outbound proxy that is named like the phone's domain.
    let domain = "Route: <sip:Example.test:5060;lr>\r\n";
    world.send(
        CALLER,
        &request(CALLER, "INVITE", "sip:bob@example.test", "o4", domain),
    );
    world.expect(CALLER, "SIP/2.0 100");
    let got = world.expect(BOB, "INVITE");
    assert!(headers(&got, "Route").is_empty());
    let both = "Route: <sip:192.0.2.1;lr>, <sip:203.0.113.200;lr>\r\n";
    world.send(
        CALLER,
        &request(CALLER, "INVITE", "sip:bob@example.test", "o3", both),
    );
    world.expect(CALLER, "SIP/2.0 403");
    world.expect_silence();
    assert_eq!(world.count(Counter::RefusedRoute), 2);
}

#[test]
fn a_subscription_never_goes_back_to_the_subscriber() {
    let mut world = world();
    let uri = "sip:bob@example.test";
    let waiting = "Event: message-summary\r\n";
    world.send(BOB, &request(BOB, "SUBSCRIBE", uri, "e1", waiting));
    world.expect(BOB, "SIP/2.0 489");
    // Another one's subscription is the phone's to judge.
    world.send(CALLER, &request(CALLER, "SUBSCRIBE", uri, "e2", waiting));
    let got = world.expect(BOB, "SUBSCRIBE");
    world.send(BOB, &respond(&got, "200 OK", "b", ""));
    world.expect(CALLER, "SIP/2.0 200");
    // Registrations are not.
    let event = "o: Reg ;id=7\r\n";
    world.send(CALLER, &request(CALLER, "SUBSCRIBE", uri, "e3", event));
    world.expect(CALLER, "SIP/2.0 489");
    world.expect_silence();
    assert_eq!(world.count(Counter::RefusedEvent), 2);
}

#[test]
fn what_a_via_says_about_its_sender_is_corrected() {
    let mut world = world();
    let cases = [
        (
            "198.51.100.7:5062;branch=z9hG4bK1",
            "198.51.100.7:5062;branch=z9hG4bK1",
        ),
        (
            "198.51.100.7:5062;rport ;branch=z9hG4bK2",
            "198.51.100.7:5062;rport=5062 ;branch=z9hG4bK2;received=198.51.100.7",
        ),
        (
            "10.1.1.1;branch=z9hG4bK3",
            "10.1.1.1;branch=z9hG4bK3;received=198.51.100.7;rport=5062",
        ),
        (
            "198.51.100.7:5062;received=203.0.113.1;x=\";rport\";rport=1;branch=z9hG4bK4",
            "198.51.100.7:5062;x=\";rport\";branch=z9hG4bK4;received=198.51.100.7;rport=5062",
        ),
    ];
    for (index, (sent, noted)) in cases.into_iter().enumerate() {
        let call = format!("v{index}");
        let invite = request(CALLER, "INVITE", "sip:bob@example.test", &call, "");
        let via = header(&invite, "Via").to_owned();
        world.send(
            CALLER,
            &invite.replace(&via, &format!("SIP/2.0/UDP {sent}")),
        );
        world.expect(CALLER, "SIP/2.0 100");
        let got = world.expect(BOB, "INVITE");
        assert_eq!(headers(&got, "Via")[1], format!("SIP/2.0/UDP {noted}"));
    }
}

#[test]
fn identities_and_credentials_stay_at_the_edge() {
    let mut world = world();
    let claims = "P-Asserted-Identity: <sip:ceo@example.test>\r\n\
                  P-Preferred-Identity: <sip:ceo@example.test>\r\n\
                  Remote-Party-ID: <sip:ceo@example.test>\r\n\
                  Diversion: <sip:ceo@example.test>\r\n\
                  P-Called-Party-ID: <sip:ceo@example.test>\r\n\
                  Proxy-Authorization: Digest username=\"a\", realm=\"ringfence\", nonce=\"n\", \
                  uri=\"sip:x\", response=\"00000000000000000000000000000000\"\r\n\
                  Authorization: Digest username=\"a\", realm=\"elsewhere\", nonce=\"n\", \
                  uri=\"sip:x\", response=\"00000000000000000000000000000000\"\r\n\
                  X-Kept: yes\r\n";
    world.send(
        CALLER,
        &request(CALLER, "INVITE", "sip:bob@example.test", "i1", claims),
    );
    world.expect(CALLER, "SIP/2.0 100");
    let got = world.expect(BOB, "INVITE");
    for gone in [
        "P-Asserted-Identity",
        "P-Preferred-Identity",
        "Remote-Party-ID",
        "Diversion",
    ] {
        assert!(headers(&got, gone).is_empty(), "{gone}");
    }
    assert!(headers(&got, "Proxy-Authorization").is_empty());
    assert!(header(&got, "Authorization").contains("elsewhere"));
    assert_eq!(
        headers(&got, "P-Called-Party-ID"),
        ["<sip:bob@example.test>"]
    );
    assert_eq!(header(&got, "X-Kept"), "yes");
    let ringing = respond(
        &got,
        "180 Ringing",
        "b",
        "P-Asserted-Identity: <sip:ceo@x>\r\n",
    );
    world.send(BOB, &ringing);
    let ringing = world.expect(CALLER, "SIP/2.0 180");
    assert!(headers(&ringing, "P-Asserted-Identity").is_empty());
}

#[test]
fn other_methods_are_proxied_without_a_100() {
    let mut world = world();
    for method in ["MESSAGE", "SUBSCRIBE", "INFO", "OPTIONS", "PUBLISH", "FOO"] {
        let text = request(CALLER, method, "sip:bob@example.test", method, "");
        world.send(CALLER, &text);
        let got = world.expect(BOB, method);
        let forms_dialog = matches!(method, "SUBSCRIBE" | "FOO");
        assert_eq!(
            !headers(&got, "Record-Route").is_empty(),
            forms_dialog,
            "{method}"
        );
        world.send(BOB, &respond(&got, "200 OK", "b", ""));
        world.expect(CALLER, "SIP/2.0 200");
        world.send(CALLER, &text);
        world.expect(CALLER, "SIP/2.0 200");
        world.expect_silence();
    }
    assert_eq!(world.count(Counter::CallsAdmitted), 0);
}

#[test]
fn an_unanswered_request_that_is_no_invite_gets_no_408() {
    let mut world = world();
    world.send(
        CALLER,
        &request(CALLER, "MESSAGE", "sip:bob@example.test", "m1", ""),
    );
    world.expect(BOB, "MESSAGE");
    // RFC 4320 §4.1: not before the caller's timer E is T2, then once.
    world.pass_ms(3_490);
    assert!(!world.waits_for(CALLER));
    world.pass_ms(20);
    world.expect(CALLER, "SIP/2.0 100");
    world.pass_ms(36_490);
    let mut retransmissions = 0;
    while world.waits_for(BOB) {
        world.expect(BOB, "MESSAGE");
        retransmissions += 1;
    }
    assert!(retransmissions >= 7, "{retransmissions}");
    // RFC 4320 §4.2
    world.expect_silence();
    world.pass_ms(70_000);
    world.expect_idle();
}

#[test]
fn an_unanswered_invite_gets_408() {
    let mut world = world();
    let (invite, _) = invite_bob(&mut world, "t1");
    world.pass_ms(32_050);
    while world.waits_for(BOB) {
        world.expect(BOB, "INVITE");
    }
    let timeout = world.expect(CALLER, "SIP/2.0 408");
    world.send(CALLER, &of_invite("ACK", &invite, header(&timeout, "To")));
    world.expect_silence();
    assert_eq!(world.count(Counter::BranchTimeouts), 1);
    world.pass_ms(70_000);
    world.expect_idle();
}

#[test]
fn timer_c_ends_a_call_that_rings_for_too_long() {
    let mut world = world();
    let (_, got) = invite_bob(&mut world, "t2");
    world.send(BOB, &respond(&got, "180 Ringing", "b", ""));
    world.expect(CALLER, "SIP/2.0 180");
    world.pass_ms(100_000);
    world.send(BOB, &respond(&got, "180 Ringing", "b", ""));
    world.expect(CALLER, "SIP/2.0 180");
    // Each provisional response begins it again.
    world.pass_ms(179_000);
    world.expect_silence();
    world.pass_ms(1_100);
    let cancel = world.expect(BOB, "CANCEL sip:bob@10.0.0.1:5070 ");
    assert_eq!(header(&cancel, "Via"), header(&got, "Via"));
    world.send(BOB, &respond(&cancel, "200 OK", "b", ""));
    world.send(BOB, &respond(&got, "487 Request Terminated", "b", ""));
    world.expect(BOB, "ACK");
    world.expect(CALLER, "SIP/2.0 408");
    world.expect_silence();
}

#[test]
fn a_503_goes_up_as_500() {
    let mut world = world();
    let (_, got) = invite_bob(&mut world, "s1");
    world.send(
        BOB,
        &respond(
            &got,
            "503 Service Unavailable",
            "b",
            "Warning: 399 x \"y\"\r\n",
        ),
    );
    world.expect(BOB, "ACK");
    let failed = world.expect(CALLER, "SIP/2.0 500 Server Internal Error\r\n");
    assert_eq!(header(&failed, "Warning"), "399 x \"y\"");
    assert!(header(&failed, "To").ends_with(";tag=b"));
    world.expect_silence();
}

#[test]
fn a_transport_error_goes_up_as_500() {
    let mut world = world();
    invite_bob(&mut world, "s2");
    world.unreachable(0, BOB, 0);
    world.expect(CALLER, "SIP/2.0 500");
    world.expect_silence();
}

#[test]
fn a_100_does_not_begin_timer_c_again() {
    let mut world = world();
    let (_, got) = invite_bob(&mut world, "t3");
    for _ in 0..3 {
        world.send(BOB, &respond(&got, "100 Trying", "", ""));
        world.expect_silence();
        world.pass_ms(50_000);
    }
    world.expect_silence();
    world.pass_ms(31_000);
    world.expect(BOB, "CANCEL");
}

#[test]
fn what_can_not_be_forwarded_whole_is_513() {
    let mut world = world();
    // Larger than a datagram once our lines are in it.
    let uri = "sip:bob@example.test";
    let body = "x".repeat(65_100);
    let large = request(CALLER, "INVITE", uri, "z1", "").replace(
        "Content-Length: 0\r\n\r\n",
        &format!("Content-Length: {}\r\n\r\n{body}", body.len()),
    );
    world.send(CALLER, &large);
    world.expect(CALLER, "SIP/2.0 100");
    world.expect(CALLER, "SIP/2.0 513");
    // More fields to remove than edits.
    let claims = "P-Asserted-Identity: <sip:ceo@example.test>\r\n".repeat(100);
    world.send(CALLER, &request(CALLER, "INVITE", uri, "z2", &claims));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect(CALLER, "SIP/2.0 513");
    world.expect_silence();
    assert_eq!(world.count(Counter::RefusedTooLarge), 2);
    assert_eq!(world.count(Counter::Branches), 0);
    world.pass_ms(100_000);
    world.discard();
    world.expect_idle();
}

#[test]
fn folded_and_compact_headers_are_forwarded_as_they_are() {
    let mut world = world();
    let invite = format!(
        "INVITE sip:bob@example.test SIP/2.0\r\n\
         v: SIP/2.0/UDP {CALLER};branch=z9hG4bKfold\r\n\
         f: \"A, B\" <sip:caller@example.test>;tag=1\r\n\
         t: <sip:bob@example.test>\r\n\
         i: folded\r\n\
         CSeq: 1 INVITE\r\n\
         m: <sip:caller@{CALLER}>\r\n\
         s: one\r\n two\r\n\
         c: application/sdp\r\n\
         l: 4\r\n\r\nv=0\n"
    );
    world.send(CALLER, &invite);
    world.expect(CALLER, "SIP/2.0 100");
    let got = world.expect(BOB, "INVITE sip:bob@10.0.0.1:5070 SIP/2.0\r\n");
    let (head, body) = got.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "v=0\n");
    let untouched = invite
        .split_once("\r\n")
        .unwrap()
        .1
        .split_once("\r\n\r\n")
        .unwrap()
        .0;
    assert!(head.ends_with(untouched), "{head}");
    assert!(head.contains("\r\nMax-Forwards: 70\r\n"));
}
