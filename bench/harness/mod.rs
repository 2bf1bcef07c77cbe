//! Measuring in interleaved rounds: what every micro benchmark shares.
//!
//! Absolute figures of a small virtual machine move within minutes, so cases are measured in
//! turn, forward and backward (ABBA), and compared within a round. A round in which the
//! hypervisor took more than one per cent of the time is measured again.

#![allow(dead_code, reason = "each benchmark uses a part of it")]
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::fs;
use std::time::{Duration, Instant};

/// Rounds when `--rounds N` is not given.
const ROUNDS: usize = 12;

/// Processor time that one sample takes at least.
const SAMPLE: Duration = Duration::from_millis(10);

/// Rounds that may be measured again for stolen time, as a multiple of the rounds asked for.
const RETRIES: usize = 2;

/// One thing to measure; `run(n)` does it `n` times and says how long that took.
pub(crate) struct Case<'a> {
    /// What it is.
    pub(crate) name: &'a str,
    run: Box<dyn FnMut(u64) -> Duration + 'a>,
    /// How many of what figures are for are done at once.
    batch: usize,
}

impl<'a> Case<'a> {
    /// A case that does `once` as often as it is asked.
    pub(crate) fn new(name: &'a str, mut once: impl FnMut() + 'a) -> Self {
        Self {
            name,
            run: Box::new(move |count| {
                let start = thread_cpu();
                for _ in 0..count {
                    once();
                }
                thread_cpu() - start
            }),
            batch: 1,
        }
    }

    /// A case of which `once` does `batch` at once and says how long the part took that counts.
    pub(crate) fn timed(
        name: &'a str,
        batch: usize,
        mut once: impl FnMut() -> Duration + 'a,
    ) -> Self {
        Self {
            name,
            run: Box::new(move |count| (0..count).map(|_| once()).sum()),
            batch,
        }
    }
}

/// What a case came to.
pub(crate) struct Summary {
    /// The name of the case.
    pub(crate) name: String,
    /// Processor time of one run, in nanoseconds: median, lower and upper quartile of the rounds.
    pub(crate) nanoseconds: Quartiles,
    /// The same divided by that of the first case, round by round.
    pub(crate) ratio: Quartiles,
}

/// The middle of a set of figures.
#[derive(Clone, Copy)]
pub(crate) struct Quartiles {
    /// A quarter lies below.
    pub(crate) lower: f64,
    /// Half lies below.
    pub(crate) median: f64,
    /// Three quarters lie below.
    pub(crate) upper: f64,
}

impl Quartiles {
    /// The quartiles of `figures`, which are at least one.
    pub(crate) fn of(mut figures: Vec<f64>) -> Self {
        assert!(!figures.is_empty(), "no figures");
        figures.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let place = part * (figures.len() - 1) as f64;
            let (low, high) = (place.floor() as usize, place.ceil() as usize);
            figures[low] + (figures[high] - figures[low]) * place.fract()
        };
        Self {
            lower: at(0.25),
            median: at(0.5),
            upper: at(0.75),
        }
    }
}

/// Measures `cases` in interleaved rounds and prints a table; ratios are to the first case.
pub(crate) fn compare(title: &str, cases: &mut [Case<'_>]) -> Vec<Summary> {
    let rounds = rounds_wanted();
    let counts: Vec<u64> = cases.iter_mut().map(calibrate).collect();
    let mut samples: Vec<Vec<f64>> = vec![Vec::new(); cases.len()];
    let mut again = 0;
    let mut round = 0;
    while round < rounds {
        let before = Ticks::now();
        let mut times = vec![0.0; cases.len()];
        for step in 0..2 * cases.len() {
            let number = step.min(2 * cases.len() - 1 - step);
            times[number] += sample(&mut cases[number], counts[number]) / 2.0;
        }
        if before.stolen_since() > 0.01 && again < RETRIES * rounds {
            again += 1;
            continue;
        }
        for (all, time) in samples.iter_mut().zip(times) {
            all.push(time);
        }
        round += 1;
    }
    let summaries = summarise(cases, &samples);
    print(title, rounds, again, &summaries);
    summaries
}

/// Prints what the figures were taken on.
pub(crate) fn print_machine() {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("unknown");
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "machine: {} x{processors}, Linux {}, load {}, {} build",
        model.trim_start_matches([':', ' ', '\t']),
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").split(' ').next().unwrap_or("unknown"),
        if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        },
    );
}

/// `--rounds N` of the command line; everything else that cargo passes is ignored.
fn rounds_wanted() -> usize {
    let mut words = std::env::args()
        .skip_while(|word| word != "--rounds")
        .skip(1);
    words
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(ROUNDS)
        .max(1)
}

/// How often a case runs in one sample.
fn calibrate(case: &mut Case<'_>) -> u64 {
    let mut count = 1;
    loop {
        if (case.run)(count) >= SAMPLE {
            return count;
        }
        count *= 2;
    }
}

/// Processor time of one run in nanoseconds.
fn sample(case: &mut Case<'_>, count: u64) -> f64 {
    (case.run)(count).as_nanos() as f64 / (count as f64 * case.batch as f64)
}

/// Processor time of this thread; what other processes take does not count.
pub(crate) fn thread_cpu() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid, writable timespec for the length of the call.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "CLOCK_THREAD_CPUTIME_ID is there on every Linux");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The hypervisor's share of time, as /proc/stat counts it.
struct Ticks {
    stolen: u64,
    at: Instant,
}

impl Ticks {
    fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = stat.lines().next().unwrap_or_default();
        // cpu user nice system idle iowait irq softirq steal
        let stolen = line
            .split_whitespace()
            .nth(8)
            .and_then(|ticks| ticks.parse().ok());
        Self {
            stolen: stolen.unwrap_or(0),
            at: Instant::now(),
        }
    }

    /// The part of the time since then that was stolen, all processors together; a tick is 10 ms.
    fn stolen_since(&self) -> f64 {
        let stolen = Self::now().stolen.saturating_sub(self.stolen) as f64 * 0.01;
        let processors = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        stolen / (self.at.elapsed().as_secs_f64() * processors)
    }
}

fn summarise(cases: &[Case<'_>], samples: &[Vec<f64>]) -> Vec<Summary> {
    let one = |(case, all): (&Case<'_>, &Vec<f64>)| Summary {
        name: case.name.to_owned(),
        nanoseconds: Quartiles::of(all.clone()),
        ratio: Quartiles::of(
            all.iter()
                .zip(&samples[0])
                .map(|(own, first)| own / first)
                .collect(),
        ),
    };
    cases.iter().zip(samples).map(one).collect()
}

fn print(title: &str, rounds: usize, again: usize, summaries: &[Summary]) {
    println!("\n{title} ({rounds} rounds, {again} measured again for stolen time)");
    println!(
        "{:<44} {:>10} {:>21} {:>7} {:>15}",
        "", "ns", "quartiles", "ratio", "quartiles"
    );
    for Summary {
        name,
        nanoseconds: ns,
        ratio,
    } in summaries
    {
        println!(
            "{name:<44} {:>10.1} {:>10.1} {:>10.1} {:>7.2} {:>7.2} {:>7.2}",
            ns.median, ns.lower, ns.upper, ratio.median, ratio.lower, ratio.upper
        );
    }
}
