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
    let invite = request(CALLER, "INVITE", "sip:bob@example.test", "c2", "")
        .replace(&format!("<sip:caller@{CALLER}>"), "<sip:caller@192.168.1.5>");
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
