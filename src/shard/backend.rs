//! What a reactor needs of the kernel, and what both ways of getting it share.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::arena::Arena;
use super::listeners::ShardSockets;
use super::stats::Stats;
use super::sys::{self, RawAddress};
use crate::limits;
use crate::sip::{ListenerId, SourceAddr};

/// A datagram in a receive buffer of the backend.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Datagram {
    /// The listener it came in by.
    pub(super) listener: ListenerId,
    /// Who sent it.
    pub(super) peer: SourceAddr,
    /// Which buffer.
    pub(super) buffer: u16,
    /// Its length in octets.
    pub(super) length: u32,
}

/// What the kernel has to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A datagram arrived; its buffer must be released.
    Datagram(Datagram),
    /// A send to this peer failed, or an ICMP error came back for it.
    Unreachable(ListenerId, SourceAddr),
}

/// A way of exchanging datagrams with the kernel; one per shard, used by its thread alone.
pub(super) trait Backend {
    /// The next input that has been fetched.
    fn poll(&mut self, stats: &mut Stats) -> Option<Input>;

    /// The octets of a datagram.
    fn octets(&self, datagram: &Datagram) -> &[u8];

    /// Gives the buffer of a datagram back.
    fn release(&mut self, datagram: Datagram);

    /// Sends a copy of `bytes`; submits early when there is no room.
    fn send(&mut self, to: ListenerId, peer: SourceAddr, bytes: &[u8], stats: &mut Stats);

    /// Submits what is to be sent and fetches what has arrived, without blocking. True when there
    /// was anything of either.
    fn exchange(&mut self, stats: &mut Stats) -> bool;

    /// Sleeps until something arrives, the shard's event is signalled or the time is over.
    fn park(&mut self, timeout: Duration, stats: &mut Stats);

    /// The sockets it reads and writes.
    fn sockets(&self) -> &ShardSockets;

    /// Ends everything that is under way, so that the sockets are free when they are closed.
    fn close(&mut self);
}

/// Peers that could not be reached, waiting for the core. Bounded: what does not fit is counted.
#[derive(Debug)]
pub(super) struct Unreachable {
    waiting: VecDeque<(ListenerId, SourceAddr)>,
    /// True when the last input was one of these.
    is_served: bool,
}

impl Unreachable {
    /// None.
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::with_capacity(limits::UNREACHABLE_MAX),
            is_served: false,
        }
    }

    /// One more.
    fn push(&mut self, listener: ListenerId, peer: SourceAddr, stats: &mut Stats) {
        if self.waiting.len() == limits::UNREACHABLE_MAX {
            stats.unreachable_lost += 1;
        } else {
            self.waiting.push_back((listener, peer));
        }
    }

    /// The oldest, by turns with datagrams while these wait too: a flood of ICMP errors takes at
    /// most half of what a turn takes in.
    #[inline]
    pub(super) fn pop(&mut self, datagrams_wait: bool) -> Option<Input> {
        if self.waiting.is_empty() {
            return None;
        }
        if datagrams_wait && self.is_served {
            self.is_served = false;
            return None;
        }
        self.is_served = true;
        self.waiting
            .pop_front()
            .map(|(listener, peer)| Input::Unreachable(listener, peer))
    }

    /// True when none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Reads what ICMP errors wait at socket `index`.
    pub(super) fn read_socket(&mut self, sockets: &ShardSockets, index: usize, stats: &mut Stats) {
        for _ in 0..limits::UNREACHABLE_MAX {
            match sys::read_error(sockets.fd(index)) {
                Ok(Some(queued)) => {
                    // "Too large" speaks of the path, not of the peer: the kernel fragments.
                    let Some(peer) = queued.peer.filter(|_| queued.errno != libc::EMSGSIZE) else {
                        continue;
                    };
                    stats.unreachable += 1;
                    self.push(sockets.id(index), peer, stats);
                }
                Ok(None) => return,
                Err(_) => {
                    stats.receive_errors += 1;
                    return;
                }
            }
        }
    }

    /// Deals with a send that the kernel refused.
    ///
    /// An ICMP error waiting at the socket fails the next send whoever it is for, so the errors
    /// are read and the send is tried once more; what fails then is its own fault.
    pub(super) fn on_send_failed(
        &mut self,
        sockets: &ShardSockets,
        arena: &Arena,
        slot: usize,
        errno: i32,
        stats: &mut Stats,
    ) {
        let slot = arena.slot(slot);
        if is_congestion(errno) {
            stats.sends_blocked += 1;
            return;
        }
        let Some(index) = sockets.index_of(slot.listener) else {
            self.refuse(slot.listener, slot.peer, stats);
            return;
        };
        self.read_socket(sockets, index, stats);
        stats.sends_repeated += 1;
        match sys::send_one(sockets.fd(index), arena.octets(slot), &slot.to) {
            Ok(()) => stats.sent += 1,
            Err(error) if error.raw_os_error().is_some_and(is_congestion) => {
                stats.sends_blocked += 1;
            }
            Err(_) => self.refuse(slot.listener, slot.peer, stats),
        }
    }

    /// A send that can not be made.
    pub(super) fn refuse(&mut self, listener: ListenerId, peer: SourceAddr, stats: &mut Stats) {
        stats.sends_refused += 1;
        self.push(listener, peer, stats);
    }
}

/// True for errors that mean "no room now": the datagram is lost as if on the network, and says
/// nothing about its peer.
fn is_congestion(errno: i32) -> bool {
    matches!(
        errno,
        libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR
    )
}

/// The error number of `error`; 0 for one that did not come from the system.
pub(super) fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

/// Room in a receive buffer for what stands before the payload, the peer's address among it.
pub(super) const RECEIVE_HEAD_BYTES: usize = 64;
const _: () = assert!(16 + RawAddress::CAPACITY <= RECEIVE_HEAD_BYTES);

/// From one receive buffer to the next: a largest datagram and its head, in whole pages plus one
/// cache line. Were it a power of two, the first lines of all buffers would share a few sets of
/// the cache; the odd line spreads them over all sets.
pub(super) const RECEIVE_STRIDE_BYTES: usize =
    (RECEIVE_HEAD_BYTES + limits::DATAGRAM_BYTES_MAX).next_multiple_of(4096) + 64;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn icmp_errors_and_datagrams_are_served_by_turns() {
        let mut unreachable = Unreachable::new();
        let mut stats = Stats::default();
        let peer = SourceAddr::from("192.0.2.1:9".parse::<std::net::SocketAddr>().unwrap());
        for _ in 0..limits::UNREACHABLE_MAX + 5 {
            unreachable.refuse(ListenerId(0), peer, &mut stats);
        }
        assert_eq!(stats.unreachable_lost, 5);
        let served = (0..100).filter(|_| unreachable.pop(true).is_some()).count();
        assert_eq!(served, 50);
        assert!((0..100).all(|_| unreachable.pop(false).is_some()));
    }
}
