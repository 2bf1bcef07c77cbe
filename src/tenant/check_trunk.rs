//! The rules of trunks, and that a number from a source is routed once.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use super::check::{At, Bounds, Findings, number_key, unique};
use super::directory::{Directory, TrunkPlace};
use super::model::{Provision, Trunk};
use super::text::Source;

pub(super) fn check_trunk(
    trunk: &Trunk,
    owner: Option<usize>,
    at: &At<'_>,
    directory: &Directory<'_>,
    bounds: &Bounds,
    found: &mut Findings,
) {
    check_accounts(trunk, owner, at, directory, found);
    if trunk.targets.is_empty() && trunk.sources.is_empty() {
        found.add(at, "has neither targets nor sources; add what it is for");
    }
    found.bound(
        &at.key("targets"),
        trunk.targets.len(),
        bounds.targets_per_trunk,
    );
    found.bound(
        &at.key("sources"),
        trunk.sources.len(),
        bounds.sources_per_trunk,
    );
    found.bound(
        &at.key("contacts"),
        trunk.contacts.len(),
        bounds.sources_per_trunk,
    );
    let addresses: Vec<_> = trunk
        .targets
        .iter()
        .map(|target| target.uri.address)
        .collect();
    unique(&addresses, "targets", at, found);
    unique(&trunk.sources, "sources", at, found);
    unique(&trunk.contacts, "contacts", at, found);
    for (index, target) in trunk.targets.iter().enumerate() {
        if target.weight == 0 {
            let message = "is 0, allowed are 1 to 65535; remove the target to give it no calls";
            found.add(&at.item("targets", index).key("weight"), message);
        }
    }
    if !(100..=32_000).contains(&trunk.first_response_ms) {
        let message = "is out of bounds, allowed are 100 to 32000 ms (64*T1); the default is 3000";
        found.add(&at.key("first_response_ms"), message);
    }
    unique(&trunk.failover_statuses, "failover_statuses", at, found);
    for (index, status) in trunk.failover_statuses.iter().enumerate() {
        // 401 and 407 are for the caller; 6xx ends a search (RFC 3261 §16.7 item 5).
        if !(400..=599).contains(status) || matches!(status, 401 | 407 | 487) {
            let message = "can not make the next target be tried; write statuses of 400 to 599 \
                           but 401, 407 and 487";
            found.add(&at.item("failover_statuses", index), message);
        }
    }
}

/// Whom a trunk is for.
fn check_accounts(
    trunk: &Trunk,
    owner: Option<usize>,
    at: &At<'_>,
    directory: &Directory<'_>,
    found: &mut Findings,
) {
    match (&trunk.accounts, owner) {
        (Some(_), Some(_)) => found.add(
            &at.key("accounts"),
            "belongs to an operator's [[trunk]]; an account's own trunk is its own, remove it",
        ),
        (Some(named), None) => {
            if named.is_empty() {
                let message = "names nobody; name an account, or remove the key for all";
                found.add(&at.key("accounts"), message);
            }
            unique(named, "accounts", at, found);
            for (index, name) in named.iter().enumerate() {
                if !directory.accounts.contains_key(name) {
                    let message = "is no account; correct the name or add an [[account]]";
                    found.add(&at.item("accounts", index), message);
                }
            }
        }
        (None, _) => {}
    }
}

/// No two trunks have the same number; they are hashes.
pub(super) fn check_trunk_ids(directory: &Directory<'_>, found: &mut Findings) {
    let mut seen = HashMap::new();
    for place in directory.trunks() {
        let name = &directory.trunk_at(place).name;
        let Some(other) = seen.insert(directory.trunk_id(place), place) else {
            continue;
        };
        // The same name below the same owner is reported as such.
        if other.owner != place.owner || directory.trunk_at(other).name != *name {
            let top = At::top("account", place.owner.unwrap_or_default());
            let at = match place.owner {
                Some(_) => top.item("trunk", place.index),
                None => At::top("trunk", place.index),
            };
            let message = "has the same number as another trunk by chance; choose another name";
            found.add(&at.key("name"), message);
        }
    }
}

/// A route from a trunk: account, place in the account, trunk.
#[derive(Clone, Copy)]
struct FromTrunk {
    account: usize,
    route: usize,
    trunk: TrunkPlace,
}

/// What is routed: a number and whether it is a prefix.
type Pattern<'a> = (&'a str, bool);

/// A call from one source to one number meets one route, whatever trunks share the source.
pub(super) fn check_sources_unique(
    model: &Provision,
    directory: &Directory<'_>,
    found: &mut Findings,
) {
    let mut routes: HashMap<Pattern<'_>, Vec<FromTrunk>> = HashMap::new();
    for (account, owner) in model.accounts.iter().enumerate() {
        for (route, written) in owner.routes.iter().enumerate() {
            let pattern = match (&written.number, &written.prefix) {
                (Some(number), None) => (number.as_str(), false),
                (None, Some(prefix)) => (prefix.as_str(), true),
                (Some(_), Some(_)) | (None, None) => continue,
            };
            let trunk = written
                .from_trunk
                .as_ref()
                .and_then(|name| directory.trunk(account, name));
            if let Some(trunk) = trunk {
                routes.entry(pattern).or_default().push(FromTrunk {
                    account,
                    route,
                    trunk,
                });
            }
        }
    }
    for routes in routes.values().filter(|routes| routes.len() > 1) {
        let mut clashing = clashes(routes, directory);
        clashing.sort_unstable();
        clashing.dedup();
        for clash in clashing {
            let FromTrunk { account, route, .. } = routes[clash];
            let key = number_key(&model.accounts[account].routes[route]);
            let message = "is routed already from this trunk or from one that shares a source \
                           with it; remove one of the routes";
            found.add(
                &At::top("account", account).item("route", route).key(key),
                message,
            );
        }
    }
}

/// The routes (places in `routes`) whose sources meet those of an earlier one. Sources are sorted
/// so that one comes after those it lies in; two prefixes meet only when one lies in the other.
fn clashes(routes: &[FromTrunk], directory: &Directory<'_>) -> Vec<usize> {
    let mut ranges = Vec::new();
    for (place, route) in routes.iter().enumerate() {
        for source in &directory.trunk_at(route.trunk).sources {
            let (first, last) = range(source);
            ranges.push((first, Reverse(last), source.port, place));
        }
    }
    ranges.sort_unstable();
    let mut clashing = Vec::new();
    let mut around: Vec<(u128, Option<u16>, usize)> = Vec::new();
    for (first, Reverse(last), port, place) in ranges {
        while around.last().is_some_and(|(end, ..)| *end < first) {
            around.pop();
        }
        for (_, other_port, other) in &around {
            let ports_meet = port.is_none() || other_port.is_none() || port == *other_port;
            if *other != place && ports_meet {
                clashing.push(place.max(*other));
            }
        }
        around.push((last, port, place));
    }
    clashing
}

/// First and last address of a source; IPv4 as v4-mapped.
fn range(source: &Source) -> (u128, u128) {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_ipv6_mapped()),
        IpAddr::V6(address) => u128::from(address),
    };
    (number(source.net.network()), number(source.net.broadcast()))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::path::Path;

    use ipnet::Ipv4Net;
    use proptest::prelude::*;

    use crate::tenant::provision::parse;

    /// A few addresses, so that prefixes nest and repeat.
    fn source() -> impl Strategy<Value = (Ipv4Net, Option<u16>)> {
        (0..4_u32, 28..=32_u8, 0..4_u16).prop_map(|(low, bits, port)| {
            let bits = if port == 0 { bits } else { 32 };
            let address = Ipv4Addr::from(0xc000_0200 | (low << 1));
            let net = Ipv4Net::new(address, bits)
                .expect("at most 32 bits")
                .trunc();
            (net, (port != 0).then_some(5060 + port))
        })
    }

    fn written((net, port): &(Ipv4Net, Option<u16>)) -> String {
        match port {
            Some(port) => format!("\"{}:{port}\"", net.addr()),
            None => format!("\"{net}\""),
        }
    }

    fn meet(a: &(Ipv4Net, Option<u16>), b: &(Ipv4Net, Option<u16>)) -> bool {
        let nested = a.0.contains(&b.0) || b.0.contains(&a.0);
        nested && (a.1.is_none() || b.1.is_none() || a.1 == b.1)
    }

    proptest! {
        #[test]
        fn shared_sources_are_found_like_comparing_every_pair(
            trunks in prop::collection::vec(prop::collection::hash_set(source(), 1..4), 1..6),
        ) {
            let mut text = String::new();
            for (n, sources) in trunks.iter().enumerate() {
                let sources: Vec<String> = sources.iter().map(written).collect();
                text += &format!(
                    "[[account]]\nname = \"a{n}\"\n[[account.trunk]]\nname = \"t\"\n\
                     sources = [{}]\n[[account.route]]\nfrom_trunk = \"t\"\nnumber = \"1\"\n\
                     status = 404\n",
                    sources.join(", ")
                );
            }
            let refused = |n: usize| {
                trunks[..n].iter().flatten().any(|a| trunks[n].iter().any(|b| meet(a, b)))
            };
            let expected: Vec<String> = (0..trunks.len())
                .filter(|n| refused(*n))
                .map(|n| format!("account[{n}].route[0].number"))
                .collect();
            let found = match parse(&text, Path::new("tenants.toml")) {
                Ok(_) => Vec::new(),
                Err(error) => error.problems.into_iter().map(|problem| problem.key).collect(),
            };
            prop_assert_eq!(found, expected, "{}", text);
        }
    }
}
