//! Random events.
