//! The configuration file: every key, its bounds, its default, and errors that name the line.
//!
//! Owns syntax and bounds. Must not open sockets or know tenants.

#![forbid(unsafe_code)]
