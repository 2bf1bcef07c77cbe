//! The registrar: REGISTER from admission to 200, as a stateless UAS (RFC 3261 §8.2.7, §10.3).
//!
//! Owns the rules of registration; the bindings themselves are `location`'s. Implements
//! RFC 3261 §10.3, RFC 3327 §5.3 (Path, of trunks alone), RFC 3581 (where phones behind NAT are
//! reached), RFC 5626 §6 (instance and reg-id).

#![forbid(unsafe_code)]

mod answer;
mod contacts;
mod rate;
#[cfg(test)]
mod tests;

use super::admission::{self, Credentialed, Refusal};
use super::auth::Authenticator;
use super::location::{
    ChangeRefused, HOUSEKEEPING_SLOT, Location, Registration, RequestId, TargetSetWriter,
    WantedList,
};
use super::rate::Sources;
use super::turn::Turn;
use super::{Arrival, Bytes, Command, Counter, Disposition, Report, Strangers, Timer, TimerKind};
use crate::limits;
use crate::tenant::{Domain, Tables};
use crate::wire::{HeaderName, Message, NameAddr, Scheme, Uri, Vias, Writer};

use contacts::Ask;
use rate::RegisterRates;

/// Longest Path kept with a binding, all values together.
const PATH_BYTES_MAX: usize = 512;

/// Why a REGISTER that was authenticated is not obeyed; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// A final status, with the reason in plain words.
    Warn { status: u16, text: &'static str },
    /// RFC 3261 §21.4.17: 423 with Min-Expires.
    TooBrief,
    /// 503 with Retry-After.
    Unavailable,
}

impl Refused {
    const fn warn(status: u16, text: &'static str) -> Self {
        Self::Warn { status, text }
    }
}

impl From<ChangeRefused> for Refused {
    fn from(refused: ChangeRefused) -> Self {
        match refused {
            ChangeRefused::OutOfOrder => {
                Self::warn(500, "A later request of this Call-ID was served before")
            }
            ChangeRefused::Duplicate => Self::warn(400, "Two contacts are the same"),
            ChangeRefused::TooManyContacts => Self::warn(403, "Too many contacts"),
            ChangeRefused::Full | ChangeRefused::Draining => Self::Unavailable,
        }
    }
}

/// The registrar of one shard, with its location table.
#[derive(Debug)]
pub(crate) struct Registrar {
    location: Location,
    rates: RegisterRates,
    /// True from `Command::Drain` on: no binding is added.
    draining: bool,
}

impl Registrar {
    /// Tables for `bindings` bindings.
    pub(crate) fn new(bindings: u32, hash_key: [u8; 16]) -> Self {
        Self {
            location: Location::new(bindings, hash_key),
            rates: RegisterRates::new(bindings, hash_key),
            draining: false,
        }
    }

    /// Handles a REGISTER for `addressee`, whose address of record this shard owns.
    pub(crate) fn handle_register(
        &mut self,
        turn: &mut Turn<'_>,
        authenticator: &mut Authenticator,
        sources: &mut Sources,
        arrival: Arrival,
        message: Message<'_>,
        addressee: &Addressee<'_>,
    ) -> Disposition {
        turn.counters.add(Counter::Registers);
        let outcome = self.judge(turn, authenticator, sources, arrival, message, addressee);
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(refusal) => {
                return admission::refuse(turn, authenticator, sources, arrival, message, refusal);
            }
        };
        let sent = match outcome {
            Outcome::Accepted(id) => {
                turn.counters.add(Counter::RegistersAccepted);
                let answer = answer::Bindings {
                    location: &self.location,
                    aor: addressee.written(),
                    id: &id,
                };
                answer.send(turn, arrival, message)
            }
            Outcome::Refused(refused) => {
                turn.counters.add(Counter::RegistersRefused);
                if refused == Refused::Unavailable {
                    turn.counters.add(Counter::RefusedOverload);
                }
                answer::refuse(turn, arrival, message, refused)
            }
        };
        if sent {
            Disposition::Answered
        } else {
            Disposition::Dropped(Counter::DroppedNoRoom)
        }
    }

    /// The rules in their order. `Err` is a refusal before the sender is known to be the user.
    fn judge(
        &mut self,
        turn: &mut Turn<'_>,
        authenticator: &mut Authenticator,
        sources: &mut Sources,
        arrival: Arrival,
        message: Message<'_>,
        addressee: &Addressee<'_>,
    ) -> Result<Outcome, Refusal> {
        admission::check_basics(turn, message)?;
        let domain = match addressee.domain {
            Ok(domain) => domain,
            Err(unusable) => return Err(refusal_of(turn, arrival, unusable)),
        };
        let aor = addressee.written();
        if !is_addressed(turn, message, domain) {
            return Err(Refusal::Status(403, Counter::RefusedNoDomain));
        }
        let lists = domain.registration_lists.as_deref().unwrap_or_default();
        if lists.is_empty() {
            return Err(Refusal::Status(403, Counter::RefusedAcl));
        }
        let rate = turn.settings.registers_per_aor_s;
        if !self
            .rates
            .try_request(turn.now.time, rate, aor, arrival.flow.peer())
        {
            return Err(Refusal::Status(503, Counter::RegistersOverRate));
        }
        let id = self.location.request_id(message);
        if self
            .location
            .is_retransmission(turn, aor, &id, arrival.flow)
        {
            // RFC 3261 §8.2.7: the first 200 was lost. It is not authenticated again, as its
            // nonce count is used up; the answer goes where the first one went.
            turn.counters.add(Counter::RegisterRetransmissions);
            return Ok(Outcome::Accepted(id));
        }
        let demand = Credentialed {
            name: HeaderName::Authorization,
            status: 401,
            domain,
            lists,
        };
        let mut buffer = [0; limits::AOR_USER_BYTES_MAX];
        let mut username = Writer::new(&mut buffer);
        let accepted = demand.admit(
            turn,
            authenticator,
            sources,
            arrival,
            message,
            &mut username,
        )?;
        if user_of(aor) != username.written() {
            turn.counters.add(Counter::RegistersRefused);
            return Err(Refusal::Status(403, Counter::RefusedIdentity));
        }
        let asker = Asker { accepted, id };
        Ok(match self.obey(turn, arrival, message, aor, &asker) {
            Ok(()) => Outcome::Accepted(id),
            Err(refused) => Outcome::Refused(refused),
        })
    }

    /// Does what an authenticated REGISTER asks.
    fn obey(
        &mut self,
        turn: &mut Turn<'_>,
        arrival: Arrival,
        message: Message<'_>,
        aor: &[u8],
        asker: &Asker,
    ) -> Result<(), Refused> {
        let mut wanted = WantedList::default();
        let ask = contacts::read(turn, arrival, message, &mut wanted)?;
        let mut path = [0; PATH_BYTES_MAX];
        let mut path = Writer::new(&mut path);
        read_path(turn, arrival, message, &mut path)?;
        let registration = Registration {
            flow: arrival.flow,
            id: asker.id,
            list: asker.accepted.list,
            agent: message
                .header(HeaderName::UserAgent)
                .map_or(b"", |field| field.value),
            path: path.written(),
            nonce_at: asker.accepted.issued_at,
            draining: self.draining,
        };
        match ask {
            Ask::Query => return Ok(()),
            Ask::RemoveAll => {
                self.location.change_all(turn, aor, &registration)?;
                return Ok(());
            }
            Ask::Change => {}
        }
        let outbound = wanted.iter().any(|this| this.reg_id != 0) && contacts::is_outbound(message);
        // RFC 5626 §6: with a proxy in between that does not keep the flow, outbound would fail.
        if outbound && path.is_empty() && Vias::new(message).nth(1).is_some() {
            return Err(Refused::warn(
                439,
                "The first hop does not support outbound",
            ));
        }
        self.location.change(turn, aor, &registration, &wanted)?;
        Ok(())
    }

    /// See [`Location::locate`].
    pub(crate) fn locate(&self, turn: &Turn<'_>, aor: &[u8], out: &mut TargetSetWriter<'_>) {
        self.location.locate(turn, aor, out);
    }

    /// A timer of kind `Binding`, `KeepAlive` or `Housekeeping` fired.
    pub(crate) fn handle_timer(&mut self, turn: &mut Turn<'_>, timer: Timer) {
        match timer.kind {
            TimerKind::Binding | TimerKind::KeepAlive => self.location.handle_timer(turn, timer),
            TimerKind::Housekeeping if timer.key.slot == HOUSEKEEPING_SLOT => {
                self.location.handle_housekeeping(turn);
            }
            TimerKind::Housekeeping
            | TimerKind::Server
            | TimerKind::ServerRetransmit
            | TimerKind::Client
            | TimerKind::ClientRetransmit
            | TimerKind::Absorber
            | TimerKind::Context
            | TimerKind::Call
            | TimerKind::Target => {}
        }
    }

    /// The tables changed: bindings whose domain, mapping or credential is gone are removed, a
    /// slice per housekeeping timer; `locate` heeds the change at once.
    pub(crate) fn handle_tables(&mut self, turn: &mut Turn<'_>) {
        self.location.handle_tables(turn);
    }

    /// Listing and removal for the control side.
    pub(crate) fn handle_command(&mut self, turn: &mut Turn<'_>, command: Command) {
        match command {
            Command::ListBindings {
                id,
                cursor,
                count,
                filter,
            } => {
                let report = self.location.list(turn, id, cursor, count, &filter);
                turn.out.report(report);
            }
            Command::RemoveBindings { id, aor } => {
                let count = self.location.remove_all(turn, &aor);
                turn.out.report(Report::Removed { id, count });
            }
            Command::Drain => self.draining = true,
        }
    }

    /// Bindings held.
    pub(crate) fn len(&self) -> u32 {
        self.location.len()
    }

    /// Octets of the location table and the rates, timers in the wheel included.
    pub(crate) fn bytes(&self) -> Bytes {
        let mut bytes = self.location.bytes();
        bytes.occupied += self.rates.bytes();
        bytes.allocated += self.rates.bytes();
        bytes
    }
}

/// What became of a REGISTER whose sender is the user, or was when it came first.
#[derive(Debug)]
enum Outcome {
    Accepted(RequestId),
    Refused(Refused),
}

/// Who sent a REGISTER.
#[derive(Debug)]
struct Asker {
    accepted: admission::Accepted,
    id: RequestId,
}

/// Why To gives no address of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unusable {
    /// It can not be read.
    Malformed,
    /// It names no domain of ours.
    NoDomain,
    /// It names no user that could exist.
    NoUser,
}

/// Whose bindings a REGISTER speaks of.
#[derive(Debug)]
pub(crate) struct Addressee<'t> {
    domain: Result<&'t Domain, Unusable>,
    octets: [u8; limits::AOR_BYTES_MAX],
    length: usize,
}

impl<'t> Addressee<'t> {
    /// Reads To of a REGISTER.
    pub(crate) fn read(tables: &'t Tables, message: Message<'_>) -> Self {
        let mut octets = [0; limits::AOR_BYTES_MAX];
        let mut out = Writer::new(&mut octets);
        let domain = address_of_record(tables, message, &mut out);
        let length = out.len();
        Self {
            domain,
            octets,
            length,
        }
    }

    /// The canonical address of record; `None` when To names no domain of ours or is not usable.
    pub(crate) fn aor(&self) -> Option<&[u8]> {
        self.domain.ok().map(|_| self.written())
    }

    fn written(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}

/// RFC 3261 §10.3 step 5: the address of record in To, canonical: the user part un-escaped, the
/// host in lower case, no parameters.
fn address_of_record<'t>(
    tables: &'t Tables,
    message: Message<'_>,
    out: &mut Writer<'_>,
) -> Result<&'t Domain, Unusable> {
    let to = message.header(HeaderName::To).ok_or(Unusable::Malformed)?;
    let to = NameAddr::parse(to.value).map_err(|_| Unusable::Malformed)?;
    let uri = Uri::parse(to.uri).map_err(|_| Unusable::Malformed)?;
    match uri.scheme {
        Scheme::Sip | Scheme::Sips => {}
        Scheme::Tel | Scheme::Other => return Err(Unusable::NoDomain),
    }
    let host = uri.host.strip_suffix(b".").unwrap_or(uri.host);
    let domain = tables.domain_by_name(host).ok_or(Unusable::NoDomain)?;
    let before = out.len();
    if !uri.write_user(out) {
        return Err(Unusable::Malformed);
    }
    let length = out.len() - before;
    if length == 0 || length > limits::AOR_USER_BYTES_MAX {
        return Err(Unusable::NoUser);
    }
    out.put(b"@");
    out.put(domain.name.as_bytes());
    Ok(domain)
}

fn refusal_of(turn: &Turn<'_>, arrival: Arrival, unusable: Unusable) -> Refusal {
    let is_trunk = || {
        turn.tables
            .is_trunk_source(arrival.flow.peer().socket_addr())
    };
    match unusable {
        Unusable::Malformed => Refusal::Status(400, Counter::RefusedUri),
        // RFC 3261 §10.3 step 5.
        Unusable::NoUser => Refusal::Status(404, Counter::RefusedIdentity),
        Unusable::NoDomain => match turn.settings.strangers {
            Strangers::Drop if !is_trunk() => Refusal::Drop(Counter::DroppedStranger),
            Strangers::Drop | Strangers::Answer => Refusal::Status(404, Counter::RefusedNoDomain),
        },
    }
}

/// RFC 3261 §10.3 step 1: true when the Request-URI names the domain of the address of record, or
/// this node.
fn is_addressed(turn: &Turn<'_>, message: Message<'_>, domain: &Domain) -> bool {
    message.request_uri().is_some_and(|uri| {
        let host = uri.host.strip_suffix(b".").unwrap_or(uri.host);
        host.eq_ignore_ascii_case(domain.name.as_bytes())
            || admission::is_us(turn.settings, uri.host, uri.port)
    })
}

fn user_of(aor: &[u8]) -> &[u8] {
    let at = aor.iter().rposition(|octet| *octet == b'@');
    &aor[..at.unwrap_or(aor.len())]
}

/// Writes the Path values, comma-separated.
///
/// RFC 3327 §5.3 deviation: Path is taken from trunks alone and ignored in every other REGISTER,
/// because it says where our requests go, and a stranger's phone must not say that.
fn read_path(
    turn: &Turn<'_>,
    arrival: Arrival,
    message: Message<'_>,
    out: &mut Writer<'_>,
) -> Result<(), Refused> {
    if message.header(HeaderName::Path).is_none()
        || !turn
            .tables
            .is_trunk_source(arrival.flow.peer().socket_addr())
    {
        return Ok(());
    }
    let too_long = Refused::warn(403, "The Path is too long");
    for field in message.headers(HeaderName::Path) {
        let separator: &[u8] = if out.is_empty() { b"" } else { b", " };
        if out.len() + separator.len() + field.value.len() > PATH_BYTES_MAX {
            return Err(too_long);
        }
        out.put(separator);
        // Folding must not come back in a Route.
        for octet in field.value {
            let octet = if matches!(octet, b'\r' | b'\n') {
                b' '
            } else {
                *octet
            };
            out.put(&[octet]);
        }
    }
    Ok(())
}
