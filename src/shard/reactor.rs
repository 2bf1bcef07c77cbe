//! The turn of a shard: datagrams, timers, messages, commands, tables; then one exchange with the
//! kernel.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel;
use crossbeam::queue::ArrayQueue;

use super::backend::{Backend, Datagram, Input};
use super::clock::Clock;
use super::core::Core;
use super::poison::Poisons;
use super::post::Post;
use super::runtime::Config;
use super::spin::Spin;
use super::stats::{Published, Stats};
use super::sys;
use super::tables::TablesCell;
use super::wake::Doorbell;
use crate::limits;
use crate::sip::{
    Action, Arrival, Command, Flow, ListenerId, Now, Outbox, Report, ShardId, ShardMessage,
    SourceAddr, Time,
};

/// What the turns that did work are measured by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Meter {
    /// The turn's own reading of the monotonic clock: costs nothing, and is right where a shard
    /// has its core for itself.
    #[default]
    Monotonic,
    /// The thread's CPU clock: one system call more per turn, for benches.
    ThreadCpu,
}

/// What a shard shares with the others and with the control side.
#[derive(Debug)]
pub(super) struct Shared {
    /// Which shard.
    pub(super) shard: ShardId,
    /// Rung by whoever has work for it.
    pub(super) doorbell: Arc<Doorbell>,
    /// Commands of the control side.
    pub(super) commands: Arc<ArrayQueue<Command>>,
    /// Reports to the control side.
    pub(super) reports: channel::Sender<(ShardId, Box<Report>)>,
    /// Tenant tables.
    pub(super) tables: Arc<TablesCell>,
    /// Numbers for the control side.
    pub(super) published: Arc<Published>,
    /// True = end.
    pub(super) stop: Arc<AtomicBool>,
}

/// One shard: its core, its backend and its ends of the queues.
pub(super) struct Reactor<C, B> {
    core: C,
    backend: B,
    shared: Shared,
    post: Post,
    out: Outbox,
    clock: Clock,
    poisons: Poisons,
    spin: Spin,
    meter: Meter,
    stats: Stats,
    /// Publications of tables seen.
    tables_seen: u64,
    /// Reports that the channel had no room for; no command is taken while there are any.
    reports: VecDeque<Box<Report>>,
    /// True while commands may wait.
    control_rang: bool,
    published_at: Time,
    /// When the sockets are next asked what they dropped: a system call each.
    sockets_due: Time,
}

impl<C: Core, B: Backend> Reactor<C, B> {
    /// A shard about to run, its parcels made.
    pub(super) fn new(
        core: C,
        backend: B,
        shared: Shared,
        mut post: Post,
        config: &Config,
    ) -> Self {
        post.fill();
        let mut clock = Clock::new(config.origin);
        let tables_generation = config.tables.generation;
        Self {
            core,
            backend,
            shared,
            post,
            out: Outbox::new(),
            poisons: Poisons::new(config.poison.clone(), clock.now().time),
            clock,
            spin: Spin::new(config.spin_us_max),
            meter: config.meter,
            stats: Stats {
                tables_generation,
                ..Stats::default()
            },
            tables_seen: 0,
            reports: VecDeque::with_capacity(2 * limits::OUTBOX_ACTIONS_MAX),
            control_rang: true,
            published_at: Time(0),
            sockets_due: Time(0),
        }
    }

    /// Runs until it is told to stop; gives the core back.
    pub(super) fn run(mut self) -> C {
        let mut now = self.clock.now();
        let mut mark = self.read_meter(now);
        while !self.shared.stop.load(Ordering::Relaxed) {
            let busy = self.turn(now);
            let before = now;
            now = self.clock.now();
            let last = mark;
            mark = self.read_meter(now);
            self.stats.turns += 1;
            if busy {
                self.stats.busy_turns += 1;
                self.stats.busy_ns += mark - last;
                self.spin.on_work();
            } else if self.spin.on_idle(before.time) && self.park(now) {
                now = self.clock.now();
                mark = match self.meter {
                    // The time asleep is no work.
                    Meter::Monotonic => now.time.0,
                    // Asleep no CPU is used; being woken and fetching what came is work.
                    Meter::ThreadCpu => mark,
                };
            }
            if now.time.since(self.published_at) >= Duration::from_millis(limits::PUBLISH_MS) {
                self.publish(now);
            }
        }
        self.backend.close();
        self.publish(now);
        self.core
    }

    /// One turn. True when it did work.
    fn turn(&mut self, now: Now) -> bool {
        let mut busy = self.take_inputs(now);
        busy |= self.run_timers(now);
        busy |= self.take_messages(now);
        if self.shared.doorbell.take_control() || self.control_rang || !self.reports.is_empty() {
            busy |= self.take_control(now);
        }
        if self.post.has_peers() {
            self.post.ring(&mut self.stats);
            self.post.reclaim();
        }
        busy | self.backend.exchange(&mut self.stats)
    }

    /// Gives the core what the kernel had to say.
    fn take_inputs(&mut self, now: Now) -> bool {
        for count in 0..limits::TURN_COMPLETIONS_MAX {
            match self.backend.poll(&mut self.stats) {
                Some(Input::Datagram(datagram)) => self.on_datagram(now, datagram),
                Some(Input::Unreachable(listener, peer)) => {
                    self.on_unreachable(now, listener, peer);
                }
                None => return count > 0,
            }
        }
        true
    }

    #[inline]
    fn on_datagram(&mut self, now: Now, datagram: Datagram) {
        self.post.tell_room(&mut self.out, &mut self.stats);
        let (listener, peer) = (datagram.listener, datagram.peer);
        let arrival = Arrival {
            flow: Flow::Udp { listener, peer },
        };
        let bytes = self.backend.octets(&datagram);
        if self.poisons.is_poison(now.time, peer, bytes) {
            self.stats.poisoned += 1;
        } else {
            let (core, out) = (&mut self.core, &mut self.out);
            sys::hold(peer, bytes, |bytes| {
                core.handle_message(now, arrival, bytes, out)
            });
        }
        self.backend.release(datagram);
        self.carry_out();
    }

    fn on_unreachable(&mut self, now: Now, listener: ListenerId, peer: SourceAddr) {
        self.post.tell_room(&mut self.out, &mut self.stats);
        self.core
            .handle_unreachable(now, Flow::Udp { listener, peer }, &mut self.out);
        self.carry_out();
    }

    fn run_timers(&mut self, now: Now) -> bool {
        let is_due = self.core.poll_timeout().is_some_and(|due| due <= now.time);
        if is_due {
            self.post.tell_room(&mut self.out, &mut self.stats);
            self.core.handle_timeout(now, &mut self.out);
            self.carry_out();
        }
        is_due
    }

    /// Takes messages of other shards.
    fn take_messages(&mut self, now: Now) -> bool {
        if !self.post.has_peers() {
            return false;
        }
        self.post.mark_ready(self.shared.doorbell.take_shards());
        for count in 0..limits::TURN_MESSAGES_MAX {
            let Some(taken) = self.post.take() else {
                return count > 0;
            };
            self.stats.hops_received += 1;
            self.post.tell_room(&mut self.out, &mut self.stats);
            let (from, parcel) = (taken.from, taken.parcel);
            let message = parcel.message;
            let (core, out) = (&mut self.core, &mut self.out);
            let octets = &parcel.octets;
            match source_of(&message) {
                Some(source) => sys::hold(source, octets, |octets| {
                    core.handle_shard_message(now, from, message, octets, out);
                }),
                None => core.handle_shard_message(now, from, message, octets, out),
            }
            self.post.finish(from, parcel);
            self.carry_out();
        }
        true
    }

    /// Takes tables and commands of the control side.
    fn take_control(&mut self, now: Now) -> bool {
        self.control_rang = false;
        let mut busy = self.take_tables(now);
        self.flush_reports();
        for _ in 0..limits::TURN_MESSAGES_MAX {
            if !self.reports.is_empty() {
                break;
            }
            let Some(command) = self.shared.commands.pop() else {
                return busy;
            };
            busy = true;
            self.stats.commands += 1;
            self.post.tell_room(&mut self.out, &mut self.stats);
            self.core.handle_command(now, command, &mut self.out);
            self.carry_out();
        }
        self.control_rang = true;
        busy
    }

    /// Picks up new tables.
    fn take_tables(&mut self, now: Now) -> bool {
        let Some(tables) = self.shared.tables.newer(&mut self.tables_seen) else {
            return false;
        };
        self.stats.tables_generation = tables.generation;
        self.post.tell_room(&mut self.out, &mut self.stats);
        let old = self.core.handle_tables(now, tables, &mut self.out);
        self.shared.tables.give_back(old);
        self.carry_out();
        self.publish(now);
        true
    }

    /// Does what the core wants done.
    #[inline]
    fn carry_out(&mut self) {
        let mut has_reports = false;
        for action in self.out.actions() {
            match action {
                Action::Send(send) => match send.flow {
                    Flow::Udp { listener, peer } => {
                        let octets = self.out.octets(&send.bytes);
                        self.backend.send(listener, peer, octets, &mut self.stats);
                    }
                    // No connection was ever accepted, so none of that name exists.
                    Flow::Stream { .. } => self.stats.sends_refused += 1,
                },
                Action::ToShard(to, message, range) => {
                    self.stats.hops += 1;
                    self.post.send(*to, *message, self.out.octets(range));
                }
                Action::Report(_) => has_reports = true,
            }
        }
        if has_reports {
            self.reports.extend(self.out.take_reports());
            self.flush_reports();
        }
        self.out.clear();
    }

    /// Gives reports to the control side, as many as there is room for.
    fn flush_reports(&mut self) {
        while let Some(report) = self.reports.pop_front() {
            match self.shared.reports.try_send((self.shared.shard, report)) {
                Ok(()) => {}
                Err(channel::TrySendError::Full((_, report))) => {
                    self.reports.push_front(report);
                    break;
                }
                Err(channel::TrySendError::Disconnected(_)) => self.stats.reports_lost += 1,
            }
        }
        if self.reports.len() > limits::OUTBOX_ACTIONS_MAX {
            self.stats.reports_lost +=
                self.reports.drain(limits::OUTBOX_ACTIONS_MAX..).count() as u64;
        }
    }

    /// Sleeps until there is work. False when there is some already.
    fn park(&mut self, now: Now) -> bool {
        let longest_ms = match self.reports.is_empty() {
            true => limits::PARK_MS_MAX,
            // Nobody rings when the control side has made room for reports.
            false => limits::PUBLISH_MS,
        };
        let longest = Duration::from_millis(longest_ms);
        let timeout = match self.core.poll_timeout() {
            Some(due) if due <= now.time => return false,
            Some(due) => due.since(now.time).min(longest),
            None => longest,
        };
        let commands_wait = self.control_rang && self.reports.is_empty();
        if commands_wait || self.post.is_ready() {
            return false;
        }
        self.publish(now);
        if !self.shared.doorbell.try_park() {
            return false;
        }
        self.stats.parks += 1;
        self.backend.park(timeout, &mut self.stats);
        self.shared.doorbell.unpark();
        let end = self.clock.now().time;
        let worked = end.since(now.time) < timeout;
        self.spin.on_slept(now.time, end, worked);
        true
    }

    fn publish(&mut self, now: Now) {
        self.stats.set_usage(self.core.usage());
        self.published_at = now.time;
        if now.time >= self.sockets_due {
            self.sockets_due = now.time.plus_ms(limits::PARK_MS_MAX);
            self.stats.overflowed = self.backend.sockets().dropped();
        }
        self.shared
            .published
            .publish(self.core.counters(), &self.stats);
    }

    #[inline]
    fn read_meter(&self, now: Now) -> u64 {
        match self.meter {
            Meter::Monotonic => now.time.0,
            Meter::ThreadCpu => sys::thread_cpu_ns(),
        }
    }
}

/// Who sent the datagram that a message between shards carries.
fn source_of(message: &ShardMessage) -> Option<SourceAddr> {
    match message {
        ShardMessage::HandOver { arrival }
        | ShardMessage::Register { arrival }
        | ShardMessage::Cancel { arrival, .. } => Some(arrival.flow.peer()),
        ShardMessage::CancelTaken { .. }
        | ShardMessage::Locate { .. }
        | ShardMessage::Located { .. }
        | ShardMessage::Permit { .. }
        | ShardMessage::Permitted { .. }
        | ShardMessage::Release { .. }
        | ShardMessage::TargetState { .. }
        | ShardMessage::Unreachable { .. } => None,
    }
}
