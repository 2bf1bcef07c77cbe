//! What the control socket says, as values that server and client share.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The edge as it presents itself: the `ready` line, and `GET /v1/ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// True once every shard takes messages; false while draining.
    pub ready: bool,
    /// Addresses of UDP listeners, with the port that was bound.
    pub udp: Vec<String>,
    /// The node's name.
    pub node: String,
    /// Its region.
    pub region: String,
    /// Number of shards.
    pub shards: u8,
    /// How they speak to the kernel.
    pub io: String,
    /// The control socket.
    pub control: String,
    /// The process.
    pub pid: u32,
    /// The version of the program.
    pub version: String,
}

/// One registered endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Address of record, `user@host`.
    pub aor: String,
    /// Contact URI.
    pub contact: String,
    /// Where its REGISTER came from, `address:port`.
    pub source: String,
    /// Transport of the listener it came in by.
    pub transport: String,
    /// Address of that listener.
    pub listener: String,
    /// User agent, empty when unknown.
    pub user_agent: String,
    /// `+sip.instance`, empty when absent.
    pub instance: String,
    /// When it was last registered, RFC 3339, UTC.
    pub registered_at: String,
    /// Seconds until it expires.
    pub expires_in_s: u64,
    /// Its q-value, `0.000` to `1.000`.
    pub q: String,
    /// True when requests go to the source address instead of the Contact.
    pub behind_nat: bool,
    /// The shard that owns it.
    pub shard: u8,
    /// The node.
    pub node: String,
    /// Its region.
    pub region: String,
}

/// A page of registered endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationPage {
    /// The rows.
    pub registrations: Vec<Registration>,
    /// What to pass as `cursor` for the next page; absent on the last one.
    pub next_cursor: Option<String>,
}

/// What `DELETE /v1/registrations/{aor}` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Bindings removed.
    pub removed: u32,
}

/// Numbers by name.
pub type Numbers = BTreeMap<String, u64>;

/// Numbers of one shard, or summed over all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardStats {
    /// The shard; absent in sums.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<u8>,
    /// Counters of the core since the start.
    pub counters: Numbers,
    /// Malformed messages by reason; reasons that did not occur are left out.
    pub malformed: Numbers,
    /// Numbers of the reactor.
    pub reactor: Numbers,
    /// Entries in use by table.
    pub tables: Numbers,
}

/// `GET /v1/stats`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Sizes of the tables of one shard.
    pub capacity: Numbers,
    /// Provisioned objects by kind.
    pub tenants: Numbers,
    /// Sums over the shards.
    pub total: ShardStats,
    /// Each shard.
    pub shards: Vec<ShardStats>,
}

/// What an apply changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Objects that are new.
    pub added: Vec<String>,
    /// Objects that are no longer as they were.
    pub changed: Vec<String>,
    /// Objects that are gone.
    pub removed: Vec<String>,
    /// Generation of the tables in force now.
    pub generation: u64,
}

impl Applied {
    /// True when everything was as the file says already.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// The body of every answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What is wrong, one line each.
    pub errors: Vec<String>,
}

/// Milliseconds since the Unix epoch as RFC 3339 in UTC, to the second.
#[must_use]
pub fn rfc3339(wall_ms: u64) -> String {
    let seconds = wall_ms / 1000;
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's civil-from-days: years that begin in March, eras of 400 years.
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
    );
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn wall_time_is_shown_as_rfc_3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399_999), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_709_251_199_000), "2024-02-29T23:59:59Z");
        assert_eq!(rfc3339(1_735_689_599_000), "2024-12-31T23:59:59Z");
        assert_eq!(rfc3339(4_107_542_400_000), "2100-03-01T00:00:00Z");
    }
}
