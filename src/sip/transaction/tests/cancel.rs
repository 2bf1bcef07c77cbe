//! CANCEL: RFC 3261 §9.1 on the client side, §9.2 on the server side.

use super::*;

fn invite(flow: Flow) -> (Bench, ClientId) {
    let mut bench = Bench::new();
    let client = bench.start_client(Kind::Invite, flow, &forwarded("INVITE"));
    bench.sent();
    (bench, client)
}

fn ringing(flow: Flow) -> (Bench, ClientId) {
    let (mut bench, client) = invite(flow);
    assert_eq!(
        bench.answer(client, &reply(180, "INVITE", "x")),
        pass(client)
    );
    (bench, client)
}

// RFC 3261 §9.1

#[test]
fn a_cancel_after_a_provisional_goes_at_once_with_what_the_rfc_asks_for() {
    let (mut bench, client) = ringing(callee());
    bench.cancel(client);
    let (flow, cancel) = bench.sent_one();
    assert_eq!(flow, callee());
    assert_eq!(
        cancel,
        "CANCEL sip:bob@203.0.113.20;ob SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKours\r\n\
         Route: <sip:hop1.example.net;lr>\r\n\
         Route: <sip:hop2.example.net;lr>\r\n\
         Max-Forwards: 70\r\n\
         From: \"Alice\" <sip:alice@example.test>;tag=from-tag\r\n\
         To: <sip:bob@example.test>\r\n\
         Call-ID: call@198.51.100.7\r\n\
         CSeq: 7 CANCEL\r\n\
         Content-Length: 0\r\n\r\n"
    );
}

#[test]
fn a_cancel_before_any_provisional_waits_for_one() {
    let (mut bench, client) = invite(callee());
    bench.cancel(client);
    assert_eq!(bench.sent(), []);
    let fired = bench.pass_ms(2_000);
    assert_eq!(sending_times(&fired), [500, 1500]);
    assert!(fired.iter().all(|fired| kinds(&fired.sent) == ["INVITE"]));
    assert_eq!(
        bench.answer(client, &reply(100, "INVITE", "x")),
        pass(client)
    );
    assert_eq!(kinds(&bench.sent()), ["CANCEL"]);
    assert_eq!(
        bench.answer(client, &reply(180, "INVITE", "x")),
        pass(client)
    );
    assert_eq!(bench.sent(), []);
}

#[test]
fn a_cancel_that_no_provisional_ever_allows_is_never_sent() {
    let (mut bench, client) = invite(callee());
    bench.cancel(client);
    let fired = bench.pass_ms(33_000);
    assert!(
        fired
            .iter()
            .flat_map(|fired| &fired.sent)
            .all(|(_, text)| text.starts_with("INVITE"))
    );
    assert_eq!(verdicts(&fired), [(32_000, timed_out(client))]);
    bench.assert_empty();
}

#[test]
fn a_cancel_is_not_sent_after_a_final() {
    for status in [200, 486] {
        let (mut bench, client) = invite(callee());
        bench.cancel(client);
        assert_eq!(
            bench.answer(client, &reply(status, "INVITE", "x")),
            pass(client)
        );
        bench.cancel(client);
        assert!(!kinds(&bench.sent()).contains(&"CANCEL"));
    }
}

#[test]
fn an_unanswered_cancel_is_retransmitted_like_any_request_and_the_invite_times_out() {
    let (mut bench, client) = ringing(callee());
    bench.pass_ms(10_000);
    bench.cancel(client);
    bench.sent();
    let fired = bench.pass_ms(40_000);
    let times: Vec<u64> = sending_times(&fired).iter().map(|at| at - 10_000).collect();
    assert_eq!(
        times,
        [
            500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500
        ]
    );
    let texts = fired.iter().flat_map(|fired| &fired.sent);
    assert!(texts.clone().all(|(_, text)| text.starts_with("CANCEL ")));
    assert_eq!(verdicts(&fired), [(42_000, timed_out(client))]);
    bench.assert_empty();
}

#[test]
fn the_answer_to_the_cancel_is_absorbed_and_ends_its_retransmission() {
    for status in [200, 481] {
        let (mut bench, client) = ringing(callee());
        bench.cancel(client);
        bench.sent();
        for _ in 0..2 {
            let answer = bench.answer(client, &reply(status, "CANCEL", "x"));
            assert_eq!(answer, ResponseVerdict::Absorbed);
        }
        let fired = bench.pass_ms(20_000);
        assert_eq!(sending_times(&fired), [0u64; 0]);
        assert_eq!(fired.len(), 1, "the timer that ran is the last");
        assert_eq!(
            bench.answer(client, &reply(487, "INVITE", "x")),
            pass(client)
        );
        assert_eq!(kinds(&bench.sent()), ["ACK"]);
        let again = bench.answer(client, &reply(200, "CANCEL", "x"));
        assert_eq!(again, ResponseVerdict::Absorbed);
        assert_eq!(bench.sent(), []);
        bench.pass_ms(32_100);
        bench.assert_empty();
    }
}

#[test]
fn a_provisional_to_the_cancel_slows_it_down_to_t2() {
    let (mut bench, client) = ringing(callee());
    bench.cancel(client);
    bench.sent();
    bench.answer(client, &reply(100, "CANCEL", "x"));
    assert_eq!(sending_times(&bench.pass_ms(9_000)), [500, 4500, 8500]);
}

#[test]
fn an_invite_that_stays_silent_after_the_answered_cancel_times_out_64_t1_after_it() {
    for flow in [callee(), stream(CALLEE)] {
        let (mut bench, client) = ringing(flow);
        bench.cancel(client);
        bench.sent();
        bench.answer(client, &reply(200, "CANCEL", "x"));
        let fired = bench.pass_ms(33_000);
        assert_eq!(sending_times(&fired), [0u64; 0]);
        assert_eq!(verdicts(&fired), [(32_000, timed_out(client))]);
        bench.assert_empty();
    }
}

#[test]
fn over_a_connection_a_cancel_is_sent_once() {
    let (mut bench, client) = ringing(stream(CALLEE));
    bench.cancel(client);
    assert_eq!(bench.sent_one().0, stream(CALLEE));
    assert_eq!(sending_times(&bench.pass_ms(31_000)), [0u64; 0]);
}

#[test]
fn cancelling_twice_sends_one_cancel() {
    let (mut bench, client) = ringing(callee());
    bench.cancel(client);
    bench.cancel(client);
    assert_eq!(kinds(&bench.sent()), ["CANCEL"]);
}

#[test]
fn a_2xx_that_crosses_the_cancel_is_passed() {
    let (mut bench, client) = ringing(callee());
    bench.cancel(client);
    bench.sent();
    assert_eq!(
        bench.answer(client, &reply(200, "INVITE", "x")),
        pass(client)
    );
    let crossed = bench.answer(client, &reply(200, "CANCEL", "x"));
    assert_eq!(crossed, ResponseVerdict::Absorbed);
    assert_eq!(bench.answer(client, &reply(200, "INVITE", "x")), late());
    assert_eq!(sending_times(&bench.pass_ms(33_000)), [0u64; 0]);
    bench.assert_empty();
}

#[test]
fn a_branch_given_up_while_silent_is_cancelled_should_it_wake() {
    let (mut bench, client) = invite(callee());
    bench.cancel(client);
    bench.detach(client);
    bench.pass_ms(1_600);
    let woken = bench.answer(client, &reply(180, "INVITE", "x"));
    assert_eq!(woken, ResponseVerdict::Absorbed);
    assert_eq!(kinds(&bench.sent()), ["CANCEL"]);
    bench.answer(client, &reply(200, "CANCEL", "x"));
    let end = bench.answer(client, &reply(487, "INVITE", "x"));
    assert_eq!(end, ResponseVerdict::Absorbed);
    assert_eq!(kinds(&bench.sent()), ["ACK"]);
    bench.pass_ms(33_000);
    bench.assert_empty();
}

#[test]
fn a_request_other_than_invite_is_not_cancelled() {
    let mut bench = Bench::new();
    let client = bench.start_client(Kind::NonInvite, callee(), &forwarded("MESSAGE"));
    bench.sent();
    bench.answer(client, &reply(100, "MESSAGE", "x"));
    bench.cancel(client);
    assert_eq!(bench.sent(), []);
}

// RFC 3261 §9.2

#[test]
fn a_cancel_finds_its_invite_in_every_state_and_changes_nothing() {
    let mut bench = Bench::new();
    let server = bench.start_server(&request("INVITE", "a"));
    let live = Met::Invite(ServerMatch::Live(server));
    let cancel = request("CANCEL", "a");
    assert_eq!(bench.receive(arrival(CALLER), &cancel), live);
    assert_eq!(bench.transactions.context_of(server), Some(CONTEXT));
    bench.respond(server, &response(487, "INVITE", "a"));
    bench.sent();
    // RFC 3261 §9.2: a retransmitted CANCEL has the same INVITE.
    assert_eq!(bench.receive(arrival(CALLER), &cancel), live);
    bench.receive(arrival(CALLER), &request("ACK", "a"));
    let finished = bench.receive(arrival(CALLER), &cancel);
    assert!(matches!(finished, Met::Invite(ServerMatch::Absorber(_))));
    assert_eq!(bench.sent(), []);
}

#[test]
fn a_cancel_from_another_address_finds_nothing() {
    let mut bench = Bench::new();
    bench.start_server(&request("INVITE", "a"));
    let cancel = request("CANCEL", "a");
    let stranger = arrival("198.51.100.8:5062");
    assert_eq!(bench.receive(stranger, &cancel), Met::New(None));
    // The port of a phone behind NAT may change.
    let moved = arrival("198.51.100.7:40000");
    assert!(matches!(bench.receive(moved, &cancel), Met::Invite(_)));
}

#[test]
fn a_cancel_of_another_request_finds_nothing() {
    let mut bench = Bench::new();
    bench.start_server(&request("MESSAGE", "a"));
    let cancel = request("CANCEL", "a");
    assert_eq!(bench.receive(arrival(CALLER), &cancel), Met::New(None));
}
