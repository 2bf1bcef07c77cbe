//! What bindings cost.

use super::bench::Bench;
use crate::sip::location::{Q_ABSENT, Registration, RequestId, Wanted, WantedList};
use crate::sip::{Time, testing};
use crate::wire::Uri;

const BINDINGS: u32 = 100_000;

/// The binding that figures are published for: AoR 24 octets, Contact 110 with `+sip.instance`,
/// Call-ID 36 (kept as a hash of 16), User-Agent 40.
pub(super) fn register(bench: &mut Bench, number: u32) {
    let aor = format!("{number:011}@example.test");
    let [_, a, b, c] = number.to_be_bytes();
    let contact = format!("sip:{number:011}@10.{a}.{b}.{c}:5060;x=");
    let contact = format!("{contact:a<44}");
    let instance = format!("<urn:uuid:00000000-0000-1000-8000-{number:012}>");
    let agent = format!("{:.<40}", format!("Desk phone {}/1.0", number % 40));
    let as_sent = format!("<{contact}>;+sip.instance=\"{instance}\"");
    assert_eq!((aor.len(), as_sent.len(), agent.len()), (24, 110, 40));
    let source = format!("198.51.100.{}:{}", number % 250, 1024 + number % 50_000);
    let registration = Registration {
        flow: testing::arrival(&source).flow,
        id: RequestId {
            call_id: [u64::from(number), 1],
            cseq: 1,
            branch: u64::from(number),
        },
        list: crate::tenant::CredentialListId(0),
        agent: agent.as_bytes(),
        path: b"",
        nonce_at: Time(0),
        draining: false,
    };
    let mut wanted = WantedList::default();
    wanted.push(Wanted {
        contact: contact.as_bytes(),
        uri: Uri::parse(contact.as_bytes()).unwrap(),
        instance: instance.as_bytes(),
        reg_id: 0,
        q_milli: Q_ABSENT,
        expires_s: 3600,
        behind_nat: true,
        target_port: 5060,
    });
    bench.turn(|registrar, turn| {
        let changed = registrar
            .location
            .change(turn, aor.as_bytes(), &registration, &wanted);
        assert_eq!(changed, Ok(()));
    });
}

#[test]
fn a_reference_binding_costs_at_most_350_octets_all_in() {
    let mut bench = Bench::with_bindings(BINDINGS);
    for number in 0..BINDINGS {
        register(&mut bench, number);
    }
    assert_eq!(
        (bench.registrar.len(), bench.wheel.len()),
        (BINDINGS, BINDINGS)
    );
    let each = bench.registrar.bytes().occupied as f64 / f64::from(BINDINGS);
    assert!(each <= 350.0, "{each} octets per binding");
    assert!(
        each >= 24.0 + 110.0,
        "{each} octets per binding leave something out"
    );
}

#[test]
fn a_table_is_paid_for_at_start_and_never_grows() {
    let mut bench = Bench::with_bindings(1000);
    let allocated = bench.registrar.bytes().allocated;
    for number in 0..1000 {
        register(&mut bench, number);
    }
    assert_eq!(bench.registrar.bytes().allocated, allocated);
    assert!(bench.registrar.bytes().occupied <= allocated + 1000 * 24);
    bench.pass_ms(3_600_020);
    assert_eq!(bench.registrar.len(), 0);
    let empty = Bench::with_bindings(1000).registrar.bytes();
    assert_eq!(bench.registrar.bytes(), empty);
}
