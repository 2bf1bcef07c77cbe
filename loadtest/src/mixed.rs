//! Registrations, OPTIONS and calls at once.

use std::io;

use crate::call::CallThrough;
use crate::load::{Exchange, Run, Scenario};
use crate::register::{Options, Register};

/// Of ten exchanges six are registrations, three OPTIONS and one a call.
#[derive(Debug)]
pub(crate) struct Mixed {
    /// The phones.
    pub(crate) register: Register,
    /// The pings.
    pub(crate) options: Options,
    /// The calls.
    pub(crate) call: CallThrough,
}

impl Mixed {
    fn part(&mut self, index: u64) -> &mut dyn ScenarioPart {
        match index % 10 {
            0..=5 => &mut self.register,
            6..=8 => &mut self.options,
            _ => &mut self.call,
        }
    }
}

/// The parts of [`Scenario`] that are chosen by exchange.
trait ScenarioPart {
    fn start(&mut self, run: &mut Run, exchange: Exchange, index: u64);
    fn again(&mut self, run: &mut Run, exchange: Exchange);
}

impl<S: Scenario> ScenarioPart for S {
    fn start(&mut self, run: &mut Run, exchange: Exchange, index: u64) {
        Scenario::start(self, run, exchange, index);
    }
    fn again(&mut self, run: &mut Run, exchange: Exchange) {
        Scenario::again(self, run, exchange);
    }
}

impl Scenario for Mixed {
    fn start(&mut self, run: &mut Run, exchange: Exchange, index: u64) {
        self.part(index).start(run, exchange, index);
    }

    fn again(&mut self, run: &mut Run, exchange: Exchange) {
        let index = run.index(exchange);
        self.part(index).again(run, exchange);
    }

    fn receive(&mut self, run: &mut Run) -> io::Result<usize> {
        let counts = [
            self.register.receive(run)?,
            self.options.receive(run)?,
            self.call.receive(run)?,
        ];
        Ok(counts.into_iter().max().unwrap_or(0))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.register.flush()?;
        self.options.flush()?;
        self.call.flush()
    }

    fn datagrams(&self) -> (u64, u64) {
        let parts = [
            self.register.datagrams(),
            self.options.datagrams(),
            self.call.datagrams(),
        ];
        parts
            .iter()
            .fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
    }

    fn lost(&mut self, _exchange: Exchange) {}
}
