//! Calls to and from trunks, failover, and where requests inside their dialogs may go.

use super::super::testing::*;
use super::*;
use crate::sip::{Command, Counter};

fn world() -> World {
    let mut world = World::new(TENANTS, 1);
    world.register(BOB, "bob", "<sip:bob@10.0.0.1>");
    world
}

/// A call to a number behind the carrier, up to its first target.
fn dial(world: &mut World, call: &str) -> (String, String) {
    let invite = request(CALLER, "INVITE", "sip:+4930123@example.test", call, "");
    world.send(CALLER, &invite);
    world.expect(CALLER, "SIP/2.0 100");
    let got = world.expect(CARRIER, "INVITE");
    world.expect_silence();
    (invite, got)
}

#[test]
fn a_number_goes_to_the_target_of_its_route() {
    let mut world = world();
    let (_, got) = dial(&mut world, "o1");
    assert_eq!(request_uri(&got), "sip:+4930123@203.0.113.80:5060");
    assert!(headers(&got, "P-Called-Party-ID").is_empty());
    assert!(
        headers(&got, "P-Asserted-Identity").is_empty(),
        "nobody was authenticated"
    );
    let contact = "Contact: <sip:sbc@203.0.113.97:5070>\r\n";
    world.send(CARRIER, &respond(&got, "200 OK", "c", contact));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    // The carrier's Contact lies in its `contacts`, and is followed.
    world.send(CALLER, &in_dialog(CALLER, "ACK", 1, &got, &ok, true));
    world.expect("203.0.113.97:5070", "ACK sip:sbc@203.0.113.97:5070 ");
    let bye = in_dialog(CALLER, "BYE", 2, &got, &ok, true);
    // Anywhere else is not.
    for elsewhere in [
        "203.0.113.200:5070",
        "198.51.100.30",
        "carrier.test",
        "192.0.2.1:5060",
    ] {
        world.send(CALLER, &bye.replacen("203.0.113.97:5070", elsewhere, 1));
        world.expect(CALLER, "SIP/2.0 403");
        world.expect_silence();
    }
    assert_eq!(world.count(Counter::RefusedRoute), 4);
    // And the carrier's own next hop is.
    let routed = bye.replacen("From: ", "Route: <sip:203.0.113.80;lr>\r\nFrom: ", 1);
    world.send(CALLER, &routed.replace("K-BYE-2", "K-BYE-3"));
    let got = world.expect(CARRIER, "BYE sip:sbc@203.0.113.97:5070 ");
    assert_eq!(headers(&got, "Route"), ["<sip:203.0.113.80;lr>"]);
    world.check_sums();
}

#[test]
fn a_strict_router_behind_a_trunk_finds_itself_in_the_request_uri() {
    let mut world = world();
    let (_, got) = dial(&mut world, "o2");
    let contact = "Contact: <sip:sbc@10.9.9.9>\r\n";
    world.send(CARRIER, &respond(&got, "200 OK", "c", contact));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    let bye = in_dialog(CALLER, "BYE", 2, &got, &ok, true);
    let routed = bye.replacen("From: ", "Route: <sip:203.0.113.80>\r\nFrom: ", 1);
    world.send(CALLER, &routed);
    let got = world.expect(CARRIER, "BYE sip:203.0.113.80 ");
    assert_eq!(headers(&got, "Route"), ["<sip:sbc@10.9.9.9>"]);
}

#[test]
fn a_strict_router_before_us_is_understood() {
    let mut world = world();
    let (_, got) = dial(&mut world, "o3");
    let contact = "Contact: <sip:sbc@203.0.113.97>\r\n";
    world.send(CARRIER, &respond(&got, "200 OK", "c", contact));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    let bye = in_dialog(CALLER, "BYE", 2, &got, &ok, true);
    let ours = uri_of(header(&bye, "Route")).to_owned();
    let strict = bye
        .replacen("sip:sbc@203.0.113.97", &ours, 1)
        .replace(&format!("Route: <{ours}>"), "Route: <sip:sbc@203.0.113.97>");
    world.send(CALLER, &strict);
    let got = world.expect("203.0.113.97:5060", "BYE sip:sbc@203.0.113.97 ");
    assert!(headers(&got, "Route").is_empty());
}

#[test]
fn the_carrier_ends_a_call_by_its_token() {
    let mut world = world();
    let (_, got) = dial(&mut world, "o4");
    let ok = respond(&got, "200 OK", "c", "Contact: <sip:sbc@203.0.113.97>\r\n");
    world.send(CARRIER, &ok);
    world.expect(CALLER, "SIP/2.0 200");
    // From an address that is no source of the trunk: the token decides.
    let other = "203.0.113.99:5060";
    world.send(other, &in_dialog(other, "BYE", 1, &got, &ok, false));
    let bye = world.expect(CALLER, "BYE sip:caller@198.51.100.7:5062 ");
    world.send(CALLER, &respond(&bye, "200 OK", "", ""));
    world.expect(other, "SIP/2.0 200");
    world.expect_silence();
}

#[test]
fn a_call_from_a_trunk_reaches_the_user_of_its_number() {
    let mut world = world();
    let invite = request(CARRIER, "INVITE", "sip:+15550100@192.0.2.1", "i1", "");
    let invite = invite.replacen(
        "Content-Length",
        "P-Asserted-Identity: <sip:+4930@carrier.test>\r\n\
         Route: <sip:192.0.2.1;lr>, <sip:203.0.113.250;lr>\r\nContent-Length",
        1,
    );
    world.send(CARRIER, &invite);
    world.expect(CARRIER, "SIP/2.0 100");
    let got = world.expect(BOB, "INVITE sip:bob@10.0.0.1 ");
    assert_eq!(
        header(&got, "P-Asserted-Identity"),
        "<sip:+4930@carrier.test>"
    );
    assert_eq!(
        header(&got, "P-Called-Party-ID"),
        "<sip:+15550100@192.0.2.1>"
    );
    assert!(headers(&got, "Route").is_empty());
    let ok = respond(&got, "200 OK", "b", "Contact: <sip:bob@10.0.0.1>\r\n");
    world.send(BOB, &ok);
    world.expect(CARRIER, "SIP/2.0 200");
    // bob hangs up; the trunk's Contact is its source, which it may be.
    world.send(BOB, &in_dialog(BOB, "BYE", 1, &got, &ok, false));
    world.expect(CARRIER, "BYE sip:caller@203.0.113.80:5060 ");
    world.expect_silence();
}

#[test]
fn a_caller_who_hides_is_hidden_from_users() {
    let mut world = world();
    let hidden = "P-Asserted-Identity: <sip:+4930@carrier.test>\r\nPrivacy: id;critical\r\n";
    world.send(
        CARRIER,
        &request(CARRIER, "INVITE", "sip:+15550100@192.0.2.1", "i2", hidden),
    );
    world.expect(CARRIER, "SIP/2.0 100");
    let got = world.expect(BOB, "INVITE");
    assert!(headers(&got, "P-Asserted-Identity").is_empty());
    assert_eq!(header(&got, "Privacy"), "id;critical");
}

#[test]
fn a_number_that_no_trunk_route_has_is_404() {
    let mut world = world();
    world.send(
        CARRIER,
        &request(CARRIER, "INVITE", "sip:+999@192.0.2.1", "i3", ""),
    );
    world.expect(CARRIER, "SIP/2.0 404");
    world.expect_silence();
}

#[test]
fn the_next_target_is_tried_when_the_first_is_silent() {
    let mut world = world();
    let (_, got) = dial(&mut world, "s1");
    world.pass_ms(2_900);
    while world.waits_for(CARRIER) {
        world.expect(CARRIER, "INVITE");
    }
    world.expect_silence();
    world.pass_ms(200);
    let second = world.expect(CARRIER_2, "INVITE sip:+4930123@203.0.113.81:5060 ");
    assert_ne!(header(&second, "Via"), header(&got, "Via"));
    assert_eq!(world.count(Counter::TrunkFailovers), 1);
    // The first wakes: it is cancelled, and says nothing to the caller.
    world.send(CARRIER, &respond(&got, "183 Session Progress", "1", ""));
    let cancel = world.expect(CARRIER, "CANCEL");
    world.send(CARRIER, &respond(&cancel, "200 OK", "1", ""));
    world.send(CARRIER, &respond(&got, "487 Request Terminated", "1", ""));
    world.expect(CARRIER, "ACK");
    world.expect_silence();
    world.send(CARRIER_2, &respond(&second, "180 Ringing", "2", ""));
    world.expect(CALLER, "SIP/2.0 180");
    world.send(
        CARRIER_2,
        &respond(&second, "200 OK", "2", "Contact: <sip:203.0.113.81>\r\n"),
    );
    world.expect(CALLER, "SIP/2.0 200");
    world.expect_silence();
    // Passed over for a while, then tried first again.
    world.send(
        CALLER,
        &request(CALLER, "INVITE", "sip:+4930@example.test", "s2", ""),
    );
    world.expect(CALLER, "SIP/2.0 100");
    let third = world.expect(CARRIER_2, "INVITE");
    world.send(CARRIER_2, &respond(&third, "486 Busy Here", "3", ""));
    world.pass_ms(33_000);
    world.discard();
    dial(&mut world, "s3");
}

#[test]
fn the_next_target_is_tried_on_5xx_and_on_a_transport_error() {
    for (index, failure) in ["500 X", "502 X", "503 X", "504 X", ""]
        .into_iter()
        .enumerate()
    {
        let mut world = world();
        let (_, got) = dial(&mut world, &format!("e{index}"));
        if failure.is_empty() {
            world.unreachable(0, CARRIER, 0);
        } else {
            world.send(CARRIER, &respond(&got, failure, "1", ""));
            world.expect(CARRIER, "ACK");
        }
        let second = world.expect(CARRIER_2, "INVITE");
        world.expect_silence();
        world.send(CARRIER_2, &respond(&second, "503 X", "2", ""));
        world.expect(CARRIER_2, "ACK");
        let expected = if failure.is_empty() {
            "500"
        } else {
            &failure[..3]
        };
        let expected = if expected == "503" { "500" } else { expected };
        world.expect(CALLER, &format!("SIP/2.0 {expected}"));
        world.expect_silence();
    }
}

#[test]
fn a_refusal_of_the_carrier_is_final() {
    let mut world = world();
    let (_, got) = dial(&mut world, "f1");
    let extra = "P-Asserted-Identity: <sip:+4930123@carrier.test>\r\n";
    world.send(CARRIER, &respond(&got, "404 Not Found", "1", extra));
    world.expect(CARRIER, "ACK");
    let refused = world.expect(CALLER, "SIP/2.0 404");
    assert!(
        header(&refused, "P-Asserted-Identity").contains("+4930123"),
        "trunks are believed"
    );
    world.expect_silence();
}

#[test]
fn the_last_target_is_waited_for() {
    let mut world = world();
    dial(&mut world, "w1");
    world.unreachable(0, CARRIER, 0);
    let second = world.expect(CARRIER_2, "INVITE");
    world.pass_ms(20_000);
    while world.waits_for(CARRIER_2) {
        world.expect(CARRIER_2, "INVITE");
    }
    world.expect_silence();
    world.send(CARRIER_2, &respond(&second, "200 OK", "2", ""));
    world.expect(CALLER, "SIP/2.0 200");
}

#[test]
fn a_cancel_while_a_second_target_is_tried_ends_both() {
    let mut world = world();
    let (invite, first) = dial(&mut world, "c1");
    world.pass_ms(3_100);
    let second = world.expect(CARRIER_2, "INVITE");
    world.send(CARRIER_2, &respond(&second, "180 Ringing", "2", ""));
    world.discard();
    world.send(CALLER, &of_invite("CANCEL", &invite, header(&invite, "To")));
    world.expect(CALLER, "SIP/2.0 200");
    let cancel = world.expect(CARRIER_2, "CANCEL");
    world.send(CARRIER_2, &respond(&cancel, "200 OK", "2", ""));
    world.send(
        CARRIER_2,
        &respond(&second, "487 Request Terminated", "2", ""),
    );
    world.expect(CARRIER_2, "ACK");
    world.expect(CALLER, "SIP/2.0 487");
    world.send(CARRIER, &respond(&first, "180 Ringing", "1", ""));
    world.expect(CARRIER, "CANCEL");
    world.expect_silence();
}

#[test]
fn an_authenticated_caller_is_named_to_the_carrier() {
    let provision = TENANTS.replace(
        "domain = \"example.test\"\n  prefix",
        "domain = \"closed.test\"\n  prefix",
    );
    let mut world = World::new(&provision, 1);
    let uri = "sip:+4930@closed.test";
    let claim = "P-Asserted-Identity: <sip:ceo@closed.test>\r\n";
    let invite = request(CALLER, "INVITE", uri, "a1", claim)
        .replace("sip:caller@example.test", "sip:alice@closed.test");
    world.send(CALLER, &invite);
    let challenge = world.expect(CALLER, "SIP/2.0 407");
    let nonce = crate::sip::testing::challenge_value(&challenge, "nonce").unwrap();
    let login = crate::sip::testing::Login::alice("INVITE", uri, &nonce).value();
    let answer = format!("Proxy-Authorization: {login}\r\nContent-Length");
    world.send(
        CALLER,
        &invite
            .replace("K-a1", "K-a2")
            .replacen("Content-Length", &answer, 1),
    );
    world.expect(CALLER, "SIP/2.0 100");
    let got = world.expect(CARRIER, "INVITE");
    assert_eq!(
        headers(&got, "P-Asserted-Identity"),
        ["<sip:alice@closed.test>"]
    );
    assert!(headers(&got, "Proxy-Authorization").is_empty());
    // The next target is told the same.
    world.unreachable(0, CARRIER, 0);
    let got = world.expect(CARRIER_2, "INVITE");
    assert_eq!(
        headers(&got, "P-Asserted-Identity"),
        ["<sip:alice@closed.test>"]
    );
}

#[test]
fn a_trunk_on_another_listener_gets_two_record_routes() {
    let provision = TENANTS
        .replace("sip:203.0.113.80:5060", "sip:[2001:db8:c::1]:5060")
        .replace("contacts = [", "contacts = [\"2001:db8:c::/48\", ");
    let mut world = World::new(&provision, 1);
    let sbc = "[2001:db8:c::1]:5060";
    world.send(
        CALLER,
        &request(CALLER, "INVITE", "sip:+4930@example.test", "d1", ""),
    );
    world.expect(CALLER, "SIP/2.0 100");
    let got = world.next_received(sbc);
    assert_eq!(got.listener.0, 1);
    let got = got.text;
    assert!(header(&got, "Via").starts_with("SIP/2.0/UDP edge.example.org:5070;branch="));
    let routes = headers(&got, "Record-Route");
    assert_eq!(routes.len(), 2);
    // RFC 5658 §3: each side finds the address it can reach first.
    assert!(
        routes[0].ends_with("@edge.example.org:5070;lr>"),
        "{routes:?}"
    );
    assert!(routes[1].ends_with("@192.0.2.1:5060;lr>"), "{routes:?}");
    let ok = respond(&got, "200 OK", "c", "Contact: <sip:[2001:db8:c::2]>\r\n");
    world.send_to(0, sbc, 1, ok.as_bytes());
    let heard = world.expect(CALLER, "SIP/2.0 200");
    world.send(CALLER, &in_dialog(CALLER, "BYE", 2, &got, &heard, true));
    let bye = world.next_received("[2001:db8:c::2]:5060");
    assert_eq!(bye.listener.0, 1);
    assert!(
        headers(&bye.text, "Route").is_empty(),
        "both of ours are removed"
    );
    // And from the other side, by the other listener.
    let other = in_dialog(sbc, "INFO", 1, &got, &ok, false);
    world.send_to(0, sbc, 1, other.as_bytes());
    let info = world.next_received(CALLER);
    assert_eq!(info.listener.0, 0);
    assert!(headers(&info.text, "Route").is_empty());
    // A second route that names us with a broken token is refused.
    let second = routes[1];
    let forged = second.replacen("sip:", "sip:x", 1);
    let text = in_dialog(CALLER, "INFO", 9, &got, &heard, true);
    let text = text.replace(header(&text, "Route"), "<sip:none>");
    let text = text.replacen(
        "Route: <sip:none>\r\n",
        &format!("Route: {second}\r\nRoute: {forged}\r\n"),
        1,
    );
    world.send(CALLER, &text);
    world.expect(CALLER, "SIP/2.0 403");
}

#[test]
fn a_draining_node_takes_no_new_calls_and_keeps_those_it_has() {
    let mut world = world();
    let (_, got) = dial(&mut world, "n1");
    world.send(
        CARRIER,
        &respond(&got, "200 OK", "c", "Contact: <sip:203.0.113.80>\r\n"),
    );
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.command(&Command::Drain);
    world.send(
        CALLER,
        &request(CALLER, "INVITE", "sip:bob@example.test", "n2", ""),
    );
    let refused = world.expect(CALLER, "SIP/2.0 503");
    assert_eq!(header(&refused, "Retry-After"), "5");
    world.send(CALLER, &in_dialog(CALLER, "BYE", 2, &got, &ok, true));
    world.expect(CARRIER, "BYE");
    world.expect_silence();
}
