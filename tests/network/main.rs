//! The whole system: the binary in a process of its own, spoken to over real UDP by SIP agents that
//! share no code with it. Address translation happens in network namespaces, for which the tests
//! need to be root; they fail and say so where they are not.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]

mod agent;
mod answers;
mod bad_input;
mod call;
mod edge;
mod full;
mod listeners;
mod message;
mod namespace;
mod nat;
mod register;
mod restart;
mod shards;
