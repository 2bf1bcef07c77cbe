//! The network: what it does to datagrams, and who is where.

use std::net::SocketAddr;

use ringfence::sip::{Random, Time};

/// What the network does to datagrams, and the queues between shards to messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    /// In 100 datagrams: lost, delivered twice, and late by up to seconds.
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) late: u64,
    /// Longest ordinary delay, milliseconds.
    pub(crate) delay_ms_max: u64,
    /// Longest delay between shards, microseconds.
    pub(crate) shard_delay_us_max: u64,
    /// Places in the queue of a pair of shards: for questions, and for what is handed over.
    pub(crate) shard_questions: u16,
    pub(crate) shard_handovers: u16,
}

impl Faults {
    /// Loses 20 %, repeats and reorders.
    pub(crate) const ROUGH: Self = Self {
        lost: 20,
        doubled: 10,
        late: 3,
        delay_ms_max: 250,
        shard_delay_us_max: 20_000,
        shard_questions: 2,
        shard_handovers: 2,
    };

    /// Nothing is lost, repeated or overtaken by much.
    pub(crate) const NONE: Self = Self {
        lost: 0,
        doubled: 0,
        late: 0,
        delay_ms_max: 5,
        shard_delay_us_max: 100,
        shard_questions: 64,
        shard_handovers: 64,
    };

    /// Delays after which a datagram arrives: none when it is lost, two when it is doubled.
    pub(crate) fn deliveries(&self, random: &mut Random) -> Vec<u64> {
        if random.below(100) < self.lost {
            return Vec::new();
        }
        let copies = if random.below(100) < self.doubled {
            2
        } else {
            1
        };
        (0..copies)
            .map(|_| {
                let longest_ms = if random.below(100) < self.late {
                    3_000
                } else {
                    self.delay_ms_max
                };
                100_000 + random.below(longest_ms * 1_000_000)
            })
            .collect()
    }
}

/// Where an agent is.
#[derive(Debug)]
pub(crate) struct Place {
    /// Where it is seen by the edge.
    pub(crate) address: SocketAddr,
    /// Where it was before its NAT forgot it.
    pub(crate) past: Vec<SocketAddr>,
    /// True behind a NAT: the agent knows itself by another address.
    pub(crate) natted: bool,
    /// Until when nothing goes through.
    pub(crate) cut_until: Time,
}

impl Place {
    pub(crate) fn new(address: SocketAddr, natted: bool) -> Self {
        Self {
            address,
            past: Vec::new(),
            natted,
            cut_until: Time::default(),
        }
    }

    /// The NAT gives another port.
    pub(crate) fn rebind(&mut self) {
        self.past.push(self.address);
        let port = self.address.port();
        self.address
            .set_port(if port > 60_000 { 20_000 } else { port + 1 });
    }
}
