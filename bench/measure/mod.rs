//! Measuring a shard under a closed loop: the server on one core, the generator on another, both
//! of them reactors of this crate.

mod floor;
mod generator;
mod statistics;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence::shard::{Bind, Config, Core, Io, Listeners, Meter, Origin, Runtime, StartError};
use ringfence::sip::{Command, ListenerId, Now, ShardId};
use ringfence::tenant::Tables;

pub(crate) use self::floor::Floor;
use self::generator::Generator;
pub(crate) use self::generator::Template;
pub(crate) use self::statistics::{Machine, Spread, Steal};

/// Listener of the server that flows talk to.
pub(crate) const FRONT: ListenerId = ListenerId(0);

/// Listener of the server that talks to the far side, for relays.
pub(crate) const BACK: ListenerId = ListenerId(1);

/// What the generator offers.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Sockets of the generator, each a peer of its own; one more is the far side.
    pub(crate) flows: u8,
    /// Datagrams under way at one time, all flows together.
    pub(crate) window: u32,
    /// How long is measured.
    pub(crate) measured: Duration,
    /// How long it runs before.
    pub(crate) warm_up: Duration,
    /// Core of the server and core of the generator; empty = not pinned.
    pub(crate) cores: Vec<usize>,
}

/// What one run measured at the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// CPU nanoseconds of turns that did work, per datagram received.
    pub(crate) cpu_ns: f64,
    /// Datagrams received per second.
    pub(crate) rate: f64,
    /// Datagrams received per turn that did work.
    pub(crate) batch: f64,
}

fn config(io: Io, core: Option<usize>) -> Config {
    Config {
        io,
        cores: core.into_iter().collect(),
        spin_us_max: 1_000,
        meter: Meter::ThreadCpu,
        origin: Origin::new(),
        tables: Arc::new(Tables::default()),
        poison: Vec::new(),
    }
}

fn loopback(ids: impl Iterator<Item = u8>) -> Vec<Bind> {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    ids.map(|id| Bind {
        id: ListenerId(id),
        address,
    })
    .collect()
}

/// Runs a server and the generator against each other.
///
/// `make_server` is given the far side's address.
///
/// # Errors
/// When a reactor can not be started.
pub(crate) fn run<C, F>(
    io: Io,
    load: &Load,
    template: Template,
    make_server: F,
) -> Result<Outcome, StartError>
where
    C: Core + 'static,
    F: Fn(ShardId, Now, SocketAddr) -> C + Send + Sync + 'static,
{
    let phones = Listeners::open(&loopback(0..=load.flows), 1)?;
    let far_side = phones.binds()[usize::from(load.flows)].address;
    let sockets = Listeners::open(&loopback(0..=1), 1)?;
    let target = sockets.binds()[0].address;
    let server_config = config(io, load.cores.first().copied());
    let server = Runtime::start(&server_config, sockets, move |shard, now| {
        make_server(shard, now, far_side)
    })?;
    let (flows, window) = (load.flows, load.window);
    // The generator takes the faster backend whatever is measured.
    let generator_config = config(Io::Uring, load.cores.get(1).copied());
    let generator = Runtime::start(&generator_config, phones, move |_, _| {
        Generator::new(target, flows, window, template.clone())
    })?;
    // Any command starts it.
    let _ = generator.command(ShardId(0), Command::Drain);
    std::thread::sleep(load.warm_up);
    let before = server.snapshot(ShardId(0)).stats;
    let started = Instant::now();
    std::thread::sleep(load.measured);
    let after = server.snapshot(ShardId(0)).stats;
    let elapsed = started.elapsed();
    generator.stop();
    server.stop();
    let received = after.received - before.received;
    let busy_ns = (after.busy_ns - before.busy_ns) as f64;
    let turns = (after.busy_turns - before.busy_turns).max(1) as f64;
    Ok(Outcome {
        cpu_ns: busy_ns / received.max(1) as f64,
        rate: received as f64 / elapsed.as_secs_f64(),
        batch: received as f64 / turns,
    })
}
