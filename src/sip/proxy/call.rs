//! Records of calls that count toward a limit. A record is made with the INVITE, named in the
//! Record-Route tokens of its branches, and ends once: by a final response other than 2xx, a BYE,
//! a session that is not refreshed (RFC 4028), or its longest time.

use super::context::{Context, Plan, Source};
use super::goal::Goal;
use super::limit::LimitId;
use super::machine::{self, Event, State, Step};
use super::{Errand, Proxy, Reach, key_of, question_of};
use crate::sip::turn::Turn;
use crate::sip::{Counter, Disposition, Key, ShardMessage, Time, Timer, TimerId, TimerKind};
use crate::tenant::{DomainId, Tables, TrunkId};
use crate::wire::{HeaderName, Message, Method, parse_decimal};

/// What a caller is told when a limit is reached.
pub(super) const LIMIT_REACHED: &[u8] =
    b"Reason: Q.850;cause=42;text=\"The call limit of this domain or trunk is reached\"\r\n";
/// How long a record waits that could not tell its limit that it ended, in milliseconds.
const RETRY_MS: u64 = 1000;
/// RFC 4028 §10: a session ends this long after it should have been refreshed at the latest.
const SESSION_GRACE_MS: u64 = 32_000;

/// One limit that a call counts toward.
#[derive(Clone, Copy, Debug)]
struct Share {
    limit: LimitId,
    calls_max: u32,
    cps_max: u32,
    /// True once the limit has counted the call.
    granted: bool,
}

/// A call that counts toward at most two limits: of the side it comes from, and of the side it
/// goes to.
#[derive(Debug)]
pub(super) struct Call {
    shares: [Option<Share>; 2],
    /// The INVITE, until its final response.
    context: Option<Key>,
    /// True while a limit has been asked and has not answered.
    asked: bool,
    /// True when it has ended and only its limits are still to be told.
    ended: bool,
    timer: Option<TimerId>,
}

const _: () = assert!(size_of::<Call>() <= 160);

/// What asking for permits came to.
enum Permit {
    Granted,
    Asked,
    Denied,
    /// A table or queue is full.
    Full,
}

/// The limits that a call from `source` to `goal`, or to `trunk`, counts toward.
fn shares(
    tables: &Tables,
    source: Source,
    goal: &Goal,
    trunk: Option<TrunkId>,
) -> [Option<Share>; 2] {
    let domain = |id: DomainId| {
        let domain = tables.domain(id)?;
        share(LimitId::of_domain(id), domain.calls_max, domain.cps_max)
    };
    let of_trunk = |id: TrunkId| {
        let trunk = tables.trunk(id)?;
        share(LimitId::of_trunk(id), trunk.calls_max, trunk.cps_max)
    };
    match source {
        Source::Domain { domain: id, .. } => [domain(id), trunk.and_then(of_trunk)],
        Source::Trunk { trunk: from, .. } => {
            let to = match trunk {
                Some(trunk) => of_trunk(trunk),
                None => domain(goal.domain),
            };
            [of_trunk(from), to]
        }
        Source::Dialog { .. } => [None, None],
    }
}

fn share(limit: LimitId, calls_max: u32, cps_max: u32) -> Option<Share> {
    (calls_max > 0 || cps_max > 0).then_some(Share {
        limit,
        calls_max,
        cps_max,
        granted: false,
    })
}

impl Proxy {
    /// Asks the limits of a call before it goes to `trunk`, or to the contacts in the first
    /// `length` octets of the scratch. `None` when it may go on at once.
    pub(super) fn permit(
        &mut self,
        reach: &mut Reach<'_, '_>,
        errand: Errand<'_, '_>,
        length: usize,
        trunk: Option<TrunkId>,
    ) -> Option<Disposition> {
        let Errand { key, message, goal } = errand;
        let context = self.contexts.get(key)?;
        if context.method != Method::Invite {
            return None;
        }
        let shares = shares(reach.turn.tables, context.source, goal, trunk);
        if shares.iter().all(Option::is_none) {
            return None;
        }
        let outcome = self.ask(reach, key, shares);
        match outcome {
            Permit::Granted => None,
            Permit::Denied => Some(self.refuse_limit(reach, key, message)),
            Permit::Asked if self.keep_way(reach, errand, length, trunk) => {
                Some(Disposition::Waiting)
            }
            Permit::Asked | Permit::Full => {
                Some(self.refuse(reach, key, message, 503, Some(Counter::RefusedOverload)))
            }
        }
    }

    /// Keeps where the call goes until its limits have answered. False when there is no room.
    fn keep_way(
        &mut self,
        reach: &mut Reach<'_, '_>,
        errand: Errand<'_, '_>,
        length: usize,
        trunk: Option<TrunkId>,
    ) -> bool {
        let Errand { key, goal, .. } = errand;
        let kept = match trunk {
            Some(_) => None,
            None => match reach.turn.buffers.store(&self.set[..length]) {
                Some(set) => Some(set),
                None => return false,
            },
        };
        if !self.keep_goal(reach.turn, key, goal) {
            if let Some(set) = kept {
                reach.turn.buffers.release(set);
            }
            return false;
        }
        if let Some(context) = self.contexts.get_mut(key) {
            context.state = State::Permitting;
            context.plan = match (kept, trunk) {
                (Some(set), _) => Plan::Contacts {
                    set,
                    tried: 0,
                    count: 0,
                },
                (None, Some(trunk)) => Plan::Trunk {
                    trunk,
                    tried: 0,
                    again: true,
                },
                (None, None) => Plan::Nothing,
            };
        }
        true
    }

    /// Makes the record and asks its first limit.
    fn ask(&mut self, reach: &mut Reach<'_, '_>, key: Key, shares: [Option<Share>; 2]) -> Permit {
        let call = Call {
            shares,
            context: Some(key),
            asked: false,
            ended: false,
            timer: None,
        };
        let Ok(call) = self.calls.insert(call) else {
            return Permit::Full;
        };
        if let Some(context) = self.contexts.get_mut(key) {
            context.call = Some(call);
        }
        let longest_ms = u64::from(reach.turn.settings.call_s_max) * 1000;
        let end = reach.turn.now.time.plus_ms(longest_ms);
        self.arm_call(reach.turn, call, end);
        self.ask_next(reach.turn, call)
    }

    /// Asks the limits that have not answered, one after another.
    fn ask_next(&mut self, turn: &mut Turn<'_>, key: Key) -> Permit {
        let Some(call) = self.calls.get_mut(key) else {
            return Permit::Full;
        };
        for share in call
            .shares
            .iter_mut()
            .flatten()
            .filter(|share| !share.granted)
        {
            let Share {
                limit,
                calls_max,
                cps_max,
                ..
            } = *share;
            let shard = limit.shard(turn.settings.shards);
            if shard == turn.shard {
                if !self
                    .limits
                    .try_begin(turn.now.time, limit, calls_max, cps_max)
                    .granted(turn)
                {
                    return Permit::Denied;
                }
                share.granted = true;
                continue;
            }
            let ask = ShardMessage::Permit {
                question: question_of(key),
                limit: limit.0,
                calls_max,
                cps_max,
            };
            call.asked = turn.out.try_to_shard(shard, ask, &[]);
            return if call.asked {
                Permit::Asked
            } else {
                Permit::Full
            };
        }
        Permit::Granted
    }

    /// A limit has answered.
    pub(crate) fn handle_permitted(
        &mut self,
        reach: &mut Reach<'_, '_>,
        question: u64,
        granted: bool,
    ) {
        let key = key_of(question);
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        call.asked = false;
        if granted && let Some(share) = call.shares.iter_mut().flatten().find(|it| !it.granted) {
            share.granted = true;
        }
        let context = call.context;
        let Some(context) = context.filter(|_| !call.ended) else {
            // The call ended while its limit was asked.
            self.end_call(reach.turn, key);
            return;
        };
        let outcome = if granted {
            self.ask_next(reach.turn, key)
        } else {
            Permit::Denied
        };
        let event = match outcome {
            Permit::Asked => return,
            Permit::Granted => Event::Granted,
            Permit::Denied | Permit::Full => Event::Denied,
        };
        self.with_request(reach, context, |proxy, reach, message| {
            proxy.on_permit(reach, context, message, event, &outcome);
        });
    }

    fn on_permit(
        &mut self,
        reach: &mut Reach<'_, '_>,
        key: Key,
        message: Message<'_>,
        event: Event,
        outcome: &Permit,
    ) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        let (state, step) = machine::next(context.state, event);
        context.state = state;
        match (step, outcome) {
            (Step::Start, _) => self.start_kept(reach, key, message),
            (Step::Refuse, Permit::Full) => {
                self.refuse(reach, key, message, 503, Some(Counter::RefusedOverload));
            }
            (Step::Refuse, _) => {
                self.refuse_limit(reach, key, message);
            }
            (_, _) => {}
        }
    }

    /// Goes where [`Self::keep_way`] has kept.
    fn start_kept(&mut self, reach: &mut Reach<'_, '_>, key: Key, message: Message<'_>) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        let Some(goal) = super::context::goal_of(context, reach.turn.buffers) else {
            return;
        };
        let errand = Errand {
            key,
            message,
            goal: &goal,
        };
        match std::mem::replace(&mut context.plan, Plan::Nothing) {
            Plan::Contacts { set, .. } => {
                let octets = reach.turn.buffers.octets(set);
                let length = octets.len();
                self.set[..length].copy_from_slice(octets);
                reach.turn.buffers.release(set);
                self.ring_now(reach, errand, length);
            }
            Plan::Trunk { trunk, .. } => {
                self.dial_now(reach, errand, trunk);
            }
            Plan::Nothing => {}
        }
    }

    fn refuse_limit(
        &mut self,
        reach: &mut Reach<'_, '_>,
        key: Key,
        message: Message<'_>,
    ) -> Disposition {
        reach.turn.counters.add(Counter::RefusedLimit);
        self.refuse_with(reach, key, message, 480, LIMIT_REACHED)
    }

    /// What the final response `status` of a request means to the call it belongs to.
    pub(super) fn account(&mut self, turn: &mut Turn<'_>, context: &Context, status: u16) {
        let Some(key) = context.call else {
            return;
        };
        let ends = match context.source {
            // A BYE that is challenged, or whose answer is lost, comes again.
            Source::Dialog { .. } => context.method == Method::Bye && !matches!(status, 401 | 407),
            Source::Domain { .. } | Source::Trunk { .. } => status >= 300,
        };
        if ends {
            self.end_call(turn, key);
        } else if !matches!(context.source, Source::Dialog { .. })
            && let Some(call) = self.calls.get_mut(key)
        {
            call.context = None;
        }
    }

    /// A 2xx of an INVITE or UPDATE of a call: it says when the session ends unless it is
    /// refreshed (RFC 4028 §8.2).
    pub(super) fn refresh_call(&mut self, turn: &mut Turn<'_>, key: Key, response: Message<'_>) {
        let Some(field) = response.header(HeaderName::SessionExpires) else {
            return;
        };
        let digits = field
            .value
            .split(|octet| *octet == b';')
            .next()
            .unwrap_or_default();
        let longest_s = u64::from(turn.settings.call_s_max);
        let Some(interval_s) = parse_decimal(digits.trim_ascii(), u64::from(u32::MAX)) else {
            return;
        };
        let end_ms = (interval_s * 1000 + SESSION_GRACE_MS).min(longest_s * 1000);
        if self.calls.get(key).is_some_and(|call| !call.ended) {
            let end = turn.now.time.plus_ms(end_ms);
            self.arm_call(turn, key, end);
        }
    }

    /// The call is over: its limits are told, and its record is forgotten when all know.
    pub(super) fn end_call(&mut self, turn: &mut Turn<'_>, key: Key) {
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        call.ended = true;
        call.context = None;
        let mut told = true;
        for share in &mut call.shares {
            let Some(Share {
                limit,
                calls_max,
                granted: true,
                ..
            }) = *share
            else {
                continue;
            };
            let shard = limit.shard(turn.settings.shards);
            if calls_max == 0 {
                *share = None;
            } else if shard == turn.shard {
                self.limits.end(limit);
                *share = None;
            } else {
                let release = ShardMessage::Release { limit: limit.0 };
                if turn.out.try_to_shard(shard, release, &[]) {
                    *share = None;
                } else {
                    told = false;
                }
            }
        }
        if call.asked {
            return;
        }
        if !told {
            let retry = turn.now.time.plus_ms(RETRY_MS);
            self.arm_call(turn, key, retry);
        } else if let Some(Call {
            timer: Some(timer), ..
        }) = self.calls.remove(key)
        {
            turn.wheel.cancel(timer);
        }
    }

    /// A record's timer fired.
    pub(crate) fn handle_call_timer(&mut self, turn: &mut Turn<'_>, key: Key) {
        if let Some(call) = self.calls.get_mut(key) {
            call.timer = None;
            self.end_call(turn, key);
        }
    }

    fn arm_call(&mut self, turn: &mut Turn<'_>, key: Key, at: Time) {
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        if let Some(timer) = call.timer.take() {
            turn.wheel.cancel(timer);
        }
        let timer = Timer {
            kind: TimerKind::Call,
            key,
        };
        call.timer = turn.wheel.insert(at, timer);
    }

    /// Calls with a record.
    #[cfg(test)]
    pub(crate) fn calls(&self) -> u32 {
        self.calls.len()
    }
}
