//! SIDs: two letters for the kind of a resource and 32 hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

use super::text::{Invalid, deserialize_text};

/// What a SID names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum SidKind {
    Account,
    Domain,
    CredentialList,
    Credential,
    IpAcl,
    IpAddress,
    Trunk,
    Route,
}

impl SidKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Account,
        Self::Domain,
        Self::CredentialList,
        Self::Credential,
        Self::IpAcl,
        Self::IpAddress,
        Self::Trunk,
        Self::Route,
    ];

    /// The two letters.
    #[must_use]
    pub const fn letters(self) -> &'static str {
        match self {
            Self::Account => "AC",
            Self::Domain => "SD",
            Self::CredentialList => "CL",
            Self::Credential => "CR",
            Self::IpAcl => "AL",
            Self::IpAddress => "IP",
            Self::Trunk => "TK",
            Self::Route => "RT",
        }
    }
}

/// The identifier of a resource; shown in lower case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sid {
    kind: SidKind,
    number: u128,
}

impl Sid {
    /// A SID with this number.
    #[must_use]
    pub const fn new(kind: SidKind, number: u128) -> Self {
        Self { kind, number }
    }

    /// The SID that a resource called `name` below `owner` always has, so that a file which is
    /// applied again names the same resources. `owner` is `None` for accounts and for what belongs
    /// to the operator.
    #[must_use]
    pub fn derive(kind: SidKind, owner: Option<Sid>, name: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(kind.letters());
        if let Some(owner) = owner {
            hash.update(owner.kind.letters());
            hash.update(owner.number.to_be_bytes());
        }
        hash.update(b"/");
        hash.update(name);
        let digest: [u8; 32] = hash.finalize().into();
        let number = digest
            .iter()
            .take(16)
            .fold(0, |n, octet| (n << 8) | u128::from(*octet));
        Self { kind, number }
    }

    /// What it names.
    #[must_use]
    pub const fn kind(self) -> SidKind {
        self.kind
    }
}

impl FromStr for Sid {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid =
            || Invalid::new("is not a SID; write two capital letters and 32 hexadecimal digits");
        let (letters, digits) = text.split_at_checked(2).ok_or_else(invalid)?;
        let kind = SidKind::ALL
            .into_iter()
            .find(|kind| kind.letters() == letters);
        let kind = kind.ok_or_else(invalid)?;
        if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        let number = u128::from_str_radix(digits, 16).map_err(|_| invalid())?;
        Ok(Self { kind, number })
    }
}

impl<'de> Deserialize<'de> for Sid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer)
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:032x}", self.kind.letters(), self.number)
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Sid, SidKind};

    #[test]
    fn sid_reads_what_it_shows() {
        for kind in SidKind::ALL {
            let sid = Sid::derive(kind, None, "demo");
            assert_eq!(sid.to_string().len(), 34);
            assert_eq!(sid.to_string().parse(), Ok(sid));
        }
        let upper = "ACABCDEF0123456789ABCDEF0123456789".parse::<Sid>();
        assert_eq!(
            upper.map(|sid| sid.to_string()),
            Ok("ACabcdef0123456789abcdef0123456789".to_owned())
        );
    }

    #[test]
    fn malformed_sids_are_refused() {
        for text in [
            "",
            "A",
            "AC",
            "é",
            "ac00000000000000000000000000000000",
            "XX00000000000000000000000000000000",
            "AC0000000000000000000000000000000",
            "AC000000000000000000000000000000000",
            "AC+0000000000000000000000000000000",
        ] {
            assert!(text.parse::<Sid>().is_err(), "{text}");
        }
    }

    #[test]
    fn derived_sids_depend_on_kind_owner_and_name() {
        let account = Sid::derive(SidKind::Account, None, "demo");
        let all = [
            account,
            Sid::derive(SidKind::Account, None, "demo2"),
            Sid::derive(SidKind::Trunk, None, "demo"),
            Sid::derive(SidKind::Trunk, Some(account), "demo"),
        ];
        for (at, sid) in all.iter().enumerate() {
            assert!(!all[..at].contains(sid));
        }
        assert_eq!(account, Sid::derive(SidKind::Account, None, "demo"));
    }
}
