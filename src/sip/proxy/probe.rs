//! OPTIONS to trunk targets: one shard asks for all, and tells the others what it heard.

use std::collections::BTreeMap;

use super::{Proxy, Reach, forward, trunk};
use crate::limits::{PROBE_ANSWER_MS, PROBES_MAX, SHARDS_MAX, TARGET_DOWN_MS};
use crate::sip::slab::Slab;
use crate::sip::token::Branch;
use crate::sip::transaction::{ClientId, Kind};
use crate::sip::turn::Turn;
use crate::sip::{
    Flow, Key, Settings, ShardId, ShardMessage, SourceAddr, Time, Timer, TimerKind, Wheel,
};
use crate::tenant::{Trunk, TrunkId};
use crate::wire::Writer;

/// The number that a probe's client transaction has in place of a branch's.
pub(super) const PROBE_NUMBER: u8 = u8::MAX;
/// Names no probe: the timer that looks for new targets.
const REFRESH: Key = Key {
    slot: u32::MAX,
    generation: 0,
};

const _: () = assert!(crate::limits::BRANCHES_MAX <= PROBE_NUMBER as usize);
const _: () = assert!(SHARDS_MAX <= u8::MAX as usize);

/// What a probe's timer waits for.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The time to ask.
    Idle,
    /// A final answer.
    Waiting(ClientId),
    /// The end of the time for an answer, which has come.
    Answered,
}

/// A target that is asked.
#[derive(Debug)]
struct Probe {
    trunk: TrunkId,
    target: u16,
    /// What was heard last.
    alive: bool,
    phase: Phase,
    /// CSeq of the last OPTIONS.
    sequence: u32,
}

/// The targets that this shard asks.
#[derive(Debug)]
pub(super) struct Probes {
    slab: Slab<Probe>,
    /// Every entry of the slab by its target; changed with the tables only.
    by_target: BTreeMap<(TrunkId, u16), Key>,
}

impl Probes {
    pub(super) fn new() -> Self {
        Self {
            slab: Slab::with_capacity(PROBES_MAX),
            by_target: BTreeMap::new(),
        }
    }
}

/// The shard that asks the targets of a trunk.
fn asker(trunk: TrunkId, shards: u8) -> ShardId {
    let hash = trunk.0.wrapping_mul(0x9E37_79B1);
    ShardId((hash >> 24) as u8 % shards)
}

/// How long a target that did not answer is down: until it is asked again and could have answered.
fn down_ms(settings: &Settings) -> u64 {
    (interval_ms(settings) + 2 * PROBE_ANSWER_MS).max(TARGET_DOWN_MS)
}

fn interval_ms(settings: &Settings) -> u64 {
    u64::from(settings.trunk_options_s) * 1000
}

/// Arms the timer that begins to ask; to be called once.
pub(crate) fn begin(settings: &Settings, wheel: &mut Wheel, now: Time) {
    if settings.trunk_options_s > 0 {
        let kind = TimerKind::Target;
        wheel.insert(now, Timer { kind, key: REFRESH });
    }
}

impl Proxy {
    /// The tables changed: new targets are asked from now on. Those that are gone end by
    /// themselves.
    pub(crate) fn handle_tables(&mut self, turn: &mut Turn<'_>) {
        if turn.settings.trunk_options_s == 0 {
            return;
        }
        let shards = turn.settings.shards;
        let own = |trunk: &&Trunk| asker(trunk.id, shards) == turn.shard;
        for trunk in turn.tables.trunks().iter().filter(own) {
            for target in 0..trunk.targets.len() as u16 {
                let name = (trunk.id, target);
                if self.probes.by_target.contains_key(&name) {
                    continue;
                }
                let probe = Probe {
                    trunk: trunk.id,
                    target,
                    alive: true,
                    phase: Phase::Idle,
                    sequence: 0,
                };
                let Ok(key) = self.probes.slab.insert(probe) else {
                    return;
                };
                self.probes.by_target.insert(name, key);
                // Spread over the interval.
                let after_ms = turn.random.below(interval_ms(turn.settings));
                let at = turn.now.time.plus_ms(after_ms);
                let kind = TimerKind::Target;
                turn.wheel.insert(at, Timer { kind, key });
            }
        }
    }

    /// A probe's timer fired: it is time to ask, or no answer came.
    pub(crate) fn handle_probe_timer(&mut self, reach: &mut Reach<'_, '_>, key: Key) {
        if key == REFRESH {
            self.handle_tables(reach.turn);
            return;
        }
        let Some(probe) = self.probes.slab.get_mut(key) else {
            return;
        };
        let (trunk, target) = (probe.trunk, probe.target);
        match std::mem::replace(&mut probe.phase, Phase::Idle) {
            Phase::Idle => {}
            Phase::Waiting(client) => {
                reach.transactions.detach_client(reach.turn, client);
                self.hear(reach.turn, key, false);
                self.arm_probe(reach.turn, key, interval_ms(reach.turn.settings));
                return;
            }
            Phase::Answered => {
                self.arm_probe(reach.turn, key, interval_ms(reach.turn.settings));
                return;
            }
        }
        let tables = reach.turn.tables;
        let known = tables
            .trunk(trunk)
            .filter(|trunk| usize::from(target) < trunk.targets.len());
        let Some(trunk) = known else {
            self.probes.slab.remove(key);
            self.probes.by_target.remove(&(trunk, target));
            return;
        };
        let after_ms = if self.ask_target(reach, key, trunk, target) {
            PROBE_ANSWER_MS
        } else {
            interval_ms(reach.turn.settings)
        };
        self.arm_probe(reach.turn, key, after_ms);
    }

    /// Sends OPTIONS. False when it can not be sent.
    fn ask_target(
        &mut self,
        reach: &mut Reach<'_, '_>,
        key: Key,
        trunk: &Trunk,
        target: u16,
    ) -> bool {
        let target = &trunk.targets[usize::from(target)];
        let turn = &mut *reach.turn;
        let (Some(probe), Some(client), Some(listener)) = (
            self.probes.slab.get_mut(key),
            reach.transactions.next_client(),
            trunk::listener_to(turn.settings, trunk, target.address),
        ) else {
            return false;
        };
        probe.sequence += 1;
        let mut out = Writer::new(&mut self.request);
        write_options(
            turn,
            probe.sequence,
            key,
            client,
            listener,
            &target.host,
            &mut out,
        );
        let Some(length) = out.finish() else {
            return false;
        };
        let flow = Flow::Udp {
            listener,
            peer: SourceAddr::from(target.address),
        };
        let octets = &self.request[..length];
        let started = reach.transactions.start_client(
            turn,
            Kind::NonInvite,
            flow,
            octets,
            flow,
            key,
            PROBE_NUMBER,
        );
        if let Some(client) = started {
            probe.phase = Phase::Waiting(client);
        }
        started.is_some()
    }

    /// A final answer, or a provisional one, to OPTIONS of ours.
    pub(super) fn handle_probe_response(&mut self, turn: &mut Turn<'_>, key: Key, status: u16) {
        if status >= 200 {
            // Whoever answers is alive, but for those who say that they can not.
            self.hear_once(turn, key, !matches!(status, 408 | 503));
        }
    }

    /// OPTIONS of ours could not be delivered.
    pub(super) fn handle_probe_failure(&mut self, turn: &mut Turn<'_>, key: Key) {
        self.hear_once(turn, key, false);
    }

    fn hear_once(&mut self, turn: &mut Turn<'_>, key: Key, alive: bool) {
        if let Some(probe) = self.probes.slab.get_mut(key)
            && matches!(probe.phase, Phase::Waiting(_))
        {
            probe.phase = Phase::Answered;
            self.hear(turn, key, alive);
        }
    }

    /// A target was found dead or alive: every shard is told what is new to it.
    fn hear(&mut self, turn: &mut Turn<'_>, key: Key, alive: bool) {
        let Some(probe) = self.probes.slab.get_mut(key) else {
            return;
        };
        let was_alive = std::mem::replace(&mut probe.alive, alive);
        let (trunk, target) = (probe.trunk, probe.target);
        self.set_target_state(turn, trunk, target, alive);
        if alive && was_alive {
            return;
        }
        let state = ShardMessage::TargetState {
            trunk,
            target,
            alive,
        };
        for shard in (0..turn.settings.shards).map(ShardId) {
            if shard != turn.shard {
                // What a full queue loses is said again with the next OPTIONS, or found out.
                turn.out.try_to_shard(shard, state, &[]);
            }
        }
    }

    /// This shard or another one has asked a target.
    pub(crate) fn set_target_state(
        &mut self,
        turn: &Turn<'_>,
        trunk: TrunkId,
        target: u16,
        alive: bool,
    ) {
        let now = turn.now.time;
        if alive {
            self.health.set_alive(trunk, target);
        } else {
            let until = now.plus_ms(down_ms(turn.settings));
            self.health.set_down(trunk, target, until);
        }
    }

    fn arm_probe(&self, turn: &mut Turn<'_>, key: Key, after_ms: u64) {
        let at = turn.now.time.plus_ms(after_ms);
        let kind = TimerKind::Target;
        turn.wheel.insert(at, Timer { kind, key });
    }
}

/// RFC 3261 §11.1. Call-ID and tag name the probe, so that one target sees one caller.
fn write_options(
    turn: &Turn<'_>,
    sequence: u32,
    key: Key,
    client: ClientId,
    listener: crate::sip::ListenerId,
    host: &str,
    out: &mut Writer<'_>,
) {
    let Some(listener) = forward::listener(turn.settings, listener) else {
        return;
    };
    let sent_by = listener.sent_by.as_bytes();
    let branch = Branch {
        shard: turn.shard,
        transaction: Some(client.0),
        loop_hash: 0,
    };
    let put = |out: &mut Writer<'_>, parts: &[&[u8]]| parts.iter().for_each(|part| out.put(part));
    put(
        out,
        &[
            b"OPTIONS sip:",
            host.as_bytes(),
            b" SIP/2.0\r\nVia: SIP/2.0/UDP ",
            sent_by,
        ],
    );
    out.put(b";branch=");
    branch.write(turn.keys, turn.settings.node, &[], out);
    put(
        out,
        &[
            b"\r\nMax-Forwards: 70\r\nFrom: <sip:",
            sent_by,
            b">;tag=probe-",
        ],
    );
    out.put_decimal(u64::from(key.slot));
    put(out, &[b"\r\nTo: <sip:", host.as_bytes(), b">\r\nCall-ID: "]);
    for number in [
        turn.keys.boot,
        u32::from(turn.shard.0),
        key.slot,
        key.generation,
    ] {
        out.put_decimal(u64::from(number));
        out.put(b"-");
    }
    put(out, &[b"@", sent_by, b"\r\nCSeq: "]);
    out.put_decimal(u64::from(sequence));
    put(
        out,
        &[
            b" OPTIONS\r\nContact: <sip:",
            sent_by,
            b">\r\nAccept: application/sdp\r\n",
        ],
    );
    out.put(b"Content-Length: 0\r\n\r\n");
}
