//! Two shards: every address of record is reached from each of them.

use std::net::SocketAddr;

use serde_json::Value;

use super::agent::{Agent, Registration};
use super::call::call;
use super::edge::{Edge, Scratch, tenants, total};

const USERS: usize = 200;

/// Datagrams received by each shard.
fn received(stats: &Value) -> Vec<u64> {
    let shards = stats["shards"].as_array().unwrap();
    let count = |shard: &Value| {
        shard["reactor"]["datagrams_received_total"]
            .as_u64()
            .unwrap()
    };
    shards.iter().map(count).collect()
}

/// An agent whose datagrams the kernel gives to this shard.
fn agent_on(edge: &Edge, shard: usize) -> Agent {
    for _ in 0..64 {
        let agent = Agent::new("caller", "127.0.0.1", edge.address());
        let before = received(&edge.json(&["stats"]));
        let uri = format!("sip:{}", edge.address());
        let sent: u64 = 3;
        for _ in 0..sent {
            let answer = agent.exchange(&agent.request("OPTIONS", &uri, "", ""));
            assert_eq!(answer.status(), Some(200), "{answer:?}");
        }
        let sum = before.iter().sum::<u64>() + sent;
        let what = "the shards did not receive what was sent";
        let after = edge.stats_when(what, |stats| received(stats).iter().sum::<u64>() == sum);
        if received(&after)[shard] == before[shard] + sent {
            return agent;
        }
    }
    panic!("none of 64 source ports reaches shard {shard}");
}

/// Registers `USERS` phones, each on a port of its own.
fn phones(address: SocketAddr, users: &[String]) -> Vec<Agent> {
    let register = |user: &String| {
        let phone = Agent::new(user, "127.0.0.1", address);
        Registration::new(&phone).register(600);
        phone
    };
    users.iter().map(register).collect()
}

fn every_address_of_record_is_reached_from_both_shards(io: &str) {
    let users: Vec<String> = (0..USERS).map(|user| format!("user{user:03}")).collect();
    let scratch = Scratch::new(&format!("shards-{io}"));
    let text = tenants(users.iter().map(String::as_str), &["127.0.0.0/8"]);
    let edge = Edge::start(&scratch, &text, &[&format!("shards.io={io}")]);
    let phones = phones(edge.address(), &users);

    let rows = edge.registrations();
    assert_eq!(rows.len(), USERS);
    let mut listed: Vec<_> = rows
        .iter()
        .map(|row| row["aor"].as_str().unwrap())
        .collect();
    listed.sort_unstable();
    let expected: Vec<_> = users
        .iter()
        .map(|user| format!("{user}@example.test"))
        .collect();
    assert_eq!(listed, expected);
    let owned = |shard: u64| rows.iter().filter(|row| row["shard"] == shard).count();
    assert_eq!(owned(0) + owned(1), USERS);
    // Of 200 fair choices one side has fewer than 60 once in 10^9 times.
    assert!(
        owned(0).min(owned(1)) >= 60,
        "{} and {}",
        owned(0),
        owned(1)
    );

    let hops = |stats: &Value| total(stats, "shard_messages_sent_total");
    for shard in [0, 1] {
        let caller = agent_on(&edge, shard);
        let before = edge.json(&["stats"]);
        for phone in &phones {
            let up = call(&caller, phone, &phone.aor());
            up.callee.hang_up(&up.caller);
        }
        let after = edge.stats_when("calls are not counted", |stats| {
            total(stats, "calls_answered_total") == total(&before, "calls_answered_total") + 200
        });
        // Each look-up at the other shard is a question and an answer.
        let foreign = owned(1 - shard as u64) as u64;
        assert!(hops(&after) - hops(&before) >= 2 * foreign, "{after:#}");
    }
    let stats = edge.json(&["stats"]);
    assert!(
        received(&stats).iter().all(|&count| count > 400),
        "{stats:#}"
    );
    assert_eq!(total(&stats, "dropped_queue_full_total"), 0);
    assert_eq!(total(&stats, "dropped_stray_response_total"), 0);
}

#[test]
fn every_address_of_record_is_reached_from_both_shards_over_io_uring() {
    every_address_of_record_is_reached_from_both_shards("uring");
}

#[test]
fn every_address_of_record_is_reached_from_both_shards_over_system_calls() {
    every_address_of_record_is_reached_from_both_shards("mmsg");
}
