//! What tests of the core need again and again: settings, keys and addresses.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::net::SocketAddr;

use super::{
    Arrival, ContactsFull, Flow, Keys, Listener, ListenerId, NodeId, Settings, Steering, Strangers,
    TokenKey,
};
use crate::limits::Capacity;
use crate::wire::{DigestAlgorithm, Transport};

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
