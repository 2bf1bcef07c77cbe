//! What every part of the core is given for one call: clock, settings, tables, and the places for
//! its results.

use super::{Buffers, Counters, Keys, Now, Outbox, Random, Settings, ShardId, Wheel};
use crate::tenant::Tables;

/// The surroundings of one call into the core.
pub(crate) struct Turn<'a> {
    /// The clocks.
    pub(crate) now: Now,
    /// This shard.
    pub(crate) shard: ShardId,
    /// What the operator decided.
    pub(crate) settings: &'a Settings,
    /// Secrets.
    pub(crate) keys: &'a Keys,
    /// Tenants, as of this turn.
    pub(crate) tables: &'a Tables,
    /// Results.
    pub(crate) out: &'a mut Outbox,
    /// Counters.
    pub(crate) counters: &'a mut Counters,
    /// Timers.
    pub(crate) wheel: &'a mut Wheel,
    /// Messages kept.
    pub(crate) buffers: &'a mut Buffers,
    /// Chance.
    pub(crate) random: &'a mut Random,
}
