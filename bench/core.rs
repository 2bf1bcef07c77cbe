//! What the core costs without I/O: OPTIONS, REGISTER and whole calls through one `Edge`, against
//! the floor of scanning what comes in and copying what goes out.
//!
//! `cargo bench --bench core -- [--rounds 12] [--phones 16384]` measures processor time;
//! `-- --bindings 1000000` counts the octets of bindings and of finished transactions instead;
//! `-- --count KIND [--exchanges 10240]` runs KIND so often and no more, for a profiler: `valgrind
//! --tool=callgrind --collect-atstart=no --toggle-collect='*World*watched*' BENCH --count call`.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::cell::RefCell;
use std::hint::black_box;
use std::time::Duration;

use ringfence::limits::Capacity;
use ringfence::wire::Index;

#[path = "edge/mod.rs"]
mod edge;
#[path = "harness/mod.rs"]
mod harness;

use edge::calls::{self, Callee, Calls};
use edge::phones::{self, Phones};
use edge::{BATCH, Recording, Watch, World};
use harness::{Case, compare, print_machine, thread_cpu};

/// Phones that take turns when `--phones N` is not given: more than the second-level cache of a
/// processor holds the bindings of.
const PHONES: u32 = 16_384;

/// Core time between messages: 50 000 in a second. A phone comes three times in a second, a call
/// of seven messages begins 7 143 times; what is finished stays for 32 s.
const MESSAGE_NS: u64 = 20_000;

/// Messages before anything is measured, so that finished transactions end as often as new ones
/// come.
const WARM_UP_S: u64 = 33;

/// Octets that DESIGN §5 allows for a binding and for a finished transaction.
const BINDING_BYTES_GOAL: f64 = 350.0;
const FINISHED_BYTES_GOAL: f64 = 128.0;

/// Processor time of the core.
#[derive(Debug, Default)]
struct Clock {
    began: Duration,
    spent: Duration,
}

impl Watch for Clock {
    fn begin(&mut self) {
        self.began = thread_cpu();
    }

    fn end(&mut self) {
        self.spent += thread_cpu() - self.began;
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Options,
    Refresh,
    Challenged,
    CallToPhone,
    CallToNumber,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Options,
        Self::Refresh,
        Self::Challenged,
        Self::CallToPhone,
        Self::CallToNumber,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Options => "options",
            Self::Refresh => "register",
            Self::Challenged => "challenged",
            Self::CallToPhone => "call",
            Self::CallToNumber => "trunk",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Options => "OPTIONS to the edge, answered",
            Self::Refresh => "REGISTER with digest: valid nonce, fresh nc, refresh",
            Self::Challenged => "REGISTER challenged, then with digest",
            Self::CallToPhone => "call to a registered phone: INVITE 100 180 200 ACK BYE 200",
            Self::CallToNumber => "call to a trunk with limits: INVITE 100 180 200 ACK BYE 200",
        }
    }

    /// Messages that come in for one exchange.
    const fn messages(self) -> usize {
        match self {
            Self::Options | Self::Refresh => 1,
            Self::Challenged => 2,
            Self::CallToPhone | Self::CallToNumber => calls::MESSAGES,
        }
    }
}

/// A core with registered phones.
struct Scene {
    world: World<Clock>,
    phones: Phones,
    calls: [Calls; 2],
}

impl Scene {
    fn new(count: u32) -> Self {
        let capacity = Capacity {
            absorbers: 1 << 20,
            ..Capacity::default()
        };
        let settings = edge::settings(1, capacity);
        let mut world = World::new(settings, phones::tables(count), Clock::default());
        // A phone comes at most five times in a second, however few there are.
        world.message_ns = MESSAGE_NS.max(200_000_000 / u64::from(count));
        let mut phones = Phones::new(count);
        world.prepares = true;
        phones.register_all(&mut world);
        world.prepares = false;
        let calls = [Callee::Phone, Callee::Number].map(|callee| Calls::new(callee, count));
        Self {
            world,
            phones,
            calls,
        }
    }

    /// A batch of exchanges; gives the time that the core took.
    fn run(&mut self, kind: Kind) -> Duration {
        let Self {
            world,
            phones,
            calls: [to_phone, to_number],
        } = self;
        let before = world.watch.spent;
        let answers = match kind {
            Kind::Options => Some(phones.ask_options(world)),
            Kind::Refresh => Some(phones.refresh(world)),
            Kind::Challenged => Some(phones.register_challenged(world)),
            Kind::CallToPhone => {
                to_phone.run(world);
                None
            }
            Kind::CallToNumber => {
                to_number.run(world);
                None
            }
        };
        if let Some(answers) = answers {
            assert_eq!(answers.accepted, BATCH, "{kind:?}: {answers:?}");
        }
        world.watch.spent - before
    }

    fn warm_up(&mut self, kind: Kind) {
        let messages = WARM_UP_S * 1_000_000_000 / MESSAGE_NS;
        let batches = match kind {
            // Leave nothing behind that a later one would find.
            Kind::Options | Kind::Refresh | Kind::Challenged => 64,
            Kind::CallToPhone | Kind::CallToNumber => messages as usize / (BATCH * kind.messages()),
        };
        for _ in 0..batches {
            self.run(kind);
        }
    }

    /// The messages of one batch of exchanges.
    fn record(&mut self, kind: Kind) -> Recording {
        self.world.recording = Some(Recording::default());
        self.run(kind);
        self.world.recording.take().unwrap_or_default()
    }
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let mut words = words.iter().skip_while(|word| *word != name);
        words.nth(1)
    };
    if let Some(count) = value("--bindings") {
        let count = count.parse().expect("--bindings takes a number");
        return memory::measure(count);
    }
    if let Some(name) = value("--count") {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.expect("--count takes options, register, challenged, call or trunk");
        let exchanges = value("--exchanges").map_or(10_240, |count| {
            count.parse().expect("--exchanges takes a number")
        });
        return count(&mut Scene::new(PHONES), kind, exchanges);
    }
    print_machine();
    let phones = value("--phones").map_or(PHONES, |count| {
        count.parse().expect("--phones takes a number")
    });
    let mut scene = Scene::new(phones);
    for kind in Kind::ALL {
        scene.warm_up(kind);
        measure(&mut scene, kind);
    }
}

/// So many exchanges, and nothing else.
fn count(scene: &mut Scene, kind: Kind, exchanges: usize) {
    let batches = exchanges.div_ceil(BATCH);
    for _ in 0..batches {
        scene.run(kind);
    }
    println!("{} exchanges: {}", batches * BATCH, kind.title());
}

fn measure(scene: &mut Scene, kind: Kind) {
    let recording = scene.record(kind);
    let octets = |messages: &[Vec<u8>]| messages.iter().map(Vec::len).sum::<usize>() / BATCH;
    let (received, sent) = (octets(&recording.received), octets(&recording.sent));
    let scene = RefCell::new(scene);
    let mut index = Index::new();
    let mut copies = Vec::with_capacity(octets(&recording.sent) * BATCH);
    let mut cases = [
        Case::timed("scan what comes in, copy what goes out", BATCH, || {
            floor(&recording, &mut index, &mut copies)
        }),
        Case::timed("the core", BATCH, || scene.borrow_mut().run(kind)),
    ];
    let title = format!(
        "{}; {received} octets in, {sent} out, an exchange",
        kind.title()
    );
    let summaries = compare(&title, &mut cases);
    let each = summaries[1].nanoseconds.median / kind.messages() as f64;
    println!("{each:.0} ns for each of {} messages in", kind.messages());
}

/// Reads and writes the same octets, with no thought.
fn floor(recording: &Recording, index: &mut Index, copies: &mut Vec<u8>) -> Duration {
    let start = thread_cpu();
    for message in &recording.received {
        let message = index
            .scan(black_box(message))
            .expect("the core could read it");
        black_box(message.top_via().branch);
        black_box(message.call_id());
    }
    copies.clear();
    for message in &recording.sent {
        copies.extend_from_slice(black_box(message));
    }
    black_box(copies.as_slice());
    thread_cpu() - start
}

/// Octets instead of time.
mod memory {
    use super::*;

    /// Finished transactions that are counted.
    const FINISHED: u32 = 100_000;

    /// Registers as many reference bindings with one core and prints what they cost: AoR 24
    /// octets, Contact 110 with `+sip.instance`, Call-ID 36, User-Agent 40.
    pub(super) fn measure(bindings: u32) {
        let capacity = Capacity {
            bindings,
            nonces: bindings.saturating_mul(4).next_power_of_two(),
            sources: bindings.next_power_of_two(),
            ..Capacity::default()
        };
        let settings = edge::settings(1, capacity);
        let mut world = World::new(settings, phones::tables(bindings), Clock::default());
        world.message_ns = MESSAGE_NS;
        let mut phones = Phones::new(bindings);
        phones.register_all(&mut world);
        let footprint = world.edges()[0].footprint();
        assert_eq!(
            world.edges()[0].usage().bindings,
            bindings,
            "all are registered"
        );
        let each = |bytes: usize| bytes as f64 / f64::from(bindings);
        println!("{bindings} bindings of one shard, octets each:");
        println!(
            "{:>8.1} occupied: entries, texts, user agents, index, rates, timers (goal {})",
            each(footprint.bindings.occupied),
            BINDING_BYTES_GOAL
        );
        println!(
            "{:>8.1} allocated at start for as many",
            each(footprint.bindings.allocated)
        );
        let met = each(footprint.bindings.occupied) <= BINDING_BYTES_GOAL;
        println!("goal {}", if met { "met" } else { "not met" });
        finished(&mut world, bindings);
    }

    /// Calls until enough transactions have finished.
    fn finished(world: &mut World<Clock>, phones: u32) {
        // All within less time than the shortest of them is kept.
        world.message_ns = 1000;
        let mut calls = Calls::new(Callee::Phone, phones);
        while world.edges()[0].usage().absorbers < FINISHED {
            calls.run(world);
        }
        let (usage, footprint) = (world.edges()[0].usage(), world.edges()[0].footprint());
        let each = |bytes: usize| bytes as f64 / f64::from(usage.absorbers);
        println!(
            "\n{} finished transactions of whole calls, octets each:",
            usage.absorbers
        );
        println!(
            "{:>8.1} occupied: entry, index, timers (goal {})",
            each(footprint.finished.occupied),
            FINISHED_BYTES_GOAL
        );
        println!(
            "{:>8.1} forwarded finals kept for Timer J, slack included",
            each(usage.message_bytes)
        );
        println!(
            "{:>8.1} allocated at start for each that fits",
            footprint.finished.allocated as f64 / f64::from(Capacity::default().absorbers)
        );
        let met = each(footprint.finished.occupied) <= FINISHED_BYTES_GOAL;
        println!("goal {}", if met { "met" } else { "not met" });
    }
}
