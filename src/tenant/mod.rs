//! Tenants: what is provisioned (`model`), the file it is read from (`provision`), and the
//! immutable tables that shards read (`tables`).
//!
//! Owns names, SIDs, validation and compilation. Must not do I/O but reading a users file named by
//! the provisioning file; must not know SIP messages.

#![forbid(unsafe_code)]

mod tables;

pub use tables::{
    AccountId, Credential, CredentialListId, Destination, Domain, DomainId, Route, SecureMedia,
    Tables, Target, Trunk, TrunkId,
};
