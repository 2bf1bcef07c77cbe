//! The edge beside the floor and beside Kamailio: one generator, interleaved rounds, ratios.
//!
//! Everything under test runs on one core, the generator on the other. What counts is CPU time
//! per exchange: of turns that did work for the edge and the floor, of the worker process for
//! Kamailio (which sleeps when it has nothing to do).

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ringfence::shard::Io;

use crate::call::{CallThrough, Calls};
use crate::floor::Floor;
use crate::load::{self, Load};
use crate::process::{Edge, EdgeOptions, Program, Scratch};
use crate::register::{Auth, Options as OptionsScenario, Phones, Register};
use crate::report::{Report, steal_ticks};

/// What to compare.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The edge's binary.
    pub(crate) edge: PathBuf,
    /// Folder with an unpacked Kamailio; `None` = without it.
    pub(crate) kamailio: Option<PathBuf>,
    /// Folder of the peers' configuration files.
    pub(crate) peers: PathBuf,
    /// Rounds; an odd one runs in reverse order.
    pub(crate) rounds: usize,
    /// Seconds of each measurement.
    pub(crate) seconds: f64,
    /// Core of whatever is under test.
    pub(crate) core: usize,
    /// Core of the generator.
    pub(crate) generator_core: usize,
    /// First of ten ports.
    pub(crate) port: u16,
    /// The edge's and the floor's backend.
    pub(crate) io: String,
}

const USERS: u64 = 20_000;
const PEERS: u64 = 1000;
const WINDOW: usize = 256;
const DOMAIN: &str = "load.test";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// OPTIONS of 600 octets.
    Options,
    /// REGISTER with a valid nonce and the next count.
    Register,
    /// REGISTER challenged every time: two requests, two answers.
    Pair,
    /// INVITE to BYE: fourteen datagrams.
    Call,
    /// OPTIONS at a fixed rate, for latency.
    Paced(u32),
}

impl Work {
    const ALL: [Self; 6] = [
        Self::Options,
        Self::Register,
        Self::Pair,
        Self::Call,
        Self::Paced(2_000),
        Self::Paced(20_000),
    ];

    fn name(self) -> String {
        match self {
            Self::Options => "OPTIONS answered, 600 octets".into(),
            Self::Register => "REGISTER with digest".into(),
            Self::Pair => "REGISTER challenged pair".into(),
            Self::Call => "proxied call INVITE..BYE".into(),
            Self::Paced(rate) => format!("OPTIONS at {rate}/s"),
        }
    }

    /// Datagram pairs (one in, one out) that the floor is charged for one exchange.
    fn pairs(self) -> f64 {
        match self {
            Self::Options | Self::Register | Self::Paced(_) => 1.0,
            Self::Pair => 2.0,
            Self::Call => 7.0,
        }
    }

    /// Octets of the floor's datagrams: about the mean of what the work exchanges.
    fn floor_size(self) -> usize {
        match self {
            Self::Options | Self::Paced(_) => 600,
            Self::Register => 780,
            Self::Pair => 660,
            Self::Call => 700,
        }
    }

    fn kamailio_takes_part(self) -> bool {
        !matches!(self, Self::Paced(_))
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    /// CPU nanoseconds per exchange.
    cpu_ns: f64,
    /// Exchanges per second.
    rate: f64,
    p50_us: f64,
    p99_us: f64,
    failed: u64,
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Floor,
    Edge,
    Kamailio,
}

/// A row's samples, by contestant and round.
#[derive(Debug, Default)]
struct Row {
    floor: Vec<Sample>,
    edge: Vec<Sample>,
    kamailio: Vec<Sample>,
}

struct Bench<'a> {
    options: &'a Options,
    /// Gone with the comparison.
    _scratch: Scratch,
    floor: Floor,
    edge: Edge,
    kamailio: Option<Program>,
}

/// Runs the comparison; gives the table as Markdown.
pub(crate) fn run(options: &Options, mut progress: impl FnMut(&str)) -> io::Result<String> {
    let bench = Bench::start(options)?;
    // After the others were started: a process inherits the cores of the one that starts it.
    pin(options.generator_core)?;
    let mut rows: Vec<(Work, Row)> = Work::ALL.map(|work| (work, Row::default())).into();
    for round in 0..options.rounds {
        let steal = steal_ticks();
        for (work, row) in &mut rows {
            let mut order = [Who::Floor, Who::Edge, Who::Kamailio];
            if round % 2 == 1 {
                order.reverse();
            }
            for who in order {
                match who {
                    Who::Floor => row.floor.push(bench.measure_floor(*work)?),
                    Who::Edge => row.edge.push(bench.measure_edge(*work)?),
                    Who::Kamailio if bench.kamailio.is_some() && work.kamailio_takes_part() => {
                        row.kamailio.push(bench.measure_kamailio(*work)?);
                    }
                    Who::Kamailio => {}
                }
            }
        }
        progress(&format!(
            "round {}: {} ticks stolen",
            round + 1,
            steal_ticks() - steal
        ));
    }
    let hops = bench.hops_per_message()?;
    bench.edge.stop()?;
    Ok(table(options, &rows, hops))
}

fn pin(core: usize) -> io::Result<()> {
    if core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "cannot pin the generator to core {core}"
    )))
}

impl<'a> Bench<'a> {
    fn start(options: &'a Options) -> io::Result<Self> {
        let scratch = Scratch::new("compare")?;
        let folder = scratch.path();
        crate::cli::write_provision(folder, USERS, DOMAIN, "user", "Correct-horse-1")?;
        let edge = Edge::start(&EdgeOptions {
            binary: &options.edge,
            folder,
            tenants: &folder.join("tenants.toml"),
            port: options.port,
            cores: &[options.core],
            io: &options.io,
            // Each of the users registers far more often than a phone may.
            set: &["registrar.registers_per_aor_s=10000".to_owned()],
        })?;
        let io = if options.io == "mmsg" {
            Io::Mmsg
        } else {
            Io::Uring
        };
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, options.port + 1).into();
        let floor = Floor::start(address, options.core, io).map_err(io::Error::other)?;
        let kamailio = match &options.kamailio {
            Some(root) => Some(start_kamailio(options, root, folder)?),
            None => None,
        };
        Ok(Self {
            options,
            _scratch: scratch,
            floor,
            edge,
            kamailio,
        })
    }

    fn server(&self, offset: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.options.port + offset)
    }

    fn load(&self, work: Work) -> Load {
        let rate = match work {
            Work::Paced(rate) => f64::from(rate),
            Work::Options | Work::Register | Work::Pair | Work::Call => 0.0,
        };
        let window = if work == Work::Call {
            WINDOW / 4
        } else {
            WINDOW
        };
        Load {
            rate,
            window,
            seconds: self.options.seconds,
            warmup: 0.2,
            count: 0,
            timeout: 5.0,
        }
    }

    fn measure_floor(&self, work: Work) -> io::Result<Sample> {
        let mut scenario = OptionsScenario::new(self.server(1), PEERS, work.floor_size(), 0, 1)?;
        let load = Load {
            window: WINDOW,
            ..self.load(work)
        };
        let (report, busy) = timed(
            || Ok(self.floor.busy_ns()),
            || load::run(&mut scenario, load, "floor"),
        )?;
        Ok(sample(&report, busy, work.pairs()))
    }

    fn measure_edge(&self, work: Work) -> io::Result<Sample> {
        let busy = || {
            std::thread::sleep(Duration::from_millis(50));
            let stats = self.edge.stats()?;
            number(&stats, "reactor", "reactor_busy_nanoseconds_total")
        };
        self.measure(work, 0, busy)
    }

    fn measure_kamailio(&self, work: Work) -> io::Result<Sample> {
        let id = self.kamailio.as_ref().map_or(0, Program::id);
        self.measure(work, 2, || Ok(children_cpu_ns(id)))
    }

    /// Measures what listens at the port `offset` above the first.
    fn measure(
        &self,
        work: Work,
        offset: u16,
        busy: impl Fn() -> io::Result<u64>,
    ) -> io::Result<Sample> {
        let server = self.server(offset);
        let load = self.load(work);
        let called_port = self.options.port + 5 + offset;
        let phones = Phones {
            server,
            domain: DOMAIN.into(),
            realm: "ringfence".into(),
            user_prefix: "user".into(),
            users: USERS,
            password: "Correct-horse-1".into(),
            peers: PEERS,
            expires: 3600,
            contact_port: called_port,
        };
        let (report, busy) = match work {
            Work::Options | Work::Paced(_) => {
                let mut scenario = OptionsScenario::new(server, PEERS, 600, 0, 1)?;
                timed(busy, || load::run(&mut scenario, load, "options"))?
            }
            Work::Register | Work::Pair => {
                let mut scenario = Register::new(phones, Auth::Refresh, 0, 1)?;
                crate::cli::register_all(&mut scenario, USERS)?;
                if work == Work::Pair {
                    scenario.set_auth(Auth::Pair);
                }
                timed(busy, || load::run(&mut scenario, load, "register"))?
            }
            Work::Call => {
                let calls = Calls {
                    server,
                    domain: DOMAIN.into(),
                    called_prefix: "user".into(),
                    users: USERS,
                    peers: PEERS,
                };
                let mut scenario = CallThrough::new(calls, load.window, called_port, 1)?;
                timed(busy, || load::run(&mut scenario, load, "call"))?
            }
        };
        Ok(sample(&report, busy, 1.0))
    }

    /// Messages between shards per message received, over the whole run.
    fn hops_per_message(&self) -> io::Result<f64> {
        let stats = self.edge.stats()?;
        let hops = number(&stats, "counters", "shard_messages_sent_total")?;
        let received = number(&stats, "counters", "messages_received_total")?;
        Ok(hops as f64 / received.max(1) as f64)
    }
}

/// Runs `work` and gives by how much `busy` grew.
fn timed(
    busy: impl Fn() -> io::Result<u64>,
    work: impl FnOnce() -> io::Result<Report>,
) -> io::Result<(Report, u64)> {
    let before = busy()?;
    let report = work()?;
    Ok((report, busy()? - before))
}

/// `busy` covers warm-up and measurement; so does the number of exchanges it is divided by.
fn sample(report: &Report, busy: u64, pairs: f64) -> Sample {
    Sample {
        cpu_ns: busy as f64 * pairs / report.exchanges.max(1) as f64,
        rate: report.rate / pairs,
        p50_us: report.latency_us.p50,
        p99_us: report.latency_us.p99,
        failed: report.lost + report.refused.values().sum::<u64>(),
    }
}

fn number(stats: &serde_json::Value, group: &str, name: &str) -> io::Result<u64> {
    stats["total"][group][name]
        .as_u64()
        .ok_or_else(|| io::Error::other(format!("ringfence stats: no {group}.{name}")))
}

fn start_kamailio(options: &Options, root: &Path, folder: &Path) -> io::Result<Program> {
    let library = root.join("usr/lib/x86_64-linux-gnu/kamailio");
    let mut command = Command::new("taskset");
    command
        .args(["-c", &options.core.to_string()])
        .arg(root.join("usr/sbin/kamailio"));
    command.env("LD_LIBRARY_PATH", &library);
    command.arg("-f").arg(options.peers.join("kamailio.cfg"));
    command
        .arg("-A")
        .arg(format!("MPATH=\"{}/\"", library.join("modules").display()));
    command
        .arg("-A")
        .arg(format!("LISTEN=udp:127.0.0.1:{}", options.port + 2));
    command
        .args(["-m", "2048", "-M", "64", "-DD", "-E", "-Y"])
        .arg(folder);
    let program = Program::start(command, &folder.join("kamailio.log"))?;
    std::thread::sleep(Duration::from_secs(2));
    Ok(program)
}

/// CPU time of a process and its children, nanoseconds.
fn children_cpu_ns(id: u32) -> u64 {
    let own = fs::read_to_string(format!("/proc/{id}/schedstat")).unwrap_or_default();
    let own = own
        .split(' ')
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0u64);
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    let ids = children
        .split_whitespace()
        .filter_map(|text| text.parse().ok());
    own + ids.map(children_cpu_ns).sum::<u64>()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

/// Median and extremes of the ratio of two contestants, round by round.
fn ratio(above: &[Sample], below: &[Sample], of: impl Fn(&Sample) -> f64) -> String {
    let ratios: Vec<f64> = above
        .iter()
        .zip(below)
        .map(|(above, below)| of(above) / of(below))
        .collect();
    if ratios.is_empty() {
        return "-".into();
    }
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = ratios.iter().copied().fold(0.0, f64::max);
    format!("{:.2} ({least:.2}-{greatest:.2})", median(ratios))
}

fn table(options: &Options, rows: &[(Work, Row)], hops: f64) -> String {
    let mut text = String::new();
    let machine = machine();
    let _ = writeln!(text, "{machine}");
    let _ = writeln!(
        text,
        "{} rounds of {} s, {} backend, shard on core {}, generator on core {}, {PEERS} source \
         addresses, {USERS} users.\n",
        options.rounds, options.seconds, options.io, options.core, options.generator_core
    );
    let _ = writeln!(
        text,
        "| work | floor CPU-ns | edge CPU-ns | Kamailio CPU-ns | floor / edge | \
         edge / floor | Kamailio / edge | edge rate/s | failed |\n\
         |---|---|---|---|---|---|---|---|---|"
    );
    let cpu = |sample: &Sample| sample.cpu_ns;
    let mid = |samples: &[Sample], of: fn(&Sample) -> f64| {
        if samples.is_empty() {
            return "-".to_owned();
        }
        format!("{:.0}", median(samples.iter().map(of).collect()))
    };
    for (work, row) in rows
        .iter()
        .filter(|(work, _)| !matches!(work, Work::Paced(_)))
    {
        let failed: u64 = row.edge.iter().map(|sample| sample.failed).sum();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {failed} |",
            work.name(),
            mid(&row.floor, |sample| sample.cpu_ns),
            mid(&row.edge, |sample| sample.cpu_ns),
            mid(&row.kamailio, |sample| sample.cpu_ns),
            ratio(&row.floor, &row.edge, cpu),
            ratio(&row.edge, &row.floor, cpu),
            ratio(&row.kamailio, &row.edge, cpu),
            mid(&row.edge, |sample| sample.rate),
        );
    }
    let _ = writeln!(
        text,
        "\n| latency | floor p50 us | edge p50 us | edge / floor p50 | floor p99 us | \
         edge p99 us | edge / floor p99 |\n|---|---|---|---|---|---|---|"
    );
    for (work, row) in rows
        .iter()
        .filter(|(work, _)| matches!(work, Work::Paced(_)))
    {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            work.name(),
            mid(&row.floor, |sample| sample.p50_us),
            mid(&row.edge, |sample| sample.p50_us),
            ratio(&row.edge, &row.floor, |sample| sample.p50_us),
            mid(&row.floor, |sample| sample.p99_us),
            mid(&row.edge, |sample| sample.p99_us),
            ratio(&row.edge, &row.floor, |sample| sample.p99_us),
        );
    }
    let _ = writeln!(text, "\nHops per message (1 shard): {hops:.3}.");
    text
}

/// What the figures were measured on.
fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown CPU", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let count = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let hypervisor = if cpuinfo.contains(" hypervisor") {
        ", virtual machine"
    } else {
        ""
    };
    format!("{count} x {model}{hypervisor}, Linux {}", kernel.trim())
}
