//! The floor: the edge's own reactor with a core that sends every datagram back.

use std::net::SocketAddr;
use std::sync::Arc;

use ringfence::shard::{Bind, Config, Core, Io, Listeners, Meter, Origin, Runtime, StartError};
use ringfence::sip::{
    Arrival, Command, Counters, Flow, ListenerId, Now, Outbox, ShardId, ShardMessage, Time,
};
use ringfence::tenant::Tables;

#[derive(Debug)]
struct Echo {
    counters: Counters,
    tables: Arc<Tables>,
}

impl Core for Echo {
    fn handle_message(&mut self, _: Now, arrival: Arrival, bytes: &[u8], out: &mut Outbox) {
        out.send(arrival.flow, bytes);
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

/// A running echo.
#[derive(Debug)]
pub(crate) struct Floor {
    runtime: Runtime,
}

impl Floor {
    /// Starts an echo on `address`, pinned to `core`.
    pub(crate) fn start(address: SocketAddr, core: usize, io: Io) -> Result<Self, StartError> {
        let listeners = Listeners::open(
            &[Bind {
                id: ListenerId(0),
                address,
            }],
            1,
        )?;
        let config = Config {
            io,
            cores: vec![core],
            spin_us_max: 1000,
            meter: Meter::default(),
            poison: Vec::new(),
            origin: Origin::new(),
            tables: Arc::default(),
        };
        let runtime = Runtime::start(&config, listeners, |_, _| Echo {
            counters: Counters::new(),
            tables: Arc::default(),
        })?;
        Ok(Self { runtime })
    }

    /// Nanoseconds of turns that did work, so far.
    pub(crate) fn busy_ns(&self) -> u64 {
        // A shard that sleeps has published everything.
        std::thread::sleep(std::time::Duration::from_millis(50));
        self.runtime.snapshot(ShardId(0)).stats.busy_ns
    }
}
