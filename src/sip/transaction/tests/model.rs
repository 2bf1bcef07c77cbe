//! Random events, against a model that writes down what each transaction is and when it ends.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What happens next. Numbers choose among what is there, round and round.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Request {
        branch: u8,
        invite: bool,
        reliable: bool,
    },
    Respond {
        server: usize,
        status: u16,
        own: bool,
    },
    Ack {
        branch: u8,
        reliable: bool,
    },
    Start {
        invite: bool,
        flow: u8,
    },
    Answer {
        client: usize,
        status: u16,
        cancel: bool,
    },
    Cancel {
        client: usize,
    },
    Detach {
        client: usize,
    },
    Unreachable {
        flow: u8,
    },
    Pass {
        seconds: u64,
    },
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let status = || prop::sample::select(vec![100u16, 180, 200, 302, 408, 486, 503]);
    let branch = 0u8..4;
    prop_oneof![
        6 => (branch.clone(), any::<[bool; 2]>())
            .prop_map(|(branch, [invite, reliable])| Step::Request { branch, invite, reliable }),
        6 => (any::<usize>(), status(), any::<bool>())
            .prop_map(|(server, status, own)| Step::Respond { server, status, own }),
        2 => (branch, any::<bool>()).prop_map(|(branch, reliable)| Step::Ack { branch, reliable }),
        4 => (any::<bool>(), 0u8..3).prop_map(|(invite, flow)| Step::Start { invite, flow }),
        8 => (any::<usize>(), status(), prop::bool::weighted(0.2))
            .prop_map(|(client, status, cancel)| Step::Answer { client, status, cancel }),
        2 => any::<usize>().prop_map(|client| Step::Cancel { client }),
        1 => any::<usize>().prop_map(|client| Step::Detach { client }),
        1 => (0u8..3).prop_map(|flow| Step::Unreachable { flow }),
        3 => prop_oneof![0u64..6, 25u64..40].prop_map(|seconds| Step::Pass { seconds }),
    ]
}

/// A server transaction: what a retransmitted request gets, and when it is over.
#[derive(Debug)]
struct ModelServer {
    id: ServerId,
    request: String,
    invite: bool,
    reliable: bool,
    started: u64,
    answered: bool,
    /// A non-2xx final of an INVITE that nobody has acknowledged.
    awaits_ack: bool,
    accepted: bool,
    again: Option<String>,
    ends: Option<u64>,
}

/// A client transaction: how it takes a response, and when it is over.
#[derive(Debug)]
struct ModelClient {
    id: ClientId,
    invite: bool,
    flow: u8,
    attached: bool,
    /// The status of its latest response.
    had: Option<u16>,
    wants_cancel: bool,
    sent_cancel: bool,
    ends: Option<u64>,
}

impl ModelClient {
    fn is_finished(&self) -> bool {
        self.had.is_some_and(|status| status >= 200)
    }
}

struct Run {
    bench: Bench,
    servers: BTreeMap<(u8, bool, bool), ModelServer>,
    clients: Vec<ModelClient>,
    serial: u32,
    /// The final response each server transaction has sent, by the serial of its request.
    finals: BTreeMap<String, String>,
}

pub(super) fn flow_of(flow: u8) -> Flow {
    match flow {
        0 => callee(),
        1 => arrival("203.0.113.21:5060").flow,
        _ => stream(CALLEE),
    }
}

pub(super) fn caller(reliable: bool) -> Arrival {
    // Another address, so that a branch may be in use on both at the same time.
    match reliable {
        true => Arrival {
            flow: stream("198.51.100.99:1024"),
        },
        false => arrival(CALLER),
    }
}

impl Run {
    fn new(bench: Bench) -> Self {
        Self {
            bench,
            servers: BTreeMap::new(),
            clients: Vec::new(),
            serial: 0,
            finals: BTreeMap::new(),
        }
    }

    fn now(&self) -> u64 {
        self.bench.elapsed_ms()
    }

    /// Takes what was sent; holds every final upstream against "one final for each transaction".
    fn note(&mut self, sent: Vec<(Flow, String)>) -> Vec<String> {
        for (_, text) in &sent {
            let upstream = text.starts_with("SIP/2.0 ") && !text.starts_with("SIP/2.0 1");
            if upstream {
                let serial = text.split("serial-").nth(1).unwrap();
                let serial = serial[..6].to_owned();
                let first = self.finals.entry(serial).or_insert_with(|| text.clone());
                assert_eq!(first, text, "a second final response");
            }
        }
        sent.into_iter().map(|(_, text)| text).collect()
    }

    fn sent(&mut self) -> Vec<String> {
        let sent = self.bench.sent();
        self.note(sent)
    }

    /// Drops what has ended.
    fn forget(&mut self) {
        let now = self.now();
        self.servers
            .retain(|_, server| server.ends.is_none_or(|ends| ends > now));
        self.clients
            .retain(|client| client.ends.is_none_or(|ends| ends > now));
    }

    fn request(&mut self, branch: u8, invite: bool, reliable: bool) {
        let key = (branch, invite, reliable);
        self.forget();
        if let Some(known) = self.servers.get(&key) {
            let (again, text) = (known.again.clone(), known.request.clone());
            let met = self.bench.receive(caller(reliable), &text);
            assert_eq!(met, Met::Again(again.is_some()));
            assert_eq!(self.sent(), Vec::from_iter(again));
            return;
        }
        self.serial += 1;
        let method = if invite { "INVITE" } else { "MESSAGE" };
        let serial = format!("serial-{:06}", self.serial);
        let text = request(method, &branch.to_string()).replace("from-tag", &serial);
        let Met::New(Some(id)) = self.bench.receive(caller(reliable), &text) else {
            panic!("{text} is not new");
        };
        let server = ModelServer {
            id,
            request: text,
            invite,
            reliable,
            started: self.now(),
            answered: false,
            awaits_ack: false,
            accepted: false,
            again: None,
            ends: None,
        };
        self.servers.insert(key, server);
    }

    /// What the edge or the far side says to the request of `key`.
    fn respond(&mut self, server: usize, status: u16, own: bool) {
        self.forget();
        let count = self.servers.len().max(1);
        let Some(key) = self.servers.keys().copied().nth(server % count) else {
            return;
        };
        let (id, text) = (self.servers[&key].id, self.servers[&key].request.clone());
        let response = if own {
            self.bench.own_response_to(caller(key.2), &text, status, "")
        } else {
            let far = response(status, if key.1 { "INVITE" } else { "MESSAGE" }, "far");
            let serial = text.split("serial-").nth(1).unwrap();
            far.replace("from-tag", &format!("serial-{}", &serial[..6]))
        };
        let mut turn = self.bench.world.turn();
        let octets = response.as_bytes();
        self.bench
            .transactions
            .respond(&mut turn, id, status, octets, own);
        let sent = self.sent();
        let now = self.now();
        let Some(model) = self.servers.get_mut(&key) else {
            return;
        };
        assert_eq!(sent, Vec::from_iter(model.respond(now, status, response)));
    }

    fn ack(&mut self, branch: u8, reliable: bool) {
        self.forget();
        let now = self.now();
        let ack = request("ACK", &branch.to_string());
        let met = self.bench.receive(caller(reliable), &ack);
        match self.servers.get_mut(&(branch, true, reliable)) {
            Some(server) if !server.accepted => {
                assert!(matches!(met, Met::Invite(_)), "{met:?} {server:?}");
                if server.awaits_ack {
                    server.awaits_ack = false;
                    server.again = None;
                    server.ends = Some(if reliable { now } else { now + 5_000 });
                }
            }
            Some(_) | None => assert_eq!(met, Met::New(None)),
        }
        assert_eq!(self.sent(), [""; 0]);
    }

    fn start(&mut self, invite: bool, flow: u8) {
        let (kind, method) = match invite {
            true => (Kind::Invite, "INVITE"),
            false => (Kind::NonInvite, "MESSAGE"),
        };
        let id = self
            .bench
            .start_client(kind, flow_of(flow), &forwarded(method));
        assert_eq!(self.sent(), [forwarded(method)]);
        self.clients.push(ModelClient {
            id,
            invite,
            flow,
            attached: true,
            had: None,
            wants_cancel: false,
            sent_cancel: false,
            ends: Some(self.now() + 32_000),
        });
    }

    fn choose(&mut self, client: usize) -> Option<usize> {
        self.forget();
        (!self.clients.is_empty()).then(|| client % self.clients.len())
    }

    fn answer(&mut self, client: usize, status: u16, to_cancel: bool) {
        let Some(at) = self.choose(client) else {
            return;
        };
        let now = self.now();
        let model = &mut self.clients[at];
        let method = match (to_cancel, model.invite) {
            (true, _) => "CANCEL",
            (false, true) => "INVITE",
            (false, false) => "MESSAGE",
        };
        let (expected, sends) = model.answer(now, status, to_cancel);
        let verdict = self.bench.answer(model.id, &reply(status, method, "x"));
        assert_eq!(verdict, expected, "{status} {method}");
        let sent = self.bench.sent();
        assert_eq!(kinds(&sent), Vec::from_iter(sends));
    }

    fn cancel(&mut self, client: usize) {
        let Some(at) = self.choose(client) else {
            return;
        };
        let now = self.now();
        let model = &mut self.clients[at];
        self.bench.cancel(model.id);
        let sent = self.bench.sent();
        assert_eq!(kinds(&sent), Vec::from_iter(model.cancel(now)));
    }

    fn detach(&mut self, client: usize) {
        let Some(at) = self.choose(client) else {
            return;
        };
        let now = self.now();
        let model = &mut self.clients[at];
        model.attached = false;
        model.ends = model.ends.or(Some(now + 32_000));
        self.bench.detach(model.id);
        assert_eq!(self.bench.sent(), []);
    }

    fn unreachable(&mut self, flow: u8) {
        self.forget();
        let mut failed = Vec::new();
        let mut turn = self.bench.world.turn();
        let transactions = &mut self.bench.transactions;
        transactions.handle_unreachable(&mut turn, flow_of(flow), &mut failed);
        let ends = |client: &ModelClient| {
            let rings = client.invite && client.had.is_some();
            let in_progress = !client.is_finished() && !rings;
            client.flow == flow && in_progress
        };
        let reported = self
            .clients
            .iter()
            .filter(|client| ends(client) && client.attached);
        let mut expected: Vec<u32> = reported.map(|client| client.id.0.slot).collect();
        let mut slots: Vec<u32> = failed.iter().map(|(client, ..)| client.0.slot).collect();
        expected.sort_unstable();
        slots.sort_unstable();
        assert_eq!(slots, expected);
        self.clients.retain(|client| !ends(client));
    }

    fn pass(&mut self, seconds: u64) {
        self.forget();
        // 70 ms aside, so that no step falls onto the end of a timer that an earlier one started.
        let fired = self.bench.pass_ms(seconds * 1000 + 70);
        let now = self.now();
        let mut timed_out_slots = Vec::new();
        let mut acks_missing = 0;
        for fired in fired {
            self.note(fired.sent);
            match fired.verdict {
                TimerVerdict::Nothing => {}
                TimerVerdict::ClientTimedOut { client, .. } => timed_out_slots.push(client.0.slot),
                TimerVerdict::AckMissing => acks_missing += 1,
            }
        }
        let due = |ends: Option<u64>| ends.is_some_and(|ends| ends <= now);
        let silent = self
            .clients
            .iter()
            .filter(|client| due(client.ends) && client.attached && !client.is_finished());
        let mut expected: Vec<u32> = silent.map(|client| client.id.0.slot).collect();
        expected.sort_unstable();
        timed_out_slots.sort_unstable();
        assert_eq!(timed_out_slots, expected);
        let unacknowledged = self
            .servers
            .values()
            .filter(|s| s.awaits_ack && due(s.ends))
            .count();
        assert_eq!(acks_missing, unacknowledged);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Request {
                branch,
                invite,
                reliable,
            } => self.request(branch, invite, reliable),
            Step::Respond {
                server,
                status,
                own,
            } => self.respond(server, status, own),
            Step::Ack { branch, reliable } => self.ack(branch, reliable),
            Step::Start { invite, flow } => self.start(invite, flow),
            Step::Answer {
                client,
                status,
                cancel,
            } => self.answer(client, status, cancel),
            Step::Cancel { client } => self.cancel(client),
            Step::Detach { client } => self.detach(client),
            Step::Unreachable { flow } => self.unreachable(flow),
            Step::Pass { seconds } => self.pass(seconds),
        }
        self.forget();
        let (servers, clients, absorbers) = self.bench.transactions.sizes();
        let known = self.servers.len() + self.clients.len();
        assert_eq!((servers + clients + absorbers) as usize, known);
    }

    /// The proxy answers everything and lets go of everything; then nothing is left.
    fn end(mut self) {
        // Backwards, because those over connections are gone at once.
        for server in (0..self.servers.len()).rev() {
            self.respond(server, 500, true);
        }
        for client in 0..self.clients.len() {
            self.detach(client);
        }
        // The longest chain: INVITE unanswered for 32 s, and its absorber.
        self.pass(70);
        self.bench.assert_empty();
    }
}

impl ModelServer {
    /// What is sent when the proxy has `response` to send.
    fn respond(&mut self, now: u64, status: u16, response: String) -> Option<String> {
        if self.answered {
            return None;
        }
        let is_final = status >= 200;
        self.answered = is_final;
        if !self.invite {
            // RFC 4320 §4: no 408, no provisional but a 100, over UDP not for 3.5 s.
            let trying = status == 100 && (self.reliable || now >= self.started + 3_500);
            let sent = (is_final && status != 408) || trying;
            if is_final {
                self.ends = Some(if self.reliable { now } else { now + 32_000 });
            }
            if sent {
                self.again = Some(response);
            } else if is_final {
                // What was last sent stays the answer.
                return None;
            }
            return if sent { self.again.clone() } else { None };
        }
        if is_final {
            self.accepted = status < 300;
            self.awaits_ack = !self.accepted;
            self.ends = Some(now + 32_000);
        }
        self.again = (!self.accepted).then(|| response.clone());
        Some(response)
    }
}

impl ModelClient {
    /// The verdict on a response, and the request that it makes us send.
    fn answer(
        &mut self,
        now: u64,
        status: u16,
        to_cancel: bool,
    ) -> (ResponseVerdict, Option<&'static str>) {
        let absorbed = ResponseVerdict::Absorbed;
        if to_cancel {
            let is_ours = self.invite || self.is_finished();
            return (
                if is_ours {
                    absorbed
                } else {
                    ResponseVerdict::Unknown
                },
                None,
            );
        }
        let is_2xx = (200..300).contains(&status);
        if self.is_finished() {
            let accepted = self.had.is_some_and(|status| status < 300);
            return match (self.invite, accepted) {
                (true, true) if is_2xx => (late(), None),
                (true, false) if status >= 300 && self.flow != 2 => (absorbed, Some("ACK")),
                _ => (absorbed, None),
            };
        }
        let first = self.had.is_none();
        self.had = Some(status);
        let mut sends = None;
        if status < 200 && self.invite && first {
            self.ends = (!self.attached).then_some(now + 32_000);
            if self.wants_cancel {
                self.sent_cancel = true;
                self.ends = Some(now + 32_000);
                sends = Some("CANCEL");
            }
        } else if status >= 200 {
            let reliable = self.flow == 2;
            self.ends = Some(match (self.invite, is_2xx) {
                (true, true) => now + 32_000,
                (true, false) => now + if reliable { 0 } else { 32_000 },
                (false, _) => now + if reliable { 0 } else { 5_000 },
            });
            sends = (self.invite && !is_2xx).then_some("ACK");
        }
        let verdict = match self.attached {
            true => pass(self.id),
            false if self.invite && is_2xx => late(),
            false => absorbed,
        };
        (verdict, sends)
    }

    /// The request that cancelling makes us send.
    fn cancel(&mut self, now: u64) -> Option<&'static str> {
        if !self.invite || self.is_finished() || self.sent_cancel {
            return None;
        }
        self.wants_cancel = true;
        self.had?;
        self.sent_cancel = true;
        self.ends = Some(now + 32_000);
        Some("CANCEL")
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(256)
    })]

    #[test]
    fn transactions_agree_with_the_model_and_leave_nothing_behind(
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let mut run = Run::new(Bench::sized(64, 512));
        for step in steps {
            run.step(step);
        }
        run.end();
    }
}
