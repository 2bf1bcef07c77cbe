//! One call as one of its ends sees it (RFC 3261 §12).

use ringfence::sip::Time;

use super::io::NEVER;
use crate::message::{Message, uri_of};

/// Where a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Outgoing: no final response yet.
    Inviting,
    /// Outgoing: given up, the final response awaited.
    Cancelling,
    /// Incoming: no final response yet.
    Offered,
    /// Answered.
    Up,
    /// The BYE is out.
    Ending,
    /// Over; kept so that late messages find it.
    Over,
}

/// What an end of a call does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Ring,
    Accept,
    Refuse(u16),
    HangUp,
    Refresh,
    Cancel,
    /// Nothing more is expected.
    Forget,
}

/// An ACK that a 2xx gets, as often as it comes.
#[derive(Debug)]
pub(super) struct Ack {
    pub(super) cseq: u32,
    pub(super) listener: usize,
    pub(super) bytes: Vec<u8>,
}

/// One end of a call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: u64,
    pub(super) outgoing: bool,
    pub(super) call_id: String,
    /// This end, as in From or To, without tag.
    pub(super) local: String,
    pub(super) local_tag: String,
    pub(super) remote: String,
    /// Empty until the far end has told it.
    pub(super) remote_tag: String,
    pub(super) route: Vec<String>,
    /// Request-URI of the next request.
    pub(super) target: String,
    pub(super) cseq: u32,
    pub(super) remote_cseq: u32,
    /// CSeq of the INVITE under way.
    pub(super) invite_cseq: u32,
    pub(super) state: State,
    /// True once a provisional response came, so that a CANCEL may follow.
    pub(super) proceeding: bool,
    /// True once the CANCEL was sent; there is but one.
    pub(super) cancelled: bool,
    /// Incoming: the server transaction of the INVITE.
    pub(super) server: u64,
    pub(super) acks: Vec<Ack>,
    pub(super) challenged: u32,
    pub(super) next: (Time, Step),
    /// How long this end stays in the call, in milliseconds; 0 = until the other hangs up.
    pub(super) hold_ms: u64,
    pub(super) acknowledged: bool,
    pub(super) status: u16,
}

impl Call {
    pub(super) fn outgoing(id: u64, local: String, uri: &str) -> Self {
        Self {
            id,
            outgoing: true,
            call_id: format!("call-{id}@sim"),
            local,
            local_tag: format!("t{id}"),
            remote: format!("<{uri}>"),
            remote_tag: String::new(),
            route: Vec::new(),
            target: uri.to_owned(),
            cseq: 0,
            remote_cseq: 0,
            invite_cseq: 0,
            state: State::Inviting,
            proceeding: false,
            cancelled: false,
            server: 0,
            acks: Vec::new(),
            challenged: 0,
            next: (NEVER, Step::Forget),
            hold_ms: 0,
            acknowledged: false,
            status: 0,
        }
    }

    /// RFC 3261 §12.1.1: the end that was called.
    pub(super) fn incoming(id: u64, server: u64, invite: &Message) -> Self {
        let text = |name| uri_of(invite.header(name)).to_owned();
        Self {
            outgoing: false,
            call_id: invite.call_id().to_owned(),
            local: format!("<{}>", text("To")),
            remote: format!("<{}>", text("From")),
            remote_tag: invite.tag_of_from().to_owned(),
            route: invite
                .all("Record-Route")
                .into_iter()
                .map(str::to_owned)
                .collect(),
            target: text("Contact"),
            remote_cseq: invite.cseq_number(),
            state: State::Offered,
            server,
            ..Self::outgoing(id, String::new(), "")
        }
    }

    /// RFC 3261 §12.1.2: the end that called learns the dialog from a 2xx.
    pub(super) fn establish(&mut self, ok: &Message) {
        self.remote_tag = ok.tag_of_to().to_owned();
        self.route = ok
            .all("Record-Route")
            .into_iter()
            .rev()
            .map(str::to_owned)
            .collect();
        self.target = uri_of(ok.header("Contact")).to_owned();
    }

    /// True for a message of this dialog from the far end (a request) or to it (a response).
    pub(super) fn has(&self, message: &Message) -> bool {
        let (local, remote) = if message.is_request() {
            (message.tag_of_to(), message.tag_of_from())
        } else {
            (message.tag_of_from(), message.tag_of_to())
        };
        self.call_id == message.call_id() && self.local_tag == local && self.remote_tag == remote
    }

    /// The outline of a request of this end.
    pub(super) fn request(&self, method: &str, cseq: u32, via: String) -> Message {
        let mut request = Message::request(method, &self.target);
        request.add("Via", via);
        request.add("Max-Forwards", "70");
        for route in &self.route {
            request.add("Route", route.as_str());
        }
        request.add("From", format!("{};tag={}", self.local, self.local_tag));
        let to_tag = if self.remote_tag.is_empty() {
            String::new()
        } else {
            format!(";tag={}", self.remote_tag)
        };
        request.add("To", format!("{}{to_tag}", self.remote));
        request.add("Call-ID", self.call_id.as_str());
        request.add("CSeq", format!("{cseq} {method}"));
        request
    }
}
