//! Server transactions: RFC 3261 §17.2, RFC 6026 §7.1, RFC 4320 §4.

use super::*;

// RFC 3261 §17.2.1

#[test]
fn a_retransmitted_invite_gets_the_latest_provisional_again() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "a");
    let server = bench.start_server(&invite);
    assert_eq!(bench.receive(arrival(CALLER), &invite), Met::Again(false));
    for status in [100, 180, 183] {
        let ringing = response(status, "INVITE", "a");
        bench.respond(server, &ringing);
        assert_eq!(bench.sent_one().1, ringing);
        assert_eq!(bench.receive(arrival(CALLER), &invite), Met::Again(true));
        assert_eq!(bench.sent_one(), (arrival(CALLER).flow, ringing));
    }
    assert_eq!(bench.count(Counter::ResponsesRetransmitted), 3);
    assert_eq!(bench.transactions.context_of(server), Some(CONTEXT));
}

#[test]
fn a_100_of_the_edge_is_given_again_octet_for_octet_and_takes_no_memory() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "a").replace("Max-", "Timestamp: 54\r\nMax-");
    let server = bench.start_server(&invite);
    let trying = bench.respond_own(server, &invite, 100);
    assert_eq!(bench.sent_one().1, trying);
    assert_eq!(bench.world.buffers.bytes_used(), 0);
    assert_eq!(bench.receive(arrival(CALLER), &invite), Met::Again(true));
    assert_eq!(bench.sent_one().1, trying);
}

#[test]
fn an_unacknowledged_final_is_sent_at_t1_doubling_to_t2_until_timer_h() {
    let mut bench = Bench::new();
    let server = bench.start_server(&request("INVITE", "a"));
    let busy = response(486, "INVITE", "a");
    bench.respond(server, &busy);
    assert_eq!(bench.sent_one().1, busy);
    let fired = bench.pass_ms(40_000);
    assert_eq!(
        sending_times(&fired),
        [
            500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500
        ]
    );
    assert!(
        fired
            .iter()
            .flat_map(|fired| &fired.sent)
            .all(|(_, text)| *text == busy)
    );
    assert_eq!(verdicts(&fired), [(32_000, TimerVerdict::AckMissing)]);
    bench.assert_empty();
}

#[test]
fn an_own_final_of_an_invite_is_retransmitted_by_timer_g_too() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "a");
    let server = bench.start_server(&invite);
    let gone = bench.respond_own(server, &invite, 480);
    assert_eq!(bench.sent_one().1, gone);
    let fired = bench.pass_ms(600);
    assert_eq!(fired[0].sent, [(arrival(CALLER).flow, gone)]);
}

#[test]
fn an_ack_ends_retransmission_and_its_repetitions_are_absorbed_for_t4() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "a");
    let server = bench.start_server(&invite);
    bench.respond(server, &response(486, "INVITE", "a"));
    bench.sent();
    let ack = request("ACK", "a");
    let live = ServerMatch::Live(server);
    assert_eq!(bench.receive(arrival(CALLER), &ack), Met::Invite(live));
    assert_eq!(bench.transactions.sizes(), (0, 0, 1));
    assert_eq!(bench.world.buffers.bytes_used(), 0);
    let again = bench.receive(arrival(CALLER), &ack);
    assert!(matches!(again, Met::Invite(ServerMatch::Absorber(_))));
    assert_eq!(bench.receive(arrival(CALLER), &invite), Met::Again(false));
    assert_eq!(sending_times(&bench.pass_ms(4_900)), [0u64; 0]);
    assert_eq!(bench.transactions.sizes(), (0, 0, 1));
    bench.pass_ms(200);
    bench.assert_empty();
    assert_eq!(bench.receive(arrival(CALLER), &ack), Met::New(None));
}

#[test]
fn a_retransmitted_invite_gets_the_final_again_while_the_ack_is_awaited() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "a");
    let server = bench.start_server(&invite);
    let busy = response(486, "INVITE", "a");
    bench.respond(server, &busy);
    bench.sent();
    assert_eq!(bench.transactions.context_of(server), None);
    assert_eq!(bench.receive(arrival(CALLER), &invite), Met::Again(true));
    assert_eq!(bench.sent_one().1, busy);
}

#[test]
fn over_a_connection_a_final_is_not_retransmitted_and_its_ack_ends_all() {
    let mut bench = Bench::new();
    let from = Arrival {
        flow: stream(CALLER),
    };
    let Met::New(Some(server)) = bench.receive(from, &request("INVITE", "a")) else {
        panic!("not started");
    };
    assert_eq!(
        bench.transactions.upstream_flow(server),
        Some(stream(CALLER))
    );
    bench.respond(server, &response(486, "INVITE", "a"));
    assert_eq!(bench.sent_one().0, stream(CALLER));
    assert_eq!(sending_times(&bench.pass_ms(10_000)), [0u64; 0]);
    bench.receive(from, &request("ACK", "a"));
    bench.assert_empty();
}

#[test]
fn over_a_connection_a_missing_ack_ends_by_timer_h() {
    let mut bench = Bench::new();
    let from = Arrival {
        flow: stream(CALLER),
    };
    let Met::New(Some(server)) = bench.receive(from, &request("INVITE", "a")) else {
        panic!("not started");
    };
    bench.respond(server, &response(486, "INVITE", "a"));
    bench.sent();
    let fired = bench.pass_ms(33_000);
    assert_eq!(verdicts(&fired), [(32_000, TimerVerdict::AckMissing)]);
    bench.assert_empty();
}

// RFC 6026 §7.1

#[test]
fn after_a_2xx_the_invite_is_absorbed_unanswered_for_64_t1() {
    for flow in [arrival(CALLER).flow, stream(CALLER)] {
        let mut bench = Bench::new();
        let from = Arrival { flow };
        let invite = request("INVITE", "a");
        let Met::New(Some(server)) = bench.receive(from, &invite) else {
            panic!("not started");
        };
        let ok = response(200, "INVITE", "a");
        bench.respond(server, &ok);
        assert_eq!(bench.sent_one(), (flow, ok));
        assert_eq!(bench.transactions.sizes(), (0, 0, 1));
        assert_eq!(bench.receive(from, &invite), Met::Again(false));
        assert_eq!(sending_times(&bench.pass_ms(31_900)), [0u64; 0]);
        assert_eq!(bench.receive(from, &invite), Met::Again(false));
        bench.pass_ms(200);
        bench.assert_empty();
        assert!(matches!(bench.receive(from, &invite), Met::New(Some(_))));
    }
}

#[test]
fn an_ack_of_the_2xx_that_has_the_branch_of_its_invite_is_the_proxys() {
    let mut bench = Bench::new();
    // RFC 3261 §17.2.3: without the magic cookie an ACK matches by everything else.
    let via = "SIP/2.0/UDP 198.51.100.7:5062";
    let server = bench.start_server(&request_with_via("INVITE", via, ""));
    bench.respond(server, &response(200, "INVITE", "a"));
    bench.sent();
    let ack = request_with_via("ACK", via, ";tag=callee");
    assert_eq!(bench.receive(arrival(CALLER), &ack), Met::New(None));
}

// RFC 3261 §17.2.2

#[test]
fn a_retransmitted_request_is_absorbed_until_there_is_a_response() {
    let mut bench = Bench::new();
    let message = request("MESSAGE", "a");
    let server = bench.start_server(&message);
    assert_eq!(bench.receive(arrival(CALLER), &message), Met::Again(false));
    assert_eq!(bench.transactions.context_of(server), Some(CONTEXT));
}

#[test]
fn a_forwarded_final_is_given_again_until_timer_j() {
    let mut bench = Bench::new();
    let message = request("MESSAGE", "a");
    let server = bench.start_server(&message);
    let ok = response(202, "MESSAGE", "a");
    bench.respond(server, &ok);
    assert_eq!(bench.sent_one().1, ok);
    assert_eq!(bench.transactions.sizes(), (0, 0, 1));
    assert_eq!(bench.transactions.context_of(server), None);
    for _ in 0..2 {
        assert_eq!(bench.receive(arrival(CALLER), &message), Met::Again(true));
        assert_eq!(bench.sent_one(), (arrival(CALLER).flow, ok.clone()));
        bench.pass_ms(15_900);
    }
    assert_eq!(bench.receive(arrival(CALLER), &message), Met::Again(true));
    bench.sent();
    bench.pass_ms(300);
    bench.assert_empty();
}

#[test]
fn an_own_final_is_rebuilt_octet_for_octet_with_the_same_to_tag() {
    let mut bench = Bench::new();
    for (status, to_tag) in [(404, ""), (481, ";tag=in-dialog"), (200, "")] {
        let via = format!("SIP/2.0/UDP 198.51.100.7:5062;rport;branch=z9hG4bK{status}");
        let bye = request_with_via("BYE", &via, to_tag);
        let server = bench.start_server(&bye);
        let own = bench.respond_own(server, &bye, status);
        assert_eq!(bench.sent_one().1, own);
        assert_eq!(bench.world.buffers.bytes_used(), 0);
        assert_eq!(bench.receive(arrival(CALLER), &bye), Met::Again(true));
        assert_eq!(bench.sent_one().1, own);
    }
}

#[test]
fn an_own_final_that_the_request_does_not_give_back_is_kept_as_it_is() {
    let mut bench = Bench::new();
    for (branch, from, to) in [
        ("header", "CSeq:", "Reason: SIP;cause=480\r\nCSeq:"),
        ("value", "Length: 0", "Length: 0\r\nRetry-After: 6"),
        ("phrase", "Service Unavailable", "Gone Fishing"),
        ("body", "Length: 0\r\n\r\n", "Length: 2\r\n\r\nhi"),
        ("tag", ";tag=", ";tag=longer-than-a-tag-of-ours-"),
    ] {
        let message = request("MESSAGE", branch);
        let server = bench.start_server(&message);
        let plain = bench.own_response(&message, 503, "");
        let (before, after) = plain.rsplit_once(from).unwrap();
        let own = format!("{before}{to}{after}");
        let mut turn = bench.world.turn();
        let octets = own.as_bytes();
        let transactions = &mut bench.transactions;
        transactions.respond(&mut turn, server, 503, octets, true);
        assert_eq!(bench.sent_one().1, own);
        assert_eq!(bench.receive(arrival(CALLER), &message), Met::Again(true));
        assert_eq!(bench.sent_one().1, own);
    }
}

#[test]
fn over_a_connection_nothing_is_left_of_an_answered_request() {
    let mut bench = Bench::new();
    let from = Arrival {
        flow: stream(CALLER),
    };
    let Met::New(Some(server)) = bench.receive(from, &request("BYE", "a")) else {
        panic!("not started");
    };
    bench.respond(server, &response(200, "BYE", "a"));
    assert_eq!(bench.sent_one().0, stream(CALLER));
    bench.assert_empty();
}

#[test]
fn a_second_final_is_not_sent() {
    let mut bench = Bench::new();
    for (method, branch) in [("INVITE", "a"), ("MESSAGE", "b")] {
        let server = bench.start_server(&request(method, branch));
        bench.respond(server, &response(486, method, branch));
        bench.respond(server, &response(200, method, branch));
        bench.respond(server, &response(500, method, branch));
        bench.respond(server, &response(180, method, branch));
        assert_eq!(bench.sent_one().1, response(486, method, branch));
    }
}

// RFC 4320 §4.1

#[test]
fn a_100_to_a_non_invite_is_held_back_for_seven_t1_over_udp() {
    let mut bench = Bench::new();
    let message = request("MESSAGE", "a");
    let server = bench.start_server(&message);
    bench.pass_ms(3_480);
    bench.respond_own(server, &message, 100);
    assert_eq!(bench.sent(), []);
    bench.pass_ms(20);
    let trying = bench.respond_own(server, &message, 100);
    assert_eq!(bench.sent_one().1, trying);
    assert_eq!(bench.receive(arrival(CALLER), &message), Met::Again(true));
    assert_eq!(bench.sent_one().1, trying);
}

#[test]
fn a_100_to_a_non_invite_goes_at_once_over_a_connection() {
    let mut bench = Bench::new();
    let message = request("MESSAGE", "a");
    let from = Arrival {
        flow: stream(CALLER),
    };
    let Met::New(Some(server)) = bench.receive(from, &message) else {
        panic!("not started");
    };
    let trying = bench.respond_own(server, &message, 100);
    assert_eq!(bench.sent_one(), (stream(CALLER), trying));
}

#[test]
fn another_provisional_to_a_non_invite_is_never_sent() {
    let mut bench = Bench::new();
    let server = bench.start_server(&request("MESSAGE", "a"));
    bench.pass_ms(5_000);
    bench.respond(server, &response(183, "MESSAGE", "a"));
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.transactions.context_of(server), Some(CONTEXT));
}

// RFC 4320 §4.2

#[test]
fn a_408_to_a_non_invite_is_never_sent_and_the_request_is_still_absorbed() {
    let mut bench = Bench::new();
    let message = request("MESSAGE", "a");
    let server = bench.start_server(&message);
    bench.respond_own(server, &message, 408);
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.transactions.context_of(server), None);
    assert_eq!(bench.receive(arrival(CALLER), &message), Met::Again(false));
    bench.pass_ms(32_100);
    bench.assert_empty();
}

#[test]
fn a_408_to_an_invite_is_sent() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "a");
    let server = bench.start_server(&invite);
    let late = bench.respond_own(server, &invite, 408);
    assert_eq!(bench.sent_one().1, late);
}

// RFC 3261 §17.2.4

#[test]
fn an_abandoned_request_is_new_when_it_comes_again_and_an_answered_one_is_not() {
    for (method, branch) in [("INVITE", "a"), ("MESSAGE", "b")] {
        let mut bench = Bench::new();
        let text = request(method, branch);
        let first = bench.start_server(&text);
        bench.respond(first, &response(100, method, branch));
        let mut turn = bench.world.turn();
        bench.transactions.abandon_server(&mut turn, first);
        assert_eq!(bench.world.buffers.bytes_used(), 0);
        let second = bench.start_server(&text);
        bench.respond(second, &response(486, method, branch));
        let mut turn = bench.world.turn();
        bench.transactions.abandon_server(&mut turn, second);
        assert_eq!(bench.receive(arrival(CALLER), &text), Met::Again(true));
        bench.sent();
    }
}
