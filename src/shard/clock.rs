//! The clock of a reactor: one reading per turn gives both times.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::sip::{Now, Time, WallTime};

/// How often the wall clock is read again; between readings it advances with the monotonic one.
const WALL_INTERVAL: Duration = Duration::from_millis(10);

/// Where core time starts; the same for all shards of a process.
#[derive(Clone, Copy, Debug)]
pub struct Origin(Instant);

impl Origin {
    /// Core time starts now.
    #[must_use]
    pub fn new() -> Self {
        // Time 0 is kept for "never": core time starts one second on.
        let now = Instant::now();
        Self(now.checked_sub(Duration::from_secs(1)).unwrap_or(now))
    }

    /// Core time as of now.
    #[must_use]
    pub fn time(self) -> Time {
        Time(self.0.elapsed().as_nanos() as u64)
    }

    /// Both clocks as of now.
    #[must_use]
    pub fn now(self) -> Now {
        Now {
            time: self.time(),
            wall: wall_time(),
        }
    }
}

impl Default for Origin {
    fn default() -> Self {
        Self::new()
    }
}

/// The wall clock.
fn wall_time() -> WallTime {
    // Before 1970 there is no SIP: a clock that was never set counts as the epoch.
    WallTime(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis() as u64,
    )
}

/// The clock of one reactor.
#[derive(Debug)]
pub(super) struct Clock {
    origin: Origin,
    /// Wall time minus core time at the last reading of the wall clock, in milliseconds.
    wall_offset_ms: u64,
    /// When the wall clock is read again.
    wall_due: Time,
}

impl Clock {
    /// A clock that counts from `origin`.
    pub(super) fn new(origin: Origin) -> Self {
        Self {
            origin,
            wall_offset_ms: 0,
            wall_due: Time(0),
        }
    }

    /// Reads the clock.
    #[inline]
    pub(super) fn now(&mut self) -> Now {
        let time = self.origin.time();
        if time >= self.wall_due {
            self.wall_offset_ms = wall_time().0.wrapping_sub(time.as_ms());
            self.wall_due = Time(time.0 + WALL_INTERVAL.as_nanos() as u64);
        }
        Now {
            time,
            wall: WallTime(time.as_ms().wrapping_add(self.wall_offset_ms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_advance_and_the_wall_clock_is_that_of_the_system() {
        let mut clock = Clock::new(Origin::new());
        let first = clock.now();
        std::thread::sleep(Duration::from_millis(25));
        let second = clock.now();
        assert!(second.time.since(first.time) >= Duration::from_millis(25));
        assert!(second.wall.0.abs_diff(wall_time().0) <= 20);
        assert!(second.wall.0 >= first.wall.0 + 15);
    }
}
