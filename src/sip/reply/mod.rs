//! Responses of the edge itself that need no transaction (RFC 3261 §8.2.7, §16.3).
//!
//! Owns where a response goes and its To tag. Must not keep anything: a retransmitted request is
//! answered again, alike.

use siphasher::sip::SipHasher24;

use super::gather::Gather;
use super::turn::Turn;
use super::{Arrival, Flow, Settings};
use crate::wire::{Message, ReplyTo, ResponseHead, Transport, Writer, host_addr, reason_phrase};

/// Characters of a stateless To tag: 64 bits in hexadecimal.
const TAG_CHARS: usize = 16;

/// The port of a Via or URI that names none (RFC 3261 §18.1.1, §19.1.2).
pub(crate) const fn default_port(transport: Transport) -> u16 {
    match transport {
        Transport::Tls | Transport::Wss => 5061,
        Transport::Udp | Transport::Tcp | Transport::Ws | Transport::Other => 5060,
    }
}

/// The flow on which a response to `message` goes: always the source address; the source port
/// when the top Via has rport or its sent-by host is not the source address, else the sent-by
/// port (RFC 3581 §4, RFC 3261 §18.2.2; maddr is never followed). On a connection: back on it.
pub(crate) fn reply_flow(arrival: Arrival, message: Message<'_>) -> Flow {
    match arrival.flow {
        Flow::Stream { .. } => arrival.flow,
        Flow::Udp { listener, peer } => {
            let via = message.top_via();
            // RFC 3261 §18.2.2 deviation: where sent-by is not the source address, the response
            // goes to the source port and not to the sent-by port, because the sender is behind
            // NAT and nothing else can reach it.
            let to_source = via.rport.is_some() || host_addr(via.host) != Some(peer.ip());
            let port = match via.port {
                _ if to_source => peer.port(),
                Some(port) => port,
                None => default_port(Transport::Udp),
            };
            Flow::Udp {
                listener,
                peer: peer.with_port(port),
            }
        }
    }
}

/// The To tag of stateless responses: a keyed hash of what every retransmission of the request
/// has in common, 16 characters.
// RFC 3261 §8.2.7: a stateless UAS must give the same To tag to every retransmission.
pub(crate) fn stateless_tag(turn: &Turn<'_>, message: Message<'_>) -> [u8; TAG_CHARS] {
    let mut input = Gather::new(SipHasher24::new_with_key(&turn.keys.hash));
    for part in [
        message.top_via().branch,
        message.call_id(),
        message.from_tag(),
    ] {
        input.put(part);
        // No octet of a message can stand for the border between two parts: 0 is refused.
        input.put(&[0]);
    }
    input.put(&message.cseq().number.to_be_bytes());
    let mut tag = [0; TAG_CHARS];
    let bits = input.finish();
    for (at, character) in tag.iter_mut().enumerate() {
        *character = b"0123456789abcdef"[(bits >> (60 - 4 * at)) as usize & 15];
    }
    tag
}

/// Answers `message` with `status`; `extra` writes further header lines. True when it was sent.
pub(crate) fn answer(
    turn: &mut Turn<'_>,
    arrival: Arrival,
    message: Message<'_>,
    status: u16,
    extra: impl FnOnce(&mut Writer<'_>),
) -> bool {
    answer_with_body(turn, arrival, message, status, extra, b"")
}

/// Like [`answer`], with a body whose Content-Type is among the lines of `extra`.
pub(crate) fn answer_with_body(
    turn: &mut Turn<'_>,
    arrival: Arrival,
    message: Message<'_>,
    status: u16,
    extra: impl FnOnce(&mut Writer<'_>),
    body: &[u8],
) -> bool {
    match write(turn, arrival, message, status, extra, body) {
        Some(length) => turn.out.send_written(reply_flow(arrival, message), length),
        None => false,
    }
}

/// The header line of a 503.
pub(crate) fn put_retry_after(settings: &Settings, out: &mut Writer<'_>) {
    out.put(b"Retry-After: ");
    out.put_decimal(u64::from(settings.retry_after_s));
    out.put(b"\r\n");
}

/// Writes a response behind what lies in the outbox, without sending it; its length, or `None`
/// when it does not fit.
pub(crate) fn write(
    turn: &mut Turn<'_>,
    arrival: Arrival,
    message: Message<'_>,
    status: u16,
    extra: impl FnOnce(&mut Writer<'_>),
    body: &[u8],
) -> Option<usize> {
    let tag = stateless_tag(turn, message);
    // RFC 3261 §8.2.6.2: every response but 100 has a To tag.
    let tag: &[u8] = if status == 100 { b"" } else { &tag };
    let reply = ReplyTo {
        source: arrival.flow.peer().socket_addr(),
    };
    let mut out = turn.out.writer();
    ResponseHead::write(&mut out, message, status, reason_phrase(status), tag, reply);
    extra(&mut out);
    ResponseHead::end(&mut out, body);
    out.finish()
}

#[cfg(test)]
mod tests;
