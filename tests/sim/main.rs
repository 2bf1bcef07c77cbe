//! The whole edge in simulation: shards, agents and a network that loses, repeats, reorders and
//! delays, all from one seed.
//!
//! Owns the world around the core, user agents written without it, and the oracles. Uses the
//! public interface of the crate alone. A phase with faults, in which nothing wrong may happen, is
//! followed by one without, in which everything must come right.
//!
//! `RINGFENCE_SIM_SEEDS=N` runs N seeds; a failure prints the command that replays it.

mod agent;
mod digest;
mod message;
mod network;
mod oracle;
mod scenario;
mod trace;
mod world;

use scenario::{Plan, Scenario};

/// Seeds of an ordinary run: about 20 s in a debug build.
const SEEDS: u64 = 16;

/// Runs a seed; the hash of everything that happened, and the datagrams.
fn run(seed: u64) -> (u64, u64) {
    let mut scenario = Scenario::new(seed, Plan::of(seed));
    scenario.run();
    (scenario.world.trace.hash(), scenario.world.trace.datagrams)
}

fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} = {text} is no number")),
    )
}

#[test]
fn nothing_wrong_happens_and_everything_comes_right() {
    for seed in 0..number_from_environment("RINGFENCE_SIM_SEEDS").unwrap_or(SEEDS) {
        run(seed);
    }
}

#[test]
fn a_seed_replays_exactly() {
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

/// Replays one seed: `RINGFENCE_SIM_SEED`, or 0.
#[test]
fn seed_from_environment() {
    run(number_from_environment("RINGFENCE_SIM_SEED").unwrap_or(0));
}
