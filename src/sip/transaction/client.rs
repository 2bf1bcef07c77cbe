//! Live client transactions (RFC 3261 §17.1), and the CANCEL that belongs to one (§9.1).

use super::super::turn::Turn;
use super::super::{Arrival, BufferId, Counter, Flow, Key, Slab};
use super::absorber::Remains;
use super::chains::Chains;
use super::clock::{self, Clock, is_reliable};
use super::companion;
use super::identity::Identity;
use super::table::Row;
use super::{
    ClientId, Kind, ResponseVerdict, TimerVerdict, Transactions, invite_client, non_invite_client,
};
use crate::limits;
use crate::wire::{HeaderName, Message, Method};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Invite(invite_client::State),
    NonInvite(non_invite_client::State),
}

/// The CANCEL of an INVITE: a non-INVITE client transaction with the same branch, which lives in
/// the record of its INVITE. Its request is made anew from the INVITE whenever it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cancel {
    /// Nobody wants one.
    Unwanted,
    /// It waits for a provisional response.
    Waiting,
    /// It was sent.
    Sent(non_invite_client::State),
}

#[derive(Debug)]
struct Client {
    /// The proxy's; means nothing when `attached` is false.
    context: Key,
    /// Where the request went.
    flow: Flow,
    /// Where late 2xx go.
    upstream: Flow,
    /// Timers A and B, or E and F. In Proceeding of an INVITE those of its CANCEL: E, and 64*T1
    /// for both.
    clock: Clock,
    /// The request as sent; owned.
    request: BufferId,
    /// Never one in which the transaction is an absorber or gone.
    state: State,
    /// Other than `Unwanted` for an INVITE only, and `Sent` in Proceeding only.
    cancel: Cancel,
    /// That of the request.
    method: Method,
    /// The proxy's.
    branch: u8,
    /// False when the proxy wants to hear no more.
    attached: bool,
    /// True while in the chain of its flow: as long as a transport error ends it.
    on_flow: bool,
}

// A live client transaction is to be small beside the request it keeps.
const _: () = assert!(Slab::<Client>::slot_bytes() <= 192);

/// The live client transactions of one shard.
#[derive(Debug)]
pub(super) struct Clients {
    slab: Slab<Client>,
    by_flow: Chains,
}

impl Clients {
    pub(super) fn with_capacity(capacity: u32) -> Self {
        Self {
            slab: Slab::with_capacity(capacity),
            by_flow: Chains::with_capacity(capacity),
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.slab.len()
    }
}

/// What came of an event.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    /// The response goes up.
    pass: bool,
    /// The proxy is to treat the branch as failed.
    failed: bool,
}

impl Transactions {
    /// The key that the next client transaction will have: its branch token names it.
    pub(crate) fn next_client(&self) -> Option<ClientId> {
        self.clients.slab.next_key().map(ClientId)
    }

    /// Starts the client transaction named by the last [`Self::next_client`]: sends `request`
    /// (whole) on `flow`, keeps a copy for retransmission, ACK and CANCEL. `None` when a table or
    /// the message arena is full.
    #[expect(clippy::too_many_arguments, reason = "each is one fact of a branch")]
    pub(crate) fn start_client(
        &mut self,
        turn: &mut Turn<'_>,
        kind: Kind,
        flow: Flow,
        request: &[u8],
        upstream: Flow,
        context: Key,
        branch: u8,
    ) -> Option<ClientId> {
        self.clients.slab.next_key()?;
        let stored = self.store(turn, request)?;
        let method = request
            .split(|octet| *octet == b' ')
            .next()
            .unwrap_or_default();
        let client = Client {
            context,
            flow,
            upstream,
            clock: Clock::STOPPED,
            request: stored,
            state: match kind {
                Kind::Invite => State::Invite(invite_client::State::Calling),
                Kind::NonInvite => State::NonInvite(non_invite_client::State::Trying),
            },
            cancel: Cancel::Unwanted,
            method: Method::from_token(method),
            branch,
            attached: true,
            on_flow: true,
        };
        let key = self.clients.slab.insert(client).ok()?;
        self.clients
            .by_flow
            .insert(self.hashes.of_flow(flow), key.slot);
        // RFC 3261 §17.1.1.2, §17.1.2.2: timers A and E for unreliable transports only.
        let retransmits = !is_reliable(flow);
        let started = match self.clients.slab.get_mut(key) {
            Some(client) => client.clock.start(turn, clock::CLIENT, key, retransmits),
            None => false,
        };
        if !started || !turn.out.send(flow, request) {
            self.end_client(turn, key);
            return None;
        }
        Some(ClientId(key))
    }

    /// A response whose top Via branch is ours and names `client` arrived on `arrival`. Drives the
    /// machine; an ACK to a non-2xx final of an INVITE is sent from here (RFC 3261 §17.1.1.3).
    /// Where it came from decides nothing: the branch token is proof that its sender has the
    /// request.
    pub(crate) fn handle_response(
        &mut self,
        turn: &mut Turn<'_>,
        client: ClientId,
        _arrival: Arrival,
        message: Message<'_>,
    ) -> ResponseVerdict {
        let Some(status) = message.status() else {
            return ResponseVerdict::Unknown;
        };
        let key = client.0;
        let Some(live) = self.clients.slab.get(key) else {
            return self.absorb_response(turn, key, status, message);
        };
        let (context, branch, attached, upstream) =
            (live.context, live.branch, live.attached, live.upstream);
        let is_success = (200..=299).contains(&status);
        // RFC 3261 §17.1.3: the method of CSeq counts too, because a CANCEL has the same branch.
        let method = message.cseq().method;
        let (outcome, passes_late) = match live.state {
            State::Invite(state) if method == Method::Invite => {
                let event = invite_event(status);
                let outcome = self.drive_invite_client(turn, key, state, event, Some(message));
                (outcome, is_success)
            }
            State::Invite(_) if method == Method::Cancel => {
                self.handle_cancel_response(key, status);
                return ResponseVerdict::Absorbed;
            }
            State::NonInvite(state) if method == live.method && fits(turn, live, message) => {
                let event = non_invite_event(status);
                (self.drive_non_invite_client(turn, key, state, event), false)
            }
            State::Invite(_) | State::NonInvite(_) => return ResponseVerdict::Unknown,
        };
        match (outcome.pass, attached) {
            (true, true) => ResponseVerdict::Pass {
                client,
                context,
                branch,
            },
            (true, false) if passes_late => ResponseVerdict::ForwardLate { upstream },
            (true | false, _) => ResponseVerdict::Absorbed,
        }
    }

    /// Cancels an INVITE branch: sends CANCEL now, or once a provisional response has come
    /// (RFC 3261 §9.1). The branch's own final response still arrives by `handle_response`; when
    /// none comes within 64*T1 it times out.
    pub(crate) fn cancel_client(&mut self, turn: &mut Turn<'_>, client: ClientId) {
        let key = client.0;
        let Some(live) = self.clients.slab.get_mut(key) else {
            return;
        };
        match (live.state, live.cancel) {
            (State::Invite(invite_client::State::Calling), Cancel::Unwanted) => {
                live.cancel = Cancel::Waiting;
            }
            (
                State::Invite(invite_client::State::Proceeding),
                Cancel::Unwanted | Cancel::Waiting,
            ) => self.start_cancel(turn, key),
            // RFC 3261 §9.1: once only, and for an INVITE only.
            (State::Invite(_), Cancel::Waiting | Cancel::Sent(_) | Cancel::Unwanted)
            | (State::NonInvite(_), _) => {}
        }
    }

    /// The context of a client transaction has no further use for it: whatever arrives is handled
    /// here from now on (late 2xx are passed as `ForwardLate`).
    pub(crate) fn detach_client(&mut self, turn: &mut Turn<'_>, client: ClientId) {
        if let Some(live) = self.clients.slab.get_mut(client.0) {
            live.attached = false;
            self.bound_detached(turn, client.0);
        }
    }

    /// The client transactions in progress on `flow`, whose peer an ICMP error names; the caller
    /// treats each as failed. At most `limits::BRANCHES_MAX` at a time are written to `out`, which
    /// is emptied first and should have that capacity; they are ended here. An INVITE that has
    /// had a provisional response is left alone (RFC 3261 §17.1.1.2, figure 5).
    pub(crate) fn handle_unreachable(
        &mut self,
        turn: &mut Turn<'_>,
        flow: Flow,
        out: &mut Vec<(ClientId, Key, u8)>,
    ) {
        out.clear();
        let mut next = self.clients.by_flow.first(self.hashes.of_flow(flow));
        for _ in 0..limits::FLOW_CLIENTS_SCANNED_MAX {
            let Some(slot) = next.filter(|_| out.len() < limits::BRANCHES_MAX) else {
                break;
            };
            next = self.clients.by_flow.after(slot);
            let Some((key, live)) = self.clients.slab.at(slot) else {
                break;
            };
            if live.flow != flow {
                continue;
            }
            let (context, branch, attached) = (live.context, live.branch, live.attached);
            let outcome = match live.state {
                State::Invite(state) => {
                    let event = invite_client::Event::TransportError;
                    self.drive_invite_client(turn, key, state, event, None)
                }
                State::NonInvite(state) => {
                    let event = non_invite_client::Event::TransportError;
                    self.drive_non_invite_client(turn, key, state, event)
                }
            };
            if outcome.failed && attached {
                out.push((ClientId(key), context, branch));
            }
        }
    }

    /// Timer B, F, or 64*T1 after the CANCEL.
    pub(super) fn handle_client_end(&mut self, turn: &mut Turn<'_>, key: Key) -> TimerVerdict {
        let Some(live) = self.clients.slab.get_mut(key) else {
            return TimerVerdict::Nothing;
        };
        live.clock.on_fired();
        self.end_by_time(turn, key)
    }

    /// Timer A or E.
    pub(super) fn handle_client_retransmit(
        &mut self,
        turn: &mut Turn<'_>,
        key: Key,
    ) -> TimerVerdict {
        let Some(live) = self.clients.slab.get_mut(key) else {
            return TimerVerdict::Nothing;
        };
        live.clock.on_fired();
        match (live.state, live.cancel) {
            (State::Invite(_), Cancel::Sent(state)) => self.retransmit_cancel(turn, key, state),
            (State::Invite(state), Cancel::Unwanted | Cancel::Waiting) => {
                let event = invite_client::Event::TimerA;
                self.drive_invite_client(turn, key, state, event, None);
            }
            (State::NonInvite(state), _) => {
                let event = non_invite_client::Event::TimerE;
                self.drive_non_invite_client(turn, key, state, event);
            }
        }
        if let Some(live) = self.clients.slab.get_mut(key)
            && !live.clock.rearm(turn, clock::CLIENT, key)
        {
            // Without a timer it could stay for ever.
            turn.counters.add(Counter::RetransmissionsLost);
            return self.end_by_time(turn, key);
        }
        TimerVerdict::Nothing
    }

    fn end_by_time(&mut self, turn: &mut Turn<'_>, key: Key) -> TimerVerdict {
        let Some(live) = self.clients.slab.get(key) else {
            return TimerVerdict::Nothing;
        };
        let (context, branch, attached) = (live.context, live.branch, live.attached);
        let outcome = match live.state {
            State::Invite(state) => {
                let event = if state == invite_client::State::Calling {
                    invite_client::Event::TimerB
                } else {
                    invite_client::Event::CancelExpired
                };
                self.drive_invite_client(turn, key, state, event, None)
            }
            State::NonInvite(state) => {
                let event = non_invite_client::Event::TimerF;
                self.drive_non_invite_client(turn, key, state, event)
            }
        };
        if outcome.failed && attached {
            TimerVerdict::ClientTimedOut {
                client: ClientId(key),
                context,
                branch,
            }
        } else {
            TimerVerdict::Nothing
        }
    }

    fn drive_invite_client(
        &mut self,
        turn: &mut Turn<'_>,
        key: Key,
        state: invite_client::State,
        event: invite_client::Event,
        response: Option<Message<'_>>,
    ) -> Outcome {
        use invite_client::{Effect, State as To};
        let Row(to, effects) = invite_client::next(state, event);
        let mut outcome = Outcome::default();
        let Some(live) = self.clients.slab.get_mut(key) else {
            return outcome;
        };
        live.state = State::Invite(to);
        let (flow, upstream) = (live.flow, live.upstream);
        if to != To::Calling {
            self.leave_flow(key);
        }
        let mut ack = None;
        for effect in effects {
            match effect {
                Effect::PassUp => outcome.pass = true,
                Effect::StopTimers => {
                    if let Some(live) = self.clients.slab.get_mut(key) {
                        live.clock.stop(turn);
                    }
                }
                Effect::ResendDoubling => {
                    if let Some(live) = self.clients.slab.get_mut(key) {
                        // RFC 3261 §17.1.1.2: timer A doubles without a bound but timer B.
                        live.clock.double(limits::TRANSACTION_MS);
                        resend_request(turn, live);
                    }
                }
                Effect::SendWaitingCancel => {
                    if self
                        .clients
                        .slab
                        .get(key)
                        .is_some_and(|c| c.cancel == Cancel::Waiting)
                    {
                        self.start_cancel(turn, key);
                    }
                }
                Effect::Acknowledge => ack = self.acknowledge(turn, key, response),
                Effect::ReportTimeout | Effect::ReportTransportError => outcome.failed = true,
                // RFC 3261 §17.1.1.2: timer D is zero for reliable transports.
                Effect::StartTimerD if is_reliable(flow) => self.end_client(turn, key),
                Effect::StartTimerD => {
                    let ack = ack.take();
                    self.retire_client(turn, key, Remains::RejectedClient { flow, ack });
                }
                Effect::StartTimerM => {
                    self.retire_client(turn, key, Remains::AcceptedClient { upstream });
                }
            }
        }
        if to == To::Terminated {
            self.end_client(turn, key);
        } else {
            self.bound_detached(turn, key);
        }
        outcome
    }

    fn drive_non_invite_client(
        &mut self,
        turn: &mut Turn<'_>,
        key: Key,
        state: non_invite_client::State,
        event: non_invite_client::Event,
    ) -> Outcome {
        use non_invite_client::{Effect, State as To};
        let Row(to, effects) = non_invite_client::next(state, event);
        let mut outcome = Outcome::default();
        let Some(live) = self.clients.slab.get_mut(key) else {
            return outcome;
        };
        live.state = State::NonInvite(to);
        let flow = live.flow;
        for effect in effects {
            match effect {
                Effect::PassUp => outcome.pass = true,
                Effect::StopTimers => {
                    if let Some(live) = self.clients.slab.get_mut(key) {
                        live.clock.stop(turn);
                    }
                }
                Effect::ResendDoubling | Effect::ResendSlowly => {
                    if let Some(live) = self.clients.slab.get_mut(key) {
                        lengthen_timer_e(&mut live.clock, *effect);
                        resend_request(turn, live);
                    }
                }
                Effect::ReportTimeout | Effect::ReportTransportError => outcome.failed = true,
                // RFC 3261 §17.1.2.2: timer K is zero for reliable transports.
                Effect::StartTimerK if is_reliable(flow) => self.end_client(turn, key),
                Effect::StartTimerK => self.retire_client(turn, key, Remains::CompletedClient),
            }
        }
        if to == To::Terminated {
            self.end_client(turn, key);
        }
        outcome
    }

    /// A response for a client transaction that is not live.
    fn absorb_response(
        &self,
        turn: &mut Turn<'_>,
        key: Key,
        status: u16,
        message: Message<'_>,
    ) -> ResponseVerdict {
        use invite_client::{Effect, State as At, next};
        let found = self.absorbers.find(Identity::of_client(key));
        let remains = found.and_then(|found| self.absorbers.remains(found));
        let of_invite = message.cseq().method == Method::Invite;
        match remains {
            Some(Remains::AcceptedClient { upstream }) if of_invite => {
                let Row(_, effects) = next(At::Accepted, invite_event(status));
                if effects.contains(&Effect::PassUp) {
                    return ResponseVerdict::ForwardLate { upstream };
                }
                ResponseVerdict::Absorbed
            }
            Some(Remains::RejectedClient { flow, ack }) if of_invite => {
                let Row(_, effects) = next(At::Completed, invite_event(status));
                if effects.contains(&Effect::Acknowledge) {
                    let sent = ack.is_some_and(|id| turn.out.send(flow, turn.buffers.octets(id)));
                    count_resent(turn, sent);
                }
                ResponseVerdict::Absorbed
            }
            // The answer to a CANCEL whose INVITE is finished, or a repeated final response.
            Some(
                Remains::AcceptedClient { .. }
                | Remains::RejectedClient { .. }
                | Remains::CompletedClient,
            ) => ResponseVerdict::Absorbed,
            Some(
                Remains::AcceptedServer | Remains::ConfirmedServer | Remains::CompletedServer(_),
            )
            | None => ResponseVerdict::Unknown,
        }
    }

    /// Sends the ACK to `response`, and keeps it where the response may be retransmitted.
    fn acknowledge(
        &mut self,
        turn: &mut Turn<'_>,
        key: Key,
        response: Option<Message<'_>>,
    ) -> Option<BufferId> {
        let live = self.clients.slab.get(key)?;
        let flow = live.flow;
        let to = response?.header(HeaderName::To)?.value;
        let mut out = turn.out.writer();
        let invite = self.scratch.scan(turn.buffers.octets(live.request)).ok()?;
        companion::write_ack(&mut out, invite, to);
        let length = out.finish()?;
        if !turn.out.send_written(flow, length) {
            turn.counters.add(Counter::RetransmissionsLost);
            return None;
        }
        if is_reliable(flow) {
            return None;
        }
        let mut kept = turn.buffers.store(turn.out.last_sent());
        if kept.is_none() {
            self.absorbers
                .give_up_octets(turn, limits::ABSORBERS_EVICTED_MAX);
            kept = turn.buffers.store(turn.out.last_sent());
        }
        if kept.is_none() {
            turn.counters.add(Counter::RetransmissionsLost);
        }
        kept
    }

    /// Sends the CANCEL for the first time and waits 64*T1 for the end of its INVITE.
    fn start_cancel(&mut self, turn: &mut Turn<'_>, key: Key) {
        let Some(live) = self.clients.slab.get_mut(key) else {
            return;
        };
        if live
            .clock
            .start(turn, clock::CLIENT, key, !is_reliable(live.flow))
        {
            live.cancel = Cancel::Sent(non_invite_client::State::Trying);
        } else {
            // With a full wheel it is sent once, and the next call tries again.
            turn.counters.add(Counter::RetransmissionsLost);
        }
        if !self.send_cancel(turn, key) {
            turn.counters.add(Counter::RetransmissionsLost);
        }
    }

    fn send_cancel(&mut self, turn: &mut Turn<'_>, key: Key) -> bool {
        let Some(live) = self.clients.slab.get(key) else {
            return false;
        };
        let mut out = turn.out.writer();
        let Ok(invite) = self.scratch.scan(turn.buffers.octets(live.request)) else {
            return false;
        };
        companion::write_cancel(&mut out, invite);
        match out.finish() {
            Some(length) => turn.out.send_written(live.flow, length),
            None => false,
        }
    }

    fn retransmit_cancel(
        &mut self,
        turn: &mut Turn<'_>,
        key: Key,
        state: non_invite_client::State,
    ) {
        use non_invite_client::{Effect, Event};
        let Row(to, effects) = non_invite_client::next(state, Event::TimerE);
        for effect in effects {
            match effect {
                Effect::ResendDoubling | Effect::ResendSlowly => {
                    if let Some(live) = self.clients.slab.get_mut(key) {
                        live.cancel = Cancel::Sent(to);
                        lengthen_timer_e(&mut live.clock, *effect);
                    }
                    let sent = self.send_cancel(turn, key);
                    count_resent(turn, sent);
                }
                Effect::PassUp
                | Effect::StopTimers
                | Effect::ReportTimeout
                | Effect::ReportTransportError
                | Effect::StartTimerK => {}
            }
        }
    }

    /// A response to the CANCEL. It ends here; timer F stays, as it is what ends the INVITE.
    fn handle_cancel_response(&mut self, key: Key, status: u16) {
        use non_invite_client::Effect;
        let Some(live) = self.clients.slab.get_mut(key) else {
            return;
        };
        let Cancel::Sent(state) = live.cancel else {
            return;
        };
        let Row(to, effects) = non_invite_client::next(state, non_invite_event(status));
        live.cancel = Cancel::Sent(to);
        if effects.contains(&Effect::StopTimers) {
            live.clock.stop_retransmission();
        }
    }

    /// An INVITE that rings has no timer of its own: the proxy has timer C. Once the proxy has
    /// let go of it, 64*T1 bound it, as if it had been cancelled.
    fn bound_detached(&mut self, turn: &mut Turn<'_>, key: Key) {
        if let Some(live) = self.clients.slab.get_mut(key)
            && !live.attached
            && !live.clock.is_running()
            && !live.clock.start(turn, clock::CLIENT, key, false)
        {
            self.end_client(turn, key);
        }
    }

    fn leave_flow(&mut self, key: Key) {
        if let Some(live) = self.clients.slab.get_mut(key)
            && std::mem::take(&mut live.on_flow)
        {
            self.clients
                .by_flow
                .remove(self.hashes.of_flow(live.flow), key.slot);
        }
    }

    /// A finished transaction becomes an absorber.
    fn retire_client(&mut self, turn: &mut Turn<'_>, key: Key, remains: Remains) {
        self.end_client(turn, key);
        self.absorbers
            .insert(turn, Identity::of_client(key), remains);
    }

    fn end_client(&mut self, turn: &mut Turn<'_>, key: Key) {
        self.leave_flow(key);
        if let Some(mut client) = self.clients.slab.remove(key) {
            client.clock.stop(turn);
            turn.buffers.release(client.request);
        }
    }
}

const fn invite_event(status: u16) -> invite_client::Event {
    match status {
        ..=199 => invite_client::Event::Provisional,
        200..=299 => invite_client::Event::Success,
        300.. => invite_client::Event::Failure,
    }
}

const fn non_invite_event(status: u16) -> non_invite_client::Event {
    match status {
        ..=199 => non_invite_client::Event::Provisional,
        200.. => non_invite_client::Event::Final,
    }
}

/// An unregistered method is told by its text.
fn fits(turn: &Turn<'_>, live: &Client, message: Message<'_>) -> bool {
    live.method != Method::Other || {
        let request = turn.buffers.octets(live.request);
        let text = message.cseq().method_text;
        request.starts_with(text) && request.get(text.len()) == Some(&b' ')
    }
}

// RFC 3261 §17.1.2.2: timer E doubles up to T2; once a provisional response came it is T2.
fn lengthen_timer_e(clock: &mut Clock, effect: non_invite_client::Effect) {
    if effect == non_invite_client::Effect::ResendSlowly {
        clock.slow_down();
    } else {
        clock.double(limits::T2_MS);
    }
}

fn resend_request(turn: &mut Turn<'_>, live: &Client) {
    let sent = turn.out.send(live.flow, turn.buffers.octets(live.request));
    count_resent(turn, sent);
}

fn count_resent(turn: &mut Turn<'_>, sent: bool) {
    turn.counters.add(if sent {
        Counter::RequestsRetransmitted
    } else {
        Counter::RetransmissionsLost
    });
}
