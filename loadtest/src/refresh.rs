//! Phones that are registered and refresh at half of what the edge can take: none may be lost.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use crate::cli;
use crate::load::{self, Load};
use crate::process::{Edge, EdgeOptions, Scratch};
use crate::register::{Auth, Phones, Register};
use crate::report::Report;

/// Seconds in which the capacity is measured.
const CAPACITY_SECONDS: f64 = 3.0;

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The edge's binary.
    pub(crate) edge: PathBuf,
    /// Phones.
    pub(crate) users: u64,
    /// Source addresses they are spread over.
    pub(crate) peers: u64,
    /// Seconds of refreshes.
    pub(crate) seconds: f64,
    /// Number of shards.
    pub(crate) shards: usize,
    /// I/O backend.
    pub(crate) io: String,
    /// Port on 127.0.0.1.
    pub(crate) port: u16,
}

/// Registers every phone, measures the capacity with a window of requests, then refreshes at half
/// of it; the reports of both.
pub(crate) fn run(options: &Options) -> io::Result<[Report; 2]> {
    let scratch = Scratch::new("refresh")?;
    let phones = Phones {
        server: SocketAddrV4::new(Ipv4Addr::LOCALHOST, options.port),
        domain: "load.test".into(),
        realm: "ringfence".into(),
        user_prefix: "user".into(),
        users: options.users,
        password: "Correct-horse-1".into(),
        peers: options.peers,
        expires: 3600,
        contact_port: 0,
    };
    let Phones {
        domain,
        user_prefix,
        password,
        ..
    } = &phones;
    cli::write_provision(scratch.path(), options.users, domain, user_prefix, password)?;
    let cores: Vec<usize> = (0..options.shards).collect();
    let edge = Edge::start(&EdgeOptions {
        binary: &options.edge,
        folder: scratch.path(),
        tenants: &scratch.path().join("tenants.toml"),
        port: options.port,
        cores: &cores,
        io: &options.io,
        set: &[],
    })?;
    let mut scenario = Register::new(phones, Auth::Refresh, 0, 1)?;
    cli::register_all(&mut scenario, options.users)?;
    let mut load = Load {
        rate: 0.0,
        window: 512,
        seconds: CAPACITY_SECONDS,
        warmup: 1.0,
        count: 0,
        timeout: 32.0,
    };
    let capacity = load::run(&mut scenario, load, "refresh, all that is possible")?;
    load.rate = capacity.rate / 2.0;
    load.seconds = options.seconds;
    load.window = 16_384;
    let half = load::run(&mut scenario, load, "refresh, half of it")?;
    edge.stop()?;
    Ok([capacity, half])
}
