//! Forwarding without a transaction (RFC 3261 §16.11): ACK to a 2xx, requests inside a dialog when
//! the tables are full, and the responses to them.
//!
//! The branch is a function of the request, so that a retransmission leaves with the same one; its
//! check binds the address that the response will be sent to, so that no response can be aimed
//! elsewhere.

use std::net::SocketAddr;

use siphasher::sip::SipHasher13;

use super::forward::{self, Hop};
use super::{Proxy, Reach, response};
use crate::sip::gather::Gather;
use crate::sip::token::Branch;
use crate::sip::turn::Turn;
use crate::sip::{Arrival, Counter, Disposition, Flow, ListenerId, SourceAddr, reply};
use crate::wire::{Message, Method, Transport, Via, Vias, host_addr};

/// Listener, address, port and hash of the request.
const BOUND_BYTES: usize = 1 + 16 + 2 + 8;

/// The upstream side of a request forwarded without a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    octets: [u8; BOUND_BYTES],
}

impl Bound {
    fn of(listener: ListenerId, peer: SourceAddr, hash: u64) -> Self {
        let mut octets = [0; BOUND_BYTES];
        octets[0] = listener.0;
        octets[1..17].copy_from_slice(peer.octets());
        octets[17..19].copy_from_slice(&peer.port().to_be_bytes());
        octets[19..].copy_from_slice(&hash.to_be_bytes());
        Self { octets }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.octets
    }
}

/// What tells this request from every other and is the same in its response: the branch of the
/// Via below ours, Call-ID, the number of CSeq, and the tag of From.
fn request_hash(turn: &Turn<'_>, message: Message<'_>, via: Via<'_>) -> u64 {
    let mut input = Gather::new(SipHasher13::new_with_key(&turn.keys.hash));
    let number = message.cseq().number.to_be_bytes();
    for part in [via.branch, message.call_id(), &number, message.from_tag()] {
        input.put(&(part.len() as u32).to_be_bytes());
        input.put(part);
    }
    input.finish()
}

/// The branch and what it binds, for a request that came on `arrival`. `None` when its responses
/// could not be sent back without a transaction: it came on a connection.
pub(super) fn branch_of(
    turn: &Turn<'_>,
    arrival: Arrival,
    message: Message<'_>,
) -> Option<(Branch, Bound)> {
    let via = message.top_via();
    let hash = request_hash(turn, message, via);
    let upstream = match reply::reply_flow(arrival, message) {
        Flow::Udp { listener, peer } => Bound::of(listener, peer, hash),
        // RFC 3261 §17.1.1.3: an ACK has no response that must find its way.
        Flow::Stream { listener, peer, .. } if message.method() == Method::Ack => {
            Bound::of(listener, peer, hash)
        }
        Flow::Stream { .. } => return None,
    };
    let branch = Branch {
        shard: turn.shard,
        transaction: None,
        // No loop is told by it: requests inside a dialog go to its far end only.
        loop_hash: 0,
    };
    Some((branch, upstream))
}

impl Proxy {
    /// Forwards a request by `hop`, whose branch came of [`branch_of`].
    pub(super) fn forward_stateless(
        &mut self,
        reach: &mut Reach<'_, '_>,
        arrival: Arrival,
        message: Message<'_>,
        flow: Flow,
        hop: &Hop<'_>,
    ) -> Disposition {
        let Self { lines, request, .. } = self;
        let turn = &mut *reach.turn;
        match forward::write_request(turn, message, arrival, hop, lines, request) {
            Some(length) if turn.out.send(flow, &request[..length]) => Disposition::Forwarded,
            Some(_) | None => Disposition::Dropped(Counter::DroppedNoRoom),
        }
    }
}

/// A response whose top Via names no transaction: it is forwarded when the Via below is the one
/// that its branch binds (RFC 3261 §16.11).
pub(crate) fn forward_response(turn: &mut Turn<'_>, message: Message<'_>) -> Disposition {
    const STRAY: Disposition = Disposition::Dropped(Counter::DroppedStrayResponse);
    let mut vias = Vias::new(message);
    let (Some(Ok(ours)), Some(Ok(next))) = (vias.next(), vias.next()) else {
        return STRAY;
    };
    let Some(peer) = upstream_addr(next) else {
        return STRAY;
    };
    let hash = request_hash(turn, message, next);
    let node = turn.settings.node;
    // Which listener the request came by is not in the Via; the check tells.
    let mut datagram = turn
        .settings
        .listeners
        .iter()
        .filter(|it| it.transport == Transport::Udp)
        .map(|it| it.id);
    let found = datagram.find(|&listener| {
        let bound = Bound::of(listener, peer, hash);
        Branch::read(ours.branch, turn.keys, node, bound.as_bytes())
            .is_some_and(|branch| branch.transaction.is_none())
    });
    let Some(listener) = found else {
        return STRAY;
    };
    forward_late(turn, Flow::Udp { listener, peer }, message)
}

/// Where responses go by a Via that we have stamped (RFC 3261 §18.2.2, RFC 3581 §4).
fn upstream_addr(via: Via<'_>) -> Option<SourceAddr> {
    let ip = host_addr(via.received.unwrap_or(via.host))?;
    let port = match via.rport {
        Some(Some(port)) => port,
        Some(None) | None => via.port.unwrap_or(reply::default_port(Transport::Udp)),
    };
    Some(SourceAddr::from(SocketAddr::new(ip, port)))
}

/// Forwards a response upstream without a transaction: a further 2xx to an INVITE (RFC 6026 §7.2),
/// or one to a request that had none.
pub(crate) fn forward_late(
    turn: &mut Turn<'_>,
    upstream: Flow,
    message: Message<'_>,
) -> Disposition {
    let mut out = turn.out.writer();
    if !response::write_response(message, false, true, &mut out) {
        return Disposition::Dropped(Counter::DroppedStrayResponse);
    }
    match out.finish() {
        Some(length) if turn.out.send_written(upstream, length) => Disposition::Forwarded,
        Some(_) | None => Disposition::Dropped(Counter::DroppedNoRoom),
    }
}
