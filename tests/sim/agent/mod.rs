//! Agents around the edge: user agents (phones and carriers) and an attacker. Written without the
//! crate under test, but for its clock and its random numbers.

pub(crate) mod attacker;
mod calls;
mod dialog;
mod io;
mod registration;
pub(crate) mod transactions;
mod user_agent;

pub(crate) use calls::Outcome;
pub(crate) use io::{Datagram, Io, NEVER};
pub(crate) use user_agent::{Identity, Manners, UserAgent};

use self::attacker::Attacker;
use ringfence::sip::Time;

/// Whoever is at an address.
#[derive(Debug)]
pub(crate) enum Agent {
    User(Box<UserAgent>),
    Attacker(Attacker),
}

impl Agent {
    pub(crate) fn handle(&mut self, io: &mut Io<'_>, listener: usize, bytes: &[u8]) {
        match self {
            Self::User(user) => user.handle(io, listener, bytes),
            Self::Attacker(_) => {}
        }
    }

    pub(crate) fn poll_timeout(&self) -> Time {
        match self {
            Self::User(user) => user.poll_timeout(),
            Self::Attacker(attacker) => attacker.next_at,
        }
    }

    pub(crate) fn handle_timeout(&mut self, io: &mut Io<'_>) {
        match self {
            Self::User(user) => user.handle_timeout(io),
            Self::Attacker(attacker) => attacker.attack(io),
        }
    }

    pub(crate) fn user(&self) -> Option<&UserAgent> {
        match self {
            Self::User(user) => Some(user),
            Self::Attacker(_) => None,
        }
    }

    pub(crate) fn user_mut(&mut self) -> Option<&mut UserAgent> {
        match self {
            Self::User(user) => Some(user),
            Self::Attacker(_) => None,
        }
    }
}
