//! The answer to a request that is not admitted: stateless, and no larger than its source has
//! earned.

use super::{Refusal, unsupported};
use crate::sip::auth::Authenticator;
use crate::sip::rate::Sources;
use crate::sip::turn::Turn;
use crate::sip::{Arrival, Counter, Disposition, Flow, reply};
use crate::tenant::Domain;
use crate::wire::{HeaderName, Message, Method, Uri, Writer};

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
        Refusal::Challenge { status, domain, .. } => match tables.domain(domain) {
            Some(domain) => (status, Some(domain)),
            // The domain was there a moment ago, in the same turn's tables.
            None => return Disposition::Dropped(Counter::DroppedStranger),
        },
    };
    let source = arrival.flow.peer();
    let now = turn.now.time;
    let is_trunk = tables.is_trunk_source(source.socket_addr());
    let bytes = message.bytes().len();
    let is_charged = is_failure(refusal) && !is_trunk && !is_listed(turn, arrival, message, domain);
    if !is_charged {
        sources.on_request(now, source, bytes);
    } else if !sources.try_request(now, turn.settings, source, bytes) {
        return Disposition::Dropped(Counter::DroppedSourceBudget);
    }
    let Some(length) = write(
        turn,
        authenticator,
        arrival,
        message,
        refusal,
        status,
        domain,
    ) else {
        return Disposition::Dropped(Counter::DroppedNoRoom);
    };
    // A connection's handshake is proof that the source is where it says.
    let may_answer = match arrival.flow {
        Flow::Stream { .. } => true,
        Flow::Udp { .. } => is_trunk || sources.try_answer(now, turn.settings, source, length),
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
    if let Refusal::Challenge { stale, .. } = refusal {
        turn.counters.add(Counter::Challenges);
        if stale {
            turn.counters.add(Counter::ChallengesStale);
        } else if is_charged && !has_credentials(message) {
            sources.on_challenged(now, source);
        }
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
        let uri = Uri::parse(message.request_line()?.uri).ok()?;
        super::domain_of(turn.tables, uri.host)
    };
    challenger.or_else(named).is_some_and(|domain| {
        !domain.call_acls.is_empty()
            && turn
                .tables
                .acl()
                .admits(arrival.flow.peer().ip(), &domain.call_acls)
    })
}

fn has_credentials(message: Message<'_>) -> bool {
    message.header(HeaderName::Authorization).is_some()
        || message.header(HeaderName::ProxyAuthorization).is_some()
}

/// Writes the answer behind what lies in the outbox; its length, or `None` without room.
fn write(
    turn: &mut Turn<'_>,
    authenticator: &mut Authenticator,
    arrival: Arrival,
    message: Message<'_>,
    refusal: Refusal,
    status: u16,
    domain: Option<&Domain>,
) -> Option<usize> {
    let (now, shard, settings) = (turn.now, turn.shard, turn.settings);
    let tables = turn.tables;
    let extra = |out: &mut Writer<'_>| match refusal {
        Refusal::Challenge { stale, .. } => {
            if let Some(domain) = domain {
                authenticator
                    .write_challenges(now, shard, settings, arrival, domain, status, stale, out);
            }
        }
        Refusal::BadExtension => write_unsupported(tables, settings, message, out),
        // RFC 3261 §21.5.4: says when the node expects to be able again.
        Refusal::Status(503, _) => {
            out.put(b"Retry-After: ");
            out.put_decimal(settings.retry_after_s.into());
            out.put(b"\r\n");
        }
        // Only who has verified credentials gets this far, so nothing is given away.
        Refusal::Status(403, Counter::RefusedIdentity) => {
            out.put(b"Warning: 399 ");
            let listener = &settings.listeners[usize::from(arrival.flow.listener().0)];
            out.put(listener.sent_by.as_bytes());
            out.put(b" \"The name in the request is not that of the credentials\"\r\n");
        }
        Refusal::Status(..) | Refusal::Drop(_) => {}
    };
    reply::write(turn, arrival, message, status, extra, b"")
}

/// RFC 3261 §8.2.2.3: Unsupported lists the option tags that were not understood.
fn write_unsupported(
    tables: &crate::tenant::Tables,
    settings: &crate::sip::Settings,
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
