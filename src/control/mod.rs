//! The control side: start-up, local socket, provisioning, commands to shards, shutdown.
//!
//! Owns the threads that may block and allocate. Speaks to shards by commands and counters only.
