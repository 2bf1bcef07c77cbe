//! The command line.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what it is for"
)]

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::call::{CallThrough, Calls};
use crate::compare;
use crate::load::{self, Load};
use crate::mixed::Mixed;
use crate::refresh;
use crate::register::{Auth, Options, Phones, Register};
use crate::report::Report;
use crate::sipp;

#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// OPTIONS to the edge itself.
    Options {
        #[command(flatten)]
        common: Common,
        /// Octets of each request.
        #[arg(long, default_value_t = 600)]
        size: usize,
    },
    /// Phones that register and refresh.
    Register {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        phones: PhoneArgs,
        /// refresh: valid nonce and the next count; pair: challenged every time; none: never.
        #[arg(long, value_enum, default_value = "refresh")]
        auth: AuthArg,
    },
    /// Calls to registered users (registered first), or to a number behind a trunk.
    Call {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        phones: PhoneArgs,
        /// Call this number instead of registered users; the answering party is the trunk.
        #[arg(long)]
        number: Option<String>,
        /// Port of the answering party.
        #[arg(long, default_value_t = 5090)]
        called_port: u16,
    },
    /// Six registrations, three OPTIONS and one call of ten exchanges.
    Mixed {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        phones: PhoneArgs,
        /// Port of the phones.
        #[arg(long, default_value_t = 5090)]
        called_port: u16,
    },
    /// Every SIPp scenario pair of loadtest/sipp against an edge; nothing unexpected is allowed.
    Sipp {
        /// The edge's binary.
        #[arg(long, default_value = "target/release/ringfence")]
        edge: PathBuf,
        /// Folder of the scenario files.
        #[arg(long, default_value = "loadtest/sipp")]
        scenarios: PathBuf,
        /// Calls of each scenario.
        #[arg(long, default_value_t = 10_000)]
        calls: u32,
        /// Calls per second.
        #[arg(long, default_value_t = 500)]
        rate: u32,
        /// Numbers of shards.
        #[arg(long, value_delimiter = ',', default_value = "1,2")]
        shards: Vec<usize>,
        /// I/O backends.
        #[arg(long, value_delimiter = ',', default_value = "uring,mmsg")]
        io: Vec<String>,
        /// First of five ports on 127.0.0.1.
        #[arg(long, default_value_t = 15_060)]
        port: u16,
        /// Only scenarios whose name contains this.
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Phones that refresh at half of what an edge can take; none may be lost.
    Refresh {
        /// The edge's binary.
        #[arg(long, default_value = "target/release/ringfence")]
        edge: PathBuf,
        /// Phones, registered with digest.
        #[arg(long, default_value_t = 20_000)]
        users: u64,
        /// Source addresses they are spread over.
        #[arg(long, default_value_t = 1)]
        peers: u64,
        /// Seconds of refreshes.
        #[arg(long, default_value_t = 60.0)]
        seconds: f64,
        /// Number of shards.
        #[arg(long, default_value_t = 1)]
        shards: usize,
        /// I/O backend.
        #[arg(long, default_value = "uring")]
        io: String,
        /// Port on 127.0.0.1.
        #[arg(long, default_value_t = 15_090)]
        port: u16,
    },
    /// The edge beside the floor and Kamailio, in interleaved rounds; prints a table.
    Compare {
        /// The edge's binary.
        #[arg(long, default_value = "target/release/ringfence")]
        edge: PathBuf,
        /// Folder with an unpacked Kamailio (`make deps-peers`).
        #[arg(long)]
        kamailio: Option<PathBuf>,
        /// Folder of the peers' configuration files.
        #[arg(long, default_value = "loadtest/peers")]
        peers: PathBuf,
        /// Rounds.
        #[arg(long, default_value_t = 8)]
        rounds: usize,
        /// Seconds of each measurement.
        #[arg(long, default_value_t = 1.0)]
        seconds: f64,
        /// Core of what is under test.
        #[arg(long, default_value_t = 0)]
        core: usize,
        /// Core of the generator.
        #[arg(long, default_value_t = 1)]
        generator_core: usize,
        /// First of ten ports on 127.0.0.1.
        #[arg(long, default_value_t = 15_100)]
        port: u16,
        /// Backend of edge and floor.
        #[arg(long, default_value = "uring")]
        io: String,
    },
    /// Writes users.csv and tenants.toml for the other commands into a folder.
    Provision {
        /// The folder.
        folder: PathBuf,
        #[command(flatten)]
        phones: PhoneArgs,
    },
}

#[derive(Clone, Debug, Args)]
struct Common {
    /// The edge, an address in 127.0.0.0/8.
    #[arg(long, default_value = "127.0.0.1:5060")]
    server: SocketAddrV4,
    /// Exchanges per second; 0 = as many as the window allows.
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Exchanges in progress at most.
    #[arg(long, default_value_t = 512)]
    window: usize,
    /// Seconds measured.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Seconds before that.
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    /// End after so many exchanges; 0 = by time alone.
    #[arg(long, default_value_t = 0)]
    count: u64,
    /// Seconds after which an exchange is lost (64*T1).
    #[arg(long, default_value_t = 32.0)]
    timeout: f64,
    /// Source addresses.
    #[arg(long, default_value_t = 1000)]
    peers: u64,
    /// Equal-sized datagrams of one source sent as one run (UDP_SEGMENT); 1 = off.
    #[arg(long, default_value_t = 1)]
    burst: usize,
    /// Pin the generator to this core.
    #[arg(long)]
    core: Option<usize>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, Args)]
struct PhoneArgs {
    /// Number of users.
    #[arg(long, default_value_t = 1000)]
    users: u64,
    /// Domain of the users.
    #[arg(long, default_value = "load.test")]
    domain: String,
    /// Digest realm.
    #[arg(long, default_value = "ringfence")]
    realm: String,
    /// User names are this and six digits.
    #[arg(long, default_value = "user")]
    user_prefix: String,
    /// Password of every user.
    #[arg(long, default_value = "Correct-horse-1")]
    password: String,
    /// Registration time asked for, seconds.
    #[arg(long, default_value_t = 3600)]
    expires: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AuthArg {
    Refresh,
    Pair,
    None,
}

impl Common {
    fn load(&self) -> Load {
        Load {
            rate: self.rate,
            window: self.window,
            seconds: self.seconds,
            warmup: self.warmup,
            count: self.count,
            timeout: self.timeout,
        }
    }
}

impl PhoneArgs {
    fn phones(&self, common: &Common) -> Phones {
        Phones {
            server: common.server,
            domain: self.domain.clone(),
            realm: self.realm.clone(),
            user_prefix: self.user_prefix.clone(),
            users: self.users,
            password: self.password.clone(),
            peers: common.peers,
            expires: self.expires,
            contact_port: 0,
        }
    }

    fn calls(&self, common: &Common) -> Calls {
        Calls {
            server: common.server,
            domain: self.domain.clone(),
            called_prefix: self.user_prefix.clone(),
            users: self.users,
            peers: common.peers,
        }
    }
}

/// Runs the command line; 0 when every exchange completed.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Options { common, size } => check(common).and_then(|()| {
            let Common {
                server,
                peers,
                burst,
                ..
            } = *common;
            let mut scenario = Options::new(server, peers, *size, 0, burst)?;
            load::run(&mut scenario, common.load(), "options").map(|report| (report, common.json))
        }),
        Command::Register {
            common,
            phones,
            auth,
        } => register(common, phones, *auth).map(|report| (report, common.json)),
        Command::Call {
            common,
            phones,
            number,
            called_port,
        } => call(common, phones, number.as_deref(), *called_port)
            .map(|report| (report, common.json)),
        Command::Mixed {
            common,
            phones,
            called_port,
        } => mixed(common, phones, *called_port).map(|report| (report, common.json)),
        Command::Compare {
            edge,
            kamailio,
            peers,
            rounds,
            seconds,
            core,
            generator_core,
            port,
            io,
        } => {
            return compare(&compare::Options {
                edge: edge.clone(),
                kamailio: kamailio.clone(),
                peers: peers.clone(),
                rounds: *rounds,
                seconds: *seconds,
                core: *core,
                generator_core: *generator_core,
                port: *port,
                io: io.clone(),
            });
        }
        Command::Sipp {
            edge,
            scenarios,
            calls,
            rate,
            shards,
            io,
            port,
            only,
        } => {
            return sipp(&sipp::Options {
                edge: edge.clone(),
                scenarios: scenarios.clone(),
                calls: *calls,
                rate: *rate,
                shards: shards.clone(),
                io: io.clone(),
                port: *port,
                only: only.clone(),
            });
        }
        Command::Refresh {
            edge,
            users,
            peers,
            seconds,
            shards,
            io,
            port,
        } => {
            return refresh(&refresh::Options {
                edge: edge.clone(),
                users: *users,
                peers: *peers,
                seconds: *seconds,
                shards: *shards,
                io: io.clone(),
                port: *port,
            });
        }
        Command::Provision { folder, phones } => {
            return match provision(folder, phones) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("ringfence-loadtest: {}: {error}", folder.display());
                    ExitCode::FAILURE
                }
            };
        }
    };
    match result {
        Ok((report, json)) => {
            print(&report, json);
            let failed = report.lost + report.refused.values().sum::<u64>();
            if failed == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("ringfence-loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &compare::Options) -> ExitCode {
    match compare::run(options, |line| eprintln!("{line}")) {
        Ok(table) => {
            println!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ringfence-loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn sipp(options: &sipp::Options) -> ExitCode {
    let options = match absolute(options) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("ringfence-loadtest: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = sipp::run(&options, |outcome| match &outcome.failure {
        None => println!("passed: {}: {} calls", outcome.name, options.calls),
        Some(failure) => println!("FAILED: {}: {failure}", outcome.name),
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ringfence-loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn refresh(options: &refresh::Options) -> ExitCode {
    match refresh::run(options) {
        Ok(reports) => {
            reports.iter().for_each(|report| print(report, false));
            let failed = |it: &Report| it.lost + it.refused.values().sum::<u64>();
            if reports.iter().map(failed).sum::<u64>() == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("ringfence-loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}

/// SIPp runs in a folder of its own, so that paths must not depend on the current one.
fn absolute(options: &sipp::Options) -> io::Result<sipp::Options> {
    let find = |path: &Path| {
        path.canonicalize()
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    };
    Ok(sipp::Options {
        edge: find(&options.edge)?,
        scenarios: find(&options.scenarios)?,
        ..options.clone()
    })
}

/// Refuses to send anywhere but to this machine, and pins the generator.
fn check(common: &Common) -> io::Result<()> {
    if !common.server.ip().is_loopback() {
        let text = format!("--server {}: only addresses in 127.0.0.0/8", common.server);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    if let Some(id) = common.core
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        let text = format!("--core {id}: cannot pin to this core");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(())
}

/// Registers every user once, so that what is measured afterwards are refreshes.
pub(crate) fn register_all(scenario: &mut Register, users: u64) -> io::Result<()> {
    let load = Load {
        rate: 0.0,
        window: 64,
        seconds: 600.0,
        warmup: 0.0,
        count: users,
        timeout: 32.0,
    };
    let report = load::run(scenario, load, "first registration")?;
    if report.completed == users {
        return Ok(());
    }
    let text = format!(
        "first registration: {} of {users} users registered, {} lost, refused {:?}",
        report.completed, report.lost, report.refused
    );
    Err(io::Error::other(text))
}

fn register(common: &Common, args: &PhoneArgs, auth: AuthArg) -> io::Result<Report> {
    check(common)?;
    let first = match auth {
        AuthArg::None => Auth::None,
        AuthArg::Refresh | AuthArg::Pair => Auth::Refresh,
    };
    let mut scenario = Register::new(args.phones(common), first, 0, common.burst)?;
    register_all(&mut scenario, args.users)?;
    if matches!(auth, AuthArg::Pair) {
        scenario.set_auth(Auth::Pair);
    }
    load::run(&mut scenario, common.load(), "register")
}

fn call(
    common: &Common,
    args: &PhoneArgs,
    number: Option<&str>,
    called_port: u16,
) -> io::Result<Report> {
    check(common)?;
    let mut calls = args.calls(common);
    if let Some(number) = number {
        number.clone_into(&mut calls.called_prefix);
        calls.users = 0;
    } else {
        let mut phones = Register::new(
            args.phones(common),
            Auth::Refresh,
            called_port,
            common.burst,
        )?;
        register_all(&mut phones, args.users)?;
    }
    let mut scenario = CallThrough::new(calls, common.window, called_port, common.burst)?;
    load::run(&mut scenario, common.load(), "call")
}

fn mixed(common: &Common, args: &PhoneArgs, called_port: u16) -> io::Result<Report> {
    check(common)?;
    let mut first = Register::new(
        args.phones(common),
        Auth::Refresh,
        called_port,
        common.burst,
    )?;
    register_all(&mut first, args.users)?;
    drop(first);
    let phones = Phones {
        contact_port: called_port,
        ..args.phones(common)
    };
    let mut scenario = Mixed {
        // The answering party has the phones' port now; their refreshes come from another one.
        register: Register::new(phones, Auth::Refresh, 0, common.burst)?,
        options: Options::new(common.server, common.peers, 600, 0, common.burst)?,
        call: CallThrough::new(args.calls(common), common.window, called_port, common.burst)?,
    };
    load::run(&mut scenario, common.load(), "mixed")
}

fn provision(folder: &Path, args: &PhoneArgs) -> io::Result<()> {
    write_provision(
        folder,
        args.users,
        &args.domain,
        &args.user_prefix,
        &args.password,
    )
}

/// Writes users.csv and tenants.toml.
pub(crate) fn write_provision(
    folder: &Path,
    count: u64,
    domain: &str,
    prefix: &str,
    password: &str,
) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut users = io::BufWriter::new(fs::File::create(folder.join("users.csv"))?);
    for user in 0..count {
        writeln!(users, "{prefix}{user:06},{password}")?;
    }
    users.flush()?;
    let tenants = format!(
        r#"[[account]]
name = "load"
  [[account.credential_list]]
  name = "phones"
  users_file = "users.csv"
  [[account.ip_acl]]
  name = "loopback"
  entries = ["127.0.0.0/8"]
  [[account.domain]]
  name = "{domain}"
  calls = {{ credential_lists = [], ip_acls = ["loopback"] }}
  registrations = {{ credential_lists = ["phones"] }}
  [[account.route]]
  domain = "{domain}"
  prefix = "+"
  trunk = "carrier"
  [[account.route]]
  from_trunk = "carrier"
  number = "+15550100"
  aor = "{prefix}000000@{domain}"
[[trunk]]
name = "carrier"
targets = [{{ uri = "sip:127.0.0.1:5090", priority = 1, weight = 1 }}]
sources = ["127.0.0.1:5090"]
"#
    );
    fs::write(folder.join("tenants.toml"), tenants)
}

fn print(report: &Report, json: bool) {
    if json {
        match serde_json::to_string(report) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("ringfence-loadtest: {error}"),
        }
        return;
    }
    println!(
        "{}: {} started, {} completed ({:.0}/s over {:.1} s), {} lost, refused {:?}",
        report.scenario,
        report.started,
        report.completed,
        report.rate,
        report.seconds,
        report.lost,
        report.refused
    );
    println!(
        "  {} retransmissions, {} challenges, {} datagrams out, {} in, {} dropped by the kernel",
        report.retransmissions,
        report.challenged,
        report.datagrams_sent,
        report.datagrams_received,
        report.kernel_drops
    );
    for (name, latency) in [("latency", report.latency_us), ("lag", report.lag_us)] {
        println!(
            "  {name} us: p50 {:.0}, p99 {:.0}, p99.9 {:.0}, max {:.0}",
            latency.p50, latency.p99, latency.p999, latency.max
        );
    }
}
