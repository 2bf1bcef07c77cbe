//! Which requests are one transaction: RFC 3261 §17.2.3.

use super::*;

const VIA: &str = "SIP/2.0/UDP 198.51.100.7:5062;rport;branch=z9hG4bKa";

/// True when `second` belongs to the transaction that `first` started.
fn same(first: &str, second: &str) -> bool {
    let mut bench = Bench::new();
    bench.start_server(first);
    !matches!(bench.receive(arrival(CALLER), second), Met::New(_))
}

fn message(via: &str) -> String {
    request_with_via("MESSAGE", via, "")
}

#[test]
fn branch_sent_by_and_method_make_the_transaction() {
    let first = message(VIA);
    assert!(same(&first, &first));
    assert!(!same(&first, &message(&VIA.replace("bKa", "bKb"))));
    assert!(!same(&first, &message(&VIA.replace("7:5062", "9:5062"))));
    assert!(!same(&first, &message(&VIA.replace(":5062", ":5063"))));
    assert!(!same(&first, &request_with_via("INFO", VIA, "")));
    assert!(!same(
        &request_with_via("PING", VIA, ""),
        &request_with_via("PONG", VIA, "")
    ));
}

#[test]
fn nothing_else_makes_the_transaction_when_the_branch_has_the_cookie() {
    let first = message(VIA);
    let other = first
        .replace("7 MESSAGE", "8 MESSAGE")
        .replace("call@", "other@")
        .replace("from-tag", "other-tag")
        .replace("bob", "carol");
    assert!(same(&first, &other));
}

#[test]
fn sent_by_has_no_case_and_a_port_by_default() {
    let first = message("SIP/2.0/UDP Phone.Example.ORG;branch=z9hG4bKa");
    assert!(same(
        &first,
        &message("SIP/2.0/UDP phone.example.org:5060;branch=z9hG4bKa")
    ));
    assert!(!same(
        &first,
        &message("SIP/2.0/UDP phone.example.org:5061;branch=z9hG4bKa")
    ));
}

#[test]
fn a_request_from_another_address_is_another_transaction() {
    let mut bench = Bench::new();
    bench.start_server(&message(VIA));
    let met = bench.receive(arrival("198.51.100.8:5062"), &message(VIA));
    assert!(matches!(met, Met::New(Some(_))));
    let met = bench.receive(arrival("198.51.100.7:1024"), &message(VIA));
    assert_eq!(met, Met::Again(false));
}

#[test]
fn ack_and_cancel_belong_to_the_invite_of_their_branch() {
    let invite = request_with_via("INVITE", VIA, "");
    for method in ["ACK", "CANCEL"] {
        assert!(same(&invite, &request_with_via(method, VIA, ";tag=any")));
        let other = VIA.replace("bKa", "bKb");
        assert!(!same(&invite, &request_with_via(method, &other, "")));
        assert!(!same(&message(VIA), &request_with_via(method, VIA, "")));
    }
}

#[test]
fn without_the_cookie_everything_counts() {
    for via in [
        "SIP/2.0/UDP 198.51.100.7:5062",
        "SIP/2.0/UDP 198.51.100.7:5062;branch=1",
        // RFC 4475 §3.2.1: the cookie alone names nothing.
        "SIP/2.0/UDP 198.51.100.7:5062;branch=z9hG4bK",
    ] {
        for method in ["MESSAGE", "INVITE"] {
            let first = request_with_via(method, via, ";tag=to");
            assert!(same(&first, &first));
            for (from, to) in [
                ("example.test SIP/2.0", "example.org SIP/2.0"),
                ("from-tag", "other-tag"),
                ("call@", "other@"),
                ("CSeq: 7", "CSeq: 8"),
                ("5062", "5063"),
            ] {
                assert!(!same(&first, &first.replace(from, to)), "{from} in {first}");
            }
        }
        let first = request_with_via("MESSAGE", via, ";tag=to");
        assert!(!same(
            &first,
            &request_with_via("MESSAGE", via, ";tag=other")
        ));
        assert!(!same(&first, &request_with_via("INFO", via, ";tag=to")));
    }
}

#[test]
fn without_the_cookie_an_ack_and_a_cancel_belong_to_their_invite() {
    let via = "SIP/2.0/UDP 198.51.100.7:5062";
    let invite = request_with_via("INVITE", via, "");
    for method in ["ACK", "CANCEL"] {
        let theirs = request_with_via(method, via, ";tag=ours");
        assert!(same(&invite, &theirs));
        assert!(!same(&invite, &theirs.replace("CSeq: 7", "CSeq: 8")));
        assert!(!same(&invite, &theirs.replace("call@", "other@")));
    }
}

#[test]
fn the_key_of_a_finished_transaction_does_not_find_the_next_one_in_its_slot() {
    let mut bench = Bench::new();
    let first = bench.start_server(&request("MESSAGE", "a"));
    bench.respond(first, &response(200, "MESSAGE", "a"));
    bench.sent();
    let second = bench.start_server(&request("MESSAGE", "b"));
    assert_eq!((second.0.slot, second == first), (first.0.slot, false));
    assert_eq!(bench.transactions.context_of(first), None);
    assert_eq!(bench.transactions.upstream_flow(first), None);
    bench.respond(first, &response(500, "MESSAGE", "a"));
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.transactions.context_of(second), Some(CONTEXT));
}
