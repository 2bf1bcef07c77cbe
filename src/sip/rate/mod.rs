//! What sources may cost: how many requests without good credentials a source may send, and how
//! many octets it may be sent before it has proved that it receives them.
//!
//! Budgets are per shard: a source whose packets reach several shards has one on each.

use super::{Settings, SourceAddr, Time};

/// How long a source stays proved after it last answered a challenge: the longest registration
/// (3600 s) is refreshed within it.
const PROOF_S: u32 = 3_600;

/// Sources that share a set; one set is one cache line.
const WAYS: usize = 2;

/// What is known of one source. All zero = free.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// The prefix; 0 = free.
    prefix: u64,
    /// When the budget will be whole again, nanoseconds: every request taken moves it on by the
    /// interval of the sustained rate (the generic cell rate algorithm). Never 0 in an entry in
    /// use, and at most the burst's length ahead of the clock.
    whole_at: u64,
    /// When its proof ends, seconds; 0 = it has proved nothing.
    proved_until: u32,
    /// The second that `credit` counts in.
    second: u32,
    /// Octets received less octets sent in that second.
    credit: i32,
    /// Challenges charged to the budget and not answered yet.
    challenges: u32,
}

/// Two sources.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Set([Entry; WAYS]);

const _: () = assert!(size_of::<Set>() == 64);

/// Per-source table of one shard: fixed size, 2-way by a keyed hash (IPv4 /32, IPv6 /64).
///
/// A source that finds both places of its set taken displaces, in this order, one that has proved
/// nothing before one that has, and of two alike the one heard of longest ago. What is displaced
/// is forgotten: when it comes back it has a whole budget and has proved nothing. A flood of
/// forged sources can so win a burst for one real source by about as many packets as the table
/// has entries, and never displaces more than one of two proved sources.
#[derive(Debug)]
pub(crate) struct Sources {
    sets: Box<[Set]>,
    hash: siphasher::sip::SipHasher13,
    /// Sources displaced since the question.
    displaced: u32,
}

impl Sources {
    /// `entries` must be a power of two.
    pub(crate) fn new(entries: u32, hash_key: [u8; 16]) -> Self {
        assert!(
            entries.is_power_of_two(),
            "[limits] sources must be a power of two"
        );
        let sets = (entries as usize / WAYS).max(1);
        Self {
            sets: vec![Set::default(); sets].into(),
            hash: siphasher::sip::SipHasher13::new_with_key(&hash_key),
            displaced: 0,
        }
    }

    /// How many sources, of which something was known, were displaced since this was asked last.
    pub(crate) fn take_displaced(&mut self) -> u32 {
        std::mem::take(&mut self.displaced)
    }

    /// Takes one unauthenticated or failed request from the budget of `source`. False when the
    /// budget is spent: drop the request. Called by `admission::refuse`: a request that is
    /// admitted costs nothing.
    pub(crate) fn try_request(
        &mut self,
        now: Time,
        settings: &Settings,
        source: SourceAddr,
    ) -> bool {
        self.entry(now, source).try_spend(now, settings)
    }

    /// `source` sent a request of `bytes` octets: it may be sent as many.
    pub(crate) fn on_request(&mut self, now: Time, source: SourceAddr, bytes: usize) {
        self.entry(now, source).add_credit(now, bytes);
    }

    /// True when an answer of `bytes` octets may go to `source`; an unproven source is sent at
    /// most what came from it in this second plus the allowance.
    pub(crate) fn try_answer(
        &mut self,
        now: Time,
        settings: &Settings,
        source: SourceAddr,
        bytes: usize,
    ) -> bool {
        let entry = self.entry(now, source);
        if entry.is_proved(now) {
            return true;
        }
        entry.add_credit(now, 0);
        let allowance = i32::try_from(settings.source_allowance_bytes).unwrap_or(i32::MAX);
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        match entry.credit.checked_sub(bytes) {
            Some(credit) if credit >= -allowance => {
                entry.credit = credit;
                true
            }
            Some(_) | None => false,
        }
    }

    /// `source` was charged for a request without credentials and is sent a challenge: the charge
    /// is given back when it answers.
    pub(crate) fn on_challenged(&mut self, now: Time, source: SourceAddr) {
        let entry = self.entry(now, source);
        entry.challenges = entry.challenges.saturating_add(1);
    }

    /// `source` answered a challenge correctly: it is proved, and the request that was challenged
    /// is given back to its budget. A wrong answer before it is not.
    pub(crate) fn on_proved(&mut self, now: Time, settings: &Settings, source: SourceAddr) {
        let entry = self.entry(now, source);
        entry.proved_until = seconds(now).saturating_add(PROOF_S);
        if entry.challenges > 0 {
            entry.challenges -= 1;
            entry.whole_at = entry.whole_at.saturating_sub(interval_ns(settings)).max(1);
        }
    }

    /// True when `source` has answered a challenge within the last hour.
    #[cfg(test)]
    pub(crate) fn is_proved(&self, now: Time, source: SourceAddr) -> bool {
        let prefix = prefix(source);
        let set = &self.sets[self.set_of(prefix)].0;
        set.iter()
            .any(|entry| entry.prefix == prefix && entry.is_proved(now))
    }

    fn set_of(&self, prefix: u64) -> usize {
        self.hash.hash(&prefix.to_ne_bytes()) as usize & (self.sets.len() - 1)
    }

    /// The entry of `source`, made when there is none.
    fn entry(&mut self, now: Time, source: SourceAddr) -> &mut Entry {
        let prefix = prefix(source);
        let at = self.set_of(prefix);
        let set = &mut self.sets[at].0;
        let way = match set.iter().position(|entry| entry.prefix == prefix) {
            Some(way) => way,
            None => {
                let rank = |entry: &Entry| (entry.is_proved(now), entry.second, entry.whole_at);
                let way = usize::from(rank(&set[1]) < rank(&set[0]));
                self.displaced += u32::from(set[way].is_known(now));
                set[way] = Entry {
                    prefix,
                    whole_at: 1,
                    ..Entry::default()
                };
                way
            }
        };
        &mut set[way]
    }
}

impl Entry {
    fn is_proved(&self, now: Time) -> bool {
        self.proved_until > seconds(now)
    }

    /// True when forgetting it changes what the source may do: it has proved itself, or its budget
    /// is not whole, or something was counted in this second.
    fn is_known(&self, now: Time) -> bool {
        let counted = self.second == seconds(now) && self.credit != 0;
        self.prefix != 0 && (self.is_proved(now) || self.whole_at > now.0 || counted)
    }

    /// Counts `bytes` received; a new second forgets the last one.
    fn add_credit(&mut self, now: Time, bytes: usize) {
        let second = seconds(now);
        if self.second != second {
            self.second = second;
            self.credit = 0;
        }
        self.credit = self
            .credit
            .saturating_add(i32::try_from(bytes).unwrap_or(i32::MAX));
    }

    /// Takes one request from the budget, unless it is spent.
    fn try_spend(&mut self, now: Time, settings: &Settings) -> bool {
        let interval = interval_ns(settings);
        let burst = u64::from(settings.source_burst.max(1));
        let whole_at = self.whole_at.max(now.0) + interval;
        if whole_at - now.0 > interval * burst {
            return false;
        }
        self.whole_at = whole_at;
        true
    }
}

/// Nanoseconds between requests at the sustained rate; rounded down, so that a source at exactly
/// that rate is never refused.
fn interval_ns(settings: &Settings) -> u64 {
    1_000_000_000 / u64::from(settings.source_requests_s.max(1))
}

fn seconds(now: Time) -> u32 {
    (now.0 / 1_000_000_000) as u32
}

/// The prefix that has one budget: IPv4 /32, IPv6 /64; never 0.
fn prefix(source: SourceAddr) -> u64 {
    let octets = source.octets();
    let upper = u64::from_be_bytes(*octets.first_chunk().expect("16 octets begin with 8"));
    let lower = u64::from_be_bytes(*octets.last_chunk().expect("16 octets end with 8"));
    if source.ip().is_ipv4() {
        // 0:ffff:a.b.c.d as an IPv6 /64 lies in reserved space: no source has it.
        lower
    } else if upper == 0 {
        // ::/64, which has the loopback address; ff00::/8 is multicast and never a source.
        u64::MAX
    } else {
        upper
    }
}

#[cfg(test)]
mod tests;
