//! A call between two agents, through the edge.

use std::cell::Cell;

use super::agent::Agent;
use super::message::{Message, parameter, uri_of};

/// A body that must arrive as it was sent.
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
                   m=audio 40000 RTP/AVP 0\r\n";

/// One side of a dialog (RFC 3261 §12).
pub(crate) struct Leg<'a> {
    agent: &'a Agent,
    call_id: String,
    /// From and To of its requests.
    local: String,
    remote: String,
    target: String,
    routes: Vec<String>,
    number: Cell<u32>,
}

/// A call that is up.
pub(crate) struct Call<'a> {
    pub(crate) caller: Leg<'a>,
    pub(crate) callee: Leg<'a>,
}

impl Leg<'_> {
    fn request(&self, method: &str, number: u32) -> String {
        let routes: String = self
            .routes
            .iter()
            .map(|route| format!("Route: {route}\r\n"))
            .collect();
        format!(
            "{method} {} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\n{routes}From: {}\r\nTo: {}\r\n\
             Call-ID: {}\r\nCSeq: {number} {method}\r\nContact: {}\r\nContent-Length: 0\r\n\r\n",
            self.target,
            self.agent.via(),
            self.local,
            self.remote,
            self.call_id,
            self.agent.contact(),
        )
    }

    /// The next request inside the dialog.
    fn next_request(&self, method: &str) -> String {
        self.number.set(self.number.get() + 1);
        self.request(method, self.number.get())
    }

    /// Sends BYE, which the other side must get and answer, and its 200 must come back.
    pub(crate) fn hang_up(&self, other: &Leg<'_>) {
        self.agent.send(self.next_request("BYE").as_bytes());
        let bye = other.agent.take_request("BYE");
        assert_eq!(bye.header("Call-ID"), self.call_id);
        assert_eq!(bye.uri(), self.target, "the Request-URI is the Contact");
        assert!(bye.all("Route").is_empty(), "no Route is left: {bye:?}");
        other.agent.respond(&bye, "200 OK", "", "");
        let answer = self.agent.take_final("BYE");
        assert_eq!(answer.status(), Some(200), "{answer:?}");
        assert_eq!(answer.header("Call-ID"), self.call_id);
    }

    /// The final response to BYE, where it may not reach the other side.
    pub(crate) fn try_hang_up(&self) -> Message {
        self.agent.exchange(&self.next_request("BYE"))
    }

    /// Sends a re-INVITE, which the other side accepts.
    pub(crate) fn renew(&self, other: &Leg<'_>) {
        self.agent.send(self.next_request("INVITE").as_bytes());
        let invite = other.agent.take_request("INVITE");
        assert_eq!(invite.header("Call-ID"), self.call_id);
        other.agent.respond(&invite, "200 OK", "", "");
        let answer = self.agent.take_final("INVITE");
        assert_eq!(answer.status(), Some(200), "{answer:?}");
        self.agent
            .send(self.request("ACK", self.number.get()).as_bytes());
        other.agent.take_request("ACK");
    }
}

/// An INVITE that rings at the callee.
pub(crate) struct Ringing<'a> {
    caller: &'a Agent,
    callee: &'a Agent,
    /// As the caller sent it.
    pub(crate) sent: String,
    /// As it came to the callee.
    pub(crate) received: Message,
    tag: String,
}

/// `caller` calls `uri`, and `callee` rings.
pub(crate) fn ring<'a>(caller: &'a Agent, callee: &'a Agent, uri: &str) -> Ringing<'a> {
    let sent = invite(caller, uri);
    caller.send(sent.as_bytes());
    Ringing::of(caller, callee, sent)
}

/// An INVITE of `caller` to `uri`.
pub(crate) fn invite(caller: &Agent, uri: &str) -> String {
    let contact = caller.contact();
    let extra = format!("Contact: {contact}\r\nContent-Type: application/sdp\r\n");
    caller.request("INVITE", uri, &extra, SDP)
}

impl<'a> Ringing<'a> {
    /// `callee` gets the INVITE that `caller` has sent, and rings.
    pub(crate) fn of(caller: &'a Agent, callee: &'a Agent, sent: String) -> Self {
        let received = callee.take_request("INVITE");
        assert_eq!(received.body, SDP, "the body is not touched");
        assert_eq!(received.all("Via").len(), 2);
        assert_eq!(received.header("Max-Forwards"), "69");
        let tag = callee.fresh();
        callee.respond(&received, "180 Ringing", &tag, "");
        let ringing = caller.take_status(180);
        assert_eq!(parameter(ringing.header("To"), "tag"), Some(tag.as_str()));
        Self {
            caller,
            callee,
            sent,
            received,
            tag,
        }
    }

    /// The callee answers; nobody waits for what becomes of it.
    pub(crate) fn answer_only(&self) {
        self.callee.respond(&self.received, "200 OK", &self.tag, "");
    }

    /// The callee answers, and the caller acknowledges.
    pub(crate) fn answer(self) -> Call<'a> {
        let Self {
            caller,
            callee,
            sent,
            received,
            tag,
        } = self;
        callee.respond(&received, "200 OK", &tag, "");
        let answer = caller.take_final("INVITE");
        assert_eq!(answer.status(), Some(200), "{answer:?}");
        let call_id = received.header("Call-ID").to_owned();
        assert_eq!(answer.header("Call-ID"), call_id);
        let number = || Cell::new(1);
        let routes = |message: &Message| -> Vec<String> {
            message
                .all("Record-Route")
                .into_iter()
                .map(str::to_owned)
                .collect()
        };
        let sent = Message::read(sent.as_bytes());
        let from = sent.header("From").to_owned();
        // RFC 3261 §12.1.2: the caller's route set is in reverse, §12.1.1: the callee's is not.
        let mut reversed = routes(&answer);
        reversed.reverse();
        let call = Call {
            caller: Leg {
                agent: caller,
                call_id: call_id.clone(),
                local: from.clone(),
                remote: answer.header("To").to_owned(),
                target: uri_of(answer.header("Contact")).to_owned(),
                routes: reversed,
                number: number(),
            },
            callee: Leg {
                agent: callee,
                call_id,
                local: format!("{};tag={tag}", received.header("To")),
                remote: from,
                target: uri_of(received.header("Contact")).to_owned(),
                routes: routes(&received),
                number: number(),
            },
        };
        caller.send(call.caller.request("ACK", 1).as_bytes());
        callee.take_request("ACK");
        call
    }

    /// RFC 3261 §9.1: the caller gives up.
    pub(crate) fn cancel(self) {
        let invite = Message::read(self.sent.as_bytes());
        let cancel = format!(
            "CANCEL {} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\n\
             Call-ID: {}\r\nCSeq: 1 CANCEL\r\nContent-Length: 0\r\n\r\n",
            invite.uri(),
            invite.header("Via"),
            invite.header("From"),
            invite.header("To"),
            invite.header("Call-ID"),
        );
        self.caller.send(cancel.as_bytes());
        assert_eq!(self.caller.take_final("CANCEL").status(), Some(200));
        let cancel = self.callee.take_request("CANCEL");
        self.callee.respond(&cancel, "200 OK", &self.tag, "");
        let terminated = "487 Request Terminated";
        self.callee
            .respond(&self.received, terminated, &self.tag, "");
        self.callee.take_request("ACK");
        let refusal = self.caller.take_final("INVITE");
        assert_eq!(refusal.status(), Some(487), "{refusal:?}");
        self.caller.acknowledge_refusal(&self.sent, &refusal);
    }
}

/// A call that was answered.
pub(crate) fn call<'a>(caller: &'a Agent, callee: &'a Agent, uri: &str) -> Call<'a> {
    ring(caller, callee, uri).answer()
}
