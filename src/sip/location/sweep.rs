//! Taking out what was taken back: after new tables every binding is looked at once, a slice per
//! timer. Look-ups heed new tables at once; this frees the memory and ends the keep-alives.

use super::{Fit, Location};
use crate::sip::turn::Turn;
use crate::sip::{Counter, Key, Timer, TimerKind};

/// The slot number of this part's `TimerKind::Housekeeping`.
pub(crate) const HOUSEKEEPING_SLOT: u32 = 0;

/// Slots looked at in one slice: about a millisecond where every credential misses the cache.
const SLICE_SLOTS: u32 = 8192;

/// A sweep in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    /// The generation it compares with.
    generation: u64,
    /// The first slot not looked at.
    cursor: u32,
}

impl Location {
    /// The tables changed: a sweep starts, and its first slice is done now.
    pub(crate) fn handle_tables(&mut self, turn: &mut Turn<'_>) {
        let is_running = self.sweep.is_some();
        self.sweep = Some(Sweep {
            generation: turn.tables.generation,
            cursor: 0,
        });
        if !is_running {
            self.handle_housekeeping(turn);
        }
    }

    /// Does one slice, and arms the timer of the next.
    pub(crate) fn handle_housekeeping(&mut self, turn: &mut Turn<'_>) {
        let Some(mut sweep) = self.sweep.take() else {
            return;
        };
        if sweep.generation != turn.tables.generation {
            sweep = Sweep {
                generation: turn.tables.generation,
                cursor: 0,
            };
        }
        let end = (sweep.cursor + SLICE_SLOTS).min(self.bindings.capacity());
        for slot in sweep.cursor..end {
            self.sweep_slot(turn, slot);
        }
        if end == self.bindings.capacity() {
            self.swept = sweep.generation;
            return;
        }
        sweep.cursor = end;
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
