//! Which part of the core a message belongs to.

use super::{Parts, stun};
use crate::sip::admission::{self, Refusal};
use crate::sip::proxy::{Dialog, Proxy, Reach, Routes, stateless};
use crate::sip::registrar::Addressee;
use crate::sip::token::Branch;
use crate::sip::transaction::{ClientId, ResponseVerdict, ServerMatch, TimerVerdict};
use crate::sip::turn::Turn;
use crate::sip::{
    Arrival, Counter, Disposition, Flow, ShardId, ShardMessage, Timer, TimerKind, home, location,
    reply,
};
use crate::wire::{Index, Message, Method, Rejected, Verdict};

/// RFC 3261 §11.2: what OPTIONS to the edge itself is told.
const CAPABILITIES: &[u8] = b"Allow: INVITE, ACK, CANCEL, BYE, REGISTER, OPTIONS, PRACK, UPDATE, \
INFO, MESSAGE, SUBSCRIBE, NOTIFY, REFER, PUBLISH\r\n\
Accept: application/sdp\r\nSupported: path, outbound\r\n";

impl Parts {
    /// The proxy, and what it may reach.
    pub(super) fn proxy_reach<'t, 'a>(
        &'t mut self,
        turn: &'t mut Turn<'a>,
    ) -> (&'t mut Proxy, Reach<'t, 'a>) {
        let reach = Reach {
            turn,
            transactions: &mut self.transactions,
            registrar: &self.registrar,
        };
        (&mut self.proxy, reach)
    }

    /// Handles what a listener received, or another shard handed over (`fresh` is then false: it
    /// is never handed over again).
    pub(super) fn receive(
        &mut self,
        turn: &mut Turn<'_>,
        index: &mut Index,
        arrival: Arrival,
        bytes: &[u8],
        fresh: bool,
    ) -> Disposition {
        // Every SIP message begins with a letter.
        if bytes.first().is_none_or(|&octet| octet < b'A')
            && let Some(disposition) = self.receive_other(turn, arrival, bytes)
        {
            return disposition;
        }
        let message = match index.scan(bytes) {
            Ok(message) => message,
            Err(rejected) => return self.reject(turn, arrival, &rejected),
        };
        let home = home::home_shard(turn.settings, turn.keys, turn.shard, arrival, message);
        if fresh && home != turn.shard {
            let handed = ShardMessage::HandOver { arrival };
            return if turn.out.try_to_shard(home, handed, message.bytes()) {
                Disposition::HandedOver
            } else {
                Disposition::Dropped(Counter::DroppedQueueFull)
            };
        }
        match message.request_line() {
            None => self.handle_response(turn, arrival, message),
            Some(_) => self.handle_request(turn, arrival, message),
        }
    }

    /// What is no SIP message but may come to a SIP port: keep-alives and STUN.
    fn receive_other(
        &mut self,
        turn: &mut Turn<'_>,
        arrival: Arrival,
        bytes: &[u8],
    ) -> Option<Disposition> {
        // RFC 5626 §4.4.1: CRLFCRLF is answered on streams only, which their framing does.
        if bytes.iter().all(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
            turn.counters.add(Counter::KeepAlives);
            return Some(Disposition::Absorbed);
        }
        if !stun::is_stun(bytes) {
            return None;
        }
        let source = arrival.flow.peer();
        let (now, settings) = (turn.now.time, turn.settings);
        self.sources.on_request(now, source, bytes.len());
        if !(self.sources).try_answer(now, settings, source, stun::ANSWER_BYTES_MAX) {
            return Some(Disposition::Dropped(Counter::DroppedAmplification));
        }
        let mut out = turn.out.writer();
        if !stun::write_answer(bytes, source, &mut out) {
            // RFC 5389 §7.3.2: an indication is a keep-alive; a response was asked by nobody.
            turn.counters.add(Counter::KeepAlives);
            return Some(Disposition::Absorbed);
        }
        let sent = out
            .finish()
            .is_some_and(|length| turn.out.send_written(arrival.flow, length));
        Some(if sent {
            turn.counters.add(Counter::StunAnswered);
            Disposition::Answered
        } else {
            Disposition::Dropped(Counter::DroppedNoRoom)
        })
    }

    /// A message that the scanner refused: answered when it is a request that can be answered and
    /// its reason has a status, else dropped.
    fn reject(
        &mut self,
        turn: &mut Turn<'_>,
        arrival: Arrival,
        rejected: &Rejected<'_>,
    ) -> Disposition {
        let reason = rejected.error.reason;
        turn.counters.add_malformed(reason);
        let (Verdict::Status(status), Some(message)) = (reason.verdict(), rejected.answerable)
        else {
            return Disposition::Dropped(Counter::DroppedMalformed);
        };
        // RFC 3261 §17.1.1.3: an ACK is never answered.
        if message.method() == Method::Ack {
            return Disposition::Dropped(Counter::DroppedMalformed);
        }
        self.refuse(
            turn,
            arrival,
            message,
            Refusal::Status(status, Counter::RefusedMalformed),
        )
    }

    pub(super) fn refuse(
        &mut self,
        turn: &mut Turn<'_>,
        arrival: Arrival,
        message: Message<'_>,
        refusal: Refusal,
    ) -> Disposition {
        let Self {
            authenticator,
            sources,
            ..
        } = self;
        admission::refuse(turn, authenticator, sources, arrival, message, refusal)
    }

    fn handle_response(
        &mut self,
        turn: &mut Turn<'_>,
        arrival: Arrival,
        message: Message<'_>,
    ) -> Disposition {
        let branch = message.top_via().branch;
        // RFC 3261 §16.7 item 1: a response finds its client transaction by our branch alone.
        let Some(branch) = Branch::read(branch, turn.keys, turn.settings.node, &[]) else {
            return stateless::forward_response(turn, message);
        };
        let Some(client) = branch.transaction.map(ClientId) else {
            return Disposition::Dropped(Counter::DroppedStrayResponse);
        };
        match self
            .transactions
            .handle_response(turn, client, arrival, message)
        {
            ResponseVerdict::Pass {
                client,
                context,
                branch,
            } => {
                let (proxy, mut reach) = self.proxy_reach(turn);
                proxy.handle_response(&mut reach, client, context, branch, message)
            }
            ResponseVerdict::ForwardLate { upstream } => {
                stateless::forward_late(turn, upstream, message)
            }
            ResponseVerdict::Absorbed => Disposition::Absorbed,
            // RFC 3261 §16.7 deviation: a response that fits no transaction is not forwarded by
            // its Via, because whoever saw our branch once could aim datagrams at anybody.
            ResponseVerdict::Unknown => Disposition::Dropped(Counter::DroppedStrayResponse),
        }
    }

    fn handle_request(
        &mut self,
        turn: &mut Turn<'_>,
        arrival: Arrival,
        message: Message<'_>,
    ) -> Disposition {
        let method = message.method();
        // RFC 3261 §8.2.7: a REGISTER is answered without a transaction, so there is none to find.
        if method != Method::Register
            && let Some(found) = self.transactions.find_server(arrival, message)
        {
            return self.handle_matched(turn, arrival, message, method, found);
        }
        let routes = Routes::read(turn.tables, turn.settings, turn.keys, message);
        if let Some(dialog) = routes.dialog {
            return self.handle_in_dialog(turn, arrival, message, &routes, &dialog);
        }
        match method {
            // RFC 3261 §16.6: an ACK that matches nothing and has no token is for a final
            // response that the edge sent without a transaction; it ends here.
            Method::Ack => Disposition::Dropped(Counter::DroppedStrayAck),
            Method::Cancel => self.ask_for_cancel(turn, arrival, message),
            Method::Register => self.handle_register(turn, arrival, message),
            Method::Options
            | Method::Invite
            | Method::Bye
            | Method::Prack
            | Method::Update
            | Method::Info
            | Method::Message
            | Method::Subscribe
            | Method::Notify
            | Method::Refer
            | Method::Publish
            | Method::Other => self.handle_new(turn, arrival, message, &routes),
        }
    }

    fn handle_matched(
        &mut self,
        turn: &mut Turn<'_>,
        arrival: Arrival,
        message: Message<'_>,
        method: Method,
        found: ServerMatch,
    ) -> Disposition {
        if method == Method::Ack {
            self.transactions.handle_ack(turn, found);
            Disposition::Absorbed
        } else if method == Method::Cancel {
            self.cancel_matched(turn, arrival, message, found)
        } else {
            self.transactions
                .handle_retransmission(turn, found, arrival, message);
            Disposition::Absorbed
        }
    }

    /// A CANCEL whose INVITE is here: 200, whatever becomes of the INVITE (RFC 3261 §9.2, §16.10).
    pub(super) fn cancel_matched(
        &mut self,
        turn: &mut Turn<'_>,
        arrival: Arrival,
        message: Message<'_>,
        found: ServerMatch,
    ) -> Disposition {
        // The answer is the same for every retransmission of the CANCEL, so it needs no
        // transaction (RFC 3261 §8.2.7); its To tag is that of the 487.
        let answered = reply::answer(turn, arrival, message, 200, |_| {});
        if let ServerMatch::Live(server) = found
            && let Some(context) = self.transactions.context_of(server)
        {
            let (proxy, mut reach) = self.proxy_reach(turn);
            proxy.handle_cancel(&mut reach, context);
        }
        if answered {
            Disposition::Answered
        } else {
            Disposition::Dropped(Counter::DroppedNoRoom)
        }
    }

    fn handle_in_dialog(
        &mut self,
        turn: &mut Turn<'_>,
        arrival: Arrival,
        message: Message<'_>,
        routes: &Routes,
        dialog: &Dialog,
    ) -> Disposition {
        if let Err(refusal) = admission::check_basics(turn, message) {
            return if message.method() == Method::Ack {
                Disposition::Dropped(Counter::DroppedStrayAck)
            } else {
                self.refuse(turn, arrival, message, refusal)
            };
        }
        let (proxy, mut reach) = self.proxy_reach(turn);
        proxy.handle_in_dialog(&mut reach, arrival, message, routes, dialog)
    }

    fn handle_register(
        &mut self,
        turn: &mut Turn<'_>,
        arrival: Arrival,
        message: Message<'_>,
    ) -> Disposition {
        let addressee = Addressee::read(turn.tables, message);
        if let Some(aor) = addressee.aor() {
            let owner = location::owner(turn.keys, turn.settings.shards, aor);
            if owner != turn.shard {
                let copied = ShardMessage::Register { arrival };
                return if turn.out.try_to_shard(owner, copied, message.bytes()) {
                    Disposition::HandedOver
                } else {
                    Disposition::Dropped(Counter::DroppedQueueFull)
                };
            }
        }
        self.register_here(turn, arrival, message, &addressee)
    }

    /// A REGISTER for an address of record of this shard, or for none of ours: the registrar
    /// refuses it.
    pub(super) fn register_here(
        &mut self,
        turn: &mut Turn<'_>,
        arrival: Arrival,
        message: Message<'_>,
        addressee: &Addressee<'_>,
    ) -> Disposition {
        let Self {
            registrar,
            authenticator,
            sources,
            ..
        } = self;
        registrar.handle_register(turn, authenticator, sources, arrival, message, addressee)
    }

    /// A request outside a dialog that is no REGISTER.
    fn handle_new(
        &mut self,
        turn: &mut Turn<'_>,
        arrival: Arrival,
        message: Message<'_>,
        routes: &Routes,
    ) -> Disposition {
        if let Err(refusal) = admission::check_basics(turn, message) {
            return self.refuse(turn, arrival, message, refusal);
        }
        if self.asks_the_edge(turn, message) {
            return self.answer_options(turn, arrival, message);
        }
        if self.draining {
            let refusal = Refusal::Status(503, Counter::RefusedOverload);
            return self.refuse(turn, arrival, message, refusal);
        }
        let mut username = [0u8; crate::limits::AOR_USER_BYTES_MAX];
        let Self {
            authenticator,
            sources,
            ..
        } = self;
        let admitted = match admission::admit_call(
            turn,
            authenticator,
            sources,
            arrival,
            message,
            &mut username,
        ) {
            Ok(admitted) => admitted,
            Err(refusal) => return self.refuse(turn, arrival, message, refusal),
        };
        let username = &username[..admitted.username_length];
        let (proxy, mut reach) = self.proxy_reach(turn);
        proxy.handle_new(&mut reach, arrival, message, routes, &admitted, username)
    }

    /// OPTIONS without a user part that names us or one of our domains.
    fn asks_the_edge(&self, turn: &Turn<'_>, message: Message<'_>) -> bool {
        message.method() == Method::Options
            && message.request_uri().is_some_and(|uri| {
                uri.user.is_none()
                    && (admission::is_us(turn.settings, uri.host, uri.port)
                        || turn.tables.domain_by_name(uri.host).is_some())
            })
    }

    fn answer_options(
        &mut self,
        turn: &mut Turn<'_>,
        arrival: Arrival,
        message: Message<'_>,
    ) -> Disposition {
        let Self { sources, .. } = self;
        admission::answer_options(turn, sources, arrival, message, CAPABILITIES)
    }

    pub(super) fn receive_from_shard(
        &mut self,
        turn: &mut Turn<'_>,
        index: &mut Index,
        from: ShardId,
        message: ShardMessage,
        bytes: &[u8],
    ) {
        match message {
            ShardMessage::HandOver { arrival } => {
                let disposition = self.receive(turn, index, arrival, bytes, false);
                turn.counters.add_disposition(disposition);
            }
            ShardMessage::Register { arrival } => {
                let disposition = match index.scan(bytes) {
                    Ok(message) => {
                        let addressee = Addressee::read(turn.tables, message);
                        self.register_here(turn, arrival, message, &addressee)
                    }
                    Err(rejected) => self.reject(turn, arrival, &rejected),
                };
                turn.counters.add_disposition(disposition);
            }
            ShardMessage::Cancel { arrival, question } => {
                self.look_for_cancel(turn, index, from, arrival, question, bytes);
            }
            ShardMessage::CancelTaken { question, taken } => {
                self.handle_cancel_taken(turn, index, question, taken);
            }
            ShardMessage::Locate {
                question,
                domain: _,
            } => {
                let (proxy, mut reach) = self.proxy_reach(turn);
                proxy.answer_locate(&mut reach, from, question, bytes);
            }
            ShardMessage::Located {
                question,
                replaying,
            } => {
                let (proxy, mut reach) = self.proxy_reach(turn);
                proxy.handle_located(&mut reach, question, replaying, bytes);
            }
            ShardMessage::Permit {
                question,
                limit,
                calls_max,
                cps_max,
            } => {
                let proxy = &mut self.proxy;
                proxy.answer_permit(turn, from, question, limit, calls_max, cps_max);
            }
            ShardMessage::Permitted { question, granted } => {
                let (proxy, mut reach) = self.proxy_reach(turn);
                proxy.handle_permitted(&mut reach, question, granted);
            }
            ShardMessage::Release { limit } => self.proxy.release_permit(limit),
            ShardMessage::TargetState {
                trunk,
                target,
                alive,
            } => {
                self.proxy.set_target_state(turn, trunk, target, alive);
            }
            ShardMessage::Unreachable { flow } => self.handle_unreachable(turn, flow),
        }
    }

    /// Nothing reaches the peer of `flow`: what waits for its answer fails.
    pub(super) fn handle_unreachable(&mut self, turn: &mut Turn<'_>, flow: Flow) {
        let (proxy, mut reach) = self.proxy_reach(turn);
        proxy.handle_unreachable(&mut reach, flow);
    }

    pub(super) fn run_timer(&mut self, turn: &mut Turn<'_>, timer: Timer) {
        match timer.kind {
            TimerKind::Server
            | TimerKind::ServerRetransmit
            | TimerKind::Client
            | TimerKind::ClientRetransmit
            | TimerKind::Absorber => match self.transactions.handle_timer(turn, timer) {
                TimerVerdict::Nothing | TimerVerdict::AckMissing => {}
                TimerVerdict::ClientTimedOut {
                    client: _,
                    context,
                    branch,
                } => {
                    let (proxy, mut reach) = self.proxy_reach(turn);
                    proxy.handle_branch_timeout(&mut reach, context, branch);
                }
            },
            TimerKind::Context => {
                let (proxy, mut reach) = self.proxy_reach(turn);
                proxy.handle_timer(&mut reach, timer.key);
            }
            TimerKind::Binding | TimerKind::KeepAlive | TimerKind::Housekeeping => {
                self.registrar.handle_timer(turn, timer);
            }
            TimerKind::Call => self.proxy.handle_call_timer(turn, timer.key),
            TimerKind::Target => {
                let (proxy, mut reach) = self.proxy_reach(turn);
                proxy.handle_probe_timer(&mut reach, timer.key);
            }
        }
    }
}
