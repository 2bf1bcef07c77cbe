//! Digest authentication: stateless nonces, verification, the nonce-count window.
//!
//! Owns the nonce key and the table of nonce counts. Must not decide who needs credentials, nor
//! for what: that is `admission`'s and `registrar`'s. Implements RFC 2617 §3.2, RFC 7616 §3,
//! RFC 8760, RFC 3261 §22.

mod measure;
mod nonce;
mod response;
mod window;

use super::admission;
use super::turn::Turn;
use super::{Arrival, Counter, Keys, NodeId, Now, Settings, ShardId, Time};
use crate::limits;
use crate::tenant::{Credential, CredentialListId, Domain};
use crate::wire::{Credentials, DigestAlgorithm, HeaderName, Message, Uri, Writer};
use nonce::{Mint, Nonce};
use response::{Checker, Question};
use window::{Count, NonceCounts};

pub use measure::DigestMeasure;

/// Longest user name that may have a credential, un-escaped, in octets.
const USERNAME_BYTES_MAX: usize = limits::AOR_USER_BYTES_MAX;

/// What came of the credentials in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Verified, by a credential of this list.
    Accepted {
        /// Where the credential is.
        list: CredentialListId,
        /// When the nonce was issued, to the second, by the clock that `Now::time` is.
        issued_at: Time,
    },
    /// No credentials for our realm, or a nonce that is no longer good: challenge.
    Challenge {
        /// True when the response was right, so that the client may answer without asking its
        /// user.
        stale: bool,
    },
    /// The response to a nonce that was issued to this network is wrong, or the user unknown:
    /// challenge again.
    Rejected,
    /// The credentials break the grammar, or are for another request: 400.
    Malformed,
}

/// Nonces and their counts, of one shard.
#[derive(Debug)]
pub(crate) struct Authenticator {
    mint: Mint,
    counts: NonceCounts,
    /// What an unknown user's response is compared with: random, so that nothing fits it.
    nobody: Credential,
}

impl Authenticator {
    /// `nonces` entries of the count table (a power of two); the nonce key of `keys` is absorbed
    /// once.
    pub(crate) fn new(nonces: u32, keys: &Keys, node: NodeId) -> Self {
        let mint = Mint::new(keys, node);
        let ha1_sha256 = mint.secret(b"ringfence unknown user");
        let mut ha1_md5 = [0; 16];
        ha1_md5.copy_from_slice(&ha1_sha256[..16]);
        let nobody = Credential {
            ha1_md5,
            ha1_sha256,
        };
        Self {
            mint,
            counts: NonceCounts::new(nonces),
            nobody,
        }
    }

    /// Checks the credentials in the header `name` (Authorization or Proxy-Authorization) of
    /// `message` against `lists`. `username` receives the un-escaped user name.
    ///
    /// Anything but `Accepted` for a nonce that was issued to this network since the node was
    /// started leaves no trace; a nonce count is used up only by a response that verifies.
    #[expect(clippy::too_many_arguments, reason = "what a request is judged by")]
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
        let credentials = match find(turn.settings, message, name, domain) {
            Found::Credentials(credentials) => credentials,
            Found::Nothing => return Verdict::Challenge { stale: false },
            Found::Malformed => return Verdict::Malformed,
        };
        let Some(nonce) = self.mint.read(credentials.nonce) else {
            return Verdict::Challenge { stale: false };
        };
        let Some((question, nc)) = question(turn.settings, message, domain, &credentials) else {
            return Verdict::Malformed;
        };
        let mut user = [0; USERNAME_BYTES_MAX];
        let user = unescape(credentials.username, &mut user).map(|length| &user[..length]);
        let list = Checker::new(question, credentials.response)
            .and_then(|checker| self.find_list(turn, &checker, lists, user));
        let Some(list) = list else {
            turn.counters.add(Counter::AuthRejected);
            // A nonce issued to another network does not show that this source hears us, so that
            // it is challenged as if for the first time. Its budget is charged either way: that is
            // what a request without good credentials costs.
            return if self.mint.is_bound_to(nonce, arrival.flow.peer()) {
                Verdict::Rejected
            } else {
                Verdict::Challenge { stale: false }
            };
        };
        if !self.is_good(turn, arrival, nonce) || !self.use_count(turn, nonce, nc) {
            return Verdict::Challenge { stale: true };
        }
        username.put(user.unwrap_or_default());
        turn.counters.add(Counter::AuthAccepted);
        Verdict::Accepted {
            list,
            issued_at: nonce.issued_at(),
        }
    }

    /// Writes one challenge line per algorithm of the domain, with CRLF: WWW-Authenticate for 401,
    /// Proxy-Authenticate for 407.
    #[expect(
        clippy::too_many_arguments,
        reason = "the outbox of a turn is borrowed by `out`"
    )]
    pub(crate) fn write_challenges(
        &mut self,
        now: Now,
        shard: ShardId,
        settings: &Settings,
        arrival: Arrival,
        domain: &Domain,
        status: u16,
        stale: bool,
        out: &mut Writer<'_>,
    ) {
        let nonce = self.mint.issue(now.time, shard, arrival.flow.peer());
        // RFC 8760 §2.4: one header field per algorithm, the preferred one first.
        for &algorithm in algorithms(settings, domain) {
            out.put(match status {
                401 => b"WWW-Authenticate: Digest realm=\"".as_slice(),
                _ => b"Proxy-Authenticate: Digest realm=\"",
            });
            put_quoted(&settings.realm, out);
            out.put(b"\", nonce=\"");
            out.put(&nonce);
            out.put(b"\", ");
            if stale {
                out.put(b"stale=true, ");
            }
            out.put(b"algorithm=");
            out.put(response::algorithm_name(algorithm).as_bytes());
            out.put(b", qop=\"auth\"\r\n");
        }
    }

    /// The first of `lists` with a credential of `user` that the response fits.
    fn find_list(
        &self,
        turn: &Turn<'_>,
        checker: &Checker<'_>,
        lists: &[CredentialListId],
        user: Option<&[u8]>,
    ) -> Option<CredentialListId> {
        let mut is_known = false;
        for &list in lists {
            let credential = user.and_then(|user| turn.tables.credential(list, user));
            if let Some(credential) = credential {
                is_known = true;
                if checker.fits(credential) {
                    return Some(list);
                }
            }
        }
        if !is_known {
            // An unknown user costs what a wrong password costs.
            std::hint::black_box(checker.fits(&self.nobody));
        }
        None
    }

    /// True when `nonce` may still be used, by this source and at this shard.
    fn is_good(&self, turn: &Turn<'_>, arrival: Arrival, nonce: Nonce) -> bool {
        let age = turn.now.time.since(nonce.issued_at());
        nonce.shard == turn.shard
            && self.mint.is_of_this_boot(nonce)
            && age.as_secs() <= u64::from(turn.settings.nonce_lifetime_s)
            && self.mint.is_bound_to(nonce, arrival.flow.peer())
    }

    /// Uses up the count `nc` of `nonce`; false when it was used before or that is not known.
    fn use_count(&mut self, turn: &mut Turn<'_>, nonce: Nonce, nc: u32) -> bool {
        let lifetime_ns = u64::from(turn.settings.nonce_lifetime_s) * 1_000_000_000;
        let expired_before = Time(turn.now.time.0.saturating_sub(lifetime_ns));
        match self
            .counts
            .use_count(nonce.id, nc, nonce::first_id_of(expired_before))
        {
            Count::Fresh { evicted } => {
                if evicted {
                    turn.counters.add(Counter::NoncesEvicted);
                }
                true
            }
            Count::Replayed => {
                turn.counters.add(Counter::AuthReplayed);
                false
            }
            Count::Forgotten => false,
        }
    }
}

/// True when the value of an Authorization or Proxy-Authorization header is meant for us: such
/// credentials are not passed on. What can not be read is not ours.
pub(crate) fn credentials_are_ours(settings: &Settings, value: &[u8]) -> bool {
    matches!(Credentials::parse(value), Ok(Some(found)) if is_our_realm(settings, &found))
}

/// What the headers of a request hold for us.
enum Found<'a> {
    Credentials(Credentials<'a>),
    /// No credentials that answer a challenge of ours.
    Nothing,
    Malformed,
}

/// The first credentials of `message` that answer a challenge as `domain` makes it.
fn find<'a>(
    settings: &Settings,
    message: Message<'a>,
    name: HeaderName,
    domain: &Domain,
) -> Found<'a> {
    let offered = algorithms(settings, domain);
    let mut found = Found::Nothing;
    for field in message.headers(name) {
        match Credentials::parse(field.value) {
            // RFC 3261 §22.3: each hop looks for its own realm and leaves the others alone.
            Ok(Some(credentials)) if is_our_realm(settings, &credentials) => {
                // RFC 7616 §3.4: a response without qop is RFC 2069's; we always offer qop, so
                // the client is asked again. The same for an algorithm that was not offered.
                let answers = credentials.qop.eq_ignore_ascii_case(b"auth")
                    && credentials
                        .algorithm
                        .is_some_and(|used| offered.contains(&used));
                if answers {
                    return Found::Credentials(credentials);
                }
            }
            Ok(Some(_) | None) => {}
            // It may be another realm's: only when nothing else is there is it held against the
            // request.
            Err(_) => found = Found::Malformed,
        }
    }
    found
}

/// What `credentials` must be the answer to, with their nonce count; `None` when they break the
/// grammar or are for another request.
fn question<'a>(
    settings: &Settings,
    message: Message<'a>,
    domain: &Domain,
    credentials: &Credentials<'a>,
) -> Option<(Question<'a>, u32)> {
    let line = message.request_line()?;
    let nc = read_nc(credentials.nc)?;
    // RFC 7616 §3.4: cnonce must be there with qop.
    if credentials.cnonce.is_empty() || !is_uri_of(settings, domain, line.uri, credentials.uri) {
        return None;
    }
    let question = Question {
        algorithm: credentials.algorithm?,
        method: line.method_text,
        uri: credentials.uri,
        nonce: credentials.nonce,
        nc: credentials.nc,
        cnonce: credentials.cnonce,
        qop: credentials.qop,
    };
    Some((question, nc))
}

/// True when the digest's uri names what the request is for: the Request-URI itself, its host, the
/// domain, or this node.
// RFC 7616 §3.4.6 deviation: the two URIs need not be equal, because user agents write the
// registrar's or the outbound proxy's name there; credentials for another host are refused
// with 400.
fn is_uri_of(settings: &Settings, domain: &Domain, request_uri: &[u8], digest_uri: &[u8]) -> bool {
    if request_uri == digest_uri {
        return true;
    }
    let Ok(uri) = Uri::parse(digest_uri) else {
        return false;
    };
    if uri.host.is_empty() {
        return false;
    }
    uri.host.eq_ignore_ascii_case(domain.name.as_bytes())
        || Uri::parse(request_uri).is_ok_and(|of| uri.host.eq_ignore_ascii_case(of.host))
        || admission::is_us(settings, uri.host, uri.port)
}

/// The algorithms offered for `domain`, preferred first; never none.
fn algorithms<'a>(settings: &'a Settings, domain: &'a Domain) -> &'a [DigestAlgorithm] {
    if !domain.algorithms.is_empty() {
        &domain.algorithms
    } else if !settings.algorithms.is_empty() {
        &settings.algorithms
    } else {
        &[DigestAlgorithm::Md5]
    }
}

fn is_our_realm(settings: &Settings, credentials: &Credentials<'_>) -> bool {
    Unescaped(credentials.realm).eq(settings.realm.bytes().map(Some))
}

/// The octets of a quoted string's inside without the backslashes of quoted pairs (RFC 3261
/// §25.1); a lone backslash at the end is a `None`.
struct Unescaped<'a>(&'a [u8]);

impl Iterator for Unescaped<'_> {
    type Item = Option<u8>;
    fn next(&mut self) -> Option<Self::Item> {
        let (octet, rest) = match self.0 {
            [b'\\', octet, rest @ ..] => (Some(*octet), rest),
            [b'\\'] => (None, &[][..]),
            [octet, rest @ ..] => (Some(*octet), rest),
            [] => return None,
        };
        self.0 = rest;
        Some(octet)
    }
}

/// Writes `text` un-escaped; its length, or `None` when it is malformed or too long for a user
/// name.
fn unescape(text: &[u8], out: &mut [u8; USERNAME_BYTES_MAX]) -> Option<usize> {
    let mut length = 0;
    for octet in Unescaped(text) {
        *out.get_mut(length)? = octet?;
        length += 1;
    }
    Some(length)
}

fn put_quoted(text: &str, out: &mut Writer<'_>) {
    for octet in text.bytes() {
        if octet == b'"' || octet == b'\\' {
            out.put(b"\\");
        }
        out.put(&[octet]);
    }
}

/// The number in `nc`, which has eight digits when it is there (RFC 7616 §3.4).
fn read_nc(nc: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(nc).ok()?, 16).ok()
}

#[cfg(test)]
mod tests;
