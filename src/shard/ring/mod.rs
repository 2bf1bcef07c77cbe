//! Datagrams by io_uring: one ring per shard, multishot receive into provided buffers, plain sends
//! with an address.
//!
//! The ring is owned by the shard's thread (SINGLE_ISSUER) and completions are delivered only when
//! that thread asks (DEFER_TASKRUN), so nothing here is shared. Whatever the kernel hands back
//! (operation, buffer id, length) is checked with `assert!`: a wrong one means memory is being
//! written behind our back.

mod buffers;
mod operation;
mod probe;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::{
    CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue, types,
};

use self::buffers::BufferRing;
use self::operation::Operation;
use super::arena::Arena;
use super::backend::{Backend, Datagram, Input, Unreachable, errno};
use super::listeners::ShardSockets;
use super::stats::Stats;
use super::sys::{Event, RawAddress};
use crate::limits;
use crate::sip::{ListenerId, SourceAddr};

pub(super) use self::probe::{build, is_available};

/// Submission queue entries: all sends of a submission, a receive for every listener, the read of
/// the wake event, and a cancellation.
const SUBMISSION_ENTRIES: u32 =
    (limits::SUBMISSION_SENDS_MAX + limits::LISTENERS_MAX + 2).next_power_of_two() as u32;

/// Completion queue entries: every receive buffer filled, every send of a submission failed, and
/// the end of every other operation.
const COMPLETION_ENTRIES: u32 =
    (limits::RECEIVE_BUFFERS + limits::SUBMISSION_SENDS_MAX + limits::LISTENERS_MAX + 2)
        .next_power_of_two() as u32;

/// Name of the buffer group.
const BUFFER_GROUP: u16 = 0;

/// How often closing looks for the end of the last operations, 10 ms each.
const CLOSE_ROUNDS_MAX: usize = 200;

/// What the wake event's read writes into.
#[repr(C, align(8))]
struct WakeCount([u8; 8]);

/// The backend; borrows the ring, which lives on its thread's stack.
pub(super) struct Uring<'r> {
    submitter: Submitter<'r>,
    submission: SubmissionQueue<'r>,
    completion: CompletionQueue<'r>,
    sockets: ShardSockets,
    _event: Arc<Event>,
    buffers: BufferRing,
    /// What every receive is told: room for the peer's address, no control messages. Boxed, as the
    /// kernel may look at it.
    receive_header: Box<libc::msghdr>,
    /// Where the kernel writes the count of the wake event; touched by nothing else.
    wake_count: Box<WakeCount>,
    /// By socket: true while its multishot receive is under way.
    receiving: Vec<bool>,
    /// The socket whose receive was queued first last time.
    armed_first: usize,
    /// True while the read of the wake event is under way.
    waking: bool,
    /// Receives that completed and were not polled yet.
    completed: VecDeque<(u8, i32, u32)>,
    /// Sends of this submission that failed: slot and error number.
    failed: Vec<(u32, i32)>,
    arena: Arena,
    unreachable: Unreachable,
    closed: bool,
}

impl<'r> Uring<'r> {
    /// A backend over `sockets`, receiving.
    pub(super) fn new(
        ring: &'r mut IoUring,
        sockets: ShardSockets,
        event: Arc<Event>,
    ) -> io::Result<Self> {
        let (mut submitter, submission, completion) = ring.split();
        let event_fd = [event.as_fd().as_raw_fd()];
        let fds: Vec<RawFd> = (0..sockets.len())
            .map(|index| sockets.fd(index).as_raw_fd())
            .chain(event_fd)
            .collect();
        submitter.register_files(&fds)?;
        // Saves a descriptor look-up per call; where it is refused (before 5.18, or a resource
        // limit) everything works without.
        let _ = submitter.register_ring_fd();
        let buffers = BufferRing::register(&submitter, BUFFER_GROUP)?;
        // SAFETY: `msghdr` is plain data for which all zeroes is a valid value.
        let mut receive_header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        receive_header.msg_namelen = RawAddress::CAPACITY as libc::socklen_t;
        Ok(Self {
            submitter,
            submission,
            completion,
            receiving: vec![false; sockets.len()],
            sockets,
            _event: event,
            buffers,
            receive_header,
            wake_count: Box::new(WakeCount([0; 8])),
            armed_first: 0,
            waking: false,
            completed: VecDeque::with_capacity(COMPLETION_ENTRIES as usize),
            failed: Vec::with_capacity(limits::SUBMISSION_SENDS_MAX),
            arena: Arena::new(),
            unreachable: Unreachable::new(),
            closed: false,
        })
    }

    /// Queues one operation, for which there is room: sends are bounded by the arena, the others
    /// are one per socket and one for the event, and all are taken by every submission.
    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: every caller passes an operation whose memory (arena, buffer ring, boxes of this
        // value) lives and stays in place until the operation has completed: sends complete inside
        // the submission, the others are ended by `close` before this value is dropped.
        let pushed = unsafe { self.submission.push(entry) };
        pushed.expect("the queue has an entry for every operation that may be under way");
    }

    /// Queues a receive for every socket that has none, and the read of the wake event. With no
    /// buffer free a receive would end at once, so then it waits for the next exchange.
    fn arm(&mut self) {
        if self.buffers.has_free() {
            // Each time another socket is first: were it always the same one, a flood there could
            // take all buffers every time.
            let count = self.receiving.len();
            self.armed_first = (self.armed_first + 1) % count;
            for step in 0..count {
                let index = (self.armed_first + step) % count;
                if !self.receiving[index] {
                    self.receiving[index] = true;
                    let header = std::ptr::from_ref(&*self.receive_header);
                    let receive =
                        opcode::RecvMsgMulti::new(types::Fixed(index as u32), header, BUFFER_GROUP)
                            .build()
                            .user_data(
                                Operation::Receive {
                                    socket: index as u32,
                                }
                                .encode(),
                            );
                    self.push(&receive);
                }
            }
        }
        if !self.waking {
            self.waking = true;
            let target = self.wake_count.0.as_mut_ptr();
            let event = types::Fixed(self.sockets.len() as u32);
            let read = opcode::Read::new(event, target, self.wake_count.0.len() as u32)
                .build()
                .user_data(Operation::Wake.encode());
            self.push(&read);
        }
    }

    /// One system call: submits what is queued, and fetches or waits for completions. Then deals
    /// with sends that failed and empties the arena.
    fn enter(&mut self, wait: Option<Duration>, stats: &mut Stats) {
        self.submission.sync();
        loop {
            stats.enters += 1;
            let result = match wait {
                None => self.submitter.submit(),
                Some(timeout) => {
                    let limit = types::Timespec::from(timeout);
                    let args = types::SubmitArgs::new().timespec(&limit);
                    self.submitter.submit_with_args(1, &args)
                }
            };
            self.submission.sync();
            self.reap();
            match result {
                Ok(_) if self.submission.is_empty() => break,
                // Taken in part: the rest is submitted by the next round.
                Ok(_) => {}
                Err(error) => match errno(&error) {
                    // The time is over, or a signal: what was queued has been taken.
                    libc::ETIME | libc::EINTR if self.submission.is_empty() => break,
                    // The completion queue was full or memory is short: it was just emptied.
                    libc::EINTR | libc::EBUSY | libc::EAGAIN => {}
                    number => panic!("io_uring_enter fails with error {number}: {error}"),
                },
            }
        }
        self.settle_sends(stats);
    }

    /// Takes all completions off the ring.
    fn reap(&mut self) {
        self.completion.sync();
        for entry in &mut self.completion {
            match Operation::decode(entry.user_data()) {
                Operation::Receive { socket } => {
                    let socket = socket as usize;
                    assert!(
                        socket < self.receiving.len(),
                        "a receive of one of our sockets"
                    );
                    if !cqueue::more(entry.flags()) {
                        self.receiving[socket] = false;
                    }
                    self.completed
                        .push_back((socket as u8, entry.result(), entry.flags()));
                }
                Operation::Send { slot } => {
                    // Successful sends post no completion.
                    assert!(
                        entry.result() < 0,
                        "a send completes with an error or not at all"
                    );
                    self.failed.push((slot, -entry.result()));
                }
                Operation::Wake => self.waking = false,
                Operation::Cancel => {}
            }
        }
        self.completion.sync();
        debug_assert!(self.completed.len() <= COMPLETION_ENTRIES as usize);
    }

    /// Deals with the sends that failed, and empties the arena: all of them are complete, as they
    /// do not wait (MSG_DONTWAIT) and the submission queue is empty.
    fn settle_sends(&mut self, stats: &mut Stats) {
        assert!(
            self.submission.is_empty(),
            "nothing in the arena waits to be submitted"
        );
        stats.sent += (self.arena.slots().len() - self.failed.len()) as u64;
        for (slot, number) in self.failed.drain(..) {
            let slot = slot as usize;
            assert!(slot < self.arena.slots().len(), "a send of this submission");
            self.unreachable
                .on_send_failed(&self.sockets, &self.arena, slot, number, stats);
        }
        self.arena.clear();
    }

    /// What a completed receive means; `None` when it is nothing for the core.
    fn on_received(
        &mut self,
        socket: usize,
        result: i32,
        flags: u32,
        stats: &mut Stats,
    ) -> Option<Input> {
        if result < 0 {
            match -result {
                libc::ENOBUFS => stats.receive_buffers_empty += 1,
                libc::ECANCELED => {}
                _ => {
                    stats.receive_errors += 1;
                    self.unreachable.read_socket(&self.sockets, socket, stats);
                }
            }
            return None;
        }
        let buffer = cqueue::buffer_select(flags).expect("a datagram received is in a buffer");
        let received = self
            .buffers
            .take(buffer, result as usize, &self.receive_header);
        let peer = received.peer.filter(|_| !received.truncated);
        let Some(peer) = peer else {
            if received.truncated {
                stats.truncated += 1;
            } else {
                stats.receive_errors += 1;
            }
            self.buffers.give_back(buffer);
            return None;
        };
        stats.received += 1;
        Some(Input::Datagram(Datagram {
            listener: self.sockets.id(socket),
            peer,
            buffer,
            length: received.length as u32,
        }))
    }
}

impl Backend for Uring<'_> {
    #[inline]
    fn poll(&mut self, stats: &mut Stats) -> Option<Input> {
        loop {
            if let Some(input) = self.unreachable.pop(!self.completed.is_empty()) {
                return Some(input);
            }
            let (socket, result, flags) = self.completed.pop_front()?;
            let input = self.on_received(usize::from(socket), result, flags, stats);
            if input.is_some() {
                return input;
            }
        }
    }

    #[inline]
    fn octets(&self, datagram: &Datagram) -> &[u8] {
        self.buffers
            .octets(datagram.buffer, datagram.length as usize)
    }

    #[inline]
    fn release(&mut self, datagram: Datagram) {
        self.buffers.give_back(datagram.buffer);
    }

    #[inline]
    fn send(&mut self, to: ListenerId, peer: SourceAddr, bytes: &[u8], stats: &mut Stats) {
        let Some(socket) = self.sockets.index_of(to) else {
            self.unreachable.refuse(to, peer, stats);
            return;
        };
        if !self.arena.has_room(bytes.len()) {
            stats.submissions_early += 1;
            self.enter(None, stats);
        }
        let index = self.arena.push(to, peer, bytes);
        let slot = self.arena.slot(index);
        let octets = self.arena.octets(slot);
        // A send that can not be made at once fails instead of waiting, and only a failure posts a
        // completion: so when the submission returns, the kernel is done with the arena.
        let entry = opcode::Send::new(
            types::Fixed(socket as u32),
            octets.as_ptr(),
            octets.len() as u32,
        )
        .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
        .dest_addr(slot.to.as_ptr())
        .dest_addr_len(slot.to.len() as libc::socklen_t)
        .build()
        .flags(squeue::Flags::SKIP_SUCCESS)
        .user_data(Operation::Send { slot: index as u32 }.encode());
        self.push(&entry);
    }

    fn exchange(&mut self, stats: &mut Stats) -> bool {
        let sending = !self.arena.slots().is_empty();
        self.buffers.commit();
        self.arm();
        self.submission.sync();
        // An empty poll costs a look at shared memory and no system call: the kernel raises the
        // flag when it has something that it delivers only when asked.
        if !self.submission.is_empty() || self.submission.taskrun() || self.submission.cq_overflow()
        {
            self.enter(None, stats);
        } else {
            self.reap();
        }
        sending || !self.completed.is_empty() || !self.unreachable.is_empty()
    }

    fn park(&mut self, timeout: Duration, stats: &mut Stats) {
        if self.completed.is_empty() && self.unreachable.is_empty() {
            // The last exchange may have ended a receive or the read of the wake event: asleep
            // without them the shard would hear nothing.
            self.arm();
            self.enter(Some(timeout), stats);
        }
    }

    fn sockets(&self) -> &ShardSockets {
        &self.sockets
    }

    fn close(&mut self) {
        if self.closed {
            return;
        }
        self.closed = true;
        let mut stats = Stats::default();
        let cancel = opcode::AsyncCancel2::new(types::CancelBuilder::any())
            .build()
            .user_data(Operation::Cancel.encode());
        self.push(&cancel);
        for _ in 0..CLOSE_ROUNDS_MAX {
            self.enter(Some(Duration::from_millis(10)), &mut stats);
            if !self.waking && !self.receiving.contains(&true) {
                break;
            }
        }
        let ended = !self.waking && !self.receiving.contains(&true);
        let released = self.buffers.unregister(&self.submitter, BUFFER_GROUP);
        // The ring holds the registered files; without this the ports stay bound until the kernel
        // gets round to tearing the ring down.
        let files = self.submitter.unregister_files();
        assert!(
            ended && released.is_ok() && files.is_ok(),
            "the kernel still writes into memory that is about to be freed"
        );
    }
}

impl Drop for Uring<'_> {
    fn drop(&mut self) {
        // Without this the kernel could write into buffers that are gone.
        self.close();
    }
}
