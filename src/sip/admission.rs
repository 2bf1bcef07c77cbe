//! Who may do what: which domain, access control list, credentials, identity; in the order of
//! 400, 505, 416, 483, 420, domain, ACL, credentials.

use super::Arrival;
use super::auth::Authenticator;
use super::rate::Sources;
use super::turn::Turn;
use crate::tenant::{AccountId, DomainId, TrunkId};
use crate::wire::Message;

/// A refusal, to be answered statelessly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A final status.
    Status(u16, super::Counter),
    /// 401 or 407 with a challenge of this domain.
    Challenge {
        status: u16,
        domain: DomainId,
        stale: bool,
    },
    /// 420 with Unsupported: the option tags are those of Require / Proxy-Require not supported.
    BadExtension,
    /// Silence.
    Drop(super::Counter),
}

/// Where an admitted request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A user of this domain, by credentials or by ACL alone.
    Domain {
        /// The caller's domain.
        domain: DomainId,
        /// The domain in the Request-URI.
        target: DomainId,
        /// True when digest credentials were verified.
        authenticated: bool,
    },
    /// A trunk, to a number routed from it.
    Trunk { trunk: TrunkId },
}

/// An admitted request outside a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// Where from.
    pub(crate) origin: Origin,
    /// The account that pays.
    pub(crate) account: AccountId,
    /// The verified user name: length of what was written to the scratch passed in.
    pub(crate) username_length: usize,
}

/// Checks that every request must pass before its domain matters: Request-URI scheme (416),
/// Max-Forwards (483), Require for us and Proxy-Require (420).
pub(crate) fn check_basics(turn: &mut Turn<'_>, message: Message<'_>) -> Result<(), Refusal> {
    let _ = (turn, message);
    unimplemented!()
}

/// Judges a request outside a dialog that is no REGISTER.
pub(crate) fn admit_call(
    turn: &mut Turn<'_>,
    authenticator: &mut Authenticator,
    sources: &mut Sources,
    arrival: Arrival,
    message: Message<'_>,
    username: &mut [u8],
) -> Result<Admitted, Refusal> {
    let _ = (turn, authenticator, sources, arrival, message, username);
    unimplemented!()
}

/// True when `host` and `port` name this node: a listener's address or advertised host, or one of
/// `[listen] names`.
pub(crate) fn is_us(settings: &super::Settings, host: &[u8], port: Option<u16>) -> bool {
    unimplemented!("{settings:?}{host:?}{port:?}")
}

/// Answers a refusal and counts it.
pub(crate) fn refuse(
    turn: &mut Turn<'_>,
    authenticator: &mut Authenticator,
    sources: &mut Sources,
    arrival: Arrival,
    message: Message<'_>,
    refusal: Refusal,
) -> super::Disposition {
    let _ = (turn, authenticator, sources, arrival, message, refusal);
    unimplemented!()
}
