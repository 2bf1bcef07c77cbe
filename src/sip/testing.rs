//! What tests of the core need again and again: settings, keys, addresses, the surroundings of a
//! call into the core, and a client that answers challenges.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::net::SocketAddr;

use md5::Md5;
use sha2::{Digest, Sha256};

use super::turn::Turn;
use super::{
    Action, Arrival, Buffers, ContactsFull, Counter, Counters, Flow, Keys, Listener, ListenerId,
    NodeId, Now, Outbox, Random, Settings, ShardId, Steering, Strangers, Time, TokenKey, WallTime,
    Wheel,
};
use crate::limits::Capacity;
use crate::tenant::{self, Tables};
use crate::wire::{DigestAlgorithm, Index, Message, Transport};

/// A listener at 192.0.2.1:5060 and one at [2001:db8::1]:5080, advertised as edge.example.org:5070.
pub(crate) fn settings() -> Settings {
    let listener = |id, bind: &str, sent_by: &str, advertise: &str| Listener {
        id: ListenerId(id),
        transport: Transport::Udp,
        bind: bind.parse().unwrap(),
        sent_by: sent_by.into(),
        advertise: advertise.parse().unwrap(),
        name: None,
        steering: Steering::Flow,
    };
    Settings {
        node: NodeId(1),
        shards: 2,
        listeners: Box::new([
            listener(0, "192.0.2.1:5060", "192.0.2.1:5060", "192.0.2.1:5060"),
            listener(
                1,
                "[2001:db8::1]:5080",
                "edge.example.org:5070",
                "203.0.113.9:5070",
            ),
        ]),
        names: Box::new(["sip.example.org".into()]),
        realm: "ringfence".into(),
        nonce_lifetime_s: 300,
        algorithms: Box::new([DigestAlgorithm::Md5]),
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
            nonces: 64,
            sources: 64,
            ..Capacity::default()
        },
    }
}

/// The tables that a provisioning file with this text makes, for the realm of [`settings`].
pub(crate) fn tables(provision: &str) -> Tables {
    let model = tenant::provision::parse(provision, "test.toml".as_ref()).unwrap();
    tenant::compile(&model, "ringfence").unwrap()
}

/// Fixed keys of the first boot.
pub(crate) fn keys() -> Keys {
    let token = |id| TokenKey { id, key: [id; 16] };
    Keys {
        token: [token(1), token(2)],
        partition: [3; 16],
        nonce: [4; 32],
        hash: [5; 16],
        boot: 6,
    }
}

/// A datagram from `source` at the first listener.
pub(crate) fn arrival(source: &str) -> Arrival {
    let peer = source.parse::<SocketAddr>().unwrap().into();
    Arrival {
        flow: Flow::Udp {
            listener: ListenerId(0),
            peer,
        },
    }
}

/// Everything a [`Turn`] borrows.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Now,
    pub(crate) shard: ShardId,
    pub(crate) settings: Settings,
    pub(crate) keys: Keys,
    pub(crate) tables: Tables,
    pub(crate) out: Outbox,
    pub(crate) counters: Counters,
    pub(crate) wheel: Wheel,
    pub(crate) buffers: Buffers,
    pub(crate) random: Random,
}

impl World {
    /// A world at 1000 s on shard 0.
    pub(crate) fn new(tables: Tables) -> Self {
        let now = Now {
            time: Time::default().plus_ms(1_000_000),
            wall: WallTime(1_700_000_000_000),
        };
        Self {
            now,
            shard: ShardId(0),
            settings: settings(),
            keys: keys(),
            tables,
            out: Outbox::new(),
            counters: Counters::new(),
            wheel: Wheel::with_capacity(64, now.time),
            buffers: Buffers::with_capacity(1 << 20),
            random: Random::new(1),
        }
    }

    pub(crate) fn turn(&mut self) -> Turn<'_> {
        Turn {
            now: self.now,
            shard: self.shard,
            settings: &self.settings,
            keys: &self.keys,
            tables: &self.tables,
            out: &mut self.out,
            counters: &mut self.counters,
            wheel: &mut self.wheel,
            buffers: &mut self.buffers,
            random: &mut self.random,
        }
    }

    pub(crate) fn pass_ms(&mut self, milliseconds: u64) {
        self.now.time = self.now.time.plus_ms(milliseconds);
        self.now.wall.0 += milliseconds;
    }

    pub(crate) fn count(&self, counter: Counter) -> u64 {
        self.counters.value(counter)
    }

    /// What was sent since the last call: flows and texts.
    pub(crate) fn sent(&mut self) -> Vec<(Flow, String)> {
        let text = |range| String::from_utf8(self.out.octets(range).to_vec()).unwrap();
        let sent = self.out.actions().iter().map(|action| match action {
            Action::Send(send) => (send.flow, text(&send.bytes)),
            Action::ToShard(..) | Action::Report(_) => panic!("only sends are expected"),
        });
        let sent = sent.collect();
        self.out.clear();
        sent
    }
}

/// Scans `text` and gives the message to `test`.
pub(crate) fn with_message<R>(text: &str, test: impl FnOnce(Message<'_>) -> R) -> R {
    let mut index = Index::new();
    match index.scan(text.as_bytes()) {
        Ok(message) => test(message),
        Err(rejected) => panic!("{:?} in {text}", rejected.error),
    }
}

/// A request without a body; `extra` is further header lines, each with CRLF.
pub(crate) fn request(method: &str, uri: &str, from: &str, extra: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\n\
         Via: SIP/2.0/UDP 198.51.100.7:5062;rport;branch=z9hG4bK-one\r\n\
         From: {from};tag=from-tag\r\n\
         To: <{uri}>\r\n\
         Call-ID: call@198.51.100.7\r\n\
         CSeq: 7 {method}\r\n\
         {extra}\
         Content-Length: 0\r\n\r\n"
    )
}

/// A digest client, written from RFC 7616 §3.4 without the code under test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Login<'a> {
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
    pub(crate) realm: &'a str,
    pub(crate) algorithm: DigestAlgorithm,
    pub(crate) method: &'a str,
    pub(crate) uri: &'a str,
    pub(crate) nonce: &'a str,
    pub(crate) nc: &'a str,
    pub(crate) cnonce: &'a str,
}

impl<'a> Login<'a> {
    /// alice of the realm of [`settings`], by MD5, the first use of `nonce`.
    pub(crate) fn alice(method: &'a str, uri: &'a str, nonce: &'a str) -> Self {
        Self {
            user: "alice",
            password: "Wonderland-2026",
            realm: "ringfence",
            algorithm: DigestAlgorithm::Md5,
            method,
            uri,
            nonce,
            nc: "00000001",
            cnonce: "c0ffee",
        }
    }

    pub(crate) fn response(&self) -> String {
        let Self {
            user,
            password,
            realm,
            method,
            uri,
            nonce,
            nc,
            cnonce,
            ..
        } = self;
        let ha1 = self.hash(&format!("{user}:{realm}:{password}"));
        let ha2 = self.hash(&format!("{method}:{uri}"));
        self.hash(&format!("{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}"))
    }

    /// The credentials, without a header name.
    pub(crate) fn value(&self) -> String {
        let Self {
            user,
            realm,
            uri,
            nonce,
            nc,
            cnonce,
            ..
        } = self;
        // RFC 3261 §25.1: any character may be written as a quoted pair.
        let user = user.replace('\'', "\\'");
        let response = self.response();
        let algorithm = match self.algorithm {
            DigestAlgorithm::Md5 => "MD5",
            DigestAlgorithm::Sha256 => "SHA-256",
        };
        format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm={algorithm}, cnonce=\"{cnonce}\", qop=auth, nc={nc}"
        )
    }

    fn hash(&self, text: &str) -> String {
        let octets = match self.algorithm {
            DigestAlgorithm::Md5 => Md5::digest(text).to_vec(),
            DigestAlgorithm::Sha256 => Sha256::digest(text).to_vec(),
        };
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    }
}

/// The value of `parameter` in the first challenge of a response.
pub(crate) fn challenge_value(response: &str, parameter: &str) -> Option<String> {
    let line = response
        .lines()
        .find(|line| line.contains("-Authenticate: Digest "))?;
    let (_, rest) = line.split_once(&format!("{parameter}="))?;
    Some(match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?.to_owned(),
        None => rest.split(',').next()?.to_owned(),
    })
}
