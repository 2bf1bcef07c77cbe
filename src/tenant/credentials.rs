//! The credentials of one list, packed: 48 octets of hashes, 8 of place and age, the name, the
//! index.

use md5::{Digest, Md5};
use sha2::Sha256;

use super::Credential;
use super::index::{Index, Keyed};

/// A credential list as shards read it. Shared between generations while the list is unchanged.
#[derive(Default)]
pub(super) struct CredentialTable {
    keyed: Keyed,
    index: Index,
    entries: Box<[Entry]>,
    /// The user names, one after the other.
    names: Box<[u8]>,
}

struct Entry {
    credential: Credential,
    /// Where the name begins in `names`; it ends where the next one begins.
    name: u32,
    /// The generation of the tables in which the name came into the list, to stay so far.
    since: u32,
}

impl CredentialTable {
    /// Packs credentials; a name that comes twice keeps its first credential. A name that was in
    /// `before`, the list one generation ago, stays; any other has come with `generation`.
    pub(super) fn build<'a>(
        users: impl Iterator<Item = (&'a str, Credential)>,
        before: Option<&Self>,
        generation: u32,
    ) -> Self {
        let keyed = Keyed::default();
        let mut entries = Vec::with_capacity(users.size_hint().0);
        let mut names = Vec::new();
        let mut hashes = Vec::with_capacity(users.size_hint().0);
        for (username, credential) in users {
            let name = u32::try_from(names.len()).expect("CREDENTIALS_MAX names fit into 4 GiB");
            names.extend_from_slice(username.as_bytes());
            hashes.push(keyed.hash(0, username.as_bytes()));
            let stayed = before.and_then(|before| before.entry(username.as_bytes()));
            entries.push(Entry {
                credential,
                name,
                since: stayed.map_or(generation, |entry| entry.since),
            });
        }
        let index = Index::build(hashes.into_iter());
        Self {
            keyed,
            index,
            entries: entries.into(),
            names: names.into(),
        }
    }

    /// The credential of `username`, compared octet by octet.
    #[inline]
    pub(super) fn find(&self, username: &[u8]) -> Option<&Credential> {
        self.entry(username).map(|entry| &entry.credential)
    }

    /// The generation of the tables since which `username` has been in the list without a break.
    #[inline]
    pub(super) fn since(&self, username: &[u8]) -> Option<u32> {
        self.entry(username).map(|entry| entry.since)
    }

    #[inline]
    fn entry(&self, username: &[u8]) -> Option<&Entry> {
        let hash = self.keyed.hash(0, username);
        let found = self
            .index
            .find(hash, |entry| self.name(entry) == username)?;
        Some(&self.entries[found])
    }

    fn name(&self, entry: usize) -> &[u8] {
        let end = self
            .entries
            .get(entry + 1)
            .map_or(self.names.len(), |next| next.name as usize);
        &self.names[self.entries[entry].name as usize..end]
    }

    /// How many credentials there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Octets held.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.index.bytes() + size_of_val(&self.entries[..]) + self.names.len()
    }
}

impl std::fmt::Debug for CredentialTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialTable")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl Credential {
    /// What the password of `username` is checked against in `realm` (RFC 7616 §3.4.2).
    #[must_use]
    pub fn from_password(username: &str, realm: &str, password: &str) -> Self {
        let parts = [username, ":", realm, ":", password];
        let (mut md5, mut sha256) = (Md5::new(), Sha256::new());
        for part in parts {
            md5.update(part);
            sha256.update(part);
        }
        Self {
            ha1_md5: md5.finalize().into(),
            ha1_sha256: sha256.finalize().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Credential, CredentialTable};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn ha1_is_that_of_the_published_example() {
        // RFC 2617 §3.5: MD5("Mufasa:testrealm@host.com:Circle Of Life").
        let credential =
            Credential::from_password("Mufasa", "testrealm@host.com", "Circle Of Life");
        assert_eq!(hex(&credential.ha1_md5), "939e7578ed9e3c518a452acee763bce9");
        // RFC 7616 §3.9.1: SHA-256("Mufasa:http-auth@example.org:Circle of Life").
        let credential =
            Credential::from_password("Mufasa", "http-auth@example.org", "Circle of Life");
        assert_eq!(
            hex(&credential.ha1_sha256),
            "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232"
        );
    }

    #[test]
    fn every_user_is_found_and_no_other() {
        let names: Vec<String> = (0..1000).map(|n| format!("user{n}")).collect();
        let credential = |name: &str| Credential::from_password(name, "r", "p");
        let users = names.iter().map(|n| (n.as_str(), credential(n)));
        let table = CredentialTable::build(users, None, 1);
        for name in &names {
            assert!(
                table.find(name.as_bytes()) == Some(&credential(name)),
                "{name}"
            );
        }
        for stranger in ["", "user", "user1000", "USER1", "ser1"] {
            assert!(table.find(stranger.as_bytes()).is_none(), "{stranger}");
        }
        assert!(
            table.bytes() / table.len() <= 200,
            "{}",
            table.bytes() / table.len()
        );
    }
}
