//! `ringfence run`: start-up, signals, drain and stop.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::edge::{Edge, Undone};
use super::settings::{self, Placement};
use super::shards::Shards;
use super::state_dir::{StateDir, socket_path};
use super::tenants::{self, Tenants};
use super::view::Ready;
use super::{api, crash, keys, log, output, programs};
use crate::config::{Config, Io};
use crate::shard::Listeners;
use crate::sip::Command;

/// How often a drain looks whether anything is still in progress.
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// Errors as lines for the operator.
type Errors = Vec<String>;

/// Runs the edge until it is told to stop. `reread` reads the configuration anew for a reload.
pub(super) fn run(
    config: &Config,
    reread: &dyn Fn() -> Result<Config, String>,
) -> Result<(), Errors> {
    crash::abort_on_shard_panic(&config.node.state_dir);
    let level = log::start(&config.log);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(one("the control thread cannot be started"))?;
    runtime.block_on(async {
        // From here on a signal is taken up in order instead of ending the process on the spot.
        let mut signals = Signals::new().map_err(one("signals cannot be taken"))?;
        let state_dir = StateDir::take(&config.node.state_dir).map_err(said)?;
        let edge = start(config, &state_dir, level)?;
        let listener = state_dir.open_socket().map_err(said)?;
        listener
            .set_nonblocking(true)
            .map_err(one("the control socket"))?;
        let listener =
            tokio::net::UnixListener::from_std(listener).map_err(one("the control socket"))?;
        let router = api::router(Arc::clone(&edge));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        output::json(&edge.ready());
        if output::is_interactive() {
            greet(&edge, config).await;
        }
        supervise(&edge, config, &mut signals, reread).await;
        state_dir.remove_socket();
        server.abort();
        edge.shards.stop();
        tracing::info!("stopped");
        Ok(())
    })
}

fn one<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Errors {
    move |error| vec![format!("{what}: {error}")]
}

fn said<E: std::fmt::Display>(error: E) -> Errors {
    vec![error.to_string()]
}

/// Everything up to the first packet.
fn start(config: &Config, state_dir: &StateDir, level: log::Level) -> Result<Arc<Edge>, Errors> {
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let keys = keys::load_or_make(state_dir.path(), now_s).map_err(said)?;
    let (mut tenants, empty) = Tenants::new(config)?;
    let provision = tenants::read(&config.bootstrap.tenants)?;
    let (_, tables) = tenants.apply(provision, tenants::Origin::Bootstrap, config)?;
    let tables = tables.unwrap_or(empty);
    let mut available: Vec<usize> = core_affinity::get_core_ids()
        .unwrap_or_default()
        .iter()
        .map(|core| core.id)
        .collect();
    available.sort_unstable();
    let placement = settings::place(&config.shards, &available).map_err(said)?;
    let count = u8::try_from(placement.cores.len()).map_err(said)?;
    let planned =
        settings::plan_listeners(&config.listen, crate::shard::expand_wildcard).map_err(said)?;
    let listeners =
        Listeners::open(&settings::binds(&planned), usize::from(count)).map_err(said)?;
    let settings = settings::settings(config, count, &planned, listeners.binds());
    keep_off_shards(&placement);
    let ready = Ready {
        ready: true,
        udp: listeners
            .binds()
            .iter()
            .map(|bind| bind.address.to_string())
            .collect(),
        node: node_name(config),
        region: config.node.region.clone(),
        shards: count,
        io: match config.shards.io {
            Io::Uring => "uring".to_owned(),
            Io::Mmsg => "mmsg".to_owned(),
        },
        control: socket_path(state_dir.path()).display().to_string(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let settings = Arc::new(settings);
    let shards = Shards::start(
        config.shards.io,
        &placement,
        listeners,
        Arc::clone(&settings),
        Arc::new(keys),
        tables,
        crash::load(state_dir.path()),
    )
    .map_err(said)?;
    if programs::PASS.is_none() {
        tracing::info!("built without clang: the kernel filter is not in this binary");
    }
    tracing::info!(shards = count, cores = ?placement.cores, udp = ?ready.udp, "ready");
    Ok(Arc::new(Edge {
        config: config.clone(),
        settings,
        shards,
        counts: Mutex::new(tenants.counts()),
        tenants: tokio::sync::Mutex::new(tenants),
        level,
        ready,
        draining: AtomicBool::new(false),
        started: Instant::now(),
    }))
}

/// Moves this thread, and those it will start, to a core without a shard where there is one.
fn keep_off_shards(placement: &Placement) {
    if let Some(core) = placement.control_core {
        core_affinity::set_for_current(core_affinity::CoreId { id: core });
    }
}

fn node_name(config: &Config) -> String {
    if !config.node.name.is_empty() {
        return config.node.name.clone();
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    if host.is_empty() {
        "ringfence".to_owned()
    } else {
        host.to_owned()
    }
}

/// The signals that mean something.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

/// What was asked for by signal.
enum Wish {
    Drain,
    Stop,
    Reload,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Drain,
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.hang_up.recv() => Wish::Reload,
        }
    }
}

/// Serves until a drain is over or the edge is told to stop at once.
async fn supervise(
    edge: &Arc<Edge>,
    config: &Config,
    signals: &mut Signals,
    reread: &dyn Fn() -> Result<Config, String>,
) {
    loop {
        match signals.next().await {
            Wish::Reload => reload(edge, config, reread).await,
            Wish::Stop => return,
            Wish::Drain => break,
        }
    }
    let bound = Duration::from_secs(config.limits.drain_s_max.into());
    tracing::info!(
        seconds_max = bound.as_secs(),
        "draining; a second SIGTERM stops at once"
    );
    edge.draining.store(true, Ordering::Relaxed);
    edge.shards.tell_all(&Command::Drain);
    let drained = async {
        let deadline = Instant::now() + bound;
        // The first look comes after every shard has taken the command and published since.
        loop {
            tokio::time::sleep(DRAIN_POLL).await;
            if Instant::now() >= deadline || edge.shards.in_progress() == 0 {
                return;
            }
        }
    };
    tokio::pin!(drained);
    loop {
        tokio::select! {
            () = &mut drained => return,
            wish = signals.next() => match wish {
                Wish::Drain | Wish::Stop => return,
                Wish::Reload => tracing::warn!("no reload while draining"),
            },
        }
    }
}

/// SIGHUP: the tenants and the log level; what else changed is named, as it takes a restart.
async fn reload(edge: &Arc<Edge>, config: &Config, reread: &dyn Fn() -> Result<Config, String>) {
    let next = match reread() {
        Ok(next) => next,
        Err(problems) => {
            tracing::error!("not reloaded, nothing changed: {problems}");
            return;
        }
    };
    edge.level.set(next.log.level);
    for (key, value) in waiting_for_restart(config, &next) {
        tracing::warn!(key, value, "changed, and takes a restart");
    }
    let provision = match tenants::read(&next.bootstrap.tenants) {
        Ok(provision) => provision,
        Err(errors) => {
            tracing::error!("tenants not reloaded: {}", errors.join("; "));
            return;
        }
    };
    match edge.apply(provision, tenants::Origin::Bootstrap).await {
        Ok(applied) => tracing::info!(
            added = applied.added.len(),
            changed = applied.changed.len(),
            removed = applied.removed.len(),
            "reloaded"
        ),
        Err(Undone::Invalid(errors)) => {
            tracing::error!("tenants not reloaded: {}", errors.join("; "));
        }
        Err(Undone::NotFound(error)) => tracing::error!("tenants not reloaded: {error}"),
        Err(Undone::Unanswered(error)) => tracing::error!("tenants not reloaded: {error}"),
    }
}

/// Keys whose new value is not in force, with that value.
fn waiting_for_restart(running: &Config, next: &Config) -> Vec<(String, String)> {
    const RELOADED: [&str; 2] = ["log.level", "bootstrap.tenants"];
    let before = running.entries();
    next.entries()
        .into_iter()
        .filter(|entry| !before.contains(entry) && !RELOADED.contains(&entry.0.as_str()))
        .collect()
}

/// Says to a person at the terminal what can be done now.
async fn greet(edge: &Edge, config: &Config) {
    let address = edge
        .ready
        .udp
        .first()
        .map(String::as_str)
        .unwrap_or_default();
    output::note("");
    output::note(&format!(
        "Ringfence listens on UDP {}.",
        edge.ready.udp.join(", ")
    ));
    let phones = edge.tenants.lock().await.sample_users(3);
    if !phones.is_empty() {
        output::note(&format!(
            "A phone on this machine: outbound proxy {address}, UDP, and"
        ));
    }
    for (user, domain) in &phones {
        output::note(&format!(
            "  user {user}, domain {domain} (sip:{user}@{domain})"
        ));
    }
    if config.bootstrap.tenants != Path::new("") {
        let file = config.bootstrap.tenants.display();
        output::note(&format!("Passwords, numbers and trunks: {file}"));
    }
    let typed = typed_again(std::env::args());
    output::note("In another terminal:");
    output::note(&format!("  {typed} reg ls    who is registered"));
    output::note(&format!("  {typed} stats     what happened so far"));
    output::note("Ctrl-C stops at once; kill -TERM lets calls being set up finish.");
    output::note("");
}

/// This command line without its verb, for a shell: what finds this edge again.
fn typed_again(arguments: impl Iterator<Item = String>) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,".contains(c);
    let quoted = |word: String| match word.chars().all(is_plain) {
        true => word,
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    arguments
        .filter(|word| word != "run")
        .map(quoted)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test may stop at what it did not expect"
    )]

    use super::*;

    #[test]
    fn a_person_is_told_what_finds_this_edge_again() {
        let words = [
            "./ringfence",
            "run",
            "--config",
            "a b.toml",
            "--set",
            "auth.realm='x'",
        ];
        let typed = typed_again(words.into_iter().map(str::to_owned));
        assert_eq!(
            typed,
            r"./ringfence --config 'a b.toml' --set 'auth.realm='\''x'\'''"
        );
    }

    #[test]
    fn a_reload_names_every_key_that_takes_a_restart_and_no_other() {
        let parse = |text: &str| Config::parse("edge.toml", text, &[]).unwrap();
        let running = parse("[auth]\nrealm = \"a\"\n");
        let next = parse("[auth]\nrealm = \"b\"\n[log]\nlevel = \"debug\"\nformat = \"json\"\n");
        let keys: Vec<_> = waiting_for_restart(&running, &next);
        assert_eq!(
            keys,
            [
                ("auth.realm".to_owned(), "\"b\"".to_owned()),
                ("log.format".to_owned(), "\"json\"".to_owned()),
            ]
        );
        assert!(waiting_for_restart(&running, &running).is_empty());
    }
}
