//! What is too rare, or too important, to be left to chance.

use ringfence::sip::Counter;

use crate::agent::Manners;
use crate::network::Faults;
use crate::scenario::{Plan, Scenario};
use crate::world::Loss;

fn scenario(seed: u64) -> Scenario {
    let mut plan = Plan::ample();
    plan.shards = 2;
    Scenario::new(seed, plan)
}

/// Registers every phone.
fn registered(seed: u64) -> Scenario {
    let mut scenario = scenario(seed);
    scenario.everybody_registers();
    scenario
}

#[test]
fn a_lost_200_to_register_is_answered_200_again_and_changes_nothing() {
    for seed in 0..8 {
        let mut scenario = scenario(seed);
        scenario.world.faults = Faults::NONE;
        scenario.world.lose = Some(Loss {
            start: "SIP/2.0 200",
            method: "REGISTER",
            count: 2,
        });
        scenario.world.run_ms(5_000);
        scenario.world.judge_bindings();
        let world = &scenario.world;
        // Both were answered a second time, and what they had made stayed as it was.
        assert_eq!(world.count(Counter::RegisterRetransmissions), 2);
        assert_eq!(world.oracle.repeated_registers, 2);
        assert_eq!(
            world.count(Counter::BindingsCreated),
            scenario.phones.len() as u64
        );
        assert_eq!(world.count(Counter::BindingsRefreshed), 0);
        assert_eq!(world.count(Counter::AuthReplayed), 0);
    }
}

#[test]
fn two_phones_call_each_other_over_a_network_that_loses_repeats_and_reorders() {
    for seed in 0..8 {
        let mut scenario = registered(seed);
        scenario.world.faults = Faults::ROUGH;
        // From behind a NAT to behind a NAT, and back.
        for (caller, callee) in [(2, "dave"), (4, "bob")] {
            let uri = format!("sip:{callee}@digest.test");
            let outcome = scenario.call(scenario.phones[caller], &uri, 60_000);
            assert_eq!(outcome.status, 200, "seed {seed}: {outcome:?}");
            assert!(outcome.ended, "seed {seed}: {outcome:?}");
        }
    }
}

#[test]
fn a_call_outlives_the_process_that_set_it_up() {
    for seed in 0..8 {
        let mut scenario = registered(seed);
        let callee = scenario.phones[4];
        let id = scenario.dial(scenario.phones[2], "sip:dave@digest.test", 10_000);
        scenario.world.run_ms(5_000);
        scenario.world.restart(3);
        scenario.world.run_ms(10_000);
        let outcome = scenario.outcome(scenario.phones[2], id);
        assert!(outcome.status == 200 && outcome.ended, "{outcome:?}");
        let taken = scenario.world.agents[callee]
            .user()
            .map(|user| &user.calls.taken);
        assert_eq!(taken, Some(&vec![outcome.call_id]));
    }
}

#[test]
fn a_refusal_whose_ack_never_arrives_leaves_nothing_behind() {
    let mut scenario = registered(1);
    let manners = Manners {
        refuses: 100,
        ..Manners::default()
    };
    scenario.behave(scenario.phones[4], manners);
    scenario.world.lose = Some(Loss {
        start: "ACK ",
        method: "ACK",
        count: u32::MAX,
    });
    let outcome = scenario.call(scenario.phones[2], "sip:dave@digest.test", 60_000);
    assert!(matches!(outcome.status, 486 | 603), "{outcome:?}");
    scenario.world.run_ms(60_000);
    for edge in &scenario.world.edges {
        assert_eq!(edge.sizes(), (0, 0, 0, 0));
        assert_eq!(edge.kept().message_bytes, 0);
    }
}
