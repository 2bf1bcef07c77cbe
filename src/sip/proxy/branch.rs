//! Branches: one client transaction each (RFC 3261 §16.6, §16.7 item 5; RFC 5626 §5.3).

use super::context::{self, Branch, NEVER, Phase, Plan, Source};
use super::forward::{self, Hop, RecordRoute};
use super::identity::{self, Asserted};
use super::{Errand, Proxy, Reach, far_end, forms_dialog};
use crate::limits::BRANCHES_MAX;
use crate::sip::location::{Target, TargetSet};
use crate::sip::token::{self, FarEnd, RouteToken};
use crate::sip::transaction::Kind;
use crate::sip::{Arrival, Counter, Flow, Key};
use crate::wire::{Message, Uri, Writer};

/// A branch to be made.
pub(super) struct Start<'s> {
    pub(super) flow: Flow,
    /// The far end that the dialog's requests go to.
    pub(super) far_end: FarEnd,
    pub(super) request_uri: Option<&'s [u8]>,
    pub(super) path: &'s [u8],
    pub(super) called_party: bool,
    pub(super) asserted: Asserted<'s>,
    pub(super) instance_group: u16,
    /// Index into the trunk's targets.
    pub(super) target: u8,
    /// Milliseconds it may be silent while others are there to be tried or waited for.
    pub(super) patience_ms: Option<u64>,
}

/// Why a branch could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// A table is full.
    Full,
    /// The request, with what is put into it, is larger than a datagram, or needs too many edits.
    TooLarge,
    /// There is no way to go.
    Nowhere,
}

impl Unsent {
    /// What the caller is told when no branch could be made.
    pub(super) const fn refusal(self) -> (u16, Counter) {
        match self {
            Self::Full => (503, Counter::RefusedOverload),
            Self::TooLarge => (513, Counter::RefusedTooLarge),
            Self::Nowhere => (500, Counter::RefusedRoute),
        }
    }
}

impl Proxy {
    /// Starts branches to the contacts encoded in the first `length` octets of the scratch: those
    /// of the highest q that were not tried, or the next flow of one instance (`group`). Says why
    /// when none was started.
    pub(super) fn start_contacts(
        &mut self,
        reach: &mut Reach<'_, '_>,
        errand: Errand<'_, '_>,
        length: usize,
        group: Option<u16>,
    ) -> Result<(), Unsent> {
        let key = errand.key;
        let set = std::mem::take(&mut self.set);
        let mut outcome = Err(Unsent::Nowhere);
        let mut q_milli = None;
        let many = TargetSet::new(&set[..length]).nth(1).is_some();
        for (index, target) in TargetSet::new(&set[..length])
            .enumerate()
            .take(BRANCHES_MAX)
        {
            if group.is_some_and(|group| group != target.instance_group)
                || !self.may_try(key, index, target.instance_group)
                || *q_milli.get_or_insert(target.q_milli) != target.q_milli && group.is_none()
            {
                continue;
            }
            self.mark_tried(key, index);
            match self.start_contact(reach, errand, &target, many) {
                Ok(()) => outcome = Ok(()),
                Err(unsent) => {
                    reach.turn.counters.add(Counter::ForksCut);
                    outcome = outcome.or(Err(unsent));
                }
            }
            if group.is_some() && outcome.is_ok() {
                break;
            }
        }
        self.set = set;
        outcome
    }

    /// True when the contact was not tried and, of its instance, no flow is in use. A contact whose
    /// instance has answered on another flow is not to be tried any more.
    fn may_try(&mut self, key: Key, index: usize, group: u16) -> bool {
        let Some(context) = self.contexts.get(key) else {
            return false;
        };
        if let Plan::Contacts { tried, .. } = context.plan
            && tried & 1 << index != 0
        {
            return false;
        }
        let in_use = context::each(&self.branches, context.branches)
            .find(|branch| group != 0 && branch.instance_group == group && !branch.flow_failed)
            .map(|branch| branch.phase);
        if in_use == Some(Phase::Finished) {
            self.mark_tried(key, index);
        }
        in_use.is_none()
    }

    fn mark_tried(&mut self, key: Key, index: usize) {
        if let Some(context) = self.contexts.get_mut(key)
            && let Plan::Contacts { tried, .. } = &mut context.plan
        {
            *tried |= 1 << index;
        }
    }

    fn start_contact(
        &mut self,
        reach: &mut Reach<'_, '_>,
        errand: Errand<'_, '_>,
        target: &Target<'_>,
        many: bool,
    ) -> Result<(), Unsent> {
        let Errand { key, message, goal } = errand;
        let source = self.contexts.get(key).map(|it| it.source);
        let mut renamed = [0u8; 1024];
        let request_uri = if goal.keep_number {
            let Some(uri) = with_user(target.contact, goal.number.as_bytes(), &mut renamed) else {
                return Err(Unsent::TooLarge);
            };
            uri
        } else {
            target.contact
        };
        let asserted = match source {
            Some(Source::Trunk { .. }) => Asserted::KeptUnlessPrivate,
            Some(Source::Domain { .. } | Source::Dialog { .. }) | None => Asserted::Removed,
        };
        let silence_ms = u64::from(reach.turn.settings.contact_silence_ms);
        let start = Start {
            flow: target.flow,
            far_end: far_end(target.flow),
            request_uri: Some(request_uri),
            path: target.path,
            called_party: true,
            asserted,
            instance_group: target.instance_group,
            target: 0,
            patience_ms: many.then_some(silence_ms),
        };
        self.start_branch(reach, key, message, &start)
    }

    /// Makes one branch.
    pub(super) fn start_branch(
        &mut self,
        reach: &mut Reach<'_, '_>,
        key: Key,
        message: Message<'_>,
        start: &Start<'_>,
    ) -> Result<(), Unsent> {
        let context = self.contexts.get(key).ok_or(Unsent::Nowhere)?;
        let client = reach.transactions.next_client().ok_or(Unsent::Full)?;
        let token = RouteToken {
            shard: reach.turn.shard,
            call: context.call.map(|call| (reach.turn.keys.boot, call)),
            caller: caller_end(context.source, context.arrival),
            callee: start.far_end,
        };
        let record_route = if forms_dialog(context.method) {
            RecordRoute::New {
                token: &token,
                caller_tag: message.from_tag(),
            }
        } else {
            RecordRoute::No
        };
        let hop = Hop {
            listener: start.flow.listener(),
            request_uri: start.request_uri,
            record_route,
            routes_removed: context.routes_removed,
            last_route_removed: false,
            route_appended: None,
            path: start.path,
            called_party: start.called_party,
            asserted: start.asserted,
            branch: token::Branch {
                shard: reach.turn.shard,
                transaction: Some(client.0),
                loop_hash: context.loop_hash,
            },
            bound: &[],
        };
        self.send_branch(reach, key, message, start, &hop)
    }

    /// Sends the request by `hop` on a client transaction of its own.
    pub(super) fn send_branch(
        &mut self,
        reach: &mut Reach<'_, '_>,
        key: Key,
        message: Message<'_>,
        start: &Start<'_>,
        hop: &Hop<'_>,
    ) -> Result<(), Unsent> {
        let context = self.contexts.get_mut(key).ok_or(Unsent::Nowhere)?;
        let Self {
            lines,
            request,
            branches,
            ..
        } = self;
        let turn = &mut *reach.turn;
        if usize::from(context.made) == BRANCHES_MAX || branches.next_key().is_none() {
            return Err(Unsent::Full);
        }
        let written = forward::write_request(turn, message, context.arrival, hop, lines, request);
        let length = written.ok_or(Unsent::TooLarge)?;
        let (number, kind) = (context.made, context.kind);
        let octets = &request[..length];
        let started = reach.transactions.start_client(
            turn,
            kind,
            start.flow,
            octets,
            context.upstream,
            key,
            number,
        );
        let client = started.ok_or(Unsent::Full)?;
        turn.counters.add(Counter::Branches);
        let ring_ms = u64::from(turn.settings.timer_c_s) * 1000;
        let deadline = match (start.patience_ms, kind) {
            (Some(patience), _) => turn.now.time.plus_ms(patience),
            // RFC 3261 §16.6 item 11: Timer C is for INVITE.
            (None, Kind::Invite) => turn.now.time.plus_ms(ring_ms),
            (None, Kind::NonInvite) => NEVER,
        };
        let branch = Branch {
            client,
            number,
            phase: Phase::Trying,
            deadline,
            instance_group: start.instance_group,
            flow_failed: false,
            target: start.target,
            trunk: matches!(start.far_end, FarEnd::Trunk { .. }),
            cancelled: false,
            previous: context.branches,
        };
        if let Ok(branch) = branches.insert(branch) {
            context.branches = Some(branch);
            context.made += 1;
        }
        Ok(())
    }
}

/// The far end that stands for the sender of a request outside a dialog.
fn caller_end(source: Source, arrival: Arrival) -> FarEnd {
    match source {
        Source::Trunk { trunk, listener } => FarEnd::Trunk { trunk, listener },
        Source::Domain { .. } | Source::Dialog { .. } => far_end(arrival.flow),
    }
}

/// `uri` with `user` in place of its user part.
fn with_user<'b>(uri: &[u8], user: &[u8], buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let parsed = Uri::parse(uri).ok()?;
    // The host ends the part that is replaced; it stands where its slice does.
    let host_at = (parsed.host.as_ptr() as usize).checked_sub(uri.as_ptr() as usize)?;
    let scheme_end = uri.iter().position(|&octet| octet == b':')? + 1;
    let mut out = Writer::new(buffer);
    out.put(&uri[..scheme_end]);
    identity::put_user(user, &mut out);
    out.put(b"@");
    out.put(uri.get(host_at..)?);
    let length = out.finish()?;
    Some(&buffer[..length])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::with_user;

    #[test]
    fn the_user_part_is_replaced_and_the_rest_stays() {
        let mut buffer = [0; 256];
        for (uri, user, wanted) in [
            (
                "sip:bob@10.0.0.1:5070;ob",
                "+15550100",
                "sip:+15550100@10.0.0.1:5070;ob",
            ),
            ("sip:10.0.0.1", "100", "sip:100@10.0.0.1"),
            (
                "sips:b:secret@[2001:db8::1]:5061",
                "#31#",
                "sips:%2331%23@[2001:db8::1]:5061",
            ),
        ] {
            let got = with_user(uri.as_bytes(), user.as_bytes(), &mut buffer).unwrap();
            assert_eq!(std::str::from_utf8(got).unwrap(), wanted);
        }
    }
}
