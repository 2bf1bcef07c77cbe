//! Live server transactions (RFC 3261 §17.2).

use super::super::reply::reply_flow;
use super::super::turn::Turn;
use super::super::{Arrival, BufferId, Counter, Flow, Key, Slab, Time};
use super::absorber::Remains;
use super::chains::Chains;
use super::clock::{self, Clock, is_reliable};
use super::identity::Identity;
use super::replay::Replay;
use super::table::Row;
use super::{ServerId, ServerMatch, TimerVerdict, Transactions, invite_server, non_invite_server};
use crate::limits;
use crate::wire::{Message, Method};

/// RFC 4320 §4.1: how long a client takes until its timer E is T2: T1 + 2*T1 + 4*T1 = 3.5 s.
pub(crate) const TRYING_AFTER_MS: u64 = 7 * limits::T1_MS;

const _: () = assert!(4 * limits::T1_MS < limits::T2_MS && 8 * limits::T1_MS >= limits::T2_MS);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Invite(invite_server::State),
    NonInvite(non_invite_server::State),
}

#[derive(Debug)]
struct Server {
    identity: Identity,
    /// The proxy's, until a final response was sent.
    context: Key,
    /// Where responses go: what the first request asked for.
    flow: Flow,
    /// When the request came.
    started: Time,
    /// Timers G and H; runs in Completed only.
    clock: Clock,
    /// The latest response; owns its octets.
    last: Replay,
    /// The request of an INVITE in Completed whose response found no room: `last` is made again
    /// from it. Owned.
    request: Option<BufferId>,
    /// Never one in which the transaction is an absorber or gone.
    state: State,
}

// A live server transaction is to be small beside the messages it keeps.
const _: () = assert!(Slab::<Server>::slot_bytes() <= 192);

/// The live server transactions of one shard.
#[derive(Debug)]
pub(super) struct Servers {
    slab: Slab<Server>,
    index: Chains,
}

impl Servers {
    pub(super) fn with_capacity(capacity: u32) -> Self {
        Self {
            slab: Slab::with_capacity(capacity),
            index: Chains::with_capacity(capacity),
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.slab.len()
    }

    fn find(&self, identity: Identity) -> Option<Key> {
        self.index.slots(identity.bucket_hash()).find_map(|slot| {
            let (key, server) = self.slab.at(slot)?;
            (server.identity == identity).then_some(key)
        })
    }

    fn insert(&mut self, server: Server) -> Option<Key> {
        let hash = server.identity.bucket_hash();
        let key = self.slab.insert(server).ok()?;
        self.index.insert(hash, key.slot);
        Some(key)
    }

    /// Takes a transaction out; the caller owns what it keeps.
    fn remove(&mut self, turn: &mut Turn<'_>, key: Key) -> Option<Server> {
        let mut server = self.slab.remove(key)?;
        self.index.remove(server.identity.bucket_hash(), key.slot);
        server.clock.stop(turn);
        if let Some(request) = server.request.take() {
            turn.buffers.release(request);
        }
        Some(server)
    }
}

/// What an event brings with it.
#[derive(Clone, Copy, Default)]
struct Input<'a> {
    /// The request that came again.
    request: Option<Message<'a>>,
    /// The response to send, and whether the edge made it itself.
    response: Option<(&'a [u8], bool)>,
}

/// What came of an event.
#[derive(Clone, Copy, Default)]
struct Outcome {
    /// Something was sent.
    sent: bool,
    /// Timer H ended the transaction.
    ack_missing: bool,
}

impl Transactions {
    /// The transaction that a request belongs to; an ACK or CANCEL matches the INVITE it names
    /// (a CANCEL by branch, sent-by and source address). `None` for the ACK of a 2xx: it is the
    /// proxy's to forward.
    pub(crate) fn find_server(
        &self,
        arrival: Arrival,
        message: Message<'_>,
    ) -> Option<ServerMatch> {
        let identity = self.hashes.of_request(arrival, message);
        if let Some(key) = self.servers.find(identity) {
            return Some(ServerMatch::Live(ServerId(key)));
        }
        let key = self.absorbers.find(identity)?;
        let is_ack = message.method() == Method::Ack;
        if is_ack && matches!(self.absorbers.remains(key), Some(Remains::AcceptedServer)) {
            // RFC 6026 §7.1: an ACK that comes in Accepted passes. One with a branch of RFC 3261
            // has another branch than its INVITE anyway; this is for those without.
            use invite_server::{Effect, Event, State};
            let Row(_, effects) = invite_server::next(State::Accepted, Event::Ack);
            if effects.contains(&Effect::PassAck) {
                return None;
            }
        }
        Some(ServerMatch::Absorber(key))
    }

    /// Starts a server transaction for a request that was admitted; `None` when the table is full.
    /// `context` is handed back when something happens.
    pub(crate) fn start_server(
        &mut self,
        turn: &mut Turn<'_>,
        arrival: Arrival,
        message: Message<'_>,
        context: Key,
    ) -> Option<ServerId> {
        let state = if message.method() == Method::Invite {
            State::Invite(invite_server::State::Proceeding)
        } else {
            State::NonInvite(non_invite_server::State::Trying)
        };
        let server = Server {
            identity: self.hashes.of_request(arrival, message),
            context,
            flow: reply_flow(arrival, message),
            started: turn.now.time,
            clock: Clock::STOPPED,
            last: Replay::Nothing,
            request: None,
            state,
        };
        self.servers.insert(server).map(ServerId)
    }

    /// The context a live server transaction was started with; `None` once it has sent a final
    /// response.
    pub(crate) fn context_of(&self, server: ServerId) -> Option<Key> {
        let server = self.servers.slab.get(server.0)?;
        match server.state {
            State::Invite(invite_server::State::Proceeding)
            | State::NonInvite(
                non_invite_server::State::Trying | non_invite_server::State::Proceeding,
            ) => Some(server.context),
            State::Invite(
                invite_server::State::Completed
                | invite_server::State::Confirmed
                | invite_server::State::Accepted
                | invite_server::State::Terminated,
            )
            | State::NonInvite(
                non_invite_server::State::Completed | non_invite_server::State::Terminated,
            ) => None,
        }
    }

    /// The flow on which responses of `server` go.
    pub(crate) fn upstream_flow(&self, server: ServerId) -> Option<Flow> {
        self.servers.slab.get(server.0).map(|server| server.flow)
    }

    /// A request (not ACK, not CANCEL) matched: its last response is sent again, or it is
    /// absorbed. True when something was sent.
    pub(crate) fn handle_retransmission(
        &mut self,
        turn: &mut Turn<'_>,
        found: ServerMatch,
        arrival: Arrival,
        message: Message<'_>,
    ) -> bool {
        let input = Input {
            request: Some(message),
            response: None,
        };
        match found {
            ServerMatch::Live(ServerId(key)) => match self.state_of(key) {
                Some(State::Invite(state)) => {
                    let event = invite_server::Event::Invite;
                    self.drive_invite_server(turn, key, state, event, input)
                        .sent
                }
                Some(State::NonInvite(state)) => {
                    let event = non_invite_server::Event::Request;
                    self.drive_non_invite_server(turn, key, state, event, input)
                }
                None => false,
            },
            ServerMatch::Absorber(key) => match self.absorbers.remains(key) {
                // RFC 3261 §17.2.2: Completed. It goes where this request asks for: its source
                // address is the same, its port may have changed behind NAT.
                Some(Remains::CompletedServer(last)) => {
                    last.send(turn, reply_flow(arrival, message), Some(message))
                }
                // RFC 6026 §7.1 (Accepted), RFC 3261 §17.2.1 (Confirmed): absorbed.
                Some(Remains::AcceptedServer | Remains::ConfirmedServer) => false,
                Some(
                    Remains::AcceptedClient { .. }
                    | Remains::RejectedClient { .. }
                    | Remains::CompletedClient,
                )
                | None => false,
            },
        }
    }

    /// An ACK matched.
    pub(crate) fn handle_ack(&mut self, turn: &mut Turn<'_>, found: ServerMatch) {
        // The absorber of a confirmed INVITE has nothing to do for an ACK.
        if let ServerMatch::Live(ServerId(key)) = found
            && let Some(State::Invite(state)) = self.state_of(key)
        {
            let event = invite_server::Event::Ack;
            self.drive_invite_server(turn, key, state, event, Input::default());
        }
    }

    /// Takes over the stored request of an INVITE whose final response comes next: should there be
    /// no room for the response, timer G makes it again from the request.
    pub(crate) fn keep_request(&mut self, turn: &mut Turn<'_>, id: ServerId, request: BufferId) {
        let server = self.servers.slab.get_mut(id.0);
        let before = match server {
            Some(server) => server.request.replace(request),
            None => Some(request),
        };
        if let Some(request) = before {
            turn.buffers.release(request);
        }
    }

    /// Sends `response` (whole, as it goes on the wire) upstream and drives the machine. `own` is
    /// true for a response the edge made itself, which can be rebuilt from the request. After a
    /// final response the transaction becomes an absorber, or waits for its ACK, and lets go of
    /// its context. What may not be sent is not: a second final, a 408 to a non-INVITE request or
    /// a provisional response to it other than a 100 at its time (RFC 4320 §4).
    pub(crate) fn respond(
        &mut self,
        turn: &mut Turn<'_>,
        server: ServerId,
        status: u16,
        response: &[u8],
        own: bool,
    ) {
        let key = server.0;
        let input = Input {
            request: None,
            response: Some((response, own)),
        };
        match self.state_of(key) {
            Some(State::Invite(state)) => {
                use invite_server::Event;
                let event = match status {
                    ..=199 => Event::Provisional,
                    200..=299 => Event::Success,
                    300.. => Event::Failure,
                };
                self.drive_invite_server(turn, key, state, event, input);
            }
            Some(State::NonInvite(state)) => {
                use non_invite_server::Event;
                let event = match status {
                    100 if self.may_send_trying(turn, key) => Event::Trying,
                    ..=199 => Event::BarredProvisional,
                    408 => Event::TooLate,
                    200.. => Event::Final,
                };
                self.drive_non_invite_server(turn, key, state, event, input);
            }
            None => {}
        }
    }

    /// The context of a server transaction ends without a final response: the transaction ends too,
    /// and a retransmission is taken for new. Does nothing after a final response.
    pub(crate) fn abandon_server(&mut self, turn: &mut Turn<'_>, server: ServerId) {
        if self.context_of(server).is_some() {
            self.end_server(turn, server.0);
        }
    }

    /// RFC 4320 §4.1: over UDP no 100 before the client's timer E has reached T2.
    fn may_send_trying(&self, turn: &Turn<'_>, key: Key) -> bool {
        self.servers.slab.get(key).is_some_and(|server| {
            is_reliable(server.flow) || turn.now.time >= server.started.plus_ms(TRYING_AFTER_MS)
        })
    }

    /// Timer H.
    pub(super) fn handle_server_end(&mut self, turn: &mut Turn<'_>, key: Key) -> TimerVerdict {
        self.handle_server_timer(turn, key, invite_server::Event::TimerH)
    }

    /// Timer G.
    pub(super) fn handle_server_retransmit(
        &mut self,
        turn: &mut Turn<'_>,
        key: Key,
    ) -> TimerVerdict {
        self.handle_server_timer(turn, key, invite_server::Event::TimerG)
    }

    fn handle_server_timer(
        &mut self,
        turn: &mut Turn<'_>,
        key: Key,
        event: invite_server::Event,
    ) -> TimerVerdict {
        let Some(server) = self.servers.slab.get_mut(key) else {
            return TimerVerdict::Nothing;
        };
        server.clock.on_fired();
        // Timer J is an absorber's: a live non-INVITE transaction has no timer.
        let State::Invite(state) = server.state else {
            return TimerVerdict::Nothing;
        };
        let outcome = self.drive_invite_server(turn, key, state, event, Input::default());
        if outcome.ack_missing {
            return TimerVerdict::AckMissing;
        }
        if let Some(server) = self.servers.slab.get_mut(key)
            && !server.clock.rearm(turn, clock::SERVER, key)
        {
            self.end_server(turn, key);
        }
        TimerVerdict::Nothing
    }

    fn state_of(&self, key: Key) -> Option<State> {
        self.servers.slab.get(key).map(|server| server.state)
    }

    fn drive_invite_server(
        &mut self,
        turn: &mut Turn<'_>,
        key: Key,
        state: invite_server::State,
        event: invite_server::Event,
        input: Input<'_>,
    ) -> Outcome {
        use invite_server::{Effect, State as To};
        let Row(to, effects) = invite_server::next(state, event);
        let mut outcome = Outcome::default();
        let Some(server) = self.servers.slab.get_mut(key) else {
            return outcome;
        };
        server.state = State::Invite(to);
        let reliable = is_reliable(server.flow);
        for effect in effects {
            match effect {
                Effect::Send => outcome.sent |= self.send_response(turn, key, input),
                Effect::SendAndKeep => {
                    outcome.sent |= self.send_response(turn, key, input);
                    // Timer G has no request at hand from which a response could be rebuilt.
                    let by_timer = to == To::Completed && !reliable;
                    self.keep_response(turn, key, input, by_timer);
                }
                Effect::ResendLast => outcome.sent |= self.resend_response(turn, key, input),
                // RFC 3261 §17.2.1: timer G for unreliable transports only; timer H for all.
                Effect::StartTimersGAndH => {
                    if let Some(server) = self.servers.slab.get_mut(key)
                        && !server.clock.start(turn, clock::SERVER, key, !reliable)
                    {
                        // Without a timer it could stay for ever.
                        turn.counters.add(Counter::RetransmissionsLost);
                        self.end_server(turn, key);
                    }
                }
                Effect::DoubleTimerG => {
                    if let Some(server) = self.servers.slab.get_mut(key) {
                        server.clock.double(limits::T2_MS);
                    }
                }
                Effect::StopTimers => {
                    if let Some(server) = self.servers.slab.get_mut(key) {
                        server.clock.stop(turn);
                    }
                }
                // RFC 3261 §17.2.1: timer I is zero for reliable transports.
                Effect::StartTimerI if reliable => self.end_server(turn, key),
                Effect::StartTimerI => self.retire_server(turn, key, Remains::ConfirmedServer),
                Effect::StartTimerL => self.retire_server(turn, key, Remains::AcceptedServer),
                Effect::ReportAckMissing => outcome.ack_missing = true,
                // Accepted is an absorber's state; `find_server` passes its ACK.
                Effect::PassAck => {}
            }
        }
        if to == To::Terminated {
            self.end_server(turn, key);
        }
        outcome
    }

    fn drive_non_invite_server(
        &mut self,
        turn: &mut Turn<'_>,
        key: Key,
        state: non_invite_server::State,
        event: non_invite_server::Event,
        input: Input<'_>,
    ) -> bool {
        use non_invite_server::{Effect, State as To};
        let Row(to, effects) = non_invite_server::next(state, event);
        let Some(server) = self.servers.slab.get_mut(key) else {
            return false;
        };
        server.state = State::NonInvite(to);
        let reliable = is_reliable(server.flow);
        let mut sent = false;
        for effect in effects {
            match effect {
                Effect::SendAndKeep => {
                    sent |= self.send_response(turn, key, input);
                    // RFC 3261 §17.2.2: timer J is zero for reliable transports, so that their
                    // final responses are not needed again.
                    if !(reliable && to == To::Completed) {
                        self.keep_response(turn, key, input, false);
                    }
                }
                Effect::ResendLast => sent |= self.resend_response(turn, key, input),
                Effect::StartTimerJ if reliable => self.end_server(turn, key),
                Effect::StartTimerJ => self.retire_completed_server(turn, key),
            }
        }
        if to == To::Terminated {
            self.end_server(turn, key);
        }
        sent
    }

    fn send_response(&self, turn: &mut Turn<'_>, key: Key, input: Input<'_>) -> bool {
        let Some((response, _)) = input.response else {
            return false;
        };
        let Some(server) = self.servers.slab.get(key) else {
            return false;
        };
        let sent = turn.out.send(server.flow, response);
        if !sent {
            turn.counters.add(Counter::RetransmissionsLost);
        }
        sent
    }

    fn resend_response(&mut self, turn: &mut Turn<'_>, key: Key, input: Input<'_>) -> bool {
        let Some(server) = self.servers.slab.get(key) else {
            return false;
        };
        match (input.request, server.request) {
            (None, Some(request)) => {
                server
                    .last
                    .send_by(turn, server.flow, request, &mut self.scratch)
            }
            (request, _) => server.last.send(turn, server.flow, request),
        }
    }

    /// Remembers the response for the next retransmission, in place of an earlier one.
    fn keep_response(&mut self, turn: &mut Turn<'_>, key: Key, input: Input<'_>, by_timer: bool) {
        let Some((response, own)) = input.response else {
            return;
        };
        let rebuilt = if own {
            Replay::rebuilt(&mut self.scratch, turn.settings, response)
        } else {
            None
        };
        let last = match rebuilt {
            Some(rebuilt) if !by_timer => rebuilt,
            Some(_) | None => match self.store(turn, response) {
                Some(id) => Replay::Kept(id),
                None => self.outline_response(turn, key, response, own),
            },
        };
        if let Some(server) = self.servers.slab.get_mut(key) {
            std::mem::replace(&mut server.last, last).release(turn);
            if let (Replay::Kept(_), Some(request)) = (last, server.request) {
                server.request = None;
                turn.buffers.release(request);
            }
        }
    }

    /// What is kept of a response that finds no room.
    fn outline_response(
        &mut self,
        turn: &mut Turn<'_>,
        key: Key,
        response: &[u8],
        own: bool,
    ) -> Replay {
        // RFC 3261 §17.2.1 deviation: without room for the final response to an INVITE only its
        // status and To tag are sent again, made from the INVITE, because a caller that got a 100
        // waits until a final response comes through, whatever else is in it.
        let kept = self.servers.slab.get(key).and_then(|it| it.request);
        if (own || kept.is_some())
            && let Some(outline) = Replay::outline(&mut self.scratch, response)
        {
            return outline;
        }
        turn.counters.add(Counter::RetransmissionsLost);
        Replay::Nothing
    }

    /// A transaction whose response is not needed again becomes an absorber.
    fn retire_server(&mut self, turn: &mut Turn<'_>, key: Key, remains: Remains) {
        if let Some(server) = self.servers.remove(turn, key) {
            server.last.release(turn);
            self.absorbers.insert(turn, server.identity, remains);
        }
    }

    /// A completed non-INVITE transaction becomes an absorber with its last response.
    fn retire_completed_server(&mut self, turn: &mut Turn<'_>, key: Key) {
        if let Some(server) = self.servers.remove(turn, key) {
            let remains = Remains::CompletedServer(server.last);
            self.absorbers.insert(turn, server.identity, remains);
        }
    }

    fn end_server(&mut self, turn: &mut Turn<'_>, key: Key) {
        if let Some(server) = self.servers.remove(turn, key) {
            server.last.release(turn);
        }
    }
}
