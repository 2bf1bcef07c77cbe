//! A digest client, written from RFC 7616 §3.4 without the crate under test.

use md5::{Digest as _, Md5};

use crate::message::Message;

/// A challenge that may be answered several times.
#[derive(Clone, Debug)]
pub(crate) struct Challenge {
    realm: String,
    nonce: String,
    /// Uses so far.
    count: u32,
}

impl Challenge {
    /// The MD5 challenge of a 401 or 407.
    pub(crate) fn of(response: &Message) -> Option<Self> {
        let name = if response.status() == 401 {
            "WWW-Authenticate"
        } else {
            "Proxy-Authenticate"
        };
        let value = response
            .headers
            .iter()
            .filter(|(header, _)| header.eq_ignore_ascii_case(name))
            .find_map(|(_, value)| value.strip_prefix("Digest "))?;
        let parameter = |name: &str| {
            value.split(',').find_map(|part| {
                let (key, value) = part.trim().split_once('=')?;
                (key == name).then(|| value.trim_matches('"').to_owned())
            })
        };
        if parameter("algorithm").as_deref() != Some("MD5") {
            return None;
        }
        Some(Self {
            realm: parameter("realm")?,
            nonce: parameter("nonce")?,
            count: 0,
        })
    }

    /// The credentials for one more request.
    pub(crate) fn answer(&mut self, login: &Login, method: &str, uri: &str) -> String {
        self.count += 1;
        let nc = format!("{:08x}", self.count);
        let Self { realm, nonce, .. } = self;
        let Login { user, password } = login;
        let cnonce = format!("c{:x}", self.count);
        let ha1 = md5(&format!("{user}:{realm}:{password}"));
        let ha2 = md5(&format!("{method}:{uri}"));
        let response = md5(&format!("{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}"));
        format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm=MD5, cnonce=\"{cnonce}\", qop=auth, nc={nc}"
        )
    }
}

/// What a user knows.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
}

fn md5(text: &str) -> String {
    let octets = Md5::digest(text.as_bytes());
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
