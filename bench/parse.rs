//! What it costs to index a message and read its routing keys, against httparse on the same
//! octets and against the floor of touching them at all.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::hint::black_box;

use ringfence::wire::{HeaderName, Index, NameAddrs, Uri};

#[path = "harness/mod.rs"]
mod harness;

use harness::{Case, compare, print_machine};

/// More than either message has.
const HTTP_HEADERS_MAX: usize = 64;

/// Goals: at most this many times httparse, and at most 400 ns.
const RATIO_GOAL: f64 = 1.5;
const NANOSECONDS_GOAL: f64 = 400.0;

const INVITE: &str = "INVITE sip:+15550100234@example.test;transport=udp SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.0.2.17:5060;rport;branch=z9hG4bKPj1a2b3c4d5e6f708192a3b4c5d6e7f809\r\n\
Max-Forwards: 70\r\n\
From: \"Alice Liddell\" <sip:alice@example.test>;tag=8f3c1b7a9e2d4c60\r\n\
To: <sip:+15550100234@example.test>\r\n\
Contact: <sip:alice@192.0.2.17:5060;transport=udp;ob>\r\n\
Call-ID: 3d1f0a52-7c64-4be9-9a1e-5b8d2f6c7e41\r\n\
CSeq: 20481 INVITE\r\n\
Allow: INVITE, ACK, BYE, CANCEL, UPDATE, PRACK, REFER, NOTIFY, OPTIONS\r\n\
Supported: replaces, 100rel, timer, norefersub\r\n\
User-Agent: Softphone 4.2.1 (Linux x86_64)\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 284\r\n\
\r\n\
v=0\r\n\
o=- 3895720412 3895720412 IN IP4 192.0.2.17\r\n\
s=-\r\n\
c=IN IP4 192.0.2.17\r\n\
t=0 0\r\n\
m=audio 40000 RTP/AVP 96 0 8 101\r\n\
a=rtpmap:96 opus/48000/2\r\n\
a=rtpmap:0 PCMU/8000\r\n\
a=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-16\r\n\
a=fmtp:96 useinbandfec=1;cbr=10\r\n\
a=sendrecv\r\n";

const REGISTER: &str = "REGISTER sip:example.test SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.0.2.17:5060;rport;branch=z9hG4bKPj9f8e7d6c5b4a39281706f5e4d3c2b1a0\r\n\
Max-Forwards: 70\r\n\
From: <sip:alice@example.test>;tag=5d0e9c8b7a6f1324\r\n\
To: <sip:alice@example.test>\r\n\
Call-ID: 9c2b7e61-04f8-4d1c-8a35-c6e1f0d9b274\r\n\
CSeq: 4711 REGISTER\r\n\
Contact: <sip:alice@192.0.2.17:5060;ob>;expires=300\r\n\
Supported: outbound, path\r\n\
User-Agent: Softphone 4.2.1 (Linux x86_64)\r\n\
Authorization: Digest username=\"alice\", realm=\"ringfence\", \
nonce=\"0123456789abcdef0123456789abcdef\", uri=\"sip:example.test\", \
response=\"00112233445566778899aabbccddeeff\", algorithm=MD5, \
cnonce=\"7a6b5c4d\", qop=auth, nc=00000001\r\n\
Content-Length: 0\r\n\
\r\n";

fn main() {
    print_machine();
    let mut met = true;
    for (name, message) in [("INVITE", INVITE), ("REGISTER", REGISTER)] {
        let title = format!("{name}, {} octets", message.len());
        met &= measure(&title, message.as_bytes());
    }
    println!(
        "\ngoal of at most {RATIO_GOAL} x httparse and {NANOSECONDS_GOAL} ns: {}",
        verdict(met)
    );
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "not met" }
}

/// Measures one message; true when index and keys keep to the goal.
fn measure(title: &str, message: &[u8]) -> bool {
    let mut index = Index::new();
    let mut index_and_read = Index::new();
    let mut copy = vec![0u8; message.len()];
    let http_message = as_http(message);
    let mut cases = [
        Case::new("httparse", || http(black_box(&http_message))),
        Case::new("index and routing keys", || {
            keys(&mut index, black_box(message))
        }),
        Case::new("the same, From and Contact URI parsed", || {
            addresses(&mut index_and_read, black_box(message));
        }),
        Case::new("memcpy of the message", || {
            copy.copy_from_slice(black_box(message));
            black_box(&copy);
        }),
        Case::new("memchr of every LF", || {
            black_box(memchr::memchr_iter(b'\n', black_box(message)).count());
        }),
    ];
    let summaries = compare(title, &mut cases);
    let ours = &summaries[1];
    ours.ratio.median <= RATIO_GOAL && ours.nanoseconds.median <= NANOSECONDS_GOAL
}

/// The message with the version that httparse knows in its start line; nothing else differs.
fn as_http(message: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(message).expect("the messages are text");
    text.replacen(" SIP/2.0\r\n", " HTTP/1.1\r\n", 1)
        .into_bytes()
}

fn http(message: &[u8]) {
    let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(message);
    assert!(parsed.is_ok_and(|status| status.is_complete()));
    black_box(&request);
}

fn keys(index: &mut Index, message: &[u8]) {
    let Ok(message) = index.scan(message) else {
        panic!("the message is well-formed");
    };
    black_box(message.top_via().branch);
    black_box(message.from_tag());
    black_box(message.to_tag());
    black_box(message.call_id());
    black_box(message.cseq());
}

fn addresses(index: &mut Index, message: &[u8]) {
    let Ok(message) = index.scan(message) else {
        panic!("the message is well-formed");
    };
    for name in [HeaderName::From, HeaderName::Contact] {
        for address in NameAddrs::new(message, name).flatten() {
            let _ = black_box(Uri::parse(address.uri));
        }
    }
}
