//! The table beside a scan of its entries.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;

use super::{AclId, Table};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn table(entries: &[(&str, u32)]) -> Table {
    let entries: Vec<_> = entries
        .iter()
        .map(|(text, id)| (net(text), AclId(*id)))
        .collect();
    Table::build(&entries)
}

fn ids(table: &Table, source: &str) -> Vec<u32> {
    table.ids(address(source)).map(|id| id.0).collect()
}

/// The obvious reference: every entry is asked.
fn scan(entries: &[(IpNet, AclId)], source: IpAddr) -> Vec<AclId> {
    let source = source.to_canonical();
    let mut found: Vec<(u8, AclId)> = Vec::new();
    for (net, id) in entries {
        if net.contains(&source) {
            found.push((net.prefix_len(), *id));
        }
    }
    found.sort_by_key(|(bits, id)| (u8::MAX - bits, *id));
    found.dedup();
    found.into_iter().map(|(_, id)| id).collect()
}

fn compare(entries: &[(IpNet, AclId)], sources: &[IpAddr], wanted: &[AclId]) {
    let table = Table::build(entries);
    for source in sources {
        let expected = scan(entries, *source);
        let found: Vec<AclId> = table.ids(*source).collect();
        assert_eq!(found, expected, "{source} in {entries:?}");
        let admitted = expected.iter().any(|id| wanted.contains(id));
        assert_eq!(
            table.admits(*source, wanted),
            admitted,
            "{source} {wanted:?} in {entries:?}"
        );
    }
}

#[test]
fn empty_table_admits_nobody() {
    for table in [Table::default(), Table::build(&[])] {
        assert!(ids(&table, "192.0.2.1").is_empty());
        assert!(ids(&table, "2001:db8::1").is_empty());
        assert!(!table.admits(address("192.0.2.1"), &[AclId(0)]));
    }
}

#[test]
fn nested_prefixes_come_longest_first_with_ids_ascending() {
    let table = table(&[
        ("0.0.0.0/0", 9),
        ("10.0.0.0/8", 1),
        ("10.1.0.0/16", 7),
        ("10.1.0.0/16", 2),
        ("10.1.2.0/24", 4),
        ("10.1.2.3/32", 3),
        ("10.1.2.3/32", 3),
    ]);
    assert_eq!(ids(&table, "10.1.2.3"), [3, 4, 2, 7, 1, 9]);
    assert_eq!(ids(&table, "10.1.2.4"), [4, 2, 7, 1, 9]);
    assert_eq!(ids(&table, "10.1.3.3"), [2, 7, 1, 9]);
    assert_eq!(ids(&table, "10.2.3.3"), [1, 9]);
    assert_eq!(ids(&table, "11.2.3.3"), [9]);
}

#[test]
fn nothing_wanted_is_never_admitted() {
    assert!(!table(&[("0.0.0.0/0", 1)]).admits(address("192.0.2.1"), &[]));
}

#[test]
fn v4_mapped_sources_and_prefixes_are_ipv4() {
    let table = table(&[
        ("192.0.2.0/24", 1),
        ("::ffff:198.51.100.0/120", 2),
        ("::/0", 3),
    ]);
    assert_eq!(ids(&table, "::ffff:192.0.2.9"), [1]);
    assert_eq!(ids(&table, "198.51.100.9"), [2]);
    assert_eq!(ids(&table, "::ffff:198.51.100.9"), [2]);
    assert!(ids(&table, "203.0.113.1").is_empty());
    assert_eq!(ids(&table, "2001:db8::1"), [3]);
}

#[test]
fn host_bits_of_an_entry_are_ignored() {
    assert_eq!(ids(&table(&[("192.0.2.77/24", 5)]), "192.0.2.1"), [5]);
    assert_eq!(
        ids(&table(&[("2001:db8::77/32", 5)]), "2001:db8:ffff::"),
        [5]
    );
}

#[test]
fn ten_thousand_lists_that_admit_everybody_beside_many_prefixes_stay_linear() {
    let prefix = |at: u32| {
        let net = Ipv4Net::new(Ipv4Addr::from(at.wrapping_mul(2_654_435_761)), 24).unwrap();
        (IpNet::V4(net), AclId(1_000_000 + at))
    };
    let everybody = (0..10_000).map(|id| (net("0.0.0.0/0"), AclId(id)));
    let entries: Vec<_> = (0..20_000).map(prefix).chain(everybody).collect();
    let table = Table::build(&entries);
    assert!(table.bytes() < 4 << 20, "{} octets", table.bytes());
    assert!(table.admits(address("203.0.113.9"), &[AclId(9_999)]));
    assert!(table.admits(address("0.0.0.1"), &[AclId(1), AclId(1_000_000)]));
    assert!(!table.admits(address("203.0.113.9"), &[AclId(10_000), AclId(2_000_000)]));
    assert_eq!(table.ids(address("0.0.0.1")).count(), 10_001);
}

#[test]
fn every_prefix_length_ends_where_it_should() {
    for bits in 0..=32 {
        let base = u32::from_be_bytes([172, 16, 129, 7]);
        let net = Ipv4Net::new(base.into(), bits).unwrap().trunc();
        let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
        let sources = [
            first,
            last,
            first.wrapping_sub(1),
            last.wrapping_add(1),
            base,
        ];
        let sources = sources.map(|source| IpAddr::V4(source.into()));
        compare(&[(IpNet::V4(net), AclId(1))], &sources, &[AclId(1)]);
    }
    for bits in 0..=128 {
        let base: Ipv6Addr = "2001:db8:aa55:1234:8001:7f7f:fe01:80ff".parse().unwrap();
        let net = Ipv6Net::new(base, bits).unwrap().trunc();
        let (first, last) = (u128::from(net.network()), u128::from(net.broadcast()));
        let sources = [
            first,
            last,
            first.wrapping_sub(1),
            last.wrapping_add(1),
            base.into(),
        ];
        // Both ends of ::/0 lie outside the v4-mapped range, so a plain scan agrees.
        let sources = sources.map(|source| IpAddr::V6(source.into()));
        compare(&[(IpNet::V6(net), AclId(1))], &sources, &[AclId(1)]);
    }
}

/// Few distinct octets, so that random prefixes nest, repeat and touch.
fn octets() -> impl Strategy<Value = [u8; 16]> {
    (any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(|(choice, free)| {
        let common = [0, 1, 10, 127, 128, 255];
        let pick = |at: usize| common.get(usize::from(choice[at] % 7)).copied();
        std::array::from_fn(|at| pick(at).unwrap_or(free[at]))
    })
}

fn ipv4() -> impl Strategy<Value = Ipv4Addr> {
    octets().prop_map(|[a, b, c, d, ..]| Ipv4Addr::from([a, b, c, d]))
}

fn ipv6() -> impl Strategy<Value = Ipv6Addr> {
    octets().prop_map(|mut octets| {
        // Never inside ::ffff:0:0/96, which is IPv4.
        octets[0] = 0x20;
        if octets[15] > 100 {
            octets[1..8].fill(1);
        }
        Ipv6Addr::from(octets)
    })
}

fn entry() -> impl Strategy<Value = (IpNet, AclId)> {
    let v4 = (ipv4(), 0..=32u8).prop_map(|(ip, bits)| IpNet::V4(Ipv4Net::new(ip, bits).unwrap()));
    let v6 = (ipv6(), 0..=128u8).prop_map(|(ip, bits)| IpNet::V6(Ipv6Net::new(ip, bits).unwrap()));
    (prop_oneof![v4, v6], 0..12u32).prop_map(|(net, id)| (net, AclId(id)))
}

proptest! {
    #[test]
    fn table_agrees_with_a_linear_scan(
        entries in prop::collection::vec(entry(), 0..80),
        v4 in prop::collection::vec(ipv4(), 0..16),
        v6 in prop::collection::vec(ipv6(), 0..16),
        wanted in prop::collection::btree_set((0..14u32).prop_map(AclId), 0..6),
    ) {
        let mut sources: Vec<IpAddr> = v4.iter().copied().map(IpAddr::V4).collect();
        sources.extend(v4.iter().map(|ip| IpAddr::V6(ip.to_ipv6_mapped())));
        sources.extend(v6.into_iter().map(IpAddr::V6));
        for (net, _) in &entries {
            sources.extend([net.network(), net.broadcast(), net.addr()]);
        }
        compare(&entries, &sources, &wanted.into_iter().collect::<Vec<_>>());
    }
}
