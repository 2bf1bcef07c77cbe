//! What the operator decided, in the form the core reads; made by the control side from the
//! configuration, the same for every shard, never changed while running.

use std::net::SocketAddr;

use super::ListenerId;
use crate::limits::Capacity;
use crate::wire::{DigestAlgorithm, Transport};

/// The node's number in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeId(pub u16);

/// How a listener spreads requests over shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Steering {
    /// The shard that the kernel chose by address and port.
    #[default]
    Flow,
    /// The shard chosen by hash(Call-ID).
    CallId,
    /// Each shard has a port of its own.
    Ports,
}

/// One listener; a wildcard bind became one listener per local address.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its index.
    pub id: ListenerId,
    /// Its transport.
    pub transport: Transport,
    /// The local address.
    pub bind: SocketAddr,
    /// `host:port` that peers of this listener can reach, as written into Via and Record-Route;
    /// IPv6 in brackets.
    pub sent_by: Box<str>,
    /// The address of `sent_by` when it is one.
    pub advertise: SocketAddr,
    /// The name trunks refer to.
    pub name: Option<Box<str>>,
    /// How requests are spread.
    pub steering: Steering,
}

/// What happens when an address of record has all its contacts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ContactsFull {
    #[default]
    Refuse,
    ReplaceOldest,
}

/// What a request for no domain of ours gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Strangers {
    #[default]
    Answer,
    Drop,
}

/// All settings of the core.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node.
    pub node: NodeId,
    /// Number of shards.
    pub shards: u8,
    /// Listeners by id.
    pub listeners: Box<[Listener]>,
    /// Host names that are us, lower case, beside the listeners' addresses.
    pub names: Box<[Box<str>]>,
    /// The digest realm.
    pub realm: Box<str>,
    /// How long a nonce is good, seconds.
    pub nonce_lifetime_s: u32,
    /// Algorithms offered where the domain says nothing, in order.
    pub algorithms: Box<[DigestAlgorithm]>,
    /// Shortest registration, seconds.
    pub expires_min_s: u32,
    /// Longest registration, seconds.
    pub expires_max_s: u32,
    /// Registration when the phone names no time, seconds.
    pub expires_default_s: u32,
    /// Contacts per address of record.
    pub contacts_per_aor_max: u8,
    /// What happens at that bound.
    pub contacts_full: ContactsFull,
    /// Interval of keep-alives towards UDP bindings behind NAT, seconds; 0 = off.
    pub nat_keepalive_s: u32,
    /// REGISTERs per second from one source for one address of record.
    pub registers_per_aor_s: u32,
    /// Unauthenticated or failed requests per second and source, sustained.
    pub source_requests_s: u32,
    /// The same, at once.
    pub source_burst: u32,
    /// Octets per second that a source which has proved nothing may be sent beyond what it sent.
    pub source_allowance_bytes: u32,
    /// What strangers get.
    pub strangers: Strangers,
    /// Retry-After of a 503, seconds.
    pub retry_after_s: u32,
    /// Timer C, seconds: how long an INVITE may ring (RFC 3261 §16.6 item 11).
    pub timer_c_s: u32,
    /// Milliseconds a contact may be silent before it no longer holds back the best response.
    pub contact_silence_ms: u32,
    /// Longest call with a record, seconds.
    pub call_s_max: u32,
    /// Seconds between OPTIONS to each trunk target; 0 = off.
    pub trunk_options_s: u32,
    /// Table sizes of one shard.
    pub capacity: Capacity,
}

/// Secrets of the node; made and kept by the control side.
#[derive(Clone)]
pub struct Keys {
    /// Token keys by key id: current first, then the previous one. 128-bit SipHash keys.
    pub token: [TokenKey; 2],
    /// Key of the partition hash; the same on every node of a deployment.
    pub partition: [u8; 16],
    /// HMAC key of nonces.
    pub nonce: [u8; 32],
    /// Key of hash tables and To tags; new at each start.
    pub hash: [u8; 16],
    /// Names this start of the process.
    pub boot: u32,
}

/// One token key.
#[derive(Clone, Copy)]
pub struct TokenKey {
    /// Its number, carried in tokens.
    pub id: u8,
    /// The key.
    pub key: [u8; 16],
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("boot", &self.boot)
            .finish_non_exhaustive()
    }
}
