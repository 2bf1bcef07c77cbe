//! What it costs to make and check a nonce, and to verify the credentials of a REGISTER with a
//! valid nonce and a fresh count, beside the hashing alone.

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::net::SocketAddr;

use md5::Md5;
use ringfence::limits::Capacity;
use ringfence::sip::{
    Arrival, ContactsFull, DigestMeasure, Flow, Keys, ListenerId, NodeId, Now, Settings, Strangers,
    Time, TokenKey, WallTime,
};
use ringfence::tenant;
use ringfence::wire::{DigestAlgorithm, Index};
use sha2::{Digest, Sha256};

#[path = "harness/mod.rs"]
mod harness;

use harness::{Case, compare, print_machine};

/// REGISTERs of one round through the nonces; then the counts are forgotten, which is part of
/// what is measured and small against so many verifications.
const REGISTERS: usize = 1024;

const TENANTS: &str = r#"
[[account]]
name = "bench"
  [[account.credential_list]]
  name = "phones"
  users = [{ username = "alice", password = "Wonderland-2026" }]
  [[account.domain]]
  name = "example.test"
  registrations = { credential_lists = ["phones"] }
"#;

fn main() {
    print_machine();
    for algorithm in [DigestAlgorithm::Md5, DigestAlgorithm::Sha256] {
        measure(algorithm);
    }
}

fn measure(algorithm: DigestAlgorithm) {
    let peer: SocketAddr = ([192, 0, 2, 17], 5060).into();
    let flow = Flow::Udp {
        listener: ListenerId(0),
        peer: peer.into(),
    };
    let arrival = Arrival { flow };
    let model =
        tenant::provision::parse(TENANTS, "bench.toml".as_ref()).expect("it is well-formed");
    let tables = tenant::compile(&model, "ringfence").expect("it is consistent");
    let now = Now {
        time: Time::default().plus_ms(1_000_000),
        wall: WallTime(0),
    };
    let edge = DigestMeasure::new(settings(algorithm), keys(), tables, now);
    let edge = RefCell::new(edge);
    let registers: Vec<String> = (0..REGISTERS)
        .map(|_| register(algorithm, &edge.borrow_mut().issue(arrival)))
        .collect();
    let nonce = edge.borrow_mut().issue(arrival);
    let next = Cell::new(0);
    let one = || {
        let at = next.get();
        next.set((at + 1) % REGISTERS);
        &registers[at]
    };
    let mut index = Index::new();
    let mut index_and_verify = Index::new();
    let verified = Cell::new(0);
    let mut cases = [
        Case::new("hashing alone: HA2 and response", || hash_alone(algorithm)),
        Case::new("index of the REGISTER", || {
            let message = index.scan(one().as_bytes());
            black_box(message.expect("it is well-formed").call_id());
        }),
        Case::new("index and verification", || {
            let at = verified.get();
            verified.set((at + 1) % REGISTERS);
            let mut edge = edge.borrow_mut();
            if at == 0 {
                edge.forget();
            }
            let message = index_and_verify.scan(registers[at].as_bytes());
            let message = message.expect("it is well-formed");
            assert!(
                edge.accepts(arrival, message, "example.test"),
                "fresh and right"
            );
        }),
        Case::new("a nonce made", || {
            black_box(edge.borrow_mut().issue(black_box(arrival)));
        }),
        Case::new("a nonce checked", || {
            assert!(edge.borrow().is_ours(arrival, black_box(&nonce)));
        }),
    ];
    compare(&format!("digest by {}", name(algorithm)), &mut cases);
}

const fn name(algorithm: DigestAlgorithm) -> &'static str {
    match algorithm {
        DigestAlgorithm::Md5 => "MD5",
        DigestAlgorithm::Sha256 => "SHA-256",
    }
}

/// As many octets hashed as HA2 and a response take.
fn hash_alone(algorithm: DigestAlgorithm) {
    // "REGISTER:sip:example.test"; HA1:nonce:00000001:7a6b5c4d:auth:HA2.
    let ha2 = [b'x'; 8 + 1 + 16];
    match algorithm {
        DigestAlgorithm::Md5 => {
            black_box(Md5::digest(black_box(ha2)));
            black_box(Md5::digest(black_box([b'x'; 32 + 34 + 8 + 1 + 8 + 6 + 32])));
        }
        DigestAlgorithm::Sha256 => {
            black_box(Sha256::digest(black_box(ha2)));
            black_box(Sha256::digest(black_box(
                [b'x'; 64 + 34 + 8 + 1 + 8 + 6 + 64],
            )));
        }
    }
}

fn hash(algorithm: DigestAlgorithm, text: &str) -> String {
    let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect();
    match algorithm {
        DigestAlgorithm::Md5 => hex(&Md5::digest(text)),
        DigestAlgorithm::Sha256 => hex(&Sha256::digest(text)),
    }
}

/// A REGISTER of alice that answers a challenge with `nonce`.
fn register(algorithm: DigestAlgorithm, nonce: &[u8]) -> String {
    let nonce = std::str::from_utf8(nonce).expect("base64url");
    let ha1 = hash(algorithm, "alice:ringfence:Wonderland-2026");
    let ha2 = hash(algorithm, "REGISTER:sip:example.test");
    let response = hash(
        algorithm,
        &format!("{ha1}:{nonce}:00000001:7a6b5c4d:auth:{ha2}"),
    );
    let algorithm = name(algorithm);
    format!(
        "REGISTER sip:example.test SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.17:5060;rport;branch=z9hG4bKPj9f8e7d6c5b4a39281706f5e4d3c2b1\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:alice@example.test>;tag=5d0e9c8b7a6f1324\r\n\
         To: <sip:alice@example.test>\r\n\
         Call-ID: 9c2b7e61-04f8-4d1c-8a35-c6e1f0d9b274\r\n\
         CSeq: 4711 REGISTER\r\n\
         Contact: <sip:alice@192.0.2.17:5060;ob>;expires=300\r\n\
         Supported: outbound, path\r\n\
         User-Agent: Softphone 4.2.1 (Linux x86_64)\r\n\
         Authorization: Digest username=\"alice\", realm=\"ringfence\", nonce=\"{nonce}\", \
         uri=\"sip:example.test\", response=\"{response}\", algorithm={algorithm}, \
         cnonce=\"7a6b5c4d\", qop=auth, nc=00000001\r\n\
         Content-Length: 0\r\n\
         \r\n"
    )
}

fn keys() -> Keys {
    let token = TokenKey {
        id: 0,
        key: [1; 16],
    };
    Keys {
        token: [token; 2],
        partition: [2; 16],
        nonce: [3; 32],
        hash: [4; 16],
        boot: 5,
    }
}

/// Twice as many nonces as are used, so that few leave the table.
fn settings(algorithm: DigestAlgorithm) -> Settings {
    Settings {
        node: NodeId(1),
        shards: 1,
        listeners: Box::new([]),
        names: Box::new([]),
        realm: "ringfence".into(),
        nonce_lifetime_s: 300,
        algorithms: Box::new([algorithm]),
        expires_min_s: 60,
        expires_max_s: 3600,
        expires_default_s: 3600,
        contacts_per_aor_max: 10,
        contacts_full: ContactsFull::Refuse,
        nat_keepalive_s: 25,
        registers_per_aor_s: 10,
        source_requests_s: 50,
        source_burst: 100,
        source_allowance_bytes: 4096,
        strangers: Strangers::Answer,
        retry_after_s: 5,
        timer_c_s: 180,
        contact_silence_ms: 5000,
        call_s_max: 14_400,
        trunk_options_s: 0,
        capacity: Capacity {
            nonces: 2 * REGISTERS as u32,
            ..Capacity::default()
        },
    }
}
