//! What happens when a table, the arena or the wheel is full.

use super::*;

/// Answers as many requests as `count`, each by a forwarded final of its own branch.
fn answer_many(bench: &mut Bench, count: usize) {
    for number in 0..count {
        let branch = format!("n{number}");
        let server = bench.start_server(&request("MESSAGE", &branch));
        bench.respond(server, &response(200, "MESSAGE", &branch));
        bench.sent();
    }
}

#[test]
fn a_full_server_table_takes_no_more_until_one_ends() {
    let mut bench = Bench::sized(2, 16);
    let first = bench.start_server(&request("INVITE", "a"));
    bench.start_server(&request("MESSAGE", "b"));
    let met = bench.receive(arrival(CALLER), &request("INVITE", "c"));
    assert_eq!(met, Met::New(None));
    assert_eq!(
        bench.receive(arrival(CALLER), &request("INVITE", "a")),
        Met::Again(false)
    );
    bench.respond(first, &response(200, "INVITE", "a"));
    bench.sent();
    bench.start_server(&request("INVITE", "c"));
}

#[test]
fn a_full_client_table_takes_no_more_and_leaves_nothing_behind() {
    let mut bench = Bench::sized(1, 16);
    for _ in 0..2 {
        bench.start_client(Kind::Invite, callee(), &forwarded("INVITE"));
    }
    bench.sent();
    let used = bench.world.buffers.bytes_used();
    assert_eq!(bench.transactions.next_client(), None);
    assert_eq!(
        bench.try_start_client(Kind::Invite, callee(), &forwarded("INVITE")),
        None
    );
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.world.buffers.bytes_used(), used);
    bench.pass_ms(33_000);
    bench.assert_empty();
}

#[test]
fn a_full_wheel_starts_no_client_transaction() {
    let mut bench = Bench::new();
    bench.world.wheel = Wheel::with_capacity(1, bench.world.now.time);
    let first = bench.start_client(Kind::Invite, callee(), &forwarded("INVITE"));
    bench.sent();
    let used = bench.world.buffers.bytes_used();
    assert_eq!(
        bench.try_start_client(Kind::NonInvite, callee(), &forwarded("MESSAGE")),
        None
    );
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.transactions.sizes(), (0, 1, 0));
    assert_eq!(bench.world.buffers.bytes_used(), used);
    assert_eq!(
        verdicts(&bench.pass_ms(33_000)),
        [(32_000, timed_out(first))]
    );
    bench.assert_empty();
}

#[test]
fn with_a_full_wheel_a_final_is_sent_and_the_transaction_ends() {
    let mut bench = Bench::new();
    bench.world.wheel = Wheel::with_capacity(0, bench.world.now.time);
    let server = bench.start_server(&request("INVITE", "a"));
    bench.respond(server, &response(486, "INVITE", "a"));
    assert_eq!(bench.sent_one().1, response(486, "INVITE", "a"));
    bench.assert_empty();
}

#[test]
fn with_a_full_wheel_a_detached_branch_ends_at_once() {
    let mut bench = Bench::new();
    bench.world.wheel = Wheel::with_capacity(1, bench.world.now.time);
    let client = bench.start_client(Kind::Invite, callee(), &forwarded("INVITE"));
    bench.answer(client, &reply(180, "INVITE", "x"));
    bench.sent();
    let other = bench.start_client(Kind::NonInvite, callee(), &forwarded("MESSAGE"));
    bench.cancel(client);
    bench.detach(client);
    assert_eq!(kinds(&bench.sent()), ["MESSAGE", "CANCEL"]);
    assert_eq!(bench.transactions.sizes(), (0, 1, 0));
    assert_eq!(
        bench.answer(other, &reply(100, "MESSAGE", "x")),
        pass(other)
    );
}

#[test]
fn a_full_arena_starts_no_client_transaction() {
    // One page of 64 KiB.
    let mut bench = Bench::sized(128, 16).with_buffers(1);
    let mut started = 0;
    while bench
        .try_start_client(Kind::Invite, callee(), &forwarded("INVITE"))
        .is_some()
    {
        started += 1;
        bench.sent();
    }
    assert!((64..256).contains(&started), "{started}");
    assert_eq!(bench.transactions.sizes(), (0, started, 0));
    assert_eq!(bench.sent(), []);
    bench.pass_ms(33_000);
    bench.assert_empty();
}

#[test]
fn when_the_absorbers_are_full_the_oldest_goes_and_its_retransmission_is_new() {
    let mut bench = Bench::sized(4, 3);
    answer_many(&mut bench, 4);
    assert_eq!(bench.count(Counter::AbsorbersEvicted), 1);
    assert_eq!(bench.transactions.sizes(), (0, 0, 3));
    for number in 1..4 {
        let again = bench.receive(arrival(CALLER), &request("MESSAGE", &format!("n{number}")));
        assert_eq!(again, Met::Again(true));
    }
    bench.sent();
    let gone = bench.receive(arrival(CALLER), &request("MESSAGE", "n0"));
    assert!(matches!(gone, Met::New(Some(_))));
}

#[test]
fn the_absorber_that_goes_first_is_the_one_whose_end_is_nearest() {
    let mut bench = Bench::sized(4, 2);
    answer_many(&mut bench, 1);
    // Timer K of this one ends before timer J of the older one.
    let client = bench.start_client(Kind::NonInvite, callee(), &forwarded("MESSAGE"));
    bench.answer(client, &reply(200, "MESSAGE", "x"));
    bench.sent();
    let server = bench.start_server(&request("MESSAGE", "b"));
    bench.respond(server, &response(200, "MESSAGE", "b"));
    bench.sent();
    let stray = bench.answer(client, &reply(200, "MESSAGE", "x"));
    assert_eq!(stray, ResponseVerdict::Unknown);
    assert_eq!(
        bench.receive(arrival(CALLER), &request("MESSAGE", "n0")),
        Met::Again(true)
    );
}

#[test]
fn without_absorbers_everything_else_goes_on() {
    let mut bench = Bench::sized(4, 0);
    answer_many(&mut bench, 3);
    assert_eq!(bench.count(Counter::AbsorbersEvicted), 3);
    let client = bench.start_client(Kind::Invite, callee(), &forwarded("INVITE"));
    bench.sent();
    assert_eq!(
        bench.answer(client, &reply(486, "INVITE", "x")),
        pass(client)
    );
    assert_eq!(kinds(&bench.sent()), ["ACK"]);
    bench.assert_empty();
}

#[test]
fn finished_transactions_keep_at_most_half_of_the_arena() {
    let mut bench = Bench::sized(4, 4096).with_buffers(1 << 18);
    answer_many(&mut bench, 1000);
    let (_, _, absorbers) = bench.transactions.sizes();
    let evicted = bench.count(Counter::AbsorbersEvicted);
    assert_eq!(u64::from(absorbers) + evicted, 1000);
    let octets = absorbers as usize * response(200, "MESSAGE", "n999").len();
    assert!((100_000..=131_072).contains(&octets), "{octets}");
    assert!(bench.world.buffers.bytes_used() < 180_000);
    // A live transaction still finds room.
    bench.start_client(Kind::Invite, callee(), &forwarded("INVITE"));
    bench.sent();
    bench.pass_ms(33_000);
    bench.assert_empty();
}

#[test]
fn finished_transactions_give_up_their_octets_to_a_live_one() {
    let mut bench = Bench::sized(256, 4096).with_buffers(1 << 16);
    answer_many(&mut bench, 40);
    let mut live = 0;
    // Requests of the same size class take the rest of the arena's one page, and more.
    let text = response(200, "MESSAGE", "live");
    while bench.count(Counter::AbsorbersEvicted) == 0 && live < 256 {
        bench.start_client(Kind::NonInvite, callee(), &text);
        bench.sent();
        live += 1;
    }
    let evicted = limits::ABSORBERS_EVICTED_MAX as u32;
    assert_eq!(bench.transactions.sizes(), (0, live, 40 - evicted));
    let oldest = bench.receive(arrival(CALLER), &request("MESSAGE", "n0"));
    assert!(matches!(oldest, Met::New(_)));
    let youngest = bench.receive(arrival(CALLER), &request("MESSAGE", "n39"));
    assert_eq!(youngest, Met::Again(true));
}

#[test]
fn a_flood_of_ends_is_worked_off_in_parts() {
    let count = limits::ABSORBERS_PER_TIMER_MAX as u32 + 10;
    let mut bench = Bench::sized(4, count).with_buffers(4 << 20);
    answer_many(&mut bench, count as usize);
    bench.pass_ms(31_990);
    assert_eq!(bench.transactions.sizes().2, count);
    bench.pass_ms(30);
    bench.assert_empty();
}

/// Takes all room in the arena but for what `spare` octets need.
fn fill(bench: &mut Bench, spare: usize) {
    let held = bench.world.buffers.store(&vec![0; spare]).unwrap();
    for size in [60_000, 4000, 1000, 500, 200, 100, 50, 30, 14, 1] {
        while bench.world.buffers.store(&vec![0; size]).is_some() {}
    }
    bench.world.buffers.release(held);
}

#[test]
fn a_final_that_finds_no_room_is_made_again_from_the_kept_invite_until_its_ack_comes() {
    let mut bench = Bench::sized(4, 16).with_buffers(1 << 16);
    let invite = request("INVITE", "a");
    let server = bench.start_server(&invite);
    fill(&mut bench, invite.len());
    let kept = bench.world.buffers.store(invite.as_bytes()).unwrap();
    let filled = bench.world.buffers.bytes_used();
    bench
        .transactions
        .keep_request(&mut bench.world.turn(), server, kept);
    let own = bench.own_response(&invite, 503, "Retry-After: 5\r\n");
    let mut turn = bench.world.turn();
    bench
        .transactions
        .respond(&mut turn, server, 503, own.as_bytes(), true);
    assert_eq!(bench.sent_one().1, own);
    let fired = bench.pass_ms(4_000);
    assert_eq!(sending_times(&fired), [500, 1_500, 3_500]);
    let again = fired.iter().flat_map(|fired| &fired.sent);
    assert!(again.clone().all(|(_, text)| *text == own), "{fired:#?}");
    assert_eq!(
        bench.receive(arrival(CALLER), &invite),
        Met::Again(true),
        "a retransmitted INVITE is answered too"
    );
    assert_eq!(bench.sent_one().1, own);
    assert_eq!(bench.world.buffers.bytes_used(), filled);
    bench.receive(arrival(CALLER), &request("ACK", "a"));
    assert!(
        bench.world.buffers.bytes_used() < filled,
        "the INVITE is let go of"
    );
    assert_eq!(bench.count(Counter::RetransmissionsLost), 0);
    assert!(sending_times(&bench.pass_ms(6_000)).is_empty());
}

#[test]
fn a_forwarded_final_that_finds_no_room_is_repeated_by_its_status() {
    let mut bench = Bench::sized(4, 16).with_buffers(1 << 16);
    let invite = request("INVITE", "a");
    let server = bench.start_server(&invite);
    fill(&mut bench, invite.len());
    let kept = bench.world.buffers.store(invite.as_bytes()).unwrap();
    bench
        .transactions
        .keep_request(&mut bench.world.turn(), server, kept);
    bench.respond(server, &response(486, "INVITE", "a"));
    assert_eq!(bench.sent_one().1, response(486, "INVITE", "a"));
    let fired = bench.pass_ms(510);
    let again = &fired[0].sent[0].1;
    assert!(again.starts_with("SIP/2.0 486 Busy Here\r\n"), "{again}");
    assert!(again.contains(";branch=z9hG4bKa"), "{again}");
}

#[test]
fn a_request_whose_final_found_room_is_not_kept() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "a");
    let server = bench.start_server(&invite);
    let kept = bench.world.buffers.store(invite.as_bytes()).unwrap();
    bench
        .transactions
        .keep_request(&mut bench.world.turn(), server, kept);
    bench.respond(server, &response(486, "INVITE", "a"));
    bench.sent();
    let length = response(486, "INVITE", "a").len();
    assert!(bench.world.buffers.bytes_used() < 2 * length);
    // Whose transaction is gone is let go of at once.
    bench.pass_ms(33_000);
    let kept = bench.world.buffers.store(invite.as_bytes()).unwrap();
    bench
        .transactions
        .keep_request(&mut bench.world.turn(), server, kept);
    bench.assert_empty();
}

#[test]
fn an_own_503_takes_no_room() {
    let mut bench = Bench::sized(4, 16).with_buffers(1 << 16);
    let message = request("MESSAGE", "a");
    let server = bench.start_server(&message);
    fill(&mut bench, 1);
    while bench.world.buffers.store(b"").is_some() {}
    let own = bench.own_response(&message, 503, "Retry-After: 5\r\n");
    let mut turn = bench.world.turn();
    bench
        .transactions
        .respond(&mut turn, server, 503, own.as_bytes(), true);
    bench.sent();
    assert_eq!(bench.receive(arrival(CALLER), &message), Met::Again(true));
    assert_eq!(bench.sent_one().1, own);
}
