//! Digest authentication: stateless nonces, verification, the nonce-count window.
//! RFC 2617 §3.2, RFC 7616 §3, RFC 8760, RFC 3261 §22.

use super::Arrival;
use super::turn::Turn;
use crate::tenant::{AccountId, CredentialListId, Domain};
use crate::wire::{HeaderName, Message, Writer};

/// What came of the credentials in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Verified, by a credential of this list.
    Accepted { list: CredentialListId },
    /// No credentials for our realm, or a nonce that is no longer good: challenge.
    Challenge { stale: bool },
    /// The response is wrong, or the user unknown: challenge again, counted as a failure.
    Rejected,
    /// The credentials break the grammar: 400.
    Malformed,
}

/// Nonces and their counts, of one shard.
#[derive(Debug)]
pub(crate) struct Authenticator;

impl Authenticator {
    /// `nonces` entries of the count table (a power of two).
    pub(crate) fn new(nonces: u32) -> Self {
        unimplemented!("{nonces}")
    }

    /// Checks the credentials in the header `name` (Authorization or Proxy-Authorization) of
    /// `message` against `lists`. `username` receives the un-escaped user name.
    pub(crate) fn verify(
        &mut self,
        turn: &mut Turn<'_>,
        arrival: Arrival,
        message: Message<'_>,
        name: HeaderName,
        domain: &Domain,
        lists: &[CredentialListId],
        username: &mut Writer<'_>,
    ) -> Verdict {
        let _ = (turn, arrival, message, name, domain, lists, username);
        unimplemented!()
    }

    /// Writes one challenge line per algorithm of the domain, with CRLF: WWW-Authenticate for 401,
    /// Proxy-Authenticate for 407.
    pub(crate) fn write_challenges(
        &mut self,
        turn_now: super::Now,
        shard: super::ShardId,
        keys: &super::Keys,
        settings: &super::Settings,
        arrival: Arrival,
        domain: &Domain,
        status: u16,
        stale: bool,
        out: &mut Writer<'_>,
    ) {
        let _ = (
            turn_now, shard, keys, settings, arrival, domain, status, stale, out,
        );
        let _: Option<AccountId> = None;
        unimplemented!()
    }

    /// The shard that issued a nonce, unchecked.
    pub(crate) fn issuer(nonce: &[u8]) -> Option<super::ShardId> {
        unimplemented!("{nonce:?}")
    }
}
