//! The node's secrets: made at the first start, kept in `<state_dir>/keys`, read by every later
//! one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::sip::{Keys, TokenKey};

/// The version of the file's form.
const VERSION: u32 = 1;

/// A token key older than this is replaced at the next start: 30 days, seconds.
const TOKEN_AGE_S_MAX: u64 = 30 * 86_400;

/// How long the token key before the current one still counts: a day, longer than any call.
const TOKEN_PREVIOUS_S_MAX: u64 = 86_400;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeysError {
    #[error("cannot {verb} {path}: {error}")]
    Io {
        verb: &'static str,
        path: String,
        error: io::Error,
    },
    #[error(
        "{path} is damaged ({reason}): restore it from a backup, or remove it and lose every call \
         in progress and every registration's place"
    )]
    Damaged { path: String, reason: String },
    #[error("{path} may be read by others (mode {mode:o}): run chmod 600 on it")]
    Exposed { path: String, mode: u32 },
    #[error("the operating system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// The file's form. Keys are hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    version: u32,
    partition: String,
    nonce: String,
    token: TokenEntry,
    token_previous: TokenEntry,
    /// SHA-256 over everything else.
    check: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenEntry {
    id: u8,
    key: String,
    /// When it became this: seconds since the Unix epoch.
    since: u64,
}

impl KeyFile {
    fn new(now_s: u64) -> Result<Self, KeysError> {
        Ok(Self {
            version: VERSION,
            partition: hex(&random::<16>()?),
            nonce: hex(&random::<32>()?),
            token: TokenEntry {
                id: 1,
                key: hex(&random::<16>()?),
                since: now_s,
            },
            token_previous: TokenEntry {
                id: 0,
                key: hex(&random::<16>()?),
                since: now_s,
            },
            check: String::new(),
        })
    }

    fn checksum(&self) -> String {
        let unchecked = Self {
            check: String::new(),
            ..self.clone()
        };
        let text = toml::to_string(&unchecked).expect("every field has a form in TOML");
        hex(&Sha256::digest(text.as_bytes()))
    }

    /// Retires the token key when it is old, and forgets the one before when its day is over.
    /// True when something changed.
    fn rotate(&mut self, now_s: u64) -> Result<bool, KeysError> {
        if now_s.saturating_sub(self.token.since) > TOKEN_AGE_S_MAX {
            let id = self.token.id.wrapping_add(1);
            let fresh = TokenEntry {
                id,
                key: hex(&random::<16>()?),
                since: now_s,
            };
            self.token_previous = std::mem::replace(&mut self.token, fresh);
            self.token_previous.since = now_s;
            return Ok(true);
        }
        if now_s.saturating_sub(self.token_previous.since) > TOKEN_PREVIOUS_S_MAX {
            self.token_previous.key = hex(&random::<16>()?);
            self.token_previous.since = now_s;
            return Ok(true);
        }
        Ok(false)
    }

    fn keys(&self) -> Result<Keys, String> {
        let token = |entry: &TokenEntry| {
            let key = unhex(&entry.key).ok_or("a token key is not 32 hexadecimal digits")?;
            Ok::<_, String>(TokenKey { id: entry.id, key })
        };
        if self.token.id == self.token_previous.id {
            return Err("both token keys have the same id".to_owned());
        }
        Ok(Keys {
            token: [token(&self.token)?, token(&self.token_previous)?],
            partition: unhex(&self.partition).ok_or("partition is not 32 hexadecimal digits")?,
            nonce: unhex(&self.nonce).ok_or("nonce is not 64 hexadecimal digits")?,
            hash: random().map_err(|error| error.to_string())?,
            boot: u32::from_ne_bytes(random().map_err(|error| error.to_string())?),
        })
    }
}

/// Reads the keys in `state_dir`, or makes them. `now_s` is the wall clock in seconds.
pub(super) fn load_or_make(state_dir: &Path, now_s: u64) -> Result<Keys, KeysError> {
    let path = state_dir.join("keys");
    let shown = path.display().to_string();
    let damaged = |reason: String| KeysError::Damaged {
        path: shown.clone(),
        reason,
    };
    let (mut file, made) = match fs::read_to_string(&path) {
        Ok(text) => (read(&path, &text)?, false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (KeyFile::new(now_s)?, true),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(damaged("it is not text".to_owned()));
        }
        Err(error) => {
            return Err(KeysError::Io {
                verb: "read",
                path: shown,
                error,
            });
        }
    };
    if file.rotate(now_s)? || made {
        write(&path, &mut file)?;
    }
    file.keys().map_err(damaged)
}

fn read(path: &Path, text: &str) -> Result<KeyFile, KeysError> {
    let shown = path.display().to_string();
    let metadata = fs::metadata(path).map_err(|error| KeysError::Io {
        verb: "read",
        path: shown.clone(),
        error,
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeysError::Exposed { path: shown, mode });
    }
    let damaged = |reason: &str| KeysError::Damaged {
        path: shown.clone(),
        reason: reason.into(),
    };
    let file: KeyFile = toml::from_str(text).map_err(|error| damaged(error.message()))?;
    if file.version != VERSION {
        return Err(damaged(&format!(
            "version {} instead of {VERSION}",
            file.version
        )));
    }
    if file.check != file.checksum() {
        return Err(damaged("its checksum does not fit"));
    }
    Ok(file)
}

/// Writes the file whole or not at all: beside it, synced, renamed, and the folder synced.
fn write(path: &Path, file: &mut KeyFile) -> Result<(), KeysError> {
    file.check = file.checksum();
    let text = toml::to_string(file).expect("every field has a form in TOML");
    let beside = path.with_extension("new");
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = || {
        let _ = fs::remove_file(&beside);
        let mut new = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)?;
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(|error| KeysError::Io {
        verb: "write",
        path: path.display().to_string(),
        error,
    })
}

fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], KeysError> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).map_err(KeysError::Random)?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const LENGTH: usize>(text: &str) -> Option<[u8; LENGTH]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * LENGTH || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; LENGTH];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test may stop at what it did not expect"
    )]

    use super::*;
    use crate::control::scratch::Scratch;

    const NOW_S: u64 = 1_800_000_000;

    fn same(left: &Keys, right: &Keys) -> bool {
        left.partition == right.partition
            && left.nonce == right.nonce
            && left.token.map(|token| (token.id, token.key))
                == right.token.map(|token| (token.id, token.key))
    }

    #[test]
    fn keys_are_made_once_and_read_by_every_later_start() {
        let scratch = Scratch::new("keys-made-once");
        let first = load_or_make(scratch.path(), NOW_S).unwrap();
        let second = load_or_make(scratch.path(), NOW_S + 3600).unwrap();
        assert!(same(&first, &second));
        assert_ne!(first.hash, second.hash);
        assert_ne!(first.token[0].key, first.token[1].key);
        let mode = fs::metadata(scratch.path().join("keys"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_file_is_an_error_at_every_octet() {
        let scratch = Scratch::new("keys-damaged");
        load_or_make(scratch.path(), NOW_S).unwrap();
        let path = scratch.path().join("keys");
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            let result = load_or_make(scratch.path(), NOW_S);
            assert!(
                matches!(result, Err(KeysError::Damaged { .. })),
                "octet {at}: {result:?}"
            );
            fs::write(&path, &whole[..at]).unwrap();
            let result = load_or_make(scratch.path(), NOW_S);
            assert!(
                matches!(result, Err(KeysError::Damaged { .. })),
                "cut at {at}: {result:?}"
            );
        }
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        let scratch = Scratch::new("keys-exposed");
        load_or_make(scratch.path(), NOW_S).unwrap();
        let path = scratch.path().join("keys");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let result = load_or_make(scratch.path(), NOW_S);
        assert!(
            matches!(result, Err(KeysError::Exposed { mode: 0o644, .. })),
            "{result:?}"
        );
    }

    #[test]
    fn an_old_token_key_becomes_the_previous_one_and_then_is_forgotten() {
        let scratch = Scratch::new("keys-rotation");
        let first = load_or_make(scratch.path(), NOW_S).unwrap();
        let month = NOW_S + TOKEN_AGE_S_MAX + 1;
        let rotated = load_or_make(scratch.path(), month).unwrap();
        assert_eq!(rotated.token[1].key, first.token[0].key);
        assert_eq!(rotated.token[1].id, first.token[0].id);
        assert_ne!(rotated.token[0].key, first.token[0].key);
        let same_day = load_or_make(scratch.path(), month + TOKEN_PREVIOUS_S_MAX).unwrap();
        assert!(same(&rotated, &same_day));
        let later = load_or_make(scratch.path(), month + TOKEN_PREVIOUS_S_MAX + 1).unwrap();
        assert_eq!(later.token[0].key, rotated.token[0].key);
        assert_ne!(later.token[1].key, rotated.token[1].key);
    }
}
