//! Taking out what was taken back: after new tables every binding is looked at once, a slice per
//! timer. Look-ups heed new tables at once; this frees the memory and ends the keep-alives.

use super::{Fit, Location};
use crate::sip::turn::Turn;
use crate::sip::{Counter, Key, Timer, TimerKind};

/// The slot number of this part's `TimerKind::Housekeeping`.
pub(crate) const HOUSEKEEPING_SLOT: u32 = 0;

/// Slots looked at in one slice: about a millisecond where every credential misses the cache.
const SLICE_SLOTS: u32 = 8192;

/// A sweep in progress. It goes round: tables that change while it runs lengthen it to a whole
/// round from where it is, so that no slot is passed over however often they change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    /// The generation it compares with.
    generation: u64,
    /// The slot looked at next.
    cursor: u32,
    /// Slots still to be looked at.
    left: u32,
}

impl Location {
    /// The tables changed: a sweep starts, and its first slice is done now.
    pub(crate) fn handle_tables(&mut self, turn: &mut Turn<'_>) {
        // One that runs heeds the change with its next slice.
        if self.sweep.is_none() {
            self.sweep = Some(Sweep {
                generation: turn.tables.generation,
                cursor: 0,
                left: self.bindings.capacity(),
            });
            self.handle_housekeeping(turn);
        }
    }

    /// Does one slice, and arms the timer of the next.
    pub(crate) fn handle_housekeeping(&mut self, turn: &mut Turn<'_>) {
        let Some(mut sweep) = self.sweep.take() else {
            return;
        };
        let capacity = self.bindings.capacity();
        if sweep.generation != turn.tables.generation {
            sweep.generation = turn.tables.generation;
            sweep.left = capacity;
        }
        for _ in 0..sweep.left.min(SLICE_SLOTS) {
            self.sweep_slot(turn, sweep.cursor);
            sweep.cursor = (sweep.cursor + 1) % capacity;
            sweep.left -= 1;
        }
        if sweep.left == 0 {
            self.swept = sweep.generation;
            return;
        }
        let timer = Timer {
            kind: TimerKind::Housekeeping,
            key: Key {
                slot: HOUSEKEEPING_SLOT,
                generation: 1,
            },
        };
        // With a full wheel the sweep ends here: every look-up goes on comparing, and the next
        // tables start it again.
        if turn.wheel.insert(turn.now.time, timer).is_some() {
            self.sweep = Some(sweep);
        }
    }

    fn sweep_slot(&mut self, turn: &mut Turn<'_>, slot: u32) {
        let Some((_, binding)) = self.bindings.at(slot) else {
            return;
        };
        let counter = if binding.expires_at <= turn.now.time {
            Counter::BindingsExpired
        } else if !Fit::default().ask(turn.tables, self.aor_text(binding.aor), binding) {
            Counter::BindingsRevoked
        } else {
            return;
        };
        turn.counters.add(counter);
        self.remove(turn.wheel, slot);
    }
}
