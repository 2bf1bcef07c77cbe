//! What the control side starts, speaks to and stops.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel;
use crossbeam::queue::ArrayQueue;

use super::clock::Origin;
use super::core::Core;
use super::error::StartError;
use super::listeners::{Bind, Listeners, ShardSockets};
use super::mmsg::Mmsg;
use super::poison::Poison;
use super::post::Post;
use super::reactor::{Meter, Reactor, Shared};
use super::ring::{self, Uring};
use super::stats::{Published, Snapshot};
use super::tables::TablesCell;
use super::wake::Doorbell;
use crate::limits;
use crate::sip::{Command, Now, Report, ShardId};
use crate::tenant::Tables;

/// How datagrams are exchanged with the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// io_uring.
    #[default]
    Uring,
    /// `recvmmsg` and `sendmmsg`: works where io_uring is forbidden.
    Mmsg,
}

/// How the shards run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The backend.
    pub io: Io,
    /// By shard, the core it is pinned to; shorter than the number of shards, or empty = the rest
    /// is not pinned.
    pub cores: Vec<usize>,
    /// Longest time a shard polls before it sleeps, microseconds. Set it to 0 where shards share
    /// their cores with other threads.
    pub spin_us_max: u32,
    /// What busy time is measured by.
    pub meter: Meter,
    /// Where core time starts.
    pub origin: Origin,
    /// The tables that every core is made with.
    pub tables: Arc<Tables>,
    /// Datagrams that ended an earlier process.
    pub poison: Vec<Poison>,
}

/// One shard as the control side sees it.
#[derive(Debug)]
struct Handle {
    doorbell: Arc<Doorbell>,
    commands: Arc<ArrayQueue<Command>>,
    published: Arc<Published>,
    thread: Option<JoinHandle<()>>,
}

/// The running shards. Dropping it stops them.
#[derive(Debug)]
pub struct Runtime {
    shards: Vec<Handle>,
    reports: channel::Receiver<(ShardId, Box<Report>)>,
    tables: Arc<TablesCell>,
    stop: Arc<AtomicBool>,
    binds: Vec<Bind>,
    origin: Origin,
}

/// Makes the core of a shard.
type MakeCore<C> = dyn Fn(ShardId, Now) -> C + Send + Sync;

/// What the thread of a shard is given.
struct Launch {
    config: Config,
    sockets: ShardSockets,
    shared: Shared,
    post: Post,
    started: channel::Sender<Result<(), StartError>>,
}

impl Runtime {
    /// Starts one shard per socket set of `listeners`. `make_core` is called on each shard's own
    /// thread, after it was pinned, so that the core's memory is that core's.
    ///
    /// # Errors
    /// io_uring forbidden, a core that does not exist, memory or threads exhausted; then none runs.
    pub fn start<C, F>(
        config: &Config,
        listeners: Listeners,
        make_core: F,
    ) -> Result<Self, StartError>
    where
        C: Core + 'static,
        F: Fn(ShardId, Now) -> C + Send + Sync + 'static,
    {
        match config.io {
            Io::Uring => probe_uring()?,
            Io::Mmsg => {}
        }
        let make_core: Arc<MakeCore<C>> = Arc::new(make_core);
        let doorbells = (0..listeners.shards())
            .map(|shard| {
                Doorbell::new()
                    .map(Arc::new)
                    .map_err(resource(shard, "an event"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let (report_sender, reports) = channel::bounded(limits::REPORTS_MAX);
        let (started, starts) = channel::bounded(listeners.shards());
        let mut runtime = Self {
            shards: Vec::with_capacity(listeners.shards()),
            reports,
            tables: Arc::new(TablesCell::new(Arc::clone(&config.tables))),
            stop: Arc::new(AtomicBool::new(false)),
            binds: listeners.binds().to_vec(),
            origin: config.origin,
        };
        let posts = Post::connect(&doorbells);
        for ((sockets, post), doorbell) in listeners.shards.into_iter().zip(posts).zip(doorbells) {
            let launch = Launch {
                config: config.clone(),
                sockets,
                shared: Shared {
                    shard: ShardId(runtime.shards.len() as u8),
                    doorbell,
                    commands: Arc::new(ArrayQueue::new(limits::COMMANDS_MAX)),
                    reports: report_sender.clone(),
                    tables: Arc::clone(&runtime.tables),
                    published: Arc::new(Published::new()),
                    stop: Arc::clone(&runtime.stop),
                },
                post,
                started: started.clone(),
            };
            // On any failure from here on, dropping `runtime` stops the shards that run already.
            let handle = launch_shard(launch, Arc::clone(&make_core))?;
            runtime.shards.push(handle);
        }
        drop(started);
        let mut running = 0;
        for outcome in starts {
            outcome?;
            running += 1;
        }
        if running < runtime.shards.len() {
            let source = io::Error::other("a shard ended while its core was made");
            return Err(resource(running, "its core")(source));
        }
        Ok(runtime)
    }

    /// Number of shards.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// What is listened on, with real ports.
    #[must_use]
    pub fn binds(&self) -> &[Bind] {
        &self.binds
    }

    /// The clock of the cores.
    #[must_use]
    pub fn now(&self) -> Now {
        self.origin.now()
    }

    /// Gives a command to a shard.
    ///
    /// # Errors
    /// The command, when `limits::COMMANDS_MAX` wait already.
    pub fn command(&self, shard: ShardId, command: Command) -> Result<(), Command> {
        let handle = &self.shards[usize::from(shard.0)];
        handle.commands.push(command)?;
        handle.doorbell.ring_control();
        Ok(())
    }

    /// Where the reports of all shards arrive. A shard whose reports are not taken takes no
    /// further commands.
    #[must_use]
    pub fn reports(&self) -> channel::Receiver<(ShardId, Box<Report>)> {
        self.reports.clone()
    }

    /// Publishes tables to every shard, and frees generations that all shards have left.
    pub fn publish(&self, tables: Arc<Tables>) {
        self.tables.publish(tables);
        for handle in &self.shards {
            handle.doorbell.ring_control();
        }
        self.free_tables();
    }

    /// Frees generations that the shards have given back; how many references there were. To be
    /// called now and then after [`Self::publish`].
    pub fn free_tables(&self) -> usize {
        self.tables.free_returned()
    }

    /// The oldest generation of tables that a shard still uses.
    #[must_use]
    pub fn tables_generation(&self) -> u64 {
        let generations = self
            .shards
            .iter()
            .map(|handle| handle.published.snapshot().stats.tables_generation);
        generations.min().unwrap_or(0)
    }

    /// What a shard last published: at most `limits::PUBLISH_MS` old while it works, current when
    /// it sleeps.
    #[must_use]
    pub fn snapshot(&self, shard: ShardId) -> Snapshot {
        self.shards[usize::from(shard.0)].published.snapshot()
    }

    /// Stops all shards and waits for them: their sockets are closed when this returns.
    pub fn stop(mut self) {
        self.stop_and_join();
    }

    fn stop_and_join(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for handle in &self.shards {
            handle.doorbell.ring_control();
        }
        for handle in &mut self.shards {
            // A panic on a shard ends the process by the control side's hook; where there is no
            // hook, it has been printed already.
            let _ = handle.thread.take().map(JoinHandle::join);
        }
        self.free_tables();
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.stop_and_join();
    }
}

fn resource(shard: usize, what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Resource {
        shard: shard as u8,
        what,
        source,
    }
}

/// Starts the thread of a shard.
fn launch_shard<C: Core + 'static>(
    launch: Launch,
    make_core: Arc<MakeCore<C>>,
) -> Result<Handle, StartError> {
    let shard = launch.shared.shard.0;
    let mut handle = Handle {
        doorbell: Arc::clone(&launch.shared.doorbell),
        commands: Arc::clone(&launch.shared.commands),
        published: Arc::clone(&launch.shared.published),
        thread: None,
    };
    let thread = std::thread::Builder::new()
        .name(format!("shard-{shard}"))
        .spawn(move || run_shard(launch, &*make_core))
        .map_err(resource(usize::from(shard), "a thread"))?;
    handle.thread = Some(thread);
    Ok(handle)
}

/// The thread of a shard.
fn run_shard<C: Core>(launch: Launch, make_core: &MakeCore<C>) {
    let shard = usize::from(launch.shared.shard.0);
    if let Some(&core) = launch.config.cores.get(shard)
        && !pin(core)
    {
        let error = StartError::NoCore {
            shard: shard as u8,
            core,
        };
        let _ = launch.started.send(Err(error));
        return;
    }
    let event = launch.shared.doorbell.event();
    match launch.config.io {
        Io::Uring => {
            let mut ring = match ring::build() {
                Ok(ring) => ring,
                Err(error) => return refuse(&launch, "a ring", error),
            };
            let Launch {
                config,
                sockets,
                shared,
                post,
                started,
            } = launch;
            match Uring::new(&mut ring, sockets, event) {
                Ok(backend) => run(config, backend, shared, post, started, make_core),
                Err(error) => {
                    let error = resource(shard, "receive buffers of a ring")(error);
                    let _ = started.send(Err(error));
                }
            }
        }
        Io::Mmsg => {
            let Launch {
                config,
                sockets,
                shared,
                post,
                started,
            } = launch;
            match Mmsg::new(sockets, event) {
                Ok(backend) => run(config, backend, shared, post, started, make_core),
                Err(error) => {
                    let error = resource(shard, "receive buffers")(error);
                    let _ = started.send(Err(error));
                }
            }
        }
    }
}

/// Tries io_uring, on a thread of its own: the end of a ring interrupts system calls of the thread
/// that made it.
fn probe_uring() -> Result<(), StartError> {
    let probe = std::thread::Builder::new()
        .name("probe".to_owned())
        .spawn(ring::is_available)
        .map_err(resource(0, "a thread"))?;
    let outcome = probe
        .join()
        .unwrap_or_else(|_| Err("its probe failed".to_owned()));
    outcome.map_err(|reason| StartError::NoIoUring { reason })
}

/// Pins the calling thread. False when this process may not use that core, or there is none.
fn pin(core: usize) -> bool {
    // The mask that this thread inherited says nothing about what it may be set to.
    core < libc::CPU_SETSIZE as usize
        && core_affinity::set_for_current(core_affinity::CoreId { id: core })
}

fn refuse(launch: &Launch, what: &'static str, error: io::Error) {
    let shard = usize::from(launch.shared.shard.0);
    let _ = launch.started.send(Err(resource(shard, what)(error)));
}

/// Makes the core and runs the reactor to its end.
fn run<C: Core, B: super::backend::Backend>(
    config: Config,
    backend: B,
    shared: Shared,
    post: Post,
    started: channel::Sender<Result<(), StartError>>,
    make_core: &MakeCore<C>,
) {
    let core = make_core(shared.shard, config.origin.now());
    let reactor = Reactor::new(core, backend, shared, post, &config);
    // The receiver waits until every shard has said how it went.
    let _ = started.send(Ok(()));
    drop(started);
    drop(reactor.run());
}
