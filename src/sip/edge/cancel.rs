//! A CANCEL that finds no transaction at home is offered once to every other shard before 481.

use super::Parts;
use crate::limits::CANCEL_QUESTIONS_MAX;
use crate::sip::admission::Refusal;
use crate::sip::proxy::{key_of, question_of};
use crate::sip::transaction::ServerMatch;
use crate::sip::turn::Turn;
use crate::sip::{Arrival, BufferId, Counter, Disposition, Key, ShardId, ShardMessage, Slab};
use crate::wire::{Index, Message};

/// RFC 3261 §9.2: a CANCEL that matches no transaction gets 481.
const NOTHING_TO_CANCEL: Refusal = Refusal::Status(481, Counter::RefusedNotFound);

/// A CANCEL on offer.
#[derive(Debug)]
struct Question {
    arrival: Arrival,
    /// The CANCEL, for its 481.
    message: BufferId,
    /// Shards that have not answered yet; never 0.
    outstanding: u8,
}

/// The CANCELs on offer.
#[derive(Debug)]
pub(super) struct Questions {
    slab: Slab<Question>,
    /// Copy of the CANCEL that is being answered.
    scratch: Vec<u8>,
}

impl Questions {
    pub(super) fn new() -> Self {
        Self {
            slab: Slab::with_capacity(CANCEL_QUESTIONS_MAX),
            scratch: Vec::with_capacity(crate::limits::DATAGRAM_BYTES_MAX),
        }
    }
}

impl Parts {
    /// A CANCEL that matches nothing here.
    pub(super) fn ask_for_cancel(
        &mut self,
        turn: &mut Turn<'_>,
        arrival: Arrival,
        message: Message<'_>,
    ) -> Disposition {
        if turn.settings.shards <= 1 {
            return self.refuse(turn, arrival, message, NOTHING_TO_CANCEL);
        }
        // With no room to ask, the CANCEL is lost as if by the network: it will come again.
        let full = Disposition::Dropped(Counter::DroppedQueueFull);
        let Some(key) = self.questions.slab.next_key() else {
            return full;
        };
        let Some(copy) = turn.buffers.store(message.bytes()) else {
            return full;
        };
        let asked = (0..turn.settings.shards)
            .map(ShardId)
            .filter(|&shard| shard != turn.shard)
            .filter(|&shard| {
                let question = question_of(key);
                let ask = ShardMessage::Cancel { arrival, question };
                turn.out.try_to_shard(shard, ask, message.bytes())
            })
            .count();
        let question = Question {
            arrival,
            message: copy,
            outstanding: asked as u8,
        };
        if asked == 0 || self.questions.slab.insert(question).is_err() {
            turn.buffers.release(copy);
            return full;
        }
        Disposition::Waiting
    }

    /// Another shard offers a CANCEL.
    pub(super) fn look_for_cancel(
        &mut self,
        turn: &mut Turn<'_>,
        index: &mut Index,
        from: ShardId,
        arrival: Arrival,
        question: u64,
        bytes: &[u8],
    ) {
        let mut taken = false;
        if let Ok(message) = index.scan(bytes)
            && let Some(found @ ServerMatch::Live(_)) =
                self.transactions.find_server(arrival, message)
        {
            self.cancel_matched(turn, arrival, message, found);
            taken = true;
        }
        let answer = ShardMessage::CancelTaken { question, taken };
        turn.out.try_to_shard(from, answer, &[]);
    }

    /// A shard has looked; the last one that found nothing makes it a 481.
    pub(super) fn handle_cancel_taken(
        &mut self,
        turn: &mut Turn<'_>,
        index: &mut Index,
        question: u64,
        taken: bool,
    ) {
        let key = key_of(question);
        let Some(entry) = self.questions.slab.get_mut(key) else {
            return;
        };
        entry.outstanding -= 1;
        if !taken && entry.outstanding > 0 {
            return;
        }
        let arrival = entry.arrival;
        self.close_question(turn, key);
        if taken {
            return;
        }
        let scratch = std::mem::take(&mut self.questions.scratch);
        if let Ok(message) = index.scan(&scratch) {
            self.refuse(turn, arrival, message, NOTHING_TO_CANCEL);
        }
        self.questions.scratch = scratch;
    }

    /// Forgets a question; its CANCEL stays in the scratch. Answers still to come find nothing.
    fn close_question(&mut self, turn: &mut Turn<'_>, key: Key) {
        let Questions { slab, scratch } = &mut self.questions;
        if let Some(question) = slab.remove(key) {
            scratch.clear();
            scratch.extend_from_slice(turn.buffers.octets(question.message));
            turn.buffers.release(question.message);
        }
    }
}
