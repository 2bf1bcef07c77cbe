//! Why bytes were refused, and what follows from it.

/// A refusal of the scanner or of a typed view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong.
    pub reason: Reason,
    /// Where, in octets from the start of the message.
    pub offset: u16,
}

/// What becomes of a message that was refused for a [`Reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answered with this status when it is a request whose top Via can be used, else dropped.
    Status(u16),
    /// Dropped and counted.
    Drop,
}

/// How loudly a refusal may be logged; what an attacker can cause is never above `Trace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Sampled, for someone who looks.
    Trace,
    /// A defect of a trusted neighbour.
    Debug,
}

/// One variant per way in which a message can be wrong; the table of their consequences is
/// [`Reason::verdict`], their counter is named by [`Reason::name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The first line is neither a request line nor a status line.
    NotSip,
}

impl Reason {
    /// Number of variants: the length of a counter array indexed by `reason as usize`.
    pub const COUNT: usize = 1;
    /// Every variant, in order of its number.
    pub const ALL: [Self; Self::COUNT] = [Self::NotSip];

    /// What becomes of the message.
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::NotSip => Verdict::Drop,
        }
    }

    /// Stable snake_case name, used as a metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotSip => "not_sip",
        }
    }

    /// How loudly it may be logged.
    pub const fn level(self) -> LogLevel {
        LogLevel::Trace
    }
}
