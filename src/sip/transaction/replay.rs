//! The last response of a server transaction, as it will be sent again.

use super::super::turn::Turn;
use super::super::{BufferId, Counter, Counters, Flow, Outbox, Settings, reply};
use crate::wire::{
    HeaderName, Index, Message, ReplyTo, ResponseHead, parse_decimal, reason_phrase,
};

/// Longest To tag that is kept without its response: the length of the edge's own.
const TAG_BYTES_MAX: usize = 16;

/// A To tag of ours; empty for a 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    octets: [u8; TAG_BYTES_MAX],
    length: u8,
}

impl Tag {
    /// As much of `tag` as there is room for: the beginning of a token is a token.
    fn new(tag: &[u8]) -> Self {
        let length = tag.len().min(TAG_BYTES_MAX);
        let mut octets = [0; TAG_BYTES_MAX];
        octets[..length].copy_from_slice(&tag[..length]);
        Self {
            octets,
            length: length as u8,
        }
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
    /// The same response, made from the retransmitted request or the kept one.
    Rebuilt {
        /// Its status.
        status: u16,
        /// Its To tag.
        tag: Tag,
    },
}

impl Replay {
    /// A response that the edge made itself, if the request alone gives it back octet for octet:
    /// no header but those copied from the request and Retry-After of a 503, the usual reason
    /// phrase, no body.
    pub(super) fn rebuilt(
        scratch: &mut Index,
        settings: &Settings,
        response: &[u8],
    ) -> Option<Self> {
        let message = scratch.scan(response).ok()?;
        let status = message.status()?;
        let retry_after_s = message
            .header(HeaderName::RetryAfter)
            .map(|field| parse_decimal(field.value, u64::from(u32::MAX)));
        let usual = (status == 503).then_some(Some(u64::from(settings.retry_after_s)));
        let plain = retry_after_s == usual
            && message.reason_phrase() == reason_phrase(status).as_bytes()
            && message.body().is_empty()
            && message.to_tag().len() <= TAG_BYTES_MAX
            && message.fields().all(|field| is_made(field.name));
        if plain {
            Self::outline(scratch, response)
        } else {
            None
        }
    }

    /// What the request gives back of any response: its status and the beginning of its To tag.
    /// A client knows a response by its branch.
    pub(super) fn outline(scratch: &mut Index, response: &[u8]) -> Option<Self> {
        let message = scratch.scan(response).ok()?;
        Some(Self::Rebuilt {
            status: message.status()?,
            tag: Tag::new(message.to_tag()),
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
                rebuild(turn.out, turn.settings, flow, message, status, &tag)
            }
        };
        count(turn.counters, sent);
        sent
    }

    /// Sends the response again on `flow` by the request that is kept as `request`. True when
    /// something was sent.
    pub(super) fn send_by(
        self,
        turn: &mut Turn<'_>,
        flow: Flow,
        request: BufferId,
        scratch: &mut Index,
    ) -> bool {
        let Self::Rebuilt { status, tag } = self else {
            return self.send(turn, flow, None);
        };
        let sent = match scratch.scan(turn.buffers.octets(request)) {
            Ok(message) => rebuild(turn.out, turn.settings, flow, message, status, &tag),
            Err(_) => false,
        };
        count(turn.counters, sent);
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

/// Sends a response of the edge to `message`.
fn rebuild(
    out: &mut Outbox,
    settings: &Settings,
    flow: Flow,
    message: Message<'_>,
    status: u16,
    tag: &Tag,
) -> bool {
    let reply = ReplyTo {
        source: flow.peer().socket_addr(),
    };
    let mut writer = out.writer();
    let reason = reason_phrase(status);
    ResponseHead::write(&mut writer, message, status, reason, tag.as_bytes(), reply);
    if status == 503 {
        reply::put_retry_after(settings, &mut writer);
    }
    ResponseHead::end(&mut writer, &[]);
    match writer.finish() {
        Some(length) => out.send_written(flow, length),
        None => false,
    }
}

fn count(counters: &mut Counters, sent: bool) {
    counters.add(if sent {
        Counter::ResponsesRetransmitted
    } else {
        Counter::RetransmissionsLost
    });
}

/// True for a header that `rebuild` makes: one that a response takes from its request
/// (RFC 3261 §8.2.6), Content-Length, and Retry-After.
fn is_made(name: HeaderName) -> bool {
    matches!(
        name,
        HeaderName::Via
            | HeaderName::From
            | HeaderName::To
            | HeaderName::CallId
            | HeaderName::CSeq
            | HeaderName::Timestamp
            | HeaderName::ContentLength
            | HeaderName::RetryAfter
    )
}
