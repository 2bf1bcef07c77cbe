//! Nothing is allocated in steady state: 100 000 REGISTERs and 100 000 messages of calls, on one
//! shard and on two that exchange messages.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use ringfence::limits::Capacity;

#[path = "../bench/edge/mod.rs"]
mod edge;

use edge::calls::{self, Callee, Calls};
use edge::phones::{self, Phones};
use edge::{BATCH, Watch, World};

mod counting;

use counting::{ALLOCATIONS, WATCHED};

/// Counts while the core works.
#[derive(Debug)]
struct Allocations;

impl Watch for Allocations {
    fn begin(&mut self) {
        WATCHED.set(true);
    }

    fn end(&mut self) {
        WATCHED.set(false);
    }
}

/// Phones of every world.
const PHONES: u32 = 1024;

/// What each test sends at least once it is warm.
const MESSAGES: usize = 100_000;

/// Shards with registered phones; few enough calls have room that finished transactions are
/// evicted too.
fn world(shards: u8) -> (World<Allocations>, Phones) {
    let capacity = Capacity {
        bindings: 2 * PHONES,
        transactions: 2 * BATCH as u32,
        absorbers: 8192,
        message_bytes: 16 << 20,
        sources: 4096,
        nonces: 4 * PHONES,
        calls: 2 * BATCH as u32,
    };
    let settings = edge::settings(shards, capacity);
    let mut world = World::new(settings, phones::tables(PHONES), Allocations);
    // A phone comes five times in a second.
    world.message_ns = 200_000_000 / u64::from(PHONES);
    let mut phones = Phones::new(PHONES);
    phones.register_all(&mut world);
    ALLOCATIONS.set(0);
    (world, phones)
}

fn register(shards: u8) {
    let (mut world, mut phones) = world(shards);
    for _ in 0..MESSAGES.div_ceil(BATCH) {
        assert_eq!(phones.refresh(&mut world).accepted, BATCH);
    }
    assert_eq!(ALLOCATIONS.get(), 0);
    let bindings = |edge: &ringfence::sip::Edge| edge.usage().bindings;
    assert_eq!(world.edges().iter().map(bindings).sum::<u32>(), PHONES);
    assert!(world.edges().iter().all(|edge| bindings(edge) > 0));
}

fn call(shards: u8, callee: Callee) {
    let (mut world, _phones) = world(shards);
    let mut calls = Calls::new(callee, PHONES);
    for _ in 0..MESSAGES.div_ceil(BATCH * calls::MESSAGES) {
        calls.run(&mut world);
    }
    assert_eq!(ALLOCATIONS.get(), 0);
    assert!(world.edges().iter().all(|edge| edge.usage().absorbers > 0));
}

#[test]
fn registers_with_digest_allocate_nothing() {
    register(1);
}

#[test]
fn registers_that_another_shard_owns_allocate_nothing() {
    register(2);
}

#[test]
fn calls_to_phones_allocate_nothing() {
    call(1, Callee::Phone);
}

#[test]
fn calls_to_phones_of_another_shard_allocate_nothing() {
    call(2, Callee::Phone);
}

#[test]
fn calls_to_a_trunk_with_limits_allocate_nothing() {
    call(1, Callee::Number);
}

#[test]
fn calls_to_a_trunk_whose_limit_another_shard_counts_allocate_nothing() {
    call(2, Callee::Number);
}

#[test]
fn an_allocation_while_the_core_works_is_seen() {
    ALLOCATIONS.set(0);
    drop(std::hint::black_box(Box::new([1u8; 100])));
    Allocations.begin();
    drop(std::hint::black_box(Box::new([2u8; 100])));
    Allocations.end();
    assert_eq!(ALLOCATIONS.get(), 1);
}
