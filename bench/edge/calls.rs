//! Whole calls: INVITE, 100, 180, 200, ACK, BYE, 200.

use std::io::Write as _;
use std::net::SocketAddr;

use ringfence::sip::SourceAddr;

use super::phones::{DOMAIN, user};
use super::{BATCH, Batch, Watch, World, between, lines};

/// Messages that come in for one call.
pub(crate) const MESSAGES: usize = 7;

const SDP: &str = "v=0\r\n\
o=- 3895720412 3895720412 IN IP4 192.0.2.17\r\n\
s=-\r\n\
c=IN IP4 192.0.2.17\r\n\
t=0 0\r\n\
m=audio 40000 RTP/AVP 96 0 8 101\r\n\
a=rtpmap:96 opus/48000/2\r\n\
a=rtpmap:0 PCMU/8000\r\n\
a=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-16\r\n\
a=fmtp:96 useinbandfec=1;cbr=10\r\n\
a=sendrecv\r\n";

/// Who is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Callee {
    /// A registered phone.
    Phone,
    /// A number of the trunk.
    Number,
}

/// Callers and callees.
#[derive(Debug)]
pub(crate) struct Calls {
    callee: Callee,
    /// Phones that may be called.
    phones: u32,
    /// The number of the next call; also what its identifiers are made of.
    next: u32,
    invites: Batch,
    provisionals: Batch,
    ringing: Batch,
    answers: Batch,
    acks: Batch,
    byes: Batch,
    ends: Batch,
}

impl Calls {
    pub(crate) fn new(callee: Callee, phones: u32) -> Self {
        let [invites, provisionals, ringing, answers, acks, byes, ends] =
            std::array::from_fn(|_| Batch::new());
        Self {
            callee,
            phones,
            next: 0,
            invites,
            provisionals,
            ringing,
            answers,
            acks,
            byes,
            ends,
        }
    }

    /// A batch of calls from INVITE to the end; every message of one kind goes before the next.
    pub(crate) fn run<W: Watch>(&mut self, world: &mut World<W>) {
        let batches = [
            &mut self.invites,
            &mut self.provisionals,
            &mut self.ringing,
            &mut self.answers,
            &mut self.acks,
            &mut self.byes,
            &mut self.ends,
        ];
        batches.into_iter().for_each(Batch::clear);
        for _ in 0..BATCH {
            self.write_invite();
        }
        world.feed(&self.invites);
        for (callee, invite) in world.sent.iter().filter(|(_, it)| is(it, b"INVITE ")) {
            let answer = |status: &'static str, body| {
                move |bytes: &mut Vec<u8>| write_response(invite, callee, status, body, bytes)
            };
            self.provisionals.add(callee, answer("100 Trying", ""));
            self.ringing.add(callee, answer("180 Ringing", ""));
            self.answers.add(callee, answer("200 OK", SDP));
        }
        assert_eq!(self.answers.len(), BATCH, "an INVITE was not forwarded");
        world.feed(&self.provisionals);
        world.feed(&self.ringing);
        world.feed(&self.answers);
        for (caller, ok) in world.sent.iter().filter(|(_, it)| is(it, b"SIP/2.0 200 ")) {
            self.acks
                .add(caller, |bytes| write_in_dialog("ACK", 1, ok, bytes));
            self.byes
                .add(caller, |bytes| write_in_dialog("BYE", 2, ok, bytes));
        }
        assert_eq!(self.byes.len(), BATCH, "a 200 was not forwarded");
        world.feed(&self.acks);
        world.feed(&self.byes);
        for (callee, bye) in world.sent.iter().filter(|(_, it)| is(it, b"BYE ")) {
            self.ends.add(callee, |bytes| {
                write_response(bye, callee, "200 OK", "", bytes)
            });
        }
        assert_eq!(self.ends.len(), BATCH, "a BYE was not forwarded");
        world.feed(&self.ends);
        let ended = world.sent.iter().filter(|(_, it)| is(it, b"SIP/2.0 200 "));
        assert_eq!(ended.count(), BATCH, "a call did not end");
    }

    fn write_invite(&mut self) {
        let call = self.next;
        self.next += 1;
        let caller = SocketAddr::from(([198, 51, 100, (call % 250) as u8], 5060));
        let callee = match self.callee {
            // As calls are spread over phones, none is found in a cache by chance.
            Callee::Phone => user(call.wrapping_mul(0x9E37_79B1) % self.phones),
            Callee::Number => format!("+15550{:06}", call % 1_000_000),
        };
        self.invites.add(SourceAddr::from(caller), |bytes| {
            let result = write!(
                bytes,
                "INVITE sip:{callee}@{DOMAIN} SIP/2.0\r\n\
                 Via: SIP/2.0/UDP {caller};rport;branch=z9hG4bKPj1a2b3c4d5e6f7081{call:08x}7f80\
                 \r\n\
                 Max-Forwards: 70\r\n\
                 From: \"Alice Liddell\" <sip:alice@{DOMAIN}>;tag=8f3c1b7a{call:08x}\r\n\
                 To: <sip:{callee}@{DOMAIN}>\r\n\
                 Contact: <sip:alice@{caller};ob>\r\n\
                 Call-ID: 3d1f0a52-7c64-4be9-9a1e-5b8d{call:08x}\r\n\
                 CSeq: 1 INVITE\r\n\
                 Allow: INVITE, ACK, BYE, CANCEL, UPDATE, PRACK, REFER, NOTIFY, OPTIONS\r\n\
                 Supported: replaces, 100rel, timer, norefersub\r\n\
                 User-Agent: Softphone 4.2.1 (Linux x86_64)\r\n\
                 Content-Type: application/sdp\r\n\
                 Content-Length: {}\r\n\r\n{SDP}",
                SDP.len()
            );
            result.expect("memory takes what is written");
        });
    }
}

fn is(message: &[u8], start: &[u8]) -> bool {
    message.starts_with(start)
}

fn copy_lines(message: &[u8], name: &[u8], bytes: &mut Vec<u8>) {
    for line in lines(message, name) {
        bytes.extend_from_slice(line);
        bytes.extend_from_slice(b"\r\n");
    }
}

/// RFC 3261 §8.2.6: the response of a callee.
fn write_response(
    request: &[u8],
    callee: SourceAddr,
    status: &str,
    body: &str,
    bytes: &mut Vec<u8>,
) {
    let mut line = |text: &[u8]| bytes.extend_from_slice(text);
    line(b"SIP/2.0 ");
    line(status.as_bytes());
    line(b"\r\n");
    for name in [b"Via".as_slice(), b"Record-Route", b"From"] {
        copy_lines(request, name, bytes);
    }
    let to = lines(request, b"To").next().expect("every request has To");
    bytes.extend_from_slice(to);
    if !to.windows(5).any(|window| window == b";tag=") {
        bytes.extend_from_slice(b";tag=9a8b7c6d5e4f3a2b");
    }
    bytes.extend_from_slice(b"\r\n");
    copy_lines(request, b"Call-ID", bytes);
    copy_lines(request, b"CSeq", bytes);
    let result = write!(
        bytes,
        "Contact: <sip:bob@{}>\r\nUser-Agent: Desk phone/1.0\r\n{}Content-Length: {}\r\n\r\n{body}",
        callee.socket_addr(),
        if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        },
        body.len()
    );
    result.expect("memory takes what is written");
}

/// RFC 3261 §12.2.1.1: a request of the caller in the dialog that the 200 `ok` made.
fn write_in_dialog(method: &str, number: u32, ok: &[u8], bytes: &mut Vec<u8>) {
    let contact = lines(ok, b"Contact").next().expect("a 200 has a Contact");
    let target = String::from_utf8_lossy(between(contact, b"<", b'>')).into_owned();
    let via = lines(ok, b"Via").next().expect("a response has a Via");
    let via = String::from_utf8_lossy(via);
    // The sent-by and branch of the INVITE; the branch becomes another one by its end.
    let via = via.split(";received").next().unwrap_or_default();
    let via = via.replace("rport=5060", "rport");
    let result = write!(bytes, "{method} {target} SIP/2.0\r\n{via}{method}\r\n");
    result.expect("memory takes what is written");
    let mut routes: Vec<_> = lines(ok, b"Record-Route").collect();
    routes.reverse();
    for route in routes {
        bytes.extend_from_slice(b"Route");
        bytes.extend_from_slice(&route[b"Record-Route".len()..]);
        bytes.extend_from_slice(b"\r\n");
    }
    for name in [b"From".as_slice(), b"To", b"Call-ID"] {
        copy_lines(ok, name, bytes);
    }
    let result = write!(
        bytes,
        "CSeq: {number} {method}\r\nMax-Forwards: 70\r\n\
         User-Agent: Softphone 4.2.1 (Linux x86_64)\r\nContent-Length: 0\r\n\r\n"
    );
    result.expect("memory takes what is written");
}
