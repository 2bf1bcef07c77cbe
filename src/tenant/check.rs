//! The rules between objects of a model: uniqueness, references, ownership, counts.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::check_trunk::{check_sources_unique, check_trunk, check_trunk_ids};
use super::directory::{AccountNames, Directory};
use super::model::{Account, CredentialList, Domain, Provision, Route};
use super::text::Name;
use super::{SecureMedia, Sid, SidKind};
use crate::limits::{ACL_ENTRIES_MAX, CREDENTIALS_MAX, ROUTE_PREFIX_BYTES_MAX, ROUTES_MAX};

/// How many objects there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Bounds {
    pub accounts: usize,
    pub domains_per_account: usize,
    pub credential_lists_per_account: usize,
    pub credentials_per_list: usize,
    pub ip_acls_per_account: usize,
    pub entries_per_ip_acl: usize,
    pub trunks_per_owner: usize,
    pub targets_per_trunk: usize,
    pub sources_per_trunk: usize,
    pub routes_per_account: usize,
}

impl Bounds {
    /// What a tenant may make through an interface of its own.
    pub const TENANT: Self = Self {
        accounts: 100_000,
        domains_per_account: 1_000,
        credential_lists_per_account: 1_000,
        credentials_per_list: 100_000,
        ip_acls_per_account: 1_000,
        entries_per_ip_acl: 10_000,
        trunks_per_owner: 1_000,
        targets_per_trunk: 32,
        sources_per_trunk: 256,
        routes_per_account: 100_000,
    };

    /// What the operator's file may hold: as much as the tables can.
    pub const OPERATOR: Self = Self {
        domains_per_account: 1_000_000,
        credentials_per_list: CREDENTIALS_MAX,
        entries_per_ip_acl: ACL_ENTRIES_MAX,
        trunks_per_owner: 100_000,
        routes_per_account: ROUTES_MAX,
        ..Self::TENANT
    };
}

/// One step into the provisioning file: a key, and the place in its array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The key as the file writes it.
    pub key: &'static str,
    /// The place, where the key holds an array.
    pub index: Option<usize>,
}

/// A rule that the model breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which value.
    pub path: Vec<Step>,
    /// What is wrong, the bound, and the likely fix.
    pub message: String,
}

/// Where a check is in the model; links on the stack, so that nothing is allocated for values that
/// are right.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    outer: Option<&'a At<'a>>,
    step: Step,
}

impl<'a> At<'a> {
    pub(super) const fn top(key: &'static str, index: usize) -> Self {
        At {
            outer: None,
            step: Step {
                key,
                index: Some(index),
            },
        }
    }

    pub(super) const fn key(&'a self, key: &'static str) -> Self {
        At {
            outer: Some(self),
            step: Step { key, index: None },
        }
    }

    pub(super) const fn item(&'a self, key: &'static str, index: usize) -> Self {
        At {
            outer: Some(self),
            step: Step {
                key,
                index: Some(index),
            },
        }
    }

    fn path(&self) -> Vec<Step> {
        let mut path = self.outer.map_or_else(Vec::new, At::path);
        path.push(self.step);
        path
    }
}

/// The violations found so far.
#[derive(Default)]
pub(super) struct Findings(Vec<Violation>);

impl Findings {
    pub(super) fn add(&mut self, at: &At<'_>, message: impl Into<String>) {
        self.0.push(Violation {
            path: at.path(),
            message: message.into(),
        });
    }

    pub(super) fn bound(&mut self, at: &At<'_>, count: usize, max: usize) {
        if count > max {
            self.add(
                at,
                format!("has {count} entries, allowed are {max}; remove some"),
            );
        }
    }
}

/// Finds every rule that `model` breaks; empty = it can be compiled.
#[must_use]
pub fn check(model: &Provision, bounds: &Bounds) -> Vec<Violation> {
    let directory = Directory::new(model);
    let mut found = Findings::default();
    check_totals(model, bounds, &mut found);
    check_sids(model, &mut found);
    found.bound(
        &At::top("trunk", 0),
        model.trunks.len(),
        bounds.trunks_per_owner,
    );
    for (index, trunk) in model.trunks.iter().enumerate() {
        let at = At::top("trunk", index);
        if directory.operator_trunks.get(&trunk.name) != Some(&index) {
            found.add(
                &at.key("name"),
                "is the name of another [[trunk]]; choose another",
            );
        }
        check_trunk(trunk, None, &at, &directory, bounds, &mut found);
    }
    for (index, account) in model.accounts.iter().enumerate() {
        let at = At::top("account", index);
        if directory.accounts.get(&account.name) != Some(&index) {
            found.add(
                &at.key("name"),
                "is the name of another account; choose another",
            );
        }
        check_account(account, index, &at, &directory, bounds, &mut found);
    }
    check_trunk_ids(&directory, &mut found);
    check_sources_unique(model, &directory, &mut found);
    found.0
}

/// What the tables can number.
fn check_totals(model: &Provision, bounds: &Bounds, found: &mut Findings) {
    let top = At::top("account", 0);
    found.bound(&top, model.accounts.len(), bounds.accounts);
    let total = |count: fn(&Account) -> usize| model.accounts.iter().map(count).sum::<usize>();
    let credentials = total(|a| a.credential_lists.iter().map(|list| list.users.len()).sum());
    let entries = total(|a| a.ip_acls.iter().map(|acl| acl.entries.len()).sum());
    for (what, count, max) in [
        ("credentials", credentials, CREDENTIALS_MAX),
        ("access control entries", entries, ACL_ENTRIES_MAX),
        ("routes", total(|a| a.routes.len()), ROUTES_MAX),
    ] {
        if count > max {
            found.add(
                &top,
                format!("and the other accounts have {count} {what}, a node holds {max}; split"),
            );
        }
    }
}

/// Every SID is of its resource's kind and used once.
fn check_sids(model: &Provision, found: &mut Findings) {
    let mut seen = HashSet::new();
    let mut judge = |sid: Sid, given: Option<Sid>, kind: SidKind, at: &At<'_>| {
        if given.is_some() && sid.kind() != kind {
            let letters = kind.letters();
            found.add(
                &at.key("sid"),
                format!("is of another kind; it begins with {letters}"),
            );
        }
        // Two names that are equal are reported as such.
        if !seen.insert(sid) && given.is_some() {
            found.add(
                &at.key("sid"),
                "is the SID of another resource; remove one of the two",
            );
        }
    };
    for (index, trunk) in model.trunks.iter().enumerate() {
        let sid = trunk.resolved_sid(None);
        judge(sid, trunk.sid, SidKind::Trunk, &At::top("trunk", index));
    }
    for (index, account) in model.accounts.iter().enumerate() {
        let (at, owner) = (At::top("account", index), account.resolved_sid());
        judge(owner, account.sid, SidKind::Account, &at);
        for (index, list) in account.credential_lists.iter().enumerate() {
            let (kind, sid) = (SidKind::CredentialList, list.resolved_sid(owner));
            judge(sid, list.sid, kind, &at.item("credential_list", index));
        }
        for (index, acl) in account.ip_acls.iter().enumerate() {
            let sid = acl.resolved_sid(owner);
            judge(sid, acl.sid, SidKind::IpAcl, &at.item("ip_acl", index));
        }
        for (index, domain) in account.domains.iter().enumerate() {
            let sid = domain.resolved_sid(owner);
            judge(sid, domain.sid, SidKind::Domain, &at.item("domain", index));
        }
        for (index, trunk) in account.trunks.iter().enumerate() {
            let sid = trunk.resolved_sid(Some(owner));
            judge(sid, trunk.sid, SidKind::Trunk, &at.item("trunk", index));
        }
    }
}

fn check_account(
    account: &Account,
    number: usize,
    at: &At<'_>,
    directory: &Directory<'_>,
    bounds: &Bounds,
    found: &mut Findings,
) {
    let names = &directory.of_account[number];
    for (key, count, max) in [
        ("domain", account.domains.len(), bounds.domains_per_account),
        ("ip_acl", account.ip_acls.len(), bounds.ip_acls_per_account),
        ("trunk", account.trunks.len(), bounds.trunks_per_owner),
        ("route", account.routes.len(), bounds.routes_per_account),
        (
            "credential_list",
            account.credential_lists.len(),
            bounds.credential_lists_per_account,
        ),
    ] {
        found.bound(&at.item(key, max), count, max);
    }
    check_lists(account, names, at, bounds, found);
    check_domains(account, number, at, directory, found);
    for (index, trunk) in account.trunks.iter().enumerate() {
        let at = at.item("trunk", index);
        if names.trunks.get(&trunk.name) != Some(&index) {
            let message = "is the name of another trunk of this account; choose another";
            found.add(&at.key("name"), message);
        }
        check_trunk(trunk, Some(number), &at, directory, bounds, found);
    }
    let mut seen = HashMap::new();
    for (index, route) in account.routes.iter().enumerate() {
        let at = at.item("route", index);
        check_route(route, number, &at, directory, found);
        if let Some(domain) = &route.domain
            && seen
                .insert((domain, &route.number, &route.prefix), index)
                .is_some()
        {
            let message = "is routed for this domain already; remove one of the two routes";
            found.add(&at.key(number_key(route)), message);
        }
    }
}

/// Credential lists and access control lists.
fn check_lists(
    account: &Account,
    names: &AccountNames<'_>,
    at: &At<'_>,
    bounds: &Bounds,
    found: &mut Findings,
) {
    for (index, list) in account.credential_lists.iter().enumerate() {
        let at = at.item("credential_list", index);
        if names.credential_lists.get(&list.name) != Some(&index) {
            let message = "is the name of another credential list of this account; choose another";
            found.add(&at.key("name"), message);
        }
        check_credential_list(list, &at, bounds, found);
    }
    for (index, acl) in account.ip_acls.iter().enumerate() {
        let at = at.item("ip_acl", index);
        if names.ip_acls.get(&acl.name) != Some(&index) {
            let message = "is the name of another access control list of this account; choose \
                           another";
            found.add(&at.key("name"), message);
        }
        found.bound(
            &at.key("entries"),
            acl.entries.len(),
            bounds.entries_per_ip_acl,
        );
        unique(&acl.entries, "entries", &at, found);
    }
}

fn check_domains(
    account: &Account,
    number: usize,
    at: &At<'_>,
    directory: &Directory<'_>,
    found: &mut Findings,
) {
    for (index, domain) in account.domains.iter().enumerate() {
        let at = at.item("domain", index);
        if directory.domains.get(domain.name.as_str()) != Some(&(number, index)) {
            let message = "already exists; a domain name is unique over all accounts, choose \
                           another or remove one";
            found.add(&at.key("name"), message);
        } else if let Some((parent, owner)) = directory.parent_domain(&domain.name)
            && owner != number
        {
            found.add(
                &at.key("name"),
                format!(
                    "is a sub-domain of \"{parent}\", which belongs to another account; choose \
                     another name, or move it there"
                ),
            );
        }
        check_domain(domain, number, &at, directory, found);
    }
}

/// The key that holds a route's number.
pub(super) const fn number_key(route: &Route) -> &'static str {
    if route.number.is_some() {
        "number"
    } else {
        "prefix"
    }
}

fn check_credential_list(
    list: &CredentialList,
    at: &At<'_>,
    bounds: &Bounds,
    found: &mut Findings,
) {
    found.bound(
        &at.key("users"),
        list.users.len(),
        bounds.credentials_per_list,
    );
    let mut seen = HashSet::with_capacity(list.users.len());
    for (index, user) in list.users.iter().enumerate() {
        if !seen.insert(user.username.as_str()) {
            let message = "is in this list already; remove one of the two";
            found.add(&at.item("users", index).key("username"), message);
        }
    }
}

/// Reports values that come twice in the array at `key`.
pub(super) fn unique<T: Eq + Hash>(
    values: &[T],
    key: &'static str,
    at: &At<'_>,
    found: &mut Findings,
) {
    let mut seen = HashSet::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        if !seen.insert(value) {
            found.add(
                &at.item(key, index),
                "is in this list already; remove one of the two",
            );
        }
    }
}

fn check_domain(
    domain: &Domain,
    account: usize,
    at: &At<'_>,
    directory: &Directory<'_>,
    found: &mut Findings,
) {
    let names = &directory.of_account[account];
    let check_lists = |lists: &[Name], at: &At<'_>, found: &mut Findings| {
        unique(lists, "credential_lists", at, found);
        for (index, list) in lists.iter().enumerate() {
            if !names.credential_lists.contains_key(list) {
                let message = "is no credential list of this account; correct the name or add a \
                               [[account.credential_list]]";
                found.add(&at.item("credential_lists", index), message);
            }
        }
    };
    let calls = at.key("calls");
    check_lists(&domain.calls.credential_lists, &calls, found);
    unique(&domain.calls.ip_acls, "ip_acls", &calls, found);
    for (index, acl) in domain.calls.ip_acls.iter().enumerate() {
        if !names.ip_acls.contains_key(acl) {
            let message = "is no access control list of this account; correct the name or add an \
                           [[account.ip_acl]]";
            found.add(&calls.item("ip_acls", index), message);
        }
    }
    if let Some(registrations) = &domain.registrations {
        check_lists(
            &registrations.credential_lists,
            &at.key("registrations"),
            found,
        );
    }
    match domain.secure {
        SecureMedia::Off => {}
        SecureMedia::Optional | SecureMedia::Required => {
            let message = "is not supported yet, only \"off\" is; remove the key or write \"off\"";
            found.add(&at.key("secure"), message);
        }
    }
    match domain.algorithms.as_deref() {
        Some([]) => found.add(
            &at.key("algorithms"),
            "names no algorithm; name \"MD5\", \"SHA-256\" or both, or remove the key",
        ),
        Some([a, b, ..]) if a == b => {
            found.add(
                &at.item("algorithms", 1),
                "is named twice; remove one of the two",
            );
        }
        Some([_, _, _, ..]) => {
            found.add(
                &at.key("algorithms"),
                "names an algorithm twice; remove one of the two",
            );
        }
        Some([_] | [_, _]) | None => {}
    }
}

fn check_route(
    route: &Route,
    account: usize,
    at: &At<'_>,
    directory: &Directory<'_>,
    found: &mut Findings,
) {
    check_route_shape(route, at, found);
    if let Some(domain) = &route.domain
        && directory
            .domains
            .get(domain.as_str())
            .is_none_or(|(owner, _)| *owner != account)
    {
        let message = "is no domain of this account; correct the name or add an \
                       [[account.domain]]";
        found.add(&at.key("domain"), message);
    }
    if let Some(aor) = &route.aor
        && directory
            .domains
            .get(aor.domain.as_str())
            .is_none_or(|(owner, _)| *owner != account)
    {
        let message = "is not in a domain of this account; correct the part after the @";
        found.add(&at.key("aor"), message);
    }
    for (key, name) in [("from_trunk", &route.from_trunk), ("trunk", &route.trunk)] {
        let Some(name) = name else { continue };
        let Some(place) = directory.trunk(account, name) else {
            let message = "is no trunk; correct the name or add a [[trunk]] or an \
                           [[account.trunk]]";
            found.add(&at.key(key), message);
            continue;
        };
        let trunk = directory.trunk_at(place);
        if !directory.may_use(account, place) {
            let message = "may not be used by this account; add the account to the trunk's \
                           accounts";
            found.add(&at.key(key), message);
        } else if key == "trunk" && trunk.targets.is_empty() {
            found.add(
                &at.key(key),
                "has no targets to send calls to; add one to the trunk",
            );
        } else if key == "from_trunk" && trunk.sources.is_empty() {
            found.add(
                &at.key(key),
                "has no sources calls could come from; add one to the trunk",
            );
        }
    }
}

/// Which keys a route has together.
fn check_route_shape(route: &Route, at: &At<'_>, found: &mut Findings) {
    match (&route.domain, &route.from_trunk) {
        (Some(_), None) | (None, Some(_)) => {}
        (None, None) => found.add(
            at,
            "says not where calls come from; add domain or from_trunk",
        ),
        (Some(_), Some(_)) => {
            found.add(
                &at.key("from_trunk"),
                "stands beside domain; remove one of the two",
            );
        }
    }
    match (&route.number, &route.prefix) {
        (Some(number), None) => {
            if number.as_str().is_empty() {
                found.add(
                    &at.key("number"),
                    "is empty; write the number, or prefix = \"\" for all",
                );
            } else if usize::from(route.strip) > number.as_str().len() {
                let length = number.as_str().len();
                let message = format!("is more than the {length} characters of the number");
                found.add(&at.key("strip"), message + "; lower it");
            }
        }
        (None, Some(prefix)) => {
            let length = prefix.as_str().len();
            if length > ROUTE_PREFIX_BYTES_MAX {
                let message = format!("has {length} characters, allowed are");
                let message = format!("{message} {ROUTE_PREFIX_BYTES_MAX}; shorten it");
                found.add(&at.key("prefix"), message);
            }
        }
        (None, None) => found.add(at, "names no number; add number or prefix"),
        (Some(_), Some(_)) => {
            found.add(
                &at.key("prefix"),
                "stands beside number; remove one of the two",
            );
        }
    }
    check_destination(route, at, found);
}

/// Where a route leads, and what is done to the number on the way.
fn check_destination(route: &Route, at: &At<'_>, found: &mut Findings) {
    match (&route.aor, &route.trunk, route.status) {
        (Some(_), None, None) | (None, Some(_), None) => {}
        (None, None, Some(status)) => {
            if !(400..=699).contains(&status) {
                found.add(&at.key("status"), "is no refusal; write 400 to 699");
            }
            if route.strip != 0 || route.prepend.is_some() {
                let key = if route.strip != 0 { "strip" } else { "prepend" };
                found.add(
                    &at.key(key),
                    "changes a number that goes nowhere; remove it",
                );
            }
        }
        (None, None, None) => {
            found.add(at, "leads nowhere; add one of aor, trunk and status");
        }
        _ => found.add(
            at,
            "leads to several places; keep one of aor, trunk and status",
        ),
    }
    if route.keep_number && route.aor.is_none() {
        found.add(
            &at.key("keep_number"),
            "has a meaning beside aor only; remove it",
        );
    }
}
