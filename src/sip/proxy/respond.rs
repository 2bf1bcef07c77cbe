//! What becomes of responses, silence and CANCEL: the best response, and what is tried before it
//! is given (RFC 3261 §16.7 to §16.10, RFC 4320 §4, RFC 5626 §5.3).

use super::context::{self, Best, NEVER, Phase, Plan, Source};
use super::machine::{self, Event, Step};
use super::probe::PROBE_NUMBER;
use super::{Errand, Proxy, Reach, response};
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::sip::transaction::{ClientId, Kind};
use crate::sip::{Counter, Disposition, Flow, Key};
use crate::wire::{Message, Method, Writer};

/// A final response that lies in the scratch, as it would go upstream.
#[derive(Clone, Copy, Debug)]
struct Held {
    status: u16,
    length: usize,
}

/// What a request needs next.
enum Next {
    /// A branch may still give a response worth waiting for.
    Wait,
    /// Contacts of lower q, or another flow of an instance.
    Contacts,
    /// Another target of the trunk.
    Trunk,
    /// The best response goes upstream.
    Finish,
}

/// Why a branch has no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// Timer B or F.
    TimedOut,
    /// RFC 3261 §16.9.
    Transport,
}

impl Proxy {
    /// A response that its client transaction passed on.
    pub(crate) fn handle_response(
        &mut self,
        reach: &mut Reach<'_, '_>,
        client: ClientId,
        key: Key,
        number: u8,
        message: Message<'_>,
    ) -> Disposition {
        if number == PROBE_NUMBER {
            let status = message.status().unwrap_or_default();
            self.handle_probe_response(reach.turn, key, status);
            return Disposition::Absorbed;
        }
        let branch = self
            .contexts
            .get(key)
            .and_then(|it| context::find(&self.branches, it.branches, number));
        let (Some(branch), Some(status)) = (branch, message.status()) else {
            reach.transactions.detach_client(reach.turn, client);
            return Disposition::Absorbed;
        };
        if status < 200 {
            self.on_provisional(reach, key, branch, status, message)
        } else {
            self.on_final(reach, key, branch, status, message)
        }
    }

    fn on_provisional(
        &mut self,
        reach: &mut Reach<'_, '_>,
        key: Key,
        branch: Key,
        status: u16,
        message: Message<'_>,
    ) -> Disposition {
        let (Some(context), Some(branch)) = (self.contexts.get(key), self.branches.get_mut(branch))
        else {
            return Disposition::Absorbed;
        };
        let first = match branch.phase {
            Phase::Trying | Phase::Silent => true,
            Phase::Proceeding => false,
            Phase::GivenUp | Phase::Expired | Phase::Finished => return Disposition::Absorbed,
        };
        branch.phase = Phase::Proceeding;
        // RFC 3261 §16.7 item 2: Timer C begins again with every provisional response but 100.
        if first || status > 100 {
            branch.deadline = match context.kind {
                Kind::Invite => {
                    let ring_ms = u64::from(reach.turn.settings.timer_c_s) * 1000;
                    reach.turn.now.time.plus_ms(ring_ms)
                }
                Kind::NonInvite => NEVER,
            };
        }
        let (server, trusted) = (context.server, branch.trunk);
        let (_, step) = machine::next(context.state, Event::Provisional);
        self.arm(reach, key);
        // RFC 3261 §16.7 item 5: 100 is for one hop.
        if status == 100 || step != Step::ForwardProvisional {
            return Disposition::Absorbed;
        }
        match self.write_upstream(message, trusted, true) {
            Some(length) => {
                let octets = &self.response[..length];
                reach
                    .transactions
                    .respond(reach.turn, server, status, octets, false);
                Disposition::Forwarded
            }
            None => Disposition::Dropped(Counter::DroppedStrayResponse),
        }
    }

    /// Writes the response into the scratch as it goes upstream.
    fn write_upstream(
        &mut self,
        message: Message<'_>,
        trusted: bool,
        challenges: bool,
    ) -> Option<usize> {
        let mut out = Writer::new(&mut self.response);
        if response::write_response(message, trusted, challenges, &mut out) {
            out.finish()
        } else {
            None
        }
    }

    fn on_final(
        &mut self,
        reach: &mut Reach<'_, '_>,
        key: Key,
        branch_key: Key,
        status: u16,
        message: Message<'_>,
    ) -> Disposition {
        let (Some(context), Some(branch)) = (
            self.contexts.get_mut(key),
            self.branches.get_mut(branch_key),
        ) else {
            return Disposition::Absorbed;
        };
        let phase = std::mem::replace(&mut branch.phase, Phase::Finished);
        branch.deadline = NEVER;
        branch.flow_failed |= status == 430;
        let event = match status {
            200..=299 => Event::Success,
            600.. => Event::GlobalFailure,
            _ => Event::Failure,
        };
        if event != Event::Success && matches!(phase, Phase::GivenUp | Phase::Finished) {
            return Disposition::Absorbed;
        }
        let (trusted, target, group) = (branch.trunk, branch.target, branch.instance_group);
        let client = branch.client;
        let (state, step) = machine::next(context.state, event);
        context.state = state;
        let collect = matches!(status, 401 | 407) && context.made > 1;
        let written = self.write_upstream(message, trusted, !collect);
        if step == Step::ForwardSuccess {
            self.refresh_session(reach, key, message);
            return self.forward_success(reach, key, client, status, written);
        }
        self.judge_target(reach, key, target, status);
        let held = match written {
            // A branch that was cancelled because it rang for too long counts as 408.
            Some(_) if phase == Phase::Expired && status == 487 => self.weigh_own(reach, key, 408),
            Some(length) => Some(Held { status, length }),
            // A response without a Via for the caller is as good as none.
            None => self.weigh_own(reach, key, 500),
        };
        if collect {
            self.collect_challenges(reach, key, message);
        }
        if step == Step::WeighAndCancel {
            self.cancel_branches(reach, key);
        }
        if status == 430 {
            self.keep(reach, key, held);
            self.start_next_flow(reach, key, group);
            return self.settle(reach, key, None);
        }
        self.settle(reach, key, held)
    }

    /// A 2xx to an INVITE or UPDATE of a call with a record.
    fn refresh_session(&mut self, reach: &mut Reach<'_, '_>, key: Key, message: Message<'_>) {
        if let Some(context) = self.contexts.get(key)
            && matches!(context.method, Method::Invite | Method::Update)
            && let Some(call) = context.call
        {
            self.refresh_call(reach.turn, call, message);
        }
    }

    /// RFC 3261 §16.7 items 5 and 10: the first 2xx goes upstream, and every other branch is
    /// cancelled. Further 2xx are the transactions' to forward.
    fn forward_success(
        &mut self,
        reach: &mut Reach<'_, '_>,
        key: Key,
        client: ClientId,
        status: u16,
        written: Option<usize>,
    ) -> Disposition {
        let Some(context) = self.contexts.get(key) else {
            return Disposition::Absorbed;
        };
        let disposition = match written {
            Some(length) => {
                let octets = &self.response[..length];
                reach
                    .transactions
                    .respond(reach.turn, context.server, status, octets, false);
                Disposition::Forwarded
            }
            None => Disposition::Dropped(Counter::DroppedStrayResponse),
        };
        if context.kind == Kind::Invite && !matches!(context.source, Source::Dialog { .. }) {
            reach.turn.counters.add(Counter::CallsAnswered);
        }
        reach.transactions.detach_client(reach.turn, client);
        self.close(reach, key, status);
        disposition
    }

    /// Notes what a final response says about the trunk target that gave it.
    fn judge_target(&mut self, reach: &mut Reach<'_, '_>, key: Key, target: u8, status: u16) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        let Plan::Trunk { trunk, again, .. } = &mut context.plan else {
            return;
        };
        let Some(entry) = reach.turn.tables.trunk(*trunk) else {
            return;
        };
        *again = entry.failover_statuses.contains(&status);
        if status == 503 {
            self.health
                .judge(reach.turn.now.time, *trunk, u16::from(target), false);
        } else {
            self.health
                .judge(reach.turn.now.time, *trunk, u16::from(target), true);
        }
    }

    /// A client transaction had no final response in time.
    pub(crate) fn handle_branch_timeout(
        &mut self,
        reach: &mut Reach<'_, '_>,
        key: Key,
        number: u8,
    ) {
        if number == PROBE_NUMBER {
            self.handle_probe_failure(reach.turn, key);
            return;
        }
        reach.turn.counters.add(Counter::BranchTimeouts);
        self.on_failure(reach, key, number, Failure::TimedOut);
    }

    /// A send on `flow` failed.
    pub(crate) fn handle_unreachable(&mut self, reach: &mut Reach<'_, '_>, flow: Flow) {
        let mut failed = std::mem::take(&mut self.failed);
        failed.clear();
        reach
            .transactions
            .handle_unreachable(reach.turn, flow, &mut failed);
        for &(_, key, number) in &failed {
            if number == PROBE_NUMBER {
                self.handle_probe_failure(reach.turn, key);
            } else {
                self.on_failure(reach, key, number, Failure::Transport);
            }
        }
        self.failed = failed;
    }

    fn on_failure(&mut self, reach: &mut Reach<'_, '_>, key: Key, number: u8, failure: Failure) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        let Some(branch) = context::find(&self.branches, context.branches, number)
            .and_then(|branch| self.branches.get_mut(branch))
        else {
            return;
        };
        let phase = std::mem::replace(&mut branch.phase, Phase::Finished);
        branch.deadline = NEVER;
        branch.flow_failed = true;
        if matches!(phase, Phase::GivenUp | Phase::Finished) {
            return;
        }
        let (group, target) = (branch.instance_group, branch.target);
        let (state, step) = machine::next(context.state, Event::Failure);
        context.state = state;
        if step != Step::Weigh {
            return;
        }
        if let Plan::Trunk { trunk, again, .. } = &mut context.plan {
            *again = true;
            self.health
                .judge(reach.turn.now.time, *trunk, u16::from(target), false);
        }
        let status = match failure {
            Failure::TimedOut => 408,
            // RFC 3261 §16.9: a transport error counts as 503.
            Failure::Transport => 503,
        };
        self.weigh_own(reach, key, status);
        self.start_next_flow(reach, key, group);
        self.settle(reach, key, None);
    }

    /// A context's timer fired: branches that were silent, or rang, for too long.
    pub(crate) fn handle_timer(&mut self, reach: &mut Reach<'_, '_>, key: Key) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        context.timer = None;
        // RFC 4320 §4.1: a request other than INVITE that waited so long gets a 100.
        let trying = context.trying_at <= reach.turn.now.time;
        if trying {
            context.trying_at = NEVER;
            self.with_request(reach, key, |proxy, reach, message| {
                proxy.send_trying(reach, key, message);
            });
        }
        let Some(context) = self.contexts.get(key) else {
            return;
        };
        let mut due = false;
        let mut next = context.branches;
        while let Some(branch_key) = next {
            let Some(branch) = self.branches.get(branch_key) else {
                break;
            };
            next = branch.previous;
            if branch.deadline <= reach.turn.now.time {
                due = true;
                self.on_deadline(reach, key, branch_key);
                if self.contexts.get(key).is_none() {
                    return;
                }
            }
        }
        if due {
            self.settle(reach, key, None);
        }
        self.arm(reach, key);
    }

    fn on_deadline(&mut self, reach: &mut Reach<'_, '_>, key: Key, branch_key: Key) {
        let (Some(context), Some(branch)) = (
            self.contexts.get_mut(key),
            self.branches.get_mut(branch_key),
        ) else {
            return;
        };
        branch.deadline = NEVER;
        let (group, target) = (branch.instance_group, branch.target);
        match branch.phase {
            Phase::Trying => {
                branch.flow_failed = true;
                branch.phase = Phase::Silent;
                if let Plan::Trunk { trunk, again, .. } = &mut context.plan
                    && machine::next(context.state, Event::Silence).1 == Step::Weigh
                    && !context.cancelled
                {
                    *again = true;
                    branch.phase = Phase::GivenUp;
                    let (client, invite) = (branch.client, context.kind == Kind::Invite);
                    branch.cancelled = invite;
                    let trunk = *trunk;
                    self.health
                        .judge(reach.turn.now.time, trunk, u16::from(target), false);
                    if invite {
                        reach.transactions.cancel_client(reach.turn, client);
                    }
                    self.weigh_own(reach, key, 408);
                }
                self.start_next_flow(reach, key, group);
            }
            // RFC 3261 §16.8: Timer C. The branch is cancelled; its 487 counts as 408.
            Phase::Proceeding => {
                branch.phase = Phase::Expired;
                branch.cancelled = true;
                reach.transactions.cancel_client(reach.turn, branch.client);
            }
            Phase::Silent | Phase::GivenUp | Phase::Expired | Phase::Finished => {}
        }
    }

    /// The caller cancels (RFC 3261 §16.10).
    pub(crate) fn handle_cancel(&mut self, reach: &mut Reach<'_, '_>, key: Key) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        // RFC 3261 §9.1: a CANCEL has no effect on anything but an INVITE.
        if context.kind != Kind::Invite {
            return;
        }
        let (state, step) = machine::next(context.state, Event::Cancel);
        context.state = state;
        context.cancelled = true;
        if step == Step::Terminate {
            self.with_request(reach, key, |proxy, reach, message| {
                proxy.refuse(reach, key, message, 487, None);
            });
        } else if step == Step::CancelBranches {
            self.cancel_branches(reach, key);
            self.settle(reach, key, None);
        }
    }

    /// Cancels every branch that has no final response. One that was silent so far is waited for
    /// no longer than a silent contact.
    fn cancel_branches(&mut self, reach: &mut Reach<'_, '_>, key: Key) {
        let Some(context) = self.contexts.get(key) else {
            return;
        };
        let silence_ms = u64::from(reach.turn.settings.contact_silence_ms);
        let deadline = reach.turn.now.time.plus_ms(silence_ms);
        let mut next = context.branches;
        while let Some(branch) = next.and_then(|key| self.branches.get_mut(key)) {
            next = branch.previous;
            if branch.phase == Phase::Trying {
                branch.deadline = branch.deadline.min(deadline);
            }
            let open = branch.phase != Phase::Finished && !branch.cancelled;
            if open && context.kind == Kind::Invite {
                branch.cancelled = true;
                reach.transactions.cancel_client(reach.turn, branch.client);
            }
        }
        self.arm(reach, key);
    }

    /// RFC 5626 §5.3: the next flow of an instance whose flow failed.
    fn start_next_flow(&mut self, reach: &mut Reach<'_, '_>, key: Key, group: u16) {
        let open = self
            .contexts
            .get(key)
            .is_some_and(|it| it.state == machine::State::Proceeding);
        if group != 0 && open {
            self.start_more(reach, key, Some(group));
        }
    }

    /// Starts contacts that were not tried. False when there is none.
    fn start_more(&mut self, reach: &mut Reach<'_, '_>, key: Key, group: Option<u16>) -> bool {
        let Some(context) = self.contexts.get(key) else {
            return false;
        };
        let Plan::Contacts { set, .. } = context.plan else {
            return false;
        };
        let Some(goal) = context::goal_of(context, reach.turn.buffers) else {
            return false;
        };
        let octets = reach.turn.buffers.octets(set);
        let length = octets.len();
        self.set[..length].copy_from_slice(octets);
        let started = self.with_request(reach, key, |proxy, reach, message| {
            let errand = Errand {
                key,
                message,
                goal: &goal,
            };
            proxy.start_contacts(reach, errand, length, group)
        });
        self.arm(reach, key);
        started == Some(Ok(()))
    }

    /// Starts the trunk's next target. False when there is none.
    fn start_next_target(&mut self, reach: &mut Reach<'_, '_>, key: Key) -> bool {
        let Some(context) = self.contexts.get(key) else {
            return false;
        };
        let Some(goal) = context::goal_of(context, reach.turn.buffers) else {
            return false;
        };
        let started = self.with_request(reach, key, |proxy, reach, message| {
            let errand = Errand {
                key,
                message,
                goal: &goal,
            };
            proxy.try_trunk(reach, errand)
        });
        self.arm(reach, key);
        let started = started == Some(Ok(()));
        if started {
            reach.turn.counters.add(Counter::TrunkFailovers);
        }
        started
    }

    /// What the request needs next.
    fn next(&self, key: Key) -> Next {
        let Some(context) = self.contexts.get(key) else {
            return Next::Wait;
        };
        let given_up = context.state == machine::State::Cancelled;
        let mut silent = false;
        for branch in context::each(&self.branches, context.branches) {
            match branch.phase {
                Phase::Trying | Phase::Proceeding | Phase::Expired => return Next::Wait,
                Phase::Silent => silent = true,
                Phase::GivenUp | Phase::Finished => {}
            }
        }
        match context.plan {
            Plan::Contacts { tried, count, .. }
                if !given_up && tried.count_ones() < u32::from(count) =>
            {
                Next::Contacts
            }
            Plan::Trunk { again: true, .. } if !given_up && context.goal.is_some() => Next::Trunk,
            Plan::Nothing | Plan::Contacts { .. } | Plan::Trunk { .. } => {
                // A silent contact is waited for when there is nothing else to say.
                if silent && !given_up && context.best.status().is_none() {
                    Next::Wait
                } else {
                    Next::Finish
                }
            }
        }
    }

    /// Does what the request needs next; `held` is a response that is not weighed yet.
    fn settle(&mut self, reach: &mut Reach<'_, '_>, key: Key, held: Option<Held>) -> Disposition {
        let mut held = held.filter(|held| self.is_better(key, held.status));
        loop {
            // A response in hand is something to say.
            let next = match self.next(key) {
                Next::Wait if held.is_some() && self.only_silence_left(key) => Next::Finish,
                next => next,
            };
            match next {
                Next::Wait => {
                    self.keep(reach, key, held);
                    return Disposition::Absorbed;
                }
                Next::Contacts => {
                    self.keep(reach, key, held.take());
                    if self.start_more(reach, key, None) {
                        return Disposition::Absorbed;
                    }
                    self.end_plan(reach, key);
                }
                Next::Trunk => {
                    self.keep(reach, key, held.take());
                    if self.start_next_target(reach, key) {
                        return Disposition::Absorbed;
                    }
                    self.end_plan(reach, key);
                }
                Next::Finish => return self.finish(reach, key, held),
            }
        }
    }

    /// True when no branch is waited for but silent ones.
    fn only_silence_left(&self, key: Key) -> bool {
        self.contexts.get(key).is_some_and(|context| {
            context::each(&self.branches, context.branches).all(|branch| match branch.phase {
                Phase::Trying | Phase::Proceeding | Phase::Expired => false,
                Phase::Silent | Phase::GivenUp | Phase::Finished => true,
            })
        })
    }

    /// Nothing of the plan could be started.
    fn end_plan(&mut self, reach: &mut Reach<'_, '_>, key: Key) {
        if let Some(context) = self.contexts.get_mut(key) {
            match std::mem::replace(&mut context.plan, Plan::Nothing) {
                Plan::Contacts { set, .. } => reach.turn.buffers.release(set),
                Plan::Nothing | Plan::Trunk { .. } => {}
            }
        }
    }

    fn is_better(&self, key: Key, status: u16) -> bool {
        self.contexts.get(key).is_some_and(|context| {
            let best = context.best.status();
            best.is_none_or(|best| response::rank(status) < response::rank(best))
        })
    }

    /// Weighs a response of our own for a branch that gave none.
    fn weigh_own(&mut self, reach: &mut Reach<'_, '_>, key: Key, status: u16) -> Option<Held> {
        if self.is_better(key, status) {
            self.set_best(reach, key, Best::Own(status));
        }
        None
    }

    /// Keeps a response that is better than the best one.
    fn keep(&mut self, reach: &mut Reach<'_, '_>, key: Key, held: Option<Held>) {
        if let Some(held) = held.filter(|held| self.is_better(key, held.status)) {
            let octets = &self.response[..held.length];
            let best = match reach.turn.buffers.store(octets) {
                Some(response) => Best::Kept {
                    status: held.status,
                    response,
                },
                // Without room its status is kept.
                None => Best::Own(held.status),
            };
            self.set_best(reach, key, best);
        }
    }

    fn set_best(&mut self, reach: &mut Reach<'_, '_>, key: Key, best: Best) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        if let Best::Kept { response, .. } = std::mem::replace(&mut context.best, best) {
            reach.turn.buffers.release(response);
        }
    }

    /// RFC 3261 §16.7 item 7: the challenges of every 401 and 407 go upstream in one.
    fn collect_challenges(&mut self, reach: &mut Reach<'_, '_>, key: Key, message: Message<'_>) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        let mut out = Writer::new(&mut self.set);
        if let Some(lines) = context.challenges {
            out.put(reach.turn.buffers.octets(lines));
        }
        response::put_challenges(message, &mut out);
        let Some(length) = out.finish() else {
            return;
        };
        if let Some(lines) = reach.turn.buffers.store(&self.set[..length])
            && let Some(old) = context.challenges.replace(lines)
        {
            reach.turn.buffers.release(old);
        }
    }

    /// Sends the best response upstream and forgets the request.
    fn finish(&mut self, reach: &mut Reach<'_, '_>, key: Key, held: Option<Held>) -> Disposition {
        let Some(context) = self.contexts.get(key) else {
            return Disposition::Absorbed;
        };
        let (server, cancelled) = (context.server, context.cancelled);
        let held = held.or_else(|| match context.best {
            Best::Kept { status, response } => {
                let octets = reach.turn.buffers.octets(response);
                self.response[..octets.len()].copy_from_slice(octets);
                Some(Held {
                    status,
                    length: octets.len(),
                })
            }
            Best::Nothing | Best::Own(_) => None,
        });
        let Some(Held { status, length }) = held else {
            let own = match context.best.status() {
                // RFC 3261 §16.10: what the caller gave up ends with 487.
                _ if cancelled => 487,
                Some(status) => response::upstream_status(status),
                None => 500,
            };
            // RFC 4320 §4.2: the transaction keeps a 408 to anything but an INVITE to itself.
            self.with_request(reach, key, |proxy, reach, message| {
                proxy.refuse(reach, key, message, own, None);
            });
            self.close(reach, key, own);
            return Disposition::Answered;
        };
        let mut length = length;
        if matches!(status, 401 | 407)
            && let Some(lines) = context.challenges
        {
            let lines = reach.turn.buffers.octets(lines);
            length = response::insert_lines(&mut self.response, length, lines)
                .filter(|&length| length <= DATAGRAM_BYTES_MAX)
                .unwrap_or(length);
        }
        let upstream = response::upstream_status(status);
        self.give_request(reach, key);
        let octets = &self.response[..length];
        reach
            .transactions
            .respond(reach.turn, server, upstream, octets, false);
        self.close(reach, key, status);
        Disposition::Forwarded
    }
}
