//! Who may do what: which domain, access control list, credentials, identity; in the order of
//! 400, 505, 416, 483, 420, domain, ACL, credentials.
//!
//! Owns the judgement of new requests and the answer to those refused. Must not ask whether the
//! callee exists: nobody learns that before being admitted. Implements RFC 3261 §16.3, §22.3,
//! RFC 3325 §5 (what identity is believed).

mod identity;
mod refuse;

#[cfg(test)]
use refuse::answer_stranger;
pub(crate) use refuse::{answer_options, refuse};

use super::auth::{Authenticator, Verdict};
use super::rate::Sources;
use super::reply::default_port;
use super::turn::Turn;
use super::{Arrival, Counter, Settings, Strangers};
use crate::limits;
use crate::tenant::{AccountId, CredentialListId, Domain, DomainId, Tables, TrunkId};
use crate::wire::{
    HeaderName, Message, Method, NameAddr, RequestLine, Scheme, Uri, Writer, host_addr,
    split_values,
};

/// Option tags of Require that the edge fulfils where it is the user agent server: in REGISTER
/// and in OPTIONS to itself.
const REQUIRE_SUPPORTED: [&str; 2] = ["path", "outbound"];

/// A refusal, to be answered statelessly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A final status.
    Status(u16, Counter),
    /// 401 or 407 with a challenge of this domain.
    Challenge {
        status: u16,
        domain: DomainId,
        stale: bool,
    },
    /// 420 with Unsupported: the option tags are those of Require / Proxy-Require not supported.
    BadExtension,
    /// Silence.
    Drop(Counter),
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
    let Some(line) = message.request_line() else {
        return Ok(());
    };
    let Some(uri) = message.request_uri() else {
        return Err(Refusal::Status(400, Counter::RefusedUri));
    };
    // RFC 3261 §16.3 item 2.
    match uri.scheme {
        Scheme::Sip | Scheme::Sips => {}
        // RFC 3261 §10.2: a REGISTER's Request-URI names a domain, which a number has not.
        Scheme::Tel if line.method != Method::Register => {}
        Scheme::Tel | Scheme::Other => return Err(Refusal::Status(416, Counter::RefusedUri)),
    }
    // RFC 3261 §16.3 item 3. A request without the header is forwarded with 70.
    if message.max_forwards() == Some(0) && !is_for_us(turn.tables, turn.settings, line, &uri) {
        return Err(Refusal::Status(483, Counter::RefusedTooManyHops));
    }
    let asks = |name| message.header(name).is_some();
    if (asks(HeaderName::ProxyRequire) || asks(HeaderName::Require))
        && unsupported(turn.tables, turn.settings, message)
            .next()
            .is_some()
    {
        return Err(Refusal::BadExtension);
    }
    Ok(())
}

/// True when the edge itself is the user agent server of the request: a REGISTER for this node or
/// one of its domains, or OPTIONS to one of those without a user part.
fn is_for_us(tables: &Tables, settings: &Settings, line: RequestLine<'_>, uri: &Uri<'_>) -> bool {
    let has_user = match line.method {
        Method::Register => false,
        Method::Options => uri.user.is_some(),
        Method::Invite
        | Method::Ack
        | Method::Cancel
        | Method::Bye
        | Method::Prack
        | Method::Update
        | Method::Info
        | Method::Message
        | Method::Subscribe
        | Method::Notify
        | Method::Refer
        | Method::Publish
        | Method::Other => return false,
    };
    !has_user && (is_us(settings, uri.host, uri.port) || domain_of(tables, uri.host).is_some())
}

/// The option tags of Proxy-Require, and of Require where the edge is the user agent server, that
/// it does not support.
fn unsupported<'a>(
    tables: &Tables,
    settings: &Settings,
    message: Message<'a>,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let for_us = message
        .request_line()
        .zip(message.request_uri())
        .is_some_and(|(line, uri)| is_for_us(tables, settings, line, &uri));
    // RFC 3261 §8.2.2.3: ignored in ACK and CANCEL.
    let judged = !matches!(message.method(), Method::Ack | Method::Cancel);
    // No extension asks anything of this proxy that it does, so every tag is unsupported.
    let of_proxy = tags(message, HeaderName::ProxyRequire);
    let of_server =
        tags(message, HeaderName::Require).filter(move |tag| for_us && !is_supported(tag));
    of_proxy.chain(of_server).filter(move |_| judged)
}

fn is_supported(tag: &[u8]) -> bool {
    REQUIRE_SUPPORTED
        .iter()
        .any(|known| tag.eq_ignore_ascii_case(known.as_bytes()))
}

/// The option tags in every field named `name`.
fn tags(message: Message<'_>, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    message
        .headers(name)
        .flat_map(|field| split_values(field.value))
        .filter(|tag| !tag.is_empty())
}

/// Judges a request outside a dialog that is no REGISTER. ACK and CANCEL never come here
/// (RFC 3261 §22.1). `username` takes the verified user name.
pub(crate) fn admit_call(
    turn: &mut Turn<'_>,
    authenticator: &mut Authenticator,
    sources: &mut Sources,
    arrival: Arrival,
    message: Message<'_>,
    username: &mut [u8],
) -> Result<Admitted, Refusal> {
    let Some(uri) = message.request_uri() else {
        return Err(Refusal::Status(400, Counter::RefusedUri));
    };
    let source = arrival.flow.peer().socket_addr();
    let is_trunk = turn.tables.is_trunk_source(source);
    if is_trunk && let Some(admitted) = admit_trunk(turn, arrival, &uri) {
        return Ok(admitted);
    }
    let tables = turn.tables;
    let Some(target) = domain_of(tables, uri.host) else {
        // A trunk is no stranger: a carrier must hear that a number is not routed.
        return Err(match turn.settings.strangers {
            Strangers::Drop if !is_trunk => Refusal::Drop(Counter::DroppedStranger),
            Strangers::Drop | Strangers::Answer => Refusal::Status(404, Counter::RefusedNoDomain),
        });
    };
    // From is needed for who calls and for identity; without a URI in it neither can be judged.
    let from = from_uri(message).ok_or(Refusal::Status(400, Counter::RefusedIdentity))?;
    let caller = match domain_of(tables, from.host) {
        Some(domain) if domain.account == target.account => domain,
        Some(_) | None => target,
    };
    if caller.call_acls.is_empty() && caller.call_lists.is_empty() {
        return Err(Refusal::Status(403, Counter::RefusedAcl));
    }
    if !caller.call_acls.is_empty() && !tables.acl().admits(source.ip(), &caller.call_acls) {
        return Err(Refusal::Status(403, Counter::RefusedAcl));
    }
    let authenticated = !caller.call_lists.is_empty();
    let mut out = Writer::new(username);
    if authenticated {
        let name = HeaderName::ProxyAuthorization;
        let check = Credentialed {
            name,
            status: 407,
            domain: caller,
            lists: &caller.call_lists,
        };
        check.admit(turn, authenticator, sources, arrival, message, &mut out)?;
        if !identity::is_own(turn.tables, caller, &from, out.written()) {
            return Err(Refusal::Status(403, Counter::RefusedIdentity));
        }
    }
    Ok(Admitted {
        origin: Origin::Domain {
            domain: caller.id,
            target: target.id,
            authenticated,
        },
        account: target.account,
        username_length: out.len(),
    })
}

/// A call from a trunk to a number routed from it, whatever host its Request-URI names.
fn admit_trunk(turn: &Turn<'_>, arrival: Arrival, uri: &Uri<'_>) -> Option<Admitted> {
    let mut number = [0; limits::AOR_USER_BYTES_MAX];
    let mut out = Writer::new(&mut number);
    if !uri.write_number(&mut out) {
        return None;
    }
    let length = out.finish()?;
    let source = arrival.flow.peer().socket_addr();
    let (trunk, route) = turn.tables.route_from_trunk(source, &number[..length])?;
    Some(Admitted {
        origin: Origin::Trunk { trunk: trunk.id },
        account: route.account,
        username_length: 0,
    })
}

/// A demand for digest credentials.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credentialed<'a> {
    /// The header they stand in: Authorization for REGISTER, Proxy-Authorization else.
    pub(crate) name: HeaderName,
    /// What asks for them: 401 or 407.
    pub(crate) status: u16,
    /// Whose algorithms are offered.
    pub(crate) domain: &'a Domain,
    /// Where the credential may be.
    pub(crate) lists: &'a [CredentialListId],
}

impl Credentialed<'_> {
    /// Verifies the credentials of `message`, or says how it is refused; what came of them is
    /// put to the source's account. `username` receives the un-escaped user name.
    pub(crate) fn admit(
        &self,
        turn: &mut Turn<'_>,
        authenticator: &mut Authenticator,
        sources: &mut Sources,
        arrival: Arrival,
        message: Message<'_>,
        username: &mut Writer<'_>,
    ) -> Result<Accepted, Refusal> {
        let Self {
            name,
            status,
            domain,
            lists,
        } = *self;
        let challenge = |stale| Refusal::Challenge {
            status,
            domain: domain.id,
            stale,
        };
        match authenticator.verify(turn, arrival, message, name, domain, lists, username) {
            Verdict::Accepted { list, issued_at } => {
                sources.on_proved(turn.now.time, turn.settings, arrival.flow.peer());
                Ok(Accepted { list, issued_at })
            }
            Verdict::Challenge { stale } => Err(challenge(stale)),
            // The same answer as to a request without credentials: nothing tells an unknown user
            // from a wrong password.
            Verdict::Rejected => Err(challenge(false)),
            Verdict::Malformed => Err(Refusal::Status(400, Counter::AuthMalformed)),
        }
    }
}

/// Verified credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// The list with the credential.
    pub(crate) list: CredentialListId,
    /// When their nonce was issued, to the second.
    pub(crate) issued_at: super::Time,
}

fn from_uri(message: Message<'_>) -> Option<Uri<'_>> {
    let from = NameAddr::parse(message.header(HeaderName::From)?.value).ok()?;
    Uri::parse(from.uri).ok()
}

/// The domain named `host`, in any case and with or without a trailing dot.
pub(crate) fn domain_of<'a>(tables: &'a Tables, host: &[u8]) -> Option<&'a Domain> {
    tables.domain_by_name(without_dot(host))
}

fn without_dot(host: &[u8]) -> &[u8] {
    host.strip_suffix(b".").unwrap_or(host)
}

/// True when `host` and `port` name this node: a listener's address or advertised host, or one of
/// `[listen] names`. Without a port any listener with that host will do; a name of `[listen]
/// names` goes with the port of any listener.
pub(crate) fn is_us(settings: &Settings, host: &[u8], port: Option<u16>) -> bool {
    let host = without_dot(host);
    if host.is_empty() {
        return false;
    }
    let address = host_addr(host).map(|address| address.to_canonical());
    let is_name = address.is_none()
        && settings
            .names
            .iter()
            .any(|name| host.eq_ignore_ascii_case(name.as_bytes()));
    settings.listeners.iter().any(|listener| {
        let (sent_by, sent_by_port) = split_port(&listener.sent_by);
        let sent_by_port = sent_by_port.unwrap_or(default_port(listener.transport));
        let has_port = |ours: u16| port.is_none_or(|port| port == ours);
        let is_at = |socket: std::net::SocketAddr| {
            address == Some(socket.ip().to_canonical()) && has_port(socket.port())
        };
        is_at(listener.bind)
            || is_at(listener.advertise)
            || (host.eq_ignore_ascii_case(sent_by.as_bytes()) && has_port(sent_by_port))
            || (is_name && (has_port(listener.bind.port()) || has_port(sent_by_port)))
    })
}

/// Splits `host[:port]`; an IPv6 host is in brackets.
fn split_port(sent_by: &str) -> (&str, Option<u16>) {
    match sent_by.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
        Some(_) | None => (sent_by, None),
    }
}

#[cfg(test)]
mod tests;
