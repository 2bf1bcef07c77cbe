//! The immutable tables that shards read: one value per generation, published whole.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::acl::{self, AclId};

/// An account, numbered by the compiler; stable while the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub u32);

/// A domain: a number derived from its SID, so that it is the same in every generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(pub u32);

/// A credential list, numbered like a domain.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// Accounts that may use it; empty = all (an operator's trunk) or the owner alone.
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
    /// Rises by one with every publication.
    pub generation: u64,
}

impl Tables {
    /// The domain named `host` (any case, no trailing dot).
    pub fn domain_by_name(&self, host: &[u8]) -> Option<&Domain> {
        unimplemented!("{host:?}")
    }
    /// The domain with this number.
    pub fn domain(&self, id: DomainId) -> Option<&Domain> {
        unimplemented!("{id:?}")
    }
    /// The trunk with this number.
    pub fn trunk(&self, id: TrunkId) -> Option<&Trunk> {
        unimplemented!("{id:?}")
    }
    /// The credential of `username` (case-sensitive, un-escaped) in `list`.
    pub fn credential(&self, list: CredentialListId, username: &[u8]) -> Option<&Credential> {
        unimplemented!("{list:?}{username:?}")
    }
    /// The compiled access control lists.
    pub fn acl(&self) -> &acl::Table {
        unimplemented!()
    }
    /// True when `source` lies in the sources of some trunk.
    pub fn is_trunk_source(&self, source: SocketAddr) -> bool {
        unimplemented!("{source}")
    }
    /// The route for a call from a trunk that `source` belongs to, to `number`; trunks that share
    /// the source are told apart by the number. Exact number first, then the longest prefix.
    pub fn route_from_trunk(&self, source: SocketAddr, number: &[u8]) -> Option<(&Trunk, &Route)> {
        unimplemented!("{source}{number:?}")
    }
    /// The route of `domain` for `number`: exact first, then the longest prefix.
    pub fn route(&self, domain: DomainId, number: &[u8]) -> Option<&Route> {
        unimplemented!("{domain:?}{number:?}")
    }
    /// True when `number` is routed to `account` by an exact number of a trunk route.
    pub fn owns_number(&self, account: AccountId, number: &[u8]) -> bool {
        unimplemented!("{account:?}{number:?}")
    }
    /// True when `account` may send calls to `trunk`.
    pub fn may_use(&self, account: AccountId, trunk: TrunkId) -> bool {
        unimplemented!("{account:?}{trunk:?}")
    }
    /// True when `address` lies in a trunk's targets, sources or contacts.
    pub fn trunk_reaches(&self, trunk: TrunkId, address: IpAddr, port: u16) -> bool {
        unimplemented!("{trunk:?}{address}{port}")
    }
}
