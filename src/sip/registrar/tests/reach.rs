//! Where requests to a phone go, in which order, and how the way to it is kept open.

use std::collections::BTreeMap;

use super::bench::{Bench, Phone};
use crate::sip::{Counter, Flow, ListenerId, ShardId};

const AOR: &str = "alice@example.test";

fn peer_after(source: &str, via: &str, contact: &str) -> (String, bool) {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", source);
    phone.via = via.into();
    assert_eq!(phone.contact(&mut bench, contact).status, 200);
    let natted = bench.list(&Default::default())[0].behind_nat;
    (bench.locate(AOR)[0].peer.clone(), natted)
}

fn check_peers(natted: bool, rows: &[(&str, &str, u16)]) {
    for (via, contact, port) in rows {
        let found = peer_after("192.0.2.50:5062", via, contact);
        assert_eq!(
            found,
            (format!("192.0.2.50:{port}"), natted),
            "{via} {contact}"
        );
    }
}

#[test]
fn requests_go_to_the_contact_where_everything_says_that_it_can_be_reached() {
    let rows = [
        ("192.0.2.50:5062", "<sip:a@192.0.2.50:5062>", 5062),
        ("192.0.2.50:5062;rport", "<sip:a@192.0.2.50:5062>", 5062),
        ("192.0.2.50", "<sip:a@192.0.2.50:7000>", 7000),
        ("192.0.2.50", "<sip:a@192.0.2.50>", 5060),
        ("192.0.2.50", "<sips:a@192.0.2.50>", 5061),
    ];
    check_peers(false, &rows);
}

#[test]
fn requests_go_to_the_source_where_anything_says_that_there_is_a_nat() {
    let rows = [
        // Via has rport, and another port than the source.
        ("192.0.2.50;rport", "<sip:a@192.0.2.50:5062>", 5062),
        ("192.0.2.50:5070;rport", "<sip:a@192.0.2.50:7000>", 5062),
        // Via's host is not the source address.
        ("10.0.0.9:5062", "<sip:a@192.0.2.50:7000>", 5062),
        ("phone.test:5062", "<sip:a@192.0.2.50:7000>", 5062),
        // The Contact's host is not the source address.
        ("192.0.2.50:5062", "<sip:a@10.0.0.9:7000>", 5062),
        ("192.0.2.50:5062", "<sip:a@phone.invalid>", 5062),
        ("192.0.2.50:5062", "<sip:a@0.0.0.0:7000>", 5062),
    ];
    check_peers(true, &rows);
}

#[test]
fn ipv6_addresses_are_compared_as_addresses() {
    let source = "[2001:db8::50]:5062";
    let contact = "<sip:a@[2001:DB8:0:0::50]:7000>";
    assert_eq!(
        peer_after(source, "[2001:db8:0::0:50]:5062", contact),
        ("[2001:db8::50]:7000".to_owned(), false)
    );
}

#[test]
fn requests_leave_by_the_listener_that_took_the_register() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", "192.0.2.50:5060");
    phone.contact(&mut bench, "<sip:alice@192.0.2.50>");
    let row = bench.list(&Default::default()).remove(0);
    assert_eq!(row.flow, phone.arrival().flow);
    assert_eq!(bench.locate(AOR)[0].flow.listener(), row.flow.listener());
}

#[test]
fn a_connection_is_used_again_whatever_the_contact_says() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", "192.0.2.50:40000");
    let flow = Flow::Stream {
        shard: ShardId(1),
        listener: ListenerId(1),
        slot: 7,
        generation: 9,
        peer: phone.arrival().flow.peer(),
    };
    phone.connection = Some(flow);
    phone.contact(&mut bench, "<sip:alice@192.0.2.50:5060>");
    assert_eq!(bench.locate(AOR)[0].flow, flow);
    // Behind NAT it is the connection's business to stay open.
    phone.contact(&mut bench, "<sip:alice@10.0.0.9:5060>");
    assert_eq!(bench.locate(AOR)[0].flow, flow);
    assert!(bench.list(&Default::default())[0].behind_nat);
    assert!(bench.pass_ms(100_000).is_empty());
    // Another connection from the same address is another flow.
    let again = phone.last.clone();
    assert_eq!(bench.deliver(phone.arrival(), &again).unwrap().status, 200);
    phone.connection = None;
    assert_eq!(bench.deliver(phone.arrival(), &again).unwrap().status, 401);
}

#[test]
fn higher_q_comes_first_and_of_equal_q_the_newest() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", "192.0.2.50:5060");
    for (user, q) in [
        ("low", "0.2"),
        ("old", "0.7"),
        ("new", "0.7"),
        ("high", "1"),
        ("zero", "0"),
    ] {
        phone.contact(&mut bench, &format!("<sip:{user}@192.0.2.50>;q={q}"));
    }
    let users: Vec<String> = bench.located(AOR);
    let expected = ["high", "new", "old", "low", "zero"];
    assert_eq!(users, expected.map(|user| format!("sip:{user}@192.0.2.50")));
    // A refresh makes it the newest.
    phone.contact(&mut bench, "<sip:old@192.0.2.50>;q=0.7");
    assert_eq!(bench.located(AOR)[1], "sip:old@192.0.2.50");
    // Without q it is 1, and newer than the one with q=1.
    phone.contact(&mut bench, "<sip:plain@192.0.2.50>");
    assert_eq!(bench.located(AOR)[0], "sip:plain@192.0.2.50");
}

#[test]
fn flows_of_one_instance_are_one_group_with_the_newest_first() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", "192.0.2.50:5060");
    let instance = "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\"";
    phone.contact(
        &mut bench,
        &format!("<sip:one@192.0.2.50>;reg-id=1;q=0.9;{instance}"),
    );
    phone.contact(
        &mut bench,
        &format!("<sip:two@192.0.2.50>;reg-id=2;q=0.5;{instance}"),
    );
    phone.contact(&mut bench, "<sip:desk@192.0.2.50>;q=0.7");
    let found = bench.locate(AOR);
    let seen: Vec<_> = found
        .iter()
        .map(|found| (found.contact.as_str(), found.q_milli, found.group))
        .collect();
    // `one` is older: it comes after `two`, whatever its q.
    assert_eq!(
        seen,
        [
            ("sip:desk@192.0.2.50", 700, 0),
            ("sip:two@192.0.2.50", 500, 1),
            ("sip:one@192.0.2.50", 500, 1),
        ]
    );
}

#[test]
fn one_binding_per_instance_and_reg_id() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", "192.0.2.50:5060");
    let instance = "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\"";
    let lower = instance.to_ascii_lowercase();
    phone.contact(
        &mut bench,
        &format!("<sip:a@192.0.2.50:1111>;reg-id=1;{instance}"),
    );
    phone.contact(
        &mut bench,
        &format!("<sip:a@192.0.2.50:1111>;reg-id=2;{instance}"),
    );
    let answer = phone.contact(
        &mut bench,
        &format!("<sip:a@192.0.2.50:2222>;reg-id=1;{lower}"),
    );
    assert_eq!(
        answer.contacts(),
        [
            format!("<sip:a@192.0.2.50:2222>;expires=3600;{lower};reg-id=1"),
            format!("<sip:a@192.0.2.50:1111>;expires=3600;{instance};reg-id=2"),
        ]
    );
    let other = instance.replace("AABB", "CCDD");
    let answer = phone.contact(
        &mut bench,
        &format!("<sip:a@192.0.2.50:2222>;reg-id=1;{other}"),
    );
    assert_eq!(answer.contacts().len(), 3);
    // reg-id without an instance means nothing (RFC 5626 §6).
    let answer = phone.contact(&mut bench, "<sip:b@192.0.2.50>;reg-id=9");
    assert_eq!(answer.contacts()[0], "<sip:b@192.0.2.50>;expires=3600");
}

#[test]
fn without_reg_id_the_instance_replaces_its_older_binding() {
    let mut bench = Bench::new();
    bench.settings.contacts_per_aor_max = 1;
    let mut phone = Phone::new("alice", "192.0.2.50:5060");
    let instance = "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\"";
    phone.contact(&mut bench, &format!("<sip:a@192.0.2.50:1111>;{instance}"));
    phone.call_id = "after-a-reboot".into();
    let answer = phone.contact(&mut bench, &format!("<sip:b@192.0.2.50:2222>;{instance}"));
    assert_eq!((answer.status, answer.contacts().len()), (200, 1));
    assert_eq!(bench.located(AOR), ["sip:b@192.0.2.50:2222"]);
}

#[test]
fn the_same_call_id_and_contact_user_replace_the_older_binding() {
    let mut bench = Bench::new();
    bench.settings.contacts_per_aor_max = 1;
    let mut phone = Phone::new("alice", "192.0.2.50:5060");
    phone.contact(&mut bench, "<sip:a@192.0.2.50:1111>");
    let answer = phone.contact(&mut bench, "<sip:a@192.0.2.50:2222>");
    assert_eq!((answer.status, answer.contacts().len()), (200, 1));
    assert_eq!(bench.located(AOR), ["sip:a@192.0.2.50:2222"]);
    assert_eq!(
        phone.contact(&mut bench, "<sip:b@192.0.2.50:2222>").status,
        403,
        "another user"
    );
    phone.call_id = "another".into();
    let answer = phone.contact(&mut bench, "<sip:a@192.0.2.50:3333>");
    assert_eq!(answer.status, 403, "another Call-ID");
}

#[test]
fn contacts_of_one_request_do_not_replace_each_other() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", "192.0.2.50:5060");
    let both = "<sip:a@192.0.2.50:1111>, <sip:a@192.0.2.50:2222>";
    for _ in 0..2 {
        assert_eq!(phone.contact(&mut bench, both).contacts().len(), 2);
    }
    assert_eq!(bench.count(Counter::BindingsCreated), 2);
    assert_eq!(bench.count(Counter::BindingsRefreshed), 2);
}

#[test]
fn outbound_is_told_where_it_was_used_and_refused_behind_a_proxy() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", "192.0.2.50:5060");
    let contact = "Contact: <sip:a@192.0.2.50>;reg-id=1;+sip.instance=\"<urn:x:1>\"\r\n";
    assert!(
        phone
            .register(&mut bench, contact)
            .headers("Require")
            .is_empty()
    );
    let lines = format!("Supported: path, outbound\r\n{contact}");
    assert_eq!(
        phone.register(&mut bench, &lines).headers("Require"),
        ["outbound"]
    );
    let proxied = format!("Via: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKinner\r\n{lines}");
    assert_eq!(phone.register(&mut bench, &proxied).status, 439);
}

#[test]
fn a_path_is_kept_from_a_trunk_and_ignored_from_a_phone() {
    let mut bench = Bench::new();
    let lines = "Supported: path\r\n\
                 Path: <sip:p1.test;lr>\r\nPath: <sip:p2.test;lr>, <sip:p3.test;lr>\r\n\
                 Contact: <sip:a@10.0.0.9>\r\n";
    let mut phone = Phone::new("alice", "192.0.2.50:5060");
    let answer = phone.register(&mut bench, lines);
    assert_eq!((answer.status, answer.headers("Path")), (200, vec![]));
    assert_eq!(bench.locate(AOR)[0].path, "");
    let mut proxy = Phone::new("bob", "203.0.113.80:5060");
    let answer = proxy.register(&mut bench, lines);
    let path = "<sip:p1.test;lr>, <sip:p2.test;lr>, <sip:p3.test;lr>";
    assert_eq!((answer.status, answer.headers("Path")), (200, vec![path]));
    assert_eq!(bench.locate("bob@example.test")[0].path, path);
    let long = format!("Path: <sip:{}.test;lr>\r\n{lines}", "p".repeat(500));
    assert_eq!(proxy.register(&mut bench, &long).status, 403);
}

#[test]
fn a_binding_behind_nat_is_kept_open_every_interval_until_it_ends() {
    let mut bench = Bench::new();
    let mut phone = Phone::behind_nat("alice", "192.0.2.50:1024");
    phone.contact(&mut bench, "<sip:alice@10.0.0.9>;expires=100");
    let start = bench.now.time;
    let sent = bench.pass_ms(200_000);
    let times: Vec<u64> = sent
        .iter()
        .map(|(at, _, _)| at.since(start).as_millis() as u64)
        .collect();
    assert_eq!(times.len(), 4, "{times:?}");
    assert!(times[0] < 25_020, "{times:?}");
    for pair in times.windows(2) {
        assert!(
            (25_000..=25_020).contains(&(pair[1] - pair[0])),
            "{times:?}"
        );
    }
    for (_, flow, text) in sent {
        assert_eq!((flow, text.as_str()), (phone.arrival().flow, "\r\n\r\n"));
    }
    assert_eq!(bench.count(Counter::NatKeepalivesSent), 4);
    assert_eq!(bench.count(Counter::BindingsExpired), 1);
    assert_eq!(bench.wheel.len(), 0);
}

#[test]
fn keep_alives_are_spread_over_the_interval() {
    let mut bench = Bench::with_bindings(1024);
    bench.settings.contacts_per_aor_max = 32;
    for user in ["alice", "bob", "carol"] {
        let lines: String = (0..32)
            .map(|at| format!("Contact: <sip:{user}{at}@10.0.0.9>\r\n"))
            .collect();
        let mut phone = Phone::behind_nat(user, "192.0.2.50:1024");
        assert_eq!(phone.register(&mut bench, &lines).contacts().len(), 32);
    }
    let mut seconds = BTreeMap::new();
    let start = bench.now.time;
    for (at, _, _) in bench.pass_ms(25_000) {
        *seconds.entry(at.since(start).as_secs()).or_insert(0) += 1;
    }
    assert_eq!(seconds.values().sum::<i32>(), 96);
    // 96 over 25 s are about 4 in each: 12 in one would be chance at 1 in 1000.
    assert!(seconds.values().all(|count| *count <= 12), "{seconds:?}");
}

#[test]
fn keep_alives_end_with_the_binding_and_are_not_sent_to_who_needs_none() {
    let mut bench = Bench::new();
    let mut natted = Phone::behind_nat("alice", "192.0.2.50:1024");
    natted.contact(&mut bench, "<sip:alice@10.0.0.9>");
    natted.contact(&mut bench, "<sip:alice@10.0.0.9>;expires=0");
    let mut public = Phone::new("bob", "192.0.2.51:5060");
    public.contact(&mut bench, "<sip:bob@192.0.2.51>");
    assert!(bench.pass_ms(100_000).is_empty());
    // A phone that comes out from behind its NAT gets no more.
    natted.contact(&mut bench, "<sip:alice@10.0.0.9>");
    natted.via = natted.source.clone();
    natted.contact(&mut bench, "<sip:alice@192.0.2.50:1024>");
    assert!(bench.pass_ms(100_000).is_empty());
    // And one that goes behind it does.
    natted.via = "10.0.0.9;rport".into();
    natted.contact(&mut bench, "<sip:alice@192.0.2.50:1024>");
    assert_eq!(bench.pass_ms(100_000).len(), 4);
    bench.settings.nat_keepalive_s = 0;
    assert!(bench.pass_ms(100_000).is_empty());
}

#[test]
fn a_binding_refreshed_again_and_again_is_kept_open_all_the_time() {
    let mut bench = Bench::new();
    bench.settings.expires_min_s = 10;
    let mut phone = Phone::behind_nat("alice", "192.0.2.50:1024");
    let mut gaps = Vec::new();
    let mut last = bench.now.time;
    for _ in 0..40 {
        // Shorter than the interval: the expiry is always nearer than the next keep-alive.
        phone.contact(&mut bench, "<sip:alice@10.0.0.9>;expires=20");
        for (at, _, _) in bench.pass_ms(9_000) {
            gaps.push(at.since(last).as_secs());
            last = at;
        }
    }
    assert!(
        gaps.len() >= 14 && gaps.iter().all(|gap| *gap <= 25),
        "{gaps:?}"
    );
    assert_eq!(bench.count(Counter::BindingsExpired), 0);
}

#[test]
fn targets_that_do_not_fit_are_left_out_and_the_best_are_there() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", "192.0.2.50:5060");
    for q in 1..10 {
        phone.contact(&mut bench, &format!("<sip:{q}@192.0.2.50>;q=0.{q}"));
    }
    let whole = bench.locate(AOR);
    assert_eq!(whole.len(), 9);
    for room in 0..500 {
        let some = bench.locate_in(AOR, room);
        assert_eq!(some, whole[..some.len()]);
        assert_eq!(some.len() == 9, room >= 9 * (28 + 16), "{room}");
    }
}
