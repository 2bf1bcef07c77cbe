//! Whom a request is for, as far as it has been found out.

use crate::tenant::{DomainId, Route};
use crate::wire::{Params, Scheme, Uri, Writer};

/// Octets of one text: a user part and what a route may put before it.
const TEXT_BYTES: usize = 192;
/// Octets of an encoded goal.
pub(super) const GOAL_BYTES_MAX: usize = 6 + 3 * (1 + TEXT_BYTES);

/// A short text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    bytes: [u8; TEXT_BYTES],
    length: u8,
}

const _: () = assert!(TEXT_BYTES <= u8::MAX as usize);

impl Text {
    /// What `write` writes; `None` when it says no, or the text is too long.
    pub(super) fn written(write: impl FnOnce(&mut Writer<'_>) -> bool) -> Option<Self> {
        let mut bytes = [0; TEXT_BYTES];
        let mut out = Writer::new(&mut bytes);
        if !write(&mut out) {
            return None;
        }
        let length = out.finish()? as u8;
        Some(Self { bytes, length })
    }

    /// `text`; `None` when it is too long.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        Self::written(|out| {
            out.put(text);
            true
        })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// Whom a request is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    /// The domain of the address of record, or of the route that leads on.
    pub(super) domain: DomainId,
    /// Routes followed so far.
    pub(super) rounds: u8,
    /// True when the Contact's user part becomes the number.
    pub(super) keep_number: bool,
    /// The user of the address of record, un-escaped.
    pub(super) user: Text,
    /// The number as routed: stripped, and with what is put before it.
    pub(super) number: Text,
    /// The caller's verified user name; empty when none was.
    pub(super) username: Text,
}

impl Goal {
    /// Follows a route for `number`; `None` when the number grows too long.
    pub(super) fn follow(&mut self, route: &Route, number: &[u8]) -> Option<()> {
        let rest = number.get(usize::from(route.strip)..).unwrap_or_default();
        self.number = Text::written(|out| {
            out.put(route.prepend.as_bytes());
            out.put(rest);
            true
        })?;
        self.keep_number = route.keep_number;
        self.rounds += 1;
        Some(())
    }

    /// Writes the goal for [`Self::decode`].
    pub(super) fn encode(&self, out: &mut Writer<'_>) {
        out.put(&self.domain.0.to_be_bytes());
        out.put(&[self.rounds, u8::from(self.keep_number)]);
        for text in [&self.user, &self.number, &self.username] {
            out.put(&[text.length]);
            out.put(text.as_bytes());
        }
    }

    /// Reads a goal that [`Self::encode`] wrote.
    pub(super) fn decode(octets: &[u8]) -> Option<Self> {
        let (head, mut rest) = octets.split_first_chunk::<6>()?;
        let mut text = || {
            let (&length, tail) = rest.split_first()?;
            let (text, tail) = tail.split_at_checked(usize::from(length))?;
            rest = tail;
            Text::of(text)
        };
        Some(Self {
            domain: DomainId(u32::from_be_bytes([head[0], head[1], head[2], head[3]])),
            rounds: head[4],
            keep_number: head[5] != 0,
            user: text()?,
            number: text()?,
            username: text()?,
        })
    }
}

/// The un-escaped user part of `uri`.
pub(super) fn user_of(uri: &Uri<'_>) -> Option<Text> {
    uri.user?;
    Text::written(|out| uri.write_user(out)).filter(|text| !text.as_bytes().is_empty())
}

/// The user part of `uri` as it is compared with routes: its number, or the user as it is.
pub(super) fn number_of(uri: &Uri<'_>) -> Option<Text> {
    Text::written(|out| uri.write_number(out)).or_else(|| user_of(uri))
}

/// As [`number_of`], of a user part standing alone.
pub(super) fn number_of_user(user: &[u8]) -> Option<Text> {
    number_of(&Uri {
        scheme: Scheme::Sip,
        user: Some(user),
        password: None,
        host: b"",
        port: None,
        params: Params::default(),
        headers: b"",
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::tenant::{AccountId, Destination};

    fn goal() -> Goal {
        Goal {
            domain: DomainId(0xDEAD_BEEF),
            rounds: 2,
            keep_number: true,
            user: Text::of(b"alice").unwrap(),
            number: Text::of(b"+15550100").unwrap(),
            username: Text::of(b"").unwrap(),
        }
    }

    #[test]
    fn a_goal_survives_being_kept() {
        let mut bytes = [0; GOAL_BYTES_MAX];
        let mut out = Writer::new(&mut bytes);
        goal().encode(&mut out);
        let length = out.finish().unwrap();
        let back = Goal::decode(&bytes[..length]).unwrap();
        assert_eq!(back.domain, goal().domain);
        assert_eq!((back.rounds, back.keep_number), (2, true));
        assert_eq!(back.user.as_bytes(), b"alice");
        assert_eq!(back.number.as_bytes(), b"+15550100");
        assert_eq!(back.username.as_bytes(), b"");
        for cut in 0..length {
            assert!(Goal::decode(&bytes[..cut]).is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn a_route_strips_and_prepends() {
        let mut goal = goal();
        let route = Route {
            account: AccountId(1),
            strip: 1,
            prepend: "00".into(),
            keep_number: false,
            destination: Destination::Status(486),
        };
        goal.follow(&route, b"+4930123").unwrap();
        assert_eq!(goal.number.as_bytes(), b"004930123");
        assert_eq!((goal.rounds, goal.keep_number), (3, false));
        goal.follow(
            &Route {
                strip: 200,
                ..route
            },
            b"+49",
        )
        .unwrap();
        assert_eq!(
            goal.number.as_bytes(),
            b"00",
            "stripping more than there is leaves nothing"
        );
    }

    #[test]
    fn a_text_has_a_bound() {
        assert!(Text::of(&[b'1'; TEXT_BYTES]).is_some());
        assert!(Text::of(&[b'1'; TEXT_BYTES + 1]).is_none());
    }
}
