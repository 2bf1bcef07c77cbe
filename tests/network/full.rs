//! Tables that are full: 503 with Retry-After, counted, and nothing lost that was accepted.

use super::agent::{Agent, Registration};
use super::call::{Ringing, call, invite};
use super::edge::{Edge, Scratch, tenants, total};
use super::message::Message;

/// The smallest size that a table may be given.
const SMALLEST: usize = 16;

fn expect_unavailable(answer: &Message) {
    assert_eq!(answer.status(), Some(503), "{answer:?}");
    assert_eq!(answer.header("Retry-After"), "7", "{answer:?}");
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|user| format!("user{user:03}")).collect()
}

#[test]
fn a_full_location_table_refuses_new_phones_and_keeps_those_it_has() {
    let users = names(SMALLEST + 1);
    let scratch = Scratch::new("bindings");
    let text = tenants(users.iter().map(String::as_str), &["127.0.0.0/8"]);
    let set = [
        "shards.count=1",
        "limits.bindings=16",
        "registrar.registers_per_aor_s=50",
        "overload.retry_after_s=7",
    ];
    let edge = Edge::start(&scratch, &text, &set);
    let agent = |user: &String| Agent::new(user, "127.0.0.1", edge.address());
    let phones: Vec<Agent> = users.iter().map(agent).collect();
    let registrations: Vec<_> = phones.iter().map(Registration::new).collect();
    let (last, first) = registrations.split_last().unwrap();
    for registration in first {
        registration.register(600);
    }
    expect_unavailable(&last.try_register(600));
    let stats = edge.stats_when("the refusal is not counted", |stats| {
        total(stats, "refused_overload_total") == 1
    });
    assert_eq!(stats["total"]["tables"]["bindings"], SMALLEST, "{stats:#}");
    let listed = edge.registrations();
    assert_eq!(listed.len(), SMALLEST);
    assert!(
        listed
            .iter()
            .all(|row| row["aor"] != "user016@example.test")
    );

    // Those that were accepted refresh, and are called, all the same.
    let caller = agent(&"caller".to_owned());
    for (registration, phone) in first.iter().zip(&phones) {
        registration.register(300);
        let up = call(&caller, phone, &phone.aor());
        up.caller.hang_up(&up.callee);
    }
    let sent = caller.request("MESSAGE", &phones[SMALLEST].aor(), "", "");
    assert_eq!(caller.exchange(&sent).status(), Some(480));
    first[3].register(0);
    last.register(600);
    assert_eq!(edge.registrations().len(), SMALLEST);
}

/// Starts calls that ring until one is refused; the refusal.
fn fill<'a>(
    caller: &'a Agent,
    callee: &'a Agent,
    ringing: &mut Vec<Ringing<'a>>,
) -> (String, Message) {
    loop {
        let sent = invite(caller, &callee.aor());
        caller.send(sent.as_bytes());
        let answer = caller.take_any();
        if answer.status() == Some(503) {
            return (sent, answer);
        }
        ringing.push(Ringing::of(caller, callee, sent));
        assert!(
            ringing.len() <= SMALLEST,
            "more calls than the table has room for"
        );
    }
}

#[test]
fn a_full_transaction_table_refuses_new_calls_and_serves_those_it_has() {
    for io in ["uring", "mmsg"] {
        let scratch = Scratch::new(&format!("transactions-{io}"));
        let io = format!("shards.io={io}");
        let set = [
            "shards.count=1",
            "limits.transactions=16",
            "overload.retry_after_s=7",
            io.as_str(),
        ];
        let text = tenants(["alice", "bob"], &["127.0.0.0/8"]);
        let edge = Edge::start(&scratch, &text, &set);
        let alice = Agent::new("alice", "127.0.0.1", edge.address());
        let bob = Agent::new("bob", "127.0.0.1", edge.address());
        Registration::new(&bob).register(600);
        let first = call(&alice, &bob, &bob.aor());
        let second = call(&alice, &bob, &bob.aor());

        let mut ringing = Vec::new();
        let (invite, refusal) = fill(&alice, &bob, &mut ringing);
        expect_unavailable(&refusal);
        alice.acknowledge_refusal(&invite, &refusal);
        assert!(ringing.len() >= SMALLEST / 2, "{} ring", ringing.len());
        let message = alice.request("MESSAGE", &bob.aor(), "", "hello");
        expect_unavailable(&alice.exchange(&message));
        edge.expect_counter("refused_overload_total", 2);

        // RFC 3261 §16.11: inside a dialog it goes on without a transaction.
        edge.expect_counter("forwarded_stateless_total", 0);
        first.caller.hang_up(&first.callee);
        second.callee.hang_up(&second.caller);
        edge.expect_counter("forwarded_stateless_total", 2);
        // Registrations take no transaction.
        Registration::new(&bob).register(600);

        ringing.pop().unwrap().cancel();
        let answered: Vec<_> = ringing.into_iter().map(Ringing::answer).collect();
        for up in &answered {
            up.caller.hang_up(&up.callee);
        }
        edge.stats_when("the table is not empty again", |stats| {
            let tables = &stats["total"]["tables"];
            tables["server_transactions"] == 0 && tables["requests"] == 0
        });
        let up = call(&alice, &bob, &bob.aor());
        up.callee.hang_up(&up.caller);
        edge.expect_counter("refused_overload_total", 2);
    }
}

#[test]
fn forgotten_transactions_are_counted_and_do_no_harm() {
    let scratch = Scratch::new("absorbers");
    let set = ["shards.count=1", "limits.absorbers=16"];
    let text = tenants(["alice", "bob"], &["127.0.0.0/8"]);
    let edge = Edge::start(&scratch, &text, &set);
    let alice = Agent::new("alice", "127.0.0.1", edge.address());
    let bob = Agent::new("bob", "127.0.0.1", edge.address());
    Registration::new(&bob).register(600);
    let calls: Vec<_> = (0..3 * SMALLEST)
        .map(|_| call(&alice, &bob, &bob.aor()))
        .collect();
    for up in &calls {
        up.caller.hang_up(&up.callee);
    }
    let stats = edge.stats_when("nothing was forgotten", |stats| {
        total(stats, "absorbers_evicted_total") > 0
    });
    assert_eq!(total(&stats, "refused_overload_total"), 0);
    assert_eq!(stats["total"]["tables"]["absorbers"], SMALLEST, "{stats:#}");
}

#[test]
fn a_full_arena_refuses_new_calls_and_serves_those_it_has() {
    let scratch = Scratch::new("arena");
    let set = [
        "shards.count=1",
        "limits.message_bytes=2097152",
        "overload.retry_after_s=7",
    ];
    let text = tenants(["alice", "bob"], &["127.0.0.0/8"]);
    let edge = Edge::start(&scratch, &text, &set);
    let alice = Agent::new("alice", "127.0.0.1", edge.address());
    let bob = Agent::new("bob", "127.0.0.1", edge.address());
    Registration::new(&bob).register(600);
    let up = call(&alice, &bob, &bob.aor());
    let body = "x".repeat(60_000);
    let mut waiting = Vec::new();
    let refusal = loop {
        let sent = alice.request("MESSAGE", &bob.aor(), "", &body);
        alice.send(sent.as_bytes());
        match (bob.take_within("MESSAGE"), waiting.len()) {
            (Some(received), 0..64) => waiting.push(received),
            (Some(_), _) => panic!("more than the arena has room for"),
            (None, _) => break alice.take_final("MESSAGE"),
        }
    };
    expect_unavailable(&refusal);
    assert!(waiting.len() >= 4, "{} wait", waiting.len());
    edge.expect_counter("refused_overload_total", 1);
    up.callee.hang_up(&up.caller);
    for received in &waiting {
        assert_eq!(received.body, body);
        bob.respond(received, "200 OK", "late", "");
        assert_eq!(alice.take_final("MESSAGE").status(), Some(200));
    }
    let again = alice.request("MESSAGE", &bob.aor(), "", &body);
    alice.send(again.as_bytes());
    assert_eq!(bob.take_request("MESSAGE").body, body);
}
