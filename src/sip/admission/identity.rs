//! Whose name a request may carry.

use crate::limits;
use crate::tenant::{Domain, Tables};
use crate::wire::{Uri, Writer};

/// True when a caller with the credential `username` of `domain` may be named by `from`: its user
/// is that name or a number routed to the account, and its host is not another account's domain.
// RFC 3323 §4.1.1.3: a caller who wants privacy writes the anonymous URI; who it is, is known from
// the credential and told to trunks by P-Asserted-Identity.
pub(super) fn is_own(tables: &Tables, domain: &Domain, from: &Uri<'_>, username: &[u8]) -> bool {
    if domain.from_any || is_anonymous(from) {
        return true;
    }
    let named = tables.domain_by_name(super::without_dot(from.host));
    if named.is_some_and(|named| named.account != domain.account) {
        return false;
    }
    is_user(from, username) || is_owned_number(tables, domain, from)
}

fn is_anonymous(from: &Uri<'_>) -> bool {
    from.user == Some(b"anonymous") && from.host.eq_ignore_ascii_case(b"anonymous.invalid")
}

/// True when the user part, un-escaped, is `username`.
fn is_user(from: &Uri<'_>, username: &[u8]) -> bool {
    let mut user = [0; limits::AOR_USER_BYTES_MAX];
    let mut out = Writer::new(&mut user);
    if from.user.is_none() || !from.write_user(&mut out) {
        return false;
    }
    match out.finish() {
        Some(length) => user[..length] == *username,
        None => false,
    }
}

fn is_owned_number(tables: &Tables, domain: &Domain, from: &Uri<'_>) -> bool {
    let mut number = [0; limits::AOR_USER_BYTES_MAX];
    let mut out = Writer::new(&mut number);
    if !from.write_number(&mut out) {
        return false;
    }
    match out.finish() {
        Some(length) => tables.owns_number(domain.account, &number[..length]),
        None => false,
    }
}
