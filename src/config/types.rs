//! The configuration as values; what each key means is said in `configs/reference.toml`.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::limits::Capacity;

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Config {
    /// `[node]`
    pub node: Node,
    /// `[shards]`
    pub shards: Shards,
    /// `[listen]`
    pub listen: Listen,
    /// `[auth]`
    pub auth: Auth,
    /// `[registrar]`
    pub registrar: Registrar,
    /// `[filter]`
    pub filter: Filter,
    /// `[limits]`
    pub limits: Limits,
    /// `[overload]`
    pub overload: Overload,
    /// `[log]`
    pub log: Log,
    /// `[bootstrap]`
    pub bootstrap: Bootstrap,
}

/// A value, or left to the edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OrAuto<T> {
    /// The edge decides.
    #[default]
    Auto,
    /// The operator decided.
    Fixed(T),
}

impl<T: Serialize> Serialize for OrAuto<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Fixed(value) => value.serialize(serializer),
        }
    }
}

/// `[node]`: who this node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its name in logs and listings; empty = the host's name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Where keys, the control socket and the lock file lie.
    pub state_dir: PathBuf,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: String::new(),
            region: "us1".to_owned(),
            state_dir: PathBuf::from("/var/lib/ringfence"),
        }
    }
}

/// How a shard speaks to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Io {
    /// `io_uring`.
    #[default]
    Uring,
    /// recvmmsg and sendmmsg with epoll, where `io_uring` is forbidden.
    Mmsg,
}

/// `[shards]`: the packet threads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shards {
    /// How many.
    pub count: OrAuto<u8>,
    /// The core of each; empty = chosen at start.
    pub cores: Vec<u16>,
    /// How they speak to the kernel.
    pub io: Io,
    /// Longest busy wait before a shard sleeps, microseconds.
    pub spin_us_max: OrAuto<u32>,
}

impl Default for Shards {
    fn default() -> Self {
        Self {
            count: OrAuto::Auto,
            cores: Vec::new(),
            io: Io::default(),
            spin_us_max: OrAuto::Auto,
        }
    }
}

/// How a listener spreads requests over shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Steering {
    /// The kernel chooses by address and port.
    #[default]
    Flow,
    /// By hash(Call-ID).
    CallId,
}

/// The address that peers of a listener are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// A host name or an address (IPv6 without brackets).
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Advertise {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`.
    #[must_use]
    pub fn parse(text: &str, port_default: u16) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, after)
            }
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|&port| port != 0)?,
            None if port.is_empty() => port_default,
            None => return None,
        };
        let is_name = is_host_name(host) || host.parse::<std::net::IpAddr>().is_ok();
        is_name.then(|| Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    /// `host:port`, IPv6 in brackets.
    #[must_use]
    pub fn sent_by(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl Serialize for Advertise {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.sent_by())
    }
}

/// True for a host name: labels of letters, digits and inner hyphens (RFC 1123 §2.1), the last
/// one not all digits.
pub(super) fn is_host_name(text: &str) -> bool {
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= crate::limits::HOST_BYTES_MAX
        && text.split('.').all(label_fits)
        && text
            .rsplit('.')
            .next()
            .is_some_and(|top| top.bytes().any(|b| !b.is_ascii_digit()))
}

/// One UDP listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UdpListener {
    /// The local address; a wildcard stands for every local address of its family.
    pub bind: SocketAddr,
    /// What peers are told instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<Advertise>,
    /// The name trunks refer to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How requests are spread.
    pub steering: Steering,
}

impl UdpListener {
    /// A listener with nothing said but its address.
    #[must_use]
    pub const fn new(bind: SocketAddr) -> Self {
        Self {
            bind,
            advertise: None,
            name: None,
            steering: Steering::Flow,
        }
    }
}

/// `[listen]`: where SIP is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listen {
    /// UDP listeners.
    pub udp: Vec<UdpListener>,
    /// Host names that are this node, lower case.
    pub names: Vec<String>,
}

impl Default for Listen {
    fn default() -> Self {
        let wildcards: [SocketAddr; 2] = [
            (std::net::Ipv4Addr::UNSPECIFIED, 5060).into(),
            (std::net::Ipv6Addr::UNSPECIFIED, 5060).into(),
        ];
        Self {
            udp: wildcards.into_iter().map(UdpListener::new).collect(),
            names: Vec::new(),
        }
    }
}

/// A digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Algorithm {
    #[serde(rename = "MD5")]
    Md5,
    #[serde(rename = "SHA-256")]
    Sha256,
}

/// `[auth]`: digest authentication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Auth {
    /// The realm of the deployment.
    pub realm: String,
    /// How long a nonce is good, seconds.
    pub nonce_lifetime_s: u32,
    /// Algorithms offered where a domain says nothing, in order.
    pub algorithms: Vec<Algorithm>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            realm: "ringfence".to_owned(),
            nonce_lifetime_s: 300,
            algorithms: vec![Algorithm::Md5],
        }
    }
}

/// What happens when an address of record has all its contacts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum ContactsFull {
    #[default]
    Refuse,
    ReplaceOldest,
}

/// What a registration survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Not even a restart.
    #[default]
    None,
}

/// `[registrar]`: registrations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Registrar {
    /// Shortest, seconds.
    pub expires_min_s: u32,
    /// Longest, seconds.
    pub expires_max_s: u32,
    /// When the phone names no time, seconds.
    pub expires_default_s: u32,
    /// Contacts per address of record.
    pub contacts_per_aor_max: u8,
    /// What happens at that bound.
    pub contacts_full: ContactsFull,
    /// REGISTERs per second from one source for one address of record.
    pub registers_per_aor_s: u32,
    /// Interval of keep-alives to UDP bindings behind NAT, seconds; 0 = off.
    pub nat_keepalive_s: u32,
    /// What a registration survives.
    pub durability: Durability,
}

impl Default for Registrar {
    fn default() -> Self {
        Self {
            expires_min_s: 60,
            expires_max_s: 3600,
            expires_default_s: 3600,
            contacts_per_aor_max: 10,
            contacts_full: ContactsFull::Refuse,
            registers_per_aor_s: 5,
            nat_keepalive_s: 25,
            durability: Durability::None,
        }
    }
}

/// How the kernel filter is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum FilterMode {
    #[default]
    Auto,
    Off,
}

/// What a request for no domain of this node gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Strangers {
    #[default]
    Answer,
    Drop,
}

/// `[filter]`: what is kept out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Filter {
    /// How the kernel filter is attached.
    pub mode: FilterMode,
    /// What strangers get.
    pub strangers: Strangers,
}

/// `[limits]`: sizes and rates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Bindings per shard.
    pub bindings: u32,
    /// Live transactions per shard.
    pub transactions: u32,
    /// Finished transactions remembered per shard.
    pub absorbers: u32,
    /// Octets per shard for messages of live transactions.
    pub message_bytes: usize,
    /// Sources remembered per shard; a power of two.
    pub sources: u32,
    /// Nonces remembered per shard; a power of two.
    pub nonces: u32,
    /// Calls with a record per shard.
    pub calls: u32,
    /// Unauthenticated or failed requests per second and source, sustained.
    pub source_requests_s: u32,
    /// The same, at once.
    pub source_burst: u32,
    /// Octets per second that an unproven source may be sent beyond what it sent.
    pub source_allowance_bytes: u32,
    /// How long an INVITE may ring, seconds.
    pub timer_c_s: u32,
    /// How long a silent contact holds back the best response, milliseconds.
    pub contact_silence_ms: u32,
    /// Longest call with a record, seconds.
    pub call_s_max: u32,
    /// Seconds between OPTIONS to each trunk target; 0 = off.
    pub trunk_options_s: u32,
    /// How long a drain waits for calls being set up, seconds.
    pub drain_s_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        let capacity = Capacity::default();
        Self {
            bindings: capacity.bindings,
            transactions: capacity.transactions,
            absorbers: capacity.absorbers,
            message_bytes: capacity.message_bytes,
            sources: capacity.sources,
            nonces: capacity.nonces,
            calls: capacity.calls,
            source_requests_s: 200,
            source_burst: 4000,
            source_allowance_bytes: 4096,
            // RFC 3261 §16.6 item 11: timer C is larger than 3 minutes.
            timer_c_s: 181,
            contact_silence_ms: 5000,
            call_s_max: 14_400,
            trunk_options_s: 0,
            drain_s_max: 30,
        }
    }
}

impl Limits {
    /// Table sizes of one shard.
    #[must_use]
    pub const fn capacity(&self) -> Capacity {
        Capacity {
            bindings: self.bindings,
            transactions: self.transactions,
            absorbers: self.absorbers,
            message_bytes: self.message_bytes,
            sources: self.sources,
            nonces: self.nonces,
            calls: self.calls,
        }
    }
}

/// `[overload]`: what is said when there is too much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overload {
    /// Retry-After of a 503, seconds.
    pub retry_after_s: u32,
}

impl Default for Overload {
    fn default() -> Self {
        Self { retry_after_s: 10 }
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// `[log]`: what is written to standard error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Log {
    /// How much.
    pub level: LogLevel,
    /// In which form.
    pub format: LogFormat,
}

/// `[bootstrap]`: what is there at start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bootstrap {
    /// A provisioning file read at start and on SIGHUP; empty = none.
    pub tenants: PathBuf,
}
