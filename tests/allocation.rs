//! The packet path allocates nothing in steady state: a counting allocator watches whole calls.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::net::SocketAddr;
use std::sync::Arc;

use md5::{Digest, Md5};
use ringfence::limits::Capacity;
use ringfence::sip::{
    Action, Arrival, Edge, Flow, Keys, Listener, ListenerId, NodeId, Now, Outbox, Settings,
    ShardId, Steering, Strangers, Time, TokenKey, WallTime,
};
use ringfence::tenant::{compile, provision};
use ringfence::wire::{DigestAlgorithm, Transport};

mod counting;

use counting::{ALLOCATIONS, WATCHED};

const TENANTS: &str = r#"
[[trunk]]
name = "carrier"
targets = [
  { uri = "sip:203.0.113.80:5060", priority = 1, weight = 1 },
  { uri = "sip:203.0.113.81:5060", priority = 2, weight = 1 },
]
sources = ["203.0.113.80/31"]
calls_max = 1000
cps_max = 1000
[[account]]
name = "one"
  [[account.credential_list]]
  name = "phones"
  users = [{ username = "bob", password = "Wonderland-2026" }]
  [[account.ip_acl]]
  name = "office"
  entries = ["198.51.100.0/24"]
  [[account.domain]]
  name = "example.test"
  calls = { ip_acls = ["office"] }
  registrations = { credential_lists = ["phones"] }
  [[account.route]]
  domain = "example.test"
  prefix = "+"
  trunk = "carrier"
"#;

const CALLER: &str = "198.51.100.7:5062";
const BOB: [&str; 2] = ["198.51.100.20:5060", "198.51.100.21:5060"];
const CARRIER: [&str; 2] = ["203.0.113.80:5060", "203.0.113.81:5060"];

fn settings() -> Settings {
    Settings {
        node: NodeId(1),
        shards: 1,
        listeners: Box::new([Listener {
            id: ListenerId(0),
            transport: Transport::Udp,
            bind: "192.0.2.1:5060".parse().unwrap(),
            sent_by: "192.0.2.1:5060".into(),
            advertise: "192.0.2.1:5060".parse().unwrap(),
            name: None,
            steering: Steering::Flow,
        }]),
        names: Box::default(),
        realm: "ringfence".into(),
        nonce_lifetime_s: 300,
        algorithms: Box::new([DigestAlgorithm::Md5]),
        expires_min_s: 60,
        expires_max_s: 3600,
        expires_default_s: 3600,
        contacts_per_aor_max: 10,
        contacts_full: Default::default(),
        nat_keepalive_s: 25,
        registers_per_aor_s: 0,
        source_requests_s: 1000,
        source_burst: 1000,
        source_allowance_bytes: 1 << 20,
        strangers: Strangers::Answer,
        retry_after_s: 5,
        timer_c_s: 180,
        contact_silence_ms: 5000,
        call_s_max: 3600,
        trunk_options_s: 0,
        capacity: Capacity {
            bindings: 256,
            transactions: 256,
            absorbers: 1024,
            message_bytes: 4 << 20,
            sources: 64,
            nonces: 64,
            calls: 256,
        },
    }
}

fn keys() -> Keys {
    let token = |id| TokenKey { id, key: [id; 16] };
    Keys {
        token: [token(1), token(2)],
        partition: [3; 16],
        nonce: [4; 32],
        hash: [5; 16],
        boot: 6,
    }
}

/// One shard; what it sends is collected, and what it allocates is counted.
struct Bench {
    edge: Edge,
    out: Outbox,
    now: Now,
    sent: Vec<(String, String)>,
}

impl Bench {
    fn new() -> Self {
        let model = provision::parse(TENANTS, "tenants.toml".as_ref()).unwrap();
        let tables = compile(&model, "ringfence").unwrap();
        let now = Now {
            time: Time::default().plus_ms(1_000_000),
            wall: WallTime(1_790_000_000_000),
        };
        let (settings, keys, tables) = (Arc::new(settings()), Arc::new(keys()), Arc::new(tables));
        Self {
            edge: Edge::new(ShardId(0), settings, keys, tables, now, 1),
            out: Outbox::new(),
            now,
            sent: Vec::new(),
        }
    }

    fn watch(&mut self, act: impl FnOnce(&mut Edge, Now, &mut Outbox)) {
        self.out.clear();
        WATCHED.set(true);
        act(&mut self.edge, self.now, &mut self.out);
        WATCHED.set(false);
        for action in self.out.actions() {
            if let Action::Send(send) = action {
                let text = String::from_utf8(self.out.octets(&send.bytes).to_vec()).unwrap();
                self.sent
                    .push((send.flow.peer().socket_addr().to_string(), text));
            }
        }
    }

    fn send(&mut self, agent: &str, text: &str) {
        let peer = agent.parse::<SocketAddr>().unwrap().into();
        let flow = Flow::Udp {
            listener: ListenerId(0),
            peer,
        };
        self.watch(|edge, now, out| {
            edge.handle_message(now, Arrival { flow }, text.as_bytes(), out)
        });
    }

    fn pass_ms(&mut self, milliseconds: u64) {
        let end = self.now.time.plus_ms(milliseconds);
        while let Some(due) = self.edge.poll_timeout().filter(|&due| due <= end) {
            self.now.time = due.max(self.now.time);
            self.watch(|edge, now, out| edge.handle_timeout(now, out));
        }
        self.now.time = end;
    }

    /// The message of this start that went to `agent` since the last call.
    fn take(&mut self, agent: &str, start: &str) -> String {
        let found = self
            .sent
            .iter()
            .position(|(to, text)| to == agent && text.starts_with(start));
        match found {
            Some(at) => self.sent.remove(at).1,
            None => panic!("no {start} for {agent} among {:#?}", self.sent),
        }
    }
}

fn lines<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    text.lines()
        .filter(|line| line.starts_with(&format!("{name}: ")))
        .collect()
}

fn respond(request: &str, status: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
        for line in lines(request, name) {
            let tag = if name == "To" && !line.contains("tag=") {
                ";tag=callee"
            } else {
                ""
            };
            text += &format!("{line}{tag}\r\n");
        }
    }
    text + "Contact: <sip:callee@203.0.113.80>\r\nContent-Length: 0\r\n\r\n"
}

fn request(method: &str, uri: &str, call: u32, cseq: u32, to_tag: &str, routes: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {CALLER};rport;branch=z9hG4bK{call}-{cseq}-\
         {method}\r\n{routes}From: <sip:caller@example.test>;tag=c{call}\r\n\
         To: <sip:callee@example.test>{to_tag}\r\nCall-ID: {call}@198.51.100.7\r\n\
         CSeq: {cseq} {method}\r\nMax-Forwards: 70\r\nContact: <sip:caller@{CALLER}>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

fn of_invite(method: &str, invite: &str) -> String {
    let head = invite.replacen("INVITE", method, 1);
    head.replace("CSeq: 1 INVITE", &format!("CSeq: 1 {method}"))
}

fn register(bench: &mut Bench, agent: &str, cseq: u32) {
    let text = |cseq: u32, extra: &str| {
        format!(
            "REGISTER sip:example.test SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9;rport;branch=z9hG4bKr\
             {cseq}\r\nFrom: <sip:bob@example.test>;tag=r\r\nTo: <sip:bob@example.test>\r\n\
             Call-ID: {agent}\r\nCSeq: {cseq} REGISTER\r\nContact: <sip:bob@{agent};ob>\r\n\
             {extra}Content-Length: 0\r\n\r\n"
        )
    };
    bench.send(agent, &text(cseq, ""));
    let challenge = bench.take(agent, "SIP/2.0 401");
    let nonce = challenge
        .split("nonce=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let hex = |text: String| {
        let octets = Md5::digest(text);
        octets
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect::<String>()
    };
    let ha1 = hex("bob:ringfence:Wonderland-2026".into());
    let ha2 = hex("REGISTER:sip:example.test".into());
    let nc = format!("{cseq:08x}");
    let response = hex(format!("{ha1}:{nonce}:{nc}:x{agent}:auth:{ha2}"));
    let login = format!(
        "Authorization: Digest username=\"bob\", realm=\"ringfence\", nonce=\"{nonce}\", \
         uri=\"sip:example.test\", response=\"{response}\", algorithm=MD5, cnonce=\"x{agent}\", \
         qop=auth, nc={nc}\r\n"
    );
    bench.send(agent, &text(cseq + 1, &login));
    bench.take(agent, "SIP/2.0 200");
}

/// To bob's two phones: one answers, the other is cancelled; then the caller hangs up.
fn forked_call(bench: &mut Bench, call: u32) {
    let invite = request("INVITE", "sip:bob@example.test", call, 1, "", "");
    bench.send(CALLER, &invite);
    bench.send(CALLER, &invite);
    let [first, second] = BOB.map(|bob| bench.take(bob, "INVITE"));
    bench.send(BOB[1], &respond(&second, "180 Ringing"));
    bench.send(BOB[0], &respond(&first, "200 OK"));
    let cancel = bench.take(BOB[1], "CANCEL");
    bench.send(BOB[1], &respond(&cancel, "200 OK"));
    bench.send(BOB[1], &respond(&second, "487 Request Terminated"));
    let ok = bench.take(CALLER, "SIP/2.0 200");
    let routes = lines(&ok, "Record-Route")[0].replace("Record-Route", "Route") + "\r\n";
    let contact = "sip:callee@203.0.113.80";
    bench.send(
        CALLER,
        &request("ACK", contact, call, 1, ";tag=callee", &routes),
    );
    bench.send(
        CALLER,
        &request("BYE", contact, call, 2, ";tag=callee", &routes),
    );
    let bye = bench.take(BOB[0], "BYE");
    bench.send(BOB[0], &respond(&bye, "200 OK"));
}

/// To a trunk with a limit: the first target fails, the second is cancelled by the caller.
fn failed_over_call(bench: &mut Bench, call: u32) {
    let invite = request("INVITE", "sip:+4930@example.test", call, 1, "", "");
    bench.send(CALLER, &invite);
    let first = bench.take(CARRIER[0], "INVITE");
    bench.send(CARRIER[0], &respond(&first, "500 Server Internal Error"));
    let second = bench.take(CARRIER[1], "INVITE");
    bench.send(CARRIER[1], &respond(&second, "183 Session Progress"));
    bench.send(CALLER, &of_invite("CANCEL", &invite));
    bench.send(CARRIER[1], &respond(&second, "487 Request Terminated"));
    let ended = bench.take(CALLER, "SIP/2.0 487");
    let to = format!("To{}", lines(&ended, "To")[0].trim_start_matches("To"));
    let ack = of_invite("ACK", &invite).replace("To: <sip:callee@example.test>", &to);
    bench.send(CALLER, &ack);
}

/// What is refused, dropped or absorbed.
fn noise(bench: &mut Bench, call: u32) {
    bench.send(
        CALLER,
        &request("INVITE", "sip:nobody@example.test", call, 1, "", ""),
    );
    bench.send(
        CALLER,
        &request("OPTIONS", "sip:192.0.2.1", call, 1, "", ""),
    );
    bench.send(
        CALLER,
        &request("INVITE", "sip:x@elsewhere.test", call, 1, "", ""),
    );
    bench.send(
        CALLER,
        &request("CANCEL", "sip:bob@example.test", call, 1, "", ""),
    );
    bench.send(
        CALLER,
        &request("ACK", "sip:bob@example.test", call, 1, "", ""),
    );
    bench.send(
        CALLER,
        &request("BYE", "sip:bob@example.test", call, 1, ";tag=x", ""),
    );
    bench.send(CALLER, "\r\n\r\n");
    bench.send(CALLER, "garbage\r\n\r\n");
}

#[test]
fn calls_registrations_and_noise_allocate_nothing() {
    let mut bench = Bench::new();
    let round = |bench: &mut Bench, round: u32| {
        for (index, agent) in BOB.into_iter().enumerate() {
            register(bench, agent, 1 + round * 8 + index as u32 * 4);
        }
        forked_call(bench, round * 10);
        failed_over_call(bench, round * 10 + 1);
        noise(bench, round * 10 + 2);
        bench.pass_ms(120_000);
        bench.sent.clear();
    };
    round(&mut bench, 0);
    ALLOCATIONS.set(0);
    for number in 1..20 {
        round(&mut bench, number);
    }
    assert_eq!(ALLOCATIONS.get(), 0, "allocations of 19 rounds");
}

#[test]
fn the_allocator_counts_what_is_watched() {
    ALLOCATIONS.set(0);
    let unseen = Box::new([1u8; 100]);
    WATCHED.set(true);
    let seen = std::hint::black_box(Box::new([2u8; 100]));
    WATCHED.set(false);
    assert_eq!((ALLOCATIONS.get(), unseen.len() + seen.len()), (1, 200));
}
