//! Who vouches for an identity: P-Asserted-Identity and its kin are taken from trunks only
//! (RFC 3325 §5), and told to nobody whom the caller hides from (RFC 3323, RFC 3325 §7).

use crate::wire::{HeaderName, Message, Splice, Writer};

/// Headers that claim an identity.
const CLAIMS: [HeaderName; 4] = [
    HeaderName::PAssertedIdentity,
    HeaderName::PPreferredIdentity,
    HeaderName::RemotePartyId,
    HeaderName::Diversion,
];

/// What becomes of identity headers on a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asserted<'a> {
    /// From one trusted side to another: passed on.
    Kept,
    /// From a trusted side to a user: passed on unless the caller wants privacy.
    KeptUnlessPrivate,
    /// From a user: removed.
    Removed,
    /// From a user to a trunk: removed, and the credential's identity put in.
    Replaced {
        /// The user name that was verified.
        user: &'a [u8],
        /// The domain it belongs to.
        host: &'a [u8],
    },
}

/// Removes the identity headers that must not go on.
pub(super) fn remove_unasserted(
    asserted: Asserted<'_>,
    message: Message<'_>,
    splice: &mut Splice<'_>,
) {
    let remove = match asserted {
        Asserted::Kept => false,
        Asserted::KeptUnlessPrivate => wants_privacy(message),
        Asserted::Removed | Asserted::Replaced { .. } => true,
    };
    if remove {
        for field in CLAIMS.into_iter().flat_map(|name| message.headers(name)) {
            splice.remove(usize::from(field.line_start), usize::from(field.line_end));
        }
    }
}

/// Writes the P-Asserted-Identity of a verified user.
pub(super) fn put_asserted(asserted: Asserted<'_>, out: &mut Writer<'_>) {
    if let Asserted::Replaced { user, host } = asserted {
        out.put(b"P-Asserted-Identity: <sip:");
        put_user(user, out);
        out.put(b"@");
        out.put(host);
        out.put(b">\r\n");
    }
}

/// RFC 3325 §9.3, RFC 3323 §4.2: a privacy level that hides the identity from users.
fn wants_privacy(message: Message<'_>) -> bool {
    message.headers(HeaderName::Privacy).any(|field| {
        field
            .value
            .split(|octet| matches!(octet, b';' | b','))
            .any(|level| {
                let level = level.trim_ascii();
                level.eq_ignore_ascii_case(b"id")
                    || level.eq_ignore_ascii_case(b"header")
                    || level.eq_ignore_ascii_case(b"user")
            })
    })
}

/// Writes `text` as a user part: RFC 3261 §25.1 `user`, everything else escaped.
pub(super) fn put_user(text: &[u8], out: &mut Writer<'_>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &octet in text {
        if octet.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&octet) {
            out.put(&[octet]);
        } else {
            let digit = |nibble: u8| HEX[usize::from(nibble)];
            out.put(&[b'%', digit(octet >> 4), digit(octet & 15)]);
        }
    }
}
