//! Programs the comparison and the SIPp runs start and stop: the edge, SIPp, peers.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A folder that is gone with its owner.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes a new folder under the system's temporary folder.
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("ringfence-{name}-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A started program; stopped when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    name: String,
}

impl Program {
    /// Starts `command`; what it prints goes to `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> io::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let output = File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
        Ok(Self { child, name })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end; the exit code, or `None` when it was still running after `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> io::Result<Option<i32>> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status.code().unwrap_or(-1)));
            }
            if Instant::now() > end {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends SIGTERM and waits; killed after `limit`.
    pub(crate) fn terminate(&mut self, limit: Duration) -> io::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let id = libc::pid_t::try_from(self.child.id())
            .map_err(|_| io::Error::other(format!("{}: not a process id", self.name)))?;
        // SAFETY: `kill` takes numbers only; the child has not been waited for, so that the id is
        // still its own.
        unsafe { libc::kill(id, libc::SIGTERM) };
        if self.wait(limit)?.is_none() {
            self.child.kill()?;
            self.child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.terminate(Duration::from_secs(2));
    }
}

/// How to start an edge for a run.
#[derive(Clone, Debug)]
pub(crate) struct EdgeOptions<'a> {
    /// The binary.
    pub(crate) binary: &'a Path,
    /// Folder for state and logs.
    pub(crate) folder: &'a Path,
    /// Provisioning file.
    pub(crate) tenants: &'a Path,
    /// UDP port on 127.0.0.1.
    pub(crate) port: u16,
    /// Cores, one shard each.
    pub(crate) cores: &'a [usize],
    /// `uring` or `mmsg`.
    pub(crate) io: &'a str,
    /// Further `--set` arguments.
    pub(crate) set: &'a [String],
}

/// A running edge.
#[derive(Debug)]
pub(crate) struct Edge {
    program: Program,
    binary: PathBuf,
    config: PathBuf,
    set: Vec<String>,
}

impl Edge {
    /// Starts an edge and waits for its ready line.
    pub(crate) fn start(options: &EdgeOptions<'_>) -> io::Result<Self> {
        let config = options.folder.join("edge.toml");
        let cores = options
            .cores
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        let text = format!(
            "[node]\nname = \"load\"\nstate_dir = {:?}\n[shards]\ncount = {}\ncores = [{cores}]\n\
             io = \"{}\"\n[listen]\nudp = [\"127.0.0.1:{}\"]\n[auth]\nrealm = \"ringfence\"\n\
             [bootstrap]\ntenants = {:?}\n",
            options.folder.join("state"),
            options.cores.len(),
            options.io,
            options.port,
            options.tenants,
        );
        fs::write(&config, text)?;
        let set: Vec<String> = options
            .set
            .iter()
            .flat_map(|pair| ["--set".to_owned(), pair.clone()])
            .collect();
        let log = options.folder.join("edge.log");
        let errors = File::create(&log)?;
        let mut child = Command::new(options.binary)
            .arg("run")
            .arg("--config")
            .arg(&config)
            .args(&set)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("{}: {error}", options.binary.display()),
                )
            })?;
        let stdout = child.stdout.take();
        let program = Program {
            child,
            name: "ringfence".into(),
        };
        let mut line = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        if !line.contains("\"ready\":true") {
            let mut text = String::new();
            File::open(&log)?.read_to_string(&mut text)?;
            return Err(io::Error::other(format!(
                "the edge did not start: {line}{text}"
            )));
        }
        Ok(Self {
            program,
            binary: options.binary.to_owned(),
            config,
            set,
        })
    }

    /// What `ringfence stats --json` prints.
    pub(crate) fn stats(&self) -> io::Result<serde_json::Value> {
        let output = Command::new(&self.binary)
            .args(["stats", "--json", "--config"])
            .arg(&self.config)
            .args(&self.set)
            .output()?;
        serde_json::from_slice(&output.stdout).map_err(|error| {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            io::Error::other(format!("ringfence stats: {error} {text}"))
        })
    }

    /// Sends SIGTERM and waits.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        self.program.terminate(Duration::from_secs(40))
    }
}
