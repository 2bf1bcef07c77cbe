//! Responses of the edge itself that need no transaction (RFC 3261 §8.2.7, §16.3).

use super::turn::Turn;
use super::{Arrival, Flow};
use crate::wire::{Message, Writer};

/// The flow on which a response to `message` goes: always the source address; the source port
/// when the top Via has rport or its sent-by host is not the source address, else the sent-by
/// port (RFC 3581 §4, RFC 3261 §18.2.2; maddr is never followed).
pub(crate) fn reply_flow(arrival: Arrival, message: Message<'_>) -> Flow {
    unimplemented!("{arrival:?}{message:?}")
}

/// The To tag of stateless responses: a keyed hash of what every retransmission of the request
/// has in common, 16 characters.
pub(crate) fn stateless_tag(turn: &Turn<'_>, message: Message<'_>) -> [u8; 16] {
    let _ = turn;
    unimplemented!("{message:?}")
}

/// Answers `message` with `status`; `extra` writes further header lines. True when it was sent.
pub(crate) fn answer(
    turn: &mut Turn<'_>,
    arrival: Arrival,
    message: Message<'_>,
    status: u16,
    extra: impl FnOnce(&mut Writer<'_>),
) -> bool {
    let _ = (turn, arrival, message, status, extra);
    unimplemented!()
}
