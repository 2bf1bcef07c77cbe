//! The running shards, asked and told from any task of the control side.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::settings::Placement;
use crate::config;
use crate::shard::{Config, Io, Listeners, Meter, Origin, Poison, Runtime, Snapshot, StartError};
use crate::sip::{Command, Edge, Keys, Now, Report, Settings, ShardId};
use crate::tenant::Tables;

/// How long a shard may take to answer: it looks at its commands every turn, so this is a stall.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long new tables may take to be in force on every shard.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);

/// How often it is looked whether they are.
const PUBLISH_POLL: Duration = Duration::from_millis(2);

/// A shard did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unanswered {
    #[error("shard {0} has too many commands waiting; try again")]
    Busy(u8),
    #[error("shard {0} does not answer")]
    Silent(u8),
    #[error("the change is published, but not yet in force on every shard")]
    NotInForce,
    #[error("the edge is stopping")]
    Stopped,
}

type Waiters = Arc<Mutex<HashMap<u64, oneshot::Sender<Report>>>>;

/// The shards.
#[derive(Debug)]
pub(super) struct Shards {
    /// `None` once stopped.
    runtime: RwLock<Option<Runtime>>,
    count: u8,
    origin: Origin,
    /// Who waits for which report.
    waiters: Waiters,
    question: AtomicU64,
}

impl Shards {
    /// Starts a shard per core of `placement`; `poison` are datagrams that crashed an earlier edge.
    pub(super) fn start(
        io: config::Io,
        placement: &Placement,
        listeners: Listeners,
        settings: Arc<Settings>,
        keys: Arc<Keys>,
        tables: Arc<Tables>,
        poison: Vec<Poison>,
    ) -> Result<Self, StartError> {
        let origin = Origin::new();
        let count = settings.shards;
        let start = Config {
            io: match io {
                config::Io::Uring => Io::Uring,
                config::Io::Mmsg => Io::Mmsg,
            },
            cores: placement.cores.clone(),
            spin_us_max: placement.spin_us_max,
            meter: Meter::default(),
            origin,
            tables: Arc::clone(&tables),
            poison,
        };
        let make_core = move |shard: ShardId, now: Now| {
            let mut seed = [0; 8];
            // The keys came from the same source: it works. Chance alone hangs on this one.
            let _ = getrandom::fill(&mut seed);
            let (settings, keys) = (Arc::clone(&settings), Arc::clone(&keys));
            Edge::new(
                shard,
                settings,
                keys,
                Arc::clone(&tables),
                now,
                u64::from_ne_bytes(seed),
            )
        };
        let runtime = Runtime::start(&start, listeners, make_core)?;
        let waiters = Waiters::default();
        let reports = runtime.reports();
        let delivered = Arc::clone(&waiters);
        std::thread::Builder::new()
            .name("reports".to_owned())
            .spawn(move || {
                for (_, report) in reports {
                    deliver(&delivered, *report);
                }
            })
            .map_err(|source| StartError::Resource {
                shard: 0,
                what: "a thread",
                source,
            })?;
        let runtime = RwLock::new(Some(runtime));
        Ok(Self {
            runtime,
            count,
            origin,
            waiters,
            question: AtomicU64::new(1),
        })
    }

    fn with<T>(&self, act: impl FnOnce(&Runtime) -> T) -> Result<T, Unanswered> {
        let runtime = self.runtime.read().unwrap_or_else(PoisonError::into_inner);
        runtime.as_ref().map(act).ok_or(Unanswered::Stopped)
    }

    /// How many.
    pub(super) const fn count(&self) -> u8 {
        self.count
    }

    /// The clock of the shards.
    pub(super) fn now(&self) -> Now {
        self.origin.now()
    }

    /// Gives a shard a command that it reports on, and waits for the report.
    pub(super) async fn ask(
        &self,
        shard: ShardId,
        command: impl FnOnce(u64) -> Command,
    ) -> Result<Report, Unanswered> {
        let id = self.question.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.waiters().insert(id, sender);
        let result = match self.with(|runtime| runtime.command(shard, command(id)))? {
            Err(_) => Err(Unanswered::Busy(shard.0)),
            Ok(()) => match tokio::time::timeout(ANSWER_TIMEOUT, receiver).await {
                Ok(Ok(report)) => Ok(report),
                Ok(Err(_)) | Err(_) => Err(Unanswered::Silent(shard.0)),
            },
        };
        self.waiters().remove(&id);
        result
    }

    fn waiters(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Report>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives every shard a command that is not reported on. One whose queue is full misses it;
    /// the queue holds hundreds, so that shard has not taken a turn for long.
    pub(super) fn tell_all(&self, command: &Command) {
        for shard in 0..self.count {
            let told = self.with(|runtime| runtime.command(ShardId(shard), command.clone()));
            if !matches!(told, Ok(Ok(()))) {
                tracing::error!(shard, ?command, "a shard takes no commands");
            }
        }
    }

    /// Publishes tables and waits until every shard works by them.
    pub(super) async fn publish(&self, tables: Arc<Tables>) -> Result<(), Unanswered> {
        let generation = tables.generation;
        self.with(|runtime| runtime.publish(tables))?;
        let deadline = Instant::now() + PUBLISH_TIMEOUT;
        while self.with(Runtime::tables_generation)? < generation {
            if Instant::now() > deadline {
                return Err(Unanswered::NotInForce);
            }
            tokio::time::sleep(PUBLISH_POLL).await;
        }
        self.with(Runtime::free_tables)?;
        Ok(())
    }

    /// What a shard last published; `None` once stopped.
    pub(super) fn snapshot(&self, shard: ShardId) -> Option<Snapshot> {
        self.with(|runtime| runtime.snapshot(shard)).ok()
    }

    /// Transactions and proxied requests in progress, all shards together.
    pub(super) fn in_progress(&self) -> u64 {
        let snapshots = (0..self.count).filter_map(|shard| self.snapshot(ShardId(shard)));
        let live = |stats: crate::shard::Stats| {
            stats.server_transactions + stats.client_transactions + stats.requests
        };
        snapshots.map(|snapshot| live(snapshot.stats)).sum()
    }

    /// Stops the shards and waits for them.
    pub(super) fn stop(&self) {
        let runtime = self
            .runtime
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(runtime) = runtime {
            runtime.stop();
        }
    }
}

/// Hands a report to whoever asked for it.
fn deliver(waiters: &Waiters, report: Report) {
    let id = match &report {
        Report::Bindings { id, .. } | Report::Removed { id, .. } => *id,
    };
    let waiter = waiters
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&id);
    if let Some(waiter) = waiter {
        // Whoever gave up waiting needs no report.
        let _ = waiter.send(report);
    }
}
