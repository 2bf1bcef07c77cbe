//! The running edge as the control side knows it: what it was started with, its shards, its
//! tenants. Every way in (socket, signals) calls the same functions here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::log::Level;
use super::shards::{Shards, Unanswered};
use super::tenants::{Origin, Tenants};
use super::view::{
    self, Applied, Numbers, Ready, Registration, RegistrationPage, Removed, ShardStats, Stats,
};
use crate::config::Config;
use crate::shard::Snapshot;
use crate::sip::{BindingFilter, BindingRow, Command, Counter, Flow, Report, Settings, ShardId};
use crate::tenant::model::Provision;
use crate::wire::{Reason, Transport};

/// Most rows of one page.
pub(super) const PAGE_ROWS_MAX: u32 = 1000;

/// The running edge.
#[derive(Debug)]
pub(super) struct Edge {
    /// The configuration it was started with; the level of the log follows reloads.
    pub(super) config: Config,
    pub(super) settings: Arc<Settings>,
    pub(super) shards: Shards,
    /// One change at a time: the lock is held from reading the tenants to their publication.
    pub(super) tenants: tokio::sync::Mutex<Tenants>,
    pub(super) counts: Mutex<Numbers>,
    pub(super) level: Level,
    pub(super) ready: Ready,
    pub(super) draining: AtomicBool,
    pub(super) started: Instant,
}

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Undone {
    /// What was asked for is not valid; what is wrong with it.
    Invalid(Vec<String>),
    /// There is no such thing.
    NotFound(String),
    /// A shard did not answer in time.
    Unanswered(Unanswered),
}

impl From<Unanswered> for Undone {
    fn from(unanswered: Unanswered) -> Self {
        Self::Unanswered(unanswered)
    }
}

/// Where a page of the merged listing begins: which shard, and where in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cursor {
    shard: u8,
    within: u64,
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let (shard, within) = text.split_once('-')?;
        Some(Self {
            shard: shard.parse().ok()?,
            within: within.parse().ok()?,
        })
    }

    fn shown(self) -> String {
        format!("{}-{}", self.shard, self.within)
    }
}

impl Edge {
    /// How it presents itself now.
    pub(super) fn ready(&self) -> Ready {
        Ready {
            ready: !self.draining.load(Ordering::Relaxed),
            ..self.ready.clone()
        }
    }

    /// Brings the tenants to what `provision` says about those it names. When this returns, every
    /// shard works by it.
    pub(super) async fn apply(
        self: &Arc<Self>,
        provision: Provision,
        origin: Origin,
    ) -> Result<Applied, Undone> {
        let mut tenants = self.tenants.lock().await;
        let mut next = tenants.clone();
        let edge = Arc::clone(self);
        // Compiling a million credentials takes seconds: not on the thread that answers others.
        let compiled = tokio::task::spawn_blocking(move || {
            let (applied, tables) = next.apply(provision, origin, &edge.config)?;
            Ok((next, applied, tables))
        });
        let (next, applied, tables) = match compiled.await {
            Ok(result) => result.map_err(Undone::Invalid)?,
            Err(panic) => return Err(Undone::Invalid(vec![format!("internal error: {panic}")])),
        };
        if let Some(tables) = tables {
            self.shards.publish(tables).await?;
        }
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = next.counts();
        *tenants = next;
        Ok(applied)
    }

    /// A page of registered endpoints, shard after shard.
    pub(super) async fn registrations(
        &self,
        cursor: Option<&str>,
        count: u32,
        filter: &BindingFilter,
    ) -> Result<RegistrationPage, Undone> {
        let mut cursor = match cursor {
            None => Cursor::default(),
            Some(text) => Cursor::parse(text)
                .ok_or_else(|| Undone::Invalid(vec![format!("{text:?} is no cursor")]))?,
        };
        let count = count.clamp(1, PAGE_ROWS_MAX);
        let mut page = RegistrationPage {
            registrations: Vec::new(),
            next_cursor: None,
        };
        while cursor.shard < self.shards.count() {
            let missing = count - page.registrations.len() as u32;
            if missing == 0 {
                page.next_cursor = Some(cursor.shown());
                break;
            }
            let report = self
                .shards
                .ask(ShardId(cursor.shard), |id| Command::ListBindings {
                    id,
                    cursor: cursor.within,
                    count: missing,
                    filter: filter.clone(),
                })
                .await?;
            let Report::Bindings {
                rows, cursor: next, ..
            } = report
            else {
                break;
            };
            page.registrations
                .extend(rows.into_iter().map(|row| self.registration(row)));
            cursor = match next {
                Some(within) => Cursor { within, ..cursor },
                None => Cursor {
                    shard: cursor.shard + 1,
                    within: 0,
                },
            };
        }
        Ok(page)
    }

    fn registration(&self, row: BindingRow) -> Registration {
        let listener = self
            .settings
            .listeners
            .get(usize::from(row.flow.listener().0));
        let transport = match (row.flow, listener.map(|listener| listener.transport)) {
            (Flow::Udp { .. }, _) => "UDP".to_owned(),
            (Flow::Stream { .. }, transport) => transport.map(transport_name).unwrap_or_default(),
        };
        let expires_in = row.expires_at.since(self.shards.now().time);
        Registration {
            aor: row.aor,
            contact: row.contact,
            source: row.flow.peer().socket_addr().to_string(),
            transport,
            listener: listener
                .map(|listener| listener.bind.to_string())
                .unwrap_or_default(),
            user_agent: row.user_agent,
            instance: row.instance,
            registered_at: view::rfc3339(row.registered_at.0),
            expires_in_s: expires_in.as_secs(),
            q: format!("{}.{:03}", row.q_milli / 1000, row.q_milli % 1000),
            behind_nat: row.behind_nat,
            shard: row.shard.0,
            node: self.ready.node.clone(),
            region: self.ready.region.clone(),
        }
    }

    /// Removes every binding of an address of record, on whichever shard it is.
    pub(super) async fn remove_registrations(&self, aor: &str) -> Result<Removed, Undone> {
        let mut removed = 0;
        for shard in 0..self.shards.count() {
            let aor = aor.to_owned();
            let ask = |id| Command::RemoveBindings { id, aor };
            if let Report::Removed { count, .. } = self.shards.ask(ShardId(shard), ask).await? {
                removed += count;
            }
        }
        if removed == 0 {
            return Err(Undone::NotFound(format!("{aor} is not registered")));
        }
        tracing::info!(aor, removed, "registrations removed by an operator");
        Ok(Removed { removed })
    }

    /// Numbers of every shard, and their sums.
    pub(super) fn stats(&self) -> Stats {
        let shards: Vec<ShardStats> = (0..self.shards.count())
            .filter_map(|shard| {
                let snapshot = self.shards.snapshot(ShardId(shard))?;
                Some(shard_stats(shard, &snapshot))
            })
            .collect();
        let mut total = ShardStats::default();
        for shard in &shards {
            add(&mut total.counters, &shard.counters);
            add(&mut total.malformed, &shard.malformed);
            add(&mut total.reactor, &shard.reactor);
            add(&mut total.tables, &shard.tables);
        }
        // A generation is no count: the sum says nothing, the oldest in force does.
        if let Some(oldest) = shards
            .iter()
            .filter_map(|shard| shard.reactor.get("tables_generation"))
            .min()
        {
            total
                .reactor
                .insert("tables_generation".to_owned(), *oldest);
        }
        let capacity = &self.settings.capacity;
        let sizes = [
            ("bindings", u64::from(capacity.bindings)),
            ("transactions", u64::from(capacity.transactions)),
            (
                "client_transactions",
                u64::from(capacity.client_transactions()),
            ),
            ("absorbers", u64::from(capacity.absorbers)),
            ("message_bytes", capacity.message_bytes as u64),
            ("sources", u64::from(capacity.sources)),
            ("nonces", u64::from(capacity.nonces)),
            ("calls", u64::from(capacity.calls)),
        ];
        Stats {
            uptime_s: self.started.elapsed().as_secs(),
            capacity: sizes
                .into_iter()
                .map(|(name, size)| (name.to_owned(), size))
                .collect(),
            tenants: self
                .counts
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            total,
            shards,
        }
    }
}

fn transport_name(transport: Transport) -> String {
    format!("{transport:?}").to_uppercase()
}

fn shard_stats(shard: u8, snapshot: &Snapshot) -> ShardStats {
    let counters = Counter::ALL.iter();
    let malformed = Reason::ALL
        .iter()
        .map(|&reason| (reason, snapshot.malformed(reason)));
    let fields = crate::shard::Stats::FIELDS.iter().map(|(name, _)| *name);
    let (mut reactor, mut tables) = (Numbers::new(), Numbers::new());
    for (name, number) in fields.zip(snapshot.stats.to_array()) {
        match name.strip_prefix("table_") {
            Some(table) => tables.insert(table.to_owned(), number),
            None => reactor.insert(name.to_owned(), number),
        };
    }
    ShardStats {
        shard: Some(shard),
        counters: counters
            .map(|&counter| (counter.name().to_owned(), snapshot.counter(counter)))
            .collect(),
        malformed: malformed
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| (reason.name().to_owned(), count))
            .collect(),
        reactor,
        tables,
    }
}

fn add(sums: &mut Numbers, numbers: &Numbers) {
    for (name, number) in numbers {
        *sums.entry(name.clone()).or_default() += number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_as_it_was_shown() {
        let cursor = Cursor {
            shard: 3,
            within: u64::MAX,
        };
        assert_eq!(Cursor::parse(&cursor.shown()), Some(cursor));
        for text in ["", "1", "-", "1-", "-1", "256-0", "0-x"] {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sums_hold_every_name() {
        let mut sums = Numbers::from([("a".to_owned(), 1)]);
        add(
            &mut sums,
            &Numbers::from([("a".to_owned(), 2), ("b".to_owned(), 3)]),
        );
        assert_eq!(
            sums,
            Numbers::from([("a".to_owned(), 3), ("b".to_owned(), 3)])
        );
    }
}
