//! Where answers go, and what they look like.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use super::*;
use crate::sip::testing::{self, World};
use crate::sip::{ListenerId, ShardId, SourceAddr};
use crate::tenant::Tables;

fn peer(text: &str) -> SourceAddr {
    text.parse::<std::net::SocketAddr>().unwrap().into()
}

fn with_via(via: &str) -> String {
    let text = testing::request("OPTIONS", "sip:a.test", "<sip:alice@a.test>", "");
    text.replace(
        "SIP/2.0/UDP 198.51.100.7:5062;rport;branch=z9hG4bK-one",
        via,
    )
}

#[test]
fn answers_go_to_the_source_address_and_to_the_port_that_can_be_reached() {
    for (via, source, port) in [
        // RFC 3581 §4: rport asks for the source port.
        (
            "SIP/2.0/UDP 198.51.100.7:5062;rport;branch=z9hG4bK1",
            "198.51.100.7:1024",
            1024,
        ),
        (
            "SIP/2.0/UDP 198.51.100.7;rport=9;branch=z9hG4bK1",
            "198.51.100.7:1024",
            1024,
        ),
        // RFC 3261 §18.2.2: sent-by is the source: its port.
        (
            "SIP/2.0/UDP 198.51.100.7:5062;branch=z9hG4bK1",
            "198.51.100.7:1024",
            5062,
        ),
        (
            "SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK1",
            "198.51.100.7:1024",
            5060,
        ),
        (
            "SIP/2.0/UDP [2001:db8::7]:5062;branch=z9hG4bK1",
            "[2001:db8::7]:1024",
            5062,
        ),
        (
            "SIP/2.0/UDP [2001:DB8:0::7];branch=z9hG4bK1",
            "[2001:db8::7]:1024",
            5060,
        ),
        // Behind NAT, or by name: only the source is known to be right.
        (
            "SIP/2.0/UDP 10.0.0.7:5062;branch=z9hG4bK1",
            "198.51.100.7:1024",
            1024,
        ),
        (
            "SIP/2.0/UDP phone.test:5062;branch=z9hG4bK1",
            "198.51.100.7:1024",
            1024,
        ),
        // Never where the Via would lead it.
        (
            "SIP/2.0/UDP 198.51.100.7:5062;maddr=203.0.113.1;branch=z9hG4bK1",
            "198.51.100.7:1024",
            5062,
        ),
        (
            "SIP/2.0/UDP 10.0.0.7:53;received=203.0.113.1;branch=z9hG4bK1",
            "198.51.100.7:1024",
            1024,
        ),
    ] {
        let flow = testing::with_message(&with_via(via), |message| {
            reply_flow(testing::arrival(source), message)
        });
        let expected = Flow::Udp {
            listener: ListenerId(0),
            peer: peer(source).with_port(port),
        };
        assert_eq!(flow, expected, "{via} from {source}");
    }
}

#[test]
fn answers_to_a_connection_stay_on_it() {
    let flow = Flow::Stream {
        shard: ShardId(1),
        listener: ListenerId(0),
        slot: 3,
        generation: 4,
        peer: peer("198.51.100.7:1024"),
    };
    let text = with_via("SIP/2.0/TCP 198.51.100.7:5062;branch=z9hG4bK1");
    testing::with_message(&text, |message| {
        assert_eq!(reply_flow(Arrival { flow }, message), flow);
    });
}

#[test]
fn a_retransmission_gets_the_same_tag_and_anything_else_another() {
    let mut world = World::new(Tables::default());
    let mut tag =
        |text: &str| testing::with_message(text, |message| stateless_tag(&world.turn(), message));
    let text = testing::request("OPTIONS", "sip:a.test", "<sip:alice@a.test>", "");
    let first = tag(&text);
    assert!(first.iter().all(u8::is_ascii_hexdigit));
    assert_eq!(tag(&text), first);
    // Another hop's header does not make it another request.
    assert_eq!(tag(&text.replace("To: <", "User-Agent: x\r\nTo: <")), first);
    for (from, to) in [
        ("z9hG4bK-one", "z9hG4bK-two"),
        ("Call-ID: call", "Call-ID: c4ll"),
        ("from-tag", "from-t4g"),
        ("CSeq: 7", "CSeq: 8"),
    ] {
        assert_ne!(tag(&text.replace(from, to)), first, "{to}");
    }
    world.keys.hash[0] ^= 1;
    let other = testing::with_message(&text, |message| stateless_tag(&world.turn(), message));
    assert_ne!(other, first, "nobody outside can foresee it");
}

#[test]
fn an_answer_has_what_rfc_3261_asks_for_and_names_no_software() {
    let mut world = World::new(Tables::default());
    let text = testing::request("OPTIONS", "sip:a.test", "<sip:alice@a.test>", "");
    testing::with_message(&text, |message| {
        let arrival = testing::arrival("198.51.100.7:1024");
        let extra = |out: &mut Writer<'_>| out.put(b"Allow: INVITE\r\n");
        assert!(answer(&mut world.turn(), arrival, message, 404, extra));
        let body = b"v=0\r\n";
        assert!(answer_with_body(
            &mut world.turn(),
            arrival,
            message,
            200,
            |_| {},
            body
        ));
        assert!(answer(&mut world.turn(), arrival, message, 100, |_| {}));
    });
    let sent = world.sent();
    let tag = testing::with_message(&text, |message| stateless_tag(&world.turn(), message));
    let tag = std::str::from_utf8(&tag).unwrap();
    let (flow, refusal) = &sent[0];
    assert_eq!(flow.peer(), peer("198.51.100.7:1024"));
    assert!(refusal.starts_with("SIP/2.0 404 Not Found\r\n"));
    assert!(refusal.contains(";rport=1024"), "{refusal}");
    assert!(
        refusal.contains(&format!("To: <sip:a.test>;tag={tag}\r\n")),
        "{refusal}"
    );
    assert!(refusal.contains("Allow: INVITE\r\n"));
    assert!(refusal.ends_with("Content-Length: 0\r\n\r\n"));
    assert!(!refusal.contains("Server"));
    assert!(sent[1].1.ends_with("Content-Length: 5\r\n\r\nv=0\r\n"));
    assert!(
        sent[2].1.contains("To: <sip:a.test>\r\n"),
        "a 100 needs no tag"
    );
}

#[test]
fn an_answer_that_finds_no_room_is_not_sent() {
    let mut world = World::new(Tables::default());
    let text = testing::request("OPTIONS", "sip:a.test", "<sip:alice@a.test>", "");
    testing::with_message(&text, |message| {
        let arrival = testing::arrival("198.51.100.7:1024");
        let too_much = |out: &mut Writer<'_>| {
            for _ in 0..=crate::limits::OUTBOX_BYTES_MAX / 4096 {
                out.put(&[b'x'; 4096]);
            }
        };
        assert!(!answer(&mut world.turn(), arrival, message, 200, too_much));
    });
    assert!(world.sent().is_empty());
}
