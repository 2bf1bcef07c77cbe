//! The answer to a request that is not admitted: stateless, and no larger than its source has
//! earned.

use super::{Refusal, unsupported};
use crate::sip::auth::Authenticator;
use crate::sip::rate::Sources;
use crate::sip::turn::Turn;
use crate::sip::{Arrival, Counter, Disposition, Flow, Settings, reply};
use crate::tenant::{Domain, Tables};
use crate::wire::{HeaderName, Message, Method, Writer};

/// Answers a refusal and counts it. An ACK is never answered (RFC 3261 §17.1.1.3), and a source
/// that has spent its budget, or has proved nothing and sent less than the answer weighs, hears
/// nothing.
pub(crate) fn refuse(
    turn: &mut Turn<'_>,
    authenticator: &mut Authenticator,
    sources: &mut Sources,
    arrival: Arrival,
    message: Message<'_>,
    refusal: Refusal,
) -> Disposition {
    if message.method() == Method::Ack {
        return Disposition::Dropped(Counter::DroppedStrayAck);
    }
    let tables = turn.tables;
    let (status, domain) = match refusal {
        Refusal::Drop(counter) => return Disposition::Dropped(counter),
        Refusal::Status(status, counter) => {
            turn.counters.add(counter);
            (status, None)
        }
        Refusal::BadExtension => {
            turn.counters.add(Counter::RefusedExtension);
            (420, None)
        }
        Refusal::Challenge { status, domain, .. } => (status, tables.domain(domain)),
    };
    let source = arrival.flow.peer();
    let now = turn.now;
    let is_charged = is_failure(refusal)
        && !tables.is_trunk_source(source.socket_addr())
        && !is_listed(turn, arrival, message, domain);
    if is_charged && !sources.try_request(now.time, turn.settings, source) {
        return Disposition::Dropped(Counter::DroppedSourceBudget);
    }
    let (shard, settings) = (turn.shard, turn.settings);
    let extra = |out: &mut Writer<'_>| match (refusal, domain) {
        (Refusal::Challenge { stale, .. }, Some(domain)) => {
            authenticator
                .write_challenges(now, shard, settings, arrival, domain, status, stale, out);
        }
        (Refusal::BadExtension, _) => write_unsupported(tables, settings, message, out),
        (Refusal::Status(status, counter), _) => {
            write_hints(settings, arrival, status, counter, out);
        }
        (Refusal::Challenge { .. } | Refusal::Drop(_), _) => {}
    };
    let disposition = answer_stranger(turn, sources, arrival, message, status, extra);
    if disposition == Disposition::Answered
        && let Refusal::Challenge { stale, .. } = refusal
    {
        turn.counters.add(Counter::Challenges);
        if stale {
            turn.counters.add(Counter::ChallengesStale);
        } else if is_charged && !has_credentials(message) {
            sources.on_challenged(now.time, source);
        }
    }
    disposition
}

/// Answers `message` with `status`, unless that is more than its source may be sent: an answer
/// where nobody was authenticated. `extra` writes further header lines. One packet answers one
/// packet.
pub(crate) fn answer_stranger(
    turn: &mut Turn<'_>,
    sources: &mut Sources,
    arrival: Arrival,
    message: Message<'_>,
    status: u16,
    extra: impl FnOnce(&mut Writer<'_>),
) -> Disposition {
    credit(turn, sources, arrival, message);
    answer_within_credit(turn, sources, arrival, message, status, extra)
}

/// Answers OPTIONS for this node: with `capabilities`, and without where they alone are more than
/// the source may be sent, so that whoever only wants to know that the node is alive is told.
pub(crate) fn answer_options(
    turn: &mut Turn<'_>,
    sources: &mut Sources,
    arrival: Arrival,
    message: Message<'_>,
    capabilities: &[u8],
) -> Disposition {
    credit(turn, sources, arrival, message);
    let put_capabilities = |out: &mut Writer<'_>| out.put(capabilities);
    let disposition = answer_within_credit(turn, sources, arrival, message, 200, put_capabilities);
    if disposition == Disposition::Dropped(Counter::DroppedAmplification) {
        return answer_within_credit(turn, sources, arrival, message, 200, |_| {});
    }
    disposition
}

/// What came from a source may go to it.
fn credit(turn: &Turn<'_>, sources: &mut Sources, arrival: Arrival, message: Message<'_>) {
    let (source, length) = (arrival.flow.peer(), message.bytes().len());
    sources.on_request(turn.now.time, source, length);
}

fn answer_within_credit(
    turn: &mut Turn<'_>,
    sources: &mut Sources,
    arrival: Arrival,
    message: Message<'_>,
    status: u16,
    extra: impl FnOnce(&mut Writer<'_>),
) -> Disposition {
    let source = arrival.flow.peer();
    let Some(length) = reply::write(turn, arrival, message, status, extra, b"") else {
        return Disposition::Dropped(Counter::DroppedNoRoom);
    };
    let may_answer = match arrival.flow {
        // A connection's handshake is proof that the source is where it says.
        Flow::Stream { .. } => true,
        Flow::Udp { .. } => {
            turn.tables.is_trunk_source(source.socket_addr())
                || sources.try_answer(turn.now.time, turn.settings, source, length)
        }
    };
    if !may_answer {
        return Disposition::Dropped(Counter::DroppedAmplification);
    }
    if !turn
        .out
        .send_written(reply::reply_flow(arrival, message), length)
    {
        return Disposition::Dropped(Counter::DroppedNoRoom);
    }
    Disposition::Answered
}

/// True when the request is held against its source. Not: a right response to a nonce that is no
/// longer good, what the node itself could not do, and what was refused to a caller who had been
/// admitted.
fn is_failure(refusal: Refusal) -> bool {
    match refusal {
        Refusal::Challenge { stale, .. } => !stale,
        Refusal::BadExtension | Refusal::Drop(_) => true,
        Refusal::Status(status, counter) => {
            let was_admitted = matches!(
                counter,
                Counter::RefusedNotFound | Counter::RefusedLimit | Counter::RegistersOverRate
            );
            status < 500 && !was_admitted
        }
    }
}

/// True when the access control lists of the domain concerned admit the source. Lists are mapped
/// for calls, so a REGISTER never counts as listed.
fn is_listed(
    turn: &Turn<'_>,
    arrival: Arrival,
    message: Message<'_>,
    challenger: Option<&Domain>,
) -> bool {
    if message.method() == Method::Register {
        return false;
    }
    let named = || {
        let uri = message.request_uri()?;
        super::domain_of(turn.tables, uri.host)
    };
    let source = arrival.flow.peer().ip();
    challenger
        .or_else(named)
        .is_some_and(|domain| turn.tables.acl().admits(source, &domain.call_acls))
}

fn has_credentials(message: Message<'_>) -> bool {
    message.header(HeaderName::Authorization).is_some()
        || message.header(HeaderName::ProxyAuthorization).is_some()
}

/// Writes what helps a client to do better.
fn write_hints(
    settings: &Settings,
    arrival: Arrival,
    status: u16,
    counter: Counter,
    out: &mut Writer<'_>,
) {
    if status == 503 {
        // RFC 3261 §21.5.4: when the node expects to be able again.
        out.put(b"Retry-After: ");
        out.put_decimal(settings.retry_after_s.into());
        out.put(b"\r\n");
    }
    if counter == Counter::RefusedIdentity {
        // Only who has verified credentials gets this far, so nothing is given away.
        out.put(b"Warning: 399 ");
        let listener = &settings.listeners[usize::from(arrival.flow.listener().0)];
        out.put(listener.sent_by.as_bytes());
        out.put(b" \"The name in the request is not that of the credentials\"\r\n");
    }
}

/// RFC 3261 §8.2.2.3: Unsupported lists the option tags that were not understood.
fn write_unsupported(
    tables: &Tables,
    settings: &Settings,
    message: Message<'_>,
    out: &mut Writer<'_>,
) {
    let mut before: &[u8] = b"Unsupported: ";
    for tag in unsupported(tables, settings, message) {
        out.put(before);
        out.put(tag);
        before = b", ";
    }
    out.put(b"\r\n");
}
