//! What must hold at all times, judged by what goes into the edge and what comes out of it.

mod registrar;
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ringfence::sip::{BindingRow, Time};

use self::registrar::Registrar;
use crate::agent::attacker::MARK;
use crate::message::Message;

/// What was the cause of one call into the edge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cause<'a> {
    /// Where the message in hand came from; `None` for a timer.
    pub(crate) source: Option<SocketAddr>,
    /// Its octets; empty for none.
    pub(crate) bytes: &'a [u8],
}

/// A message as its agent sent it.
#[derive(Debug)]
struct Sent {
    max_forwards: Option<u32>,
    vias: usize,
    body: String,
}

/// What the edge answered first to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Final {
    status: u16,
    to_tag: String,
    /// True for the 503 that an edge without room gives without keeping anything.
    overloaded: bool,
}

/// The judge.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    sent: BTreeMap<String, Sent>,
    finals: BTreeMap<(SocketAddr, String), Final>,
    /// INVITEs that the edge sent: top Via and where to.
    invites: BTreeSet<(String, SocketAddr)>,
    /// When requests to addresses of record were first taken: by their top Via.
    asked_at: BTreeMap<String, (Time, String)>,
    registrar: Registrar,
    /// Where attackers are.
    pub(crate) attackers: BTreeSet<IpAddr>,
    /// Responses that a phone was given a second time to its REGISTER.
    pub(crate) repeated_registers: u64,
}

impl Oracle {
    /// An agent sends `bytes`, which carry `mark`.
    pub(crate) fn note_sent(&mut self, mark: &str, bytes: &[u8]) {
        if self.sent.contains_key(mark) {
            return;
        }
        if let Some(message) = Message::parse(bytes) {
            let sent = Sent {
                max_forwards: message.get("Max-Forwards").and_then(|it| it.parse().ok()),
                vias: message.all("Via").len(),
                body: message.body,
            };
            self.sent.insert(mark.to_owned(), sent);
        }
    }

    /// The clock of the wall was set: nonces tell no time any more.
    pub(crate) fn note_clock_jump(&mut self) {
        self.registrar.clock_is_good = false;
    }

    /// Tenants changed: what was refused without a trace may be judged anew when it comes again.
    pub(crate) fn note_tenants_changed(&mut self) {
        let is_refusal = |it: &Final| matches!(it.status, 401 | 403 | 404 | 407);
        self.finals.retain(|_, first| !is_refusal(first));
    }

    /// The node was started again, and has forgotten everything.
    pub(crate) fn note_restart(&mut self) {
        self.finals.clear();
        self.asked_at.clear();
        self.registrar.forget();
    }

    /// One call into the edge: its cause, and everything that it sent. `cramped` is true when the
    /// edge had no room to remember what it answered: then it may answer anew.
    pub(crate) fn judge(
        &mut self,
        now: Time,
        cause: &Cause<'_>,
        sends: &[(SocketAddr, &[u8])],
        cramped: bool,
    ) -> Result<(), String> {
        let request = Message::parse(cause.bytes).filter(Message::is_request);
        if let Some(request) = &request {
            let key = request.top_via().to_owned();
            let aor = request.request_uri().to_owned();
            self.asked_at.entry(key).or_insert((now, aor));
        }
        for &(to, bytes) in sends {
            if bytes.iter().all(|octet| matches!(octet, 0 | b'\r' | b'\n')) || bytes[0] < b'A' {
                continue;
            }
            let is_response = bytes.starts_with(b"SIP/2.0 ");
            if is_response && self.attackers.contains(&to.ip()) {
                // It is told what it asked for, however broken.
                continue;
            }
            let Some(message) = Message::parse(bytes) else {
                return Err(format!("the edge sent\n{}", String::from_utf8_lossy(bytes)));
            };
            let judged = if message.is_request() {
                self.judge_request(to, &message)
            } else {
                self.judge_response(now, to, &message, cramped)
            };
            judged.map_err(|fault| format!("{fault}; the edge sent to {to}\n{}", text(bytes)))?;
            if let (Some(request), Some(source)) = (&request, cause.source)
                && request.method() == "REGISTER"
                && message.method() == "REGISTER"
            {
                let repeated = self.registrar.judge(now, source, request, &message)?;
                self.repeated_registers += u64::from(repeated);
            }
        }
        Ok(())
    }

    fn judge_request(&mut self, to: SocketAddr, request: &Message) -> Result<(), String> {
        if request.get(MARK).is_some() {
            return Err("a request of an attacker was forwarded".to_owned());
        }
        if request.get("Proxy-Authorization").is_some() {
            return Err("credentials for our realm left the edge".to_owned());
        }
        if request
            .headers
            .iter()
            .any(|(_, value)| value.contains("forged@"))
        {
            return Err("an identity was believed that must not be".to_owned());
        }
        let via = request.top_via().to_owned();
        let Some(mark) = request.get("X-Sim") else {
            // RFC 3261 §9.1, §17.1.1.3: the CANCEL and the ACK of the edge itself go by the way of
            // their INVITE.
            let of_invite = matches!(request.method(), "ACK" | "CANCEL");
            return if of_invite && self.invites.contains(&(via, to)) {
                Ok(())
            } else {
                Err("a request that nobody sent".to_owned())
            };
        };
        if request.method() == "INVITE" {
            self.invites.insert((via, to));
        }
        let Some(sent) = self.sent.get(mark) else {
            return Err("a request with a mark that nobody made".to_owned());
        };
        if request.all("Via").len() != sent.vias + 1 {
            return Err("not one Via more".to_owned());
        }
        let max_forwards: Option<u32> = request.get("Max-Forwards").and_then(|it| it.parse().ok());
        if let Some(before) = sent.max_forwards
            && max_forwards != before.checked_sub(1)
        {
            return Err(format!("Max-Forwards was {before}"));
        }
        if request.body != sent.body {
            return Err("the body is another".to_owned());
        }
        Ok(())
    }

    fn judge_response(
        &mut self,
        now: Time,
        to: SocketAddr,
        response: &Message,
        cramped: bool,
    ) -> Result<(), String> {
        if response.get(MARK).is_some() {
            return Err("a response of an attacker was forwarded".to_owned());
        }
        if let Some(sent) = response.get("X-Sim").and_then(|mark| self.sent.get(mark)) {
            if response.all("Via").len() + 1 != sent.vias {
                return Err("not one Via less".to_owned());
            }
            if response.body != sent.body {
                return Err("the body is another".to_owned());
            }
        }
        let status = response.status();
        if status == 480 && response.get("X-Sim").is_none() {
            self.judge_unreachable(now, response)?;
        }
        if status < 200 || response.method() == "REGISTER" {
            return Ok(());
        }
        let key = (to, format!("{} {}", response.top_via(), response.method()));
        let this = Final {
            status,
            to_tag: response.tag_of_to().to_owned(),
            overloaded: status == 503 && response.get("Retry-After").is_some(),
        };
        let Some(first) = self.finals.get(&key) else {
            self.finals.insert(key, this);
            return Ok(());
        };
        let is_2xx = |status: u16| (200..300).contains(&status);
        // RFC 3261 §13.2.2.4, §16.7 item 5: several branches may answer an INVITE, also one that
        // was given up.
        let is_forwarded = response.get("X-Sim").is_some();
        let forked = response.method() == "INVITE" && is_2xx(status) && is_forwarded;
        if *first == this || forked {
            return Ok(());
        }
        // The edge answers CANCEL without a transaction: when the INVITE is forgotten, its CANCEL,
        // still coming, is for nothing.
        let late_cancel = response.method() == "CANCEL" && (first.status, status) == (200, 481);
        if first.overloaded || late_cancel || cramped {
            // The refusal left no trace, and the request came again when there was room.
            self.finals.insert(key, this);
            return Ok(());
        }
        Err(format!("a second final response, after {first:?}"))
    }

    /// Whoever was bound all the time since a request came is not unreachable.
    fn judge_unreachable(&self, now: Time, response: &Message) -> Result<(), String> {
        let found = self.asked_at.iter().find(|(via, _)| {
            via.split(';').next() == response.top_via().split(';').next()
                && crate::message::parameter(via, "branch") == Some(response.branch())
        });
        if let Some((_, (since, uri))) = found
            && self.registrar.was_bound(uri, *since, now)
        {
            return Err(format!("{uri} is registered"));
        }
        Ok(())
    }

    /// An operator removed the bindings of `aor`.
    pub(crate) fn note_removed(&mut self, aor: &str) {
        self.registrar.remove(aor);
    }

    /// The bindings that the edge holds are those that its 200s have told.
    pub(crate) fn judge_bindings(&mut self, now: Time, rows: &[BindingRow]) -> Result<(), String> {
        self.registrar.compare(now, rows)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
