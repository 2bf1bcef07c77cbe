//! The cores of the floor: what a reactor costs when its core does next to nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use ringfence::shard::Core;
use ringfence::sip::{
    Arrival, Command, Counter, Counters, Flow, Now, Outbox, ShardId, ShardMessage, SourceAddr, Time,
};
use ringfence::tenant::Tables;

use super::{BACK, FRONT};

/// What a floor does with a datagram.
enum Work {
    /// Sends it back.
    Echo,
    /// Sends it on to the far side, and what comes from there back to the flow it came from.
    Relay {
        /// The far side.
        far_side: SourceAddr,
        /// By the number in the datagram: who sent it.
        origins: Box<[Option<SourceAddr>]>,
    },
}

/// Requests a relay can tell apart; more than a window.
const ORIGINS: usize = 1 << 16;

/// A core that does nothing else.
pub(crate) struct Floor {
    work: Work,
    counters: Counters,
    tables: Arc<Tables>,
}

impl Floor {
    fn new(work: Work) -> Self {
        Self {
            work,
            counters: Counters::new(),
            tables: Arc::default(),
        }
    }

    /// A core that echoes.
    pub(crate) fn echo() -> Self {
        Self::new(Work::Echo)
    }

    /// A core that relays between the flows and the far side.
    pub(crate) fn relay(far_side: SocketAddr) -> Self {
        let origins = vec![None; ORIGINS].into_boxed_slice();
        Self::new(Work::Relay {
            far_side: far_side.into(),
            origins,
        })
    }
}

/// The number at the start of a datagram, as an index.
fn number(bytes: &[u8]) -> usize {
    bytes.iter().take(8).fold(0, |number, digit| {
        number << 4 | usize::from((digit & 0xf) + if digit.is_ascii_digit() { 0 } else { 9 })
    }) % ORIGINS
}

impl Core for Floor {
    fn handle_message(&mut self, _: Now, arrival: Arrival, bytes: &[u8], out: &mut Outbox) {
        self.counters.add(Counter::Received);
        let to = match &mut self.work {
            Work::Echo => Some(arrival.flow),
            Work::Relay { far_side, origins } => {
                if arrival.flow.listener() == FRONT {
                    origins[number(bytes)] = Some(arrival.flow.peer());
                    Some(Flow::Udp {
                        listener: BACK,
                        peer: *far_side,
                    })
                } else {
                    let origin = origins[number(bytes)].take();
                    origin.map(|peer| Flow::Udp {
                        listener: FRONT,
                        peer,
                    })
                }
            }
        };
        if to.is_some_and(|flow| out.send(flow, bytes)) {
            self.counters.add(Counter::Sent);
        }
    }

    fn handle_shard_message(
        &mut self,
        _: Now,
        _: ShardId,
        _: ShardMessage,
        _: &[u8],
        _: &mut Outbox,
    ) {
    }

    fn handle_command(&mut self, _: Now, _: Command, _: &mut Outbox) {}

    fn handle_tables(&mut self, _: Now, tables: Arc<Tables>, _: &mut Outbox) -> Arc<Tables> {
        std::mem::replace(&mut self.tables, tables)
    }

    fn handle_unreachable(&mut self, _: Now, _: Flow, _: &mut Outbox) {}

    fn handle_timeout(&mut self, _: Now, _: &mut Outbox) {}

    fn poll_timeout(&self) -> Option<Time> {
        None
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}
