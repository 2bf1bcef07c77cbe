//! The transactions of an agent (RFC 3261 §17, RFC 6026), over datagrams.

use std::mem;

use ringfence::sip::Time;

use super::io::{Io, NEVER};
use crate::message::Message;

const T1_MS: u64 = 500;
const T2_MS: u64 = 4_000;
const TRANSACTION_MS: u64 = 64 * T1_MS;

/// What a request of an agent is for; comes back with its responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Register,
    /// The INVITE of a call, or a later one within it.
    Invite(u64),
    Cancel(u64),
    Bye(u64),
    Options(u64),
}

/// What the transactions tell their agent.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A response: every 2xx to an INVITE, else each but once.
    Response(Purpose, Message),
    /// Timer B or F.
    TimedOut(Purpose),
    /// A request that is no retransmission; an ACK only when it is for a 2xx.
    Request(Message, u64),
    /// A 2xx or final refusal of an INVITE was never acknowledged.
    NoAck(Message),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Retransmitting.
    Trying,
    Proceeding,
    /// A final response came, or was sent.
    Completed,
    /// It was acknowledged.
    Confirmed,
}

#[derive(Debug)]
struct Client {
    purpose: Purpose,
    branch: String,
    invite: bool,
    listener: usize,
    request: Message,
    bytes: Vec<u8>,
    /// The ACK of a refusal.
    ack: Vec<u8>,
    state: State,
    interval_ms: u64,
    again_at: Time,
    ends_at: Time,
}

#[derive(Debug)]
struct Server {
    listener: usize,
    request: Message,
    /// The last response; empty while there is none.
    response: Vec<u8>,
    status: u16,
    state: State,
    interval_ms: u64,
    again_at: Time,
    ends_at: Time,
    serial: u64,
}

/// The transactions of one agent.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    clients: Vec<Client>,
    servers: Vec<Server>,
}

impl Transactions {
    /// Sends `request`, whose top Via has a branch of its own.
    pub(crate) fn start(
        &mut self,
        io: &mut Io<'_>,
        purpose: Purpose,
        listener: usize,
        request: Message,
    ) {
        let bytes = request.to_bytes();
        io.send(listener, bytes.clone());
        self.clients.push(Client {
            purpose,
            branch: request.branch().to_owned(),
            invite: request.method() == "INVITE",
            listener,
            request,
            bytes,
            ack: Vec::new(),
            state: State::Trying,
            interval_ms: T1_MS,
            again_at: io.now.plus_ms(T1_MS),
            ends_at: io.now.plus_ms(TRANSACTION_MS),
        });
    }

    /// The request of a purpose that is still without a final response.
    pub(crate) fn open_request(&self, purpose: Purpose) -> Option<&Message> {
        self.clients
            .iter()
            .find(|client| {
                client.purpose == purpose
                    && matches!(client.state, State::Trying | State::Proceeding)
            })
            .map(|client| &client.request)
    }

    pub(crate) fn handle(
        &mut self,
        io: &mut Io<'_>,
        listener: usize,
        message: Message,
    ) -> Option<Happening> {
        if message.is_request() {
            self.handle_request(io, listener, message)
        } else {
            self.handle_response(io, message)
        }
    }

    fn handle_response(&mut self, io: &mut Io<'_>, message: Message) -> Option<Happening> {
        let client = self.clients.iter_mut().find(|client| {
            client.branch == message.branch() && client.request.method() == message.method()
        })?;
        let status = message.status();
        match (client.state, status) {
            (State::Trying | State::Proceeding, ..200) => {
                client.state = State::Proceeding;
                if client.invite {
                    // The one who rings decides how long.
                    client.again_at = NEVER;
                    client.ends_at = NEVER;
                } else {
                    client.interval_ms = T2_MS;
                }
            }
            (State::Trying | State::Proceeding, _) => {
                client.state = State::Completed;
                client.again_at = NEVER;
                client.ends_at = io.now.plus_ms(TRANSACTION_MS);
                if client.invite && status >= 300 {
                    client.ack = ack_of(&client.request, &message).to_bytes();
                    io.send(client.listener, client.ack.clone());
                }
            }
            (State::Completed, 200..300) if client.invite => {}
            (State::Completed | State::Confirmed, _) => {
                if status >= 300 && !client.ack.is_empty() {
                    io.send(client.listener, client.ack.clone());
                }
                return None;
            }
        }
        Some(Happening::Response(client.purpose, message))
    }

    fn handle_request(
        &mut self,
        io: &mut Io<'_>,
        listener: usize,
        message: Message,
    ) -> Option<Happening> {
        let is_ack = message.method() == "ACK";
        let found = self.servers.iter_mut().find(|server| {
            server.request.branch() == message.branch()
                && server.request.sent_by() == message.sent_by()
                && (server.request.method() == message.method()
                    || is_ack && server.request.method() == "INVITE")
        });
        match found {
            Some(server) if is_ack => {
                server.state = State::Confirmed;
                server.again_at = NEVER;
                return None;
            }
            Some(server) => {
                let absorbed = server.request.method() == "INVITE"
                    && (server.state == State::Confirmed || (200..300).contains(&server.status));
                if !absorbed && !server.response.is_empty() {
                    io.send(listener, server.response.clone());
                }
                return None;
            }
            None => {}
        }
        if is_ack {
            // RFC 3261 §13.3.1.4: the ACK to a 2xx ends its retransmission; found by its dialog.
            for server in &mut self.servers {
                let request = &server.request;
                if request.method() == "INVITE"
                    && (200..300).contains(&server.status)
                    && request.call_id() == message.call_id()
                    && request.cseq_number() == message.cseq_number()
                    && request.tag_of_from() == message.tag_of_from()
                {
                    server.state = State::Confirmed;
                    server.again_at = NEVER;
                }
            }
            return Some(Happening::Request(message, 0));
        }
        let serial = io.next_serial();
        self.servers.push(Server {
            listener,
            request: message.clone(),
            response: Vec::new(),
            status: 0,
            state: State::Trying,
            interval_ms: T1_MS,
            again_at: NEVER,
            ends_at: NEVER,
            serial,
        });
        Some(Happening::Request(message, serial))
    }

    /// The request that server transaction `serial` is for.
    pub(crate) fn request_of(&self, serial: u64) -> Option<&Message> {
        let server = self.servers.iter().find(|it| it.serial == serial)?;
        Some(&server.request)
    }

    /// The open INVITE that a CANCEL is for.
    pub(crate) fn cancelled_by(&self, cancel: &Message) -> Option<u64> {
        self.servers
            .iter()
            .find(|server| {
                server.request.method() == "INVITE"
                    && server.request.branch() == cancel.branch()
                    && server.request.sent_by() == cancel.sent_by()
            })
            .map(|server| server.serial)
    }

    /// True while server transaction `serial` has no final response.
    pub(crate) fn is_open(&self, serial: u64) -> bool {
        self.servers
            .iter()
            .any(|server| server.serial == serial && server.status < 200)
    }

    /// Sends a response on server transaction `serial`.
    pub(crate) fn respond(&mut self, io: &mut Io<'_>, serial: u64, response: &Message) {
        let found = self.servers.iter_mut().find(|it| it.serial == serial);
        let Some(server) = found.filter(|server| server.status < 200) else {
            return;
        };
        server.response = response.to_bytes();
        server.status = response.status();
        io.send(server.listener, server.response.clone());
        if server.status >= 200 {
            server.state = State::Completed;
            server.ends_at = io.now.plus_ms(TRANSACTION_MS);
            if server.request.method() == "INVITE" {
                server.again_at = io.now.plus_ms(T1_MS);
            }
        }
    }

    pub(crate) fn poll_timeout(&self) -> Time {
        let clients = self.clients.iter().map(|it| it.again_at.min(it.ends_at));
        let servers = self.servers.iter().map(|it| it.again_at.min(it.ends_at));
        clients.chain(servers).min().unwrap_or(NEVER)
    }

    pub(crate) fn handle_timeout(&mut self, io: &mut Io<'_>, happenings: &mut Vec<Happening>) {
        let now = io.now;
        for client in mem::take(&mut self.clients) {
            if client.ends_at <= now {
                if client.state != State::Completed {
                    happenings.push(Happening::TimedOut(client.purpose));
                }
                continue;
            }
            self.clients.push(client);
        }
        for client in self.clients.iter_mut().filter(|it| it.again_at <= now) {
            io.send(client.listener, client.bytes.clone());
            client.interval_ms = client.interval_ms.saturating_mul(2);
            if !client.invite {
                client.interval_ms = client.interval_ms.min(T2_MS);
            }
            client.again_at = now.plus_ms(client.interval_ms);
        }
        for server in mem::take(&mut self.servers) {
            if server.ends_at <= now {
                if server.again_at != NEVER {
                    happenings.push(Happening::NoAck(server.request));
                }
                continue;
            }
            self.servers.push(server);
        }
        for server in self.servers.iter_mut().filter(|it| it.again_at <= now) {
            io.send(server.listener, server.response.clone());
            server.interval_ms = (server.interval_ms * 2).min(T2_MS);
            server.again_at = now.plus_ms(server.interval_ms);
        }
    }

    /// RFC 3261 §9.1: what was cancelled in vain is taken to be ended.
    pub(crate) fn abandon(&mut self, purpose: Purpose) {
        self.clients.retain(|client| client.purpose != purpose);
    }

    /// A reboot.
    pub(crate) fn forget(&mut self) {
        self.clients.clear();
        self.servers.clear();
    }

    /// What is under way, registration apart.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        let is_done = |client: &&Client| {
            client.purpose == Purpose::Register || client.state == State::Completed
        };
        let clients = self.clients.iter().filter(|it| !is_done(it)).map(|it| {
            let (start, call_id) = (&it.request.start, it.request.call_id());
            format!("{start} of {call_id} is {:?}", it.state)
        });
        let is_open = |server: &&Server| server.status < 200 || server.again_at != NEVER;
        let servers = self.servers.iter().filter(is_open).map(|it| {
            let (start, call_id) = (&it.request.start, it.request.call_id());
            format!("{start} of {call_id} is told {}", it.status)
        });
        clients.chain(servers).collect()
    }
}

/// RFC 3261 §17.1.1.3: the ACK of a refusal.
fn ack_of(invite: &Message, refusal: &Message) -> Message {
    let mut ack = Message::request("ACK", invite.request_uri());
    ack.add("Via", invite.top_via());
    for route in invite.all("Route") {
        ack.add("Route", route);
    }
    ack.add("Max-Forwards", "70");
    ack.add("From", invite.header("From"));
    ack.add("To", refusal.header("To"));
    ack.add("Call-ID", invite.call_id());
    ack.add("CSeq", format!("{} ACK", invite.cseq_number()));
    ack
}

/// RFC 3261 §9.1: the CANCEL of an INVITE.
pub(crate) fn cancel_of(invite: &Message) -> Message {
    let mut cancel = Message::request("CANCEL", invite.request_uri());
    cancel.add("Via", invite.top_via());
    for route in invite.all("Route") {
        cancel.add("Route", route);
    }
    cancel.add("Max-Forwards", "70");
    cancel.add("From", invite.header("From"));
    cancel.add("To", invite.header("To"));
    cancel.add("Call-ID", invite.call_id());
    cancel.add("CSeq", format!("{} CANCEL", invite.cseq_number()));
    cancel
}
