//! A REGISTER whose 200 was lost.

use std::time::Duration;

use serde_json::Value;

use super::agent::{Agent, PATIENCE, Registration};
use super::edge::{Edge, Scratch, tenants};

/// The registrations without the time that is left, which passes.
fn fixed(mut rows: Vec<Value>) -> Vec<Value> {
    for row in &mut rows {
        row.as_object_mut().unwrap().remove("expires_in_s").unwrap();
    }
    rows
}

#[test]
fn a_register_whose_200_was_lost_is_answered_200_again_and_changes_nothing() {
    for io in ["uring", "mmsg"] {
        let scratch = Scratch::new(&format!("lost-{io}"));
        let text = tenants(["alice"], &["127.0.0.0/8"]);
        let edge = Edge::start(&scratch, &text, &[&format!("shards.io={io}")]);
        let phone = Agent::new("alice", "127.0.0.1", edge.address());
        let request = Registration::new(&phone).authorized(600);
        let send = || {
            phone.send(request.as_bytes());
            phone.receive_raw(PATIENCE).unwrap()
        };
        let first = send();
        assert_eq!(first.status(), Some(200), "{first:?}");
        assert!(
            first.header("Contact").contains(&phone.claimed),
            "{first:?}"
        );
        let before = edge.registrations();
        assert_eq!(before.len(), 1);

        // What is listed is exact to the second.
        std::thread::sleep(Duration::from_millis(1_100));
        let second = send();
        assert_eq!(second.status(), Some(200), "{second:?}");
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            assert_eq!(first.header(name), second.header(name), "{name}");
        }
        assert!(
            second.header("Contact").contains(&phone.claimed),
            "{second:?}"
        );
        let after = edge.registrations();
        assert!(
            after[0]["expires_in_s"].as_u64() < before[0]["expires_in_s"].as_u64(),
            "nothing was refreshed: {after:?}"
        );
        assert_eq!(fixed(before), fixed(after));
        edge.expect_counter("register_retransmissions_total", 1);
        edge.expect_counter("bindings_created_total", 1);
        edge.expect_counter("bindings_refreshed_total", 0);
        edge.expect_counter("auth_accepted_total", 1);
    }
}

#[test]
fn a_register_heard_elsewhere_and_sent_from_another_port_is_challenged() {
    let scratch = Scratch::new("replay");
    let edge = Edge::start(&scratch, &tenants(["alice"], &["127.0.0.0/8"]), &[]);
    let phone = Agent::new("alice", "127.0.0.1", edge.address());
    let thief = Agent::new("alice", "127.0.0.1", edge.address());
    let request = Registration::new(&phone).authorized(600);
    assert_eq!(phone.exchange(&request).status(), Some(200));
    let before = edge.registrations();
    let answer = thief.exchange(&request);
    assert_eq!(answer.status(), Some(401), "{answer:?}");
    assert_eq!(fixed(before), fixed(edge.registrations()));
    edge.expect_counter("auth_replayed_total", 1);
}

#[test]
fn a_phone_that_takes_itself_back_is_gone_even_when_it_asks_twice() {
    let scratch = Scratch::new("back");
    let edge = Edge::start(&scratch, &tenants(["alice"], &["127.0.0.0/8"]), &[]);
    let phone = Agent::new("alice", "127.0.0.1", edge.address());
    let registration = Registration::new(&phone);
    registration.register(600);
    let removal = registration.authorized(0);
    let answer = phone.exchange(&removal);
    assert_eq!(answer.status(), Some(200), "{answer:?}");
    assert!(answer.all("Contact").is_empty(), "{answer:?}");
    assert!(edge.registrations().is_empty());
    phone.send(removal.as_bytes());
    let again = phone.receive_raw(PATIENCE).unwrap();
    // Nothing of it is kept, so it is either repeated or asked to prove itself anew.
    assert!(matches!(again.status(), Some(200 | 401)), "{again:?}");
    assert!(edge.registrations().is_empty());
}
