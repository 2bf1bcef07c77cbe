//! Phones of both address families, each on a listener of its own.

use super::agent::{Agent, Registration};
use super::call::call;
use super::edge::{Edge, Scratch, tenants};

#[test]
fn a_phone_on_ipv4_and_one_on_ipv6_call_each_other_and_their_calls_outlive_a_kill() {
    for io in ["uring", "mmsg"] {
        let scratch = Scratch::new(&format!("families-{io}"));
        let text = tenants(["alice", "bob"], &["127.0.0.0/8", "::1"]);
        let io = format!("shards.io={io}");
        let any = "listen.udp=[\"127.0.0.1:0\", \"[::1]:0\"]";
        let edge = Edge::start(&scratch, &text, &[io.as_str(), any]);
        let alice = Agent::new("alice", "127.0.0.1", edge.listener(0));
        let bob = Agent::new("bob", "::1", edge.listener(1));
        let listeners = [edge.listener(0), edge.listener(1)].map(|it| it.to_string());
        for phone in [&alice, &bob] {
            Registration::new(phone).register(600);
        }
        for (caller, callee) in [(&alice, &bob), (&bob, &alice)] {
            let up = call(caller, callee, &callee.aor());
            up.caller.renew(&up.callee);
            up.callee.renew(&up.caller);
            up.caller.hang_up(&up.callee);
        }
        let up = [
            call(&alice, &bob, &bob.aor()),
            call(&bob, &alice, &alice.aor()),
        ];
        edge.end("KILL");
        let same = format!("listen.udp={listeners:?}");
        let edge = Edge::start(&scratch, &text, &[io.as_str(), &same, "shards.count=3"]);
        for up in &up {
            up.callee.renew(&up.caller);
            up.callee.hang_up(&up.caller);
        }
        edge.expect_every_message_accounted_for();
    }
}
