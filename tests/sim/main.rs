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
mod directed;
mod message;
mod network;
mod oracle;
mod scenario;
mod trace;
mod world;

use ringfence::sip::Counter;
use scenario::{Plan, Scenario};

/// Seeds of an ordinary run: about 20 s in a debug build.
const SEEDS: u64 = 24;

/// What some seed must bring about, or the runs prove less than they seem to.
const MUST_HAPPEN: &[Counter] = &[
    Counter::AbsorbersEvicted,
    Counter::AuthReplayed,
    Counter::BindingsExpired,
    Counter::BindingsRemoved,
    Counter::BindingsRevoked,
    Counter::BranchTimeouts,
    Counter::CallsAnswered,
    Counter::ChallengesStale,
    Counter::DroppedQueueFull,
    Counter::DroppedStrayAck,
    Counter::DroppedStrayResponse,
    Counter::ForwardedStateless,
    Counter::Hops,
    Counter::KeepAlives,
    Counter::Malformed,
    Counter::NatKeepalivesSent,
    Counter::NoncesEvicted,
    Counter::RefusedAcl,
    Counter::RefusedNoDomain,
    Counter::RefusedNotFound,
    Counter::RefusedOverload,
    Counter::RefusedTooManyHops,
    Counter::RegisterRetransmissions,
    Counter::RequestsRetransmitted,
    Counter::ResponsesRetransmitted,
    Counter::SendFailed,
    Counter::StunAnswered,
    Counter::TrunkFailovers,
];

/// What came of one seed.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    /// Over every datagram and message between shards, and when.
    hash: u64,
    datagrams: u64,
    /// By counter, over all shards.
    counts: Vec<u64>,
}

fn run(seed: u64) -> Run {
    let mut scenario = Scenario::new(seed, Plan::of(seed));
    scenario.run();
    let world = &scenario.world;
    Run {
        hash: world.trace.hash(),
        datagrams: world.trace.datagrams,
        counts: Counter::ALL.iter().map(|&it| world.count(it)).collect(),
    }
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
    let seeds = number_from_environment("RINGFENCE_SIM_SEEDS").unwrap_or(SEEDS);
    let mut counts = vec![0; Counter::COUNT];
    for seed in 0..seeds {
        for (sum, count) in counts.iter_mut().zip(run(seed).counts) {
            *sum += count;
        }
    }
    for &counter in MUST_HAPPEN {
        let count = counts[counter as usize];
        assert!(
            count > 0 || seeds < SEEDS,
            "{} never happened",
            counter.name()
        );
    }
}

#[test]
fn a_seed_replays_exactly() {
    // One with several shards, attackers, and a process that is killed.
    let is_rich = |seed: &u64| {
        let plan = Plan::of(*seed);
        plan.shards > 2 && plan.attackers > 0 && plan.kills > 0
    };
    let seed = (0..).find(is_rich).unwrap_or_default();
    assert_eq!(run(seed), run(seed));
    assert_ne!(run(seed).hash, run(seed + 1).hash);
}

/// Replays one seed: `RINGFENCE_SIM_SEED`, or 0.
#[test]
fn seed_from_environment() {
    run(number_from_environment("RINGFENCE_SIM_SEED").unwrap_or(0));
}
