//! Medians, and what the machine was like meanwhile.

use std::fmt;

/// Median, least and greatest of several rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The median.
    pub(crate) median: f64,
    /// The least.
    pub(crate) least: f64,
    /// The greatest.
    pub(crate) greatest: f64,
}

impl Spread {
    /// The spread of `values`; all zero when there are none.
    #[must_use]
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (Some(&least), Some(&greatest)) = (values.first(), values.last()) else {
            return Self {
                median: 0.0,
                least: 0.0,
                greatest: 0.0,
            };
        };
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => (values[middle - 1] + values[middle]) / 2.0,
            _ => values[middle],
        };
        Self {
            median,
            least,
            greatest,
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(0);
        let Self {
            median,
            least,
            greatest,
        } = self;
        write!(
            f,
            "{median:.digits$} ({least:.digits$} to {greatest:.digits$})"
        )
    }
}

/// What was measured on.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// Processor, number of processors, kernel, load.
    pub(crate) text: String,
}

impl Machine {
    /// This machine, now.
    #[must_use]
    pub(crate) fn now() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processors = read("/proc/cpuinfo");
        let model = processors
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or("unknown processor", |(_, model)| model);
        let count = std::thread::available_parallelism().map_or(0, usize::from);
        let kernel = read("/proc/sys/kernel/osrelease");
        let load = read("/proc/loadavg");
        let load = load.split(' ').next().unwrap_or_default();
        Self {
            text: format!("{model} x {count}, Linux {}, load {load}", kernel.trim()),
        }
    }
}

/// Ticks that the hypervisor took away from this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steal(u64, u64);

impl Steal {
    /// As of now: stolen ticks, and all ticks.
    #[must_use]
    pub(crate) fn now() -> Self {
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let ticks: Vec<u64> = text
            .lines()
            .next()
            .unwrap_or_default()
            .split_ascii_whitespace()
            .skip(1)
            .filter_map(|tick| tick.parse().ok())
            .collect();
        Self(
            ticks.get(7).copied().unwrap_or(0),
            ticks.iter().take(8).sum(),
        )
    }

    /// Share stolen since `earlier`, in percent.
    #[must_use]
    pub(crate) fn percent_since(self, earlier: Self) -> f64 {
        let all = self.1.saturating_sub(earlier.1).max(1);
        100.0 * self.0.saturating_sub(earlier.0) as f64 / all as f64
    }
}
