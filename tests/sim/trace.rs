//! What happened: a hash of it all, and the last of it as text for people.

use std::collections::VecDeque;
use std::fmt::{Display, Write as _};

use ringfence::sip::{ShardMessage, Time};

use crate::world::seconds;

/// Lines kept; all of them when `RINGFENCE_SIM_TRACE` is set.
const LINES_MAX: usize = 120;

/// The record of one run. When the run ends in a panic, it is printed with the command that
/// replays it.
#[derive(Debug)]
pub(crate) struct Trace {
    seed: u64,
    hash: u64,
    lines: VecDeque<String>,
    lines_max: usize,
    /// Datagrams that left or arrived.
    pub(crate) datagrams: u64,
}

impl Trace {
    pub(crate) fn new(seed: u64) -> Self {
        let all = std::env::var_os("RINGFENCE_SIM_TRACE").is_some();
        Self {
            seed,
            hash: OFFSET,
            lines: VecDeque::new(),
            lines_max: if all { usize::MAX } else { LINES_MAX },
            datagrams: 0,
        }
    }

    /// Over every datagram and message between shards, with its time and way.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// FNV-1a.
    pub(crate) fn hash_of(bytes: &[u8]) -> u64 {
        mix(OFFSET, bytes)
    }

    pub(crate) fn datagram(
        &mut self,
        now: Time,
        from: impl Display,
        to: impl Display,
        bytes: &[u8],
    ) {
        self.datagrams += 1;
        let line = format!("{from} -> {to}  {}", summary(bytes));
        self.note(now, line, bytes);
    }

    pub(crate) fn between_shards(
        &mut self,
        now: Time,
        from: usize,
        to: usize,
        message: &ShardMessage,
        bytes: &[u8],
    ) {
        let kind = format!("{message:?}");
        let kind = kind.split(' ').next().unwrap_or("");
        let line = format!("shard {from} -> {to}  {kind} {}", summary(bytes));
        self.note(now, line, bytes);
    }

    fn note(&mut self, now: Time, line: String, bytes: &[u8]) {
        for part in [&now.0.to_be_bytes(), line.as_bytes(), bytes] {
            self.hash = mix(self.hash, part);
        }
        if self.lines.len() == self.lines_max {
            self.lines.pop_front();
        }
        self.lines
            .push_back(format!("{:10.6} {line}", seconds(now)));
    }
}

impl Drop for Trace {
    #[allow(clippy::print_stderr, reason = "this is how a failed run is told")]
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let mut text = String::from("\n");
        for line in &self.lines {
            let _ = writeln!(text, "{line}");
        }
        let _ = writeln!(
            text,
            "\nreplay with: RINGFENCE_SIM_SEED={} cargo test --test sim seed_from_environment -- \
             --nocapture\n(RINGFENCE_SIM_TRACE=1 shows the whole run)",
            self.seed
        );
        eprintln!("{text}");
    }
}

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

fn mix(hash: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(hash, step)
}

/// The start line, Call-ID, CSeq and branch.
fn summary(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(2_000)]).into_owned();
    let mut lines = text.split("\r\n");
    let mut summary = lines
        .next()
        .unwrap_or("")
        .chars()
        .filter(|character| character.is_ascii_graphic() || *character == ' ')
        .take(60)
        .collect::<String>();
    let mut vias = 0;
    for line in lines.take_while(|line| !line.is_empty()) {
        if line.starts_with("Call-ID:") || line.starts_with("CSeq:") {
            let _ = write!(summary, " | {line}");
        } else if line.starts_with("Via:") {
            vias += 1;
            if vias == 1
                && let Some((_, branch)) = line.split_once("branch=")
            {
                let _ = write!(summary, " | {}", branch.split(';').next().unwrap_or(""));
            }
        }
    }
    summary
}
