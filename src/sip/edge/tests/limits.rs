//! Limits of domains and trunks, on one shard and across shards.

use super::super::testing::*;
use super::*;
use crate::sip::Counter;

/// Two calls at a time from example.test, one to the carrier.
fn provision() -> String {
    TENANTS
        .replace(
            "name = \"carrier\"\n",
            "name = \"carrier\"\ncalls_max = 1\n",
        )
        .replace(
            "calls = { ip_acls = [\"anywhere\"] }\n",
            "calls = { ip_acls = [\"anywhere\"] }\n  calls_max = 2\n",
        )
}

fn world(shards: u8) -> World {
    let mut world = World::new(&provision(), shards);
    world.register(BOB, "bob", "<sip:bob@10.0.0.1>");
    world
}

/// A call to `user`, with the last response the caller got so far.
fn call(world: &mut World, user: &str, name: &str) -> (String, String) {
    let invite = request(
        CALLER,
        "INVITE",
        &format!("sip:{user}@example.test"),
        name,
        "",
    );
    world.send(CALLER, &invite);
    let mut last = world.expect(CALLER, "SIP/2.0 100");
    while world.waits_for(CALLER) {
        last = world.next(CALLER);
    }
    (invite, last)
}

fn calls(world: &World) -> u32 {
    world
        .edges
        .iter()
        .map(|edge| edge.core.parts.proxy.calls())
        .sum()
}

/// A limit is reached, then a call ends in one way or another, and there is room again.
#[test]
fn calls_in_progress_are_limited_and_every_end_makes_room() {
    for shards in [1, 2, 4] {
        let mut world = world(shards);
        let (_, first) = call(&mut world, "bob", "one");
        assert!(first.starts_with("SIP/2.0 100"), "{first}");
        let got = world.expect(BOB, "INVITE");
        let (refused_invite, _) = call(&mut world, "bob", "two");
        let other = world.expect(BOB, "INVITE");
        let (invite, refused) = call(&mut world, "bob", "three");
        assert!(refused.starts_with("SIP/2.0 480"), "{refused}");
        assert!(header(&refused, "Reason").contains("limit"), "{refused}");
        world.send(CALLER, &of_invite("ACK", &invite, header(&refused, "To")));
        world.expect_silence();
        assert_eq!(calls(&world), 2);
        // A refusal by the callee ends one,
        world.send(BOB, &respond(&other, "486 Busy Here", "b", ""));
        world.expect(BOB, "ACK");
        let busy = world.expect(CALLER, "SIP/2.0 486");
        world.send(
            CALLER,
            &of_invite("ACK", &refused_invite, header(&busy, "To")),
        );
        assert_eq!(calls(&world), 1);
        // a CANCEL another,
        let (invite, last) = call(&mut world, "bob", "four");
        assert!(last.starts_with("SIP/2.0 100"), "{last}");
        let ringing = world.expect(BOB, "INVITE");
        world.send(BOB, &respond(&ringing, "180 Ringing", "b", ""));
        world.expect(CALLER, "SIP/2.0 180");
        world.send(CALLER, &of_invite("CANCEL", &invite, header(&invite, "To")));
        world.expect(CALLER, "SIP/2.0 200");
        world.expect(BOB, "CANCEL");
        world.send(BOB, &respond(&ringing, "487 Request Terminated", "b", ""));
        world.expect(BOB, "ACK");
        let ended = world.expect(CALLER, "SIP/2.0 487");
        world.send(CALLER, &of_invite("ACK", &invite, header(&ended, "To")));
        assert_eq!(calls(&world), 1);
        // and a BYE a third, but not before its answer.
        world.send(
            BOB,
            &respond(&got, "200 OK", "b", "Contact: <sip:bob@10.0.0.1>\r\n"),
        );
        let ok = world.expect(CALLER, "SIP/2.0 200");
        assert_eq!(calls(&world), 1);
        world.send(CALLER, &in_dialog(CALLER, "BYE", 2, &got, &ok, true));
        let bye = world.expect(BOB, "BYE");
        assert_eq!(calls(&world), 1);
        world.send(BOB, &respond(&bye, "200 OK", "", ""));
        world.expect(CALLER, "SIP/2.0 200");
        assert_eq!(calls(&world), 0);
        for name in ["five", "six"] {
            let (_, last) = call(&mut world, "bob", name);
            assert!(last.starts_with("SIP/2.0 100"), "{last}");
        }
        let (_, last) = call(&mut world, "bob", "seven");
        assert!(last.starts_with("SIP/2.0 480"), "{last}");
        assert_eq!(world.count(Counter::RefusedLimit), 2);
        world.check_sums();
    }
}

#[test]
fn a_trunk_and_a_domain_are_counted_both() {
    for shards in [1, 2, 4] {
        let mut world = world(shards);
        let (_, last) = call(&mut world, "+4930", "one");
        assert!(last.starts_with("SIP/2.0 100"), "{last}");
        let got = world.expect(CARRIER, "INVITE");
        // The trunk is full; what its domain counted is given back.
        for name in ["two", "three", "four"] {
            let (_, last) = call(&mut world, "+4930", name);
            assert!(last.starts_with("SIP/2.0 480"), "{last}");
        }
        assert_eq!(calls(&world), 1);
        let (_, last) = call(&mut world, "bob", "five");
        assert!(last.starts_with("SIP/2.0 100"), "{last}");
        let (_, last) = call(&mut world, "bob", "six");
        assert!(last.starts_with("SIP/2.0 480"), "{last}");
        world.send(CARRIER, &respond(&got, "404 Not Found", "c", ""));
        world.expect(CARRIER, "ACK");
        world.discard();
        let (_, last) = call(&mut world, "+4930", "seven");
        assert!(last.starts_with("SIP/2.0 100"), "{last}");
    }
}

#[test]
fn a_call_from_a_trunk_counts_toward_it_and_toward_the_domain_it_reaches() {
    let mut world = world(1);
    let invite = |call: &str| request(CARRIER, "INVITE", "sip:+15550100@192.0.2.1", call, "");
    world.send(CARRIER, &invite("one"));
    world.expect(CARRIER, "SIP/2.0 100");
    world.expect(BOB, "INVITE");
    world.send(CARRIER, &invite("two"));
    world.expect(CARRIER, "SIP/2.0 100");
    world.expect(CARRIER, "SIP/2.0 480");
    let (_, last) = call(&mut world, "bob", "three");
    assert!(last.starts_with("SIP/2.0 100"), "{last}");
    let (_, last) = call(&mut world, "bob", "four");
    assert!(last.starts_with("SIP/2.0 480"), "{last}");
}

#[test]
fn calls_per_second_are_limited() {
    let provision = TENANTS.replace(
        "calls = { ip_acls = [\"anywhere\"] }\n",
        "calls = { ip_acls = [\"anywhere\"] }\n  cps_max = 3\n",
    );
    let mut world = World::new(&provision, 2);
    world.register(BOB, "bob", "<sip:bob@10.0.0.1>");
    let mut taken = 0;
    for index in 0..50 {
        let (_, last) = call(&mut world, "bob", &format!("c{index}"));
        taken += u32::from(last.starts_with("SIP/2.0 100"));
        world.pass_ms(100);
        world.discard();
    }
    assert!((12..=15).contains(&taken), "{taken} calls in 5 s");
    // A MESSAGE is no call.
    world.send(
        CALLER,
        &request(CALLER, "MESSAGE", "sip:bob@example.test", "m", ""),
    );
    world.expect(BOB, "MESSAGE");
}

#[test]
fn a_call_cancelled_while_its_limit_is_asked_gives_its_permit_back() {
    let mut world = world(4);
    // A shard other than bob's and the limit's, where both have to be asked.
    let far = (0..4)
        .find(|&shard| {
            let owner = crate::sip::location::owner(&world.keys, 4, b"bob@example.test");
            shard != usize::from(owner.0)
        })
        .unwrap();
    for round in 0..6 {
        world.hold_shard_messages = true;
        let uri = "sip:bob@example.test";
        let invite = request(CALLER, "INVITE", uri, &format!("r{round}"), "");
        world.send_to(far, CALLER, 0, invite.as_bytes());
        // The look-up goes there and back, then the limit is asked.
        for _ in 0..2 {
            world.deliver_one_between_shards();
        }
        let cancel = of_invite("CANCEL", &invite, header(&invite, "To"));
        world.send_to(far, CALLER, 0, cancel.as_bytes());
        world.hold_shard_messages = false;
        world.deliver_between_shards();
        world.pass_ms(6_000);
        world.discard();
    }
    world.pass_ms(100_000);
    world.discard();
    assert_eq!(calls(&world), 0);
    for name in ["one", "two"] {
        let (_, last) = call(&mut world, "bob", name);
        assert!(last.starts_with("SIP/2.0 100"), "{last}");
    }
}

#[test]
fn a_call_ends_at_its_longest_time_and_a_session_that_is_not_refreshed_before() {
    let mut world = World::with_settings(&provision(), 2, |settings| settings.call_s_max = 600);
    world.register(BOB, "bob", "<sip:bob@10.0.0.1>");
    let answer = |world: &mut World, name: &str, extra: &str| {
        let (_, last) = call(world, "bob", name);
        assert!(last.starts_with("SIP/2.0 100"), "{last}");
        let got = world.expect(BOB, "INVITE");
        let extra = format!("Contact: <sip:bob@10.0.0.1>\r\n{extra}");
        world.send(BOB, &respond(&got, "200 OK", "b", &extra));
        (got, world.expect(CALLER, "SIP/2.0 200"))
    };
    answer(&mut world, "one", "");
    let (got, ok) = answer(&mut world, "two", "Session-Expires: 90;refresher=uac\r\n");
    world.pass_ms(110_000);
    assert_eq!(calls(&world), 2);
    world.send(CALLER, &in_dialog(CALLER, "UPDATE", 2, &got, &ok, true));
    let update = world.expect(BOB, "UPDATE");
    world.send(
        BOB,
        &respond(&update, "200 OK", "", "Session-Expires: 90\r\n"),
    );
    world.pass_ms(110_000);
    assert_eq!(calls(&world), 2, "it was refreshed");
    world.pass_ms(15_000);
    assert_eq!(calls(&world), 1, "it was not refreshed again");
    world.pass_ms(360_000);
    assert_eq!(calls(&world), 1);
    world.pass_ms(10_000);
    assert_eq!(calls(&world), 0);
    // Long over, its BYE is routed all the same.
    world.discard();
    world.send(CALLER, &in_dialog(CALLER, "BYE", 3, &got, &ok, true));
    world.expect(BOB, "BYE");
}

#[test]
fn an_end_that_can_not_be_told_is_told_later() {
    let mut world = world(4);
    for (shard, name) in [(0, "a"), (1, "b"), (2, "c"), (3, "d")] {
        let uri = "sip:+4930@example.test";
        let invite = request(CALLER, "INVITE", uri, name, "");
        world.send_to(shard, CALLER, 0, invite.as_bytes());
        world.expect(CALLER, "SIP/2.0 100");
        let got = world.expect(CARRIER, "INVITE");
        world.shard_room = 0;
        let reply = respond(&got, "404 Not Found", "c", "");
        world.send_to(shard, CARRIER, 0, reply.as_bytes());
        world.discard();
        world.shard_room = 64;
        world.pass_ms(1_100);
        assert_eq!(calls(&world), 0);
        world.discard();
    }
}

#[test]
fn in_a_full_arena_a_request_inside_a_dialog_is_forwarded_without_a_transaction() {
    for (spare, method) in [(0, "BYE"), (1, "BYE"), (1, "INVITE")] {
        let mut world = World::new(&provision(), 1);
        world.register(BOB, "bob", "<sip:bob@10.0.0.1>");
        call(&mut world, "bob", "one");
        let got = world.expect(BOB, "INVITE");
        world.send(
            BOB,
            &respond(&got, "200 OK", "b", "Contact: <sip:bob@10.0.0.1>\r\n"),
        );
        let ok = world.expect(CALLER, "SIP/2.0 200");
        world.pass_ms(70_000);
        // With one block its transaction begins, and has no room for its branch.
        world.fill_arena(spare, 1500);
        let used = world.edges[0].core.buffers.bytes_used();
        let request = in_dialog(CALLER, method, 2, &got, &ok, true);
        world.send(CALLER, &request);
        let first = world.expect(BOB, method);
        // RFC 3261 §16.11: no 100, and a retransmission leaves with the same branch.
        world.expect_silence();
        world.send(CALLER, &request);
        let again = world.expect(BOB, method);
        assert_eq!(header(&first, "Via"), header(&again, "Via"));
        assert_eq!(world.count(Counter::ForwardedStateless), 2);
        assert_eq!(world.count(Counter::RefusedOverload), 0);
        assert_eq!(world.edges[0].sizes(), (0, 0, 0, 0));
        assert_eq!(world.edges[0].core.buffers.bytes_used(), used);
        // Nobody sees the answer to the BYE, so that its record ends with it.
        assert_eq!(calls(&world), u32::from(method != "BYE"));
        world.send(BOB, &respond(&first, "200 OK", "", ""));
        world.expect(CALLER, "SIP/2.0 200");
        world.check_sums();
    }
}

#[test]
fn in_a_full_arena_a_caller_that_got_a_100_gets_its_final_response_however_often_it_is_lost() {
    let mut world = world(1);
    world.fill_arena(1, 1500);
    let uri = "sip:bob@example.test";
    let invite = request(CALLER, "INVITE", uri, "one", "");
    world.send(CALLER, &invite);
    world.expect(CALLER, "SIP/2.0 100");
    let refused = world.expect(CALLER, "SIP/2.0 503");
    world.expect_silence();
    world.pass_ms(600);
    assert_eq!(world.expect(CALLER, "SIP/2.0 503"), refused);
    world.pass_ms(20_000);
    while world.waits_for(CALLER) {
        assert_eq!(world.next(CALLER), refused);
    }
    world.send(CALLER, &of_invite("ACK", &invite, header(&refused, "To")));
    world.pass_ms(4_000);
    world.expect_silence();
    assert_eq!(world.count(Counter::RetransmissionsLost), 0);
    // The place is free for the next one.
    world.send(CALLER, &request(CALLER, "INVITE", uri, "two", ""));
    world.expect(CALLER, "SIP/2.0 100");
}

#[test]
fn a_request_that_went_without_a_transaction_and_comes_again_has_one_when_there_is_room() {
    let mut world = World::new(&provision(), 1);
    world.register(BOB, "bob", "<sip:bob@10.0.0.1>");
    call(&mut world, "bob", "one");
    let got = world.expect(BOB, "INVITE");
    let contact = "Contact: <sip:bob@10.0.0.1>\r\n";
    world.send(BOB, &respond(&got, "200 OK", "b", contact));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    let filling = world.fill_arena(0, 0);
    let info = in_dialog(CALLER, "INFO", 2, &got, &ok, true);
    world.send(CALLER, &info);
    let without = world.expect(BOB, "INFO");
    for id in filling {
        world.edges[0].core.buffers.release(id);
    }
    world.send(CALLER, &info);
    let with = world.expect(BOB, "INFO");
    assert_ne!(headers(&without, "Via")[0], headers(&with, "Via")[0]);
    assert_eq!(headers(&without, "Via")[1], headers(&with, "Via")[1]);
    // Whichever is answered, the caller hears of it.
    world.send(BOB, &respond(&with, "200 OK", "", ""));
    world.expect(CALLER, "SIP/2.0 200");
    world.send(BOB, &respond(&without, "500 Out of Order", "", ""));
    world.expect(CALLER, "SIP/2.0 500");
    world.expect_silence();
}
