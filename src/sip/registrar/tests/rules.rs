//! RFC 3261 §10.3 rule by rule.

use super::bench::{Bench, Phone};
use crate::sip::{Command, Counter, testing};

const HOME: &str = "192.0.2.50:5060";

#[test]
fn a_registration_is_challenged_then_kept_and_told() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    let challenge = phone
        .register_once(&mut bench, "Contact: <sip:alice@192.0.2.50>\r\n")
        .unwrap();
    assert_eq!(challenge.status, 401);
    assert_eq!(bench.located("alice@example.test"), Vec::<String>::new());
    phone.take_challenge(&challenge);
    let answer = phone.contact(&mut bench, "<sip:alice@192.0.2.50>");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.contacts(), ["<sip:alice@192.0.2.50>;expires=3600"]);
    assert!(answer.headers("To")[0].contains(";tag="));
    assert_eq!(
        bench.located("alice@example.test"),
        ["sip:alice@192.0.2.50"]
    );
    assert_eq!(bench.count(Counter::Registers), 2);
    assert_eq!(bench.count(Counter::RegistersAccepted), 1);
    assert_eq!(bench.count(Counter::BindingsCreated), 1);
}

#[test]
fn without_contact_the_bindings_are_told_and_nothing_changes() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    assert_eq!(
        phone.register(&mut bench, "").contacts(),
        Vec::<&str>::new()
    );
    phone.contact(&mut bench, "<sip:alice@192.0.2.50>;q=0.50;expires=100");
    bench.pass_ms(10_001);
    let answer = phone.register(&mut bench, "");
    // 89.999 s are left: never told longer than the truth.
    assert_eq!(
        answer.contacts(),
        ["<sip:alice@192.0.2.50>;expires=89;q=0.5"]
    );
    assert_eq!(bench.count(Counter::BindingsRefreshed), 0);
}

#[test]
fn the_user_part_is_compared_unescaped_and_by_case_and_the_host_without_case() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    phone.to = "<sip:%61lice:secret@EXAMPLE.test.:5070;user=phone>".into();
    assert_eq!(
        phone.contact(&mut bench, "<sip:alice@192.0.2.50>").status,
        200
    );
    assert_eq!(bench.located("alice@example.test").len(), 1);
    phone.to = "<sip:Alice@example.test>".into();
    assert_eq!(
        phone.contact(&mut bench, "<sip:alice@192.0.2.50>").status,
        403
    );
}

#[test]
fn a_request_for_no_domain_of_ours_is_404_or_silence() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    for to in [
        "<sip:alice@nowhere.test>",
        "<sip:alice@sip.example.org>",
        "<tel:+15550100>",
    ] {
        phone.to = to.into();
        assert_eq!(
            phone.register_once(&mut bench, "").unwrap().status,
            404,
            "{to}"
        );
    }
    bench.settings.strangers = crate::sip::Strangers::Drop;
    assert!(phone.register_once(&mut bench, "").is_none());
    assert_eq!(bench.count(Counter::RefusedNoDomain), 3);
}

#[test]
fn a_to_without_a_user_that_could_exist_is_404_and_one_that_is_malformed_400() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    let long = format!("<sip:{}@example.test>", "a".repeat(129));
    for (to, status) in [
        ("<sip:example.test>", 404),
        (long.as_str(), 404),
        ("<sip:al%zzice@example.test>", 400),
        ("<sip:al%00ice@example.test>", 400),
    ] {
        phone.to = to.into();
        let answer = phone.register_once(&mut bench, "").unwrap();
        assert_eq!(answer.status, status, "{to}");
    }
}

#[test]
fn the_request_uri_names_the_domain_or_this_node_or_is_403() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    for (uri, status) in [
        ("sip:EXAMPLE.test", 401),
        ("sip:example.test.", 401),
        ("sip:192.0.2.1", 401),
        ("sip:sip.example.org", 401),
        ("sip:edge.example.org:5070", 401),
        ("sip:other.test", 403),
        ("sip:nowhere.test", 403),
        ("tel:+15550100", 416),
    ] {
        phone.uri = uri.into();
        let answer = phone.register_once(&mut bench, "").unwrap();
        assert_eq!(answer.status, status, "{uri}");
    }
}

#[test]
fn switched_off_or_without_a_list_it_is_403_at_once() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    for domain in ["off.test", "empty.test"] {
        phone.uri = format!("sip:{domain}");
        phone.to = format!("<sip:alice@{domain}>");
        assert_eq!(
            phone.register_once(&mut bench, "").unwrap().status,
            403,
            "{domain}"
        );
    }
    assert_eq!(bench.count(Counter::RefusedAcl), 2);
}

#[test]
fn nobody_registers_for_somebody_else() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    phone.to = "<sip:bob@example.test>".into();
    let answer = phone.contact(&mut bench, "<sip:alice@192.0.2.50>");
    assert_eq!(answer.status, 403);
    // Another tenant's user of another list is no user here at all.
    let mut stranger = Phone::new("dave", HOME);
    stranger.to = "<sip:bob@example.test>".into();
    let challenge = stranger.register_once(&mut bench, "").unwrap();
    stranger.take_challenge(&challenge);
    let answer = stranger
        .register_once(&mut bench, "Contact: <sip:dave@192.0.2.50>\r\n")
        .unwrap();
    assert_eq!(answer.status, 401);
    assert_eq!(bench.registrar.len(), 0);
}

#[test]
fn from_may_be_a_third_party() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    phone.from = "<sip:boss@elsewhere.test>".into();
    assert_eq!(
        phone.contact(&mut bench, "<sip:alice@192.0.2.50>").status,
        200
    );
    assert_eq!(bench.located("alice@example.test").len(), 1);
}

#[test]
fn an_interval_is_cut_to_the_longest_and_refused_below_the_shortest() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    for (lines, expires) in [
        ("Contact: <sip:a@192.0.2.50>;expires=60\r\n", "60"),
        (
            "Contact: <sip:a@192.0.2.50>;expires=86400\r\nExpires: 90\r\n",
            "3600",
        ),
        ("Contact: <sip:a@192.0.2.50>\r\nExpires: 90\r\n", "90"),
        ("Contact: <sip:a@192.0.2.50>\r\n", "3600"),
        (
            "Contact: <sip:a@192.0.2.50>;expires=99999999999999\r\n",
            "3600",
        ),
        ("Contact: <sip:a@192.0.2.50>;expires=soon\r\n", "3600"),
        ("Contact: <sip:a@192.0.2.50>\r\nExpires: -1\r\n", "3600"),
    ] {
        let answer = phone.register(&mut bench, lines);
        let expected = format!("<sip:a@192.0.2.50>;expires={expires}");
        assert_eq!(answer.contacts(), [expected], "{lines}");
    }
    for lines in [
        "Contact: <sip:a@192.0.2.50>;expires=59\r\n",
        "Contact: <sip:a@192.0.2.50>;expires=1\r\n",
        "Contact: <sip:a@192.0.2.50>\r\nExpires: 59\r\n",
    ] {
        let answer = phone.register(&mut bench, lines);
        assert_eq!(
            (answer.status, answer.headers("Min-Expires")),
            (423, vec!["60"]),
            "{lines}"
        );
    }
    assert_eq!(bench.count(Counter::RegistersRefused), 3);
}

#[test]
fn expires_zero_removes_one_contact_and_star_all_of_them() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    phone.register(
        &mut bench,
        "Contact: <sip:a@192.0.2.50>, <sip:b@192.0.2.50>\r\nContact: <sip:c@192.0.2.50>\r\n",
    );
    let answer = phone.contact(&mut bench, "<sip:b@192.0.2.50;ob>;expires=0");
    assert_eq!(
        answer.contacts().len(),
        2,
        "b with another parameter is still b: §19.1.4"
    );
    let answer = phone.contact(&mut bench, "<sip:nobody@192.0.2.50>;expires=0");
    assert_eq!((answer.status, answer.contacts().len()), (200, 2));
    let answer = phone.register(&mut bench, "Contact: *\r\nExpires: 0\r\n");
    assert_eq!((answer.status, answer.contacts()), (200, vec![]));
    assert_eq!(bench.located("alice@example.test"), Vec::<String>::new());
    assert_eq!(bench.count(Counter::BindingsRemoved), 3);
    assert_eq!(bench.wheel.len(), 0);
}

#[test]
fn star_needs_expires_zero_and_no_company() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    phone.contact(&mut bench, "<sip:a@192.0.2.50>");
    for lines in [
        "Contact: *\r\n",
        "Contact: *\r\nExpires: 60\r\n",
        "Contact: *\r\nContact: <sip:a@192.0.2.50>\r\nExpires: 0\r\n",
        "Contact: <sip:a@192.0.2.50>, *\r\nExpires: 0\r\n",
    ] {
        assert_eq!(phone.register(&mut bench, lines).status, 400, "{lines}");
    }
    assert_eq!(bench.located("alice@example.test").len(), 1);
}

#[test]
fn one_bad_contact_and_none_is_taken() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    phone.contact(&mut bench, "<sip:a@192.0.2.50>;expires=600");
    let good = "<sip:a@192.0.2.50>;expires=0, <sip:b@192.0.2.50>";
    for (bad, status) in [
        ("<sip:c@192.0.2.50>;expires=5", 423),
        ("<sip:c@192.0.2.50>;q=1.5", 400),
        ("<sip:c@192.0.2.50>;q=0.1234", 400),
        ("<sip:c@192.0.2.50>;+sip.instance=\"<urn:x>\";reg-id=0", 400),
        (
            "<sip:c@192.0.2.50>;+sip.instance=\"<urn:x>\";reg-id=2147483648",
            400,
        ),
        (
            "<sip:b@192.0.2.50;transport=udp>, <sip:B2@192.0.2.50>, <sip:b@192.0.2.50>",
            400,
        ),
        ("<tel:+15550100>", 403),
        ("<mailto:alice@example.test>", 403),
        ("<sip:c@192.0.2.50?Subject=x>", 403),
        ("<sip:c@192.0.2.1>", 403),
        ("<sip:c@192.0.2.1:5060;transport=tcp>", 403),
        ("<sip:c@edge.example.org:5070>", 403),
        ("<sip:c@127.0.0.1>", 403),
        ("<sip:c@127.200.0.1:7000>", 403),
        ("<sip:c@[::1]>", 403),
        ("<sip:c@[::ffff:127.0.0.1]>", 403),
    ] {
        let answer = phone.contact(&mut bench, &format!("{good}, {bad}"));
        assert_eq!(answer.status, status, "{bad}");
        assert!(answer.contacts().is_empty());
        assert_eq!(
            bench.located("alice@example.test"),
            ["sip:a@192.0.2.50"],
            "{bad}"
        );
    }
    // A port of ours at which nobody listens is another program's.
    assert_eq!(
        phone.contact(&mut bench, "<sip:c@192.0.2.1:5090>").status,
        200
    );
}

#[test]
fn a_refusal_says_why_in_words() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    let answer = phone.contact(&mut bench, "<sip:c@127.0.0.1>");
    assert_eq!(
        answer.headers("Warning"),
        ["399 192.0.2.1:5060 \"A Contact must not be a loopback address\""]
    );
}

#[test]
fn loopback_contacts_are_taken_from_loopback() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", "127.0.0.1:5070");
    let answer = phone.contact(&mut bench, "<sip:alice@127.0.0.1:5070>");
    assert_eq!(answer.status, 200);
}

#[test]
fn a_contact_uri_of_512_octets_is_kept_and_one_more_refused() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    let uri = |length: usize| format!("sip:{}@192.0.2.50", "a".repeat(length - 15));
    assert_eq!(uri(512).len(), 512);
    assert_eq!(
        phone.contact(&mut bench, &format!("<{}>", uri(512))).status,
        200
    );
    assert_eq!(
        phone.contact(&mut bench, &format!("<{}>", uri(513))).status,
        403
    );
    assert_eq!(bench.located("alice@example.test"), [uri(512)]);
}

#[test]
fn a_lost_200_is_answered_again_and_nothing_changes() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    let first = phone.contact(&mut bench, "<sip:alice@192.0.2.50>;expires=600");
    bench.pass_ms(500);
    let again = phone.again(&mut bench).unwrap();
    assert_eq!(again.status, 200);
    assert_eq!(
        again.headers("To"),
        first.headers("To"),
        "the same tag: RFC 3261 §8.2.7"
    );
    assert_eq!(again.contacts(), ["<sip:alice@192.0.2.50>;expires=599"]);
    assert_eq!(bench.count(Counter::RegisterRetransmissions), 1);
    assert_eq!(bench.count(Counter::BindingsCreated), 1);
    assert_eq!(bench.count(Counter::BindingsRefreshed), 0);
    // From elsewhere it is no retransmission, and its nonce count is used up.
    let elsewhere = testing::arrival("192.0.2.50:5061");
    assert_eq!(
        bench
            .deliver(elsewhere, &phone.last.clone())
            .unwrap()
            .status,
        401
    );
    // With another branch it is no retransmission either.
    let other = phone.last.replace("branch=z9hG4bK", "branch=z9hG4bKx");
    assert_eq!(bench.deliver(phone.arrival(), &other).unwrap().status, 401);
    assert_eq!(bench.count(Counter::RegisterRetransmissions), 1);
}

#[test]
fn a_retransmission_after_a_later_change_is_not_answered_as_if_it_were_new() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    phone.contact(&mut bench, "<sip:alice@192.0.2.50>");
    let old = phone.last.clone();
    phone.contact(&mut bench, "<sip:alice@192.0.2.50>;expires=60");
    assert_eq!(bench.deliver(phone.arrival(), &old).unwrap().status, 401);
    let answer = phone.register(&mut bench, "");
    assert_eq!(answer.contacts(), ["<sip:alice@192.0.2.50>;expires=60"]);
}

#[test]
fn a_lower_or_equal_cseq_of_the_same_call_id_is_500() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    phone.cseq = 100;
    phone.contact(&mut bench, "<sip:alice@192.0.2.50>;expires=600");
    for cseq in [0, 100, 101] {
        for lines in [
            "Contact: <sip:alice@192.0.2.50>;expires=60\r\n",
            "Contact: <sip:alice@192.0.2.50>;expires=0\r\n",
            "Contact: *\r\nExpires: 0\r\n",
        ] {
            // 101 was challenged, 102 accepted; `register` adds one.
            phone.cseq = cseq;
            assert_eq!(
                phone.register(&mut bench, lines).status,
                500,
                "{cseq} {lines}"
            );
        }
    }
    assert_eq!(bench.located("alice@example.test").len(), 1);
    phone.cseq = 102;
    assert_eq!(
        phone
            .contact(&mut bench, "<sip:alice@192.0.2.50>;expires=60")
            .status,
        200
    );
}

#[test]
fn a_rebooted_phone_may_count_from_the_start_with_a_new_nonce() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    phone.cseq = 100;
    phone.contact(&mut bench, "<sip:alice@192.0.2.50>");
    bench.pass_ms(30_000);
    let mut rebooted = Phone::new("alice", HOME);
    let challenge = rebooted.register_once(&mut bench, "").unwrap();
    // Not with a nonce that is no younger than the binding's change.
    phone.cseq = 1;
    assert_eq!(
        phone.contact(&mut bench, "<sip:alice@192.0.2.50>").status,
        500
    );
    rebooted.take_challenge(&challenge);
    let answer = rebooted.contact(&mut bench, "<sip:alice@192.0.2.50>;expires=600");
    assert_eq!(answer.contacts(), ["<sip:alice@192.0.2.50>;expires=600"]);
    // And from then on that nonce is the older one.
    rebooted.cseq = 0;
    bench.pass_ms(1000);
    assert_eq!(
        rebooted
            .contact(&mut bench, "<sip:alice@192.0.2.50>")
            .status,
        500
    );
}

#[test]
fn another_call_id_is_taken_whatever_its_cseq() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    phone.cseq = 100;
    phone.contact(&mut bench, "<sip:alice@192.0.2.50>");
    phone.cseq = 1;
    phone.call_id = "another".into();
    assert_eq!(
        phone.contact(&mut bench, "<sip:alice@192.0.2.50>").status,
        200
    );
    assert_eq!(bench.located("alice@example.test").len(), 1);
}

#[test]
fn draining_refuses_what_is_new_and_serves_what_is_there() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    phone.contact(&mut bench, "<sip:alice@192.0.2.50>");
    assert!(bench.command(Command::Drain).is_none());
    let mut other = Phone::new("bob", "192.0.2.51:5060");
    let answer = other.contact(&mut bench, "<sip:bob@192.0.2.51>");
    assert_eq!(
        (answer.status, answer.headers("Retry-After")),
        (503, vec!["5"])
    );
    assert_eq!(bench.count(Counter::RefusedOverload), 1);
    assert_eq!(
        phone.contact(&mut bench, "<sip:alice@192.0.2.50>").status,
        200
    );
    assert_eq!(
        phone
            .contact(&mut bench, "<sip:alice@192.0.2.50>;expires=0")
            .status,
        200
    );
    assert_eq!(bench.registrar.len(), 0);
}

#[test]
fn too_many_requests_for_one_address_get_503() {
    let mut bench = Bench::new();
    bench.settings.registers_per_aor_s = 5;
    let mut phone = Phone::new("alice", HOME);
    let challenge = phone.register_once(&mut bench, "").unwrap();
    phone.take_challenge(&challenge);
    for _ in 0..4 {
        assert_eq!(
            phone.contact(&mut bench, "<sip:alice@192.0.2.50>").status,
            200
        );
    }
    let answer = phone.contact(&mut bench, "<sip:alice@192.0.2.50>");
    assert_eq!(
        (answer.status, answer.headers("Retry-After")),
        (503, vec!["5"])
    );
    assert_eq!(bench.count(Counter::RegistersOverRate), 1);
    bench.pass_ms(200);
    assert_eq!(
        phone.contact(&mut bench, "<sip:alice@192.0.2.50>").status,
        200
    );
}

#[test]
fn a_stranger_who_spends_a_phones_name_does_not_keep_it_out() {
    let mut bench = Bench::new();
    bench.settings.registers_per_aor_s = 5;
    let mut stranger = Phone::new("alice", "203.0.113.9:5060");
    let statuses: Vec<u16> = (0..9)
        .map(|_| stranger.register_once(&mut bench, "").unwrap().status)
        .collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 503, 503, 503, 503]);
    let mut phone = Phone::new("alice", HOME);
    assert_eq!(
        phone.contact(&mut bench, "<sip:alice@192.0.2.50>").status,
        200
    );
}

#[test]
fn the_owner_is_found_from_the_canonical_address() {
    let mut bench = Bench::new();
    let mut phone = Phone::new("alice", HOME);
    phone.to = "\"A\" <sip:%61l%40ce:pw@Example.TEST.:5070;user=phone>;tag=x".into();
    phone.register_once(&mut bench, "");
    let text = phone.last.clone();
    assert_eq!(
        bench.address_of(&text),
        Some("al@ce@example.test".to_owned())
    );
    let text = text.replace("Example.TEST", "nowhere.test");
    assert_eq!(bench.address_of(&text), None);
}

#[test]
fn two_hundred_with_every_contact_at_its_longest_still_fits_a_datagram() {
    let mut bench = Bench::new();
    bench.settings.contacts_per_aor_max = u8::MAX;
    let mut phone = Phone::new("alice", HOME);
    for at in 0..32 {
        let user = format!("{at:02}{}", "a".repeat(495));
        let instance = format!("<urn:x:{at:02}{}>", "b".repeat(150));
        let contact = format!("<sip:{user}@192.0.2.50>;+sip.instance=\"{instance}\"");
        let answer = phone.contact(&mut bench, &contact);
        assert_eq!((answer.status, answer.contacts().len()), (200, at + 1));
    }
}
