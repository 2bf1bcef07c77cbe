//! Thresholds, proofs and the bound of the source table.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::collections::BTreeSet;
use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::sip::testing;

const HASH_KEY: [u8; 16] = [5; 16];

fn settings(rate: u32, burst: u32) -> Settings {
    Settings {
        source_requests_s: rate,
        source_burst: burst,
        source_allowance_bytes: 4096,
        ..testing::settings()
    }
}

fn source(text: &str) -> SourceAddr {
    text.parse::<SocketAddr>().unwrap().into()
}

fn numbered(number: u32) -> SourceAddr {
    SocketAddr::from((number.to_be_bytes(), 5060)).into()
}

fn ms(milliseconds: u64) -> Time {
    Time::default().plus_ms(milliseconds)
}

#[test]
fn a_source_at_exactly_the_sustained_rate_is_never_refused() {
    for rate in [1, 3, 7, 30, 1000] {
        let settings = settings(rate, 1);
        let mut sources = Sources::new(16, HASH_KEY);
        let peer = source("192.0.2.1:5060");
        for sent in 0..10_000u64 {
            // The sent-th request of an ideal clock, not a sum of rounded intervals.
            let now = Time(1_000_000_000 + sent * 1_000_000_000 / u64::from(rate));
            assert!(
                sources.try_request(now, &settings, peer),
                "request {sent} at {rate}/s"
            );
        }
    }
}

#[test]
fn above_the_sustained_rate_exactly_the_excess_is_refused() {
    let settings = settings(100, 20);
    let mut sources = Sources::new(16, HASH_KEY);
    let peer = source("192.0.2.1:5060");
    let mut taken = 0;
    // 1000 per second for 10 s.
    for sent in 0..10_000u64 {
        let now = ms(1000 + sent);
        taken += u32::from(sources.try_request(now, &settings, peer));
    }
    // The burst, and 100/s for the 9.999 s that follow its first request.
    assert_eq!(taken, 20 + 999);
}

#[test]
fn a_burst_is_taken_whole_and_not_one_more() {
    let settings = settings(10, 50);
    let mut sources = Sources::new(16, HASH_KEY);
    let peer = source("192.0.2.1:5060");
    for _ in 0..50 {
        assert!(sources.try_request(ms(5), &settings, peer));
    }
    assert!(!sources.try_request(ms(5), &settings, peer));
    assert!(!sources.try_request(ms(104), &settings, peer));
    assert!(
        sources.try_request(ms(105), &settings, peer),
        "one per 100 ms comes back"
    );
    assert!(!sources.try_request(ms(105), &settings, peer));
    let later = ms(60_000);
    for _ in 0..50 {
        assert!(sources.try_request(later, &settings, peer));
    }
    assert!(
        !sources.try_request(later, &settings, peer),
        "a pause earns no more than a burst"
    );
}

#[test]
fn ipv4_is_counted_by_address_and_ipv6_by_64_whatever_the_port() {
    let settings = settings(1, 1);
    let same = |first: &str, second: &str| {
        let mut sources = Sources::new(1024, HASH_KEY);
        assert!(sources.try_request(ms(1), &settings, source(first)));
        !sources.try_request(ms(1), &settings, source(second))
    };
    assert!(same("192.0.2.1:5060", "192.0.2.1:1"));
    assert!(same("192.0.2.1:5060", "[::ffff:192.0.2.1]:1"));
    assert!(!same("192.0.2.1:5060", "192.0.2.2:5060"));
    assert!(same("[2001:db8::1]:5060", "[2001:db8::ffff:1]:1"));
    assert!(!same("[2001:db8::1]:5060", "[2001:db8:0:1::1]:5060"));
    assert!(same("[::1]:5060", "[::1]:5061"));
    assert!(!same("[::1]:5060", "127.0.0.1:5060"));
}

#[test]
fn twenty_thousand_phones_behind_one_address_register_through_a_small_budget() {
    let settings = settings(10, 30);
    let mut sources = Sources::new(16, HASH_KEY);
    let peer = source("192.0.2.1:5060");
    let now = ms(1);
    // No time passes: only what is given back lets them through, thirty at a time.
    for _ in 0..20_000 / 20 {
        for _ in 0..20 {
            assert!(sources.try_request(now, &settings, peer));
            sources.on_challenged(now, peer);
        }
        for _ in 0..20 {
            sources.on_proved(now, &settings, peer);
        }
    }
}

#[test]
fn wrong_answers_are_not_given_back_by_right_ones() {
    let settings = settings(1, 10);
    let mut sources = Sources::new(16, HASH_KEY);
    let peer = source("192.0.2.1:5060");
    let mut guesses = 0;
    for _ in 0..100 {
        // A guess, charged and not a challenge to a plain request; then a right answer.
        guesses += u32::from(sources.try_request(ms(1), &settings, peer));
        sources.on_proved(ms(1), &settings, peer);
    }
    assert_eq!(guesses, 10);
}

#[test]
fn an_unproven_source_is_sent_what_it_sent_and_the_allowance_in_a_second() {
    let settings = settings(1000, 1000);
    let mut sources = Sources::new(16, HASH_KEY);
    let peer = source("192.0.2.1:5060");
    sources.on_request(ms(10_000), peer, 300);
    assert!(sources.try_answer(ms(10_000), &settings, peer, 4396));
    assert!(!sources.try_answer(ms(10_999), &settings, peer, 1));
    sources.on_request(ms(10_999), peer, 100);
    assert!(!sources.try_answer(ms(10_999), &settings, peer, 101));
    assert!(sources.try_answer(ms(10_999), &settings, peer, 100));
    assert!(
        sources.try_answer(ms(11_000), &settings, peer, 4096),
        "a new second, a new allowance"
    );
    assert!(!sources.try_answer(ms(11_000), &settings, peer, 1));
    assert!(!sources.try_answer(ms(12_000), &settings, peer, usize::MAX));
}

proptest! {
    #[test]
    fn no_second_sends_more_than_it_received_and_the_allowance(
        events in prop::collection::vec((0u64..700, any::<bool>(), 1usize..2000), 1..200),
    ) {
        let settings = Settings { source_allowance_bytes: 1000, ..settings(1, 1) };
        let mut sources = Sources::new(16, HASH_KEY);
        let peer = source("192.0.2.1:5060");
        let mut now_ms = 5_000;
        // Octets in and out by second.
        let mut sums = std::collections::BTreeMap::<u64, (usize, usize)>::new();
        for (gap, is_request, bytes) in events {
            now_ms += gap;
            let (received, sent) = sums.entry(now_ms / 1000).or_default();
            if is_request {
                sources.on_request(ms(now_ms), peer, bytes);
                *received += bytes;
            } else {
                let fits = *sent + bytes <= *received + 1000;
                prop_assert_eq!(sources.try_answer(ms(now_ms), &settings, peer, bytes), fits);
                *sent += if fits { bytes } else { 0 };
            }
        }
    }
}

#[test]
fn a_proof_lifts_the_bound_for_an_hour_and_each_new_one_starts_it_again() {
    let settings = settings(1000, 1000);
    let mut sources = Sources::new(16, HASH_KEY);
    let peer = source("192.0.2.1:5060");
    assert!(!sources.try_answer(ms(1), &settings, peer, 9000));
    sources.on_proved(ms(1), &settings, peer);
    assert!(sources.try_answer(ms(1), &settings, peer, 9000));
    assert!(sources.try_answer(ms(3_599_999), &settings, peer, 9000));
    assert!(!sources.try_answer(ms(3_600_000), &settings, peer, 9000));
    sources.on_proved(ms(3_600_000), &settings, peer);
    assert!(sources.try_answer(ms(7_199_999), &settings, peer, 9000));
    assert!(!sources.is_proved(ms(7_200_000), peer));
}

#[test]
fn a_flood_of_forged_sources_leaves_proved_ones_in_place() {
    let settings = settings(1, 1);
    let mut sources = Sources::new(1024, HASH_KEY);
    // Where no two proved sources share a set, none may be displaced.
    let mut sets = BTreeSet::new();
    let phones: Vec<_> = (0x0A00_0000..)
        .map(numbered)
        .filter(|phone| sets.insert(sources.set_of(prefix(*phone))))
        .take(500)
        .collect();
    for phone in &phones {
        sources.on_proved(ms(1), &settings, *phone);
    }
    for forged in 0..100_000 {
        sources.try_request(ms(2), &settings, numbered(0xC000_0000 + forged));
    }
    assert!(phones.iter().all(|phone| sources.is_proved(ms(3), *phone)));
}

#[test]
fn a_displaced_source_comes_back_with_a_whole_budget_and_without_proof() {
    let settings = settings(1, 1);
    let mut sources = Sources::new(2, HASH_KEY);
    let [first, second, third] = [1, 2, 3].map(numbered);
    sources.on_proved(ms(1), &settings, first);
    assert!(sources.try_request(ms(1), &settings, second));
    assert!(!sources.try_request(ms(1), &settings, second));
    assert!(
        sources.try_request(ms(2), &settings, third),
        "displaces the one without proof"
    );
    assert!(sources.is_proved(ms(2), first));
    assert!(
        sources.try_request(ms(2), &settings, second),
        "is forgotten"
    );
    sources.on_proved(ms(3000), &settings, second);
    sources.on_proved(ms(5000), &settings, third);
    assert!(
        !sources.is_proved(ms(5000), first),
        "the older of two proofs goes"
    );
    assert!(sources.is_proved(ms(5000), second) && sources.is_proved(ms(5000), third));
    // Third for second, second for third, third for first.
    assert_eq!(sources.take_displaced(), 3);
    assert_eq!(sources.take_displaced(), 0);
}

#[test]
fn a_source_of_which_nothing_is_known_any_more_is_not_displaced_but_over() {
    let settings = settings(1, 1);
    let mut sources = Sources::new(2, HASH_KEY);
    for round in 0..5 {
        for number in 0..2 {
            let time = ms(10_000 * u64::from(round + 1));
            sources.on_request(time, numbered(2 * round + number), 300);
            assert!(sources.try_request(time, &settings, numbered(2 * round + number)));
        }
    }
    assert_eq!(sources.take_displaced(), 0);
    sources.on_request(ms(50_000), numbered(99), 300);
    assert_eq!(sources.take_displaced(), 1);
}

proptest! {
    #[test]
    fn the_budget_is_that_of_a_bucket_of_tokens(
        rate in prop::sample::select(vec![1u32, 2, 5, 10, 100]),
        burst in 1u32..20,
        gaps_ms in prop::collection::vec(0u64..400, 1..300),
    ) {
        let settings = settings(rate, burst);
        let mut sources = Sources::new(16, HASH_KEY);
        let peer = source("192.0.2.1:5060");
        // Tokens in thousandths: `rate` thousandths come per millisecond.
        let full = u64::from(burst) * 1000;
        let mut tokens = full;
        let mut now_ms = 1000;
        for gap in gaps_ms {
            now_ms += gap;
            tokens = (tokens + gap * u64::from(rate)).min(full);
            let granted = tokens >= 1000;
            if granted {
                tokens -= 1000;
            }
            prop_assert_eq!(sources.try_request(ms(now_ms), &settings, peer), granted);
        }
    }
}
