//! Bindings go with what allowed them; people list and remove them.

use super::bench::{Bench, Phone};
use crate::sip::{BindingFilter, Command, Counter, Report};

const AOR: &str = "alice@example.test";

fn registered() -> (Bench, Phone) {
    let mut bench = Bench::new();
    let mut alice = Phone::new("alice", "192.0.2.50:5060");
    alice.contact(&mut bench, "<sip:alice@192.0.2.50>");
    let mut dave = Phone::new("dave", "192.0.2.60:5060");
    dave.uri = "sip:other.test".into();
    dave.to = "<sip:dave@other.test>".into();
    dave.contact(&mut bench, "<sip:dave@192.0.2.60>");
    (bench, alice)
}

fn taken_back(edit: impl Fn(String) -> String) {
    let (mut bench, _) = registered();
    bench.provision(|text| {
        let edited = edit(text.clone());
        assert_ne!(edited, text);
        edited
    });
    // At once, before anything was swept.
    assert_eq!(bench.located(AOR), Vec::<String>::new());
    let listed = bench.list(&BindingFilter::default());
    assert_eq!(listed.len(), 1);
    assert_eq!(bench.located("dave@other.test").len(), 1);
    assert_eq!(bench.registrar.len(), 2);
    bench.announce_tables();
    bench.pass_ms(20);
    assert_eq!((bench.registrar.len(), bench.wheel.len()), (1, 1));
    assert_eq!(bench.count(Counter::BindingsRevoked), 1);
    assert_eq!(bench.located("dave@other.test").len(), 1);
}

#[test]
fn a_deleted_credential_takes_its_bindings_with_it() {
    taken_back(|text| {
        text.replace(
            "    { username = \"alice\", password = \"Wonderland-2026\" },\n",
            "",
        )
    });
}

#[test]
fn an_unmapped_list_takes_its_bindings_with_it() {
    taken_back(|text| {
        let mapped =
            "name = \"example.test\"\n  registrations = { credential_lists = [\"phones\"] }";
        text.replace(
            mapped,
            "name = \"example.test\"\n  registrations = { credential_lists = [] }",
        )
    });
}

#[test]
fn registration_switched_off_takes_the_bindings_with_it() {
    taken_back(|text| {
        let on = "name = \"example.test\"\n  registrations = { credential_lists = [\"phones\"] }";
        text.replace(on, "name = \"example.test\"")
    });
}

#[test]
fn a_deleted_or_renamed_domain_takes_its_bindings_with_it() {
    taken_back(|text| text.replace("name = \"example.test\"", "name = \"renamed.test\""));
}

/// What is taken back and given again before anything was swept, even before the shard has heard
/// of it, takes the bindings with it all the same.
fn taken_back_and_given_again(edit: impl Fn(String) -> String) {
    for heard_between in [true, false] {
        let (mut bench, mut alice) = registered();
        bench.provision(&edit);
        if heard_between {
            assert_eq!(bench.located(AOR), Vec::<String>::new());
        }
        bench.provision(|text| text);
        assert_eq!(bench.located(AOR), Vec::<String>::new());
        assert_eq!(bench.located("dave@other.test").len(), 1);
        bench.announce_tables();
        bench.pass_ms(20);
        assert_eq!((bench.registrar.len(), bench.wheel.len()), (1, 1));
        assert_eq!(bench.count(Counter::BindingsRevoked), 1);
        // The next registration counts.
        alice.contact(&mut bench, "<sip:alice@192.0.2.50>");
        bench.provision(|text| text);
        bench.announce_tables();
        assert_eq!(bench.located(AOR).len(), 1);
    }
}

#[test]
fn a_credential_deleted_and_added_again_does_not_bring_its_bindings_back() {
    taken_back_and_given_again(|text| {
        text.replace(
            "    { username = \"alice\", password = \"Wonderland-2026\" },\n",
            "",
        )
    });
}

#[test]
fn a_list_unmapped_and_mapped_again_does_not_bring_its_bindings_back() {
    taken_back_and_given_again(|text| {
        let mapped =
            "name = \"example.test\"\n  registrations = { credential_lists = [\"phones\"] }";
        text.replace(
            mapped,
            "name = \"example.test\"\n  registrations = { credential_lists = [] }",
        )
    });
}

#[test]
fn a_domain_deleted_and_made_again_does_not_bring_its_bindings_back() {
    taken_back_and_given_again(|text| {
        text.replace("name = \"example.test\"", "name = \"renamed.test\"")
    });
}

#[test]
fn a_new_password_takes_no_binding() {
    let (mut bench, _) = registered();
    bench.provision(|text| {
        text.replace(
            "{ username = \"alice\", password = \"Wonderland-2026\" }",
            "{ username = \"alice\", password = \"Looking-Glass-2026\" }",
        )
    });
    bench.announce_tables();
    assert_eq!(bench.located(AOR).len(), 1);
}

#[test]
fn tables_that_take_nothing_back_change_nothing() {
    let (mut bench, _) = registered();
    bench.provision(|text| text + "[[account]]\nname = \"three\"\n");
    bench.announce_tables();
    assert_eq!(bench.registrar.len(), 2);
    assert_eq!(bench.located(AOR).len(), 1);
    assert_eq!(bench.count(Counter::BindingsRevoked), 0);
}

#[test]
fn a_large_table_is_swept_in_slices_and_each_binding_once() {
    let mut bench = Bench::with_bindings(20_000);
    let mut alice = Phone::new("alice", "192.0.2.50:5060");
    alice.contact(&mut bench, "<sip:alice@192.0.2.50>");
    bench.provision(|text| text.replace("name = \"example.test\"", "name = \"renamed.test\""));
    bench.announce_tables();
    assert_eq!(bench.registrar.len(), 0, "the first slice runs at once");
    assert_eq!(bench.wheel.len(), 1, "and there are more");
    // New tables while a sweep runs start it again, and no second one.
    bench.provision(|text| text);
    bench.announce_tables();
    assert_eq!(bench.wheel.len(), 1);
    bench.pass_ms(100);
    assert_eq!(bench.wheel.len(), 0);
}

#[test]
fn what_is_taken_back_behind_a_running_sweep_is_swept_too() {
    let mut bench = Bench::with_bindings(20_000);
    let mut alice = Phone::new("alice", "192.0.2.50:5060");
    alice.contact(&mut bench, "<sip:alice@192.0.2.50>");
    bench.provision(|text| text);
    bench.announce_tables();
    assert_eq!((bench.registrar.len(), bench.wheel.len()), (1, 2));
    bench.provision(|text| text.replace("name = \"example.test\"", "name = \"renamed.test\""));
    bench.announce_tables();
    bench.pass_ms(100);
    assert_eq!((bench.registrar.len(), bench.wheel.len()), (0, 0));
}

#[test]
fn tables_that_change_all_the_time_leave_nothing_unswept() {
    let mut bench = Bench::with_bindings(40_000);
    for number in 0..40_000 {
        super::memory::register(&mut bench, number);
    }
    // Nobody of example.test has a credential: every binding is to go, five slices' worth.
    for _ in 0..20 {
        bench.provision(|text| text);
        bench.announce_tables();
        bench.pass_ms(20);
    }
    assert_eq!((bench.registrar.len(), bench.wheel.len()), (0, 0));
    assert_eq!(bench.count(Counter::BindingsRevoked), 40_000);
}

#[test]
fn a_revoked_binding_does_not_count_against_the_next_owner_of_the_name() {
    let (mut bench, mut alice) = registered();
    bench.settings.contacts_per_aor_max = 1;
    bench.provision(|text| text.replace("\"phones\"", "\"handsets\""));
    alice.cseq = 0;
    let answer = alice.contact(&mut bench, "<sip:new@192.0.2.50>");
    assert_eq!((answer.status, answer.contacts().len()), (200, 1));
    assert_eq!(bench.located(AOR), ["sip:new@192.0.2.50"]);
}

#[test]
fn listing_shows_what_was_registered() {
    let (mut bench, mut alice) = registered();
    alice.register(
        &mut bench,
        "User-Agent: Desk/1.0\r\n\
         Contact: <sip:alice@10.0.0.9>;q=0.3;+sip.instance=\"<urn:x:1>\";expires=600\r\n",
    );
    let filter = BindingFilter {
        aor: Some("alice@EXAMPLE.test".into()),
        host: None,
    };
    let rows = bench.list(&filter);
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!(
        (row.aor.as_str(), row.contact.as_str()),
        (AOR, "sip:alice@10.0.0.9")
    );
    assert_eq!(
        (row.user_agent.as_str(), row.instance.as_str()),
        ("Desk/1.0", "<urn:x:1>")
    );
    assert_eq!((row.q_milli, row.behind_nat), (300, true));
    assert_eq!(row.expires_at, bench.now.time.plus_ms(600_000));
    assert_eq!(row.registered_at.0, bench.now.wall.0 / 1000 * 1000);
    let filter = BindingFilter {
        aor: None,
        host: Some("OTHER.test".into()),
    };
    let rows = bench.list(&filter);
    assert_eq!(
        rows.iter().map(|row| row.aor.as_str()).collect::<Vec<_>>(),
        ["dave@other.test"]
    );
    let filter = BindingFilter {
        aor: Some(AOR.into()),
        host: Some("other.test".into()),
    };
    assert!(bench.list(&filter).is_empty());
}

#[test]
fn pages_are_bounded_and_meet_every_binding_once() {
    let mut bench = Bench::with_bindings(100);
    bench.settings.contacts_per_aor_max = 32;
    for (user, count) in [("alice", 32), ("bob", 9), ("carol", 20)] {
        let mut phone = Phone::new(user, "192.0.2.50:5060");
        let lines: String = (0..count)
            .map(|at| format!("Contact: <sip:{user}{at}@192.0.2.50>\r\n"))
            .collect();
        assert_eq!(phone.register(&mut bench, &lines).status, 200);
    }
    let (rows, cursor) = bench.page(0, 0, BindingFilter::default());
    assert_eq!(
        (rows.len(), cursor.is_some()),
        (1, true),
        "a page has a row at least"
    );
    let (rows, cursor) = bench.page(0, u32::MAX, BindingFilter::default());
    assert_eq!((rows.len(), cursor), (61, None));
    let mut seen: Vec<String> = bench
        .list(&BindingFilter::default())
        .into_iter()
        .map(|row| row.contact)
        .collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 61);
    let (rows, cursor) = bench.page(u64::MAX, 10, BindingFilter::default());
    assert_eq!((rows.len(), cursor), (0, None), "behind the end is the end");
}

#[test]
fn people_remove_every_binding_of_an_address() {
    let (mut bench, mut alice) = registered();
    alice.contact(&mut bench, "<sip:second@192.0.2.50>");
    for expected in [2, 0] {
        let command = Command::RemoveBindings {
            id: 5,
            aor: "alice@Example.TEST".into(),
        };
        match bench.command(command) {
            Some(Report::Removed { id: 5, count }) => assert_eq!(count, expected),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bench.located(AOR), Vec::<String>::new());
    assert_eq!((bench.registrar.len(), bench.wheel.len()), (1, 1));
}

#[test]
fn a_retransmission_is_no_way_back_in() {
    let (mut bench, mut alice) = registered();
    assert_eq!(alice.again(&mut bench).unwrap().status, 200);
    bench.provision(|text| text.replace("username = \"alice\"", "username = \"alison\""));
    assert_eq!(alice.again(&mut bench).unwrap().status, 401);
    let command = Command::RemoveBindings {
        id: 1,
        aor: "dave@other.test".into(),
    };
    bench.command(command);
    assert_eq!(bench.located("dave@other.test").len(), 0);
}
