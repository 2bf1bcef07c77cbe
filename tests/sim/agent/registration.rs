//! How a phone registers (RFC 3261 §10.2).

use ringfence::sip::Time;

use super::UserAgent;
use super::io::{Io, NEVER};
use super::transactions::Purpose;
use super::user_agent::Identity;
use crate::digest::Challenge;
use crate::message::{Message, parameter, uri_of};

/// What a phone knows about its registration.
#[derive(Debug)]
pub(crate) struct Registration {
    call_id: String,
    cseq: u32,
    /// Sent with the contact; empty = none.
    pub(crate) instance: String,
    pub(crate) expires_s: u32,
    /// What the user wants.
    wanted: bool,
    due_at: Time,
    /// True while a REGISTER is under way.
    busy: bool,
    challenge: Option<Challenge>,
    /// Challenges in a row without a 200.
    challenged: u32,
    /// True while its credential is not there.
    revoked: bool,
    /// Until when the last 200 says that the contact is bound.
    pub(crate) until: Option<Time>,
}

impl Registration {
    pub(crate) fn new(identity: &Identity, now: Time) -> Self {
        Self {
            call_id: format!("reg-{}", identity.name),
            cseq: 0,
            instance: String::new(),
            expires_s: 60,
            wanted: true,
            due_at: now,
            busy: false,
            challenge: None,
            challenged: 0,
            revoked: false,
            until: None,
        }
    }

    /// RFC 3261 §10.2: a rebooted phone has another Call-ID.
    pub(super) fn restart(&mut self, identity: &Identity, serial: u64, now: Time) {
        *self = Self {
            call_id: format!("reg-{}-{serial}", identity.name),
            instance: std::mem::take(&mut self.instance),
            expires_s: self.expires_s,
            revoked: self.revoked,
            ..Self::new(identity, now)
        };
    }

    /// Its credential was taken back, or is there again.
    pub(crate) fn expect_refusal(&mut self, revoked: bool) {
        self.revoked = revoked;
        self.challenged = 0;
    }

    /// The user wants the phone registered, or not.
    pub(crate) fn want(&mut self, wanted: bool, now: Time) {
        self.wanted = wanted;
        self.due_at = now;
    }

    pub(super) fn due_at(&self) -> Time {
        if self.busy { NEVER } else { self.due_at }
    }

    /// True when the phone was told that it is registered for some time to come.
    pub(crate) fn is_registered(&self, now: Time) -> bool {
        self.wanted && self.until.is_some_and(|until| until > now)
    }
}

impl UserAgent {
    pub(super) fn register_if_due(&mut self, io: &mut Io<'_>) {
        let due = self
            .registration
            .as_ref()
            .is_some_and(|it| it.due_at() <= io.now);
        if due {
            self.register(io);
        }
    }

    fn register(&mut self, io: &mut Io<'_>) {
        let via = self.via(io);
        let Self {
            identity,
            registration: Some(registration),
            transactions,
            ..
        } = self
        else {
            return;
        };
        registration.busy = true;
        registration.cseq += 1;
        let uri = format!("sip:{}", identity.domain);
        let mut request = Message::request("REGISTER", &uri);
        request.add("Via", via);
        request.add("Max-Forwards", "70");
        request.add(
            "From",
            format!("<{}>;tag=r{}", identity.uri(), registration.cseq),
        );
        request.add("To", format!("<{}>", identity.uri()));
        request.add("Call-ID", registration.call_id.as_str());
        request.add("CSeq", format!("{} REGISTER", registration.cseq));
        let mut contact = format!("<{}>", identity.contact());
        if !registration.instance.is_empty() {
            contact += &format!(";+sip.instance=\"{}\"", registration.instance);
        }
        request.add("Contact", contact);
        let expires_s = if registration.wanted {
            registration.expires_s
        } else {
            0
        };
        request.add("Expires", expires_s.to_string());
        request.add("User-Agent", format!("sim {}", identity.name));
        if let (Some(challenge), Some(login)) = (&mut registration.challenge, &identity.login) {
            request.add("Authorization", challenge.answer(login, "REGISTER", &uri));
        }
        transactions.start(io, Purpose::Register, identity.listener, request);
    }

    pub(super) fn on_registered(&mut self, io: &mut Io<'_>, response: &Message) {
        let Self {
            identity,
            registration: Some(registration),
            ..
        } = self
        else {
            return;
        };
        let status = response.status();
        if status < 200 || response.cseq_number() != registration.cseq {
            return;
        }
        registration.busy = false;
        match status {
            200 => {
                registration.challenged = 0;
                let contact = identity.contact();
                let bound = response
                    .all("Contact")
                    .into_iter()
                    .find(|it| uri_of(it) == contact);
                let expires_s = bound
                    .and_then(|value| parameter(value, "expires"))
                    .and_then(|seconds| seconds.parse::<u64>().ok());
                registration.until = expires_s.map(|seconds| io.now.plus_ms(seconds * 1000));
                registration.due_at = match expires_s {
                    Some(seconds) => io.within_ms(seconds * 400, seconds * 700),
                    None => NEVER,
                };
            }
            401 => {
                registration.challenge = Challenge::of(response);
                registration.challenged += 1;
                // A nonce may age while its REGISTER is on the way, and the clock may jump; but a
                // phone with the right password is not challenged for ever.
                let refused = registration.challenged > 8 && !registration.revoked;
                if registration.challenge.is_none() || refused {
                    io.complain(format!("{} can not log in", identity.name));
                }
                registration.due_at = if registration.challenged > 3 {
                    io.within_ms(500, 1_500)
                } else {
                    io.now
                };
            }
            // A later REGISTER of this phone came first, or the edge has no room now.
            500 | 503 => registration.due_at = io.within_ms(500, 3_000),
            _ => io.complain(format!("{} is refused: {}", identity.name, response.start)),
        }
    }

    pub(super) fn on_register_timeout(&mut self, io: &mut Io<'_>) {
        if let Some(registration) = &mut self.registration {
            registration.busy = false;
            registration.due_at = io.within_ms(500, 2_000);
        }
    }
}
