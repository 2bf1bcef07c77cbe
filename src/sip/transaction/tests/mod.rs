//! Transactions driven from outside.
