//! The timer wheel of one shard: hierarchical, 10 ms ticks, O(1) insert and cancel, fixed capacity.

use super::{Key, Time};

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TimerKind {
    /// A server transaction; which timer is in its state.
    Server,
    /// Retransmission of a server transaction's final response (G).
    ServerRetransmit,
    /// A client transaction's time-out (B, F, D, K, M).
    Client,
    /// Retransmission of a client transaction's request (A, E).
    ClientRetransmit,
    /// A finished transaction.
    Absorber,
    /// A proxied request's context: timer C, the next contact, first response.
    Context,
    /// A binding's expiry.
    Binding,
    /// A binding's next keep-alive.
    KeepAlive,
    /// A call record's end.
    Call,
    /// A trunk target's next OPTIONS.
    Target,
    /// Housekeeping of one part of the core, by slot number.
    Housekeeping,
}

/// A timer: its kind and the entry it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// What for.
    pub kind: TimerKind,
    /// Whose.
    pub key: Key,
}

/// Names a running timer; an id whose timer has fired or was cancelled names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerId {
    entry: u32,
    /// Generation of the entry, 16 bits: an id kept over 65 535 reuses of its entry is a bug.
    generation: u16,
}

/// Nanoseconds of a tick.
const TICK_NS: u64 = 10_000_000;
/// Slots of the first level (2.56 s) and of each further one (164 s, 2.9 h, 7.8 days).
const FIRST: usize = 256;
const FURTHER: usize = 64;
const LEVELS: usize = 4;
/// Lists: the due ones, then every level's slots.
const DUE: usize = 0;
const LISTS: usize = 1 + FIRST + FURTHER * (LEVELS - 1);
/// End of a list.
const NONE: u32 = u32::MAX;
/// A `previous` at or above this names a list instead of an entry.
const LIST: u32 = u32::MAX - LISTS as u32;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The next entry of its list, or the next free one.
    next: u32,
    /// The entry before it, or `LIST` + its list.
    previous: u32,
    /// When it fires, in ticks.
    tick: u32,
    slot: u32,
    key_generation: u32,
    generation: u16,
    /// `None` while free.
    kind: Option<TimerKind>,
}

/// The wheel. An entry takes 24 octets.
#[derive(Debug)]
pub struct Wheel {
    entries: Box<[Entry]>,
    lists: [u32; LISTS],
    /// Occupied slots of the first level, then of each further one.
    first: [u64; FIRST / 64],
    further: [u64; LEVELS - 1],
    /// Ticks up to this one have been made due.
    tick: u32,
    free: u32,
    length: u32,
}

const _: () = assert!(size_of::<Entry>() == 24);

impl Wheel {
    /// A wheel for `capacity` timers, at `now`.
    pub fn with_capacity(capacity: u32, now: Time) -> Self {
        let entries = (0..capacity)
            .map(|entry| Entry {
                next: if entry + 1 == capacity {
                    NONE
                } else {
                    entry + 1
                },
                previous: NONE,
                tick: 0,
                slot: 0,
                key_generation: 0,
                generation: 1,
                kind: None,
            })
            .collect();
        Self {
            entries,
            lists: [NONE; LISTS],
            first: [0; FIRST / 64],
            further: [0; LEVELS - 1],
            tick: (now.0 / TICK_NS) as u32,
            free: if capacity == 0 { NONE } else { 0 },
            length: 0,
        }
    }

    /// Arms a timer; it fires at `at` or up to one tick later, never earlier. `None` when full.
    /// A time beyond the last level's 7.8 days goes round on that level until it is near.
    #[inline]
    pub fn insert(&mut self, at: Time, timer: Timer) -> Option<TimerId> {
        let entry = self.free;
        let slot = self.entries.get_mut(entry as usize)?;
        self.free = slot.next;
        slot.tick = (at.0.div_ceil(TICK_NS)).min(u64::from(u32::MAX)) as u32;
        slot.slot = timer.key.slot;
        slot.key_generation = timer.key.generation;
        slot.kind = Some(timer.kind);
        let id = TimerId {
            entry,
            generation: slot.generation,
        };
        self.place(entry);
        self.length += 1;
        Some(id)
    }

    /// Disarms; false when it had fired or was cancelled.
    #[inline]
    pub fn cancel(&mut self, id: TimerId) -> bool {
        let Some(entry) = self.entries.get(id.entry as usize) else {
            return false;
        };
        if entry.generation != id.generation || entry.kind.is_none() {
            return false;
        }
        self.unlink(id.entry);
        self.give_back(id.entry);
        true
    }

    /// The next timer due at `now`, removed from the wheel; in order of time up to one tick.
    #[inline]
    pub fn poll(&mut self, now: Time) -> Option<Timer> {
        let target = (now.0 / TICK_NS) as u32;
        while self.lists[DUE] == NONE {
            if self.tick >= target {
                return None;
            }
            self.advance(target);
        }
        let entry = self.lists[DUE];
        self.unlink(entry);
        let Entry {
            kind,
            slot,
            key_generation,
            ..
        } = self.entries[entry as usize];
        self.give_back(entry);
        Some(Timer {
            kind: kind?,
            key: Key {
                slot,
                generation: key_generation,
            },
        })
    }

    /// When the reactor should call again at the latest: a lower bound of the next deadline that
    /// is at most one wheel level early.
    #[inline]
    pub fn next_deadline(&self) -> Option<Time> {
        if self.lists[DUE] != NONE {
            return Some(Time(u64::from(self.tick) * TICK_NS));
        }
        self.next_event()
            .map(|tick| Time(u64::from(tick) * TICK_NS))
    }

    /// Timers armed.
    #[inline]
    pub fn len(&self) -> u32 {
        self.length
    }

    /// True when none is armed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The next tick at which a list becomes due or moves down one level.
    fn next_event(&self) -> Option<u32> {
        let mut next = self.next_in_first().map(|ahead| self.tick + ahead);
        for level in 1..LEVELS {
            let occupied = self.further[level - 1];
            if occupied == 0 {
                continue;
            }
            let here = self.tick >> shift(level);
            // The slot of `here` itself was moved down when its time began; it stands for a full
            // round ahead.
            let ahead = 1 + occupied
                .rotate_right((here + 1) % FURTHER as u32)
                .trailing_zeros();
            let tick = (here + ahead) << shift(level);
            next = Some(next.map_or(tick, |other| other.min(tick)));
        }
        next
    }

    /// Ticks from now to the next occupied slot of the first level.
    fn next_in_first(&self) -> Option<u32> {
        let start = (self.tick + 1) as usize % FIRST;
        let mut passed = 0;
        while passed < FIRST {
            let at = (start + passed) % FIRST;
            let word = self.first[at / 64] >> (at % 64);
            if word != 0 {
                let ahead = passed + word.trailing_zeros() as usize;
                return (ahead < FIRST).then_some(ahead as u32 + 1);
            }
            passed += 64 - at % 64;
        }
        None
    }

    /// Moves on to the next tick at which something happens, at most to `target`.
    fn advance(&mut self, target: u32) {
        self.tick = match self.next_event() {
            Some(tick) if tick <= target => tick,
            Some(_) | None => {
                self.tick = target;
                return;
            }
        };
        for level in (1..LEVELS).rev() {
            if self.tick.trailing_zeros() >= shift(level) {
                let slot = (self.tick >> shift(level)) as usize % FURTHER;
                self.move_down(level, slot);
            }
        }
        let slot = self.tick as usize % FIRST;
        let list = 1 + slot;
        let head = std::mem::replace(&mut self.lists[list], NONE);
        self.first[slot / 64] &= !(1 << (slot % 64));
        if head != NONE {
            // Entries of this tick that moved down just now are due already.
            let mut entry = head;
            while entry != NONE {
                let next = self.entries[entry as usize].next;
                self.push(DUE, entry);
                entry = next;
            }
        }
    }

    fn move_down(&mut self, level: usize, slot: usize) {
        let list = 1 + FIRST + (level - 1) * FURTHER + slot;
        let mut entry = std::mem::replace(&mut self.lists[list], NONE);
        self.further[level - 1] &= !(1 << slot);
        while entry != NONE {
            let next = self.entries[entry as usize].next;
            self.place(entry);
            entry = next;
        }
    }

    /// Puts an entry into the list of its tick.
    fn place(&mut self, entry: u32) {
        let tick = self.entries[entry as usize].tick;
        let ahead = tick.saturating_sub(self.tick);
        if ahead == 0 {
            self.push(DUE, entry);
            return;
        }
        if (ahead as usize) < FIRST {
            let slot = tick as usize % FIRST;
            self.first[slot / 64] |= 1 << (slot % 64);
            self.push(1 + slot, entry);
            return;
        }
        // Farther than the last level reaches: the last slot before now.
        let level = (1..LEVELS)
            .find(|&level| (tick >> shift(level)) - (self.tick >> shift(level)) < FURTHER as u32)
            .unwrap_or(LEVELS - 1);
        let here = self.tick >> shift(level);
        let slot = (tick >> shift(level)).min(here + FURTHER as u32 - 1) as usize % FURTHER;
        self.further[level - 1] |= 1 << slot;
        self.push(1 + FIRST + (level - 1) * FURTHER + slot, entry);
    }

    fn push(&mut self, list: usize, entry: u32) {
        let next = self.lists[list];
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.previous = entry;
        }
        let this = &mut self.entries[entry as usize];
        this.next = next;
        this.previous = LIST + list as u32;
        self.lists[list] = entry;
    }

    fn unlink(&mut self, entry: u32) {
        let Entry { next, previous, .. } = self.entries[entry as usize];
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.previous = previous;
        }
        if previous < LIST {
            self.entries[previous as usize].next = next;
            return;
        }
        let list = (previous - LIST) as usize;
        self.lists[list] = next;
        if next == NONE && list != DUE {
            let slot = list - 1;
            if slot < FIRST {
                self.first[slot / 64] &= !(1 << (slot % 64));
            } else {
                let slot = slot - FIRST;
                self.further[slot / FURTHER] &= !(1 << (slot % FURTHER));
            }
        }
    }

    fn give_back(&mut self, entry: u32) {
        let this = &mut self.entries[entry as usize];
        this.kind = None;
        this.generation = this.generation.wrapping_add(1);
        this.next = self.free;
        self.free = entry;
        self.length -= 1;
    }
}

/// Bits of the tick below a level's slot number.
const fn shift(level: usize) -> u32 {
    8 + 6 * (level as u32 - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn timer(slot: u32) -> Timer {
        Timer {
            kind: TimerKind::Binding,
            key: Key {
                slot,
                generation: 1,
            },
        }
    }

    #[test]
    fn a_timer_fires_within_one_tick_and_never_early() {
        let mut wheel = Wheel::with_capacity(8, Time(0));
        for (slot, ms) in [1u64, 10, 2559, 2560, 163_840, 3_600_000]
            .into_iter()
            .enumerate()
        {
            let at = Time(0).plus_ms(ms);
            assert!(wheel.insert(at, timer(slot as u32)).is_some());
            assert_eq!(wheel.poll(Time(at.0 - 1)), None, "{ms} ms");
            assert_eq!(
                wheel.poll(at.plus_ms(10)),
                Some(timer(slot as u32)),
                "{ms} ms"
            );
            wheel = Wheel::with_capacity(8, Time(0));
        }
    }

    #[test]
    fn a_cancelled_timer_never_fires_and_its_id_is_good_once() {
        let mut wheel = Wheel::with_capacity(1, Time(0));
        let id = wheel
            .insert(Time(0).plus_ms(50), timer(1))
            .expect("one entry is free");
        assert_eq!(wheel.insert(Time(0), timer(2)), None);
        assert!(wheel.cancel(id) && !wheel.cancel(id));
        assert_eq!(
            (wheel.next_deadline(), wheel.poll(Time(0).plus_ms(100))),
            (None, None)
        );
        let second = wheel
            .insert(Time(0).plus_ms(150), timer(2))
            .expect("it is free again");
        assert!(!wheel.cancel(id) && wheel.cancel(second));
    }

    #[test]
    fn a_time_beyond_the_last_level_goes_round_until_it_is_due() {
        let mut wheel = Wheel::with_capacity(1, Time(0));
        wheel.insert(Time(0).plus_ms(30 * 86_400_000), timer(1));
        assert_eq!(wheel.poll(Time(0).plus_ms(30 * 86_400_000 - 1)), None);
        assert_eq!(wheel.poll(Time(0).plus_ms(30 * 86_400_000)), Some(timer(1)));
    }

    proptest! {
        #[test]
        fn the_wheel_fires_what_a_sorted_map_fires(
            start in 0u64..1_000_000,
            steps in prop::collection::vec(
                (0u8..4, 0u64..400_000, any::<prop::sample::Index>()),
                1..300,
            ),
        ) {
            let mut now = Time(0).plus_ms(start);
            let mut wheel = Wheel::with_capacity(64, now);
            let mut model: BTreeMap<u32, (u64, TimerId)> = BTreeMap::new();
            let mut name = 0;
            for (step, ms, which) in steps {
                match step {
                    0 | 1 => {
                        let at = now.plus_ms(if step == 0 { ms } else { ms % 3000 });
                        name += 1;
                        match wheel.insert(at, timer(name)) {
                            Some(id) => {
                                model.insert(name, (at.0.div_ceil(TICK_NS), id));
                            }
                            None => prop_assert_eq!(model.len(), 64),
                        }
                    }
                    2 if !model.is_empty() => {
                        let name = *model.keys().nth(which.index(model.len())).expect("in range");
                        let (_, id) = model.remove(&name).expect("just seen");
                        prop_assert!(wheel.cancel(id));
                    }
                    _ => {
                        if let Some(deadline) = wheel.next_deadline() {
                            let earliest = model.values().map(|entry| entry.0).min();
                            prop_assert!(Some(deadline.0 / TICK_NS) <= earliest);
                        }
                        now = now.plus_ms(ms % 20_000);
                        let mut last = 0;
                        while let Some(fired) = wheel.poll(now) {
                            let (tick, _) = model.remove(&fired.key.slot).expect("armed");
                            prop_assert!(tick <= now.0 / TICK_NS);
                            prop_assert!(tick >= last);
                            last = tick;
                        }
                        prop_assert!(model.values().all(|entry| entry.0 > now.0 / TICK_NS));
                    }
                }
                prop_assert_eq!(wheel.len() as usize, model.len());
                prop_assert_eq!(wheel.next_deadline().is_none(), model.is_empty());
            }
        }
    }
}
