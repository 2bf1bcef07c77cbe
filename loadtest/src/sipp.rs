//! SIPp against an edge: every scenario pair of loadtest/sipp, with nothing unexpected allowed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{Edge, EdgeOptions, Program, Scratch};

/// Where the edge, the answering party, the caller and the trunk listen, from this port on.
#[derive(Clone, Copy, Debug)]
struct Ports {
    edge: u16,
    called: u16,
    caller: u16,
    trunk: u16,
}

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The edge's binary.
    pub(crate) edge: PathBuf,
    /// Folder of the scenario files.
    pub(crate) scenarios: PathBuf,
    /// Calls of each scenario.
    pub(crate) calls: u32,
    /// Calls per second.
    pub(crate) rate: u32,
    /// Numbers of shards to run with.
    pub(crate) shards: Vec<usize>,
    /// I/O backends to run with.
    pub(crate) io: Vec<String>,
    /// First of five ports on 127.0.0.1.
    pub(crate) port: u16,
    /// Only scenarios whose name contains this.
    pub(crate) only: String,
}

/// Who calls whom in a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A phone registers.
    Register,
    /// A phone calls a registered phone.
    ToEndpoint,
    /// A phone calls a number behind the trunk.
    ToTrunk,
    /// The trunk calls a number of a registered phone.
    FromTrunk,
}

const SCENARIOS: [(&str, Way, &str, &str); 9] = [
    ("register with digest", Way::Register, "register.xml", ""),
    ("call to an endpoint", Way::ToEndpoint, "uac.xml", "uas.xml"),
    ("call to the trunk", Way::ToTrunk, "uac.xml", "uas.xml"),
    ("call from the trunk", Way::FromTrunk, "uac.xml", "uas.xml"),
    (
        "cancelled",
        Way::ToEndpoint,
        "uac-cancel.xml",
        "uas-cancel.xml",
    ),
    ("busy", Way::ToEndpoint, "uac-busy.xml", "uas-busy.xml"),
    (
        "no answer",
        Way::ToEndpoint,
        "uac-no-answer.xml",
        "uas-no-answer.xml",
    ),
    (
        "re-INVITE",
        Way::ToEndpoint,
        "uac-reinvite.xml",
        "uas-reinvite.xml",
    ),
    (
        "hung up by the callee",
        Way::ToEndpoint,
        "uac-bye-by-callee.xml",
        "uas-bye.xml",
    ),
];

/// One line of the result.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Scenario, shards and backend.
    pub(crate) name: String,
    /// `None` = all calls as they should be.
    pub(crate) failure: Option<String>,
}

/// Runs every scenario with every number of shards and backend; `each` sees each outcome.
pub(crate) fn run(options: &Options, mut each: impl FnMut(&Outcome)) -> io::Result<bool> {
    let mut passed = true;
    for shards in &options.shards {
        for backend in &options.io {
            let scratch = Scratch::new(&format!("sipp-{shards}-{backend}"))?;
            let bench = Bench::start(options, scratch.path(), *shards, backend)?;
            for (name, way, caller, called) in SCENARIOS {
                if !name.contains(&options.only) {
                    continue;
                }
                let failure = bench.scenario(way, caller, called)?;
                passed &= failure.is_none();
                let name = format!("{name}, {shards} shards, {backend}");
                each(&Outcome { name, failure });
            }
            bench.edge.stop()?;
        }
    }
    Ok(passed)
}

struct Bench<'a> {
    options: &'a Options,
    folder: &'a Path,
    ports: Ports,
    edge: Edge,
}

impl<'a> Bench<'a> {
    fn start(
        options: &'a Options,
        folder: &'a Path,
        shards: usize,
        backend: &str,
    ) -> io::Result<Self> {
        let port = options.port;
        let ports = Ports {
            edge: port,
            called: port + 1,
            caller: port + 2,
            trunk: port + 4,
        };
        write_tenants(folder, options.calls, ports.trunk)?;
        let cores: Vec<usize> = (0..shards).collect();
        let edge = Edge::start(&EdgeOptions {
            binary: &options.edge,
            folder,
            tenants: &folder.join("tenants.toml"),
            port: ports.edge,
            cores: &cores,
            io: backend,
            // SIPp shares the cores of the shards here, so that spinning would only slow it down.
            set: &["shards.spin_us_max=0".to_owned()],
        })?;
        Ok(Self {
            options,
            folder,
            ports,
            edge,
        })
    }

    fn scenario(&self, way: Way, caller: &str, called: &str) -> io::Result<Option<String>> {
        if way == Way::Register {
            let contact = format!("127.0.0.1:{}", self.ports.called);
            return self.register("users.csv", self.options.calls, &contact);
        }
        let called_port = if way == Way::ToTrunk {
            self.ports.trunk
        } else {
            self.ports.called
        };
        if way != Way::ToTrunk {
            let contact = format!("127.0.0.1:{called_port}");
            if let Some(failure) = self.register("called.csv", 1, &contact)? {
                return Ok(Some(format!("registering the called user: {failure}")));
            }
        }
        let answering = self.sipp("called", called, called_port, self.options.calls);
        let answering_log = self.folder.join("called.out");
        let mut answering = Program::start(answering, &answering_log)?;
        std::thread::sleep(Duration::from_millis(300));
        let (number, port) = match way {
            Way::ToTrunk => ("+15551234", self.ports.caller),
            Way::FromTrunk => ("+15550100", self.ports.trunk),
            Way::ToEndpoint | Way::Register => ("called", self.ports.caller),
        };
        let mut calling = self.sipp("caller", caller, port, self.options.calls);
        calling.args([
            "-s",
            number,
            "-key",
            "domain",
            "sipp.test",
            "-key",
            "caller",
            "caller",
        ]);
        calling.args(["-r", &self.options.rate.to_string(), "-l", "2000"]);
        calling.arg(format!("127.0.0.1:{}", self.ports.edge));
        let mut calling = Program::start(calling, &self.folder.join("caller.out"))?;
        let limit = self.limit();
        let code = calling.wait(limit)?;
        let failure = self.judge("caller", code);
        if failure.is_some() {
            return Ok(failure);
        }
        let code = answering.wait(Duration::from_secs(45))?;
        Ok(self.judge("called", code))
    }

    fn register(&self, users: &str, count: u32, contact: &str) -> io::Result<Option<String>> {
        let mut command = self.sipp("register", "register.xml", self.ports.caller, count);
        command.args(["-s", "sipp.test", "-key", "contact", contact]);
        command.args(["-r", &self.options.rate.to_string(), "-l", "2000"]);
        command.arg("-inf").arg(self.folder.join(users));
        command.arg(format!("127.0.0.1:{}", self.ports.edge));
        let mut program = Program::start(command, &self.folder.join("register.out"))?;
        let code = program.wait(self.limit())?;
        Ok(self.judge("register", code))
    }

    /// Twice the time the calls take at the rate asked for, and a minute.
    fn limit(&self) -> Duration {
        Duration::from_secs(60 + u64::from(2 * self.options.calls / self.options.rate.max(1)))
    }

    fn sipp(&self, role: &str, scenario: &str, port: u16, calls: u32) -> Command {
        let mut command = Command::new("sipp");
        command.current_dir(self.folder);
        let errors = self.folder.join(format!("{role}.errors"));
        let _ = fs::remove_file(&errors);
        command
            .arg("-sf")
            .arg(self.options.scenarios.join(scenario));
        command.args([
            "-i",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-m",
            &calls.to_string(),
        ]);
        command
            .args(["-nostdin", "-trace_err", "-error_file"])
            .arg(errors);
        command
    }

    /// What went wrong: the exit code, or anything SIPp noted as an error.
    fn judge(&self, role: &str, code: Option<i32>) -> Option<String> {
        let errors = fs::read_to_string(self.folder.join(format!("{role}.errors")));
        let errors = errors.unwrap_or_default();
        let first: String = errors.lines().take(12).collect::<Vec<_>>().join(" | ");
        match code {
            Some(0) if errors.is_empty() => None,
            Some(code) => Some(format!("{role}: SIPp exit code {code}: {first}")),
            None => Some(format!("{role}: SIPp did not end in time: {first}")),
        }
    }
}

/// A line of SIPp's input: the user name, and the keyword that SIPp replaces by credentials.
fn sipp_user(name: &str) -> String {
    format!("{name};[authentication username={name} password=Correct-horse-1]\n")
}

fn write_tenants(folder: &Path, users: u32, trunk_port: u16) -> io::Result<()> {
    let mut provision = String::from("called,Correct-horse-1\n");
    let mut sipp = String::from("SEQUENTIAL\n");
    for user in 0..users {
        provision.push_str(&format!("user{user:06},Correct-horse-1\n"));
        sipp.push_str(&sipp_user(&format!("user{user:06}")));
    }
    fs::write(folder.join("provision.csv"), provision)?;
    fs::write(folder.join("users.csv"), sipp)?;
    let called = format!("SEQUENTIAL\n{}", sipp_user("called"));
    fs::write(folder.join("called.csv"), called)?;
    let tenants = format!(
        r#"[[account]]
name = "sipp"
  [[account.credential_list]]
  name = "phones"
  users_file = "provision.csv"
  [[account.ip_acl]]
  name = "loopback"
  entries = ["127.0.0.0/8"]
  [[account.domain]]
  name = "sipp.test"
  calls = {{ credential_lists = [], ip_acls = ["loopback"] }}
  registrations = {{ credential_lists = ["phones"] }}
  [[account.route]]
  domain = "sipp.test"
  prefix = "+"
  trunk = "carrier"
  [[account.route]]
  from_trunk = "carrier"
  number = "+15550100"
  aor = "called@sipp.test"
[[trunk]]
name = "carrier"
targets = [{{ uri = "sip:127.0.0.1:{trunk_port}", priority = 1, weight = 1 }}]
sources = ["127.0.0.1:{trunk_port}"]
"#
    );
    fs::write(folder.join("tenants.toml"), tenants)
}
