//! SIP bytes: scanning, typed views and splicing; no state, no clock, no I/O.
//!
//! Owns the grammar of RFC 3261 §25 as far as a registrar and proxy read it. Must not know what a
//! transaction or a tenant is. Implements RFC 3261 §7, §19.1, §20, §25; RFC 3581 §3 (rport);
//! RFC 2617/7616/8760 digest fields; RFC 5626 §4.1 contact parameters.

#![forbid(unsafe_code)]

mod auth;
mod class;
mod cursor;
mod error;
mod head;
mod header;
mod keys;
mod message;
mod method;
#[cfg(test)]
mod naive;
mod name_addr;
mod params;
mod response;
mod scan;
mod splice;
mod start_line;
mod stream;
mod uri;
mod uri_equality;
mod value;
mod values;
mod via;
mod writer;

pub use auth::{Credentials, DigestAlgorithm};
pub use error::{LogLevel, ParseError, Reason, Verdict};
pub use header::HeaderName;
pub use message::{CSeq, Field, Fields, Message, RequestLine};
pub use method::Method;
pub use name_addr::{Contacts, NameAddr, NameAddrs};
pub use params::{Param, Params};
pub use response::{ReplyTo, ResponseHead, reason_phrase};
pub use scan::{Index, Rejected};
pub use splice::Splice;
pub use stream::Framing;
pub use uri::{Scheme, Uri, host_addr};
pub use value::{parse_decimal, split_values, trim};
pub use via::{Transport, Via, Vias};
pub use writer::Writer;
