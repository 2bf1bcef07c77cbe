//! What happens at the bounds.

use super::bench::{Bench, Phone};
use crate::limits;
use crate::sip::{ContactsFull, Counter};

const AOR: &str = "alice@example.test";

fn contacts(range: std::ops::Range<usize>) -> String {
    range
        .map(|number| format!("Contact: <sip:{number}@192.0.2.50>\r\n"))
        .collect()
}

#[test]
fn one_contact_too_many_is_refused_and_nothing_changed() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", "192.0.2.50:5060");
    assert_eq!(
        phone
            .register(&mut bench, &contacts(0..10))
            .contacts()
            .len(),
        10
    );
    let before = bench.list(&Default::default());
    let answer = phone.register(&mut bench, &contacts(9..11));
    assert_eq!(answer.status, 403);
    assert_eq!(bench.list(&Default::default()), before);
    // Room made by the same request counts.
    let lines = format!(
        "{}Contact: <sip:0@192.0.2.50>;expires=0\r\n",
        contacts(10..11)
    );
    assert_eq!(phone.register(&mut bench, &lines).contacts().len(), 10);
}

#[test]
fn the_oldest_contact_makes_room_where_the_setting_says_so() {
    let mut bench = Bench::new();
    bench.settings.contacts_full = ContactsFull::ReplaceOldest;
    bench.settings.contacts_per_aor_max = 3;
    let mut phone = Phone::new("alice", "192.0.2.50:5060");
    for number in 0..3 {
        phone.register(&mut bench, &contacts(number..number + 1));
    }
    phone.register(&mut bench, &contacts(0..1));
    phone.register(&mut bench, &contacts(3..4));
    let expected = [3, 0, 2].map(|number| format!("sip:{number}@192.0.2.50"));
    assert_eq!(bench.located(AOR), expected);
    // What the same request refreshes is not replaced: more than fits is refused.
    let lines = contacts(0..1) + &contacts(4..7);
    assert_eq!(phone.register(&mut bench, &lines).status, 403);
    assert_eq!(bench.located(AOR), expected);
    let lines = contacts(0..1) + &contacts(4..6);
    assert_eq!(phone.register(&mut bench, &lines).contacts().len(), 3);
    let expected = [0, 4, 5].map(|number| format!("sip:{number}@192.0.2.50"));
    assert_eq!(bench.located(AOR), expected);
    assert_eq!(bench.wheel.len(), 3);
}

#[test]
fn more_contacts_in_one_request_than_any_setting_allows_are_refused() {
    let mut bench = Bench::new();
    bench.settings.contacts_per_aor_max = u8::MAX;
    let mut phone = Phone::new("alice", "192.0.2.50:5060");
    let max = limits::CONTACTS_PER_AOR_MAX;
    assert_eq!(
        phone.register(&mut bench, &contacts(0..max + 1)).status,
        403
    );
    assert_eq!(
        phone
            .register(&mut bench, &contacts(0..max))
            .contacts()
            .len(),
        max
    );
    assert_eq!(
        phone.register(&mut bench, &contacts(max..max + 1)).status,
        403
    );
    assert_eq!(bench.locate(AOR).len(), max);
}

#[test]
fn a_full_table_is_503_with_nothing_changed_and_still_exchanges_contacts() {
    let mut bench = Bench::with_bindings(4);
    let mut phone = Phone::new("alice", "192.0.2.50:5060");
    phone.register(&mut bench, &contacts(0..3));
    let before = bench.list(&Default::default());
    let armed = bench.wheel.len();
    let bytes = bench.registrar.bytes();
    let answer = phone.register(&mut bench, &contacts(2..5));
    assert_eq!(
        (answer.status, answer.headers("Retry-After")),
        (503, vec!["5"])
    );
    assert_eq!(bench.count(Counter::RefusedOverload), 1);
    assert_eq!(bench.list(&Default::default()), before);
    assert_eq!((bench.wheel.len(), bench.registrar.bytes()), (armed, bytes));
    assert_eq!(
        phone.register(&mut bench, &contacts(3..4)).contacts().len(),
        4
    );
    // A stranger to the table finds no place, not even for his name.
    let mut other = Phone::new("bob", "192.0.2.51:5060");
    let bytes = bench.registrar.bytes();
    assert_eq!(
        other.contact(&mut bench, "<sip:bob@192.0.2.51>").status,
        503
    );
    assert_eq!(bench.registrar.bytes(), bytes);
    // Full, but what goes makes room for what comes.
    let lines = "Contact: <sip:0@192.0.2.50>;expires=0\r\n".to_owned() + &contacts(7..8);
    assert_eq!(phone.register(&mut bench, &lines).contacts().len(), 4);
    // Refreshing needs no room.
    assert_eq!(
        phone.register(&mut bench, &contacts(1..4)).contacts().len(),
        4
    );
    phone.register(&mut bench, "Contact: *\r\nExpires: 0\r\n");
    assert_eq!(
        other.contact(&mut bench, "<sip:bob@192.0.2.51>").status,
        200
    );
    assert_eq!(bench.wheel.len(), 1);
}

#[test]
fn without_a_timer_to_be_had_nothing_is_bound() {
    let mut bench = Bench::with_bindings(64);
    bench.wheel = crate::sip::Wheel::with_capacity(2, bench.now.time);
    let mut phone = Phone::new("alice", "192.0.2.50:5060");
    let empty = bench.registrar.bytes();
    assert_eq!(phone.register(&mut bench, &contacts(0..3)).status, 503);
    assert_eq!((bench.registrar.bytes(), bench.wheel.len()), (empty, 0));
    assert_eq!(phone.register(&mut bench, &contacts(0..2)).status, 200);
}

#[test]
fn a_binding_ends_on_time_and_is_not_seen_even_when_its_timer_is_late() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", "192.0.2.50:5060");
    phone.contact(&mut bench, "<sip:alice@192.0.2.50>;expires=60");
    bench.jump_ms(59_999);
    assert_eq!(bench.located(AOR).len(), 1);
    bench.jump_ms(1);
    assert_eq!(bench.located(AOR).len(), 0);
    assert!(bench.list(&Default::default()).is_empty());
    assert!(phone.register(&mut bench, "").contacts().is_empty());
    assert_eq!(bench.registrar.len(), 1);
    // It no longer counts either, nor is its CSeq remembered.
    bench.settings.contacts_per_aor_max = 1;
    phone.cseq = 0;
    let answer = phone.contact(&mut bench, "<sip:other@192.0.2.50>;expires=60");
    assert_eq!((answer.status, answer.contacts().len()), (200, 1));
    assert_eq!(bench.count(Counter::BindingsExpired), 1);
    bench.pass_ms(60_010);
    assert_eq!(bench.registrar.len(), 0);
    assert_eq!(bench.count(Counter::BindingsExpired), 2);
}

#[test]
fn a_refresh_moves_the_end_both_ways() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", "192.0.2.50:5060");
    for (expires, passes) in [(600, 500), (600, 500), (60, 0)] {
        phone.contact(
            &mut bench,
            &format!("<sip:alice@192.0.2.50>;expires={expires}"),
        );
        bench.pass_ms(passes * 1000);
        assert_eq!(bench.registrar.len(), 1);
    }
    assert_eq!(bench.wheel.len(), 1);
    bench.pass_ms(59_000);
    assert_eq!(bench.registrar.len(), 1);
    bench.pass_ms(1_020);
    assert_eq!((bench.registrar.len(), bench.wheel.len()), (0, 0));
}

#[test]
fn a_wall_clock_that_jumps_ends_no_binding() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", "192.0.2.50:5060");
    phone.contact(&mut bench, "<sip:alice@192.0.2.50>");
    for day in [86_400_000, 0] {
        bench.now.wall.0 = 1_790_000_000_000 - 43_200_000 + day;
        bench.pass_ms(1000);
        assert_eq!(bench.located(AOR).len(), 1);
        assert_eq!(
            phone.contact(&mut bench, "<sip:alice@192.0.2.50>").status,
            200
        );
    }
}
