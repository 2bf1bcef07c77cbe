//! What shards say to one another, full tables and queues, restarts, and what is no SIP.

use super::super::testing::*;
use super::*;
use crate::sip::{Counter, Disposition};

const ELSEWHERE: &str = "203.0.113.66:5062";

fn world(shards: u8) -> World {
    let mut world = World::new(TENANTS, shards);
    world.register(BOB, "bob", "<sip:bob@10.0.0.1>");
    world
}

/// The shard that does not own bob, when there are two.
fn far_shard(world: &World) -> usize {
    let owner = crate::sip::location::owner(&world.keys, 2, b"bob@example.test");
    1 - usize::from(owner.0)
}

#[test]
fn a_register_is_handled_by_the_shard_that_owns_its_address() {
    let world = world(2);
    let accepted: Vec<u64> = world
        .edges
        .iter()
        .map(|edge| edge.counters().value(Counter::RegistersAccepted))
        .collect();
    let owner = 1 - far_shard(&world);
    assert_eq!(accepted[owner], 1, "{accepted:?}");
    world.check_sums();
}

#[test]
fn a_callee_of_another_shard_is_located_there() {
    let mut world = world(2);
    let shard = far_shard(&world);
    let invite = request(CALLER, "INVITE", "sip:bob@example.test", "l1", "");
    world.send_to(shard, CALLER, 0, invite.as_bytes());
    world.expect(CALLER, "SIP/2.0 100");
    let got = world.expect(BOB, "INVITE sip:bob@10.0.0.1 ");
    assert_eq!(header(&got, "P-Called-Party-ID"), "<sip:bob@example.test>");
    assert_eq!(world.count(Counter::Waiting), 1);
    let ok = respond(&got, "200 OK", "b", "Contact: <sip:bob@10.0.0.1>\r\n");
    // The response lands on the wrong shard, and is handed over by our branch.
    world.send_to(1 - shard, BOB, 0, ok.as_bytes());
    let heard = world.expect(CALLER, "SIP/2.0 200");
    // So is the BYE, by our token.
    let bye = in_dialog(CALLER, "BYE", 2, &got, &heard, true);
    world.send_to(1 - shard, CALLER, 0, bye.as_bytes());
    world.expect(BOB, "BYE");
    world.expect_silence();
    assert!(world.count(Counter::HandedOver) >= 2);
    world.check_sums();
}

#[test]
fn an_icmp_error_that_another_shard_hears_of_fails_the_branch() {
    let mut world = world(2);
    let shard = far_shard(&world);
    let invite = request(CALLER, "INVITE", "sip:bob@example.test", "l3", "");
    world.send_to(shard, CALLER, 0, invite.as_bytes());
    world.expect(CALLER, "SIP/2.0 100");
    world.expect(BOB, "INVITE sip:bob@10.0.0.1 ");
    world.unreachable(1 - shard, BOB, 0);
    world.expect(CALLER, "SIP/2.0 500");
    world.expect_silence();
    world.check_sums();
}

#[test]
fn a_call_cancelled_while_it_is_located_ends_at_once() {
    let mut world = world(2);
    let shard = far_shard(&world);
    world.hold_shard_messages = true;
    let invite = request(CALLER, "INVITE", "sip:bob@example.test", "l2", "");
    world.send_to(shard, CALLER, 0, invite.as_bytes());
    world.expect(CALLER, "SIP/2.0 100");
    world.send_to(shard, CALLER, 0, invite.as_bytes());
    world.expect(CALLER, "SIP/2.0 100");
    let cancel = of_invite("CANCEL", &invite, header(&invite, "To"));
    world.send_to(shard, CALLER, 0, cancel.as_bytes());
    world.expect(CALLER, "SIP/2.0 200");
    let ended = world.expect(CALLER, "SIP/2.0 487");
    let ack = of_invite("ACK", &invite, header(&ended, "To"));
    world.send_to(shard, CALLER, 0, ack.as_bytes());
    world.hold_shard_messages = false;
    world.deliver_between_shards();
    world.expect_silence();
    world.pass_ms(70_000);
    world.expect_idle();
    world.check_sums();
}

#[test]
fn a_full_queue_is_503_for_a_call_and_a_loss_for_a_datagram() {
    let mut world = world(2);
    let shard = far_shard(&world);
    world.shard_room = 0;
    let invite = request(CALLER, "INVITE", "sip:bob@example.test", "l3", "");
    world.send_to(shard, CALLER, 0, invite.as_bytes());
    world.expect(CALLER, "SIP/2.0 100");
    let refused = world.expect(CALLER, "SIP/2.0 503");
    assert_eq!(header(&refused, "Retry-After"), "5");
    world.shard_room = 64;
    let again = request(CALLER, "INVITE", "sip:bob@example.test", "l4", "");
    world.send_to(shard, CALLER, 0, again.as_bytes());
    world.expect(CALLER, "SIP/2.0 100");
    let got = world.expect(BOB, "INVITE");
    world.shard_room = 0;
    let ok = respond(&got, "200 OK", "b", "");
    world.send_to(1 - shard, BOB, 0, ok.as_bytes());
    world.expect_silence();
    assert_eq!(world.count(Counter::DroppedQueueFull), 1);
    world.check_sums();
}

#[test]
fn a_cancel_on_another_shard_finds_its_call() {
    let mut world = world(3);
    let invite = request(CALLER, "INVITE", "sip:bob@example.test", "x1", "");
    world.send_to(0, CALLER, 0, invite.as_bytes());
    world.expect(CALLER, "SIP/2.0 100");
    let got = world.expect(BOB, "INVITE");
    let ringing = respond(&got, "180 Ringing", "b", "");
    world.send(BOB, &ringing);
    world.expect(CALLER, "SIP/2.0 180");
    let cancel = of_invite("CANCEL", &invite, header(&invite, "To"));
    world.send_to(2, CALLER, 0, cancel.as_bytes());
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(BOB, "CANCEL");
    world.expect_silence();
    // One that no shard knows is 481, once.
    let unknown = cancel.replace("K-x1", "K-x2");
    world.send_to(1, CALLER, 0, unknown.as_bytes());
    world.expect(CALLER, "SIP/2.0 481");
    world.expect_silence();
    world.check_sums();
}

#[test]
fn a_call_outlives_a_restart_with_another_number_of_shards() {
    let mut world = world(1);
    let invite = request(CALLER, "INVITE", "sip:bob@example.test", "r1", "");
    world.send(CALLER, &invite);
    world.expect(CALLER, "SIP/2.0 100");
    let got = world.expect(BOB, "INVITE");
    let ok = respond(&got, "200 OK", "b", "Contact: <sip:bob@10.0.0.1>\r\n");
    world.send(BOB, &ok);
    let heard = world.expect(CALLER, "SIP/2.0 200");
    for shards in [3, 2, 1] {
        world.restart(shards);
        for shard in 0..usize::from(shards) {
            let cseq = u32::from(shards) * 10 + shard as u32;
            let info = in_dialog(CALLER, "INFO", cseq, &got, &heard, true);
            world.send_to(shard, CALLER, 0, info.as_bytes());
            let info = world.expect(BOB, "INFO sip:bob@10.0.0.1 ");
            world.send_to(shard, BOB, 0, respond(&info, "200 OK", "", "").as_bytes());
            world.expect(CALLER, "SIP/2.0 200");
        }
        world.check_sums();
    }
    world.send(BOB, &in_dialog(BOB, "BYE", 1, &got, &ok, false));
    world.expect(CALLER, "BYE");
    world.expect_silence();
}

#[test]
fn with_full_tables_calls_in_progress_go_on_and_new_ones_wait() {
    let mut world = World::with_settings(TENANTS, 1, |settings| {
        settings.capacity.transactions = 2;
    });
    world.register(BOB, "bob", "<sip:bob@10.0.0.1>");
    let invite = request(CALLER, "INVITE", "sip:bob@example.test", "s1", "");
    world.send(CALLER, &invite);
    let got = world.next(BOB);
    let ok = respond(&got, "200 OK", "b", "Contact: <sip:bob@10.0.0.1>\r\n");
    world.send(BOB, &ok);
    world.discard();
    world.pass_ms(70_000);
    for call in ["s2", "s3"] {
        world.send(
            CALLER,
            &request(CALLER, "INVITE", "sip:bob@example.test", call, ""),
        );
        world.expect(CALLER, "SIP/2.0 100");
        world.expect(BOB, "INVITE");
    }
    world.send(
        CALLER,
        &request(CALLER, "INVITE", "sip:bob@example.test", "s4", ""),
    );
    let refused = world.expect(CALLER, "SIP/2.0 503");
    assert_eq!(header(&refused, "Retry-After"), "5");
    world.expect_silence();
    // RFC 3261 §16.11: inside a dialog without a transaction, with the same branch each time.
    let bye = in_dialog(CALLER, "BYE", 2, &got, &ok, true);
    world.send(CALLER, &bye);
    let first = world.expect(BOB, "BYE sip:bob@10.0.0.1 ");
    world.send(CALLER, &bye);
    let again = world.expect(BOB, "BYE");
    assert_eq!(header(&first, "Via"), header(&again, "Via"));
    assert_eq!(world.count(Counter::ForwardedStateless), 2);
    let answer = respond(&first, "200 OK", "", "");
    // A response aimed at somebody else, or to another request, is not forwarded.
    for forged in [
        answer.replace("rport=5062", "rport=5063"),
        answer.replace("received=198.51.100.7", "received=203.0.113.66"),
        answer.replace("branch=z9hG4bK-BYE", "branch=z9hG4bK-BYF"),
    ] {
        assert_ne!(forged, answer);
        world.send(BOB, &forged);
        world.expect_silence();
    }
    assert_eq!(world.count(Counter::DroppedStrayResponse), 3);
    world.send(BOB, &answer);
    let heard = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(headers(&heard, "Via").len(), 1);
    // Another request has another branch.
    world.send(CALLER, &in_dialog(CALLER, "BYE", 3, &got, &ok, true));
    let other = world.expect(BOB, "BYE");
    assert_ne!(header(&first, "Via"), header(&other, "Via"));
    world.check_sums();
}

#[test]
fn a_full_message_arena_refuses_and_keeps_nothing() {
    let mut world = World::with_settings(TENANTS, 1, |settings| {
        settings.capacity.message_bytes = 1;
    });
    world.register(BOB, "bob", "<sip:bob@10.0.0.1>");
    let mut refused = 0;
    for call in 0..200 {
        let call = format!("a{call}");
        world.send(
            CALLER,
            &request(CALLER, "INVITE", "sip:bob@example.test", &call, ""),
        );
        let mut last = world.next(CALLER);
        if last.starts_with("SIP/2.0 100") && world.waits_for(CALLER) {
            last = world.next(CALLER);
        }
        refused += u32::from(last.starts_with("SIP/2.0 503"));
    }
    assert!(refused > 100, "{refused}");
    world.pass_ms(200_000);
    world.discard();
    world.pass_ms(100_000);
    world.expect_idle();
    world.check_sums();
}

#[test]
fn keep_alives_are_counted_and_nothing_else() {
    let mut world = world(1);
    let before = world.count(Counter::Absorbed);
    for bytes in [&b""[..], b"\r\n\r\n", b"\0\0\0\0", b"\r\n", b"\0"] {
        world.send_to(0, ELSEWHERE, 0, bytes);
        world.expect_silence();
    }
    assert_eq!(world.count(Counter::KeepAlives), 5);
    assert_eq!(world.count(Counter::Absorbed) - before, 5);
    assert_eq!(world.count(Counter::Malformed), 0);
    world.check_sums();
}

#[test]
fn a_stun_binding_request_is_answered_to_its_source() {
    let mut world = world(1);
    let mut stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    stun.extend([7; 12]);
    let arrival = World::arrival(ELSEWHERE, 0);
    let mut out = crate::sip::Outbox::new();
    let now = world.now;
    world.edges[0].handle_message(now, arrival, &stun, &mut out);
    match out.actions() {
        [crate::sip::Action::Send(send)] => {
            assert_eq!(send.flow, arrival.flow);
            assert_eq!(out.octets(&send.bytes)[..2], [1, 1]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.count(Counter::StunAnswered), 1);
    world.check_sums();
}

#[test]
fn what_is_malformed_is_refused_or_dropped_and_counted() {
    let mut world = world(1);
    let good = request(ELSEWHERE, "OPTIONS", "sip:192.0.2.1", "m1", "");
    let long = good.replace("Content-Length: 0", "Content-Length: 1000");
    let version = good.replacen("SIP/2.0\r\n", "SIP/3.0\r\n", 1);
    for (text, status) in [(long, "400"), (version, "505")] {
        world.send(ELSEWHERE, &text);
        world.expect(ELSEWHERE, &format!("SIP/2.0 {status}"));
        world.send(ELSEWHERE, &text.replace("OPTIONS", "ACK"));
        world.expect_silence();
    }
    for text in [
        "garbage",
        "\u{1}\u{2}",
        "SIP/2.0 200 OK\r\n\r\n",
        "OPTIONS sip:x SIP/2.0\r\n\r\n",
    ] {
        world.send(ELSEWHERE, text);
        world.expect_silence();
    }
    assert_eq!(world.count(Counter::Malformed), 8);
    assert_eq!(world.count(Counter::DroppedMalformed), 6);
    world.check_sums();
}

#[test]
fn options_to_the_edge_tell_what_it_can_do() {
    let mut world = world(1);
    for uri in ["sip:192.0.2.1", "sip:sip.example.org", "sip:example.test"] {
        world.send(ELSEWHERE, &request(ELSEWHERE, "OPTIONS", uri, "p1", ""));
        let ok = world.expect(ELSEWHERE, "SIP/2.0 200");
        assert!(header(&ok, "Allow").contains("INVITE"));
        assert!(!header(&ok, "Accept").is_empty() && !header(&ok, "Supported").is_empty());
    }
    world.send(
        ELSEWHERE,
        &request(ELSEWHERE, "OPTIONS", "sip:elsewhere.test", "p2", ""),
    );
    world.expect(ELSEWHERE, "SIP/2.0 404");
    world.expect_silence();
    world.check_sums();
}

#[test]
fn options_in_a_flood_are_answered_without_what_the_source_has_no_credit_for() {
    let mut world = World::with_settings(TENANTS, 1, |settings| {
        settings.source_allowance_bytes = 4096;
    });
    let text = request(
        ELSEWHERE,
        "OPTIONS",
        "sip:192.0.2.1",
        "p3",
        "Subject: as long as it is\r\n",
    );
    let mut bare = 0;
    for _ in 0..1000 {
        world.send(ELSEWHERE, &text);
        let ok = world.expect(ELSEWHERE, "SIP/2.0 200");
        bare += usize::from(!ok.contains("Allow:"));
    }
    assert!((1..1000).contains(&bare), "{bare}");
    world.check_sums();
}

#[test]
fn a_message_gets_exactly_one_disposition() {
    // The sums of every test stand on this.
    let mut counters = crate::sip::Counters::new();
    counters.add_disposition(Disposition::Dropped(Counter::DroppedMalformed));
    assert_eq!(counters.value(Counter::Dropped), 1);
    assert_eq!(counters.value(Counter::DroppedMalformed), 1);
}

#[test]
fn steering_by_call_id_spreads_calls_and_keeps_each_together() {
    let mut world = World::with_settings(TENANTS, 4, |settings| {
        settings.listeners[0].steering = crate::sip::Steering::CallId;
    });
    for call in 0..64 {
        let call = format!("k{call}");
        for shard in [0, 3] {
            let text = request(CALLER, "OPTIONS", "sip:192.0.2.1", &call, "");
            world.send_to(shard, CALLER, 0, text.as_bytes());
            world.expect(CALLER, "SIP/2.0 200");
        }
    }
    let answered: Vec<u64> = world
        .edges
        .iter()
        .map(|edge| edge.counters().value(Counter::Answered))
        .collect();
    assert!(
        answered.iter().all(|&count| count >= 8 && count % 2 == 0),
        "{answered:?}"
    );
    world.check_sums();
}
