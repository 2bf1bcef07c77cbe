//! What a look-up in the access control table costs, what a table weighs, and how long it takes
//! to build.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use ringfence::acl::{AclId, Table};

#[path = "harness/mod.rs"]
mod harness;

use harness::{Case, Quartiles, compare, print_machine, thread_cpu};

/// Goals: a hot look-up, and the build of a million prefixes.
const HOT_NANOSECONDS_GOAL: f64 = 15.0;
const BUILD_SECONDS_GOAL: f64 = 1.0;

/// Sources of the hot case.
const HOT: usize = 1_024;

/// Sources of the random cases: more than any cache holds the blocks of.
const RANDOM: usize = 1 << 20;

/// Builds that the build time is the median of.
const BUILDS: usize = 8;

/// Lists that the prefixes belong to.
const LISTS: u64 = 10_000;

fn main() {
    print_machine();
    let mut hot_met = true;
    let mut build_met = true;
    for (family, draw) in [
        ("IPv4 /16-/32", ipv4 as fn(&mut Random) -> IpNet),
        ("IPv6 /32-/64", ipv6),
    ] {
        for count in [10_000, 1_000_000] {
            let mut random = Random(count as u64);
            let entries: Vec<(IpNet, AclId)> = (0..count)
                .map(|_| (draw(&mut random), AclId(random.below(LISTS) as u32)))
                .collect();
            let (table, seconds) = build(&entries);
            println!(
                "\n{family}, {count} random prefixes: built in {:.3} s (quartiles {:.3} to {:.3}, \
                 {BUILDS} builds), {:.1} MB, {:.0} octets per prefix",
                seconds.median,
                seconds.lower,
                seconds.upper,
                table.bytes() as f64 / 1e6,
                table.bytes() as f64 / count as f64,
            );
            build_met &= seconds.median < BUILD_SECONDS_GOAL;
            let questions = questions(&entries, &mut random);
            let hot = look_ups(&format!("{family}, {count} prefixes"), &table, &questions);
            hot_met &= hot <= HOT_NANOSECONDS_GOAL || family.starts_with("IPv6");
        }
    }
    let verdict = |met| if met { "met" } else { "not met" };
    println!(
        "\nhot look-up in IPv4 of at most {HOT_NANOSECONDS_GOAL} ns: {}",
        verdict(hot_met)
    );
    println!(
        "build in less than {BUILD_SECONDS_GOAL} s: {}",
        verdict(build_met)
    );
}

/// A source and the list it must be in.
type Question = (IpAddr, [AclId; 1]);

/// Measures a table and returns the nanoseconds of a hot look-up beyond the loop's own.
fn look_ups(title: &str, table: &Table, questions: &[Question]) -> f64 {
    let (mut floor, mut hot, mut random, mut chain) = (0, 0, 0, 0);
    let summaries = compare(
        title,
        &mut [
            Case::new("loop without a look-up, 1 024 sources", || {
                floor = (floor + 1) % HOT;
                black_box(&questions[floor]);
            }),
            Case::new("hot: 1 024 sources cycled", || {
                hot = (hot + 1) % HOT;
                let (source, wanted) = &questions[hot];
                black_box(table.admits(*source, wanted));
            }),
            Case::new("random sources, independent", || {
                random = (random + 1) % RANDOM;
                let (source, wanted) = &questions[random];
                black_box(table.admits(*source, wanted));
            }),
            Case::new("random sources, each after the answer", || {
                let (source, wanted) = &questions[chain];
                let admitted = black_box(table.admits(*source, wanted));
                chain = (chain + 1 + usize::from(admitted)) % RANDOM;
            }),
        ],
    );
    summaries[1].nanoseconds.median - summaries[0].nanoseconds.median
}

/// Builds the table several times; returns one and the processor seconds it took.
fn build(entries: &[(IpNet, AclId)]) -> (Table, Quartiles) {
    let mut seconds = Vec::new();
    let mut table = Table::default();
    for _ in 0..BUILDS {
        let start = thread_cpu();
        let built = Table::build(black_box(entries));
        seconds.push((thread_cpu() - start).as_secs_f64());
        table = built;
    }
    (table, Quartiles::of(seconds))
}

/// Sources of which half lie in a prefix and half anywhere, asked for a list of which half is the
/// one of that prefix.
fn questions(entries: &[(IpNet, AclId)], random: &mut Random) -> Vec<Question> {
    let one = |_| {
        let (net, list) = entries[random.below(entries.len() as u64) as usize];
        let inside = random.next().is_multiple_of(2);
        let address = match net {
            IpNet::V4(net) => {
                let host = random.next() as u32;
                let mask = if inside { u32::from(net.netmask()) } else { 0 };
                IpAddr::V4(Ipv4Addr::from(
                    (u32::from(net.addr()) & mask) | (host & !mask),
                ))
            }
            IpNet::V6(net) => {
                let host = (u128::from(random.next()) << 64) | u128::from(random.next());
                let mask = if inside {
                    u128::from(net.netmask())
                } else {
                    0xffff << 112
                };
                IpAddr::V6(Ipv6Addr::from(
                    (u128::from(net.addr()) & mask) | (host & !mask),
                ))
            }
        };
        let list = if random.next().is_multiple_of(2) {
            list
        } else {
            AclId(random.below(LISTS) as u32)
        };
        (address, [list])
    };
    (0..RANDOM).map(one).collect()
}

fn ipv4(random: &mut Random) -> IpNet {
    let bits = 16 + random.below(17) as u8;
    let net = Ipv4Net::new(Ipv4Addr::from(random.next() as u32), bits);
    IpNet::V4(net.expect("at most 32 bits").trunc())
}

fn ipv6(random: &mut Random) -> IpNet {
    let bits = 32 + random.below(33) as u8;
    // 2000::/3, what is given out.
    let address = (1 << 125) | (u128::from(random.next()) << 61);
    let net = Ipv6Net::new(Ipv6Addr::from(address), bits);
    IpNet::V6(net.expect("at most 128 bits").trunc())
}

/// A small generator, so that every run measures the same table.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
