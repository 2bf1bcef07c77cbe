//! Calls through the edge: the caller and the answering party, both here.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::load::{Exchange, Run, Scenario, T1_NS};
use crate::message::{self, Text};
use crate::register::{peer_address, receive_each};
use crate::socket::PeerSocket;

/// Session description of both sides: what a plain phone offers.
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
m=audio 40000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n";

/// Who calls whom.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    /// The edge.
    pub(crate) server: SocketAddrV4,
    /// Domain of caller and called.
    pub(crate) domain: String,
    /// Called user names are this prefix and six digits, or with `users = 0` this name as it is.
    pub(crate) called_prefix: String,
    /// Number of called users; 0 = one name.
    pub(crate) users: u64,
    /// Source addresses of the callers.
    pub(crate) peers: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Inviting,
    Ending,
}

#[derive(Clone, Debug, Default)]
struct Call {
    stage: Stage,
    /// The current request, for sending again.
    request: Vec<u8>,
    /// ACK, for answering a 200 that comes again.
    ack: Vec<u8>,
    /// The answering party's 200, sent again until its ACK comes: to whom, from where, octets.
    answer: Option<(SocketAddrV4, Ipv4Addr, Vec<u8>)>,
}

/// The scenario: INVITE, 100, 180, 200, ACK, BYE, 200.
#[derive(Debug)]
pub(crate) struct CallThrough {
    caller: PeerSocket,
    called: PeerSocket,
    calls: Calls,
    state: Vec<Call>,
    text: Text,
    reply: Text,
    /// When each answer is due again, with its interval.
    unacknowledged: VecDeque<(u64, Exchange)>,
    /// 200s to INVITE that the answering party has sent.
    pub(crate) answers: u64,
}

impl CallThrough {
    /// `called_port` is where the answering party listens: the port in the registered contacts, or
    /// the trunk's.
    ///
    /// # Errors
    /// A port may be in use.
    pub(crate) fn new(
        calls: Calls,
        window: usize,
        called_port: u16,
        burst: usize,
    ) -> io::Result<Self> {
        Ok(Self {
            caller: PeerSocket::bind(0, burst)?,
            called: PeerSocket::bind(called_port, burst)?,
            calls,
            state: vec![Call::default(); window],
            text: Text::default(),
            reply: Text::default(),
            unacknowledged: VecDeque::new(),
            answers: 0,
        })
    }

    fn from(&self, index: u64) -> Ipv4Addr {
        peer_address(1, index % self.calls.peers.max(1))
    }

    fn called_uri(&self, index: u64) -> Text {
        let mut uri = Text::default();
        uri.put("sip:").put(&self.calls.called_prefix);
        if self.calls.users > 0 {
            uri.number(index % self.calls.users, 6);
        }
        uri.put("@").put(&self.calls.domain);
        uri
    }

    /// Via to CSeq of a request of the caller.
    fn put_head(&mut self, method: &str, cseq: u64, exchange: Exchange, index: u64, to: &[u8]) {
        let from = SocketAddrV4::new(self.from(index), self.caller.port());
        let text = &mut self.text;
        text.put("Via: SIP/2.0/UDP ")
            .address(from)
            .put(";branch=z9hG4bK")
            .exchange(exchange);
        text.put(method)
            .put(";rport\r\nMax-Forwards: 70\r\nFrom: <sip:caller@");
        text.put(&self.calls.domain)
            .put(">;tag=")
            .exchange(exchange)
            .put("\r\nTo: ")
            .put(to);
        text.put("\r\nCall-ID: ")
            .exchange(exchange)
            .put("@loadtest\r\nCSeq: ")
            .number(cseq, 1);
        text.put(" ").put(method).put("\r\n");
    }

    fn put_invite(&mut self, exchange: Exchange, index: u64) {
        let uri = self.called_uri(index);
        self.text
            .clear()
            .put("INVITE ")
            .put(&uri.0)
            .put(" SIP/2.0\r\n");
        let to = [b"<", &uri.0[..], b">"].concat();
        self.put_head("INVITE", 1, exchange, index, &to);
        let contact = SocketAddrV4::new(self.from(index), self.caller.port());
        let text = &mut self.text;
        text.put("Contact: <sip:caller@")
            .address(contact)
            .put(">\r\nUser-Agent: Loadtest/1.0\r\n");
        text.put("Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, UPDATE, INFO\r\n");
        text.put("Content-Type: application/sdp\r\nContent-Length: ");
        text.number(SDP.len() as u64, 3).put("\r\n\r\n").put(SDP);
    }

    /// ACK or BYE inside the dialog that `response` made.
    fn put_in_dialog(
        &mut self,
        method: &str,
        cseq: u64,
        exchange: Exchange,
        index: u64,
        response: &[u8],
    ) {
        let target = message::uri(message::header(response, "Contact: ").unwrap_or_default());
        self.text
            .clear()
            .put(method)
            .put(" ")
            .put(target)
            .put(" SIP/2.0\r\n");
        let to = message::header(response, "To: ").unwrap_or_default();
        self.put_head(method, cseq, exchange, index, to);
        let routes: Vec<&[u8]> = message::header_lines(response, "Record-Route: ").collect();
        for route in routes.iter().rev() {
            self.text.put("Route: ").put(route).put("\r\n");
        }
        self.text.put("Content-Length: 0\r\n\r\n");
    }

    fn send(&mut self, run: &mut Run, exchange: Exchange, index: u64) {
        let request = &mut self.state[exchange.slot as usize].request;
        request.clear();
        request.extend_from_slice(&self.text.0);
        let from = self.from(index);
        self.caller.queue(from, self.calls.server, &self.text.0);
        run.expect_answer(exchange);
    }

    fn handle_response(&mut self, run: &mut Run, bytes: &[u8]) {
        let Some(exchange) = message::exchange_of(bytes).filter(|&call| run.is_live(call)) else {
            return;
        };
        let index = run.index(exchange);
        let status = message::status(bytes);
        let slot = exchange.slot as usize;
        match (self.state[slot].stage, message::cseq_method(bytes)) {
            (Stage::Inviting, b"INVITE") if status < 200 => run.answered(exchange),
            (Stage::Inviting, b"INVITE") if status < 300 => {
                run.answered(exchange);
                run.reached(exchange);
                self.state[slot].stage = Stage::Ending;
                self.put_in_dialog("ACK", 1, exchange, index, bytes);
                self.state[exchange.slot as usize]
                    .ack
                    .clone_from(&self.text.0);
                let from = self.from(index);
                self.caller.queue(from, self.calls.server, &self.text.0);
                self.put_in_dialog("BYE", 2, exchange, index, bytes);
                self.send(run, exchange, index);
            }
            (Stage::Inviting, b"INVITE") => {
                let uri = self.called_uri(index);
                self.text
                    .clear()
                    .put("ACK ")
                    .put(&uri.0)
                    .put(" SIP/2.0\r\nVia: ");
                let request = &self.state[slot].request;
                let via = message::header(request, "Via: ").unwrap_or_default();
                self.text.put(via).put("\r\nMax-Forwards: 70\r\nFrom: ");
                self.text
                    .put(message::header(bytes, "From: ").unwrap_or_default())
                    .put("\r\nTo: ");
                self.text
                    .put(message::header(bytes, "To: ").unwrap_or_default());
                self.text
                    .put("\r\nCall-ID: ")
                    .exchange(exchange)
                    .put("@loadtest\r\nCSeq: 1 ACK");
                self.text.put("\r\nContent-Length: 0\r\n\r\n");
                let from = self.from(index);
                self.caller.queue(from, self.calls.server, &self.text.0);
                run.refuse(exchange, status);
            }
            (Stage::Ending, b"INVITE") if (200..300).contains(&status) => {
                let from = self.from(index);
                self.caller
                    .queue(from, self.calls.server, &self.state[slot].ack);
            }
            (Stage::Ending, b"BYE") if status >= 200 => {
                run.answered(exchange);
                if status < 300 {
                    run.complete(exchange);
                } else {
                    run.refuse(exchange, status);
                }
            }
            _ => {}
        }
    }

    fn put_reply(&mut self, status: &str, request: &[u8], local: SocketAddrV4, sdp: &str) {
        let reply = self.reply.clear();
        reply.put("SIP/2.0 ").put(status).put("\r\n");
        for name in ["Via: ", "Record-Route: ", "From: "] {
            for value in message::header_lines(request, name) {
                reply.put(name).put(value).put("\r\n");
            }
        }
        let to = message::header(request, "To: ").unwrap_or_default();
        reply.put("To: ").put(to);
        if memchr::memmem::find(to, b";tag=").is_none() && !status.starts_with("100") {
            reply.put(";tag=called");
        }
        for name in ["Call-ID: ", "CSeq: "] {
            let value = message::header(request, name).unwrap_or_default();
            reply.put("\r\n").put(name).put(value);
        }
        reply
            .put("\r\nContact: <sip:called@")
            .address(local)
            .put(">\r\n");
        if !sdp.is_empty() {
            reply.put("Content-Type: application/sdp\r\n");
        }
        reply
            .put("Content-Length: ")
            .number(sdp.len() as u64, 3)
            .put("\r\n\r\n")
            .put(sdp);
    }

    /// A request that comes again is answered again.
    fn handle_request(
        &mut self,
        run: &Run,
        source: SocketAddrV4,
        local: SocketAddrV4,
        bytes: &[u8],
    ) {
        let call = message::exchange_of(bytes).filter(|call| run.is_live(*call));
        let statuses: &[(&str, &str)] = if bytes.starts_with(b"INVITE ") {
            self.answers += 1;
            &[("100 Trying", ""), ("180 Ringing", ""), ("200 OK", SDP)]
        } else if bytes.starts_with(b"ACK ") || bytes.starts_with(b"SIP/2.0") {
            if let Some(call) = call {
                self.state[call.slot as usize].answer = None;
            }
            &[]
        } else {
            &[("200 OK", "")]
        };
        for (status, sdp) in statuses {
            self.put_reply(status, bytes, local, sdp);
            self.called.queue(*local.ip(), source, &self.reply.0);
        }
        if let (Some(call), [_, _, _]) = (call, statuses) {
            let answer = (source, *local.ip(), self.reply.0.clone());
            self.state[call.slot as usize].answer = Some(answer);
            self.unacknowledged.push_back((run.now + T1_NS, call));
        }
    }

    /// RFC 3261 §13.3.1.4: a 2xx is sent again until its ACK comes. The interval stays at T1, as
    /// what is lost here is lost to a full socket buffer.
    fn answer_again(&mut self, run: &Run) {
        while let Some(&(due, call)) = self.unacknowledged.front()
            && due <= run.now
        {
            self.unacknowledged.pop_front();
            if let Some((to, from, answer)) = &self.state[call.slot as usize].answer
                && run.is_live(call)
            {
                self.called.queue(*from, *to, answer);
                self.unacknowledged.push_back((run.now + T1_NS, call));
            }
        }
    }
}

impl Scenario for CallThrough {
    fn start(&mut self, run: &mut Run, exchange: Exchange, index: u64) {
        let call = &mut self.state[exchange.slot as usize];
        call.stage = Stage::Inviting;
        call.answer = None;
        self.put_invite(exchange, index);
        self.send(run, exchange, index);
    }

    fn again(&mut self, run: &mut Run, exchange: Exchange) {
        let from = self.from(run.index(exchange));
        let request = &self.state[exchange.slot as usize].request;
        self.caller.queue(from, self.calls.server, request);
    }

    fn receive(&mut self, run: &mut Run) -> io::Result<usize> {
        let mut requests = std::mem::take(&mut self.text.0);
        requests.clear();
        let mut taken = Vec::new();
        let called_port = self.called.port();
        let from_edge = self.called.receive(|datagram| {
            let start = requests.len();
            requests.extend_from_slice(datagram.bytes);
            let local = SocketAddrV4::new(datagram.local, called_port);
            taken.push((datagram.source, local, start..requests.len()));
        })?;
        for (source, local, range) in taken {
            self.handle_request(run, source, local, &requests[range]);
        }
        self.answer_again(run);
        self.text.0 = requests;
        self.called.flush()?;
        let to_caller = receive_each(self, run, |this| &mut this.caller, Self::handle_response)?;
        Ok(from_edge.max(to_caller))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.caller.flush()?;
        self.called.flush()
    }

    fn datagrams(&self) -> (u64, u64) {
        (
            self.caller.sent + self.called.sent,
            self.caller.received + self.called.received,
        )
    }

    fn lost(&mut self, _exchange: Exchange) {}
}
