//! The folder of one edge: made at start, held by a lock file, with the control socket in it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Name of the control socket in the folder.
const SOCKET: &str = "control.sock";

/// Longest path of a Unix socket: `sun_path` less its closing zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateDirError {
    #[error("cannot {verb} {path}: {error} ([node] state_dir)")]
    Io {
        verb: &'static str,
        path: String,
        error: io::Error,
    },
    #[error("another edge runs on {path}{pid}: stop it, or give this one another [node] state_dir")]
    Taken { path: String, pid: String },
    #[error(
        "{path} has {length} octets, a Unix socket's path at most {SOCKET_PATH_BYTES_MAX}: use a \
         shorter [node] state_dir"
    )]
    PathTooLong { path: String, length: usize },
    #[error("{path} is no socket: remove it")]
    NoSocket { path: String },
}

/// The folder, held until dropped.
#[derive(Debug)]
pub(super) struct StateDir {
    path: PathBuf,
    /// Locked while this process runs; the kernel unlocks it when the process ends in any way.
    _lock: File,
}

/// The control socket's path in `state_dir`.
pub(super) fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join(SOCKET)
}

impl StateDir {
    /// Makes the folder where it is missing and takes its lock.
    pub(super) fn take(path: &Path) -> Result<Self, StateDirError> {
        let failed = |verb, path: &Path| {
            let path = path.display().to_string();
            move |error| StateDirError::Io { verb, path, error }
        };
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o750)
            .create(path)
            .map_err(failed("make", path))?;
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(&lock_path)
            .map_err(failed("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = lock.read_to_string(&mut holder);
                let holder = holder.trim();
                let pid = if holder.is_empty() {
                    String::new()
                } else {
                    format!(" (process {holder})")
                };
                return Err(StateDirError::Taken {
                    path: path.display().to_string(),
                    pid,
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", &lock_path)(error)),
        }
        let note_pid = || {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())
        };
        let mut note_pid = note_pid;
        note_pid().map_err(failed("write", &lock_path))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the control socket; one that a dead edge left behind is replaced.
    pub(super) fn open_socket(&self) -> Result<UnixListener, StateDirError> {
        let path = socket_path(&self.path);
        let shown = path.display().to_string();
        let length = path.as_os_str().len();
        if length > SOCKET_PATH_BYTES_MAX {
            return Err(StateDirError::PathTooLong {
                path: shown,
                length,
            });
        }
        let failed = |verb| {
            let path = shown.clone();
            move |error| StateDirError::Io { verb, path, error }
        };
        match fs::symlink_metadata(&path) {
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(StateDirError::NoSocket { path: shown });
            }
            Ok(_) if UnixStream::connect(&path).is_ok() => {
                return Err(StateDirError::Taken {
                    path: shown,
                    pid: String::new(),
                });
            }
            Ok(_) => fs::remove_file(&path).map_err(failed("remove"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("look at")(error)),
        }
        let listener = UnixListener::bind(&path).map_err(failed("open"))?;
        let group = fs::Permissions::from_mode(0o660);
        fs::set_permissions(&path, group).map_err(failed("set the mode of"))?;
        Ok(listener)
    }

    /// Removes the control socket: from now on nobody is told that an edge is there.
    pub(super) fn remove_socket(&self) {
        let _ = fs::remove_file(socket_path(&self.path));
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test may stop at what it did not expect"
    )]

    use super::*;
    use crate::control::scratch::Scratch;

    #[test]
    fn a_second_edge_on_the_same_folder_is_refused_and_told_the_first_ones_process() {
        let scratch = Scratch::new("state-second");
        let first = StateDir::take(&scratch.path().join("deep/er")).unwrap();
        let second = StateDir::take(first.path()).unwrap_err().to_string();
        assert!(
            second.contains(&format!("process {}", std::process::id())),
            "{second}"
        );
        let path = first.path().to_owned();
        drop(first);
        StateDir::take(&path).unwrap();
    }

    #[test]
    fn a_socket_that_nobody_answers_is_replaced_and_one_that_is_answered_is_not() {
        let scratch = Scratch::new("state-stale");
        let folder = StateDir::take(scratch.path()).unwrap();
        let alive = folder.open_socket().unwrap();
        let mode = fs::metadata(socket_path(folder.path()))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o660);
        assert!(matches!(
            folder.open_socket(),
            Err(StateDirError::Taken { .. })
        ));
        drop(alive);
        folder.open_socket().unwrap();
    }

    #[test]
    fn a_file_in_the_socket_s_place_is_not_removed() {
        let scratch = Scratch::new("state-file");
        let folder = StateDir::take(scratch.path()).unwrap();
        fs::write(socket_path(folder.path()), "precious").unwrap();
        assert!(matches!(
            folder.open_socket(),
            Err(StateDirError::NoSocket { .. })
        ));
        assert_eq!(
            fs::read_to_string(socket_path(folder.path())).unwrap(),
            "precious"
        );
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_named_with_its_bound() {
        let scratch = Scratch::new("state-long");
        let folder = StateDir::take(&scratch.path().join("d".repeat(100))).unwrap();
        let message = folder.open_socket().unwrap_err().to_string();
        assert!(message.contains("at most 107"), "{message}");
    }
}
