//! The values that tenants write, each a type that can only hold what is allowed.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::normalize_number;
use crate::limits::{
    ACL_NAME_CHARS_MAX, AOR_USER_BYTES_MAX, HOST_BYTES_MAX, NAME_CHARS_MAX, PASSWORD_CHARS_MAX,
    PASSWORD_CHARS_MIN, USERNAME_CHARS_MAX,
};

/// Why a value is refused: what is wrong with it, the bound, and what to write instead. It never
/// holds the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(Box<str>);

impl Invalid {
    pub(super) fn new(message: impl Into<Box<str>>) -> Self {
        Self(message.into())
    }
}

/// Reads a text by its `FromStr` while the deserializer still knows where it stands, so that an
/// error in an array names the element.
struct TextVisitor<T>(PhantomData<T>);

impl<T: FromStr<Err = Invalid>> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// Deserializes a type by its `FromStr`.
pub(super) fn deserialize_text<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err = Invalid>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_str(TextVisitor(PhantomData))
}

/// `Deserialize` by `FromStr`.
macro_rules! deserialize_text {
    ($($name:ty),*) => {
        $(impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize_text(deserializer)
            }
        })*
    };
}

deserialize_text!(Aor, Prefix, Source, TargetUri);

/// A text type: a boxed string behind a check that may change its form.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $parse:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                $parse(text).map(|text| Self(text.into()))
            }
        }

        deserialize_text!($name);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

text! {
    /// The name of an account, a credential list, a trunk or a listener: 1 to 64 characters,
    /// none of them a control character, not beginning or ending with a space.
    Name, check_name
}
text! {
    /// The name of an access control list: as `Name`, 1 to 255 characters.
    AclName, check_acl_name
}
text! {
    /// A host name of at least two labels (RFC 1123 §2.1), in lower case.
    DomainName, check_domain_name
}
text! {
    /// The user part of an address of record and the digest user name: 1 to 32 characters that
    /// need no escape there (RFC 3261 §25.1 `user`). Upper and lower case differ.
    Username, check_username
}
text! {
    /// A number or any other user part, or its beginning, in the form numbers are compared in;
    /// may be empty.
    Number, check_number
}
text! {
    /// An auth token: 32 to 64 letters and digits.
    Token, check_token
}

fn check_name(text: &str) -> Result<&str, Invalid> {
    check_chars(text, NAME_CHARS_MAX)
}

fn check_acl_name(text: &str) -> Result<&str, Invalid> {
    check_chars(text, ACL_NAME_CHARS_MAX)
}

fn check_chars(text: &str, chars_max: usize) -> Result<&str, Invalid> {
    let chars = text.chars().count();
    if chars == 0 || chars > chars_max {
        return Err(Invalid::new(format!(
            "has {chars} characters, allowed are 1 to {chars_max}; choose another name"
        )));
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid::new("has a control character; remove it"));
    }
    if text.trim() != text {
        return Err(Invalid::new("begins or ends with a space; remove it"));
    }
    Ok(text)
}

fn check_domain_name(text: &str) -> Result<String, Invalid> {
    let invalid = |why: String| Err(Invalid::new(format!("is no valid domain name: {why}")));
    if text.len() > HOST_BYTES_MAX {
        let length = text.len();
        return invalid(format!(
            "{length} characters, allowed are {HOST_BYTES_MAX}; shorten it"
        ));
    }
    if text.parse::<IpAddr>().is_ok() {
        return invalid("it is an address; write a host name such as \"sip.example.com\"".into());
    }
    for label in text.split('.') {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if label.is_empty() || label.len() > 63 {
            let length = label.len();
            return invalid(format!(
                "a label between dots has {length} characters, allowed are 1 to 63; correct it"
            ));
        }
        if !label.bytes().all(allowed) || label.starts_with('-') || label.ends_with('-') {
            let shown = label.escape_default();
            return invalid(format!(
                "the label \"{shown}\" may hold letters, digits and inner hyphens only; correct it"
            ));
        }
    }
    let last = text.rsplit('.').next().unwrap_or_default();
    if last.len() == text.len() {
        return invalid("it has one label; write at least two, as in \"sip.example.com\"".into());
    }
    // RFC 1123 §2.1: the highest label is not all digits, or an address could be meant.
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return invalid("the last label is a number; end it with a name".into());
    }
    Ok(text.to_ascii_lowercase())
}

/// RFC 3261 §25.1: unreserved and user-unreserved, which stand in a user part without escape.
fn is_user_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte)
}

fn check_username(text: &str) -> Result<&str, Invalid> {
    let chars = text.chars().count();
    if chars == 0 || chars > USERNAME_CHARS_MAX {
        return Err(Invalid::new(format!(
            "has {chars} characters, a user name has 1 to {USERNAME_CHARS_MAX}; shorten it"
        )));
    }
    if !text.bytes().all(is_user_byte) {
        return Err(Invalid::new(
            "has a character that no user name may hold; write letters, digits and any of \
             - _ . ! ~ * ' ( ) & = + $ , ; ? / without spaces, quotes or @",
        ));
    }
    Ok(text)
}

fn check_number(text: &str) -> Result<String, Invalid> {
    if text.len() > AOR_USER_BYTES_MAX {
        let length = text.len();
        return Err(Invalid::new(format!(
            "has {length} characters, a number has at most {AOR_USER_BYTES_MAX}; shorten it"
        )));
    }
    // A semicolon would begin parameters, which numbers are compared without.
    if !text
        .bytes()
        .all(|byte| (is_user_byte(byte) && byte != b';') || byte == b'#')
    {
        return Err(Invalid::new(
            "has a character that no number or user part may hold; write it un-escaped, without \
             spaces, scheme, host or parameters, as in \"+15550100\"",
        ));
    }
    Ok(normalize_number(text).into_owned())
}

fn check_token(text: &str) -> Result<&str, Invalid> {
    if !(32..=64).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(Invalid::new(
            "is no auth token; write 32 to 64 letters and digits, or leave the key out to have \
             one made",
        ));
    }
    Ok(text)
}

/// Checks a password: 12 to 128 characters, one digit, one upper-case and one lower-case letter at
/// least, no control characters.
///
/// # Errors
/// What is missing; never the password.
pub fn check_password(text: &str) -> Result<(), Invalid> {
    let chars = text.chars().count();
    if !(PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&chars) {
        return Err(Invalid::new(format!(
            "has {chars} characters, a password has {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX}; \
             choose another"
        )));
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid::new(
            "has a control character; choose another password",
        ));
    }
    let missing = if !text.chars().any(|c| c.is_ascii_digit()) {
        "a digit"
    } else if !text.chars().any(char::is_uppercase) {
        "an upper-case letter"
    } else if !text.chars().any(char::is_lowercase) {
        "a lower-case letter"
    } else {
        return Ok(());
    };
    Err(Invalid::new(format!(
        "lacks {missing}; a password has digits and letters of both cases"
    )))
}

/// An address of record, `user@domain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aor {
    /// The user part.
    pub user: Username,
    /// The domain.
    pub domain: DomainName,
}

impl FromStr for Aor {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let Some((user, domain)) = text.split_once('@') else {
            return Err(Invalid::new(
                "names no user; write \"user@domain\" without a scheme",
            ));
        };
        Ok(Self {
            user: user.parse()?,
            domain: domain.parse()?,
        })
    }
}

/// An address prefix, host bits removed; a single address is a prefix of full length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix(pub IpNet);

impl FromStr for Prefix {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let net = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text.parse::<IpNet>().map_err(|_| {
                Invalid::new(
                    "is no address or prefix; write \"192.0.2.1\", \"192.0.2.0/24\" or \
                     \"2001:db8::/32\", with 1 to 32 or 1 to 128 bits",
                )
            })?,
        };
        if net.prefix_len() == 0 {
            return Err(Invalid::new(
                "covers every address, allowed are 1 to 32 or 1 to 128 bits; who means everybody \
                 writes both halves, as in \"0.0.0.0/1\", \"128.0.0.0/1\"",
            ));
        }
        Ok(Self(net.trunc()))
    }
}

/// Where a trunk's calls come from: a prefix, or one address with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The addresses.
    pub net: IpNet,
    /// The port that the source must have.
    pub port: Option<u16>,
}

impl FromStr for Source {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() == 0 => Err(Invalid::new(
                "has port 0; write the port calls come from, or none for any",
            )),
            Ok(address) => Ok(Self {
                net: address.ip().into(),
                port: Some(address.port()),
            }),
            Err(_) => match text.parse::<Prefix>() {
                Ok(Prefix(net)) => Ok(Self { net, port: None }),
                Err(why) if text.parse::<IpNet>().is_ok() => Err(why),
                Err(_) => Err(Invalid::new(
                    "is no source; write a prefix (\"192.0.2.0/24\"), an address, or an address \
                     with a port (\"192.0.2.1:5060\", \"[2001:db8::1]:5060\")",
                )),
            },
        }
    }
}

/// Where a trunk's calls go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetUri {
    /// The address and port, 5060 where none is written.
    pub address: SocketAddr,
    /// `host[:port]` as written.
    pub host: Box<str>,
}

impl FromStr for TargetUri {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = |message: &str| Err(Invalid::new(message));
        let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
        if scheme.eq_ignore_ascii_case("sips") {
            return invalid("asks for TLS, which trunks do not support yet; write \"sip:\"");
        }
        if !scheme.eq_ignore_ascii_case("sip") {
            return invalid("is no SIP URI; write \"sip:192.0.2.1:5060\"");
        }
        let (host, params) = rest.split_once(';').unwrap_or((rest, ""));
        if !params.is_empty() && !params.eq_ignore_ascii_case("transport=udp") {
            return invalid(
                "has a parameter; only \";transport=udp\" is supported yet, remove the others",
            );
        }
        if host.contains('@') {
            return invalid("has a user part; write the host alone, the number is put before it");
        }
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let address = match (host.parse::<SocketAddr>(), bracketed) {
            (Ok(address), _) => address,
            (Err(_), Some(v6)) => match v6.parse() {
                Ok(address) => SocketAddr::new(IpAddr::V6(address), 5060),
                Err(_) => return invalid("has no valid IPv6 address between the brackets"),
            },
            (Err(_), None) => match host.parse::<IpAddr>() {
                Ok(IpAddr::V4(address)) => SocketAddr::new(address.into(), 5060),
                Ok(IpAddr::V6(_)) => return invalid("needs brackets around its IPv6 address"),
                Err(_) => {
                    return invalid(
                        "names no IP address with an optional port; DNS targets are not supported \
                         yet, write the address as in \"sip:192.0.2.1:5060\"",
                    );
                }
            },
        };
        let ip = address.ip();
        if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
            return invalid("can not be sent to; write a host's own address and a port above 0");
        }
        Ok(Self {
            address,
            host: host.into(),
        })
    }
}
