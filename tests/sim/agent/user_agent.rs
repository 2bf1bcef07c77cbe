//! A user agent: a phone or a carrier's SBC, by what it is given.

use std::net::SocketAddr;

use ringfence::sip::Time;

use super::calls::Calls;
use super::io::{Io, NEVER};
use super::registration::Registration;
use super::transactions::{Happening, Purpose, Transactions};
use crate::digest::{Challenge, Login};
use crate::message::{Message, sent_by};

/// Who a user agent is and how it is connected.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Unique.
    pub(crate) name: String,
    /// The address it knows itself by.
    pub(crate) local: SocketAddr,
    /// User part and host of its URI.
    pub(crate) user: String,
    pub(crate) domain: String,
    /// What it answers challenges with.
    pub(crate) login: Option<Login>,
    /// Where it sends what is in no dialog.
    pub(crate) listener: usize,
    /// RFC 3581: whether its Via asks for rport.
    pub(crate) rport: bool,
}

impl Identity {
    pub(crate) fn uri(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }

    pub(crate) fn contact(&self) -> String {
        format!("sip:{}@{}", self.user, self.local)
    }

    /// A Via value with a new branch.
    pub(super) fn via(&self, serial: u64) -> String {
        let rport = if self.rport { ";rport" } else { "" };
        let Self { local, name, .. } = self;
        format!("SIP/2.0/UDP {local}{rport};branch=z9hG4bK-{name}-{serial}")
    }
}

/// What a user agent does of its own accord.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manners {
    /// Whom it calls; nobody when empty.
    pub(crate) calls: Vec<String>,
    /// Milliseconds between ideas, about.
    pub(crate) idle_ms: u64,
    /// In 100 INVITEs: how many are refused, and how many are left to ring.
    pub(crate) refuses: u64,
    pub(crate) leaves_ringing: u64,
    /// In 100 calls out: how many are cancelled.
    pub(crate) cancels: u64,
    /// In 100 calls: how many are refreshed by a re-INVITE of this end.
    pub(crate) refreshes: u64,
    /// In 100 calls: how many this end hangs up.
    pub(crate) hangs_up: u64,
    /// In 100 ideas: how many are to register anew, un-register, reboot.
    pub(crate) registers: u64,
    pub(crate) unregisters: u64,
    pub(crate) reboots: u64,
    /// In 100 INVITEs: how many are refused as by a carrier that is full.
    pub(crate) overloaded: u64,
}

/// A user agent.
#[derive(Debug)]
pub(crate) struct UserAgent {
    pub(crate) identity: Identity,
    pub(crate) manners: Manners,
    pub(crate) registration: Option<Registration>,
    pub(crate) calls: Calls,
    pub(super) transactions: Transactions,
    /// The challenge that requests other than REGISTER are answered with.
    pub(super) challenge: Option<Challenge>,
    idea_at: Time,
    /// Until when it is switched off.
    pub(crate) off_until: Time,
}

impl UserAgent {
    pub(crate) fn new(identity: Identity, manners: Manners, registers: bool, now: Time) -> Self {
        let registration = registers.then(|| Registration::new(&identity, now));
        Self {
            identity,
            manners,
            registration,
            calls: Calls::default(),
            transactions: Transactions::default(),
            challenge: None,
            idea_at: now,
            off_until: now,
        }
    }

    /// Takes other manners from now on.
    pub(crate) fn behave(&mut self, manners: Manners, now: Time) {
        self.manners = manners;
        self.idea_at = now;
    }

    /// What is under way, registration apart.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        let mut unfinished = self.transactions.unfinished();
        unfinished.extend(self.calls.unfinished());
        unfinished
    }

    pub(super) fn via(&self, io: &mut Io<'_>) -> String {
        let serial = io.next_serial();
        self.identity.via(serial)
    }

    pub(crate) fn handle(&mut self, io: &mut Io<'_>, listener: usize, bytes: &[u8]) {
        if io.now < self.off_until || bytes.iter().all(|octet| matches!(octet, 0 | b'\r' | b'\n')) {
            return;
        }
        let Some(message) = Message::parse(bytes) else {
            let text = String::from_utf8_lossy(bytes).into_owned();
            io.complain(format!("{} can not read\n{text}", self.identity.name));
            return;
        };
        self.check(io, listener, &message);
        if let Some(happening) = self.transactions.handle(io, listener, message) {
            self.on_happening(io, happening);
        }
    }

    /// RFC 3261 §18.1.2, §18.2.1: what every message must be.
    fn check(&self, io: &mut Io<'_>, listener: usize, message: &Message) {
        let name = &self.identity.name;
        let vias = message.all("Via");
        if message.is_request() {
            if sent_by(message.top_via()) != io.listeners[listener] {
                let via = message.top_via().to_owned();
                io.complain(format!(
                    "{name} is sent a request by {listener} with Via {via}"
                ));
            }
        } else if vias.len() != 1 || message.sent_by() != self.identity.local.to_string() {
            let start = &message.start;
            io.complain(format!("{name} is sent {start} with Via {vias:?}"));
        }
    }

    fn on_happening(&mut self, io: &mut Io<'_>, happening: Happening) {
        match happening {
            Happening::Response(Purpose::Register, response) => self.on_registered(io, &response),
            Happening::TimedOut(Purpose::Register) => self.on_register_timeout(io),
            Happening::Response(purpose, response) => self.on_response(io, purpose, &response),
            Happening::TimedOut(purpose) => self.on_timeout(io, purpose),
            Happening::Request(request, server) => self.on_request(io, &request, server),
            Happening::NoAck(invite) => self.on_no_ack(io, &invite),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Time {
        let registration = self
            .registration
            .as_ref()
            .map_or(NEVER, Registration::due_at);
        self.transactions
            .poll_timeout()
            .min(self.calls.due_at())
            .min(registration)
            .min(self.idea_at)
            .max(self.off_until)
    }

    pub(crate) fn handle_timeout(&mut self, io: &mut Io<'_>) {
        if io.now < self.off_until {
            return;
        }
        let mut happenings = Vec::new();
        self.transactions.handle_timeout(io, &mut happenings);
        for happening in happenings {
            self.on_happening(io, happening);
        }
        self.take_steps(io);
        self.register_if_due(io);
        if self.idea_at <= io.now {
            self.have_idea(io);
        }
    }

    fn have_idea(&mut self, io: &mut Io<'_>) {
        let idle_ms = self.manners.idle_ms;
        if idle_ms == 0 {
            self.idea_at = NEVER;
            return;
        }
        self.idea_at = io.within_ms(idle_ms / 2, idle_ms * 3 / 2);
        let Manners {
            registers,
            unregisters,
            reboots,
            cancels,
            ..
        } = self.manners;
        let dice = io.random.below(100);
        if dice < registers + unregisters {
            if let Some(registration) = &mut self.registration {
                registration.want(dice < registers, io.now);
            }
        } else if dice < registers + unregisters + reboots {
            self.reboot(io);
        } else if !self.manners.calls.is_empty() {
            let which = io.random.below(self.manners.calls.len() as u64) as usize;
            let uri = self.manners.calls[which].clone();
            if io.chance(10) {
                self.ask(io, &uri);
            } else {
                let hold_ms = io.random.below(8_000) + 200;
                let cancel = io.chance(cancels);
                self.dial(io, &uri, hold_ms, cancel);
            }
        }
    }

    /// Everything but the settings is forgotten.
    fn reboot(&mut self, io: &mut Io<'_>) {
        self.transactions.forget();
        self.calls.forget();
        self.challenge = None;
        self.off_until = io.within_ms(100, 4_000);
        if let Some(registration) = &mut self.registration {
            registration.restart(&self.identity, io.next_serial(), self.off_until);
        }
    }
}
