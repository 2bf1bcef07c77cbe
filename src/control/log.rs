//! Log lines on standard error, from control threads only.

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::{Log, LogFormat, LogLevel};

/// Changes the level while running.
#[derive(Clone, Debug)]
pub(super) struct Level(reload::Handle<LevelFilter, Registry>);

impl Level {
    /// Sets the level.
    pub(super) fn set(&self, level: LogLevel) {
        // It fails only when the subscriber is gone, and then there is nobody to log for.
        let _ = self.0.reload(filter(level));
    }
}

const fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Sends log lines to standard error, as `log` says. Called once.
pub(super) fn start(log: &Log) -> Level {
    let (level, handle) = reload::Layer::new(filter(log.level));
    let registry = tracing_subscriber::registry().with(level);
    let ansi = super::output::is_interactive();
    match log.format {
        LogFormat::Text => {
            registry
                .with(fmt::layer().with_writer(std::io::stderr).with_ansi(ansi))
                .init();
        }
        LogFormat::Json => {
            registry
                .with(fmt::layer().json().with_writer(std::io::stderr))
                .init();
        }
    }
    Level(handle)
}
