//! What happened, counted: plain numbers with one writer, read by the reactor for publication.

use crate::wire::Reason;

macro_rules! counters {
    ($($(#[doc = $help:literal])+ $variant:ident = $name:literal,)+) => {
        /// A counter; its documentation is its help text, its name that of the metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Counter { $($(#[doc = $help])+ $variant,)+ }

        impl Counter {
            /// Every counter, in order of its number.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant,)+];
            /// Number of counters.
            pub const COUNT: usize = Self::ALL.len();
            /// Metric name without prefix.
            pub const fn name(self) -> &'static str {
                match self { $(Counter::$variant => $name,)+ }
            }
            /// Help text.
            pub const fn help(self) -> &'static str {
                match self { $(Counter::$variant => concat!($($help,)+),)+ }
            }
        }
    };
}

counters! {
    /// Messages handed to the core by a listener.
    Received = "messages_received_total",
    /// Messages put on the wire.
    Sent = "messages_sent_total",
    /// First dispositions: answered by the edge.
    Answered = "messages_answered_total",
    /// First dispositions: forwarded.
    Forwarded = "messages_forwarded_total",
    /// First dispositions: absorbed (retransmissions, keep-alives, ACKs that end here).
    Absorbed = "messages_absorbed_total",
    /// First dispositions: waiting for another shard.
    Waiting = "messages_waiting_total",
    /// First dispositions: handed over to another shard.
    HandedOver = "messages_handed_over_total",
    /// First dispositions: dropped.
    Dropped = "messages_dropped_total",
    /// Keep-alive datagrams (CR/LF, NUL, empty) received.
    KeepAlives = "keepalives_received_total",
    /// STUN Binding requests answered.
    StunAnswered = "stun_answered_total",
    /// Malformed datagrams; the reasons are counted apart.
    Malformed = "malformed_total",
    /// Dropped: malformed, and not to be answered.
    DroppedMalformed = "dropped_malformed_total",
    /// Dropped: a response that fits no transaction and no token.
    DroppedStrayResponse = "dropped_stray_response_total",
    /// Dropped: an ACK that fits no transaction and has no token.
    DroppedStrayAck = "dropped_stray_ack_total",
    /// Dropped: the queue to another shard was full.
    DroppedQueueFull = "dropped_queue_full_total",
    /// Dropped: the source is over its budget.
    DroppedSourceBudget = "dropped_source_budget_total",
    /// Dropped: the answer would exceed what an unproven source may be sent.
    DroppedAmplification = "dropped_amplification_total",
    /// Dropped: addressed to nobody here, and strangers are not answered.
    DroppedStranger = "dropped_stranger_total",
    /// Dropped: the outbox or a message buffer was full.
    DroppedNoRoom = "dropped_no_room_total",
    /// Sends that the kernel refused or an ICMP error answered.
    SendFailed = "sends_failed_total",
    /// Messages sent to other shards.
    Hops = "shard_messages_sent_total",
    /// REGISTER requests received by their owner.
    Registers = "registers_total",
    /// REGISTER requests answered 200.
    RegistersAccepted = "registers_accepted_total",
    /// REGISTER retransmissions answered again.
    RegisterRetransmissions = "register_retransmissions_total",
    /// REGISTER requests refused after authentication, all reasons.
    RegistersRefused = "registers_refused_total",
    /// REGISTER requests over the rate of their address of record.
    RegistersOverRate = "registers_over_rate_total",
    /// Bindings made.
    BindingsCreated = "bindings_created_total",
    /// Bindings refreshed.
    BindingsRefreshed = "bindings_refreshed_total",
    /// Bindings removed by their phone.
    BindingsRemoved = "bindings_removed_total",
    /// Bindings expired.
    BindingsExpired = "bindings_expired_total",
    /// Bindings removed because a credential, mapping or domain was taken back, or by an operator.
    BindingsRevoked = "bindings_revoked_total",
    /// Keep-alives sent to bindings behind NAT.
    NatKeepalivesSent = "nat_keepalives_sent_total",
    /// Challenges sent (401 and 407).
    Challenges = "challenges_total",
    /// Challenges sent with stale=true.
    ChallengesStale = "challenges_stale_total",
    /// Credentials verified.
    AuthAccepted = "auth_accepted_total",
    /// Credentials refused: wrong response or unknown user.
    AuthRejected = "auth_rejected_total",
    /// Credentials refused: nonce count seen before.
    AuthReplayed = "auth_replayed_total",
    /// Refused: what would have to be forwarded is larger than a datagram, or has too many fields
    /// to be changed.
    RefusedTooLarge = "refused_too_large_total",
    /// Refused: malformed, and answered.
    RefusedMalformed = "refused_malformed_total",
    /// Credentials refused: broken grammar, or made for another request.
    AuthMalformed = "auth_malformed_total",
    /// Nonces that were still good and left the nonce-count table for newer ones.
    NoncesEvicted = "nonces_evicted_total",
    /// Refused: a Request-URI that can not be read, or of a scheme that is not served.
    RefusedUri = "refused_uri_total",
    /// Refused: an extension is required that is not supported.
    RefusedExtension = "refused_extension_total",
    /// Refused: no such domain.
    RefusedNoDomain = "refused_no_domain_total",
    /// Refused: source not in a mapped access control list, or nothing mapped.
    RefusedAcl = "refused_acl_total",
    /// Refused: From or the registration names somebody else.
    RefusedIdentity = "refused_identity_total",
    /// Refused: no such user, or not registered.
    RefusedNotFound = "refused_not_found_total",
    /// Refused: a Route or Request-URI that the token or the trunk does not allow.
    RefusedRoute = "refused_route_total",
    /// Refused: Max-Forwards reached zero.
    RefusedTooManyHops = "refused_too_many_hops_total",
    /// Refused: loop.
    RefusedLoop = "refused_loop_total",
    /// Refused: a SUBSCRIBE to an event that nobody here tells of (489).
    RefusedEvent = "refused_event_total",
    /// Refused: a limit of the domain or trunk.
    RefusedLimit = "refused_limit_total",
    /// Refused with 503: a table or queue is full, or the node drains.
    RefusedOverload = "refused_overload_total",
    /// Calls: INVITE requests outside a dialog that were admitted.
    CallsAdmitted = "calls_admitted_total",
    /// Calls answered 2xx.
    CallsAnswered = "calls_answered_total",
    /// Branches of forwarded requests made.
    Branches = "branches_total",
    /// Branches that timed out.
    BranchTimeouts = "branch_timeouts_total",
    /// Trunk targets given up for the next one.
    TrunkFailovers = "trunk_failovers_total",
    /// Retransmissions sent by client transactions.
    RequestsRetransmitted = "requests_retransmitted_total",
    /// Responses sent again by server transactions.
    ResponsesRetransmitted = "responses_retransmitted_total",
    /// Retransmissions that could not be sent or prepared: no room in outbox, arena or wheel.
    RetransmissionsLost = "retransmissions_lost_total",
    /// Requests forwarded without a transaction, because the table was full.
    ForwardedStateless = "forwarded_stateless_total",
    /// Absorbers evicted before their time.
    AbsorbersEvicted = "absorbers_evicted_total",
    /// Sources forgotten for others while something was known of them.
    SourcesDisplaced = "sources_displaced_total",
    /// Calls refused as if a limit were reached, because it found no place among those counted.
    LimitsTableFull = "limits_table_full_total",
    /// Forks cut to what fitted the bounds.
    ForksCut = "forks_cut_total",
}

/// What became of a message, first of all; each message gets exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Disposition {
    Answered,
    Forwarded,
    Absorbed,
    Waiting,
    HandedOver,
    Dropped(Counter),
}

/// All counters of one shard.
#[derive(Clone, Debug)]
pub struct Counters {
    values: [u64; Counter::COUNT],
    malformed: [u64; Reason::COUNT],
}

impl Counters {
    /// All zero.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            values: [0; Counter::COUNT],
            malformed: [0; Reason::COUNT],
        }
    }

    /// Adds one.
    #[inline]
    pub const fn add(&mut self, counter: Counter) {
        self.values[counter as usize] += 1;
    }

    /// Counts a malformed message by its reason.
    #[inline]
    pub const fn add_malformed(&mut self, reason: Reason) {
        self.values[Counter::Malformed as usize] += 1;
        self.malformed[reason as usize] += 1;
    }

    /// Counts the disposition of a message.
    #[inline]
    pub const fn add_disposition(&mut self, disposition: Disposition) {
        let counter = match disposition {
            Disposition::Answered => Counter::Answered,
            Disposition::Forwarded => Counter::Forwarded,
            Disposition::Absorbed => Counter::Absorbed,
            Disposition::Waiting => Counter::Waiting,
            Disposition::HandedOver => Counter::HandedOver,
            Disposition::Dropped(reason) => {
                self.add(reason);
                Counter::Dropped
            }
        };
        self.add(counter);
    }

    /// The value of one counter.
    #[inline]
    pub const fn value(&self, counter: Counter) -> u64 {
        self.values[counter as usize]
    }

    /// How many messages were malformed in this way.
    #[inline]
    pub const fn malformed(&self, reason: Reason) -> u64 {
        self.malformed[reason as usize]
    }

    /// Every value, indexed by `Counter as usize`.
    pub const fn values(&self) -> &[u64; Counter::COUNT] {
        &self.values
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}
