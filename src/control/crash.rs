//! What a panic leaves behind for the next start: the datagram that was being worked on, and its
//! source, in `<state_dir>/crash/`. The next start drops that datagram for a while, so that one
//! packet that is sent again and again cannot become a crash loop.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::shard::{Poison, datagram_in_hand};
use crate::sip::SourceAddr;

/// Crashes remembered; a shard compares each datagram of their sources with them.
const CRASHES_MAX: usize = 32;

/// What names of shards' threads begin with.
const SHARD_THREAD: &str = "shard-";

/// Parts the head of a crash file from the octets.
const END_OF_HEAD: &[u8] = b"\n\n";

fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("crash")
}

/// Makes a panic on a shard's thread write down its datagram and end the process: half-updated
/// state is worse than a restart.
pub(super) fn abort_on_shard_panic(state_dir: &Path) {
    let folder = folder(state_dir);
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        let thread = std::thread::current();
        let Some(name) = thread.name().filter(|name| name.starts_with(SHARD_THREAD)) else {
            return;
        };
        // Nobody is left to be told of a failure, and the process ends either way.
        let _ = datagram_in_hand(|source, octets| {
            write(&folder, name, &panic.to_string(), source, octets)
        });
        std::process::abort();
    }));
}

fn write(
    folder: &Path,
    thread: &str,
    panic: &str,
    source: SourceAddr,
    octets: &[u8],
) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let now_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    let mut head = format!("source {}\n", source.socket_addr());
    for line in panic.lines().filter(|line| !line.is_empty()) {
        let _ = writeln!(head, "panic {line}");
    }
    head.truncate(head.trim_end().len());
    let path = folder.join(format!("{now_ms:015}-{thread}"));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(head.as_bytes())?;
    file.write_all(END_OF_HEAD)?;
    file.write_all(octets)?;
    file.sync_all()
}

/// The datagrams of the last crashes; files of older ones are removed. What cannot be read is
/// left out: a start must not fail for a crash before it.
pub(super) fn load(state_dir: &Path) -> Vec<Poison> {
    let Ok(entries) = fs::read_dir(folder(state_dir)) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    // Names begin with the time.
    paths.sort();
    let old = paths.len().saturating_sub(CRASHES_MAX);
    for path in paths.drain(..old) {
        let _ = fs::remove_file(path);
    }
    let poisons: Vec<Poison> = paths
        .iter()
        .filter_map(|path| parse(&fs::read(path).ok()?))
        .collect();
    if !poisons.is_empty() {
        let folder = folder(state_dir);
        tracing::warn!(
            count = poisons.len(),
            "datagrams that crashed the edge before are dropped for a while, see {}",
            folder.display()
        );
    }
    poisons
}

fn parse(file: &[u8]) -> Option<Poison> {
    let end = file
        .windows(END_OF_HEAD.len())
        .position(|window| window == END_OF_HEAD)?;
    let head = std::str::from_utf8(&file[..end]).ok()?;
    let source = head.lines().next()?.strip_prefix("source ")?;
    let source: SocketAddr = source.parse().ok()?;
    Some(Poison::new(
        SourceAddr::from(source),
        &file[end + END_OF_HEAD.len()..],
    ))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test may stop at what it did not expect"
    )]

    use super::*;
    use crate::control::scratch::Scratch;

    fn source(port: u16) -> SourceAddr {
        SourceAddr::from(SocketAddr::from(([192, 0, 2, 1], port)))
    }

    #[test]
    fn a_crash_is_known_at_the_next_start_by_source_and_octets() {
        let scratch = Scratch::new("crash");
        let octets = b"OPTIONS\n\nsip:\x00\xff\r\n\r\n";
        let panic = "panicked at x.rs:1:\n\nsource 9.9.9.9:9";
        write(
            &folder(scratch.path()),
            "shard-3",
            panic,
            source(5060),
            octets,
        )
        .unwrap();
        assert_eq!(load(scratch.path()), [Poison::new(source(5060), octets)]);
    }

    #[test]
    fn the_newest_crashes_are_kept_and_what_is_no_crash_file_is_passed_over() {
        let scratch = Scratch::new("crashes");
        let folder = folder(scratch.path());
        assert_eq!(load(scratch.path()), []);
        for port in 1..=40 {
            write(
                &folder,
                &format!("shard-{port:02}"),
                "p",
                source(port),
                b"x",
            )
            .unwrap();
        }
        fs::write(folder.join("zzz"), "nonsense").unwrap();
        let ports: Vec<u16> = load(scratch.path())
            .iter()
            .map(|p| p.source.port())
            .collect();
        assert_eq!(ports.len(), CRASHES_MAX - 1);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), CRASHES_MAX);
        assert!(ports.contains(&40) && !ports.contains(&1), "{ports:?}");
    }
}
