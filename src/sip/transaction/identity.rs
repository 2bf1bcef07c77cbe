//! What makes two requests one transaction (RFC 3261 §17.2.3), and how a finished client
//! transaction is still found by its key.

use siphasher::sip128::{Hasher128, SipHasher13};

use super::super::gather::Gather;
use super::super::reply::default_port;
use super::super::{Arrival, Flow, Key};
use crate::wire::{Message, Method, Via};

/// RFC 3261 §8.1.1.7: what a branch begins with that is unique in space and time.
const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

/// Names a transaction: a 128-bit keyed hash of what a server transaction is told by, or the key
/// of a client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity([u64; 2]);

impl Identity {
    /// The identity of a client transaction. A server transaction has the same one by chance
    /// only, at 2^-128.
    pub(super) const fn of_client(key: Key) -> Self {
        Self([(key.slot as u64) << 32 | key.generation as u64, u64::MAX])
    }

    /// Spreads identities over buckets.
    pub(super) const fn bucket_hash(self) -> u64 {
        // 2^64 / golden ratio; the multiplication carries every bit of a key into the high half.
        self.0[0].wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
    }
}

/// Makes identities and flow hashes; keyed, so that nobody can aim at a bucket.
#[derive(Clone)]
pub(super) struct Hashes {
    key: [u8; 16],
}

impl std::fmt::Debug for Hashes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hashes").finish_non_exhaustive()
    }
}

impl Hashes {
    pub(super) const fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// The identity of the server transaction that a request belongs to. ACK and CANCEL have that
    /// of their INVITE.
    pub(super) fn of_request(&self, arrival: Arrival, message: Message<'_>) -> Identity {
        let mut input = Gather::new(SipHasher13::new_with_key(&self.key));
        // RFC 3261 §17.2.3 deviation: the source's address counts too, because a CANCEL or an ACK
        // needs no credentials and must not end a transaction of somebody else.
        input.put(arrival.flow.peer().octets());
        let via = message.top_via();
        if is_unique(via.branch) {
            input.put(&[0]);
            put_method(&mut input, message);
            put_text(&mut input, via.branch);
            put_sent_by(&mut input, &via);
        } else {
            input.put(&[1]);
            put_request_2543(&mut input, message, &via);
        }
        let hash = input.into_hasher().finish128();
        Identity([hash.h1, hash.h2])
    }

    /// Spreads flows over buckets.
    pub(super) fn of_flow(&self, flow: Flow) -> u64 {
        let mut input = Gather::new(SipHasher13::new_with_key(&self.key));
        input.put(flow.peer().octets());
        input.put(&flow.peer().port().to_be_bytes());
        input.put(&[flow.listener().0]);
        match flow {
            Flow::Udp { .. } => input.put(&[0]),
            Flow::Stream {
                shard,
                slot,
                generation,
                ..
            } => {
                input.put(&[1, shard.0]);
                input.put(&slot.to_be_bytes());
                input.put(&generation.to_be_bytes());
            }
        }
        input.finish()
    }
}

/// True for a branch made by RFC 3261 §8.1.1.7. The bare cookie says nothing (RFC 4475 §3.2.1).
fn is_unique(branch: &[u8]) -> bool {
    branch.len() > MAGIC_COOKIE.len() && branch.starts_with(MAGIC_COOKIE)
}

/// RFC 3261 §17.2.3: the method of an ACK and a CANCEL is that of the request they speak of.
fn put_method(input: &mut Gather<SipHasher13>, message: Message<'_>) {
    match message.method() {
        Method::Invite | Method::Ack | Method::Cancel => put_text(input, b"INVITE"),
        Method::Bye
        | Method::Register
        | Method::Options
        | Method::Prack
        | Method::Update
        | Method::Info
        | Method::Message
        | Method::Subscribe
        | Method::Notify
        | Method::Refer
        | Method::Publish
        | Method::Other => {
            let text = message
                .request_line()
                .map_or(&b""[..], |line| line.method_text);
            put_text(input, text);
        }
    }
}

/// RFC 3261 §17.2.3: sent-by is host and port; §18.1.1: without port it is the transport's own.
fn put_sent_by(input: &mut Gather<SipHasher13>, via: &Via<'_>) {
    // A host name has no case; 253 octets are the longest valid one, a longer one is taken whole.
    let mut lower = [0u8; 256];
    match lower.get_mut(..via.host.len()) {
        Some(host) => {
            host.copy_from_slice(via.host);
            host.make_ascii_lowercase();
            put_text(input, host);
        }
        None => put_text(input, via.host),
    }
    let port = via.port.unwrap_or_else(|| default_port(via.transport));
    input.put(&port.to_be_bytes());
}

/// RFC 3261 §17.2.3, for elements of RFC 2543: Request-URI, tags, Call-ID, CSeq and top Via. The
/// To tag of INVITE, ACK and CANCEL is left out: an ACK bears that of our response.
fn put_request_2543(input: &mut Gather<SipHasher13>, message: Message<'_>, via: &Via<'_>) {
    put_method(input, message);
    let uri = message.request_line().map_or(&b""[..], |line| line.uri);
    put_text(input, uri);
    put_text(input, message.from_tag());
    let of_invite = matches!(
        message.method(),
        Method::Invite | Method::Ack | Method::Cancel
    );
    put_text(input, if of_invite { b"" } else { message.to_tag() });
    put_text(input, message.call_id());
    input.put(&message.cseq().number.to_be_bytes());
    put_text(
        input,
        &message.bytes()[usize::from(via.start)..usize::from(via.end)],
    );
}

/// Length and octets, so that neighbours can not run into each other.
fn put_text(input: &mut Gather<SipHasher13>, text: &[u8]) {
    input.put(&(text.len() as u32).to_be_bytes());
    input.put(text);
}
