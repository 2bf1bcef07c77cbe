//! The registrar: REGISTER from admission to 200, as a stateless UAS (RFC 3261 §8.2.7, §10.3).
//!
//! Owns the rules of registration; the bindings themselves are `location`'s.

use super::auth::Authenticator;
use super::location::{Location, TargetSetWriter};
use super::rate::Sources;
use super::turn::Turn;
use super::{Arrival, Command, Disposition, Timer};
use crate::wire::Message;

/// The registrar of one shard, with its location table.
#[derive(Debug)]
pub(crate) struct Registrar {
    location: Location,
}

impl Registrar {
    /// Tables for `bindings` bindings.
    pub(crate) fn new(bindings: u32, hash_key: [u8; 16]) -> Self {
        unimplemented!("{bindings}{hash_key:?}")
    }

    /// The canonical address of record in To of a REGISTER, written to `out`; `None` when To
    /// names no domain of ours or is not usable.
    pub(crate) fn aor_of_register(
        turn: &Turn<'_>,
        message: Message<'_>,
        out: &mut crate::wire::Writer<'_>,
    ) -> Option<crate::tenant::DomainId> {
        let _ = (turn, message, out);
        unimplemented!()
    }

    /// Handles a REGISTER whose address of record this shard owns.
    pub(crate) fn handle_register(
        &mut self,
        turn: &mut Turn<'_>,
        authenticator: &mut Authenticator,
        sources: &mut Sources,
        arrival: Arrival,
        message: Message<'_>,
    ) -> Disposition {
        let _ = (turn, authenticator, sources, arrival, message);
        unimplemented!()
    }

    /// See [`Location::locate`].
    pub(crate) fn locate(&self, turn: &Turn<'_>, aor: &[u8], out: &mut TargetSetWriter<'_>) {
        self.location.locate(turn, aor, out);
    }

    /// A timer of kind `Binding`, `KeepAlive` or `Housekeeping` fired.
    pub(crate) fn handle_timer(&mut self, turn: &mut Turn<'_>, timer: Timer) {
        let _ = (turn, timer);
        unimplemented!()
    }

    /// The tables changed: bindings whose domain, mapping or credential is gone are removed, a
    /// slice per housekeeping timer; `locate` heeds the change at once.
    pub(crate) fn handle_tables(&mut self, turn: &mut Turn<'_>) {
        let _ = turn;
        unimplemented!()
    }

    /// Listing and removal for the control side.
    pub(crate) fn handle_command(&mut self, turn: &mut Turn<'_>, command: Command) {
        let _ = (turn, command);
        unimplemented!()
    }
}
