//! Calls that are up while the edge ends and another one starts on the same folder.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use super::agent::{Agent, Registration};
use super::call::{Call, call, ring};
use super::edge::{Edge, Scratch, tenants, trunk};
use super::message::challenge_parameter;

/// Calls of every kind, two of each.
fn calls<'a>(alice: &'a Agent, bob: &'a Agent, carrier: &'a Agent) -> Vec<Call<'a>> {
    let number = "sip:+4930123456@example.test";
    let incoming = "sip:+15550100@example.test";
    let pair = |caller: &'a Agent, callee: &'a Agent, uri: &str| {
        [call(caller, callee, uri), call(caller, callee, uri)]
    };
    let endpoints = pair(alice, bob, &bob.aor());
    let to_trunk = pair(alice, carrier, number);
    let from_trunk = pair(carrier, bob, incoming);
    [endpoints, to_trunk, from_trunk]
        .into_iter()
        .flatten()
        .collect()
}

/// One call of each kind is hung up by its caller, the other by its callee.
fn hang_up(calls: &[Call<'_>]) {
    for pair in calls.chunks(2) {
        pair[0].caller.hang_up(&pair[0].callee);
        pair[1].callee.hang_up(&pair[1].caller);
    }
}

/// An address that no other test takes while its edge is away.
fn address(last: u8) -> SocketAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    SocketAddr::from(([127, high, low, last], 5060))
}

/// Brings calls up, ends the edge by `signal`, starts one with another number of shards and
/// another trunk before the first, and hangs up.
fn calls_outlive(signal: &str, io: &str, from: &str, to: &str, last: u8) {
    let scratch = Scratch::new(&format!("restart-{signal}-{last}"));
    let listen = format!("listen.udp={}", address(last));
    let io = format!("shards.io={io}");
    let set = |shards| [listen.as_str(), io.as_str(), shards];
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let behind = socket.local_addr().unwrap();
    let carrier = Agent::on(socket, "carrier", address(last));
    let base = tenants(["alice", "bob"], &["127.0.0.0/8"]);
    let text = base + &trunk(behind, "bob");
    let edge = Edge::start(&scratch, &text, &set(from));
    let alice = Agent::new("alice", "127.0.0.1", edge.address());
    // One of the phones is behind a translator.
    let bob = Agent::new("bob", "127.0.0.1", edge.address()).claiming("10.99.0.7:5062");
    Registration::new(&alice).register(600);
    Registration::new(&bob).register(600);
    let before = calls(&alice, &bob, &carrier);
    edge.end(signal);

    let other = "[[trunk]]\nname = \"another\"\naccounts = [\"demo\"]\n\
                 targets = [{ uri = \"sip:127.0.0.1:9\" }]\nsources = [\"127.0.0.1:9\"]\n";
    let text = text.replacen("[[trunk]]", &format!("{other}[[trunk]]"), 1);
    let edge = Edge::start(&scratch, &text, &set(to));
    assert!(
        edge.registrations().is_empty(),
        "the tokens alone are the way"
    );
    let answered = before.iter().skip(1).step_by(2);
    for up in answered {
        up.caller.renew(&up.callee);
    }
    hang_up(&before);
    // A dialog that was refreshed since is as good as it was.
    edge.expect_counter("refused_route_total", 0);
    edge.expect_counter("dropped_stray_response_total", 0);
}

#[test]
fn calls_outlive_a_kill_when_a_shard_is_taken_away() {
    calls_outlive("KILL", "uring", "shards.count=2", "shards.count=1", 1);
}

#[test]
fn calls_outlive_a_kill_when_shards_are_added() {
    calls_outlive("KILL", "mmsg", "shards.count=1", "shards.count=3", 2);
}

#[test]
fn calls_outlive_a_drain_when_shards_are_added() {
    calls_outlive("TERM", "uring", "shards.count=1", "shards.count=2", 3);
}

#[test]
fn calls_outlive_a_drain_when_shards_are_taken_away() {
    calls_outlive("TERM", "mmsg", "shards.count=3", "shards.count=2", 4);
}

#[test]
fn a_call_of_another_deployment_is_not_taken_over() {
    let scratch = Scratch::new("foreign-keys");
    let listen = format!("listen.udp={}", address(5));
    let text = tenants(["alice", "bob"], &["127.0.0.0/8"]);
    let edge = Edge::start(&scratch, &text, &[&listen]);
    let alice = Agent::new("alice", "127.0.0.1", edge.address());
    let bob = Agent::new("bob", "127.0.0.1", edge.address());
    Registration::new(&bob).register(600);
    let up = call(&alice, &bob, &bob.aor());
    edge.end("KILL");
    std::fs::remove_file(scratch.path().join("state/keys")).unwrap();
    let edge = Edge::start(&scratch, &text, &[&listen]);
    let status = up.caller.try_hang_up().status();
    assert!(
        status.is_some_and(|status| (400..500).contains(&status)),
        "{status:?}"
    );
    bob.expect_silence(Duration::from_millis(200));
    edge.expect_counter("messages_forwarded_total", 0);
}

#[test]
fn an_answer_to_a_call_from_before_a_kill_is_not_taken_for_another_calls() {
    let scratch = Scratch::new("late");
    let listen = format!("listen.udp={}", address(6));
    let text = tenants(["alice", "bob"], &["127.0.0.0/8"]);
    let set = [listen.as_str(), "shards.count=1"];
    let edge = Edge::start(&scratch, &text, &set);
    let agent = |user| Agent::new(user, "127.0.0.1", address(6));
    let (alice, bob) = (agent("alice"), agent("bob"));
    Registration::new(&bob).register(600);
    let before = ring(&alice, &bob, &bob.aor());
    edge.end("KILL");

    let edge = Edge::start(&scratch, &text, &set);
    let (carol, bob_again) = (agent("carol"), agent("bob"));
    Registration::new(&bob_again).register(600);
    let after = ring(&carol, &bob_again, &bob.aor());
    before.answer_only();
    carol.expect_silence(Duration::from_millis(200));
    edge.expect_counter("dropped_stray_response_total", 1);
    let up = after.answer();
    up.caller.hang_up(&up.callee);
}

#[test]
fn a_phone_with_a_nonce_from_before_a_restart_is_asked_again_and_not_refused() {
    for signal in ["KILL", "TERM"] {
        let scratch = Scratch::new(&format!("nonce-{signal}"));
        let listen = format!("listen.udp={}", address(7));
        let text = tenants(["alice"], &["127.0.0.0/8"]);
        let edge = Edge::start(&scratch, &text, &[&listen]);
        let alice = Agent::new("alice", "127.0.0.1", edge.address());
        let registration = Registration::new(&alice);
        let request = registration.authorized(600);
        edge.end(signal);
        let edge = Edge::start(&scratch, &text, &[&listen]);
        let answer = alice.exchange(&request);
        assert_eq!(answer.status(), Some(401), "{answer:?}");
        let challenge = answer.header("WWW-Authenticate");
        assert_eq!(challenge_parameter(challenge, "stale"), Some("true"));
        registration.register(600);
        assert_eq!(edge.registrations().len(), 1);
    }
}
