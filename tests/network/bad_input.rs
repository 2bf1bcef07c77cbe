//! What is wrong on the wire: answered as it deserves or not at all, counted by its reason, never
//! forwarded, and never the end of service.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::Duration;

use serde_json::Value;

use super::agent::{Agent, PATIENCE, Registration};
use super::call::call;
use super::edge::{Edge, Scratch, tenants, total};
use super::message::{Message, parameter};

/// The largest datagram of IPv4.
const LARGEST: usize = 65_507;

/// A datagram, and what becomes of it.
struct Case {
    octets: Vec<u8>,
    /// The status of the answer; `None` is silence.
    status: Option<u16>,
    /// The reason it is counted by, or the counter of the core.
    counted: &'static str,
}

fn case(octets: impl Into<Vec<u8>>, status: impl Into<Option<u16>>, counted: &'static str) -> Case {
    Case {
        octets: octets.into(),
        status: status.into(),
        counted,
    }
}

/// A request that alice would get if nothing were wrong with it.
fn good(agent: &Agent) -> String {
    agent.request(
        "MESSAGE",
        "sip:alice@example.test",
        "X-Line: here\r\n",
        "hello",
    )
}

/// `good` with one part replaced, which must be there.
fn with(agent: &Agent, part: &str, by: &str) -> Vec<u8> {
    let good = good(agent);
    assert!(good.contains(part), "{part:?} in {good}");
    good.replacen(part, by, 1).into_bytes()
}

/// `good` without the header lines that begin so.
fn without(agent: &Agent, start: &str) -> Vec<u8> {
    let good = good(agent);
    let lines = good.split_inclusive("\r\n");
    lines
        .filter(|line| !line.starts_with(start))
        .collect::<String>()
        .into_bytes()
}

fn no_sip() -> Vec<Case> {
    let garbage: Vec<u8> = (0..1000_u32)
        .map(|at| (at * 7919 % 251) as u8 | 0x80)
        .collect();
    vec![
        case("hello", None, "not_sip"),
        case("O", None, "not_sip"),
        case("\u{1}", None, "not_sip"),
        case(
            "GET / HTTP/1.1\r\nHost: example.test\r\n\r\n",
            None,
            "not_sip",
        ),
        case("\0\0\0\0hello", None, "not_sip"),
        case(garbage, None, "not_sip"),
        case(vec![b'A'; LARGEST], None, "not_sip"),
        case(vec![0xff; LARGEST], None, "not_sip"),
    ]
}

fn not_whole(agent: &Agent) -> Vec<Case> {
    let text = good(agent);
    let head = text.find("\r\n\r\n").unwrap();
    let cut = |at: usize| text.as_bytes()[..at].to_vec();
    let start = text.find("\r\n").unwrap();
    vec![
        // Nobody can be answered yet.
        case(cut(start), None, "head_truncated"),
        case(cut(start + 2), None, "head_unterminated"),
        case(cut(head), 400, "head_truncated"),
        case(cut(head + 2), 400, "head_unterminated"),
        case(cut(head - 7), 400, "head_truncated"),
        case(cut(text.len() - 1), 400, "body_truncated"),
        case("SIP/2.0 200 OK\r\n\r\n", None, "via_missing"),
        case("SIP/2.0 200 OK\r\n", None, "head_unterminated"),
    ]
}

fn bad_length(agent: &Agent) -> Vec<Case> {
    let length = |by| with(agent, "Content-Length: 5\r\n", by);
    let huge = "Content-Length: 99999999999999999999\r\n";
    let twice = "Content-Length: 5\r\nl: 5\r\n";
    vec![
        case(
            length("Content-Length: five\r\n"),
            400,
            "content_length_malformed",
        ),
        case(
            length("Content-Length: -1\r\n"),
            400,
            "content_length_malformed",
        ),
        case(
            length("Content-Length: \r\n"),
            400,
            "content_length_malformed",
        ),
        case(
            length("Content-Length: 0x5\r\n"),
            400,
            "content_length_malformed",
        ),
        case(length(twice), 400, "content_length_repeated"),
        case(length("Content-Length: 6\r\n"), 400, "body_truncated"),
        case(
            length("Content-Length: 70000\r\n"),
            413,
            "content_length_too_large",
        ),
        case(length(huge), 413, "content_length_too_large"),
    ]
}

fn bad_octets(agent: &Agent) -> Vec<Case> {
    let line = |by| with(agent, "X-Line: here\r\n", by);
    let all_bare = good(agent).replace("\r\n", "\n");
    vec![
        case(line("X-Line: h\0re\r\n"), 400, "nul"),
        case(line("X-Line: h\u{1}re\r\n"), 400, "control_character"),
        case(line("X-Line: h\u{1b}[2Jre\r\n"), 400, "control_character"),
        case(line("X-Line: h\u{7f}re\r\n"), 400, "control_character"),
        case(line("X-Line: here\n"), 400, "bare_lf"),
        case(line("X-Line: he\rre\r\n"), 400, "bare_cr"),
        case(line("X-Line\r\n"), 400, "header_syntax"),
        case(line("X Line: here\r\n"), 400, "header_syntax"),
        // Two lines of which only one may be read: no answer by a Via that was not read so.
        case(all_bare, None, "bare_lf"),
    ]
}

fn bad_fields(agent: &Agent) -> Vec<Case> {
    let via = good(agent).lines().nth(1).unwrap().to_owned();
    let many = "X-Line: here\r\n".repeat(129);
    let long = format!("X-Line: {}\r\n", "x".repeat(20_000));
    vec![
        case(
            with(agent, "SIP/2.0\r\n", "SIP/7.0\r\n"),
            505,
            "version_unknown",
        ),
        case(without(agent, "Via:"), None, "via_missing"),
        case(
            with(agent, "Via: SIP/2.0/UDP", "Via: SIP/2.0"),
            None,
            "via_malformed",
        ),
        case(without(agent, "From:"), 400, "from_missing"),
        case(without(agent, "To:"), 400, "to_missing"),
        case(without(agent, "Call-ID:"), 400, "call_id_missing"),
        case(without(agent, "CSeq:"), 400, "cseq_missing"),
        case(
            with(agent, "CSeq: 1 MESSAGE", "CSeq: 1 INVITE"),
            400,
            "cseq_method_mismatch",
        ),
        case(
            with(agent, "CSeq: 1 ", "CSeq: 2147483648 "),
            400,
            "cseq_too_large",
        ),
        case(
            with(agent, "Max-Forwards: 70", "Max-Forwards: 256"),
            400,
            "max_forwards_malformed",
        ),
        case(
            with(
                agent,
                "Max-Forwards: 70",
                "Max-Forwards: 7\r\nMax-Forwards: 7",
            ),
            400,
            "max_forwards_repeated",
        ),
        case(
            with(agent, "X-Line: here\r\n", &many),
            513,
            "headers_too_many",
        ),
        case(
            with(agent, "X-Line: here\r\n", &long),
            400,
            "header_too_long",
        ),
        // RFC 3261 §17.1.1.3: an ACK is never answered.
        case(
            String::from_utf8(with(agent, "X-Line: here\r\n", "X-Line\r\n"))
                .unwrap()
                .replace("MESSAGE", "ACK"),
            None,
            "header_syntax",
        ),
        // What looks like ours and is not: a response that nobody asked for.
        case(
            format!(
                "SIP/2.0 200 OK\r\n{via}\r\nFrom: <sip:a@b.test>;tag=1\r\n\
                 To: <sip:a@b.test>;tag=2\r\n\
                 Call-ID: 1\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
            ),
            None,
            "dropped_stray_response_total",
        ),
    ]
}

fn refused(agent: &Agent) -> Vec<Case> {
    let uri = |by| with(agent, "sip:alice@example.test SIP", by);
    let line = |by| with(agent, "X-Line: here\r\n", by);
    vec![
        case(uri("http://example.test/ SIP"), 416, "refused_uri_total"),
        case(uri("urn:service:sos SIP"), 416, "refused_uri_total"),
        case(
            with(agent, "Max-Forwards: 70", "Max-Forwards: 0"),
            483,
            "refused_too_many_hops_total",
        ),
        case(
            line("Proxy-Require: magic\r\n"),
            420,
            "refused_extension_total",
        ),
        case(
            uri("sip:alice@elsewhere.test SIP"),
            404,
            "refused_no_domain_total",
        ),
    ]
}

/// Requests of the largest size that a datagram has: whole, and with something wrong.
fn largest(agent: &Agent) -> Vec<Case> {
    let padded = |text: String, missing: usize| {
        let empty = text.replacen("Content-Length: 5\r\n\r\nhello", "", 1);
        let head = format!("{empty}Content-Length: 00000\r\n\r\n");
        let body = LARGEST - head.len();
        let head = head.replacen("00000", &format!("{body:05}"), 1);
        let mut octets = head.into_bytes();
        octets.resize(LARGEST - missing, b'x');
        octets
    };
    let bare = good(agent).replacen("X-Line: here\r\n", "X-Line: here\n", 1);
    vec![
        // It could not grow by our Via and still be a datagram.
        case(padded(good(agent), 0), 513, "refused_too_large_total"),
        case(padded(good(agent), 1), 400, "body_truncated"),
        case(padded(bare, 0), 400, "bare_lf"),
    ]
}

/// The counter of a case, or the reason of a malformed message.
fn count(stats: &Value, name: &str) -> u64 {
    let total = &stats["total"];
    let value = if name.ends_with("_total") {
        &total["counters"][name]
    } else {
        &total["malformed"][name]
    };
    value.as_u64().unwrap_or(0)
}

/// Sends each case and sees what comes back before the answer to a good request.
fn send_all(agent: &Agent, cases: &[Case]) {
    let probe = format!("sip:{}", agent.edge());
    for case in cases {
        let octets = &case.octets[..case.octets.len().min(400)];
        let text = String::from_utf8_lossy(octets);
        agent.send(&case.octets);
        if let Some(status) = case.status {
            let answer = agent
                .receive_raw(PATIENCE)
                .unwrap_or_else(|| panic!("silence to {text}"));
            assert_eq!(answer.status(), Some(status), "{answer:?} to {text}");
            expect_fitting(&answer, &text);
        }
        let options = agent.request("OPTIONS", &probe, "", "");
        agent.send(options.as_bytes());
        let answer = agent.receive_raw(PATIENCE);
        let answer = answer.unwrap_or_else(|| panic!("no service after {text}"));
        let ours = Message::read(options.as_bytes());
        assert_eq!(
            answer.header("Call-ID"),
            ours.header("Call-ID"),
            "after {text}"
        );
        assert_eq!(answer.status(), Some(200), "{answer:?}");
    }
}

/// RFC 3261 §8.2.6: what an answer repeats of its request.
fn expect_fitting(answer: &Message, request: &str) {
    let sent = |name: &str| {
        let line = request.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim_start_matches(':').trim())
    };
    let branch = sent("Via").and_then(|via| parameter(via, "branch"));
    assert_eq!(
        parameter(answer.header("Via"), "branch"),
        branch,
        "{answer:?}"
    );
    for name in ["From", "Call-ID", "CSeq"] {
        if let Some(value) = sent(name) {
            assert_eq!(answer.header(name), value, "{answer:?}");
        }
    }
    if sent("To").is_some() {
        assert!(
            parameter(answer.header("To"), "tag").is_some(),
            "{answer:?}"
        );
    }
    if answer.status() == Some(420) {
        assert_eq!(answer.header("Unsupported"), "magic");
    }
}

#[test]
fn bad_input_is_answered_or_dropped_and_counted_by_its_reason_and_never_forwarded() {
    for io in ["uring", "mmsg"] {
        let scratch = Scratch::new(&format!("bad-{io}"));
        let text = tenants(["alice"], &["127.0.0.0/8"]);
        let io = format!("shards.io={io}");
        // All answers go to one source within a second or two.
        let set = [io.as_str(), "limits.source_allowance_bytes=1000000"];
        let edge = Edge::start(&scratch, &text, &set);
        let alice = Agent::new("alice", "127.0.0.1", edge.address());
        Registration::new(&alice).register(600);
        let agent = Agent::new("bob", "127.0.0.1", edge.address());
        let groups = [
            no_sip(),
            not_whole(&agent),
            bad_length(&agent),
            bad_octets(&agent),
            bad_fields(&agent),
            refused(&agent),
            largest(&agent),
        ];
        let cases: Vec<Case> = groups.into_iter().flatten().collect();
        send_all(&agent, &cases);

        let mut expected = BTreeMap::new();
        for case in &cases {
            *expected.entry(case.counted).or_insert(0) += 1;
        }
        for (name, value) in &expected {
            let is_there = |stats: &Value| count(stats, name) == *value;
            edge.stats_when(&format!("{name} is not {value}"), is_there);
        }
        let malformed = cases
            .iter()
            .filter(|case| !case.counted.ends_with("_total"));
        edge.expect_counter("malformed_total", malformed.count() as u64);
        edge.expect_counter("messages_forwarded_total", 0);
        alice.expect_silence(Duration::from_millis(50));
        // What was tried would have reached her.
        agent.send(good(&agent).as_bytes());
        assert_eq!(alice.take_request("MESSAGE").body, "hello");
        edge.expect_every_message_accounted_for();
    }
}

#[test]
fn keepalives_are_no_bad_input() {
    let scratch = Scratch::new("keepalives");
    let edge = Edge::start(&scratch, &tenants(["alice"], &["127.0.0.0/8"]), &[]);
    let agent = Agent::new("bob", "127.0.0.1", edge.address());
    let kinds: [&[u8]; 4] = [b"", b"\r\n", b"\r\n\r\n", b"\0\0\0\0"];
    for octets in kinds {
        agent.send(octets);
    }
    edge.expect_counter("keepalives_received_total", kinds.len() as u64);
    edge.expect_counter("malformed_total", 0);
    agent.expect_silence(Duration::from_millis(50));
}

#[test]
fn what_lies_behind_the_body_is_not_passed_on() {
    let scratch = Scratch::new("behind");
    let edge = Edge::start(&scratch, &tenants(["alice"], &["127.0.0.0/8"]), &[]);
    let alice = Agent::new("alice", "127.0.0.1", edge.address());
    Registration::new(&alice).register(600);
    let agent = Agent::new("bob", "127.0.0.1", edge.address());
    // RFC 3261 §18.3: what is behind the end of the body is discarded.
    agent.send(&with(
        &agent,
        "Content-Length: 5\r\n",
        "Content-Length: 3\r\n",
    ));
    assert_eq!(alice.take_request("MESSAGE").body, "hel");
}

#[test]
fn a_datagram_too_long_for_ipv4_is_dropped_and_counted() {
    for io in ["uring", "mmsg"] {
        let scratch = Scratch::new(&format!("truncated-{io}"));
        let io = format!("shards.io={io}");
        let set = [io.as_str(), "listen.udp=[\"[::1]:0\"]"];
        let edge = Edge::start(&scratch, &tenants(["alice"], &["::1"]), &set);
        let agent = Agent::new("bob", "::1", edge.address());
        let text = good(&agent).into_bytes();
        for length in [LARGEST + 1, LARGEST + 20] {
            let mut octets = text.clone();
            octets.resize(length, b'x');
            agent.send(&octets);
        }
        edge.stats_when("what is too long is not counted", |stats| {
            stats["total"]["reactor"]["datagrams_truncated_total"] == 2
        });
        agent.expect_silence(Duration::from_millis(50));
        let options = agent.request("OPTIONS", &format!("sip:{}", edge.address()), "", "");
        assert_eq!(agent.exchange(&options).status(), Some(200));
        edge.expect_counter("messages_received_total", 1);
    }
}

/// Datagrams of a flood.
const FLOOD: usize = 20_000;

#[test]
fn a_flood_of_garbage_does_not_stop_service() {
    for io in ["uring", "mmsg"] {
        let scratch = Scratch::new(&format!("flood-{io}"));
        let text = tenants(["alice", "bob"], &["127.0.0.0/8"]);
        let edge = Edge::start(&scratch, &text, &[&format!("shards.io={io}")]);
        let address = edge.address();
        let alice = Agent::new("alice", "127.0.0.1", address);
        let bob = Agent::new("bob", "127.0.0.1", address);
        std::thread::scope(|scope| {
            let flood = scope.spawn(move || {
                let agent = Agent::new("mallory", "127.0.0.66", address);
                let cases: Vec<Case> = [no_sip(), not_whole(&agent), bad_octets(&agent)]
                    .into_iter()
                    .flatten()
                    .filter(|case| case.octets.len() < LARGEST)
                    .collect();
                let sockets: Vec<_> = (0..8)
                    .map(|_| UdpSocket::bind("127.0.0.66:0").unwrap())
                    .collect();
                for number in 0..FLOOD {
                    let case = &cases[number % cases.len()];
                    let socket = &sockets[number % sockets.len()];
                    socket.send_to(&case.octets, address).unwrap();
                }
            });
            let probe = format!("sip:{address}");
            let mut served = 0;
            while !flood.is_finished() || served == 0 {
                let options = alice.request("OPTIONS", &probe, "", "");
                assert_eq!(alice.exchange(&options).status(), Some(200));
                Registration::new(&bob).register(600);
                served += 1;
                // At most five REGISTERs of one phone are served in a second.
                std::thread::sleep(Duration::from_millis(450));
            }
        });
        edge.stats_when("the flood is not counted", |stats| {
            let lost = stats["total"]["reactor"]["datagrams_overflowed_total"].as_u64();
            total(stats, "malformed_total") + lost.unwrap() >= FLOOD as u64
        });
        let up = call(&alice, &bob, &bob.aor());
        up.callee.hang_up(&up.caller);
        edge.expect_every_message_accounted_for();
    }
}
