//! Trunk targets: which is tried next (by priority and weight), and which are passed over because
//! they failed.

use std::net::SocketAddr;

use super::branch::{Start, Unsent};
use super::context::{Plan, Source};
use super::identity::{self, Asserted};
use super::{Errand, Proxy, Reach};
use crate::limits::{TARGET_DOWN_MS, TRUNK_TARGETS_MAX};
use crate::sip::token::FarEnd;
use crate::sip::{Flow, ListenerId, Random, Settings, SourceAddr, Time};
use crate::tenant::{Trunk, TrunkId};
use crate::wire::{Message, Transport, Writer};

/// Entries of the table of targets that are down; more than fit are forgotten early.
const ENTRIES: usize = 1024;
/// Longest Request-URI toward a trunk: an escaped number and a host.
const URI_BYTES: usize = 1024;

/// A target that is down.
#[derive(Clone, Copy, Debug)]
struct Down {
    trunk: TrunkId,
    target: u16,
    until: Time,
}

/// Targets that failed lately, of this shard's calls or by word of another shard.
#[derive(Debug)]
pub(super) struct Health {
    down: Box<[Option<Down>; ENTRIES]>,
}

impl Health {
    pub(super) fn new() -> Self {
        Self {
            down: Box::new([None; ENTRIES]),
        }
    }

    const fn place(trunk: TrunkId, target: u16) -> usize {
        let hash = (trunk.0 ^ (target as u32) << 20).wrapping_mul(0x9E37_79B1);
        (hash >> 22) as usize % ENTRIES
    }

    /// A target failed: it is passed over until then.
    pub(super) fn set_down(&mut self, trunk: TrunkId, target: u16, until: Time) {
        self.down[Self::place(trunk, target)] = Some(Down {
            trunk,
            target,
            until,
        });
    }

    /// A target answered.
    pub(super) fn set_alive(&mut self, trunk: TrunkId, target: u16) {
        let entry = &mut self.down[Self::place(trunk, target)];
        *entry = entry.filter(|it| (it.trunk, it.target) != (trunk, target));
    }

    /// A call says something about a target.
    pub(super) fn judge(&mut self, now: Time, trunk: TrunkId, target: u16, alive: bool) {
        if alive {
            self.set_alive(trunk, target);
        } else {
            self.set_down(trunk, target, now.plus_ms(TARGET_DOWN_MS));
        }
    }

    fn is_down(&self, now: Time, trunk: TrunkId, target: u16) -> bool {
        self.down[Self::place(trunk, target)]
            .is_some_and(|it| (it.trunk, it.target) == (trunk, target) && now < it.until)
    }

    /// The target to be tried next: of those not tried and not down the lowest priority, by chance
    /// in proportion to weight; when all are down they are tried anyway.
    fn choose(&self, now: Time, trunk: &Trunk, tried: u64, random: &mut Random) -> Option<usize> {
        let open = |index: &usize| tried & 1 << index == 0;
        let up = |index: &usize| !self.is_down(now, trunk.id, *index as u16);
        let count = trunk.targets.len().min(TRUNK_TARGETS_MAX);
        let any_up = (0..count).any(|index| open(&index) && up(&index));
        let candidates = || (0..count).filter(|it| open(it) && (!any_up || up(it)));
        let priority = candidates().map(|it| trunk.targets[it].priority).min()?;
        let equal = || candidates().filter(|&it| trunk.targets[it].priority == priority);
        // RFC 2782: a weight of 0 is chosen seldom, not never.
        let weight = |index: usize| u64::from(trunk.targets[index].weight) * 100 + 1;
        let mut left = random.below(equal().map(weight).sum());
        equal().find(|&index| match left.checked_sub(weight(index)) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        })
    }
}

/// The listener that faces `address` of `trunk`.
pub(super) fn listener_to(
    settings: &Settings,
    trunk: &Trunk,
    address: SocketAddr,
) -> Option<ListenerId> {
    settings
        .listeners
        .iter()
        .filter(|it| it.transport == Transport::Udp && it.bind.is_ipv4() == address.is_ipv4())
        .find(|it| trunk.listener.is_none() || it.name == trunk.listener)
        .map(|it| it.id)
}

impl Proxy {
    /// Starts a branch to the next target of the context's trunk.
    pub(super) fn try_trunk(
        &mut self,
        reach: &mut Reach<'_, '_>,
        errand: Errand<'_, '_>,
    ) -> Result<(), Unsent> {
        let tables = reach.turn.tables;
        let now = reach.turn.now.time;
        let mut outcome = Err(Unsent::Nowhere);
        while outcome.is_err() {
            let Some(context) = self.contexts.get_mut(errand.key) else {
                break;
            };
            let Plan::Trunk {
                trunk,
                tried,
                again,
            } = &mut context.plan
            else {
                break;
            };
            *again = false;
            let Some(trunk) = tables.trunk(*trunk) else {
                break;
            };
            let random = &mut *reach.turn.random;
            let Some(index) = self.health.choose(now, trunk, *tried, random) else {
                break;
            };
            *tried |= 1 << index;
            let last = tried.count_ones() as usize >= trunk.targets.len().min(TRUNK_TARGETS_MAX);
            outcome = self.start_target(reach, errand, trunk, index, last);
        }
        outcome
    }

    fn start_target(
        &mut self,
        reach: &mut Reach<'_, '_>,
        errand: Errand<'_, '_>,
        trunk: &Trunk,
        index: usize,
        last: bool,
    ) -> Result<(), Unsent> {
        let Errand { key, message, goal } = errand;
        let target = &trunk.targets[index];
        let tables = reach.turn.tables;
        let listener = listener_to(reach.turn.settings, trunk, target.address);
        let listener = listener.ok_or(Unsent::Nowhere)?;
        let mut buffer = [0u8; URI_BYTES];
        let host = if trunk.keep_host {
            own_host(message)
        } else {
            target.host.as_bytes()
        };
        let mut out = Writer::new(&mut buffer);
        out.put(b"sip:");
        identity::put_user(goal.number.as_bytes(), &mut out);
        out.put(b"@");
        out.put(host);
        let length = out.finish().ok_or(Unsent::TooLarge)?;
        let asserted = match self.contexts.get(key).map(|it| it.source) {
            Some(Source::Trunk { .. }) => Asserted::Kept,
            Some(Source::Domain {
                domain,
                authenticated: true,
            }) => match tables.domain(domain) {
                Some(domain) => Asserted::Replaced {
                    user: goal.username.as_bytes(),
                    host: domain.name.as_bytes(),
                },
                None => Asserted::Removed,
            },
            Some(Source::Domain { .. } | Source::Dialog { .. }) | None => Asserted::Removed,
        };
        let start = Start {
            flow: Flow::Udp {
                listener,
                peer: SourceAddr::from(target.address),
            },
            far_end: FarEnd::Trunk {
                trunk: trunk.id,
                listener,
            },
            request_uri: Some(&buffer[..length]),
            path: b"",
            called_party: false,
            asserted,
            instance_group: 0,
            target: index as u8,
            patience_ms: (!last).then_some(u64::from(trunk.first_response_ms)),
        };
        self.start_branch(reach, key, message, &start)
    }
}

/// Host and port of the Request-URI as received.
fn own_host(message: Message<'_>) -> &[u8] {
    message.request_uri().map_or(b"", |uri| uri.host)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::tenant::Target;

    fn trunk(targets: &[(u16, u16)]) -> Trunk {
        Trunk {
            id: TrunkId(7),
            name: "carrier".into(),
            owner: None,
            accounts: Box::default(),
            targets: targets
                .iter()
                .map(|&(priority, weight)| Target {
                    address: "192.0.2.1:5060".parse().unwrap(),
                    host: "192.0.2.1".into(),
                    priority,
                    weight,
                })
                .collect(),
            sources: Box::default(),
            contacts: Box::default(),
            listener: None,
            keep_host: false,
            trusted_network: false,
            calls_max: 0,
            cps_max: 0,
            first_response_ms: 3000,
            failover_statuses: Box::default(),
        }
    }

    #[test]
    fn targets_are_chosen_by_priority_and_then_by_weight() {
        let trunk = trunk(&[(2, 1), (1, 3), (1, 1)]);
        let health = Health::new();
        let mut random = Random::new(1);
        let mut chosen = [0u32; 3];
        for _ in 0..4000 {
            chosen[health.choose(Time(0), &trunk, 0, &mut random).unwrap()] += 1;
        }
        assert_eq!(
            chosen[0], 0,
            "a higher priority number waits for the others to fail"
        );
        assert!(
            (2800..3200).contains(&chosen[1]),
            "three of four: {chosen:?}"
        );
        assert_eq!(health.choose(Time(0), &trunk, 0b110, &mut random), Some(0));
        assert_eq!(health.choose(Time(0), &trunk, 0b111, &mut random), None);
    }

    #[test]
    fn a_target_that_is_down_is_passed_over_until_all_are_down() {
        let trunk = trunk(&[(1, 1), (2, 1)]);
        let mut health = Health::new();
        let mut random = Random::new(1);
        let mut choose = |health: &Health, now| health.choose(now, &trunk, 0, &mut random);
        health.judge(Time(0), trunk.id, 0, false);
        assert_eq!(choose(&health, Time(0)), Some(1));
        health.judge(Time(0), trunk.id, 1, false);
        assert_eq!(
            choose(&health, Time(0)),
            Some(0),
            "all down: tried anyway, in order"
        );
        health.judge(Time(0), trunk.id, 1, true);
        assert_eq!(choose(&health, Time(0)), Some(1));
        let later = Time(0).plus_ms(TARGET_DOWN_MS);
        assert_eq!(choose(&health, later), Some(0), "down for a while only");
    }

    #[test]
    fn a_trunk_of_more_targets_than_are_counted_is_no_trouble() {
        let trunk = trunk(&[(1, 1); 80]);
        let health = Health::new();
        let mut random = Random::new(3);
        let mut tried = 0u64;
        while let Some(index) = health.choose(Time(0), &trunk, tried, &mut random) {
            tried |= 1 << index;
        }
        assert_eq!(tried, u64::MAX);
    }
}
