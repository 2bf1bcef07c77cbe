//! Phones that register, and peers that ask OPTIONS.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::digest;
use crate::load::{Exchange, Run, Scenario};
use crate::message::{self, Text};
use crate::socket::PeerSocket;

/// Who the phones are and where they register.
#[derive(Clone, Debug)]
pub(crate) struct Phones {
    /// The edge.
    pub(crate) server: SocketAddrV4,
    /// Domain of the addresses of record.
    pub(crate) domain: String,
    /// Digest realm.
    pub(crate) realm: String,
    /// User names are this prefix and six digits.
    pub(crate) user_prefix: String,
    /// Number of users.
    pub(crate) users: u64,
    /// Password of every user.
    pub(crate) password: String,
    /// Source addresses the users are spread over, from 127.1.0.1 on.
    pub(crate) peers: u64,
    /// Registration time asked for, seconds.
    pub(crate) expires: u32,
    /// Port in the Contact; 0 = the one requests are sent from.
    pub(crate) contact_port: u16,
}

impl Phones {
    /// The address that user `user` sends from.
    pub(crate) fn address_of(&self, user: u64) -> Ipv4Addr {
        peer_address(1, user % self.peers.max(1))
    }
}

/// Address `number` of block 127.`block`.0.0/16.
pub(crate) fn peer_address(block: u8, number: u64) -> Ipv4Addr {
    Ipv4Addr::new(127, block, (number / 250) as u8, (number % 250) as u8 + 1)
}

/// How a REGISTER is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Auth {
    /// With the last nonce and the next count; a challenge is answered.
    Refresh,
    /// Every time without credentials first: the challenged pair.
    Pair,
    /// Never; a challenge is a refusal.
    None,
}

#[derive(Clone, Debug, Default)]
struct Phone {
    nonce: Vec<u8>,
    nc: u32,
    cseq: u32,
    ha1: [u8; 32],
    request: Vec<u8>,
}

/// Tells the Call-IDs of one scenario from those of the next in the same process.
static BOOTS: AtomicU64 = AtomicU64::new(0);

/// The scenario.
#[derive(Debug)]
pub(crate) struct Register {
    socket: PeerSocket,
    phones: Phones,
    auth: Auth,
    state: Vec<Phone>,
    text: Text,
    boot: u64,
}

impl Register {
    /// Phones on one socket.
    ///
    /// # Errors
    /// The port may be in use.
    pub(crate) fn new(phones: Phones, auth: Auth, port: u16, burst: usize) -> io::Result<Self> {
        let state = (0..phones.users)
            .map(|user| {
                let name = user_name(&phones, user);
                let ha1 =
                    digest::md5_hex(&[&name, phones.realm.as_bytes(), phones.password.as_bytes()]);
                Phone {
                    ha1,
                    ..Phone::default()
                }
            })
            .collect();
        Ok(Self {
            socket: PeerSocket::bind(port, burst)?,
            phones,
            auth,
            state,
            text: Text::default(),
            boot: u64::from(std::process::id()) * 10 + BOOTS.fetch_add(1, Ordering::Relaxed) % 10,
        })
    }

    /// How requests are authenticated from now on.
    pub(crate) fn set_auth(&mut self, auth: Auth) {
        self.auth = auth;
    }

    fn send(&mut self, run: &mut Run, exchange: Exchange, user: u64, with_credentials: bool) {
        let from = SocketAddrV4::new(self.phones.address_of(user), self.socket.port());
        let name = user_name(&self.phones, user);
        let contact_port = match self.phones.contact_port {
            0 => from.port(),
            port => port,
        };
        let phone = &mut self.state[user as usize];
        phone.cseq += 1;
        let domain = &self.phones.domain;
        let text = &mut self.text;
        text.clear()
            .put("REGISTER sip:")
            .put(domain)
            .put(" SIP/2.0\r\nVia: SIP/2.0/UDP ");
        text.address(from).put(";branch=z9hG4bK").exchange(exchange);
        text.number(u64::from(phone.cseq), 8)
            .put(";rport\r\nMax-Forwards: 70\r\nFrom: <sip:");
        text.put(&name)
            .put("@")
            .put(domain)
            .put(">;tag=")
            .exchange(exchange);
        text.put("\r\nTo: <sip:")
            .put(&name)
            .put("@")
            .put(domain)
            .put(">\r\nCall-ID: ");
        // The Call-ID of a phone stays the same over its refreshes; the exchange is in From's tag.
        text.number(self.boot, 8)
            .number(user, 8)
            .put("@loadtest\r\nCSeq: ");
        text.number(u64::from(phone.cseq), 8)
            .put(" REGISTER\r\nContact: <sip:")
            .put(&name)
            .put("@");
        text.address(SocketAddrV4::new(*from.ip(), contact_port))
            .put(";ob>;+sip.instance=\"<urn:uuid:00000000-0000-4000-8000-");
        text.number(user, 12)
            .put(">\"\r\nExpires: ")
            .number(u64::from(self.phones.expires), 4);
        text.put("\r\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, UPDATE, INFO\r\n");
        text.put("User-Agent: Ringfence-Loadtest/1.0 (simulated phone 40)\r\n");
        if with_credentials {
            phone.nc += 1;
            let nc = format!("{:08x}", phone.nc);
            let uri = format!("sip:{domain}");
            let response = digest::response(
                &phone.ha1,
                b"REGISTER",
                uri.as_bytes(),
                &phone.nonce,
                nc.as_bytes(),
                b"0a4f113b",
            );
            text.put("Authorization: Digest username=\"")
                .put(&name)
                .put("\", realm=\"");
            text.put(&self.phones.realm)
                .put("\", nonce=\"")
                .put(&phone.nonce)
                .put("\", uri=\"");
            text.put(&uri)
                .put("\", response=\"")
                .put(response)
                .put("\", algorithm=MD5, ");
            text.put("cnonce=\"0a4f113b\", qop=auth, nc=")
                .put(&nc)
                .put("\r\n");
        }
        text.put("Content-Length: 0\r\n\r\n");
        phone.request.clear();
        phone.request.extend_from_slice(&text.0);
        self.socket.queue(*from.ip(), self.phones.server, &text.0);
        run.expect_answer(exchange);
    }

    fn handle(&mut self, run: &mut Run, bytes: &[u8]) {
        let tag = message::header(bytes, "From: ")
            .and_then(|value| memchr::memmem::find(value, b";tag=").map(|at| &value[at + 5..]));
        let Some(exchange) = tag.and_then(message::parse_exchange) else {
            return;
        };
        if !run.is_live(exchange) {
            return;
        }
        let user = run.index(exchange) % self.phones.users;
        if message::cseq_number(bytes) != u64::from(self.state[user as usize].cseq) {
            return;
        }
        run.answered(exchange);
        match message::status(bytes) {
            200 => {
                run.reached(exchange);
                run.complete(exchange);
            }
            401 if self.auth != Auth::None => {
                let nonce = message::header(bytes, "WWW-Authenticate: ")
                    .and_then(|value| message::quoted(value, "nonce"))
                    .unwrap_or_default()
                    .to_vec();
                let phone = &mut self.state[user as usize];
                if nonce.is_empty() || nonce == phone.nonce {
                    run.refuse(exchange, 401);
                    return;
                }
                phone.nonce = nonce;
                phone.nc = 0;
                run.challenged(exchange);
                self.send(run, exchange, user, true);
            }
            status => run.refuse(exchange, status),
        }
    }
}

fn user_name(phones: &Phones, user: u64) -> Vec<u8> {
    let mut text = Text::default();
    text.put(&phones.user_prefix).number(user, 6);
    text.0
}

impl Scenario for Register {
    fn start(&mut self, run: &mut Run, exchange: Exchange, index: u64) {
        let user = index % self.phones.users;
        let known = !self.state[user as usize].nonce.is_empty();
        self.send(run, exchange, user, self.auth == Auth::Refresh && known);
    }

    fn again(&mut self, run: &mut Run, exchange: Exchange) {
        let user = run.index(exchange) % self.phones.users;
        let from = self.phones.address_of(user);
        let request = &self.state[user as usize].request;
        self.socket.queue(from, self.phones.server, request);
    }

    fn receive(&mut self, run: &mut Run) -> io::Result<usize> {
        receive_each(self, run, |this| &mut this.socket, Self::handle)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }

    fn datagrams(&self) -> (u64, u64) {
        (self.socket.sent, self.socket.received)
    }

    fn lost(&mut self, _exchange: Exchange) {}
}

/// Takes a batch from one of a scenario's sockets and handles each datagram. The datagrams are
/// copied into one buffer first, so that the handler may send on the same socket.
pub(crate) fn receive_each<S>(
    scenario: &mut S,
    run: &mut Run,
    socket: impl Fn(&mut S) -> &mut PeerSocket,
    mut handle: impl FnMut(&mut S, &mut Run, &[u8]),
) -> io::Result<usize> {
    thread_local! {
        static BATCH: std::cell::RefCell<(Vec<u8>, Vec<usize>)> = const {
            std::cell::RefCell::new((Vec::new(), Vec::new()))
        };
    }
    BATCH.with_borrow_mut(|(bytes, ends)| {
        bytes.clear();
        ends.clear();
        let count = socket(scenario).receive(|datagram| {
            bytes.extend_from_slice(datagram.bytes);
            ends.push(bytes.len());
        })?;
        let mut start = 0;
        for &end in ends.iter() {
            handle(scenario, run, &bytes[start..end]);
            start = end;
        }
        Ok(count)
    })
}

/// Peers that ask OPTIONS of the edge itself.
#[derive(Debug)]
pub(crate) struct Options {
    socket: PeerSocket,
    server: SocketAddrV4,
    peers: u64,
    text: Text,
    /// Octets of filling, so that requests have a given size.
    filling: usize,
}

impl Options {
    /// `size` is the length of each request in octets (at least what the headers need).
    ///
    /// # Errors
    /// The port may be in use.
    pub(crate) fn new(
        server: SocketAddrV4,
        peers: u64,
        size: usize,
        port: u16,
        burst: usize,
    ) -> io::Result<Self> {
        let socket = PeerSocket::bind(port, burst)?;
        let mut this = Self {
            socket,
            server,
            peers: peers.max(1),
            text: Text::default(),
            filling: 0,
        };
        this.write(
            Exchange {
                slot: 0,
                sequence: 0,
            },
            0,
        );
        this.filling = size.saturating_sub(this.text.0.len());
        Ok(this)
    }

    fn write(&mut self, exchange: Exchange, index: u64) -> Ipv4Addr {
        let ip = peer_address(1, index % self.peers);
        let from = SocketAddrV4::new(ip, self.socket.port());
        let text = &mut self.text;
        text.clear()
            .put("OPTIONS sip:")
            .address(self.server)
            .put(" SIP/2.0\r\nVia: SIP/2.0/UDP ");
        text.address(from).put(";branch=z9hG4bK").exchange(exchange);
        text.put(";rport\r\nMax-Forwards: 70\r\nFrom: <sip:ping@loadtest.invalid>;tag=");
        text.exchange(exchange)
            .put("\r\nTo: <sip:")
            .address(self.server)
            .put(">\r\nCall-ID: ");
        text.exchange(exchange)
            .put("@loadtest\r\nCSeq: 1 OPTIONS\r\nContact: <sip:ping@");
        text.address(from)
            .put(">\r\nAccept: application/sdp\r\nUser-Agent: Loadtest/1.0 ");
        let end = text.0.len() + self.filling;
        text.0.resize(end, b'x');
        text.put("\r\nContent-Length: 0\r\n\r\n");
        ip
    }
}

impl Scenario for Options {
    fn start(&mut self, run: &mut Run, exchange: Exchange, index: u64) {
        let from = self.write(exchange, index);
        self.socket.queue(from, self.server, &self.text.0);
        run.expect_answer(exchange);
    }

    fn again(&mut self, run: &mut Run, exchange: Exchange) {
        let from = self.write(exchange, run.index(exchange));
        self.socket.queue(from, self.server, &self.text.0);
    }

    fn receive(&mut self, run: &mut Run) -> io::Result<usize> {
        receive_each(
            self,
            run,
            |this| &mut this.socket,
            |_, run, bytes| {
                let Some(exchange) = message::exchange_of(bytes) else {
                    return;
                };
                if !run.is_live(exchange) {
                    return;
                }
                run.reached(exchange);
                // An echo (the floor) sends the request itself back.
                match message::status(bytes) {
                    0 | 200 => run.complete(exchange),
                    status => run.refuse(exchange, status),
                }
            },
        )
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }

    fn datagrams(&self) -> (u64, u64) {
        (self.socket.sent, self.socket.received)
    }

    fn lost(&mut self, _exchange: Exchange) {}
}
