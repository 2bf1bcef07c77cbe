//! Datagrams by `recvmmsg` and `sendmmsg`: works where io_uring is forbidden.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use super::arena::Arena;
use super::backend::{Backend, Datagram, Input, RECEIVE_STRIDE_BYTES, Unreachable, errno};
use super::listeners::ShardSockets;
use super::stats::Stats;
use super::sys::{Event, ReceiveBatch, SendBatch, Waiter};
use crate::limits;
use crate::sip::{ListenerId, SourceAddr};

/// Datagrams received per exchange. Measured: larger batches gain nothing on the way in.
const RECEIVE_BATCH: usize = 64;

/// The backend.
pub(super) struct Mmsg {
    sockets: ShardSockets,
    event: Arc<Event>,
    batch: ReceiveBatch,
    /// Places of the batch already polled, and places filled.
    polled: usize,
    filled: usize,
    /// The socket each filled place came from.
    origins: Vec<u8>,
    /// The socket that is asked first next time, so that none starves.
    first: usize,
    arena: Arena,
    sender: SendBatch,
    unreachable: Unreachable,
    waiter: Waiter,
}

impl Mmsg {
    /// A backend over `sockets`.
    pub(super) fn new(sockets: ShardSockets, event: Arc<Event>) -> io::Result<Self> {
        let fds = (0..sockets.len()).map(|index| sockets.fd(index));
        let waiter = Waiter::new(fds.chain([event.as_fd()]));
        let room = limits::DATAGRAM_BYTES_MAX;
        Ok(Self {
            batch: ReceiveBatch::new(RECEIVE_BATCH, room, RECEIVE_STRIDE_BYTES)?,
            polled: 0,
            filled: 0,
            origins: vec![0; RECEIVE_BATCH],
            first: 0,
            arena: Arena::new(),
            sender: SendBatch::new(limits::SUBMISSION_SENDS_MAX),
            unreachable: Unreachable::new(),
            waiter,
            sockets,
            event,
        })
    }

    /// Gives everything in the arena to the kernel, runs of one socket together.
    fn submit(&mut self, stats: &mut Stats) {
        let mut next = 0;
        while next < self.arena.slots().len() {
            next += self.submit_run(next, stats);
        }
        self.arena.clear();
    }

    /// Sends the run of one socket that starts at slot `first`; how many slots were dealt with.
    fn submit_run(&mut self, first: usize, stats: &mut Stats) -> usize {
        let slots = &self.arena.slots()[first..];
        let listener = slots[0].listener;
        let Some(index) = self.sockets.index_of(listener) else {
            let peer = slots[0].peer;
            self.unreachable.refuse(listener, peer, stats);
            return 1;
        };
        let run = slots
            .iter()
            .take_while(|slot| slot.listener == listener)
            .count();
        let arena = &self.arena;
        stats.enters += 1;
        let sent = self.sender.send(self.sockets.fd(index), run, |offset| {
            let slot = &slots[offset];
            (arena.octets(slot), &slot.to)
        });
        match sent {
            Ok(sent) => {
                stats.sent += sent as u64;
                // Nothing sent without an error does not happen; were it so, go on.
                sent.max(1)
            }
            Err(error) => {
                let number = errno(&error);
                self.unreachable
                    .on_send_failed(&self.sockets, arena, first, number, stats);
                1
            }
        }
    }

    /// Fills the batch; every socket gets its turn.
    fn receive(&mut self, stats: &mut Stats) {
        self.polled = 0;
        self.filled = 0;
        let count = self.sockets.len();
        if count > 1 && self.waiter.wait(Some(Duration::ZERO)).is_err() {
            stats.receive_errors += 1;
            return;
        }
        for step in 0..count {
            let index = (self.first + step) % count;
            if self.filled == self.batch.len() {
                break;
            }
            if count == 1 || self.waiter.is_ready(index) {
                self.receive_from(index, stats);
            }
        }
        self.first = (self.first + 1) % count;
    }

    fn receive_from(&mut self, index: usize, stats: &mut Stats) {
        stats.enters += 1;
        match self.batch.receive(self.sockets.fd(index), self.filled) {
            Ok(count) => {
                self.origins[self.filled..self.filled + count].fill(index as u8);
                self.filled += count;
            }
            Err(error) => {
                let is_empty = error.kind() == io::ErrorKind::WouldBlock;
                if !is_empty || self.waiter.has_error(index) {
                    self.unreachable.read_socket(&self.sockets, index, stats);
                }
            }
        }
    }
}

impl Backend for Mmsg {
    fn poll(&mut self, stats: &mut Stats) -> Option<Input> {
        loop {
            if let Some(input) = self.unreachable.pop(self.polled < self.filled) {
                return Some(input);
            }
            let place = self.polled;
            if place == self.filled {
                return None;
            }
            self.polled += 1;
            let received = self.batch.received(place);
            if received.truncated {
                stats.truncated += 1;
                continue;
            }
            let Some(peer) = received.peer else {
                stats.receive_errors += 1;
                continue;
            };
            stats.received += 1;
            return Some(Input::Datagram(Datagram {
                listener: self.sockets.id(usize::from(self.origins[place])),
                peer,
                buffer: place as u16,
                length: received.length as u32,
            }));
        }
    }

    fn octets(&self, datagram: &Datagram) -> &[u8] {
        self.batch
            .octets(usize::from(datagram.buffer), datagram.length as usize)
    }

    fn release(&mut self, datagram: Datagram) {
        // The batch is filled again only after all of its places were polled, and a place is
        // released before the next one is polled.
        debug_assert_eq!(usize::from(datagram.buffer) + 1, self.polled);
    }

    fn send(&mut self, to: ListenerId, peer: SourceAddr, bytes: &[u8], stats: &mut Stats) {
        if !self.arena.has_room(bytes.len()) {
            stats.submissions_early += 1;
            self.submit(stats);
        }
        self.arena.push(to, peer, bytes);
    }

    fn exchange(&mut self, stats: &mut Stats) -> bool {
        let sending = !self.arena.slots().is_empty();
        if sending {
            self.submit(stats);
        }
        if self.polled == self.filled {
            self.receive(stats);
        }
        sending || self.polled < self.filled || !self.unreachable.is_empty()
    }

    fn park(&mut self, timeout: Duration, stats: &mut Stats) {
        match self.waiter.wait(Some(timeout)) {
            Ok(()) => {
                if self.waiter.is_ready(self.sockets.len()) {
                    self.event.clear();
                }
            }
            Err(_) => stats.receive_errors += 1,
        }
    }

    fn sockets(&self) -> &ShardSockets {
        &self.sockets
    }

    fn close(&mut self) {}
}
