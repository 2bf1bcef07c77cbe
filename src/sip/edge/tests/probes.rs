//! OPTIONS to trunk targets.

use super::super::testing::*;
use super::*;
use crate::sip::Counter;

const INTERVAL_MS: u64 = 30_000;

fn world(shards: u8) -> World {
    World::with_settings(TENANTS, shards, |settings| {
        settings.trunk_options_s = (INTERVAL_MS / 1000) as u32;
    })
}

/// Which target a call from `shard` goes to.
fn dialled(world: &mut World, shard: usize, call: &str) -> &'static str {
    let invite = request(CALLER, "INVITE", "sip:+4930@example.test", call, "");
    world.send_to(shard, CALLER, 0, invite.as_bytes());
    for target in [CARRIER, CARRIER_2] {
        if world.waits_for(target) {
            let got = world.expect(target, "INVITE");
            world.send_to(
                shard,
                target,
                0,
                respond(&got, "486 Busy Here", "x", "").as_bytes(),
            );
            world.discard();
            return target;
        }
    }
    panic!("nobody was called");
}

/// Time passes; the targets answer their OPTIONS with these statuses, or not at all.
fn pass_answering(world: &mut World, milliseconds: u64, answers: [&str; 2]) -> u32 {
    let mut asked = 0;
    for _ in 0..milliseconds / 100 {
        world.pass_ms(100);
        for (target, answer) in [CARRIER, CARRIER_2].into_iter().zip(answers) {
            while world.waits_for(target) {
                let options = world.next(target);
                if options.starts_with("OPTIONS") {
                    asked += 1;
                    if !answer.is_empty() {
                        world.send(target, &respond(&options, answer, "t", ""));
                    }
                }
            }
        }
    }
    asked
}

#[test]
fn every_target_is_asked_once_in_an_interval_by_one_shard() {
    for shards in [1, 4] {
        let mut world = world(shards);
        let asked = pass_answering(&mut world, INTERVAL_MS, ["200 OK", "404 Not Found"]);
        assert_eq!(asked, 2);
        // An interval, and the time for an answer.
        let asked = pass_answering(&mut world, 10 * (INTERVAL_MS + 4_000), ["200 OK"; 2]);
        assert!((19..=21).contains(&asked), "{asked} in ten intervals");
        world.check_sums();
    }
}

#[test]
fn a_target_that_does_not_answer_or_can_not_is_passed_over_on_every_shard() {
    for dead in ["", "503 Service Unavailable", "408 Request Timeout"] {
        let mut world = world(3);
        pass_answering(&mut world, 2 * INTERVAL_MS, ["200 OK", "200 OK"]);
        for shard in 0..3 {
            assert_eq!(dialled(&mut world, shard, &format!("a{shard}")), CARRIER);
        }
        pass_answering(&mut world, 2 * INTERVAL_MS, [dead, "200 OK"]);
        for shard in 0..3 {
            assert_eq!(
                dialled(&mut world, shard, &format!("b{shard}")),
                CARRIER_2,
                "{dead}"
            );
        }
        // All down: tried anyway, in order.
        pass_answering(&mut world, 2 * INTERVAL_MS, [dead, dead]);
        assert_eq!(dialled(&mut world, 0, "c"), CARRIER);
        pass_answering(&mut world, 3 * INTERVAL_MS, ["486 Busy Here", "200 OK"]);
        for shard in 0..3 {
            assert_eq!(dialled(&mut world, shard, &format!("d{shard}")), CARRIER);
        }
        world.check_sums();
    }
}

#[test]
fn targets_come_and_go_with_the_tables() {
    let mut world = world(1);
    pass_answering(&mut world, 2 * INTERVAL_MS, ["200 OK"; 2]);
    let fewer = TENANTS.replace(
        "  { uri = \"sip:203.0.113.81:5060\", priority = 2, weight = 1 },\n",
        "",
    );
    assert_ne!(fewer, TENANTS);
    world.publish(&fewer);
    pass_answering(&mut world, 2 * INTERVAL_MS, ["200 OK"; 2]);
    let asked = pass_answering(&mut world, INTERVAL_MS + 4_000, ["200 OK"; 2]);
    assert_eq!(asked, 1);
    world.publish(TENANTS);
    pass_answering(&mut world, INTERVAL_MS, ["200 OK"; 2]);
    let asked = pass_answering(&mut world, INTERVAL_MS + 4_000, ["200 OK"; 2]);
    assert_eq!(asked, 2);
}

#[test]
fn a_target_that_can_not_be_reached_is_down_at_once() {
    let mut world = world(1);
    let mut waited = 0;
    while !world.waits_for(CARRIER) {
        world.pass_ms(100);
        waited += 1;
        assert!(waited < 400);
    }
    world.unreachable(0, CARRIER, 0);
    world.discard();
    assert_eq!(dialled(&mut world, 0, "u"), CARRIER_2);
    assert_eq!(world.count(Counter::SendFailed), 1);
}
