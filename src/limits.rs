//! Every bound of the edge: compile-time constants, and the sizes an operator may set.
//!
//! Owns numbers only. A constant carries its derivation; related constants are held together
//! by `const` assertions.

/// Largest datagram taken, in octets: the UDP payload limit over IPv4 (65 535 - 20 - 8).
pub const DATAGRAM_BYTES_MAX: usize = 65_507;

/// Most header fields indexed in one message; one more is refused with 513.
pub const HEADERS_MAX: usize = 128;

/// Longest header field taken, folds included, in octets: room for an Identity header
/// (RFC 8224) with a long passport; one longer is refused with 400.
pub const HEADER_FIELD_BYTES_MAX: usize = 16_384;

/// Most parameters of one header field value or URI.
pub const PARAMS_MAX: usize = 64;

/// Most edits of one forwarded message: a Via, two Record-Routes, the Request-URI, Max-Forwards,
/// Routes and identity fields, several times over.
pub const SPLICE_EDITS_MAX: usize = 48;

/// Longest user part of an address of record, un-escaped, in octets.
pub const AOR_USER_BYTES_MAX: usize = 128;

/// Longest host name, in octets (RFC 1035 §2.3.4).
pub const HOST_BYTES_MAX: usize = 253;

/// Longest canonical address of record, `user@host`.
pub const AOR_BYTES_MAX: usize = AOR_USER_BYTES_MAX + 1 + HOST_BYTES_MAX;

/// Longest user name of a credential, in characters.
pub const USERNAME_CHARS_MAX: usize = 32;

/// Shortest password, in characters.
pub const PASSWORD_CHARS_MIN: usize = 12;

/// Longest password, in characters.
pub const PASSWORD_CHARS_MAX: usize = 128;

/// Longest name of an account, credential list or trunk, in characters.
pub const NAME_CHARS_MAX: usize = 64;

/// Longest name of an access control list, in characters.
pub const ACL_NAME_CHARS_MAX: usize = 255;

/// Longest prefix of a route, in octets; the table keeps the lengths in use as bits of a u128.
pub const ROUTE_PREFIX_BYTES_MAX: usize = 64;

/// Credentials of one node, all lists together; their names fit into a 4 GiB arena.
pub const CREDENTIALS_MAX: usize = 16_000_000;

/// Entries of all access control lists of one node.
pub const ACL_ENTRIES_MAX: usize = 4_000_000;

/// Routes of one node: numbers of at most `AOR_USER_BYTES_MAX` octets, each kept at most twice,
/// fit into a 4 GiB arena.
pub const ROUTES_MAX: usize = 4_000_000;

/// Longest Contact URI that a binding may hold, in octets.
pub const CONTACT_URI_BYTES_MAX: usize = 512;

/// Most shards of one node; also the width of the shard field in tokens.
pub const SHARDS_MAX: usize = 64;

/// Fixed partitions that addresses of record are spread over.
pub const PARTITIONS: usize = 256;

/// Most listeners of one node, all transports together.
pub const LISTENERS_MAX: usize = 64;

/// Most bindings of one address of record that the setting `contacts_per_aor_max` may allow.
pub const CONTACTS_PER_AOR_MAX: usize = 32;

/// Most branches of one forked request.
pub const BRANCHES_MAX: usize = CONTACTS_PER_AOR_MAX;

/// Branches that a shard's tables hold per live transaction: most requests have one, a forked one
/// has several.
pub const BRANCHES_PER_REQUEST: u32 = 2;

/// Routes followed one after another before a number or address of record is given up: a route
/// may lead to an address of record whose domain has a route for it.
pub const ROUTE_ROUNDS_MAX: u8 = 4;

/// Targets of one trunk that one call may try.
pub const TRUNK_TARGETS_MAX: usize = 64;

/// Limits of domains and trunks that one shard counts at a time; a limit without calls is
/// forgotten after about a second.
pub const LIMITS_COUNTED_MAX: usize = 16_384;

/// Trunk targets that one shard asks by OPTIONS; more are judged by their calls alone.
pub const PROBES_MAX: u32 = 4096;

/// How long an answer to OPTIONS is waited for before its target is down, in milliseconds.
pub const PROBE_ANSWER_MS: u64 = T2_MS;

/// How long a trunk target that failed is passed over, in milliseconds.
pub const TARGET_DOWN_MS: u64 = 10_000;

/// CANCELs that one shard may have on offer to the others at a time.
pub const CANCEL_QUESTIONS_MAX: u32 = 256;

/// Longest user part that carries a Record-Route token, in characters.
pub const ROUTE_TOKEN_CHARS_MAX: usize = 96;

/// Actions one call into the core may put into its outbox.
pub const OUTBOX_ACTIONS_MAX: usize = 128;

/// Octets one call into the core may put into its outbox: a largest message on every branch
/// would need 2 MiB; such a fork is cut to what fits and counted.
pub const OUTBOX_BYTES_MAX: usize = 1 << 20;

/// Octets that must be free in an outbox before a timer is run: one largest datagram twice.
pub const OUTBOX_TIMER_RESERVE_BYTES: usize = 2 * 65_536;

/// Actions that must be free in an outbox before a timer is run.
pub const OUTBOX_TIMER_RESERVE_ACTIONS: usize = BRANCHES_MAX + 8;

/// Requests that one shard may have waiting for an answer of one other shard.
pub const SHARD_REQUESTS_MAX: usize = 1024;

/// One-way messages (handed-over datagrams) that may wait in the queue of one shard pair.
pub const SHARD_HANDOVERS_MAX: usize = 1024;

/// Capacity of a shard pair's queue: handed-over datagrams, requests, and the answers to as many
/// requests of the other side, so that an answer always has room.
pub const SHARD_QUEUE_MAX: usize = SHARD_HANDOVERS_MAX + 2 * SHARD_REQUESTS_MAX;

/// Completions taken in one turn of a reactor (N).
pub const TURN_COMPLETIONS_MAX: usize = 256;

/// Messages of other shards and commands of the control thread taken in one turn (M).
pub const TURN_MESSAGES_MAX: usize = 256;

/// Datagrams one submission may send: a turn of completions with two sends each; more are
/// submitted in the middle of the turn.
pub const SUBMISSION_SENDS_MAX: usize = 2 * TURN_COMPLETIONS_MAX;

/// Octets one submission may send: whatever one call into the core may put into its outbox.
pub const SUBMISSION_BYTES_MAX: usize = OUTBOX_BYTES_MAX;

/// Receive buffers of a shard's ring. The kernel goes round all of them, so each costs cache: with
/// 64, `bench/floor.rs` measures 5 % less CPU per datagram than with 256, and the kernel fills at
/// most 32 per socket at a time. What finds none waits in the socket.
pub const RECEIVE_BUFFERS: usize = 64;

/// Octets asked for a socket's receive buffer and for its send buffer; the kernel may grant less.
pub const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// How long a bind to a port in use is tried again, milliseconds: a ring that was closed a moment
/// ago holds its sockets a little longer.
pub const BIND_RETRY_MS: u64 = 2_000;

/// ICMP errors read from one socket at a time, and waiting for the core, each.
pub const UNREACHABLE_MAX: usize = 1_024;

/// Commands of the control side that may wait for one shard.
pub const COMMANDS_MAX: usize = 256;

/// Reports of all shards that may wait for the control side.
pub const REPORTS_MAX: usize = 4_096;

/// Octets a parcel between shards keeps; a larger datagram takes memory for its way.
pub const PARCEL_BYTES: usize = 2_048;

/// Peers that a shard has parcels for at one time, each with a full queue.
pub const PARCEL_PEERS_MAX: usize = 4;

/// Longest time a shard is parked without a look round, milliseconds: its turns counter rises
/// at least this often, so that the control side can tell a stuck shard from an idle one.
pub const PARK_MS_MAX: u64 = 1_000;

/// How often a shard publishes its counters while it works, milliseconds.
pub const PUBLISH_MS: u64 = 10;

/// Timers run in one turn.
pub const TURN_TIMERS_MAX: usize = 256;

/// Finished transactions ended by one timer. At one tick of 10 ms each, this is 102 400 in a
/// second; what a shard finishes beyond that waits, and is evicted when its table is full.
pub const ABSORBERS_PER_TIMER_MAX: usize = 1024;

/// Finished transactions given up at once when the message arena has no room for a live one.
pub const ABSORBERS_EVICTED_MAX: usize = 16;

/// Smallest arena for messages: 2 MiB, a page of 64 KiB for each of the 23 size classes and nine
/// more. Below that messages of other sizes can hold every page.
pub const MESSAGE_BYTES_MIN: usize = 2 << 20;

/// Client transactions looked at for one ICMP error; those on its flow are ended, others only
/// share its place in the index.
pub const FLOW_CLIENTS_SCANNED_MAX: usize = 1024;

/// RFC 3261 §17.1.1.1: T1, the round-trip estimate, in milliseconds.
pub const T1_MS: u64 = 500;

/// RFC 3261 §17.1.2.2: T2, the longest retransmission interval, in milliseconds.
pub const T2_MS: u64 = 4_000;

/// RFC 3261 §17.1.2.2: T4, the longest a message stays in the network, in milliseconds.
pub const T4_MS: u64 = 5_000;

/// 64*T1 = 32 s: timers B, D, F, H, J, L, M over UDP.
pub const TRANSACTION_MS: u64 = 64 * T1_MS;

const _: () = assert!(OUTBOX_TIMER_RESERVE_ACTIONS < OUTBOX_ACTIONS_MAX);
const _: () = assert!(OUTBOX_TIMER_RESERVE_BYTES < OUTBOX_BYTES_MAX);
const _: () = assert!(DATAGRAM_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(HEADER_FIELD_BYTES_MAX < DATAGRAM_BYTES_MAX);
const _: () = assert!(MESSAGE_BYTES_MIN >= 2 * DATAGRAM_BYTES_MAX);
const _: () = assert!(SHARDS_MAX <= PARTITIONS);
const _: () = assert!(SHARDS_MAX <= u64::BITS as usize);
const _: () = assert!(SUBMISSION_BYTES_MAX >= 2 * DATAGRAM_BYTES_MAX);
const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two() && RECEIVE_BUFFERS <= 1 << 15);
const _: () = assert!(RECEIVE_BUFFERS <= TURN_COMPLETIONS_MAX);
const _: () = assert!(OUTBOX_ACTIONS_MAX < SHARD_HANDOVERS_MAX);
const _: () = assert!(SHARD_QUEUE_MAX <= u16::MAX as usize);
const _: () = assert!(BRANCHES_MAX <= FLOW_CLIENTS_SCANNED_MAX);
const _: () = assert!(CONTACTS_PER_AOR_MAX <= BRANCHES_MAX);
const _: () = assert!(USERNAME_CHARS_MAX <= AOR_USER_BYTES_MAX);
const _: () = assert!(ROUTE_PREFIX_BYTES_MAX < u128::BITS as usize);
const _: () = assert!(CREDENTIALS_MAX * USERNAME_CHARS_MAX <= u32::MAX as usize);
const _: () = assert!(2 * ROUTES_MAX * AOR_USER_BYTES_MAX <= u32::MAX as usize);

/// Sizes of one shard's tables, allocated and touched at start and never grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Bindings (contacts of addresses of record) this shard may hold.
    pub bindings: u32,
    /// Live server transactions; as many proxied requests may be in progress.
    pub transactions: u32,
    /// Finished transactions kept to absorb retransmissions, server and client side together.
    pub absorbers: u32,
    /// Octets of the arena that holds messages of live transactions and forwarded finals.
    pub message_bytes: usize,
    /// Entries of the per-source rate table; a power of two.
    pub sources: u32,
    /// Entries of the nonce-count table; a power of two.
    pub nonces: u32,
    /// Calls with a record (those that count toward a limit).
    pub calls: u32,
}

impl Capacity {
    /// Live client transactions, and as many branches of proxied requests.
    #[must_use]
    pub const fn client_transactions(&self) -> u32 {
        self.transactions.saturating_mul(BRANCHES_PER_REQUEST)
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            bindings: 131_072,
            transactions: 32_768,
            absorbers: 524_288,
            message_bytes: 128 << 20,
            sources: 65_536,
            nonces: 65_536,
            calls: 65_536,
        }
    }
}
