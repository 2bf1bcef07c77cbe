//! Random events in tables that are too small: nothing may be left behind, whatever is refused.

use proptest::prelude::*;

use super::model::{Step, caller, flow_of, step};
use super::*;

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(256)
    })]

    #[test]
    fn in_tables_that_are_too_small_nothing_is_left_behind_either(
        steps in proptest::collection::vec(step(), 0..120),
        absorbers in 0u32..4,
        timers in 1u32..8,
    ) {
        let mut bench = Bench::sized(3, absorbers).with_buffers(1);
        bench.world.wheel = Wheel::with_capacity(timers, bench.world.now.time);
        let mut crowd = Crowd { bench, servers: Vec::new(), clients: Vec::new() };
        for step in steps {
            crowd.step(step);
        }
        crowd.end();
    }
}

/// Events without expectations, for tables in which anything may be refused or evicted.
struct Crowd {
    bench: Bench,
    servers: Vec<(ServerId, String)>,
    clients: Vec<(ClientId, bool)>,
}

impl Crowd {
    fn step(&mut self, step: Step) {
        match step {
            Step::Request {
                branch,
                invite,
                reliable,
            } => {
                let method = if invite { "INVITE" } else { "MESSAGE" };
                let text = request(method, &branch.to_string());
                let met = self.bench.receive(caller(reliable), &text);
                if let Met::New(Some(server)) = met {
                    self.servers.push((server, text));
                }
            }
            Step::Respond {
                server,
                status,
                own,
            } => self.respond(server, status, own),
            Step::Ack { branch, reliable } => {
                let ack = request("ACK", &branch.to_string());
                self.bench.receive(caller(reliable), &ack);
            }
            Step::Start { invite, flow } => self.start(invite, flow),
            Step::Answer {
                client,
                status,
                cancel,
            } => self.answer(client, status, cancel),
            Step::Cancel { client } => {
                if let Some((id, _)) = self.choose(client) {
                    self.bench.cancel(id);
                }
            }
            Step::Detach { client } => {
                if let Some((id, _)) = self.choose(client) {
                    self.bench.detach(id);
                }
            }
            Step::Unreachable { flow } => {
                let mut failed = Vec::new();
                let mut turn = self.bench.world.turn();
                let transactions = &mut self.bench.transactions;
                transactions.handle_unreachable(&mut turn, flow_of(flow), &mut failed);
            }
            Step::Pass { seconds } => {
                self.bench.pass_ms(seconds * 1000);
            }
        }
        self.bench.sent();
    }

    fn choose(&self, client: usize) -> Option<(ClientId, bool)> {
        let count = self.clients.len().max(1);
        self.clients.get(client % count).copied()
    }

    fn respond(&mut self, server: usize, status: u16, own: bool) {
        let count = self.servers.len().max(1);
        let Some((id, text)) = self.servers.get(server % count).cloned() else {
            return;
        };
        let text = self.bench.own_response(&text, status, "Server: x\r\n");
        let mut turn = self.bench.world.turn();
        let octets = text.as_bytes();
        let transactions = &mut self.bench.transactions;
        transactions.respond(&mut turn, id, status, octets, own);
    }

    fn start(&mut self, invite: bool, flow: u8) {
        let (kind, method) = if invite {
            (Kind::Invite, "INVITE")
        } else {
            (Kind::NonInvite, "MESSAGE")
        };
        // Large enough that the arena is full before the tables are.
        let text = forwarded(method).replace("hello", &"x".repeat(15_000));
        let text = text.replace("Content-Length: 5", "Content-Length: 15000");
        let started = self.bench.try_start_client(kind, flow_of(flow), &text);
        self.clients.extend(started.map(|client| (client, invite)));
    }

    fn answer(&mut self, client: usize, status: u16, cancel: bool) {
        if let Some((id, invite)) = self.choose(client) {
            let method = match (cancel, invite) {
                (true, _) => "CANCEL",
                (false, true) => "INVITE",
                (false, false) => "MESSAGE",
            };
            self.bench.answer(id, &reply(status, method, "x"));
        }
    }

    fn end(mut self) {
        for (server, text) in std::mem::take(&mut self.servers) {
            let text = self.bench.own_response(&text, 500, "");
            let mut turn = self.bench.world.turn();
            self.bench
                .transactions
                .respond(&mut turn, server, 500, text.as_bytes(), true);
            self.bench.sent();
        }
        for (client, _) in std::mem::take(&mut self.clients) {
            self.bench.detach(client);
        }
        self.bench.sent();
        self.bench.pass_ms(100_000);
        self.bench.assert_empty();
    }
}
