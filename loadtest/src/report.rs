//! What a run measured.

use std::collections::BTreeMap;
use std::fs;

use hdrhistogram::Histogram;
use serde::Serialize;

/// The result of a run; printed as one JSON object or as text.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// What was run.
    pub(crate) scenario: String,
    /// Seconds of the measured part.
    pub(crate) seconds: f64,
    /// Exchanges (or calls) that were due in the measured part.
    pub(crate) started: u64,
    /// Exchanges that ended as they should.
    pub(crate) completed: u64,
    /// Exchanges answered otherwise, by status.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// Exchanges that were not answered in time.
    pub(crate) lost: u64,
    /// Exchanges that ended in any way, warm-up included.
    pub(crate) exchanges: u64,
    /// Completed exchanges per second.
    pub(crate) rate: f64,
    /// Challenges answered on the way (digest only).
    pub(crate) challenged: u64,
    /// Requests sent again for want of an answer.
    pub(crate) retransmissions: u64,
    /// Datagrams the generator sent and received.
    pub(crate) datagrams_sent: u64,
    /// See `datagrams_sent`.
    pub(crate) datagrams_received: u64,
    /// Datagrams the kernel dropped for full socket buffers, both sides.
    pub(crate) kernel_drops: u64,
    /// Latency from the intended send time, microseconds.
    pub(crate) latency_us: Latency,
    /// How late sends left the generator, microseconds.
    pub(crate) lag_us: Latency,
}

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Latency {
    /// Median.
    pub(crate) p50: f64,
    /// 99 %.
    pub(crate) p99: f64,
    /// 99.9 %.
    pub(crate) p999: f64,
    /// Largest.
    pub(crate) max: f64,
}

impl Latency {
    /// The percentiles of a histogram of nanoseconds.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1000.0,
        }
    }
}

/// Datagrams dropped so far for full receive buffers in this network namespace.
///
/// Read from /proc/net/snmp; 0 where it cannot be read.
pub(crate) fn kernel_drops() -> u64 {
    let text = fs::read_to_string("/proc/net/snmp").unwrap_or_default();
    let mut lines = text.lines().filter(|line| line.starts_with("Udp: "));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        return 0;
    };
    names
        .split_whitespace()
        .zip(values.split_whitespace())
        .filter(|(name, _)| matches!(*name, "RcvbufErrors" | "SndbufErrors"))
        .filter_map(|(_, value)| value.parse::<u64>().ok())
        .sum()
}

/// Clock ticks that the hypervisor took from this machine so far; 0 where that cannot be read.
pub(crate) fn steal_ticks() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = text
        .lines()
        .next()
        .and_then(|line| line.split_whitespace().nth(8));
    ticks.and_then(|text| text.parse().ok()).unwrap_or(0)
}
