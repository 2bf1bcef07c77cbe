//! Where a request outside a dialog goes: the callee's contacts, else the route of its number
//! (RFC 3261 §16.5).

use siphasher::sip::SipHasher13;

use super::context::{Plan, Source};
use super::goal::{self, GOAL_BYTES_MAX, Goal, Text};
use super::machine::{self, Event, State, Step};
use super::{Errand, Proxy, Reach, Routes, key_of, question_of};
use crate::limits::{AOR_BYTES_MAX, BRANCHES_MAX, ROUTE_ROUNDS_MAX};
use crate::sip::admission::{Admitted, Origin};
use crate::sip::gather::Gather;
use crate::sip::location::{self, TargetSet, TargetSetWriter};
use crate::sip::token::Branch;
use crate::sip::transaction::Kind;
use crate::sip::turn::Turn;
use crate::sip::{Arrival, Counter, Disposition, Key, Keys, ShardId, ShardMessage};
use crate::tenant::{AccountId, CredentialListId, Destination, Domain, Route, Tables, TrunkId};
use crate::wire::{HeaderName, Message, Method, Vias, Writer};

/// What asking for contacts came to.
enum Located {
    /// This many octets of targets lie in the scratch.
    Contacts(usize),
    /// The user can have no binding, or has none.
    Nowhere,
    /// Another shard was asked.
    Asked,
    /// Its queue is full.
    Full,
}

/// Where a route leads.
enum Lead {
    /// The goal is another address of record.
    Aor,
    Trunk(TrunkId),
    Final(u16, Option<Counter>),
}

/// RFC 3261 §16.6 item 8, RFC 5393 §4.2: over everything that decides where the request goes, and
/// nothing that changes on the way.
pub(super) fn loop_hash(keys: &Keys, message: Message<'_>) -> u32 {
    let mut input = Gather::new(SipHasher13::new_with_key(&keys.hash));
    let uri = message.request_line().map_or(&b""[..], |line| line.uri);
    let routes = message.headers(HeaderName::Route).map(|field| field.value);
    let number = message.cseq().number.to_be_bytes();
    let parts = [
        uri,
        message.call_id(),
        message.from_tag(),
        message.to_tag(),
        &number,
    ];
    for part in parts.into_iter().chain(routes) {
        input.put(&(part.len() as u32).to_be_bytes());
        input.put(part);
    }
    input.finish() as u32
}

/// RFC 3261 §16.3 item 4: true when this very request went through us before. A spiral, which comes
/// back with another Request-URI, is none.
fn is_loop(turn: &Turn<'_>, message: Message<'_>) -> bool {
    let mut vias = Vias::new(message).skip(1).peekable();
    if vias.peek().is_none() {
        return false;
    }
    let hash = loop_hash(turn.keys, message);
    vias.map_while(Result::ok).any(|via| {
        Branch::shard_hint(via.branch).is_some()
            && Branch::read(via.branch, turn.keys, turn.settings.node, &[])
                .is_some_and(|branch| branch.loop_hash == hash)
    })
}

impl Proxy {
    /// A request outside a dialog that was admitted.
    pub(crate) fn handle_new(
        &mut self,
        reach: &mut Reach<'_, '_>,
        arrival: Arrival,
        message: Message<'_>,
        routes: &Routes,
        admitted: &Admitted,
        username: &[u8],
    ) -> Disposition {
        let turn = &mut *reach.turn;
        let source = source_of(admitted, arrival);
        // A Route that does not name us would make the edge a relay to anywhere.
        if routes.more && !matches!(source, Source::Trunk { .. }) {
            return super::refuse_stateless(turn, arrival, message, 403, Counter::RefusedRoute);
        }
        // RFC 3261 §12.2.2: a To tag names a dialog, and every dialog through us has a token of
        // ours; without it the dialog is none of ours, whoever asks.
        if !message.to_tag().is_empty() {
            return super::refuse_stateless(turn, arrival, message, 481, Counter::RefusedRoute);
        }
        // RFC 3680 §4.5: registrations are the registrar's to tell of, never a phone's.
        if message.method() == Method::Subscribe && is_registration_event(message) {
            return super::refuse_stateless(turn, arrival, message, 489, Counter::RefusedEvent);
        }
        if is_loop(turn, message) {
            return super::refuse_stateless(turn, arrival, message, 482, Counter::RefusedLoop);
        }
        // RFC 3261 §16.6 deviation: Route values that a trunk leaves behind ours are removed,
        // because where its calls go is what its routes say.
        let removed = if routes.more {
            usize::MAX
        } else {
            routes.leading
        };
        let Some(key) = self.open(reach, arrival, message, source, removed) else {
            return super::unavailable(reach.turn, arrival, message);
        };
        if self
            .contexts
            .get(key)
            .is_some_and(|it| it.kind == Kind::Invite)
        {
            reach.turn.counters.add(Counter::CallsAdmitted);
            // RFC 3261 §16.2: an INVITE is told at once that it is in hand.
            self.send_trying(reach, key, message);
        }
        self.place(reach, key, message, admitted, username)
    }

    /// Finds out whom an admitted request is for.
    fn place(
        &mut self,
        reach: &mut Reach<'_, '_>,
        key: Key,
        message: Message<'_>,
        admitted: &Admitted,
        username: &[u8],
    ) -> Disposition {
        let tables = reach.turn.tables;
        let uri = message.request_uri();
        let texts = uri.as_ref().and_then(|uri| {
            Some((
                goal::user_of(uri)?,
                goal::number_of(uri)?,
                Text::of(username)?,
            ))
        });
        let Some((user, number, username)) = texts else {
            // RFC 3261 §8.2.2.1: nobody is named.
            return self.refuse(reach, key, message, 404, Some(Counter::RefusedNotFound));
        };
        let mut goal = Goal {
            domain: crate::tenant::DomainId(0),
            rounds: 0,
            keep_number: false,
            user,
            number,
            username,
        };
        match admitted.origin {
            Origin::Domain { target, .. } => {
                goal.domain = target;
                self.resolve(reach, key, message, goal, false)
            }
            Origin::Trunk { .. } => {
                let Some(from) = self.contexts.get(key).map(|it| it.arrival.flow.peer()) else {
                    return Disposition::Answered;
                };
                let route = tables.route_from_trunk(from.socket_addr(), number.as_bytes());
                let lead = match route {
                    Some((_, route)) => follow(tables, &mut goal, route, number.as_bytes()),
                    None => Lead::Final(404, Some(Counter::RefusedNotFound)),
                };
                match lead {
                    Lead::Aor => self.resolve(reach, key, message, goal, false),
                    Lead::Trunk(trunk) => self.dial(
                        reach,
                        Errand {
                            key,
                            message,
                            goal: &goal,
                        },
                        trunk,
                    ),
                    Lead::Final(status, counter) => {
                        self.refuse(reach, key, message, status, counter)
                    }
                }
            }
        }
    }

    /// Follows the goal to contacts or a trunk. `unbound` is true when its user is known to have
    /// no binding.
    fn resolve(
        &mut self,
        reach: &mut Reach<'_, '_>,
        key: Key,
        message: Message<'_>,
        mut goal: Goal,
        mut unbound: bool,
    ) -> Disposition {
        let tables = reach.turn.tables;
        loop {
            if !unbound {
                match self.locate(reach, key, &goal) {
                    Located::Contacts(length) => {
                        return self.ring(
                            reach,
                            Errand {
                                key,
                                message,
                                goal: &goal,
                            },
                            length,
                        );
                    }
                    Located::Nowhere => {}
                    Located::Asked => return Disposition::Waiting,
                    Located::Full => {
                        let counter = Some(Counter::RefusedOverload);
                        return self.refuse(reach, key, message, 503, counter);
                    }
                }
            }
            unbound = false;
            match lead_on(tables, &mut goal) {
                Lead::Aor => {}
                Lead::Trunk(trunk) => {
                    return self.dial(
                        reach,
                        Errand {
                            key,
                            message,
                            goal: &goal,
                        },
                        trunk,
                    );
                }
                Lead::Final(status, counter) => {
                    return self.refuse(reach, key, message, status, counter);
                }
            }
        }
    }

    /// Asks for the contacts of the goal's address of record.
    fn locate(&mut self, reach: &mut Reach<'_, '_>, key: Key, goal: &Goal) -> Located {
        let turn = &mut *reach.turn;
        let Some(domain) = turn.tables.domain(goal.domain) else {
            return Located::Nowhere;
        };
        // Only a user with a credential for registrations can have a binding.
        let lists = domain.registration_lists.as_deref().unwrap_or_default();
        if !has_credential(turn.tables, lists, goal.user.as_bytes()) {
            return Located::Nowhere;
        }
        let mut aor = [0u8; AOR_BYTES_MAX];
        let mut out = Writer::new(&mut aor);
        out.put(goal.user.as_bytes());
        out.put(b"@");
        out.put(domain.name.as_bytes());
        let Some(length) = out.finish() else {
            return Located::Nowhere;
        };
        let aor = &aor[..length];
        let owner = location::owner(turn.keys, turn.settings.shards, aor);
        if owner == turn.shard {
            let mut targets = TargetSetWriter::new(&mut self.set);
            reach.registrar.locate(reach.turn, aor, &mut targets);
            return match targets.finish() {
                0 => Located::Nowhere,
                length => Located::Contacts(length),
            };
        }
        let ask = ShardMessage::Locate {
            question: question_of(key),
            domain: domain.id,
        };
        if !self.keep_goal(turn, key, goal) || !turn.out.try_to_shard(owner, ask, aor) {
            return Located::Full;
        }
        Located::Asked
    }

    /// Answers another shard's question for an address of record of ours.
    pub(crate) fn answer_locate(
        &mut self,
        reach: &mut Reach<'_, '_>,
        from: ShardId,
        question: u64,
        aor: &[u8],
    ) {
        let mut targets = TargetSetWriter::new(&mut self.set);
        reach.registrar.locate(reach.turn, aor, &mut targets);
        let length = targets.finish();
        let answer = ShardMessage::Located {
            question,
            replaying: false,
        };
        reach
            .turn
            .out
            .try_to_shard(from, answer, &self.set[..length]);
    }

    /// Another shard has answered: `targets` is an encoded set.
    pub(crate) fn handle_located(
        &mut self,
        reach: &mut Reach<'_, '_>,
        question: u64,
        replaying: bool,
        targets: &[u8],
    ) {
        let key = key_of(question);
        let Some(context) = self.contexts.get(key) else {
            return;
        };
        let (_, step) = machine::next(context.state, Event::Located);
        let Some(goal) = super::context::goal_of(context, reach.turn.buffers) else {
            return;
        };
        if step != Step::Resolve {
            return;
        }
        self.with_request(reach, key, |proxy, reach, message| {
            if TargetSet::new(targets).next().is_some() {
                proxy.set[..targets.len()].copy_from_slice(targets);
                let errand = Errand {
                    key,
                    message,
                    goal: &goal,
                };
                proxy.ring(reach, errand, targets.len());
            } else if replaying {
                proxy.refuse(reach, key, message, 503, Some(Counter::RefusedOverload));
            } else {
                proxy.resolve(reach, key, message, goal, true);
            }
        });
    }

    /// Sends the request to the contacts in the scratch, once its limits allow it.
    fn ring(
        &mut self,
        reach: &mut Reach<'_, '_>,
        errand: Errand<'_, '_>,
        length: usize,
    ) -> Disposition {
        match self.permit(reach, errand, length, None) {
            Some(disposition) => disposition,
            None => self.ring_now(reach, errand, length),
        }
    }

    /// Sends the request to the contacts in the scratch.
    pub(super) fn ring_now(
        &mut self,
        reach: &mut Reach<'_, '_>,
        errand: Errand<'_, '_>,
        length: usize,
    ) -> Disposition {
        let Errand { key, message, goal } = errand;
        if message.method() == Method::Subscribe && self.holds_sender(key, length) {
            let counter = Some(Counter::RefusedEvent);
            return self.refuse(reach, key, message, 489, counter);
        }
        let count = TargetSet::new(&self.set[..length]).count();
        if count > 1 {
            let kept = reach.turn.buffers.store(&self.set[..length]);
            let plan = match kept.filter(|_| self.keep_goal(reach.turn, key, goal)) {
                Some(set) => Plan::Contacts {
                    set,
                    tried: 0,
                    count: count.min(BRANCHES_MAX) as u8,
                },
                None => {
                    if let Some(set) = kept {
                        reach.turn.buffers.release(set);
                    }
                    reach.turn.counters.add(Counter::ForksCut);
                    Plan::Nothing
                }
            };
            if let Some(context) = self.contexts.get_mut(key) {
                context.plan = plan;
            }
        }
        if let Some(context) = self.contexts.get_mut(key) {
            context.state = State::Proceeding;
        }
        if let Err(unsent) = self.start_contacts(reach, errand, length, None) {
            let (status, counter) = unsent.refusal();
            return self.refuse(reach, key, message, status, Some(counter));
        }
        self.arm(reach, key);
        Disposition::Forwarded
    }

    /// True when a contact in the scratch is whoever sent the request: phones subscribe to their
    /// own address for what only a server knows, such as waiting messages.
    fn holds_sender(&self, key: Key, length: usize) -> bool {
        self.contexts.get(key).is_some_and(|context| {
            TargetSet::new(&self.set[..length]).any(|target| target.flow == context.arrival.flow)
        })
    }

    /// Sends the request to a trunk, once its limits allow it.
    fn dial(
        &mut self,
        reach: &mut Reach<'_, '_>,
        errand: Errand<'_, '_>,
        trunk: TrunkId,
    ) -> Disposition {
        match self.permit(reach, errand, 0, Some(trunk)) {
            Some(disposition) => disposition,
            None => self.dial_now(reach, errand, trunk),
        }
    }

    /// Sends the request to a trunk.
    pub(super) fn dial_now(
        &mut self,
        reach: &mut Reach<'_, '_>,
        errand: Errand<'_, '_>,
        trunk: TrunkId,
    ) -> Disposition {
        let Errand { key, message, goal } = errand;
        let targets = reach
            .turn
            .tables
            .trunk(trunk)
            .map_or(0, |trunk| trunk.targets.len());
        if targets > 1 && !self.keep_goal(reach.turn, key, goal) {
            return self.refuse(reach, key, message, 503, Some(Counter::RefusedOverload));
        }
        if let Some(context) = self.contexts.get_mut(key) {
            context.plan = Plan::Trunk {
                trunk,
                tried: 0,
                again: true,
            };
            context.state = State::Proceeding;
        }
        if let Err(unsent) = self.try_trunk(reach, errand) {
            let (status, counter) = unsent.refusal();
            return self.refuse(reach, key, message, status, Some(counter));
        }
        self.arm(reach, key);
        Disposition::Forwarded
    }

    /// Keeps the goal with the context, in place of an earlier one. False when there is no room.
    pub(super) fn keep_goal(&mut self, turn: &mut Turn<'_>, key: Key, goal: &Goal) -> bool {
        let Some(context) = self.contexts.get_mut(key) else {
            return false;
        };
        if let Some(old) = context.goal.take() {
            turn.buffers.release(old);
        }
        let mut octets = [0u8; GOAL_BYTES_MAX];
        let mut out = Writer::new(&mut octets);
        goal.encode(&mut out);
        context.goal = out
            .finish()
            .and_then(|length| turn.buffers.store(&octets[..length]));
        context.goal.is_some()
    }
}

/// True when Event names the package `reg` (RFC 3680).
fn is_registration_event(message: Message<'_>) -> bool {
    message.header(HeaderName::Event).is_some_and(|field| {
        let package = field.value.split(|&octet| octet == b';').next();
        package.is_some_and(|package| package.trim_ascii().eq_ignore_ascii_case(b"reg"))
    })
}

fn source_of(admitted: &Admitted, arrival: Arrival) -> Source {
    match admitted.origin {
        Origin::Domain {
            domain,
            authenticated,
            ..
        } => Source::Domain {
            domain,
            authenticated,
        },
        Origin::Trunk { trunk } => Source::Trunk {
            trunk,
            listener: arrival.flow.listener(),
        },
    }
}

fn has_credential(tables: &Tables, lists: &[CredentialListId], user: &[u8]) -> bool {
    lists
        .iter()
        .any(|&list| tables.credential(list, user).is_some())
}

/// The user of the goal has no binding: the route for it, or why there is none.
fn lead_on(tables: &Tables, goal: &mut Goal) -> Lead {
    let Some(domain) = tables.domain(goal.domain) else {
        return Lead::Final(404, Some(Counter::RefusedNoDomain));
    };
    let number = if goal.rounds == 0 {
        Some(goal.number)
    } else {
        goal::number_of_user(goal.user.as_bytes())
    };
    if let Some(number) = number
        && let Some(route) = tables.route(domain.id, number.as_bytes())
    {
        return follow(tables, goal, route, number.as_bytes());
    }
    Lead::Final(
        absent_status(tables, domain, goal.user.as_bytes()),
        Some(Counter::RefusedNotFound),
    )
}

/// 480 for a user who exists, 404 for one who does not.
fn absent_status(tables: &Tables, domain: &Domain, user: &[u8]) -> u16 {
    let registrations = domain.registration_lists.as_deref().unwrap_or_default();
    if has_credential(tables, registrations, user)
        || has_credential(tables, &domain.call_lists, user)
    {
        480
    } else {
        404
    }
}

fn follow(tables: &Tables, goal: &mut Goal, route: &Route, number: &[u8]) -> Lead {
    // Routes that lead to one another end here.
    if goal.rounds == ROUTE_ROUNDS_MAX {
        return Lead::Final(482, Some(Counter::RefusedLoop));
    }
    if goal.follow(route, number).is_none() {
        return Lead::Final(404, Some(Counter::RefusedNotFound));
    }
    match &route.destination {
        Destination::Aor { user, domain } => {
            let Some(user) = Text::of(user.as_bytes()) else {
                return Lead::Final(404, Some(Counter::RefusedNotFound));
            };
            goal.domain = *domain;
            goal.user = user;
            Lead::Aor
        }
        Destination::Trunk(trunk) if may_use(tables, route.account, *trunk) => Lead::Trunk(*trunk),
        Destination::Trunk(_) => Lead::Final(403, Some(Counter::RefusedRoute)),
        Destination::Status(status) => Lead::Final(*status, None),
    }
}

fn may_use(tables: &Tables, account: AccountId, trunk: TrunkId) -> bool {
    tables.trunk(trunk).is_some() && tables.may_use(account, trunk)
}
