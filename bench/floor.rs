//! The floor that everything else is compared with: a reactor whose core only echoes, or only
//! relays, over both backends, in interleaved rounds.
//!
//! `cargo bench --bench floor -- [--rounds 8] [--ms 700] [--bytes 600] [--flows 4] [--window 1000]`

#![allow(clippy::print_stdout, reason = "a bench prints what it measured")]

mod measure;

use std::time::Duration;

use ringfence::shard::{Io, StartError};

use self::measure::{Floor, Load, Machine, Outcome, Spread, Steal, Template};

/// One row of the table.
struct Row {
    name: &'static str,
    io: Io,
    is_relay: bool,
    outcomes: Vec<Outcome>,
}

impl Row {
    const fn new(name: &'static str, io: Io, is_relay: bool) -> Self {
        Self {
            name,
            io,
            is_relay,
            outcomes: Vec::new(),
        }
    }

    fn run(&self, load: &Load, bytes: usize) -> Result<Outcome, StartError> {
        let template = Template::plain(bytes);
        match self.is_relay {
            false => measure::run(self.io, load, template, |_, _, _| Floor::echo()),
            true => measure::run(self.io, load, template, |_, _, far| Floor::relay(far)),
        }
    }

    fn spread(&self, value: impl Fn(&Outcome) -> f64) -> Spread {
        Spread::of(self.outcomes.iter().map(value))
    }
}

/// The value of `--name`, or `default`.
fn argument(name: &str, default: u32) -> u32 {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments
        .nth(1)
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

fn main() -> Result<(), StartError> {
    // `cargo test --benches` only wants to see it run; `cargo bench` says that it measures.
    let measures = std::env::args().any(|argument| argument == "--bench");
    let (rounds, measured_ms) = if measures { (8, 700) } else { (1, 50) };
    let rounds = argument("--rounds", rounds);
    let bytes = argument("--bytes", 600) as usize;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let load = Load {
        flows: argument("--flows", 4).clamp(1, 32) as u8,
        window: argument("--window", 1_000),
        measured: Duration::from_millis(u64::from(argument("--ms", measured_ms))),
        warm_up: Duration::from_millis(200),
        cores: if processors > 1 {
            vec![0, 1]
        } else {
            Vec::new()
        },
    };
    let mut rows = [
        Row::new("echo  uring", Io::Uring, false),
        Row::new("echo  mmsg", Io::Mmsg, false),
        Row::new("relay uring", Io::Uring, true),
        Row::new("relay mmsg", Io::Mmsg, true),
    ];
    println!("{}", Machine::now().text);
    println!(
        "{bytes} octets, {} flows, window {}, {rounds} rounds",
        load.flows, load.window
    );
    for round in 0..rounds {
        let steal = Steal::now();
        let count = rows.len();
        for index in 0..count {
            // There and back again, so that a drift of the machine favours nobody.
            let index = if round % 2 == 0 {
                index
            } else {
                count - 1 - index
            };
            let outcome = rows[index].run(&load, bytes)?;
            rows[index].outcomes.push(outcome);
        }
        println!(
            "round {round}: steal {:.1} %",
            Steal::now().percent_since(steal)
        );
    }
    println!(
        "CPU-ns of turns that did work, per message (one in, one out); median (least to greatest)"
    );
    for row in &rows {
        println!(
            "{:<12} {:>28.0} ns {:>34.0} messages/s, {:.1} per turn",
            row.name,
            row.spread(|outcome| outcome.cpu_ns),
            row.spread(|outcome| outcome.rate),
            row.spread(|outcome| outcome.batch).median,
        );
    }
    for pair in rows.chunks(2) {
        let ratios = pair[0].outcomes.iter().zip(&pair[1].outcomes);
        let ratio = Spread::of(ratios.map(|(uring, mmsg)| mmsg.cpu_ns / uring.cpu_ns));
        println!("{}: CPU of mmsg over uring {ratio:.2}", &pair[0].name[..5]);
    }
    Ok(())
}
