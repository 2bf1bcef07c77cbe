//! The judge notices each wrong that it is there for.

use std::net::SocketAddr;

use ringfence::sip::Time;

use super::{Cause, Oracle};

const EDGE_VIA: &str = "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKAQ\r\n";
const CALLER_VIA: &str = "Via: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK-1\r\n";

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, host], 5060))
}

/// An INVITE with these lines, of these hops, that was sent with 70 hops left.
fn invite(lines: &str, max_forwards: u32) -> String {
    format!(
        "INVITE sip:bob@digest.test SIP/2.0\r\n{lines}Max-Forwards: {max_forwards}\r\n\
         From: <sip:a@digest.test>;tag=a\r\nTo: <sip:bob@digest.test>\r\nCall-ID: 1\r\n\
         CSeq: 1 INVITE\r\nX-Sim: 1\r\n\r\nbody"
    )
}

fn response(status: &str, tag: &str, lines: &str) -> String {
    format!(
        "SIP/2.0 {status} X\r\n{CALLER_VIA}From: <sip:a@digest.test>;tag=a\r\n\
         To: <sip:bob@digest.test>;tag={tag}\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n{lines}\r\n"
    )
}

fn register(cseq: u32, expires: u32, lines: &str) -> String {
    format!(
        "REGISTER sip:digest.test SIP/2.0\r\n\
         Via: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK-r{cseq}\r\n\
         From: <sip:a@digest.test>;tag=r\r\nTo: <sip:a@digest.test>\r\nCall-ID: r\r\n\
         CSeq: {cseq} REGISTER\r\nContact: <sip:a@198.51.100.1:5060>\r\nExpires: {expires}\r\n\
         {lines}\r\n"
    )
}

fn registered(contacts: &str) -> String {
    format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK-r\r\n\
         From: <sip:a@digest.test>;tag=r\r\nTo: <sip:a@digest.test>;tag=x\r\nCall-ID: r\r\n\
         CSeq: 1 REGISTER\r\n{contacts}\r\n"
    )
}

const LOGIN: &str = "Authorization: Digest nonce=\"n\"\r\n";
const BOUND: &str = "Contact: <sip:a@198.51.100.1:5060>;expires=60\r\n";

fn judge_at(oracle: &mut Oracle, now: Time, cause: &str, sends: &[(u8, &str)]) -> Option<String> {
    let cause = Cause {
        source: Some(address(1)),
        bytes: cause.as_bytes(),
    };
    let sends: Vec<_> = sends
        .iter()
        .map(|(host, text)| (address(*host), text.as_bytes()))
        .collect();
    oracle.judge(now, &cause, &sends, false).err()
}

/// Judges that the INVITE of `address(1)` made the edge send `sends`.
fn judge(oracle: &mut Oracle, sends: &[(u8, &str)]) -> Option<String> {
    let sent = invite(CALLER_VIA, 70);
    oracle.note_sent("1", sent.as_bytes());
    judge_at(oracle, Time(0), &sent, sends)
}

#[test]
fn a_request_is_forwarded_with_one_via_more_and_one_hop_less() {
    let vias = format!("{EDGE_VIA}{CALLER_VIA}");
    let good = invite(&vias, 69);
    assert_eq!(judge(&mut Oracle::default(), &[(2, &good)]), None);
    for wrong in [
        invite(&vias, 70),
        invite(&vias, 68),
        invite(CALLER_VIA, 69),
        good.replace("body", "bodY"),
        good.replace("X-Sim: 1", "X-Sim: 2"),
        good.replace("X-Sim: 1\r\n", ""),
        good.replace("X-Sim: 1\r\n", "X-Sim: 1\r\nX-Evl: 1\r\n"),
        good.replace(
            "X-Sim: 1\r\n",
            "X-Sim: 1\r\nProxy-Authorization: Digest\r\n",
        ),
        good.replace("CSeq: 1", "CSeq: x"),
    ] {
        let fault = judge(&mut Oracle::default(), &[(2, &wrong)]);
        assert!(fault.is_some(), "{wrong}");
    }
}

#[test]
fn a_request_has_one_final_response() {
    let (ok, busy) = (response("200", "b", ""), response("486", "b", ""));
    assert_eq!(
        judge(&mut Oracle::default(), &[(1, &busy), (1, &busy)]),
        None
    );
    assert!(judge(&mut Oracle::default(), &[(1, &busy), (1, &ok)]).is_some());
    assert!(judge(&mut Oracle::default(), &[(1, &ok), (1, &busy)]).is_some());
    let other = response("486", "c", "");
    assert!(judge(&mut Oracle::default(), &[(1, &busy), (1, &other)]).is_some());
    // RFC 3261 §13.2.2.4: of a fork, several may answer.
    let fork = response("200", "c", "X-Sim: 9\r\n");
    assert_eq!(judge(&mut Oracle::default(), &[(1, &ok), (1, &fork)]), None);
}

#[test]
fn the_edge_sends_no_ack_or_cancel_of_its_own_but_after_an_invite() {
    let vias = format!("{EDGE_VIA}{CALLER_VIA}");
    let cancel = "CANCEL sip:bob@digest.test SIP/2.0\r\n".to_owned()
        + EDGE_VIA
        + "From: <sip:a@digest.test>;tag=a\r\nTo: <sip:bob@digest.test>\r\nCall-ID: 1\r\n\
           CSeq: 1 CANCEL\r\n\r\n";
    let forwarded = invite(&vias, 69);
    let oracle = &mut Oracle::default();
    assert!(judge(oracle, &[(2, &cancel)]).is_some());
    assert_eq!(judge(oracle, &[(2, &forwarded), (2, &cancel)]), None);
    assert!(judge(oracle, &[(3, &cancel)]).is_some());
}

#[test]
fn a_200_to_register_tells_what_it_did() {
    let (asked, told) = (register(1, 60, LOGIN), registered(BOUND));
    let judge = |oracle: &mut Oracle, asked: &str, told: &str| {
        judge_at(oracle, Time(0), asked, &[(1, told)])
    };
    assert_eq!(judge(&mut Oracle::default(), &asked, &told), None);
    let bare = register(1, 60, "");
    assert!(judge(&mut Oracle::default(), &bare, &told).is_some());
    let nothing = registered("");
    assert!(judge(&mut Oracle::default(), &asked, &nothing).is_some());
    let longer = told.replace("expires=60", "expires=61");
    assert!(judge(&mut Oracle::default(), &asked, &longer).is_some());
    let gone = register(2, 0, LOGIN);
    assert!(judge(&mut Oracle::default(), &gone, &told).is_some());
    assert_eq!(judge(&mut Oracle::default(), &gone, &nothing), None);
}

#[test]
fn a_register_that_comes_again_changes_nothing() {
    let (asked, told) = (register(1, 60, LOGIN), registered(BOUND));
    let oracle = &mut Oracle::default();
    assert_eq!(judge_at(oracle, Time(0), &asked, &[(1, &told)]), None);
    let later = Time(5_000_000_000);
    let extended = judge_at(oracle, later, &asked, &[(1, &told)]);
    assert!(extended.is_some(), "its time was counted anew");
    let left = told.replace("expires=60", "expires=55");
    assert_eq!(judge_at(oracle, later, &asked, &[(1, &left)]), None);
    assert_eq!(oracle.repeated_registers, 1);
}

#[test]
fn an_older_register_is_not_obeyed_after_a_newer_one() {
    let challenge = "SIP/2.0 401 X\r\nVia: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK-r\r\n\
         WWW-Authenticate: Digest nonce=\"n\"\r\nFrom: <sip:a@digest.test>;tag=r\r\n\
         To: <sip:a@digest.test>;tag=x\r\nCall-ID: r\r\nCSeq: 1 REGISTER\r\n\r\n";
    let oracle = &mut Oracle::default();
    let told = registered(BOUND);
    assert_eq!(
        judge_at(oracle, Time(0), &register(1, 60, ""), &[(1, challenge)]),
        None
    );
    let later = Time(5_000_000_000);
    assert_eq!(
        judge_at(oracle, later, &register(7, 60, LOGIN), &[(1, &told)]),
        None
    );
    assert!(judge_at(oracle, later, &register(6, 60, LOGIN), &[(1, &told)]).is_some());
}

#[test]
fn bindings_are_listed_until_they_expire_and_not_longer() {
    let oracle = &mut Oracle::default();
    let (asked, told) = (register(1, 60, LOGIN), registered(BOUND));
    assert_eq!(judge_at(oracle, Time(0), &asked, &[(1, &told)]), None);
    let expired = Time(60_000_000_000);
    assert!(oracle.judge_bindings(Time(expired.0 - 1), &[]).is_err());
    assert_eq!(oracle.judge_bindings(expired, &[]), Ok(()));
}

#[test]
fn whoever_is_registered_is_not_unreachable() {
    let oracle = &mut Oracle::default();
    let register = register(1, 60, LOGIN)
        .replace("sip:a@digest.test>\r\nCall", "sip:bob@digest.test>\r\nCall");
    let told = registered(BOUND);
    assert_eq!(judge_at(oracle, Time(0), &register, &[(1, &told)]), None);
    let unavailable = response("480", "x", "");
    assert!(judge(oracle, &[(1, &unavailable)]).is_some());
}
