//! What is kept of a proxied request while it has no final response.

use super::goal::Goal;
use super::machine::State;
use crate::sip::slab::Slab;
use crate::sip::transaction::{ClientId, Kind, ServerId};
use crate::sip::{Arrival, BufferId, Flow, Key, ListenerId, Time, TimerId};
use crate::tenant::{DomainId, TrunkId};
use crate::wire::Method;

/// A deadline that never comes.
pub(super) const NEVER: Time = Time(u64::MAX);

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A user of this domain.
    Domain {
        domain: DomainId,
        /// True when digest credentials were verified.
        authenticated: bool,
    },
    /// A trunk, by the listener that faces it.
    Trunk {
        trunk: TrunkId,
        listener: ListenerId,
    },
    /// An end of a call in progress.
    Dialog {
        /// True when the end is a trunk, whose identity headers count.
        trunk: bool,
    },
}

/// What is still to be tried.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plan {
    /// Nothing.
    Nothing,
    /// Contacts of an address of record.
    Contacts {
        /// The encoded set.
        set: BufferId,
        /// Those that were tried or are not to be, by number.
        tried: u32,
        /// How many there are.
        count: u8,
    },
    /// Targets of a trunk.
    Trunk {
        trunk: TrunkId,
        /// Those that were tried, by number.
        tried: u64,
        /// True when the last one failed in a way that the next one may cure.
        again: bool,
    },
}

/// The best final response so far (RFC 3261 §16.7 item 6).
#[derive(Clone, Copy, Debug)]
pub(super) enum Best {
    Nothing,
    /// One of our own for a branch that gave none.
    Own(u16),
    /// One that was received, as it goes upstream.
    Kept {
        status: u16,
        response: BufferId,
    },
}

impl Best {
    pub(super) const fn status(self) -> Option<u16> {
        match self {
            Self::Nothing => None,
            Self::Own(status) | Self::Kept { status, .. } => Some(status),
        }
    }
}

/// A proxied request.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) state: State,
    pub(super) kind: Kind,
    pub(super) method: Method,
    pub(super) server: ServerId,
    pub(super) arrival: Arrival,
    /// Where its responses go.
    pub(super) upstream: Flow,
    /// The request as received; `None` when a final response was given to its transaction.
    pub(super) request: Option<BufferId>,
    /// Whom it is for; kept while another branch may be made from it.
    pub(super) goal: Option<BufferId>,
    pub(super) source: Source,
    /// RFC 3261 §16.6 item 8.
    pub(super) loop_hash: u32,
    /// Leading Route values to be removed.
    pub(super) routes_removed: usize,
    pub(super) plan: Plan,
    pub(super) best: Best,
    /// Challenge lines of every 401 and 407 (RFC 3261 §16.7 item 7).
    pub(super) challenges: Option<BufferId>,
    /// The record of its call, when that counts toward a limit.
    pub(super) call: Option<Key>,
    /// The last branch made; each names the one before it.
    pub(super) branches: Option<Key>,
    /// Branches made: the next one's number.
    pub(super) made: u8,
    /// True when the caller gave it up, and not a 6xx.
    pub(super) cancelled: bool,
    /// When a non-INVITE request without a final response gets a 100 (RFC 4320 §4.1).
    pub(super) trying_at: Time,
    /// The earliest deadline of its branches, `trying_at`, or earlier.
    pub(super) timer: Option<(TimerId, Time)>,
}

/// How far a branch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing came yet.
    Trying,
    /// A provisional response came.
    Proceeding,
    /// Nothing came for so long that nobody waits for it, unless there is nothing else.
    Silent,
    /// Its place was taken by the next target; only a 2xx of it counts.
    GivenUp,
    /// Timer C fired: cancelled, and counts as 408.
    Expired,
    /// Its final response came, or never will.
    Finished,
}

/// A branch of a proxied request.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) client: ClientId,
    pub(super) number: u8,
    pub(super) phase: Phase,
    /// When its phase has lasted too long.
    pub(super) deadline: Time,
    /// Flows of one instance share a number; 0 = none.
    pub(super) instance_group: u16,
    /// True when its flow failed, so that the next one of the instance may be tried.
    pub(super) flow_failed: bool,
    /// Index into the trunk's targets.
    pub(super) target: u8,
    /// True when its far end is a trunk.
    pub(super) trunk: bool,
    /// True when it is to be cancelled.
    pub(super) cancelled: bool,
    /// The branch made before.
    pub(super) previous: Option<Key>,
}

/// Walks the branches of a context, the last one first.
pub(super) fn keys(branches: &Slab<Branch>, last: Option<Key>) -> impl Iterator<Item = Key> {
    std::iter::successors(last, |&key| branches.get(key)?.previous)
}

/// Walks the branches of a context, the last one first.
pub(super) fn each(branches: &Slab<Branch>, last: Option<Key>) -> impl Iterator<Item = &Branch> {
    keys(branches, last).filter_map(|key| branches.get(key))
}

/// The branch with this number.
pub(super) fn find(branches: &Slab<Branch>, last: Option<Key>, number: u8) -> Option<Key> {
    keys(branches, last).find(|&key| branches.get(key).is_some_and(|it| it.number == number))
}

/// Decodes the goal of a context.
pub(super) fn goal_of(context: &Context, buffers: &crate::sip::Buffers) -> Option<Goal> {
    Goal::decode(buffers.octets(context.goal?))
}
