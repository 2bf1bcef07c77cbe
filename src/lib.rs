//! Ringfence: a multi-tenant SIP registrar and proxy for the edge of a carrier's network.
//!
//! The rooms, and the one question each answers, are described in `docs/architecture.md`.
//! Imports point one way: `limits <- wire <- {acl, tenant} <- sip <- shard <- control`.

pub mod acl;
pub mod config;
#[cfg(feature = "control")]
pub mod control;
pub mod limits;
pub mod shard;
pub mod sip;
pub mod tenant;
pub mod wire;
