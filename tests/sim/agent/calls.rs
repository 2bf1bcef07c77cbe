//! What a user agent does in its calls: sets them up, refreshes, cancels and ends them.

use ringfence::sip::Time;

use super::UserAgent;
use super::dialog::{Ack, Call, State, Step};
use super::io::{Io, NEVER};
use super::transactions::{Purpose, cancel_of};
use crate::digest::Challenge;
use crate::message::{Message, host_port, uri_of};

/// Longer than any transaction: 64*T1 and what the network may add.
const LINGER_MS: u64 = 40_000;

/// How a call ended that this end made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) id: u64,
    pub(crate) call_id: String,
    /// The final status of the INVITE; 0 = none came.
    pub(crate) status: u16,
    /// True when a BYE of either end was answered, or the call was refused.
    pub(crate) ended: bool,
}

/// The calls of one user agent.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    live: Vec<Call>,
    /// How the calls out ended.
    pub(crate) outcomes: Vec<Outcome>,
    /// Call-IDs of calls in that were answered, acknowledged and ended by a BYE.
    pub(crate) taken: Vec<String>,
}

impl Calls {
    pub(super) fn due_at(&self) -> Time {
        self.live
            .iter()
            .map(|call| call.next.0)
            .min()
            .unwrap_or(NEVER)
    }

    /// Calls that are not over.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = String> {
        let live = self.live.iter().filter(|call| call.state != State::Over);
        live.map(|call| {
            let Call {
                call_id,
                state,
                next,
                outgoing,
                ..
            } = call;
            let way = if *outgoing { "out" } else { "in" };
            format!("call {way} {call_id} is {state:?}, next {next:?}")
        })
    }

    pub(super) fn forget(&mut self) {
        self.live.clear();
    }

    fn by_id(&mut self, id: u64) -> Option<&mut Call> {
        self.live.iter_mut().find(|call| call.id == id)
    }

    fn of(&mut self, message: &Message) -> Option<&mut Call> {
        self.live.iter_mut().find(|call| call.has(message))
    }

    /// The call is over; `ended` as in [`Outcome`].
    fn end(&mut self, id: u64, now: Time, ended: bool) {
        let Some(call) = self.by_id(id).filter(|call| call.state != State::Over) else {
            return;
        };
        call.state = State::Over;
        call.next = (now.plus_ms(LINGER_MS), Step::Forget);
        if call.outgoing {
            let outcome = Outcome {
                id,
                call_id: call.call_id.clone(),
                status: call.status,
                ended,
            };
            self.outcomes.push(outcome);
        } else if ended && call.acknowledged {
            let call_id = call.call_id.clone();
            self.taken.push(call_id);
        }
    }
}

impl UserAgent {
    /// Calls `uri`; its number.
    pub(crate) fn dial(&mut self, io: &mut Io<'_>, uri: &str, hold_ms: u64, cancel: bool) -> u64 {
        let id = io.next_serial();
        let local = format!("<{}>", self.identity.uri());
        let mut call = Call::outgoing(id, local, uri);
        call.hold_ms = hold_ms;
        call.next = if cancel {
            (io.within_ms(0, 3_000), Step::Cancel)
        } else {
            // RFC 3261 §13.2.1: the user's patience.
            (io.within_ms(50_000, 60_000), Step::Cancel)
        };
        self.calls.live.push(call);
        self.invite(io, id);
        id
    }

    /// Asks what `uri` can do.
    pub(crate) fn ask(&mut self, io: &mut Io<'_>, uri: &str) {
        let id = io.next_serial();
        let local = format!("<{}>", self.identity.uri());
        let call = Call::outgoing(id, local, uri);
        let via = self.via(io);
        let mut request = call.request("OPTIONS", 1, via);
        self.add_credentials(&mut request);
        self.transactions
            .start(io, Purpose::Options(id), self.identity.listener, request);
    }

    fn add_credentials(&mut self, request: &mut Message) {
        if let (Some(challenge), Some(login)) = (&mut self.challenge, &self.identity.login) {
            let (method, uri) = (
                request.method().to_owned(),
                request.request_uri().to_owned(),
            );
            let value = challenge.answer(login, &method, &uri);
            request.add("Proxy-Authorization", value);
        }
    }

    /// The listener that requests of a dialog go to: its first route (RFC 3261 §12.2.1.1).
    fn listener_of(&self, io: &mut Io<'_>, route: &[String]) -> usize {
        let first = route.first().map_or("", |route| host_port(uri_of(route)));
        io.listener_at(first).unwrap_or_else(|| {
            io.complain(format!("{} has a dialog by {route:?}", self.identity.name));
            self.identity.listener
        })
    }

    /// Sends the INVITE that sets the call up or refreshes it.
    fn invite(&mut self, io: &mut Io<'_>, id: u64) {
        let via = self.via(io);
        let contact = self.identity.contact();
        let Some(call) = self.calls.by_id(id) else {
            return;
        };
        call.cseq += 1;
        call.invite_cseq = call.cseq;
        let mut request = call.request("INVITE", call.cseq, via);
        let (initial, route) = (call.remote_tag.is_empty(), call.route.clone());
        request.add("Contact", format!("<{contact}>"));
        request.add("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS");
        if self.registration.is_some() {
            // What only a trunk is believed.
            request.add("P-Asserted-Identity", "<sip:forged@digest.test>");
        }
        request.add("Content-Type", "application/sdp");
        request.body = sdp(self.identity.local, io.next_serial());
        let listener = if initial {
            self.add_credentials(&mut request);
            self.identity.listener
        } else {
            self.listener_of(io, &route)
        };
        self.transactions
            .start(io, Purpose::Invite(id), listener, request);
    }

    pub(super) fn on_response(&mut self, io: &mut Io<'_>, purpose: Purpose, response: &Message) {
        match purpose {
            Purpose::Register | Purpose::Cancel(_) | Purpose::Options(_) => {}
            Purpose::Bye(id) if response.status() >= 200 => {
                self.calls.end(id, io.now, response.status() == 200);
            }
            Purpose::Bye(_) => {}
            Purpose::Invite(id) => self.on_invite_response(io, id, response),
        }
    }

    fn on_invite_response(&mut self, io: &mut Io<'_>, id: u64, response: &Message) {
        let now = io.now;
        let Some(call) = self.calls.by_id(id) else {
            return;
        };
        match response.status() {
            ..200 => {
                call.proceeding = true;
                if call.state == State::Cancelling {
                    self.send_cancel(io, id);
                }
            }
            200..300 => self.on_answer(io, id, response),
            status if !call.remote_tag.is_empty() => {
                // RFC 3261 §12.2.1.2, §14.1: a refused refresh leaves the call as it is, but for
                // one whose dialog is gone.
                if matches!(status, 408 | 481) && call.state == State::Up {
                    self.hang_up(io, id);
                }
            }
            401 | 407 if call.challenged < 6 && call.state == State::Inviting => {
                call.challenged += 1;
                self.challenge = Challenge::of(response);
                if self.challenge.is_none() || self.identity.login.is_none() {
                    let text = format!("{} can not be admitted", self.identity.name);
                    io.complain(text);
                }
                self.invite(io, id);
            }
            status => {
                call.status = status;
                self.calls.end(id, now, true);
            }
        }
    }

    /// A 2xx: the first, its retransmission, or that of another branch (RFC 3261 §13.2.2.4).
    fn on_answer(&mut self, io: &mut Io<'_>, id: u64, response: &Message) {
        let cseq = response.cseq_number();
        let Some(call) = self.calls.by_id(id) else {
            return;
        };
        if !call.remote_tag.is_empty() && call.remote_tag != response.tag_of_to() {
            if let Some(fork) = self.calls.of(response) {
                let fork = fork.id;
                self.acknowledge(io, fork, cseq);
            } else {
                self.end_fork(io, id, response);
            }
            return;
        }
        let given_up = matches!(call.state, State::Cancelling | State::Over);
        if call.remote_tag.is_empty() {
            call.establish(response);
            call.status = 200;
            let hold_ms = call.hold_ms;
            call.next = match hold_ms {
                0 => (NEVER, Step::Forget),
                hold_ms => (io.now.plus_ms(hold_ms), Step::HangUp),
            };
            if call.state == State::Inviting {
                call.state = State::Up;
            }
        }
        self.acknowledge(io, id, cseq);
        if given_up {
            self.hang_up(io, id);
        } else if io.chance(self.manners.refreshes)
            && let Some(call) = self.calls.by_id(id)
            && call.state == State::Up
            && call.next.1 == Step::HangUp
            && call.invite_cseq < 3
        {
            // The end of the call comes after the refresh is over.
            call.next = (io.within_ms(300, 2_000), Step::Refresh);
        }
    }

    /// Another branch answered too: that dialog is ended at once.
    fn end_fork(&mut self, io: &mut Io<'_>, id: u64, response: &Message) {
        let Some(call) = self.calls.by_id(id) else {
            return;
        };
        let fork_id = io.next_serial();
        let mut fork = Call::outgoing(fork_id, call.local.clone(), "");
        fork.call_id.clone_from(&call.call_id);
        fork.local_tag.clone_from(&call.local_tag);
        fork.remote.clone_from(&call.remote);
        fork.cseq = call.cseq;
        fork.state = State::Up;
        fork.status = 200;
        fork.establish(response);
        self.calls.live.push(fork);
        self.acknowledge(io, fork_id, response.cseq_number());
        self.hang_up(io, fork_id);
    }

    /// Sends the ACK of a 2xx, the same for each retransmission.
    fn acknowledge(&mut self, io: &mut Io<'_>, id: u64, cseq: u32) {
        let via = self.via(io);
        let Some(call) = self.calls.by_id(id) else {
            return;
        };
        if let Some(ack) = call.acks.iter().find(|ack| ack.cseq == cseq) {
            io.send(ack.listener, ack.bytes.clone());
            return;
        }
        let ack = call.request("ACK", cseq, via);
        let route = call.route.clone();
        let listener = self.listener_of(io, &route);
        let bytes = ack.to_bytes();
        io.send(listener, bytes.clone());
        if let Some(call) = self.calls.by_id(id) {
            call.acks.push(Ack {
                cseq,
                listener,
                bytes,
            });
        }
    }

    fn hang_up(&mut self, io: &mut Io<'_>, id: u64) {
        let via = self.via(io);
        let Some(call) = self.calls.by_id(id) else {
            return;
        };
        call.state = State::Ending;
        call.next = (NEVER, Step::Forget);
        call.cseq += 1;
        let bye = call.request("BYE", call.cseq, via);
        let route = call.route.clone();
        let listener = self.listener_of(io, &route);
        self.transactions.start(io, Purpose::Bye(id), listener, bye);
    }

    /// RFC 3261 §9.1: not before a provisional response, and not after a final one.
    fn send_cancel(&mut self, io: &mut Io<'_>, id: u64) {
        let Some(invite) = self.transactions.open_request(Purpose::Invite(id)) else {
            return;
        };
        let Some(call) = self.calls.by_id(id).filter(|call| !call.cancelled) else {
            return;
        };
        call.cancelled = true;
        let cancel = cancel_of(invite);
        self.transactions
            .start(io, Purpose::Cancel(id), self.identity.listener, cancel);
    }

    pub(super) fn on_timeout(&mut self, io: &mut Io<'_>, purpose: Purpose) {
        match purpose {
            Purpose::Register | Purpose::Cancel(_) | Purpose::Options(_) => {}
            Purpose::Bye(id) => self.calls.end(id, io.now, false),
            Purpose::Invite(id) => match self.calls.by_id(id).map(|call| call.state) {
                Some(State::Up) => self.hang_up(io, id),
                Some(State::Inviting | State::Cancelling) => self.calls.end(id, io.now, false),
                Some(State::Offered | State::Ending | State::Over) | None => {}
            },
        }
    }

    /// RFC 3261 §13.3.1.4: an answer that was never acknowledged ends the call.
    pub(super) fn on_no_ack(&mut self, io: &mut Io<'_>, invite: &Message) {
        let call = self.calls.live.iter().find(|call| {
            call.call_id == invite.call_id()
                && call.remote_tag == invite.tag_of_from()
                && call.state == State::Up
        });
        if let Some(id) = call.map(|call| call.id) {
            self.hang_up(io, id);
        }
    }

    pub(super) fn on_request(&mut self, io: &mut Io<'_>, request: &Message, server: u64) {
        match request.method() {
            "ACK" => {
                if let Some(call) = self.calls.of(request) {
                    call.acknowledged = true;
                }
            }
            "INVITE" if request.tag_of_to().is_empty() => self.on_invite(io, request, server),
            "INVITE" => self.on_refresh(io, request, server),
            "BYE" => self.on_bye(io, request, server),
            "CANCEL" => self.on_cancel(io, request, server),
            "OPTIONS" => self.answer(io, server, 200, "o"),
            _ => self.answer(io, server, 405, "x"),
        }
    }

    fn answer(&mut self, io: &mut Io<'_>, server: u64, status: u16, to_tag: &str) {
        let Some(request) = self.transactions.request_of(server) else {
            return;
        };
        let mut response = Message::response(request, status, to_tag);
        if request.method() == "INVITE" && (101..300).contains(&status) {
            response.add("Contact", format!("<{}>", self.identity.contact()));
        }
        if request.method() == "INVITE" && (200..300).contains(&status) {
            response.add("Content-Type", "application/sdp");
            response.body = sdp(self.identity.local, io.next_serial());
        }
        self.transactions.respond(io, server, &response);
    }

    fn on_invite(&mut self, io: &mut Io<'_>, invite: &Message, server: u64) {
        // RFC 3261 §8.2.2.2: the same request by another way.
        let merged = self.calls.live.iter().any(|call| {
            call.call_id == invite.call_id()
                && call.remote_tag == invite.tag_of_from()
                && call.remote_cseq == invite.cseq_number()
        });
        if merged {
            self.answer(io, server, 482, "merged");
            return;
        }
        if io.chance(self.manners.overloaded) {
            self.answer(io, server, 503, "full");
            return;
        }
        if invite.all("Record-Route").is_empty() || invite.get("Contact").is_none() {
            io.complain(format!(
                "{} is invited without a way back",
                self.identity.name
            ));
        }
        let id = io.next_serial();
        let mut call = Call::incoming(id, server, invite);
        call.next = (io.within_ms(1, 300), Step::Ring);
        self.calls.live.push(call);
    }

    fn on_refresh(&mut self, io: &mut Io<'_>, invite: &Message, server: u64) {
        let Some(call) = self.calls.of(invite).filter(|call| call.state == State::Up) else {
            self.answer(io, server, 481, "gone");
            return;
        };
        let (id, late) = (call.id, invite.cseq_number() <= call.remote_cseq);
        if late {
            self.answer(io, server, 500, "late");
            return;
        }
        call.remote_cseq = invite.cseq_number();
        let busy = self
            .transactions
            .open_request(Purpose::Invite(id))
            .is_some();
        // RFC 3261 §14.2.
        self.answer(io, server, if busy { 491 } else { 200 }, "refresh");
    }

    fn on_bye(&mut self, io: &mut Io<'_>, bye: &Message, server: u64) {
        let Some(call) = self.calls.of(bye) else {
            self.answer(io, server, 481, "gone");
            return;
        };
        let id = call.id;
        self.answer(io, server, 200, "bye");
        self.calls.end(id, io.now, true);
    }

    fn on_cancel(&mut self, io: &mut Io<'_>, cancel: &Message, server: u64) {
        let Some(invited) = self.transactions.cancelled_by(cancel) else {
            self.answer(io, server, 481, "nothing");
            return;
        };
        let call = self.calls.live.iter().find(|call| call.server == invited);
        let found = call.map(|call| (call.id, call.local_tag.clone()));
        let tag = found.as_ref().map_or("cancelled", |(_, tag)| tag);
        self.answer(io, server, 200, tag);
        if self.transactions.is_open(invited) {
            self.answer(io, invited, 487, tag);
            if let Some((id, _)) = found {
                self.calls.end(id, io.now, true);
            }
        }
    }

    /// Takes the steps that are due.
    pub(super) fn take_steps(&mut self, io: &mut Io<'_>) {
        let now = io.now;
        while let Some(call) = self.calls.live.iter_mut().find(|call| call.next.0 <= now) {
            let (id, step) = (call.id, call.next.1);
            call.next = (NEVER, Step::Forget);
            match step {
                Step::Ring => self.ring(io, id),
                Step::Accept => self.accept(io, id),
                Step::Refuse(status) => self.refuse(io, id, status),
                // RFC 3261 §15: the end that was called waits for the ACK of its answer.
                Step::HangUp if call.state == State::Up && !call.outgoing && !call.acknowledged => {
                    call.next = (now.plus_ms(1_000), Step::HangUp);
                }
                Step::HangUp if call.state == State::Up => self.hang_up(io, id),
                Step::HangUp => {}
                Step::Refresh => self.refresh(io, id),
                Step::Cancel => self.give_up(io, id),
                Step::Forget if call.state == State::Over => {
                    self.transactions.abandon(Purpose::Invite(id));
                    self.calls.live.retain(|call| call.id != id);
                }
                Step::Forget => {
                    self.transactions.abandon(Purpose::Invite(id));
                    self.calls.end(id, now, false);
                }
            }
        }
    }

    fn give_up(&mut self, io: &mut Io<'_>, id: u64) {
        let Some(call) = self
            .calls
            .by_id(id)
            .filter(|it| it.state == State::Inviting)
        else {
            return;
        };
        call.state = State::Cancelling;
        // RFC 3261 §9.1: without a final response in 64*T1 the INVITE is taken to be ended.
        call.next = (io.now.plus_ms(LINGER_MS), Step::Forget);
        if call.proceeding {
            self.send_cancel(io, id);
        }
    }

    fn refresh(&mut self, io: &mut Io<'_>, id: u64) {
        let Some(call) = self.calls.by_id(id).filter(|call| call.state == State::Up) else {
            return;
        };
        call.next = (io.now.plus_ms(call.hold_ms.max(3_000)), Step::HangUp);
        self.invite(io, id);
    }

    fn ring(&mut self, io: &mut Io<'_>, id: u64) {
        let manners = &self.manners;
        let (refuses, leaves) = (manners.refuses, manners.leaves_ringing);
        let dice = io.random.below(100);
        let next = if dice < refuses {
            let status = if io.chance(50) { 486 } else { 603 };
            (io.within_ms(1, 2_000), Step::Refuse(status))
        } else if dice < refuses + leaves {
            (io.within_ms(80_000, 90_000), Step::Refuse(486))
        } else {
            (io.within_ms(1, 2_000), Step::Accept)
        };
        let Some(call) = self.calls.by_id(id).filter(|it| it.state == State::Offered) else {
            return;
        };
        call.next = next;
        let (server, tag) = (call.server, call.local_tag.clone());
        self.answer(io, server, 180, &tag);
    }

    fn accept(&mut self, io: &mut Io<'_>, id: u64) {
        let hangs_up = io.chance(self.manners.hangs_up);
        let refreshes = io.chance(self.manners.refreshes);
        let hold = io.within_ms(500, 6_000);
        let Some(call) = self.calls.by_id(id).filter(|it| it.state == State::Offered) else {
            return;
        };
        call.state = State::Up;
        call.status = 200;
        call.next = match (hangs_up, refreshes) {
            (true, _) => (hold, Step::HangUp),
            (false, true) => (hold, Step::Refresh),
            // The far end may have vanished without a BYE.
            (false, false) => (io.now.plus_ms(2 * LINGER_MS), Step::HangUp),
        };
        let (server, tag) = (call.server, call.local_tag.clone());
        self.answer(io, server, 200, &tag);
    }

    fn refuse(&mut self, io: &mut Io<'_>, id: u64, status: u16) {
        let Some(call) = self.calls.by_id(id).filter(|it| it.state == State::Offered) else {
            return;
        };
        let (server, tag) = (call.server, call.local_tag.clone());
        self.answer(io, server, status, &tag);
        self.calls.end(id, io.now, true);
    }
}

/// A session description that no other message has.
fn sdp(local: std::net::SocketAddr, serial: u64) -> String {
    let ip = local.ip();
    format!(
        "v=0\r\no=- {serial} {serial} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {} RTP/AVP 0 8\r\n",
        20_000 + serial % 10_000
    )
}
