//! When exchanges start and how they are accounted for: a fixed schedule (open loop) or a window
//! (closed loop), one slot per exchange, retransmission as RFC 3261 §17.1 has it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

use hdrhistogram::Histogram;

use crate::report::{Latency, Report, kernel_drops};

/// RFC 3261 §17.1.1.1: T1.
pub(crate) const T1_NS: u64 = 500_000_000;
/// RFC 3261 §17.1.2.2: T2.
const T2_NS: u64 = 4_000_000_000;

/// How a run is driven.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Exchanges per second on a fixed schedule; 0 = as many as the window allows.
    pub(crate) rate: f64,
    /// Most exchanges in progress.
    pub(crate) window: usize,
    /// Seconds measured.
    pub(crate) seconds: f64,
    /// Seconds before that which are not measured.
    pub(crate) warmup: f64,
    /// Exchanges at most, 0 = unlimited.
    pub(crate) count: u64,
    /// Seconds after which an exchange counts as lost.
    pub(crate) timeout: f64,
}

/// An exchange in progress: slot and sequence number, written into its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Exchange {
    /// The slot.
    pub(crate) slot: u32,
    /// The sequence number of the slot; another one means that exchange has ended.
    pub(crate) sequence: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    sequence: u32,
    busy: bool,
    /// When it should have started, nanoseconds since the run began.
    intended: u64,
    /// Which exchange of the run it is.
    index: u64,
    measured: bool,
    /// The current request's answer has not come; it is sent again.
    unanswered: bool,
    /// Rises with every new request of the exchange, so that an old timer does nothing.
    step: u16,
}

/// What a scenario does.
pub(crate) trait Scenario {
    /// Sends the first request of exchange `index`.
    fn start(&mut self, run: &mut Run, exchange: Exchange, index: u64);
    /// Sends the current request of an exchange again.
    fn again(&mut self, run: &mut Run, exchange: Exchange);
    /// Takes what came in; how many datagrams there were.
    ///
    /// # Errors
    /// What the kernel says.
    fn receive(&mut self, run: &mut Run) -> std::io::Result<usize>;
    /// Gives what is queued to the kernel.
    ///
    /// # Errors
    /// What the kernel says.
    fn flush(&mut self) -> std::io::Result<()>;
    /// Datagrams sent and received so far.
    fn datagrams(&self) -> (u64, u64);
    /// An exchange was given up.
    fn lost(&mut self, exchange: Exchange);
}

/// The books of a run.
#[derive(Debug)]
pub(crate) struct Run {
    began: Instant,
    slots: Vec<Slot>,
    free: Vec<u32>,
    first_timer: VecDeque<(u64, Exchange, u16)>,
    later_timers: BinaryHeap<Reverse<(u64, u64, Exchange, u16)>>,
    deadlines: VecDeque<(u64, Exchange)>,
    latency: Histogram<u64>,
    lag: Histogram<u64>,
    report: Report,
    /// The clock, read once per round.
    pub(crate) now: u64,
}

impl Run {
    fn new(window: usize) -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, 120_000_000_000, 3).expect("the bounds are valid");
        Self {
            began: Instant::now(),
            slots: vec![Slot::default(); window],
            free: (0..window as u32).rev().collect(),
            first_timer: VecDeque::with_capacity(window),
            later_timers: BinaryHeap::with_capacity(1024),
            deadlines: VecDeque::with_capacity(window),
            latency: histogram(),
            lag: histogram(),
            report: Report::default(),
            now: 0,
        }
    }

    /// True while `exchange` is in progress.
    pub(crate) fn is_live(&self, exchange: Exchange) -> bool {
        self.slots
            .get(exchange.slot as usize)
            .is_some_and(|slot| slot.busy && slot.sequence == exchange.sequence)
    }

    /// Which exchange of the run it is.
    pub(crate) fn index(&self, exchange: Exchange) -> u64 {
        self.slots[exchange.slot as usize].index
    }

    /// A request of `exchange` was sent that must be answered.
    pub(crate) fn expect_answer(&mut self, exchange: Exchange) {
        let slot = &mut self.slots[exchange.slot as usize];
        slot.unanswered = true;
        slot.step = slot.step.wrapping_add(1);
        self.first_timer
            .push_back((self.now + T1_NS, exchange, slot.step));
    }

    /// The current request was answered, finally or provisionally.
    pub(crate) fn answered(&mut self, exchange: Exchange) {
        self.slots[exchange.slot as usize].unanswered = false;
    }

    /// A challenge was met on the way.
    pub(crate) fn challenged(&mut self, exchange: Exchange) {
        self.report.challenged += u64::from(self.slots[exchange.slot as usize].measured);
    }

    /// The part of the exchange whose latency counts is over.
    pub(crate) fn reached(&mut self, exchange: Exchange) {
        let slot = self.slots[exchange.slot as usize];
        if slot.measured {
            self.latency
                .saturating_record(self.now.saturating_sub(slot.intended));
        }
    }

    /// The exchange ended as it should.
    pub(crate) fn complete(&mut self, exchange: Exchange) {
        if self.end(exchange) {
            self.report.completed += 1;
        }
    }

    /// The exchange was answered otherwise.
    pub(crate) fn refuse(&mut self, exchange: Exchange, status: u16) {
        if self.end(exchange) {
            *self.report.refused.entry(status).or_default() += 1;
        }
    }

    /// Frees the slot; true when the exchange was measured.
    fn end(&mut self, exchange: Exchange) -> bool {
        let slot = &mut self.slots[exchange.slot as usize];
        slot.busy = false;
        self.report.exchanges += 1;
        slot.sequence = slot.sequence.wrapping_add(1);
        self.free.push(exchange.slot);
        slot.measured
    }

    fn begin(&mut self, intended: u64, index: u64, measured: bool) -> Option<Exchange> {
        let slot = self.free.pop()?;
        let entry = &mut self.slots[slot as usize];
        entry.busy = true;
        entry.intended = intended;
        entry.index = index;
        entry.measured = measured;
        entry.unanswered = false;
        if measured {
            self.report.started += 1;
            self.lag
                .saturating_record(self.now.saturating_sub(intended));
        }
        Some(Exchange {
            slot,
            sequence: entry.sequence,
        })
    }

    fn timers(&mut self, scenario: &mut impl Scenario, timeout: u64) {
        while let Some(&(due, exchange, step)) = self.first_timer.front() {
            if due > self.now {
                break;
            }
            self.first_timer.pop_front();
            self.send_again(scenario, exchange, step, T1_NS);
        }
        while let Some(&Reverse((due, interval, exchange, step))) = self.later_timers.peek() {
            if due > self.now {
                break;
            }
            self.later_timers.pop();
            self.send_again(scenario, exchange, step, interval);
        }
        while let Some(&(began, exchange)) = self.deadlines.front() {
            if self.is_live(exchange) && began + timeout > self.now {
                break;
            }
            self.deadlines.pop_front();
            if self.is_live(exchange) {
                scenario.lost(exchange);
                if self.end(exchange) {
                    self.report.lost += 1;
                }
            }
        }
    }

    fn send_again(
        &mut self,
        scenario: &mut impl Scenario,
        exchange: Exchange,
        step: u16,
        interval: u64,
    ) {
        let slot = self.slots[exchange.slot as usize];
        if !self.is_live(exchange) || !slot.unanswered || slot.step != step {
            return;
        }
        self.report.retransmissions += u64::from(slot.measured);
        scenario.again(self, exchange);
        let next = (2 * interval).min(T2_NS);
        self.later_timers
            .push(Reverse((self.now + next, next, exchange, step)));
    }
}

/// Runs `scenario` under `load`.
///
/// # Errors
/// What the kernel says to a send or receive.
pub(crate) fn run(scenario: &mut impl Scenario, load: Load, name: &str) -> std::io::Result<Report> {
    let mut run = Run::new(load.window);
    let ns = |seconds: f64| (seconds * 1e9) as u64;
    let (warmup, end) = (ns(load.warmup), ns(load.warmup + load.seconds));
    let timeout = ns(load.timeout);
    let mut next_index = 0u64;
    let mut base: Option<(u64, u64, u64)> = None;
    let mut measured_end = None;
    loop {
        run.now = run.began.elapsed().as_nanos() as u64;
        if base.is_none() && run.now >= warmup {
            let (sent, received) = scenario.datagrams();
            base = Some((sent, received, kernel_drops()));
        }
        let over = run.now >= end || (load.count > 0 && next_index >= load.count);
        if over && measured_end.is_none() {
            measured_end = Some(run.now);
        }
        if over && (run.free.len() == run.slots.len() || run.now >= end + timeout) {
            break;
        }
        let mut started = 0;
        while !over && started < 64 {
            let intended = if load.rate > 0.0 {
                (next_index as f64 * 1e9 / load.rate) as u64
            } else {
                run.now
            };
            if intended > run.now {
                break;
            }
            let Some(exchange) = run.begin(intended, next_index, intended >= warmup) else {
                break;
            };
            run.deadlines.push_back((run.now, exchange));
            scenario.start(&mut run, exchange, next_index);
            next_index += 1;
            started += 1;
            if load.count > 0 && next_index >= load.count {
                break;
            }
        }
        scenario.flush()?;
        while scenario.receive(&mut run)? == 64 {
            scenario.flush()?;
        }
        scenario.flush()?;
        run.timers(scenario, timeout);
    }
    let (sent, received) = scenario.datagrams();
    let (sent_before, received_before, drops_before) = base.unwrap_or_default();
    let seconds = measured_end.unwrap_or(run.now).saturating_sub(warmup) as f64 / 1e9;
    let mut report = run.report;
    report.scenario = name.to_owned();
    report.seconds = seconds;
    report.rate = report.completed as f64 / seconds.max(1e-9);
    report.datagrams_sent = sent - sent_before;
    report.datagrams_received = received - received_before;
    report.kernel_drops = kernel_drops().saturating_sub(drops_before);
    report.latency_us = Latency::of(&run.latency);
    report.lag_us = Latency::of(&run.lag);
    Ok(report)
}
