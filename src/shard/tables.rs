//! How a new generation of tenant tables reaches the shards, and how the old one comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use crossbeam::queue::ArrayQueue;

use crate::limits;
use crate::tenant::Tables;

/// Old generations that may wait to be freed: every publication frees those of earlier ones, so
/// there are at most two per shard.
const RETURNS_MAX: usize = 2 * limits::SHARDS_MAX;

/// The current tables, shared by the control side (which writes) and all shards.
#[derive(Debug)]
pub(super) struct TablesCell {
    current: ArcSwap<Tables>,
    /// Publications so far: a shard compares it with the one it has seen, once per turn, and
    /// touches nothing else while they are equal.
    publications: AtomicU64,
    /// Old generations on their way to the control side, so that no shard frees one.
    returns: ArrayQueue<Arc<Tables>>,
}

impl TablesCell {
    /// Starts with `tables`, which every core has been made with.
    pub(super) fn new(tables: Arc<Tables>) -> Self {
        Self {
            current: ArcSwap::new(tables),
            publications: AtomicU64::new(0),
            returns: ArrayQueue::new(RETURNS_MAX),
        }
    }

    /// Publishes `tables`. The cell's own reference to the old ones is dropped here, on the
    /// control side.
    pub(super) fn publish(&self, tables: Arc<Tables>) {
        drop(self.current.swap(tables));
        self.publications.fetch_add(1, Ordering::Release);
    }

    /// The current tables if they were published after publication `seen`, which is moved on.
    #[inline]
    pub(super) fn newer(&self, seen: &mut u64) -> Option<Arc<Tables>> {
        let publications = self.publications.load(Ordering::Acquire);
        if publications == *seen {
            return None;
        }
        *seen = publications;
        Some(self.current.load_full())
    }

    /// Gives an old generation to the control side.
    pub(super) fn give_back(&self, tables: Arc<Tables>) {
        let pushed = self.returns.push(tables);
        debug_assert!(
            pushed.is_ok(),
            "every publication frees what came back before"
        );
    }

    /// Frees what was given back. The control side alone calls this.
    pub(super) fn free_returned(&self) -> usize {
        std::iter::from_fn(|| self.returns.pop()).count()
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::field_reassign_with_default,
    reason = "a test"
)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_sees_a_publication_once_and_the_latest_one() {
        let table = |generation| {
            let mut tables = Tables::default();
            tables.generation = generation;
            Arc::new(tables)
        };
        let cell = TablesCell::new(table(1));
        let mut seen = 0;
        assert!(cell.newer(&mut seen).is_none());
        cell.publish(table(2));
        cell.publish(table(3));
        assert_eq!(cell.newer(&mut seen).unwrap().generation, 3);
        assert!(cell.newer(&mut seen).is_none());
    }

    #[test]
    fn old_tables_are_freed_by_the_control_side() {
        let old = Arc::new(Tables::default());
        let watch = Arc::downgrade(&old);
        let cell = TablesCell::new(Arc::clone(&old));
        cell.publish(Arc::new(Tables::default()));
        cell.give_back(old);
        assert!(watch.upgrade().is_some());
        assert_eq!(cell.free_returned(), 1);
        assert!(watch.upgrade().is_none());
    }
}
