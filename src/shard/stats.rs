//! What a reactor counts, and how the control side reads it.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::sip::{Counter, Counters, Usage};
use crate::wire::Reason;

macro_rules! stats {
    ($($(#[doc = $help:literal])+ $field:ident = $name:literal,)+) => {
        /// Numbers of one reactor since its start; each but the gauges only rises.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats { $($(#[doc = $help])+ pub $field: u64,)+ }

        impl Stats {
            /// Metric name without prefix, and help text, of every number, in order.
            pub const FIELDS: &'static [(&'static str, &'static str)] =
                &[$(($name, concat!($($help,)+)),)+];
            /// How many there are.
            pub const COUNT: usize = Self::FIELDS.len();

            /// Every number, in the order of [`Self::FIELDS`].
            #[must_use]
            pub fn to_array(&self) -> [u64; Self::COUNT] {
                [$(self.$field,)+]
            }

            /// The reverse of [`Self::to_array`].
            #[must_use]
            pub fn from_array(values: [u64; Self::COUNT]) -> Self {
                let mut values = values.into_iter();
                Self { $($field: values.next().expect("one value for each field"),)+ }
            }
        }
    };
}

stats! {
    /// Turns of the reactor, empty polls included.
    turns = "reactor_turns_total",
    /// Turns that did work.
    busy_turns = "reactor_busy_turns_total",
    /// Nanoseconds spent in turns that did work.
    busy_ns = "reactor_busy_nanoseconds_total",
    /// Times the shard went to sleep.
    parks = "reactor_parks_total",
    /// Sleeping shards woken by this one.
    wakes = "reactor_wakes_total",
    /// System calls made to exchange datagrams with the kernel.
    enters = "reactor_enters_total",
    /// Datagrams received.
    received = "datagrams_received_total",
    /// Datagrams given to the kernel.
    sent = "datagrams_sent_total",
    /// Datagrams that the kernel dropped, because the socket's buffer was full.
    overflowed = "datagrams_overflowed_total",
    /// Datagrams dropped because they were larger than 65 507 octets.
    truncated = "datagrams_truncated_total",
    /// Datagrams dropped because the same one ended an earlier process.
    poisoned = "datagrams_poisoned_total",
    /// Times the kernel had a datagram and no receive buffer; it waited in the socket.
    receive_buffers_empty = "receive_buffers_empty_total",
    /// Other errors of receiving.
    receive_errors = "receive_errors_total",
    /// Datagrams lost because the kernel's send buffer was full.
    sends_blocked = "sends_blocked_total",
    /// Sends that the kernel refused; the core was told.
    sends_refused = "sends_refused_total",
    /// Sends tried again because an ICMP error about another one stood in their way.
    sends_repeated = "sends_repeated_total",
    /// Submissions made in the middle of a turn, because there was no room for more sends.
    submissions_early = "submissions_early_total",
    /// ICMP errors the core was told of.
    unreachable = "icmp_errors_total",
    /// ICMP errors and refused sends the core was not told of, because too many waited.
    unreachable_lost = "icmp_errors_lost_total",
    /// Messages given to other shards.
    hops = "hops_sent_total",
    /// Messages taken from other shards.
    hops_received = "hops_received_total",
    /// Times a shard had no room towards another one.
    hops_full = "hops_full_total",
    /// Commands of the control side taken.
    commands = "commands_total",
    /// Reports lost because the control side did not read them.
    reports_lost = "reports_lost_total",
    /// Generation of the tenant tables in use.
    tables_generation = "tables_generation",
    /// Bindings held.
    bindings = "table_bindings",
    /// Live server transactions.
    server_transactions = "table_server_transactions",
    /// Live client transactions.
    client_transactions = "table_client_transactions",
    /// Requests being proxied.
    requests = "table_requests",
    /// Finished transactions that still absorb retransmissions.
    absorbers = "table_absorbers",
    /// Octets of the arena for messages in use.
    message_bytes = "table_message_bytes",
}

impl Stats {
    /// Takes over how full the core's tables are.
    pub(super) fn set_usage(&mut self, usage: Usage) {
        self.bindings = usage.bindings.into();
        self.server_transactions = usage.server_transactions.into();
        self.client_transactions = usage.client_transactions.into();
        self.requests = usage.requests.into();
        self.absorbers = usage.absorbers.into();
        self.message_bytes = usage.message_bytes as u64;
    }
}

/// Numbers of one shard as the control side sees them.
#[derive(Clone, Debug)]
pub struct Snapshot {
    values: [u64; Counter::COUNT],
    malformed: [u64; Reason::COUNT],
    /// What the reactor counted.
    pub stats: Stats,
}

impl Snapshot {
    /// The value of one counter of the core.
    #[must_use]
    pub const fn counter(&self, counter: Counter) -> u64 {
        self.values[counter as usize]
    }

    /// How many messages were malformed in this way.
    #[must_use]
    pub const fn malformed(&self, reason: Reason) -> u64 {
        self.malformed[reason as usize]
    }
}

/// Numbers published by one shard: one writer, any readers, which see one publication whole: a
/// sequence lock, whose writer never waits. Aligned, so that no two shards
/// write into one cache line (or a pair of them, which some processors fetch together).
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Published {
    /// Odd while a publication is being written; rises by two with each.
    sequence: AtomicU64,
    values: [AtomicU64; Counter::COUNT],
    malformed: [AtomicU64; Reason::COUNT],
    stats: [AtomicU64; Stats::COUNT],
}

impl Published {
    /// All zero.
    pub(super) fn new() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            values: std::array::from_fn(|_| AtomicU64::new(0)),
            malformed: std::array::from_fn(|_| AtomicU64::new(0)),
            stats: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Publishes; the owning shard alone calls this.
    pub(super) fn publish(&self, counters: &Counters, stats: &Stats) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence
            .store(sequence.wrapping_add(1), Ordering::Relaxed);
        // A reader that sees one of the numbers below sees the odd sequence too.
        fence(Ordering::Release);
        for (published, value) in self.values.iter().zip(counters.values()) {
            published.store(*value, Ordering::Relaxed);
        }
        for (published, reason) in self.malformed.iter().zip(Reason::ALL) {
            published.store(counters.malformed(reason), Ordering::Relaxed);
        }
        for (published, value) in self.stats.iter().zip(stats.to_array()) {
            published.store(value, Ordering::Relaxed);
        }
        self.sequence
            .store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// What was last published.
    pub(super) fn snapshot(&self) -> Snapshot {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            let snapshot = self.read();
            // The numbers are read before the sequence is read again.
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && before == self.sequence.load(Ordering::Relaxed) {
                return snapshot;
            }
            std::thread::yield_now();
        }
    }

    fn read(&self) -> Snapshot {
        Snapshot {
            values: std::array::from_fn(|index| self.values[index].load(Ordering::Relaxed)),
            malformed: std::array::from_fn(|index| self.malformed[index].load(Ordering::Relaxed)),
            stats: Stats::from_array(std::array::from_fn(|index| {
                self.stats[index].load(Ordering::Relaxed)
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_never_sees_two_publications_side_by_side() {
        let published = Published::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let counters = Counters::new();
                for number in 0..20_000 {
                    let stats = Stats {
                        turns: number,
                        message_bytes: number,
                        ..Stats::default()
                    };
                    published.publish(&counters, &stats);
                }
            });
            let mut last = 0;
            while last < 19_999 {
                let stats = published.snapshot().stats;
                assert_eq!(stats.turns, stats.message_bytes);
                assert!(stats.turns >= last);
                last = stats.turns;
            }
        });
    }

    #[test]
    fn what_was_published_is_what_is_read() {
        let published = Published::new();
        let mut counters = Counters::new();
        counters.add(Counter::Received);
        counters.add(Counter::Received);
        counters.add_malformed(Reason::ALL[0]);
        let stats = Stats {
            turns: 1,
            sent: 7,
            tables_generation: 9,
            ..Stats::default()
        };
        published.publish(&counters, &stats);
        let snapshot = published.snapshot();
        assert_eq!(snapshot.counter(Counter::Received), 2);
        assert_eq!(snapshot.counter(Counter::Malformed), 1);
        assert_eq!(snapshot.malformed(Reason::ALL[0]), 1);
        assert_eq!(snapshot.stats, stats);
    }
}
