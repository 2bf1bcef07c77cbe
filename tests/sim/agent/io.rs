//! What an agent is given for one call, and what it wants done.

use ringfence::sip::{Random, Time};

/// A datagram to the edge.
#[derive(Debug)]
pub(crate) struct Datagram {
    /// Which listener of the edge.
    pub(crate) listener: usize,
    pub(crate) bytes: Vec<u8>,
}

/// The surroundings of an agent.
#[derive(Debug)]
pub(crate) struct Io<'a> {
    pub(crate) now: Time,
    pub(crate) random: &'a mut Random,
    /// Numbers that no two messages of a run share.
    pub(crate) serial: &'a mut u64,
    pub(crate) out: &'a mut Vec<Datagram>,
    /// The addresses of the edge's listeners, by number.
    pub(crate) listeners: &'a [String],
    /// What the agent found wrong with what it received.
    pub(crate) complaints: &'a mut Vec<String>,
}

impl Io<'_> {
    pub(crate) fn next_serial(&mut self) -> u64 {
        *self.serial += 1;
        *self.serial
    }

    /// True in `percent` of 100 cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    /// A time between `low` and `high` milliseconds from now.
    pub(crate) fn within_ms(&mut self, low: u64, high: u64) -> Time {
        let wait = low * 1_000_000 + self.random.below((high - low).max(1) * 1_000_000);
        Time(self.now.0 + wait)
    }

    pub(crate) fn complain(&mut self, text: impl Into<String>) {
        self.complaints.push(text.into());
    }

    pub(crate) fn send(&mut self, listener: usize, bytes: Vec<u8>) {
        self.out.push(Datagram { listener, bytes });
    }

    /// The listener at `host:port`.
    pub(crate) fn listener_at(&self, address: &str) -> Option<usize> {
        self.listeners.iter().position(|own| own == address)
    }
}

/// A time that never comes.
pub(crate) const NEVER: Time = Time(u64::MAX);
