//! What the control side may ask of a shard, and what it is told. Off the packet path.

use super::{Flow, ShardId, Time};

/// Which bindings to list.
#[derive(Clone, Debug, Default)]
pub struct BindingFilter {
    /// Only this address of record, `user@host`.
    pub aor: Option<String>,
    /// Only addresses of record of this host.
    pub host: Option<String>,
}

/// A request of the control side.
#[derive(Clone, Debug)]
pub enum Command {
    /// List bindings from `cursor` on (0 = from the start), at most `count`.
    ListBindings {
        /// Names the request.
        id: u64,
        /// Where the last page ended.
        cursor: u64,
        /// Page size, rows.
        count: u32,
        /// Which.
        filter: BindingFilter,
    },
    /// Remove every binding of an address of record, `user@host`.
    RemoveBindings {
        /// Names the request.
        id: u64,
        /// The address of record.
        aor: String,
    },
    /// Refuse new registrations and calls outside dialogs with 503; go on with what is there.
    Drain,
}

/// One registered endpoint, as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingRow {
    /// Address of record, `user@host`.
    pub aor: String,
    /// Contact URI.
    pub contact: String,
    /// Source of the REGISTER and the listener it came in by.
    pub flow: Flow,
    /// User agent, empty when unknown.
    pub user_agent: String,
    /// `+sip.instance`, empty when absent.
    pub instance: String,
    /// When it was last registered.
    pub registered_at: super::WallTime,
    /// When it expires.
    pub expires_at: Time,
    /// Its q-value in thousandths.
    pub q_milli: u16,
    /// True when requests go to the source address instead of the Contact.
    pub behind_nat: bool,
    /// The shard that owns it.
    pub shard: ShardId,
}

/// What a shard tells the control side.
#[derive(Clone, Debug)]
pub enum Report {
    /// A page of bindings.
    Bindings {
        /// The request answered.
        id: u64,
        /// The rows.
        rows: Vec<BindingRow>,
        /// Where to go on; `None` = this was the last page.
        cursor: Option<u64>,
    },
    /// Bindings removed.
    Removed {
        /// The request answered.
        id: u64,
        /// How many.
        count: u32,
    },
}
