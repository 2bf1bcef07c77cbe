//! Tenants: what is provisioned (`model`), the file it is read from (`provision`), and the
//! immutable tables that shards read (`tables`).
//!
//! Owns names, SIDs, validation and compilation. Must not do I/O but reading a users file named by
//! the provisioning file; must not know SIP messages.
//!
//! `provision` reads a file into the `model`, whose values are types of `text`; `check` judges what
//! depends on several objects; `compile` makes `Tables`.

#![forbid(unsafe_code)]

mod check;
mod check_trunk;
mod compile;
#[cfg(test)]
mod compile_tests;
mod credentials;
mod directory;
mod index;
pub mod model;
mod number;
pub mod provision;
mod routes;
mod sid;
mod tables;
pub mod text;

pub use check::{Bounds, Step, Violation, check};
pub use compile::{CompileError, Compiler, compile};
pub use number::normalize_number;
pub use sid::{Sid, SidKind};
pub use tables::{
    AccountId, Credential, CredentialListId, Destination, Domain, DomainId, Route, SecureMedia,
    Tables, Target, Trunk, TrunkId,
};
