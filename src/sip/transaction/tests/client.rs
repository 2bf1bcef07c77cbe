//! Client transactions: RFC 3261 §17.1, RFC 6026 §7.2.

use super::*;

fn invite() -> (Bench, ClientId) {
    started(Kind::Invite, "INVITE", callee())
}

fn message() -> (Bench, ClientId) {
    started(Kind::NonInvite, "MESSAGE", callee())
}

/// A bench with one client transaction, whose request was sent.
fn started(kind: Kind, method: &str, flow: Flow) -> (Bench, ClientId) {
    let mut bench = Bench::new();
    let client = bench.start_client(kind, flow, &forwarded(method));
    assert_eq!(bench.sent_one(), (flow, forwarded(method)));
    (bench, client)
}

// RFC 3261 §17.1.1.2

#[test]
fn an_unanswered_invite_is_sent_at_t1_doubling_until_timer_b() {
    let (mut bench, client) = invite();
    let fired = bench.pass_ms(70_000);
    assert_eq!(
        sending_times(&fired),
        [500, 1500, 3500, 7500, 15_500, 31_500]
    );
    let texts = fired.iter().flat_map(|fired| &fired.sent);
    assert!(texts.eq(vec![&(callee(), forwarded("INVITE")); 6]));
    assert_eq!(verdicts(&fired), [(32_000, timed_out(client))]);
    assert_eq!(bench.count(Counter::RequestsRetransmitted), 6);
    bench.assert_empty();
    assert_eq!(
        bench.answer(client, &reply(200, "INVITE", "x")),
        ResponseVerdict::Unknown
    );
}

#[test]
fn over_a_connection_an_invite_is_sent_once_and_timer_b_ends_it() {
    let (mut bench, client) = started(Kind::Invite, "INVITE", stream(CALLEE));
    let fired = bench.pass_ms(33_000);
    assert_eq!(sending_times(&fired), [0u64; 0]);
    assert_eq!(verdicts(&fired), [(32_000, timed_out(client))]);
    bench.assert_empty();
}

#[test]
fn a_provisional_ends_retransmission_and_every_one_is_passed() {
    let (mut bench, client) = invite();
    bench.pass_ms(600);
    for status in [100, 180, 180, 183] {
        assert_eq!(
            bench.answer(client, &reply(status, "INVITE", "x")),
            pass(client)
        );
    }
    // Timer C is the proxy's: it rings on for as long as nobody gives up.
    assert_eq!(bench.pass_ms(300_000), []);
    assert_eq!(bench.world.wheel.len(), 0);
    assert_eq!(
        bench.answer(client, &reply(486, "INVITE", "x")),
        pass(client)
    );
}

#[test]
fn a_non_2xx_final_is_acknowledged_each_time_it_comes_for_64_t1() {
    let (mut bench, client) = invite();
    assert_eq!(
        bench.answer(client, &reply(486, "INVITE", "busy")),
        pass(client)
    );
    let (flow, ack) = bench.sent_one();
    assert_eq!(flow, callee());
    assert_eq!(bench.transactions.sizes(), (0, 0, 1));
    for _ in 0..2 {
        let again = bench.answer(client, &reply(486, "INVITE", "busy"));
        assert_eq!(again, ResponseVerdict::Absorbed);
        assert_eq!(bench.sent_one(), (callee(), ack.clone()));
        bench.pass_ms(15_900);
    }
    let provisional = bench.answer(client, &reply(180, "INVITE", "busy"));
    assert_eq!(provisional, ResponseVerdict::Absorbed);
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.transactions.sizes(), (0, 0, 1));
    bench.pass_ms(300);
    bench.assert_empty();
    let stray = bench.answer(client, &reply(486, "INVITE", "busy"));
    assert_eq!(stray, ResponseVerdict::Unknown);
    assert_eq!(bench.sent(), []);
}

#[test]
fn over_a_connection_a_non_2xx_final_is_acknowledged_and_nothing_is_left() {
    let (mut bench, client) = started(Kind::Invite, "INVITE", stream(CALLEE));
    assert_eq!(
        bench.answer(client, &reply(486, "INVITE", "busy")),
        pass(client)
    );
    assert_eq!(kinds(&bench.sent()), ["ACK"]);
    bench.assert_empty();
}

// RFC 3261 §17.1.1.3

#[test]
fn the_ack_has_what_the_rfc_asks_for_and_nothing_else() {
    let (mut bench, client) = invite();
    bench.answer(client, &reply(486, "INVITE", "busy"));
    assert_eq!(
        bench.sent_one().1,
        "ACK sip:bob@203.0.113.20;ob SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKours\r\n\
         Route: <sip:hop1.example.net;lr>\r\n\
         Route: <sip:hop2.example.net;lr>\r\n\
         Max-Forwards: 70\r\n\
         From: \"Alice\" <sip:alice@example.test>;tag=from-tag\r\n\
         To: <sip:bob@example.test>;tag=busy\r\n\
         Call-ID: call@198.51.100.7\r\n\
         CSeq: 7 ACK\r\n\
         Content-Length: 0\r\n\r\n"
    );
}

#[test]
fn the_ack_takes_the_first_via_out_of_a_list_in_one_header() {
    let mut bench = Bench::new();
    let listed = forwarded("INVITE").replace("ours\r\nVia: ", "ours , ");
    let client = bench.start_client(Kind::Invite, callee(), &listed);
    bench.sent();
    bench.answer(client, &reply(486, "INVITE", "busy"));
    let ack = bench.sent_one().1;
    assert!(ack.contains("\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKours\r\n"));
    assert!(!ack.contains("theirs"));
}

// RFC 6026 §7.2

#[test]
fn the_first_2xx_is_passed_and_those_of_other_forks_go_upstream_for_64_t1() {
    for flow in [callee(), stream(CALLEE)] {
        let (mut bench, client) = started(Kind::Invite, "INVITE", flow);
        assert_eq!(
            bench.answer(client, &reply(180, "INVITE", "one")),
            pass(client)
        );
        assert_eq!(
            bench.answer(client, &reply(200, "INVITE", "one")),
            pass(client)
        );
        assert_eq!(bench.world.buffers.bytes_used(), 0);
        for tag in ["one", "two", "two"] {
            assert_eq!(bench.answer(client, &reply(200, "INVITE", tag)), late());
        }
        for status in [180, 486] {
            let other = bench.answer(client, &reply(status, "INVITE", "three"));
            assert_eq!(other, ResponseVerdict::Absorbed);
        }
        bench.pass_ms(31_900);
        assert_eq!(bench.answer(client, &reply(200, "INVITE", "two")), late());
        bench.pass_ms(200);
        assert_eq!(bench.sent(), []);
        bench.assert_empty();
    }
}

#[test]
fn a_detached_invite_acknowledges_and_forwards_late_2xx_by_itself() {
    for (status, verdict) in [(486, ResponseVerdict::Absorbed), (200, late())] {
        let (mut bench, client) = invite();
        bench.detach(client);
        let ringing = bench.answer(client, &reply(180, "INVITE", "x"));
        assert_eq!(ringing, ResponseVerdict::Absorbed);
        assert_eq!(bench.answer(client, &reply(status, "INVITE", "x")), verdict);
        let expected: &[&str] = if status == 486 { &["ACK"] } else { &[] };
        assert_eq!(kinds(&bench.sent()), expected);
        bench.pass_ms(33_000);
        bench.assert_empty();
    }
}

#[test]
fn a_detached_invite_that_only_rings_ends_silently() {
    let (mut bench, client) = invite();
    bench.answer(client, &reply(180, "INVITE", "x"));
    bench.detach(client);
    bench.pass_ms(31_900);
    assert_eq!(bench.transactions.sizes(), (0, 1, 0));
    assert_eq!(verdicts(&bench.pass_ms(200)), []);
    bench.assert_empty();
}

#[test]
fn a_detached_invite_that_starts_to_ring_ends_silently() {
    let (mut bench, client) = invite();
    bench.detach(client);
    bench.pass_ms(600);
    bench.answer(client, &reply(180, "INVITE", "x"));
    assert_eq!(verdicts(&bench.pass_ms(33_000)), []);
    bench.assert_empty();
}

// RFC 3261 §17.1.2.2

#[test]
fn an_unanswered_request_is_sent_at_t1_doubling_to_t2_until_timer_f() {
    let (mut bench, client) = message();
    let fired = bench.pass_ms(70_000);
    assert_eq!(
        sending_times(&fired),
        [
            500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500
        ]
    );
    assert_eq!(verdicts(&fired), [(32_000, timed_out(client))]);
    bench.assert_empty();
}

#[test]
fn after_a_provisional_a_request_is_sent_every_t2_until_timer_f() {
    let (mut bench, client) = message();
    bench.pass_ms(100);
    assert_eq!(
        bench.answer(client, &reply(100, "MESSAGE", "x")),
        pass(client)
    );
    let fired = bench.pass_ms(70_000);
    // The interval that runs when the provisional comes is T1 still.
    assert_eq!(
        sending_times(&fired),
        [500, 4500, 8500, 12_500, 16_500, 20_500, 24_500, 28_500]
    );
    assert_eq!(verdicts(&fired), [(32_000, timed_out(client))]);
    bench.assert_empty();
}

#[test]
fn over_a_connection_a_request_is_sent_once_and_answered_leaves_nothing() {
    let (mut bench, client) = started(Kind::NonInvite, "MESSAGE", stream(CALLEE));
    assert_eq!(sending_times(&bench.pass_ms(10_000)), [0u64; 0]);
    assert_eq!(
        bench.answer(client, &reply(200, "MESSAGE", "x")),
        pass(client)
    );
    bench.assert_empty();
}

#[test]
fn a_final_is_passed_once_and_absorbed_for_t4() {
    let (mut bench, client) = message();
    assert_eq!(
        bench.answer(client, &reply(200, "MESSAGE", "x")),
        pass(client)
    );
    assert_eq!(bench.transactions.sizes(), (0, 0, 1));
    let again = bench.answer(client, &reply(200, "MESSAGE", "x"));
    assert_eq!(again, ResponseVerdict::Absorbed);
    assert_eq!(bench.pass_ms(4_900).len(), 0);
    assert_eq!(bench.transactions.sizes(), (0, 0, 1));
    bench.pass_ms(200);
    bench.assert_empty();
    let stray = bench.answer(client, &reply(200, "MESSAGE", "x"));
    assert_eq!(stray, ResponseVerdict::Unknown);
}

#[test]
fn a_detached_request_is_absorbed_to_its_end() {
    let (mut bench, client) = message();
    bench.detach(client);
    let late = bench.answer(client, &reply(200, "MESSAGE", "x"));
    assert_eq!(late, ResponseVerdict::Absorbed);
    let (mut bench, client) = message();
    bench.detach(client);
    assert_eq!(verdicts(&bench.pass_ms(33_000)), []);
    bench.assert_empty();
}

// RFC 3261 §17.1.3

#[test]
fn a_response_of_another_method_is_not_for_this_transaction() {
    let (mut bench, client) = invite();
    let bye = bench.answer(client, &reply(200, "BYE", "x"));
    assert_eq!(bye, ResponseVerdict::Unknown);
    let (mut bench, client) = message();
    for method in ["INVITE", "INFO", "CANCEL"] {
        let other = bench.answer(client, &reply(200, method, "x"));
        assert_eq!(other, ResponseVerdict::Unknown);
    }
    assert_eq!(
        bench.answer(client, &reply(200, "MESSAGE", "x")),
        pass(client)
    );
}

#[test]
fn unregistered_methods_are_told_apart_by_their_text() {
    let (mut bench, client) = started(Kind::NonInvite, "PING", callee());
    for method in ["PONG", "PIN", "PINGS"] {
        let other = bench.answer(client, &reply(200, method, "x"));
        assert_eq!(other, ResponseVerdict::Unknown);
    }
    assert_eq!(bench.answer(client, &reply(200, "PING", "x")), pass(client));
}

#[test]
fn the_key_of_a_finished_transaction_does_not_find_the_next_one_in_its_slot() {
    let (mut bench, first) = message();
    bench.answer(first, &reply(200, "MESSAGE", "x"));
    bench.pass_ms(5_200);
    let second = bench.start_client(Kind::NonInvite, callee(), &forwarded("MESSAGE"));
    bench.sent();
    assert_eq!((second.0.slot, second == first), (first.0.slot, false));
    let stray = bench.answer(first, &reply(200, "MESSAGE", "x"));
    assert_eq!(stray, ResponseVerdict::Unknown);
    bench.cancel(first);
    bench.detach(first);
    assert_eq!(
        bench.answer(second, &reply(200, "MESSAGE", "x")),
        pass(second)
    );
}

// RFC 3261 §17.1.4

fn unreachable(bench: &mut Bench, flow: Flow) -> Vec<(ClientId, Key, u8)> {
    let mut failed = Vec::with_capacity(limits::BRANCHES_MAX);
    let mut turn = bench.world.turn();
    bench
        .transactions
        .handle_unreachable(&mut turn, flow, &mut failed);
    assert!(!sends(&bench.world.out));
    failed
}

#[test]
fn an_icmp_error_ends_the_transactions_of_its_flow_that_nobody_has_answered() {
    let mut bench = Bench::new();
    let other = arrival("203.0.113.21:5060").flow;
    let calling = bench.start_client(Kind::Invite, callee(), &forwarded("INVITE"));
    let ringing = bench.start_client(Kind::Invite, callee(), &forwarded("INVITE"));
    let trying = bench.start_client(Kind::NonInvite, callee(), &forwarded("MESSAGE"));
    let elsewhere = bench.start_client(Kind::Invite, other, &forwarded("INVITE"));
    let detached = bench.start_client(Kind::Invite, callee(), &forwarded("INVITE"));
    bench.detach(detached);
    bench.sent();
    bench.answer(ringing, &reply(180, "INVITE", "x"));
    let mut failed = unreachable(&mut bench, callee());
    failed.sort_by_key(|(client, ..)| client.0.slot);
    assert_eq!(failed, [(calling, CONTEXT, 5), (trying, CONTEXT, 5)]);
    assert_eq!(bench.transactions.sizes(), (0, 2, 0));
    assert_eq!(unreachable(&mut bench, callee()), []);
    assert_eq!(
        bench.answer(ringing, &reply(200, "INVITE", "x")),
        pass(ringing)
    );
    assert_eq!(
        verdicts(&bench.pass_ms(33_000)),
        [(32_000, timed_out(elsewhere))]
    );
    bench.assert_empty();
}

#[test]
fn one_icmp_error_ends_at_most_as_many_transactions_as_a_request_has_branches() {
    let mut bench = Bench::sized(40, 16);
    for _ in 0..50 {
        bench.start_client(Kind::Invite, callee(), &forwarded("INVITE"));
        bench.sent();
    }
    let most = limits::BRANCHES_MAX;
    assert_eq!(unreachable(&mut bench, callee()).len(), most);
    assert_eq!(unreachable(&mut bench, callee()).len(), 50 - most);
    bench.assert_empty();
}

#[test]
fn calls_that_ring_on_a_flow_do_not_hide_the_one_that_nobody_has_answered() {
    let ringing = limits::FLOW_CLIENTS_SCANNED_MAX as u32 + 1;
    let mut bench = Bench::sized(ringing, 16);
    let calling = bench.start_client(Kind::Invite, callee(), &forwarded("INVITE"));
    for _ in 0..ringing {
        let client = bench.start_client(Kind::Invite, callee(), &forwarded("INVITE"));
        bench.sent();
        bench.answer(client, &reply(180, "INVITE", "x"));
    }
    let failed = unreachable(&mut bench, callee());
    assert_eq!(failed, [(calling, CONTEXT, 5)]);
}
