//! Somebody who sends what he should not: garbage, mutilated copies, requests without credentials,
//! credentials, tokens and branches of others, and addresses of bystanders.

use ringfence::sip::{Random, Time};

use super::io::Io;
use crate::message::Message;

/// Nobody is there; nothing may ever be sent there.
pub(crate) const BYSTANDER: &str = "203.0.113.66:5060";

/// The header that marks what an attacker sent; it replaces the one that marks other messages.
pub(crate) const MARK: &str = "X-Evl";

/// An attacker.
#[derive(Debug)]
pub(crate) struct Attacker {
    pub(crate) name: String,
    /// Its own address.
    pub(crate) local: String,
    /// Milliseconds between attacks, about; 0 = it rests.
    pub(crate) idle_ms: u64,
    pub(crate) next_at: Time,
    /// What it has overheard: messages that the edge has taken.
    pub(crate) overheard: Vec<Vec<u8>>,
}

impl Attacker {
    pub(crate) fn attack(&mut self, io: &mut Io<'_>) {
        if self.idle_ms == 0 {
            self.next_at = super::NEVER;
            return;
        }
        self.next_at = io.within_ms(self.idle_ms / 2, self.idle_ms * 3 / 2);
        let bytes = match io.random.below(8) {
            0 => garbage(io.random),
            1 | 2 => self.mutilated(io.random),
            3 => self.request_without_credentials(io),
            4 => self.stray_response(io),
            5 => self.foreign_credentials(io),
            6 => self.foreign_token(io),
            _ => self.keep_alive(io.random),
        };
        let listener = io.random.below(io.listeners.len() as u64) as usize;
        io.send(listener, bytes);
    }

    fn any_overheard(
        &self,
        random: &mut Random,
        matches: impl Fn(&Message) -> bool,
    ) -> Option<Message> {
        let all: Vec<_> = self
            .overheard
            .iter()
            .filter_map(|bytes| Message::parse(bytes))
            .filter(|message| matches(message))
            .collect();
        let which = random.below(all.len() as u64) as usize;
        all.into_iter().nth(which).map(|mut message| {
            message
                .headers
                .retain(|(name, _)| name != "X-Sim" && name != "Content-Length");
            for (_, value) in &mut message.headers {
                // Whoever holds a token or branch whole may use it; none of these is.
                *value = value
                    .replace("z9hG4bKAQ", "z9hG4bKAR")
                    .replace("sip:AQ", "sip:AR");
            }
            message.start = message.start.replace("sip:AQ", "sip:AR");
            message.add(MARK, "1");
            message
        })
    }

    /// A copy with octets changed, cut or doubled.
    fn mutilated(&self, random: &mut Random) -> Vec<u8> {
        let Some(message) = self.any_overheard(random, |_| true) else {
            return garbage(random);
        };
        let mut bytes = message.to_bytes();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len() as u64) as usize;
            match random.below(4) {
                0 => bytes[at] = random.below(256) as u8,
                1 => bytes.truncate(at.max(1)),
                2 => bytes.insert(at, b"\r\n;,<>\"@: \0"[random.below(11) as usize]),
                _ => {
                    let end = (at + random.below(200) as usize).min(bytes.len());
                    let part = bytes[at..end].to_vec();
                    bytes.splice(at..at, part);
                }
            }
        }
        bytes
    }

    fn via(&self, io: &mut Io<'_>) -> String {
        let serial = io.next_serial();
        let host = match io.random.below(3) {
            0 => BYSTANDER,
            _ => &self.local,
        };
        let extra = match io.random.below(3) {
            0 => ";maddr=203.0.113.66",
            1 => ";received=203.0.113.66;rport=5060",
            _ => ";rport",
        };
        format!(
            "SIP/2.0/UDP {host};branch=z9hG4bK-{}-{serial}{extra}",
            self.name
        )
    }

    fn request_without_credentials(&self, io: &mut Io<'_>) -> Vec<u8> {
        let methods = [
            "INVITE",
            "REGISTER",
            "MESSAGE",
            "SUBSCRIBE",
            "OPTIONS",
            "BYE",
            "X",
        ];
        let method = methods[io.random.below(methods.len() as u64) as usize];
        let uris = [
            "sip:alice@digest.test",
            "sip:+4930123@digest.test",
            "sip:digest.test",
            "sip:bystander@203.0.113.66:5060",
            "sip:alice@digest.test;maddr=203.0.113.66",
            "tel:+4930123",
        ];
        let uri = uris[io.random.below(uris.len() as u64) as usize];
        let serial = io.next_serial();
        let mut request = Message::request(method, uri);
        let via = self.via(io);
        request.add("Via", via);
        request.add("Max-Forwards", io.random.below(71).to_string());
        if io.chance(30) {
            request.add("Route", format!("<sip:{BYSTANDER};lr>"));
        }
        request.add("From", format!("<sip:alice@digest.test>;tag=e{serial}"));
        let to_tag = if io.chance(20) { ";tag=1" } else { "" };
        request.add("To", format!("<sip:alice@digest.test>{to_tag}"));
        request.add("Call-ID", format!("evil-{serial}"));
        request.add("CSeq", format!("1 {method}"));
        request.add("Contact", format!("<sip:alice@{BYSTANDER}>"));
        request.add(MARK, "1");
        request.to_bytes()
    }

    /// A response to nothing, or by a branch that is not this attacker's.
    fn stray_response(&self, io: &mut Io<'_>) -> Vec<u8> {
        let overheard = self.any_overheard(io.random, |message| !message.is_request());
        let Some(mut response) = overheard else {
            return garbage(io.random);
        };
        let status = [100, 180, 200, 302, 401, 486, 503, 603][io.random.below(8) as usize];
        response.start = format!("SIP/2.0 {status} Evil");
        for (name, value) in &mut response.headers {
            if name.eq_ignore_ascii_case("Via") {
                // A branch close to one of the edge's own.
                if let Some(at) = value.find("branch=z9hG4bK") {
                    let at = at + 14 + io.random.below(8) as usize;
                    if value.is_char_boundary(at) && at < value.len() {
                        let other = if value[at..].starts_with('A') {
                            "B"
                        } else {
                            "A"
                        };
                        value.replace_range(at..=at, other);
                    }
                }
                value.push_str(";received=203.0.113.66");
                break;
            }
        }
        response.to_bytes()
    }

    /// A REGISTER or INVITE that was accepted, again, for this attacker's Contact.
    fn foreign_credentials(&self, io: &mut Io<'_>) -> Vec<u8> {
        let overheard = self.any_overheard(io.random, |message| {
            message.get("Authorization").is_some() || message.get("Proxy-Authorization").is_some()
        });
        let Some(mut request) = overheard else {
            return garbage(io.random);
        };
        let via = self.via(io);
        let cseq = request.cseq_number() + io.random.below(3) as u32;
        let method = request.method().to_owned();
        for (name, value) in &mut request.headers {
            match name.as_str() {
                "Contact" => *value = format!("<sip:alice@{}>", self.local),
                "Via" => via.clone_into(value),
                "CSeq" => *value = format!("{cseq} {method}"),
                _ => {}
            }
        }
        request.to_bytes()
    }

    /// A request within a dialog of others, made to fit another call.
    fn foreign_token(&self, io: &mut Io<'_>) -> Vec<u8> {
        let overheard = self.any_overheard(io.random, |message| message.get("Route").is_some());
        let Some(mut request) = overheard else {
            return garbage(io.random);
        };
        let via = self.via(io);
        let serial = io.next_serial();
        for (name, value) in &mut request.headers {
            match name.as_str() {
                "Via" => via.clone_into(value),
                "Call-ID" => *value = format!("evil-{serial}"),
                _ => {}
            }
        }
        request.to_bytes()
    }

    fn keep_alive(&self, random: &mut Random) -> Vec<u8> {
        let stun = b"\0\x01\0\0\x21\x12\xa4\x42sim-sim-sim-";
        match random.below(4) {
            0 => b"\r\n\r\n".to_vec(),
            1 => vec![0; 4],
            2 => stun.to_vec(),
            _ => stun[..random.below(20) as usize].to_vec(),
        }
    }
}

fn garbage(random: &mut Random) -> Vec<u8> {
    let length = random.below(300);
    (0..length).map(|_| random.below(256) as u8).collect()
}
