//! What is provisioned, as plain data: filled from the provisioning file, or by whoever keeps
//! tenants elsewhere. Objects refer to each other by name.
//!
//! Each value is a type of `text` that can only hold what is allowed; what depends on other
//! objects is judged by `check`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::text::{
    AclName, Aor, DomainName, Invalid, Name, Number, Prefix, Source, TargetUri, Token, Username,
    check_password, deserialize_text,
};
use super::{Credential, SecureMedia, Sid, SidKind};

/// Everything that is provisioned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provision {
    /// Accounts.
    #[serde(default, rename = "account")]
    pub accounts: Vec<Account>,
    /// The operator's trunks.
    #[serde(default, rename = "trunk")]
    pub trunks: Vec<Trunk>,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Unique over all accounts.
    pub name: Name,
    /// `None` = derived from the name.
    pub sid: Option<Sid>,
    /// `None` = made by whoever keeps tokens.
    pub token: Option<Token>,
    /// Credential lists.
    #[serde(default, rename = "credential_list")]
    pub credential_lists: Vec<CredentialList>,
    /// Access control lists.
    #[serde(default, rename = "ip_acl")]
    pub ip_acls: Vec<IpAcl>,
    /// Domains.
    #[serde(default, rename = "domain")]
    pub domains: Vec<Domain>,
    /// The account's own trunks.
    #[serde(default, rename = "trunk")]
    pub trunks: Vec<Trunk>,
    /// Routes.
    #[serde(default, rename = "route")]
    pub routes: Vec<Route>,
}

/// A credential list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialList {
    /// Unique in the account.
    pub name: Name,
    /// `None` = derived from account and name.
    pub sid: Option<Sid>,
    /// The credentials.
    #[serde(default)]
    pub users: Vec<User>,
    /// A file with more credentials; `provision` reads it into `users` and leaves `None`.
    pub users_file: Option<PathBuf>,
}

/// A credential.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Unique in the list.
    pub username: Username,
    /// What proves it.
    #[serde(rename = "password")]
    pub secret: Secret,
}

/// What proves a user.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The password; replaced by its hashes when tables are compiled.
    Password(Box<str>),
    /// The hashes of a password for the deployment's realm.
    Hashed(Credential),
}

impl Secret {
    /// What digest responses of `username` are checked against in `realm`.
    #[must_use]
    pub fn credential(&self, username: &Username, realm: &str) -> Credential {
        match self {
            Self::Password(text) => Credential::from_password(username.as_str(), realm, text),
            Self::Hashed(credential) => *credential,
        }
    }
}

/// A password; the error is that of one too short, too long or too simple.
impl FromStr for Secret {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        check_password(text).map(|()| Self::Password(text.into()))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// An access control list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpAcl {
    /// Unique in the account.
    pub name: AclName,
    /// `None` = derived from account and name.
    pub sid: Option<Sid>,
    /// The prefixes.
    #[serde(default)]
    pub entries: Vec<Prefix>,
}

/// A SIP Domain.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// Unique over all accounts.
    pub name: DomainName,
    /// `None` = derived from account and name.
    pub sid: Option<Sid>,
    /// Who may call.
    #[serde(default)]
    pub calls: Calls,
    /// Who may register; `None` = nobody, registration is switched off.
    pub registrations: Option<Registrations>,
    /// What media is taken.
    #[serde(default)]
    pub secure: SecureMedia,
    /// Digest algorithms in the order they are offered; `None` = the deployment's.
    pub algorithms: Option<Vec<Algorithm>>,
    /// What From may name.
    #[serde(default)]
    pub from: FromUser,
    /// Concurrent calls allowed, 0 = unlimited.
    #[serde(default)]
    pub calls_max: u32,
    /// Calls per second allowed, 0 = unlimited.
    #[serde(default)]
    pub cps_max: u32,
}

/// What is mapped for calls. Nothing mapped refuses every call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    /// Lists of which one must hold the caller's credential.
    #[serde(default)]
    pub credential_lists: Vec<Name>,
    /// Lists of which one must hold the source address.
    #[serde(default)]
    pub ip_acls: Vec<AclName>,
}

/// What is mapped for registrations. Nothing mapped refuses every registration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registrations {
    /// Lists of which one must hold the phone's credential.
    #[serde(default)]
    pub credential_lists: Vec<Name>,
}

/// A digest algorithm by its name in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)]
pub enum Algorithm {
    #[serde(rename = "MD5")]
    Md5,
    #[serde(rename = "SHA-256")]
    Sha256,
}

/// Which user From may name when credentials were verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FromUser {
    /// The credential's user, or a number routed to the account.
    #[default]
    User,
    /// Any.
    Any,
}

/// A group of carrier SBC or PBX targets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trunk {
    /// Unique below its owner.
    pub name: Name,
    /// `None` = derived from owner and name.
    pub sid: Option<Sid>,
    /// The accounts that may use an operator's trunk; `None` = all. An account's own trunk has
    /// none.
    pub accounts: Option<Vec<Name>>,
    /// Where calls to it go.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// Where calls from it come from.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// Where its in-dialog requests may be addressed to, beside targets and sources.
    #[serde(default)]
    pub contacts: Vec<Prefix>,
    /// The listener that faces it.
    pub listener: Option<Name>,
    /// True = the Request-URI keeps our host.
    #[serde(default)]
    pub keep_host: bool,
    /// True when plain signalling and media are acceptable towards it for secure domains.
    #[serde(default)]
    pub trusted_network: bool,
    /// Concurrent calls allowed, 0 = unlimited.
    #[serde(default)]
    pub calls_max: u32,
    /// Calls per second allowed, 0 = unlimited.
    #[serde(default)]
    pub cps_max: u32,
    /// Milliseconds to wait for a first response before the next target is tried.
    #[serde(default = "first_response_ms")]
    pub first_response_ms: u32,
    /// Final statuses that make the next target be tried.
    #[serde(default = "failover_statuses")]
    pub failover_statuses: Vec<u16>,
}

const fn first_response_ms() -> u32 {
    3_000
}

fn failover_statuses() -> Vec<u16> {
    vec![500, 502, 503, 504]
}

const fn one() -> u16 {
    1
}

/// One target of a trunk.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Where it is.
    pub uri: TargetUri,
    /// Lower is tried first.
    #[serde(default = "one")]
    pub priority: u16,
    /// Share among equal priority.
    #[serde(default = "one")]
    pub weight: u16,
}

/// A route: one of `domain` and `from_trunk`, one of `number` and `prefix`, one of `aor`, `trunk`
/// and `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Calls of this domain's users.
    pub domain: Option<DomainName>,
    /// Calls from this trunk.
    pub from_trunk: Option<Name>,
    /// The whole number.
    pub number: Option<Number>,
    /// Its beginning; empty = every number.
    pub prefix: Option<Number>,
    /// Leads to this user.
    pub aor: Option<Aor>,
    /// Leads to this trunk.
    pub trunk: Option<Name>,
    /// Is answered with this status.
    pub status: Option<u16>,
    /// Leading characters removed from the number.
    #[serde(default)]
    pub strip: u8,
    /// Characters then put before it.
    pub prepend: Option<Number>,
    /// To a user: the dialled number becomes the user part of the Request-URI.
    #[serde(default)]
    pub keep_number: bool,
}

impl Provision {
    /// Gives a SID to everything that has none, derived from its name, so that the same file
    /// always gives the same SIDs.
    pub fn assign_sids(&mut self) {
        for trunk in &mut self.trunks {
            trunk.sid = Some(trunk.resolved_sid(None));
        }
        for account in &mut self.accounts {
            let sid = account.resolved_sid();
            account.sid = Some(sid);
            for list in &mut account.credential_lists {
                list.sid = Some(list.resolved_sid(sid));
            }
            for acl in &mut account.ip_acls {
                acl.sid = Some(acl.resolved_sid(sid));
            }
            for domain in &mut account.domains {
                domain.sid = Some(domain.resolved_sid(sid));
            }
            for trunk in &mut account.trunks {
                trunk.sid = Some(trunk.resolved_sid(Some(sid)));
            }
        }
    }

    /// Replaces every password by its hashes for `realm`.
    pub fn hash_passwords(&mut self, realm: &str) {
        let lists = self
            .accounts
            .iter_mut()
            .flat_map(|account| &mut account.credential_lists);
        for user in lists.flat_map(|list| &mut list.users) {
            user.secret = Secret::Hashed(user.secret.credential(&user.username, realm));
        }
    }
}

/// The SID given, or the one derived from owner and name.
macro_rules! resolved_sid {
    ($name:ident, $kind:expr, $owner:ty, $option:expr) => {
        impl $name {
            /// The SID given, or the one derived from `owner` and the name.
            #[must_use]
            pub fn resolved_sid(&self, owner: $owner) -> Sid {
                self.sid
                    .unwrap_or_else(|| Sid::derive($kind, $option(owner), self.name.as_str()))
            }
        }
    };
}

resolved_sid!(CredentialList, SidKind::CredentialList, Sid, Some);
resolved_sid!(IpAcl, SidKind::IpAcl, Sid, Some);
resolved_sid!(Domain, SidKind::Domain, Sid, Some);
resolved_sid!(Trunk, SidKind::Trunk, Option<Sid>, std::convert::identity);

impl Account {
    /// The SID given, or the one derived from the name.
    #[must_use]
    pub fn resolved_sid(&self) -> Sid {
        self.sid
            .unwrap_or_else(|| Sid::derive(SidKind::Account, None, self.name.as_str()))
    }
}
