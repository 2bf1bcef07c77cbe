//! An open-loop load generator for SIP registrars and proxies: a fixed schedule, latency from the
//! intended send time, many source addresses on one core, its own answering party.
//!
//! All addresses it sends from and to lie in 127.0.0.0/8.

mod call;
mod cli;
mod compare;
mod digest;
mod floor;
mod load;
mod message;
mod mixed;
mod process;
mod refresh;
mod register;
mod report;
mod sipp;
mod socket;

use std::process::ExitCode;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
