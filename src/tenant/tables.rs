//! The immutable tables that shards read: one value per generation, published whole.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use serde::Deserialize;

use super::credentials::CredentialTable;
use super::index::{Index, Keyed};
use super::routes::{RouteTable, Scope};
use crate::acl::{self, AclId};
use crate::limits::HOST_BYTES_MAX;

/// An account, numbered by the compiler; stable while the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub u32);

/// A domain, numbered by the compiler like an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(pub u32);

/// A credential list, numbered by the compiler like an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialListId(pub u32);

/// A trunk: a number derived from its name and owner, the same after a restart, as Record-Route
/// tokens carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrunkId(pub u32);

/// What a credential is checked against; the password is not kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credential {
    /// MD5(username:realm:password).
    pub ha1_md5: [u8; 16],
    /// SHA-256(username:realm:password).
    pub ha1_sha256: [u8; 32],
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// What media a domain takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum SecureMedia {
    #[default]
    Off,
    Optional,
    Required,
}

/// A tenant's SIP Domain.
#[derive(Clone, Debug)]
pub struct Domain {
    /// Its number.
    pub id: DomainId,
    /// The account it belongs to.
    pub account: AccountId,
    /// Its name, lower case.
    pub name: Box<str>,
    /// ACLs mapped for calls, sorted.
    pub call_acls: Box<[AclId]>,
    /// Credential lists mapped for calls.
    pub call_lists: Box<[CredentialListId]>,
    /// Registration: `None` = switched off; else the mapped lists (none mapped refuses all).
    pub registration_lists: Option<Box<[CredentialListId]>>,
    /// For each of these: the generation of the tables since which the list has been mapped for
    /// registrations of a domain of this name without a break.
    pub(super) registration_since: Box<[u32]>,
    /// Digest algorithms in the order they are offered; empty = the deployment's.
    pub algorithms: Box<[crate::wire::DigestAlgorithm]>,
    /// True when From may name any user (`from = "any"`).
    pub from_any: bool,
    /// What media is taken.
    pub secure: SecureMedia,
    /// Concurrent calls allowed, 0 = unlimited.
    pub calls_max: u32,
    /// Calls per second allowed, 0 = unlimited.
    pub cps_max: u32,
}

/// One target of a trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where requests are sent.
    pub address: SocketAddr,
    /// `host[:port]` as written in the provisioning file: the host of the Request-URI.
    pub host: Box<str>,
    /// Lower is tried first.
    pub priority: u16,
    /// Share among equal priority.
    pub weight: u16,
}

/// A group of carrier SBC or PBX targets.
#[derive(Clone, Debug)]
pub struct Trunk {
    /// Its number.
    pub id: TrunkId,
    /// Its name.
    pub name: Box<str>,
    /// The account that owns it; `None` = the operator.
    pub owner: Option<AccountId>,
    /// Accounts that may use it, sorted; empty = all (an operator's trunk) or the owner alone.
    pub accounts: Box<[AccountId]>,
    /// Where calls to it go, sorted by priority.
    pub targets: Box<[Target]>,
    /// Prefixes calls from it come from, with a port where the source must have one.
    pub sources: Box<[(IpNet, Option<u16>)]>,
    /// Prefixes its in-dialog requests may be addressed to, beside targets and sources.
    pub contacts: Box<[IpNet]>,
    /// Name of the listener that faces it; `None` = the first one of the target's family.
    pub listener: Option<Box<str>>,
    /// True = the Request-URI keeps our host, false = it gets the target's.
    pub keep_host: bool,
    /// True when plain signalling and media are acceptable towards it for secure domains.
    pub trusted_network: bool,
    /// Concurrent calls allowed, 0 = unlimited.
    pub calls_max: u32,
    /// Calls per second allowed, 0 = unlimited.
    pub cps_max: u32,
    /// Milliseconds to wait for a first response before the next target is tried.
    pub first_response_ms: u32,
    /// Final statuses that make the next target be tried.
    pub failover_statuses: Box<[u16]>,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A registered user, `user@domain` canonical (lower-case host), with its domain.
    Aor {
        /// The user part, un-escaped.
        user: Box<str>,
        /// The domain.
        domain: DomainId,
    },
    /// A trunk.
    Trunk(TrunkId),
    /// A final status.
    Status(u16),
}

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// The account it belongs to.
    pub account: AccountId,
    /// Leading characters removed from the number.
    pub strip: u8,
    /// Characters then put before it.
    pub prepend: Box<str>,
    /// To an AoR: the dialled number becomes the user part of the Request-URI.
    pub keep_number: bool,
    /// Where it leads.
    pub destination: Destination,
}

/// Everything a shard must know about tenants.
#[derive(Debug, Default)]
pub struct Tables {
    /// Rises by one with every publication, of which one process has fewer than 2^32.
    pub generation: u64,
    pub(super) domains: Box<[Domain]>,
    /// Domain number to place in `domains`, `ABSENT` where there is none.
    pub(super) domain_places: Box<[u32]>,
    pub(super) domain_hash: Keyed,
    pub(super) domain_names: Index,
    /// Sorted by id.
    pub(super) trunks: Box<[Trunk]>,
    /// By number; `None` where the list is gone.
    pub(super) credential_lists: Box<[Option<Arc<CredentialTable>>]>,
    pub(super) acl: acl::Table,
    /// Source prefix to places in `sources`.
    pub(super) source_prefixes: acl::Table,
    pub(super) sources: Box<[TrunkSource]>,
    pub(super) routes: RouteTable,
}

/// In `domain_places`: no such domain.
pub(super) const ABSENT: u32 = u32::MAX;

/// One source of one trunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct TrunkSource {
    /// The port the source must have.
    pub(super) port: Option<u16>,
    /// Place in `Tables::trunks`.
    pub(super) trunk: u32,
}

impl Tables {
    /// The domain named `host` (any case, no trailing dot).
    #[must_use]
    pub fn domain_by_name(&self, host: &[u8]) -> Option<&Domain> {
        let mut lower = [0; HOST_BYTES_MAX];
        let lower = lower.get_mut(..host.len())?;
        lower.copy_from_slice(host);
        lower.make_ascii_lowercase();
        let is_it = |at: usize| self.domains[at].name.as_bytes() == lower;
        let at = self
            .domain_names
            .find(self.domain_hash.hash(0, lower), is_it)?;
        Some(&self.domains[at])
    }

    /// The domain with this number.
    #[must_use]
    pub fn domain(&self, id: DomainId) -> Option<&Domain> {
        let place = *self.domain_places.get(id.0 as usize)?;
        // `ABSENT` is no place.
        self.domains.get(place as usize)
    }

    /// Every domain.
    #[must_use]
    pub fn domains(&self) -> &[Domain] {
        &self.domains
    }

    /// The trunk with this number.
    #[must_use]
    pub fn trunk(&self, id: TrunkId) -> Option<&Trunk> {
        let at = self
            .trunks
            .binary_search_by_key(&id, |trunk| trunk.id)
            .ok()?;
        Some(&self.trunks[at])
    }

    /// Every trunk, sorted by number.
    #[must_use]
    pub fn trunks(&self) -> &[Trunk] {
        &self.trunks
    }

    /// The credential of `username` (case-sensitive, un-escaped) in `list`.
    #[must_use]
    pub fn credential(&self, list: CredentialListId, username: &[u8]) -> Option<&Credential> {
        self.credential_lists
            .get(list.0 as usize)?
            .as_ref()?
            .find(username)
    }

    /// True when a registration that was let in under the tables of `generation`, by the
    /// credential of `username` in `list` for `domain`, still stands: since then that credential
    /// and that mapping have been there without a break.
    #[must_use]
    pub fn stands(
        &self,
        domain: &Domain,
        list: CredentialListId,
        username: &[u8],
        generation: u32,
    ) -> bool {
        let lists = domain.registration_lists.as_deref().unwrap_or_default();
        let mapped = lists
            .iter()
            .zip(&domain.registration_since)
            .any(|(mapped, since)| *mapped == list && *since <= generation);
        mapped
            && self
                .credential_lists
                .get(list.0 as usize)
                .and_then(|list| list.as_ref()?.since(username))
                .is_some_and(|since| since <= generation)
    }

    /// How many credentials there are in all lists.
    #[must_use]
    pub fn credentials_count(&self) -> usize {
        self.credential_lists
            .iter()
            .flatten()
            .map(|list| list.len())
            .sum()
    }

    /// Octets that credentials take, allocator slack apart.
    #[must_use]
    pub fn credentials_bytes(&self) -> usize {
        self.credential_lists
            .iter()
            .flatten()
            .map(|list| list.bytes())
            .sum()
    }

    /// The compiled access control lists.
    #[must_use]
    pub fn acl(&self) -> &acl::Table {
        &self.acl
    }

    /// True when `source` lies in the sources of some trunk.
    #[must_use]
    pub fn is_trunk_source(&self, source: SocketAddr) -> bool {
        self.trunks_of_source(source).next().is_some()
    }

    /// The route for a call from a trunk that `source` belongs to, to `number` (in the form
    /// `normalize_number` gives); trunks that share the source are told apart by the number.
    /// Exact number first, then the longest prefix.
    #[must_use]
    pub fn route_from_trunk(&self, source: SocketAddr, number: &[u8]) -> Option<(&Trunk, &Route)> {
        let mut best: Option<(usize, &Trunk, &Route)> = None;
        for trunk in self.trunks_of_source(source) {
            let scope = Scope::Trunk(trunk.id);
            if let Some(route) = self.routes.exact(scope, number) {
                return Some((trunk, route));
            }
            if let Some((length, route)) = self.routes.longest(scope, number)
                && best.is_none_or(|(best, ..)| length > best)
            {
                best = Some((length, trunk, route));
            }
        }
        best.map(|(_, trunk, route)| (trunk, route))
    }

    /// The route of `domain` for `number` (in the form `normalize_number` gives): exact first,
    /// then the longest prefix.
    #[must_use]
    pub fn route(&self, domain: DomainId, number: &[u8]) -> Option<&Route> {
        let scope = Scope::Domain(domain);
        let prefix = || self.routes.longest(scope, number).map(|(_, route)| route);
        self.routes.exact(scope, number).or_else(prefix)
    }

    /// True when `number` is routed to `account` by an exact number of a trunk route.
    #[must_use]
    pub fn owns_number(&self, account: AccountId, number: &[u8]) -> bool {
        self.routes.exact(Scope::Owner(account), number).is_some()
    }

    /// True when `account` may send calls to `trunk`.
    #[must_use]
    pub fn may_use(&self, account: AccountId, trunk: TrunkId) -> bool {
        self.trunk(trunk).is_some_and(|trunk| match trunk.owner {
            Some(owner) => owner == account,
            None => trunk.accounts.is_empty() || trunk.accounts.binary_search(&account).is_ok(),
        })
    }

    /// True when `address` lies in a trunk's targets, sources or contacts.
    #[must_use]
    pub fn trunk_reaches(&self, trunk: TrunkId, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        self.trunk(trunk).is_some_and(|trunk| {
            let target = SocketAddr::new(address, port);
            trunk.targets.iter().any(|known| known.address == target)
                || trunk.contacts.iter().any(|net| net.contains(&address))
                || trunk.sources.iter().any(|(net, source_port)| {
                    net.contains(&address) && source_port.is_none_or(|known| known == port)
                })
        })
    }

    /// The trunks that calls from `source` may come from; one may be named more than once.
    fn trunks_of_source(&self, source: SocketAddr) -> impl Iterator<Item = &Trunk> {
        self.source_prefixes
            .ids(source.ip())
            .filter_map(move |AclId(at)| {
                let known = self.sources[at as usize];
                let port_fits = known.port.is_none_or(|port| port == source.port());
                port_fits.then(|| &self.trunks[known.trunk as usize])
            })
    }
}
