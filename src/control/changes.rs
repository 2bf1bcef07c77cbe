//! What differs between two states of the tenants, in names that people know.

use std::collections::BTreeMap;

use super::view::Applied;
use crate::tenant::Violation;
use crate::tenant::model::{Account, CredentialList, Provision, Route};

/// What must be done to `before` to have `after`.
pub(super) fn between(before: &Provision, after: &Provision) -> Applied {
    let mut applied = Applied::default();
    compare(
        &mut applied,
        &before.trunks,
        &after.trunks,
        |trunk| format!("trunk {}", trunk.name),
        |_, _| None,
    );
    let empty = |account: &Account| Account {
        credential_lists: Vec::new(),
        ip_acls: Vec::new(),
        domains: Vec::new(),
        trunks: Vec::new(),
        routes: Vec::new(),
        ..account.clone()
    };
    let shells = |provision: &Provision| provision.accounts.iter().map(empty).collect::<Vec<_>>();
    compare(
        &mut applied,
        &shells(before),
        &shells(after),
        |account| format!("account {}", account.name),
        |_, _| None,
    );
    let by_name = |provision: &Provision| -> BTreeMap<String, Account> {
        let named = provision.accounts.iter();
        named
            .map(|account| (account.name.to_string(), account.clone()))
            .collect()
    };
    let (before, after) = (by_name(before), by_name(after));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        compare_accounts(&mut applied, name, before.get(name), after.get(name));
    }
    applied
}

fn compare_accounts(
    applied: &mut Applied,
    name: &str,
    before: Option<&Account>,
    after: Option<&Account>,
) {
    macro_rules! compare_field {
        ($field:ident, $describe:expr, $detail:expr) => {
            compare(
                applied,
                before.map_or(&[][..], |account| &account.$field),
                after.map_or(&[][..], |account| &account.$field),
                $describe,
                $detail,
            );
        };
    }
    compare_field!(
        credential_lists,
        |list| format!("credential list {name}/{}", list.name),
        credential_detail
    );
    compare_field!(
        ip_acls,
        |acl| format!("ip acl {name}/{}", acl.name),
        |_, _| None
    );
    compare_field!(
        trunks,
        |trunk| format!("trunk {name}/{}", trunk.name),
        |_, _| None
    );
    compare_field!(
        domains,
        |domain| format!("domain {}", domain.name),
        |_, _| None
    );
    compare_field!(
        routes,
        |route| format!("route {name}: {}", route_name(route)),
        |_, _| None
    );
}

/// Compares objects of one kind by the name that `describe` gives; `detail` says more about a
/// changed one.
fn compare<T: PartialEq>(
    applied: &mut Applied,
    before: &[T],
    after: &[T],
    describe: impl Fn(&T) -> String,
    detail: impl Fn(&T, &T) -> Option<String>,
) {
    let mut old: BTreeMap<String, &T> = before
        .iter()
        .map(|object| (describe(object), object))
        .collect();
    for object in after {
        let name = describe(object);
        match old.remove(&name) {
            None => applied.added.push(name),
            Some(same) if same == object => {}
            Some(other) => applied.changed.push(match detail(other, object) {
                Some(detail) => format!("{name} ({detail})"),
                None => name,
            }),
        }
    }
    applied.removed.extend(old.into_keys());
}

fn credential_detail(before: &CredentialList, after: &CredentialList) -> Option<String> {
    let users = |list: &CredentialList| -> BTreeMap<String, crate::tenant::model::Secret> {
        let users = list.users.iter();
        users
            .map(|user| (user.username.to_string(), user.secret.clone()))
            .collect()
    };
    let (before, after) = (users(before), users(after));
    let added = after
        .keys()
        .filter(|name| !before.contains_key(*name))
        .count();
    let removed = before
        .keys()
        .filter(|name| !after.contains_key(*name))
        .count();
    let changed = after
        .iter()
        .filter(|(name, secret)| before.get(*name).is_some_and(|b| b != *secret))
        .count();
    Some(format!(
        "{added} users added, {changed} changed, {removed} removed"
    ))
}

/// What a route matches: it is unique in an account.
fn route_name(route: &Route) -> String {
    let origin = match (&route.domain, &route.from_trunk) {
        (Some(domain), _) => format!("domain {domain}"),
        (None, Some(trunk)) => format!("from trunk {trunk}"),
        (None, None) => "from nowhere".to_owned(),
    };
    let matched = match (&route.number, &route.prefix) {
        (Some(number), _) => format!("number {number}"),
        (None, Some(prefix)) => format!("prefix \"{prefix}\""),
        (None, None) => "no number".to_owned(),
    };
    format!("{origin}, {matched}")
}

/// A broken rule with the name of the object that breaks it.
pub(super) fn shown(provision: &Provision, violation: &Violation) -> String {
    let place: Vec<String> = violation
        .path
        .iter()
        .map(|step| match step.index {
            Some(index) => format!("{}[{index}]", step.key),
            None => step.key.to_owned(),
        })
        .collect();
    let first = violation.path.first();
    let owner = first.and_then(|step| match (step.key, step.index) {
        ("account", Some(index)) => provision
            .accounts
            .get(index)
            .map(|account| format!("account {}: ", account.name)),
        ("trunk", Some(index)) => provision
            .trunks
            .get(index)
            .map(|trunk| format!("trunk {}: ", trunk.name)),
        _ => None,
    });
    format!(
        "{}{} {}",
        owner.unwrap_or_default(),
        place.join("."),
        violation.message
    )
}
