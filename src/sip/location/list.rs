//! Listing and removal for the control side. Off the packet path: rows are heap memory.

use super::{Fit, Location, View};
use crate::sip::command::{BindingFilter, BindingRow, Report};
use crate::sip::turn::Turn;
use crate::sip::{Counter, ShardId};

/// Most rows of one page.
pub(super) const PAGE_ROWS_MAX: u32 = 1000;

/// Slots looked at for one page; a page may be short, even empty, and still not be the last.
const PAGE_SLOTS_MAX: u32 = 65_536;

impl Location {
    /// One page of bindings. The cursor is the first slot not looked at: a binding that lives
    /// from the first page to the last is listed once.
    pub(crate) fn list(
        &self,
        turn: &Turn<'_>,
        id: u64,
        cursor: u64,
        count: u32,
        filter: &BindingFilter,
    ) -> Report {
        let rows_max = count.clamp(1, PAGE_ROWS_MAX) as usize;
        let mut rows = Vec::new();
        if let Some(aor) = &filter.aor {
            // At most `limits::CONTACTS_PER_AOR_MAX`: always one page.
            let aor = canonical(aor);
            if filter
                .host
                .as_deref()
                .is_none_or(|host| is_at(aor.as_bytes(), host))
            {
                let live = self.live(turn.tables, turn.now.time, aor.as_bytes());
                rows.extend(live.map(|view| row(view, aor.as_bytes(), turn.shard)));
            }
            return Report::Bindings {
                id,
                rows,
                cursor: None,
            };
        }
        let capacity = self.bindings.capacity();
        let start = u32::try_from(cursor).unwrap_or(capacity).min(capacity);
        let end = start.saturating_add(PAGE_SLOTS_MAX).min(capacity);
        let mut next = start;
        while next < end && rows.len() < rows_max {
            let slot = next;
            next += 1;
            let Some((_, binding)) = self.bindings.at(slot) else {
                continue;
            };
            let aor = self.aor_text(binding.aor);
            if filter.host.as_deref().is_none_or(|host| is_at(aor, host))
                && binding.expires_at > turn.now.time
                && Fit::default().ask(turn.tables, aor, binding)
            {
                rows.push(row(self.view(slot), aor, turn.shard));
            }
        }
        let cursor = (next < capacity).then_some(u64::from(next));
        Report::Bindings { id, rows, cursor }
    }

    /// Removes every binding of `aor`; says how many could still be seen.
    pub(crate) fn remove_all(&mut self, turn: &mut Turn<'_>, aor: &str) -> u32 {
        let aor = canonical(aor);
        let aor = aor.as_bytes();
        let count = self.live(turn.tables, turn.now.time, aor).count();
        loop {
            let Some(slot) = self.chain(self.find(aor)).next() else {
                break;
            };
            turn.counters.add(Counter::BindingsRevoked);
            self.remove(turn.wheel, slot);
        }
        count as u32
    }
}

/// `user@host` with the host in lower case.
fn canonical(aor: &str) -> String {
    match aor.rsplit_once('@') {
        Some((user, host)) => format!("{user}@{}", host.to_ascii_lowercase()),
        None => aor.to_owned(),
    }
}

fn is_at(aor: &[u8], host: &str) -> bool {
    let at = aor.iter().rposition(|octet| *octet == b'@');
    at.is_some_and(|at| aor[at + 1..].eq_ignore_ascii_case(host.as_bytes()))
}

fn row(view: View<'_>, aor: &[u8], shard: ShardId) -> BindingRow {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    BindingRow {
        aor: text(aor),
        contact: text(view.contact()),
        flow: view.flow(),
        user_agent: text(view.agent()),
        instance: text(view.instance()),
        registered_at: view.binding.registered_at(),
        expires_at: view.expires_at(),
        q_milli: view.q_milli(),
        behind_nat: view.binding.behind_nat,
        shard,
    }
}
