//! The last response of a server transaction, as it will be sent again.

use super::super::turn::Turn;
use super::super::{BufferId, Counter, Flow};
use crate::wire::{HeaderName, Index, Message, ReplyTo, ResponseHead, reason_phrase};

/// Longest To tag that is kept without its response: the length of the edge's own.
const TAG_BYTES_MAX: usize = 16;

/// A To tag of ours; empty for a 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    octets: [u8; TAG_BYTES_MAX],
    length: u8,
}

impl Tag {
    fn new(tag: &[u8]) -> Option<Self> {
        let mut octets = [0; TAG_BYTES_MAX];
        octets.get_mut(..tag.len())?.copy_from_slice(tag);
        Some(Self {
            octets,
            length: tag.len() as u8,
        })
    }

    fn as_bytes(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }
}

/// What is sent when the request comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replay {
    /// Nothing: none was sent, or it could not be kept.
    Nothing,
    /// These octets.
    Kept(BufferId),
    /// The same response, made from the retransmitted request.
    Rebuilt {
        /// Its status.
        status: u16,
        /// Its To tag.
        tag: Tag,
    },
}

impl Replay {
    /// A response that the edge made itself, if the request alone gives it back octet for octet:
    /// no header but those copied from the request, the usual reason phrase, no body.
    pub(super) fn rebuilt(scratch: &mut Index, response: &[u8]) -> Option<Self> {
        let message = scratch.scan(response).ok()?;
        let status = message.status()?;
        let plain = message.reason_phrase() == reason_phrase(status).as_bytes()
            && message.body().is_empty()
            && message.fields().all(|field| is_copied(field.name));
        if !plain {
            return None;
        }
        Some(Self::Rebuilt {
            status,
            tag: Tag::new(message.to_tag())?,
        })
    }

    /// Sends the response again on `flow`; `message` is the retransmitted request where there is
    /// one. True when something was sent.
    pub(super) fn send(
        self,
        turn: &mut Turn<'_>,
        flow: Flow,
        message: Option<Message<'_>>,
    ) -> bool {
        let sent = match (self, message) {
            (Self::Nothing, _) | (Self::Rebuilt { .. }, None) => return false,
            (Self::Kept(id), _) => turn.out.send(flow, turn.buffers.octets(id)),
            (Self::Rebuilt { status, tag }, Some(message)) => {
                let mut out = turn.out.writer();
                let reply = ReplyTo {
                    source: flow.peer().socket_addr(),
                };
                let reason = reason_phrase(status);
                ResponseHead::write(&mut out, message, status, reason, tag.as_bytes(), reply);
                ResponseHead::end(&mut out, &[]);
                match out.finish() {
                    Some(length) => turn.out.send_written(flow, length),
                    None => false,
                }
            }
        };
        turn.counters.add(if sent {
            Counter::ResponsesRetransmitted
        } else {
            Counter::RetransmissionsLost
        });
        sent
    }

    /// Gives back what is kept.
    pub(super) fn release(self, turn: &mut Turn<'_>) {
        match self {
            Self::Kept(id) => turn.buffers.release(id),
            Self::Nothing | Self::Rebuilt { .. } => {}
        }
    }
}

/// True for a header that a response takes from its request (RFC 3261 §8.2.6), and for
/// Content-Length.
fn is_copied(name: HeaderName) -> bool {
    matches!(
        name,
        HeaderName::Via
            | HeaderName::From
            | HeaderName::To
            | HeaderName::CallId
            | HeaderName::CSeq
            | HeaderName::Timestamp
            | HeaderName::ContentLength
    )
}
