//! An edge as a child process, with a folder of its own.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::agent::{PASSWORD, PATIENCE, REALM};
use super::namespace::Namespace;

/// A folder for one test, removed when the test ends.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(test: &str) -> Self {
        // Not below the repository: the path of a Unix socket is short.
        let name = format!("ringfence-network-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A tenant with these users, whose calls are admitted from these sources.
pub(crate) fn tenants<'a>(users: impl IntoIterator<Item = &'a str>, sources: &[&str]) -> String {
    let mut text = "[[account]]\nname = \"demo\"\n[[account.credential_list]]\n\
                    name = \"phones\"\nusers = [\n"
        .to_owned();
    for user in users {
        writeln!(text, "{{ username = {user:?}, password = {PASSWORD:?} }},").unwrap();
    }
    write!(
        text,
        "]\n[[account.ip_acl]]\nname = \"known\"\nentries = {sources:?}\n[[account.domain]]\n\
         name = \"example.test\"\ncalls = {{ ip_acls = [\"known\"] }}\n\
         registrations = {{ credential_lists = [\"phones\"] }}\n"
    )
    .unwrap();
    text
}

/// A trunk at this address: numbers that begin with + go there, and +15550100 from there rings
/// this user.
pub(crate) fn trunk(address: SocketAddr, user: &str) -> String {
    format!(
        "[[account.route]]\ndomain = \"example.test\"\nprefix = \"+\"\ntrunk = \"carrier\"\n\
         [[account.route]]\nfrom_trunk = \"carrier\"\nnumber = \"+15550100\"\n\
         aor = \"{user}@example.test\"\n[[trunk]]\nname = \"carrier\"\naccounts = [\"demo\"]\n\
         targets = [{{ uri = \"sip:{address}\" }}]\nsources = [\"{address}\"]\n"
    )
}

/// A running edge; killed when dropped.
pub(crate) struct Edge {
    child: Child,
    folder: PathBuf,
    set: Vec<String>,
    pub(crate) ready: Value,
}

impl Edge {
    /// Starts an edge on a free port of 127.0.0.1 and waits until it is ready.
    pub(crate) fn start(scratch: &Scratch, tenants: &str, set: &[&str]) -> Self {
        Self::spawn(scratch, tenants, set)
    }

    /// Starts an edge inside a network namespace.
    pub(crate) fn start_in(
        namespace: &Namespace,
        scratch: &Scratch,
        tenants: &str,
        set: &[&str],
    ) -> Self {
        namespace.inside(|| Self::spawn(scratch, tenants, set))
    }

    fn spawn(scratch: &Scratch, tenants: &str, set: &[&str]) -> Self {
        let folder = scratch.path();
        let file = folder.join("tenants.toml");
        fs::write(&file, tenants).unwrap();
        let defaults = [
            format!("node.state_dir={:?}", folder.join("state")),
            format!("bootstrap.tenants={file:?}"),
            format!("auth.realm={REALM}"),
        ];
        let small = [
            "shards.count=2",
            "shards.spin_us_max=0",
            "listen.udp=127.0.0.1:0",
            "limits.bindings=1024",
            "limits.transactions=1024",
            "limits.absorbers=4096",
            "limits.message_bytes=4194304",
            "limits.trunk_options_s=0",
            "limits.drain_s_max=1",
        ];
        let given = small.iter().chain(set).map(|&text| text.to_owned());
        let set: Vec<String> = defaults.into_iter().chain(given).collect();
        let log = folder.join("log");
        let mut child = with(&["run"], &set)
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{line:?}: {error}\n{}", fs::read_to_string(&log).unwrap())
        });
        Self {
            child,
            folder: folder.to_owned(),
            set,
            ready,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener(0)
    }

    /// Its listener of this number.
    pub(crate) fn listener(&self, number: usize) -> SocketAddr {
        self.ready["udp"][number].as_str().unwrap().parse().unwrap()
    }

    /// What a command with `--json` says.
    pub(crate) fn json(&self, verbs: &[&str]) -> Value {
        let output = with(verbs, &self.set).arg("--json").output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{verbs:?}: {error}{}", self.log());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The registered endpoints.
    pub(crate) fn registrations(&self) -> Vec<Value> {
        self.json(&["reg", "ls"]).as_array().unwrap().clone()
    }

    /// Statistics as soon as they are as wanted: shards publish theirs a little late.
    pub(crate) fn stats_when(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stats = self.json(&["stats"]);
            if wanted(&stats) {
                return stats;
            }
            assert!(Instant::now() < deadline, "{what}: {stats:#}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a counter, summed over the shards, is this.
    pub(crate) fn expect_counter(&self, name: &str, value: u64) {
        let is_there = |stats: &Value| total(stats, name) == value;
        self.stats_when(&format!("{name} is not {value}"), is_there);
    }

    /// Every message that came was answered, forwarded, absorbed, dropped or waits: exactly one of
    /// them, also when another shard did it.
    pub(crate) fn expect_every_message_accounted_for(&self) {
        let parts = ["answered", "forwarded", "absorbed", "waiting", "dropped"];
        self.stats_when("the sums differ", |stats| {
            let count = |part: &str| total(stats, &format!("messages_{part}_total"));
            parts.into_iter().map(count).sum::<u64>() == count("received")
        });
    }

    /// Ends it by a signal and waits for the end.
    pub(crate) fn end(mut self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.unwrap().success());
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn with(verbs: &[&str], set: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    command.args(verbs).stdin(Stdio::null());
    for assignment in set {
        command.args(["--set", assignment]);
    }
    command
}

/// A counter of the core, summed over the shards.
pub(crate) fn total(stats: &Value, name: &str) -> u64 {
    stats["total"]["counters"][name]
        .as_u64()
        .unwrap_or_else(|| panic!("no counter {name}: {stats:#}"))
}
