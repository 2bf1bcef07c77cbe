//! A SIP user agent on a UDP socket of its own: a phone, or a carrier's SBC.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use md5::{Digest, Md5};

use super::message::{Message, challenge_parameter, parameter};

/// How long anything may take: the machine may be busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// RFC 3261 §17.1.1.1: T1.
const T1: Duration = Duration::from_millis(500);

/// The domain of every user.
pub(crate) const DOMAIN: &str = "example.test";
/// The realm of the edge.
pub(crate) const REALM: &str = "example.test";
/// The password of every user.
pub(crate) const PASSWORD: &str = "Wonderland-2026";

/// One user agent.
pub(crate) struct Agent {
    socket: UdpSocket,
    /// Where its requests go.
    edge: SocketAddr,
    /// User part of its address of record.
    pub(crate) user: String,
    /// Host and port that it believes to have, as in its Via and Contact.
    pub(crate) claimed: String,
    serial: Cell<u32>,
    seen: RefCell<HashSet<String>>,
    /// Keep-alives received.
    keepalives: Cell<u32>,
    /// Start lines of all that was received, for whom a test fails.
    trace: RefCell<Vec<String>>,
}

impl Agent {
    /// An agent on any port of `host`.
    pub(crate) fn new(user: &str, host: &str, edge: SocketAddr) -> Self {
        Self::on(UdpSocket::bind((host, 0)).unwrap(), user, edge)
    }

    /// An agent on a socket that is bound already.
    pub(crate) fn on(socket: UdpSocket, user: &str, edge: SocketAddr) -> Self {
        Self {
            claimed: socket.local_addr().unwrap().to_string(),
            socket,
            edge,
            user: user.to_owned(),
            serial: Cell::new(0),
            seen: RefCell::default(),
            keepalives: Cell::new(0),
            trace: RefCell::default(),
        }
    }

    /// Host and port written into Via and Contact, where they are not those of the socket.
    pub(crate) fn claiming(mut self, claimed: &str) -> Self {
        claimed.clone_into(&mut self.claimed);
        self
    }

    pub(crate) fn edge(&self) -> SocketAddr {
        self.edge
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Its address of record as a URI.
    pub(crate) fn aor(&self) -> String {
        format!("sip:{}@{DOMAIN}", self.user)
    }

    pub(crate) fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.user, self.claimed)
    }

    /// Keep-alives received so far, those that wait in the socket included.
    pub(crate) fn keepalives(&self) -> u32 {
        self.expect_silence(Duration::from_millis(1));
        self.keepalives.get()
    }

    /// A word that this agent has not used before.
    pub(crate) fn fresh(&self) -> String {
        self.serial.set(self.serial.get() + 1);
        let (port, process) = (self.address().port(), std::process::id());
        format!("{}-{port}-{process}-{}", self.user, self.serial.get())
    }

    pub(crate) fn send(&self, octets: &[u8]) {
        self.socket.send_to(octets, self.edge).unwrap();
    }

    /// A Via of its own.
    pub(crate) fn via(&self) -> String {
        let branch = self.fresh();
        format!("SIP/2.0/UDP {};branch=z9hG4bK-{branch};rport", self.claimed)
    }

    /// A request outside a dialog; `extra` are whole header lines.
    pub(crate) fn request(&self, method: &str, uri: &str, extra: &str, body: &str) -> String {
        let (via, tag, call_id) = (self.via(), self.fresh(), self.fresh());
        format!(
            "{method} {uri} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\n\
             From: <{}>;tag={tag}\r\nTo: <{uri}>\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\n\
             {extra}Content-Length: {}\r\n\r\n{body}",
            self.aor(),
            body.len()
        )
    }

    /// Answers a request; with `tag` where its To has none. `extra` are whole header lines.
    pub(crate) fn respond(&self, request: &Message, status: &str, tag: &str, extra: &str) {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
            for value in request.all(name) {
                let tagged = name == "To" && parameter(value, "tag").is_none();
                let tag = if tagged {
                    format!(";tag={tag}")
                } else {
                    String::new()
                };
                write!(text, "{name}: {value}{tag}\r\n").unwrap();
            }
        }
        let contact = self.contact();
        write!(
            text,
            "Contact: {contact}\r\n{extra}Content-Length: 0\r\n\r\n"
        )
        .unwrap();
        self.send(text.as_bytes());
    }

    /// The next message that is no retransmission, until `deadline`.
    fn next(&self, deadline: Instant) -> Option<Message> {
        let mut octets = vec![0; 65_536];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.socket.set_read_timeout(Some(left)).unwrap();
            let (length, from) = match self.socket.recv_from(&mut octets) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                // An ICMP error for what was sent while no edge was there.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
                Err(error) => panic!("{}: {error}", self.user),
            };
            assert_eq!(from, self.edge, "{} is spoken to by a stranger", self.user);
            let octets = &octets[..length];
            if octets.iter().all(|octet| b"\r\n\0".contains(octet)) {
                assert_eq!(length, 4, "a keep-alive has four octets");
                self.keepalives.set(self.keepalives.get() + 1);
                continue;
            }
            let message = Message::read(octets);
            self.trace.borrow_mut().push(message.start.clone());
            if self.seen.borrow_mut().insert(message.identity()) {
                return Some(message);
            }
        }
    }

    /// Passes over messages until one is as wanted.
    fn take(&self, what: &str, wanted: impl Fn(&Message) -> bool) -> Message {
        let deadline = Instant::now() + PATIENCE;
        while let Some(message) = self.next(deadline) {
            if wanted(&message) {
                return message;
            }
        }
        panic!(
            "{}: no {what}; received: {:?}",
            self.user,
            self.trace.borrow()
        )
    }

    /// The next message, whatever it is.
    pub(crate) fn take_any(&self) -> Message {
        self.take("message", |_| true)
    }

    /// The next request of this method.
    pub(crate) fn take_request(&self, method: &str) -> Message {
        self.take(method, |message| {
            message.status().is_none() && message.method() == method
        })
    }

    /// The next request of this method, if it comes at once.
    pub(crate) fn take_within(&self, method: &str) -> Option<Message> {
        let deadline = Instant::now() + Duration::from_millis(250);
        let message = self.next(deadline)?;
        assert_eq!(message.method(), method, "{message:?}");
        Some(message)
    }

    /// The final response to a request of this method.
    pub(crate) fn take_final(&self, method: &str) -> Message {
        self.take(&format!("final response to {method}"), |message| {
            message.method() == method && message.status().is_some_and(|status| status >= 200)
        })
    }

    /// The next response with this status.
    pub(crate) fn take_status(&self, status: u16) -> Message {
        self.take(&format!("{status}"), |message| {
            message.status() == Some(status)
        })
    }

    /// Sends a request and waits for its final response; sent again as timer E says.
    pub(crate) fn exchange(&self, request: &str) -> Message {
        let call_id = Message::read(request.as_bytes())
            .header("Call-ID")
            .to_owned();
        let end = Instant::now() + PATIENCE;
        let mut interval = T1;
        while Instant::now() < end {
            self.send(request.as_bytes());
            let deadline = Instant::now() + interval;
            while let Some(message) = self.next(deadline) {
                let is_final = message.status().is_some_and(|status| status >= 200);
                if is_final && message.header("Call-ID") == call_id {
                    return message;
                }
            }
            interval = (2 * interval).min(8 * T1);
        }
        panic!(
            "no answer to {request}; received: {:?}",
            self.trace.borrow()
        )
    }

    /// The first datagram of the edge that is no keep-alive, as it came; retransmissions count.
    pub(crate) fn receive_raw(&self, patience: Duration) -> Option<Message> {
        self.seen.borrow_mut().clear();
        self.next(Instant::now() + patience)
    }

    /// Nothing but keep-alives may come for so long.
    pub(crate) fn expect_silence(&self, patience: Duration) {
        if let Some(message) = self.next(Instant::now() + patience) {
            panic!("{}: unexpected {message:?}", self.user);
        }
    }

    /// RFC 3261 §17.1.1.3: the ACK for a final response that refused `invite`.
    pub(crate) fn acknowledge_refusal(&self, invite: &str, refusal: &Message) {
        let invite = Message::read(invite.as_bytes());
        let ack = format!(
            "ACK {} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\n\
             Call-ID: {}\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
            invite.uri(),
            invite.header("Via"),
            invite.header("From"),
            refusal.header("To"),
            invite.header("Call-ID"),
        );
        self.send(ack.as_bytes());
    }
}

/// How a phone registers.
pub(crate) struct Registration<'a> {
    agent: &'a Agent,
    call_id: String,
    number: Cell<u32>,
}

impl<'a> Registration<'a> {
    pub(crate) fn new(agent: &'a Agent) -> Self {
        Self {
            call_id: agent.fresh(),
            number: Cell::new(0),
            agent,
        }
    }

    /// The next REGISTER; `extra` are whole header lines.
    fn request(&self, expires: u32, extra: &str) -> String {
        self.number.set(self.number.get() + 1);
        let Self { agent, call_id, .. } = self;
        let (via, aor, tag) = (agent.via(), agent.aor(), agent.fresh());
        format!(
            "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\n\
             From: <{aor}>;tag={tag}\r\nTo: <{aor}>\r\nCall-ID: {call_id}\r\n\
             CSeq: {} REGISTER\r\nContact: {}\r\nExpires: {expires}\r\n\
             User-Agent: tests/network\r\n\
             {extra}Content-Length: 0\r\n\r\n",
            self.number.get(),
            agent.contact(),
        )
    }

    /// A REGISTER with the answer to a challenge of its own, ready to be sent.
    pub(crate) fn authorized(&self, expires: u32) -> String {
        let challenged = self.agent.exchange(&self.request(expires, ""));
        assert_eq!(challenged.status(), Some(401), "{challenged:?}");
        let challenge = challenged.header("WWW-Authenticate");
        assert_eq!(challenge_parameter(challenge, "realm"), Some(REALM));
        assert_eq!(challenge_parameter(challenge, "qop"), Some("auth"));
        let nonce = challenge_parameter(challenge, "nonce").unwrap();
        let (user, uri) = (&self.agent.user, format!("sip:{DOMAIN}"));
        let ha1 = md5(&format!("{user}:{REALM}:{PASSWORD}"));
        let ha2 = md5(&format!("REGISTER:{uri}"));
        let response = md5(&format!("{ha1}:{nonce}:00000001:c0ffee:auth:{ha2}"));
        let line = format!(
            "Authorization: Digest username=\"{user}\", realm=\"{REALM}\", nonce=\"{nonce}\", \
             uri=\"{uri}\", response=\"{response}\", algorithm=MD5, qop=auth, nc=00000001, \
             cnonce=\"c0ffee\"\r\n"
        );
        self.request(expires, &line)
    }

    /// The final response to a REGISTER that was challenged and authorized.
    pub(crate) fn try_register(&self, expires: u32) -> Message {
        self.agent.exchange(&self.authorized(expires))
    }

    /// Registers for so many seconds; 0 removes.
    pub(crate) fn register(&self, expires: u32) {
        let answer = self.try_register(expires);
        assert_eq!(answer.status(), Some(200), "{answer:?}");
    }
}

fn md5(text: &str) -> String {
    let octets = Md5::digest(text.as_bytes());
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
