//! How a producer wakes a shard: a doorbell with one bit per producer, and an event for a shard
//! that sleeps.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

use super::sys::Event;
use crate::sip::ShardId;

/// Shared by one shard and everybody who gives it work.
///
/// A producer first makes its work visible, then looks at `parked`; the shard first sets `parked`,
/// then looks for work. All four are sequentially consistent, so at least one of the two sees the
/// other and no work is left lying beside a sleeping shard.
#[derive(Debug)]
pub(super) struct Doorbell {
    /// Shards that put something into their queue towards this one.
    shards: CachePadded<AtomicU64>,
    /// The control side has something: a command, tables, or the order to stop.
    control: CachePadded<AtomicBool>,
    /// True while the shard sleeps or is about to.
    parked: CachePadded<AtomicBool>,
    event: Arc<Event>,
}

impl Doorbell {
    /// A doorbell nobody has rung.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            shards: CachePadded::new(AtomicU64::new(0)),
            control: CachePadded::new(AtomicBool::new(false)),
            parked: CachePadded::new(AtomicBool::new(false)),
            event: Arc::new(Event::new()?),
        })
    }

    /// The event that wakes the shard.
    pub(super) fn event(&self) -> Arc<Event> {
        Arc::clone(&self.event)
    }

    /// Shard `from` has put something into its queue. True when a sleeping shard was woken.
    pub(super) fn ring_shard(&self, from: ShardId) -> bool {
        self.shards.fetch_or(1 << from.0, Ordering::SeqCst);
        self.wake()
    }

    /// The control side has put something.
    pub(super) fn ring_control(&self) -> bool {
        self.control.store(true, Ordering::SeqCst);
        self.wake()
    }

    fn wake(&self) -> bool {
        let woken = self.parked.load(Ordering::SeqCst) && self.parked.swap(false, Ordering::SeqCst);
        if woken {
            self.event.signal();
        }
        woken
    }

    /// Takes the bits of the shards that rang.
    #[inline]
    pub(super) fn take_shards(&self) -> u64 {
        if self.shards.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.shards.swap(0, Ordering::SeqCst)
    }

    /// Takes the ring of the control side.
    #[inline]
    pub(super) fn take_control(&self) -> bool {
        self.control.load(Ordering::Relaxed) && self.control.swap(false, Ordering::SeqCst)
    }

    /// Says that the shard is about to sleep. False when somebody rang: then it must not.
    pub(super) fn try_park(&self) -> bool {
        self.parked.store(true, Ordering::SeqCst);
        let rung = self.shards.load(Ordering::SeqCst) != 0 || self.control.load(Ordering::SeqCst);
        if rung {
            self.parked.store(false, Ordering::SeqCst);
        }
        !rung
    }

    /// Says that the shard is awake.
    pub(super) fn unpark(&self) {
        self.parked.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;
    use crate::shard::sys::Waiter;

    fn is_signalled(bell: &Doorbell) -> bool {
        let mut waiter = Waiter::new([bell.event.as_fd()].into_iter());
        waiter.wait(Some(Duration::ZERO)).unwrap();
        waiter.is_ready(0)
    }

    #[test]
    fn only_a_parked_shard_is_woken_and_only_once() {
        let bell = Doorbell::new().unwrap();
        assert!(!bell.ring_shard(ShardId(3)));
        assert!(!is_signalled(&bell));
        assert!(!bell.try_park(), "somebody rang");
        assert_eq!(bell.take_shards(), 1 << 3);
        assert!(bell.try_park());
        assert!(bell.ring_shard(ShardId(63)));
        assert!(!bell.ring_control());
        assert!(is_signalled(&bell));
        bell.unpark();
        assert_eq!(bell.take_shards(), 1 << 63);
        assert!(bell.take_control());
        assert!(!bell.take_control());
        assert!(bell.try_park());
    }

    #[test]
    fn no_ring_is_lost_between_a_busy_producer_and_a_shard_that_parks() {
        let bell = Arc::new(Doorbell::new().unwrap());
        let produced = Arc::new(AtomicU64::new(0));
        let rounds = 20_000;
        let producer = {
            let (bell, produced) = (Arc::clone(&bell), Arc::clone(&produced));
            std::thread::spawn(move || {
                for round in 1..=rounds {
                    produced.store(round, Ordering::Relaxed);
                    bell.ring_shard(ShardId(1));
                    if round % 64 == 0 {
                        std::thread::yield_now();
                    }
                }
            })
        };
        let mut waiter = Waiter::new([bell.event.as_fd()].into_iter());
        while produced.load(Ordering::Relaxed) < rounds {
            if bell.take_shards() == 0 && bell.try_park() {
                waiter.wait(Some(Duration::from_secs(10))).unwrap();
                assert!(waiter.is_ready(0), "slept through a ring");
                bell.event.clear();
                bell.unpark();
            }
        }
        producer.join().unwrap();
    }
}
