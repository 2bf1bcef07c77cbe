//! The generator: a core that keeps a window of requests under way, and is the far side of relays.

use std::net::SocketAddr;
use std::sync::Arc;

use ringfence::shard::Core;
use ringfence::sip::{
    Arrival, Command, Counter, Counters, Flow, ListenerId, Now, Outbox, ShardId, ShardMessage,
    SourceAddr, Time,
};
use ringfence::tenant::Tables;

/// Requests sent by one call when the window is filled.
const FILL: u32 = 64;

/// How long nothing may come back before the window is taken to be lost.
const SILENCE_MS: u64 = 100;

/// What is sent: the same octets, but for eight digits that number the request.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    /// Where the digits stand.
    digits: Vec<usize>,
}

impl Template {
    /// `text`, in which every run of eight `#` becomes the number of the request in hexadecimal
    /// digits.
    #[must_use]
    pub(crate) fn new(text: &[u8]) -> Self {
        let mark = b"########";
        let digits = text
            .windows(mark.len())
            .enumerate()
            .filter(|(_, window)| window == mark)
            .map(|(at, _)| at)
            .collect();
        Self {
            bytes: text.to_vec(),
            digits,
        }
    }

    /// `length` octets that start with the number.
    #[must_use]
    pub(crate) fn plain(length: usize) -> Self {
        let mut text = b"########".to_vec();
        text.resize(length.max(text.len()), b'x');
        Self::new(&text)
    }

    /// The request of that number.
    fn number(&mut self, number: u32) -> &[u8] {
        for &at in &self.digits {
            for (place, digit) in self.bytes[at..at + 8].iter_mut().enumerate() {
                let value = number >> (28 - 4 * place) & 0xf;
                *digit = b"0123456789abcdef"[value as usize];
            }
        }
        &self.bytes
    }
}

/// The core of the generator.
pub(super) struct Generator {
    target: SourceAddr,
    flows: u8,
    window: u32,
    template: Template,
    /// Requests sent; also the number of the next one.
    sent: u32,
    /// Requests still to be sent to fill the window.
    missing: u32,
    running: bool,
    received: u64,
    /// `received` when silence was last looked for, and when that will be again.
    received_then: u64,
    due: Time,
    tables: Arc<Tables>,
    counters: Counters,
}

impl Generator {
    /// A generator that waits for a command.
    pub(super) fn new(target: SocketAddr, flows: u8, window: u32, template: Template) -> Self {
        Self {
            target: target.into(),
            flows,
            window,
            template,
            sent: 0,
            missing: 0,
            running: false,
            received: 0,
            received_then: 0,
            due: Time(0),
            tables: Arc::default(),
            counters: Counters::new(),
        }
    }

    fn send(&mut self, listener: ListenerId, out: &mut Outbox) {
        let flow = Flow::Udp {
            listener,
            peer: self.target,
        };
        self.sent = self.sent.wrapping_add(1);
        if out.send(flow, self.template.number(self.sent)) {
            self.counters.add(Counter::Sent);
        }
    }
}

impl Core for Generator {
    fn handle_message(&mut self, _: Now, arrival: Arrival, bytes: &[u8], out: &mut Outbox) {
        let listener = arrival.flow.listener();
        if listener.0 == self.flows {
            // The far side of a relay: back where it came from.
            out.send(arrival.flow, bytes);
            return;
        }
        self.received += 1;
        self.send(listener, out);
    }

    fn handle_shard_message(
        &mut self,
        _: Now,
        _: ShardId,
        _: ShardMessage,
        _: &[u8],
        _: &mut Outbox,
    ) {
    }

    fn handle_command(&mut self, now: Now, _: Command, _: &mut Outbox) {
        self.running = true;
        self.missing = self.window;
        self.due = now.time;
    }

    fn handle_tables(&mut self, _: Now, tables: Arc<Tables>, _: &mut Outbox) -> Arc<Tables> {
        std::mem::replace(&mut self.tables, tables)
    }

    fn handle_unreachable(&mut self, _: Now, _: Flow, _: &mut Outbox) {}

    fn handle_timeout(&mut self, now: Now, out: &mut Outbox) {
        if self.missing > 0 {
            let count = self.missing.min(FILL);
            self.missing -= count;
            for n in 0..count {
                self.send(ListenerId((n % u32::from(self.flows)) as u8), out);
            }
            if self.missing == 0 {
                self.due = now.time.plus_ms(SILENCE_MS);
            }
            return;
        }
        if self.received == self.received_then {
            self.missing = self.window;
        } else {
            self.due = now.time.plus_ms(SILENCE_MS);
        }
        self.received_then = self.received;
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.running.then_some(self.due)
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}
