//! IP access control lists of every tenant in one immutable table: source address -> ACL ids.
//!
//! Owns longest-prefix match for IPv4 and IPv6. Must not know what an ACL id stands for.

#![forbid(unsafe_code)]

use std::net::IpAddr;

use ipnet::IpNet;

/// An access control list, numbered by the compiler of the tenant tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclId(pub u32);

/// The compiled table.
#[derive(Debug, Default)]
pub struct Table;

impl Table {
    /// Compiles prefixes; the same prefix may belong to any number of lists.
    pub fn build(entries: &[(IpNet, AclId)]) -> Self {
        unimplemented!("{entries:?}")
    }

    /// True when a prefix that covers `source` belongs to one of `wanted` (sorted ascending).
    /// A v4-mapped IPv6 source is looked up as IPv4.
    pub fn admits(&self, source: IpAddr, wanted: &[AclId]) -> bool {
        unimplemented!("{source}{wanted:?}")
    }

    /// The ids of every list with a prefix covering `source`, longest prefix first.
    pub fn ids(&self, source: IpAddr) -> impl Iterator<Item = AclId> {
        let _ = source;
        std::iter::empty()
    }
}
