//! The registrar as a map: every REGISTER that is answered 200 is obeyed here too, and the edge
//! must hold and tell the same (RFC 3261 §10.3).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ringfence::sip::{BindingRow, Time};

use crate::message::{Message, parameter, uri_of, user_of};

/// The time of a nonce is told to the second.
const NONCE_SLACK_MS: u64 = 1_000;

#[derive(Clone, Debug)]
struct Binding {
    contact: String,
    instance: String,
    call_id: String,
    cseq: u32,
    /// The top Via of the REGISTER that made it.
    via: String,
    source: SocketAddr,
    changed_at: Time,
    expires_at: Time,
    /// Since when it is there, refreshed or not.
    since: Time,
}

/// The bindings by address of record, as `user@host`.
#[derive(Debug)]
pub(super) struct Registrar {
    bindings: BTreeMap<String, Vec<Binding>>,
    /// When nonces were first seen.
    nonces: BTreeMap<String, Time>,
    /// False once the wall clock jumped.
    pub(super) clock_is_good: bool,
}

impl Default for Registrar {
    fn default() -> Self {
        Self {
            bindings: BTreeMap::new(),
            nonces: BTreeMap::new(),
            clock_is_good: true,
        }
    }
}

impl Registrar {
    /// A REGISTER from `source` was answered; true when it was one that was answered before.
    pub(super) fn judge(
        &mut self,
        now: Time,
        source: SocketAddr,
        request: &Message,
        response: &Message,
    ) -> Result<bool, String> {
        for challenge in response
            .headers
            .iter()
            .filter(|(name, _)| name == "WWW-Authenticate")
        {
            if let Some(nonce) = quoted(&challenge.1, "nonce") {
                self.nonces.entry(nonce.to_owned()).or_insert(now);
            }
        }
        if response.status() != 200 {
            return Ok(false);
        }
        let aor = aor_of(request);
        self.expire(now);
        let bound = self.bindings.entry(aor.clone()).or_default();
        let repeated = bound.iter().any(|it| {
            it.call_id == request.call_id()
                && it.cseq == request.cseq_number()
                && it.via == request.top_via()
                && it.source == source
        });
        if !repeated {
            if request.get("Authorization").is_none() {
                return Err(format!("{aor} was changed without credentials"));
            }
            let nonce = quoted(request.header("Authorization"), "nonce").unwrap_or("");
            let nonce_at = self.nonces.get(nonce).copied().unwrap_or_default();
            let stale = |it: &&Binding| {
                it.call_id == request.call_id()
                    && it.cseq >= request.cseq_number()
                    && nonce_at.plus_ms(NONCE_SLACK_MS) < it.changed_at
            };
            if self.clock_is_good
                && let Some(newer) = bound.iter().find(stale)
            {
                return Err(format!(
                    "{aor} obeys an older REGISTER than that of {newer:?}"
                ));
            }
            obey(bound, now, source, request);
        }
        let told = told(response);
        let held: Vec<_> = bound
            .iter()
            .map(|it| (it.contact.clone(), it.expires_at.since(now).as_secs()))
            .collect();
        if !is_same(&told, &held) {
            return Err(format!("{aor} is told {told:?}, but has {held:?}"));
        }
        Ok(repeated)
    }

    fn expire(&mut self, now: Time) {
        for bound in self.bindings.values_mut() {
            bound.retain(|it| it.expires_at > now);
        }
    }

    pub(super) fn forget(&mut self) {
        self.bindings.clear();
    }

    pub(super) fn remove(&mut self, aor: &str) {
        self.bindings.remove(aor);
    }

    /// True when the user of `uri` had a binding without a break from `since` to `now`.
    pub(super) fn was_bound(&self, uri: &str, since: Time, now: Time) -> bool {
        let aor = uri.strip_prefix("sip:").unwrap_or(uri);
        self.bindings.get(aor).is_some_and(|bound| {
            bound
                .iter()
                .any(|it| it.since <= since && it.expires_at > now)
        })
    }

    pub(super) fn compare(&mut self, now: Time, rows: &[BindingRow]) -> Result<(), String> {
        self.expire(now);
        let mut held: Vec<_> = self
            .bindings
            .iter()
            .flat_map(|(aor, bound)| bound.iter().map(move |it| (aor.clone(), it)))
            .map(|(aor, it)| (aor, it.contact.clone(), it.source, it.expires_at))
            .collect();
        let mut listed: Vec<_> = rows
            .iter()
            .map(|row| {
                let source = row.flow.peer().socket_addr();
                (row.aor.clone(), row.contact.clone(), source, row.expires_at)
            })
            .collect();
        held.sort();
        listed.sort();
        if held == listed {
            return Ok(());
        }
        Err(format!("bound are {held:#?}, but listed {listed:#?}"))
    }
}

/// RFC 3261 §10.3 step 7, for REGISTERs with one Contact.
fn obey(bound: &mut Vec<Binding>, now: Time, source: SocketAddr, request: &Message) {
    let Some(value) = request.get("Contact") else {
        return;
    };
    let contact = uri_of(value).to_owned();
    let instance = quoted(value, "+sip.instance").unwrap_or("").to_owned();
    let expires_s: u64 = parameter(value, "expires")
        .or(request.get("Expires"))
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(3600)
        .min(3600);
    let is_match = |it: &Binding| {
        it.contact == contact
            || !instance.is_empty() && it.instance == instance
            || it.call_id == request.call_id() && user_of(&it.contact) == user_of(&contact)
    };
    let since = bound
        .iter()
        .filter(|it| is_match(it))
        .map(|it| it.since)
        .min();
    bound.retain(|it| !is_match(it));
    if expires_s > 0 {
        bound.push(Binding {
            contact,
            instance,
            call_id: request.call_id().to_owned(),
            cseq: request.cseq_number(),
            via: request.top_via().to_owned(),
            source,
            changed_at: now,
            expires_at: now.plus_ms(expires_s * 1000),
            since: since.unwrap_or(now),
        });
    }
}

fn told(response: &Message) -> Vec<(String, u64)> {
    let contact = |value: &&str| {
        let expires = parameter(value, "expires").and_then(|it| it.parse().ok());
        (uri_of(value).to_owned(), expires.unwrap_or(u64::MAX))
    };
    response.all("Contact").iter().map(contact).collect()
}

fn is_same(told: &[(String, u64)], held: &[(String, u64)]) -> bool {
    told.len() == held.len() && told.iter().all(|it| held.contains(it))
}

fn aor_of(request: &Message) -> String {
    let uri = uri_of(request.header("To"));
    uri.strip_prefix("sip:").unwrap_or(uri).to_owned()
}

/// The quoted value of a parameter, wherever it stands.
fn quoted<'t>(value: &'t str, name: &str) -> Option<&'t str> {
    let start = value.find(&format!("{name}=\""))? + name.len() + 2;
    value[start..].split('"').next()
}
