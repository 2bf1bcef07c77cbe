//! Routes by scope and number: exact number first, then the longest prefix.

use std::collections::HashMap;

use super::index::{Index, Keyed};
use super::{AccountId, DomainId, Route, TrunkId};

/// Where a number is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Calls of a domain's users.
    Domain(DomainId),
    /// Calls from a trunk.
    Trunk(TrunkId),
    /// Numbers routed to an account from any trunk.
    Owner(AccountId),
}

/// How a number is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// The whole number.
    Exact,
    /// Its beginning.
    Prefix,
}

impl Scope {
    fn key(self, kind: Match) -> u64 {
        let (tag, id) = match self {
            Self::Domain(id) => (0, id.0),
            Self::Trunk(id) => (2, id.0),
            Self::Owner(id) => (4, id.0),
        };
        let tag: u64 = match kind {
            Match::Exact => tag,
            Match::Prefix => tag + 1,
        };
        (tag << 32) | u64::from(id)
    }
}

/// All routes of a generation.
#[derive(Debug, Default)]
pub(super) struct RouteTable {
    routes: Box<[Route]>,
    keyed: Keyed,
    index: Index,
    keys: Box<[Key]>,
    /// The numbers, one after the other.
    text: Box<[u8]>,
    /// By scope: bit n is set when it has a prefix of n octets.
    prefix_lengths: HashMap<u64, u128>,
}

#[derive(Debug)]
struct Key {
    scope: u64,
    /// Where the number begins in `text`; it ends where the next one begins.
    text: u32,
    route: u32,
}

/// Collects routes for one table.
#[derive(Debug, Default)]
pub(super) struct RouteTableBuilder {
    routes: Vec<Route>,
    keys: Vec<Key>,
    text: Vec<u8>,
    prefix_lengths: HashMap<u64, u128>,
}

impl RouteTableBuilder {
    /// Adds a route; scope, match and number are unique but for `Scope::Owner`.
    pub(super) fn add(&mut self, scope: Scope, kind: Match, number: &str, route: Route) {
        if let (Scope::Trunk(_), Match::Exact) = (scope, kind) {
            self.key(Scope::Owner(route.account), kind, number);
        }
        self.key(scope, kind, number);
        self.routes.push(route);
    }

    fn key(&mut self, scope: Scope, kind: Match, number: &str) {
        let place = |length| u32::try_from(length).expect("ROUTES_MAX numbers fit into 4 GiB");
        let (text, route) = (place(self.text.len()), place(self.routes.len()));
        let scope = scope.key(kind);
        self.text.extend_from_slice(number.as_bytes());
        self.keys.push(Key { scope, text, route });
        if kind == Match::Prefix {
            *self.prefix_lengths.entry(scope).or_default() |= 1 << number.len();
        }
    }

    pub(super) fn finish(self) -> RouteTable {
        let mut table = RouteTable {
            routes: self.routes.into(),
            keyed: Keyed::default(),
            index: Index::default(),
            keys: self.keys.into(),
            text: self.text.into(),
            prefix_lengths: self.prefix_lengths,
        };
        let hash = |at: usize| table.keyed.hash(table.keys[at].scope, table.number(at));
        let hashes: Vec<u64> = (0..table.keys.len()).map(hash).collect();
        table.index = Index::build(hashes.into_iter());
        table
    }
}

impl RouteTable {
    /// The route of exactly `number`.
    pub(super) fn exact(&self, scope: Scope, number: &[u8]) -> Option<&Route> {
        self.find(scope.key(Match::Exact), number)
    }

    /// The route of the longest prefix of `number`, with the length of that prefix.
    pub(super) fn longest(&self, scope: Scope, number: &[u8]) -> Option<(usize, &Route)> {
        let scope = scope.key(Match::Prefix);
        let mut lengths = *self.prefix_lengths.get(&scope)?;
        // Only lengths that the number has: bits 0..=len.
        if let Some(unused) = 127_u32.checked_sub(number.len() as u32) {
            lengths &= u128::MAX >> unused;
        }
        while let Some(length) = 127_u32.checked_sub(lengths.leading_zeros()) {
            let length = length as usize;
            if let Some(route) = self.find(scope, &number[..length]) {
                return Some((length, route));
            }
            lengths ^= 1 << length;
        }
        None
    }

    fn find(&self, scope: u64, number: &[u8]) -> Option<&Route> {
        let hash = self.keyed.hash(scope, number);
        let is_it = |at: usize| self.keys[at].scope == scope && self.number(at) == number;
        let at = self.index.find(hash, is_it)?;
        Some(&self.routes[self.keys[at].route as usize])
    }

    fn number(&self, at: usize) -> &[u8] {
        let end = self
            .keys
            .get(at + 1)
            .map_or(self.text.len(), |next| next.text as usize);
        &self.text[self.keys[at].text as usize..end]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Match, RouteTable, RouteTableBuilder, Scope};
    use crate::tenant::{AccountId, Destination, DomainId, Route, TrunkId};

    fn route(status: u16) -> Route {
        Route {
            account: AccountId(1),
            strip: 0,
            prepend: "".into(),
            keep_number: false,
            destination: Destination::Status(status),
        }
    }

    fn status(route: &Route) -> u16 {
        match route.destination {
            Destination::Status(status) => status,
            Destination::Aor { .. } | Destination::Trunk(_) => 0,
        }
    }

    #[test]
    fn empty_table_has_no_route() {
        let table = RouteTable::default();
        assert!(table.exact(Scope::Domain(DomainId(0)), b"").is_none());
        assert!(table.longest(Scope::Domain(DomainId(0)), b"1").is_none());
    }

    #[test]
    fn numbers_longer_than_any_prefix_are_looked_up_whole() {
        let mut builder = RouteTableBuilder::default();
        let scope = Scope::Trunk(TrunkId(7));
        builder.add(scope, Match::Prefix, "", route(404));
        builder.add(scope, Match::Prefix, &"9".repeat(64), route(405));
        let table = builder.finish();
        let long = "9".repeat(500);
        let found = table
            .longest(scope, long.as_bytes())
            .map(|(length, r)| (length, status(r)));
        assert_eq!(found, Some((64, 405)));
        let found = table
            .longest(scope, b"")
            .map(|(length, r)| (length, status(r)));
        assert_eq!(found, Some((0, 404)));
    }

    #[test]
    fn exact_numbers_from_trunks_belong_to_their_account_and_prefixes_do_not() {
        let mut builder = RouteTableBuilder::default();
        builder.add(Scope::Trunk(TrunkId(1)), Match::Exact, "+1", route(404));
        builder.add(Scope::Trunk(TrunkId(1)), Match::Prefix, "+2", route(404));
        builder.add(Scope::Domain(DomainId(1)), Match::Exact, "+3", route(404));
        let table = builder.finish();
        let owned = |number: &[u8]| table.exact(Scope::Owner(AccountId(1)), number).is_some();
        assert!(owned(b"+1") && !owned(b"+2") && !owned(b"+3"));
        assert!(table.exact(Scope::Owner(AccountId(2)), b"+1").is_none());
    }

    proptest! {
        #[test]
        fn longest_prefix_agrees_with_a_linear_scan(
            prefixes in prop::collection::btree_map((0..3_u32, "[12+]{0,6}"), 400..700_u16, 0..40),
            exact in prop::collection::btree_map((0..3_u32, "[12+]{0,6}"), 400..700_u16, 0..20),
            asked in prop::collection::vec((0..4_u32, "[12+]{0,9}"), 0..60),
        ) {
            let mut builder = RouteTableBuilder::default();
            for ((scope, number), status) in &prefixes {
                builder.add(Scope::Domain(DomainId(*scope)), Match::Prefix, number, route(*status));
            }
            for ((scope, number), status) in &exact {
                builder.add(Scope::Domain(DomainId(*scope)), Match::Exact, number, route(*status));
            }
            let table = builder.finish();
            for (scope, number) in asked {
                let expected = prefixes
                    .iter()
                    .filter(|((s, prefix), _)| *s == scope && number.starts_with(prefix.as_str()))
                    .max_by_key(|((_, prefix), _)| prefix.len())
                    .map(|((_, prefix), status)| (prefix.len(), *status));
                let domain = Scope::Domain(DomainId(scope));
                let found = table.longest(domain, number.as_bytes());
                prop_assert_eq!(found.map(|(length, r)| (length, status(r))), expected);
                let expected = exact.get(&(scope, number.clone())).copied();
                let found = table.exact(domain, number.as_bytes()).map(status);
                prop_assert_eq!(found, expected);
            }
        }
    }
}
