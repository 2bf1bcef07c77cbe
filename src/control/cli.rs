//! The command line: what may be typed, and which exit status says what.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use hyper::Method;

use super::client::{Client, ClientError, path_segment};
use super::view::{
    Applied, Numbers, Ready, Registration, RegistrationPage, Removed, ShardStats, Stats,
};
use super::{output, run, tenants};
use crate::config::Config;

/// Where the configuration lies when --config does not name it.
const CONFIG_DEFAULT: &str = "/etc/ringfence/ringfence.toml";

/// Rows asked for at once.
const PAGE_ROWS: u32 = 1000;

/// Exit statuses; 2 is clap's, for a command line that is no command.
mod status {
    /// What was given is not valid, or the edge refused it.
    pub(super) const REFUSED: u8 = 1;
    /// No edge is running, or its socket cannot be used.
    pub(super) const UNREACHABLE: u8 = 3;
    /// There is no such thing.
    pub(super) const NOT_FOUND: u8 = 4;
}

/// A multi-tenant SIP registrar and proxy for the edge of a carrier's network.
///
/// Exit status: 0 done; 1 refused, with what is wrong on standard error; 2 not a command;
/// 3 no edge is running at the control socket; 4 no such registration.
#[derive(Debug, Parser)]
#[command(name = "ringfence", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    source: Source,
    /// Print the result as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// Where the configuration comes from.
#[derive(Debug, Args)]
struct Source {
    /// The configuration file; it also says where a running edge's control socket is.
    /// Default: /etc/ringfence/ringfence.toml where there is one, else every key's default.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Lays a value over the file: section.key=value. May be repeated.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the edge in the foreground. SIGTERM drains it, a second one or SIGINT stops it at once,
    /// SIGHUP reloads the tenants and the log level.
    Run,
    /// Say what is wrong with the configuration and its tenants, without starting anything.
    Check,
    /// Provision what FILE describes; what is there already as described stays as it is.
    Apply {
        /// A provisioning file, as configs/demo-tenants.toml.
        file: PathBuf,
    },
    /// Registered endpoints.
    #[command(subcommand)]
    Reg(Reg),
    /// Counters and table sizes since the start.
    Stats,
    /// Say whether an edge is running, and where it listens.
    Ready,
}

#[derive(Debug, Subcommand)]
enum Reg {
    /// List registered endpoints.
    Ls {
        /// Only those of this domain.
        #[arg(long, value_name = "NAME")]
        domain: Option<String>,
        /// At most this many.
        #[arg(long, value_name = "ROWS")]
        limit: Option<usize>,
    },
    /// Show every contact of an address of record.
    Show {
        /// user@domain
        aor: String,
    },
    /// Remove every contact of an address of record.
    Rm {
        /// user@domain
        aor: String,
    },
}

/// What ended a command early.
enum Failure {
    /// Said already; the exit status.
    Said(u8),
    Client(ClientError),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// Runs the command of this process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = execute(&cli);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Said(status)) => ExitCode::from(status),
        Err(Failure::Client(error)) => {
            output::error(&error.to_string());
            ExitCode::from(match error {
                ClientError::NotRunning(_)
                | ClientError::Forbidden(_)
                | ClientError::Broken { .. } => status::UNREACHABLE,
                ClientError::Refused(_) => status::REFUSED,
                ClientError::NotFound(_) => status::NOT_FOUND,
            })
        }
    }
}

fn execute(cli: &Cli) -> Result<(), Failure> {
    let config = load(&cli.source)?;
    let client = Client::new(&config.node.state_dir);
    match &cli.command {
        Command::Run => run::run(&config, &|| load_quietly(&cli.source)).map_err(refused),
        Command::Check => check(&config, cli.json),
        Command::Apply { file } => apply(&client, file, cli.json),
        Command::Reg(Reg::Ls { domain, limit }) => list(
            &client,
            domain.as_deref(),
            limit.unwrap_or(usize::MAX),
            cli.json,
        ),
        Command::Reg(Reg::Show { aor }) => show(&client, aor, cli.json),
        Command::Reg(Reg::Rm { aor }) => remove(&client, aor, cli.json),
        Command::Stats => stats(&client, cli.json),
        Command::Ready => ready(&client, cli.json),
    }
}

/// The file that is read: the one named, or the default one where it exists.
fn config_path(source: &Source) -> Option<&Path> {
    let fallback = Path::new(CONFIG_DEFAULT);
    source
        .config
        .as_deref()
        .or_else(|| fallback.exists().then_some(fallback))
}

fn load_quietly(source: &Source) -> Result<Config, String> {
    Config::load(config_path(source), &source.set).map_err(|problems| problems.to_string())
}

fn load(source: &Source) -> Result<Config, Failure> {
    Config::load(config_path(source), &source.set).map_err(|problems| {
        output::problems(&problems);
        Failure::Said(status::REFUSED)
    })
}

fn refused(errors: Vec<String>) -> Failure {
    for error in errors {
        output::error(&error);
    }
    Failure::Said(status::REFUSED)
}

fn check(config: &Config, json: bool) -> Result<(), Failure> {
    let counts = tenants::check(config).map_err(refused)?;
    if json {
        output::json(&counts);
    } else {
        let counts: Vec<_> = counts
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        output::line(&format!("valid: {}", counts.join(", ")));
    }
    Ok(())
}

fn apply(client: &Client, file: &Path, json: bool) -> Result<(), Failure> {
    let body = tenants::ApplyBody::read(file).map_err(refused)?;
    let body = serde_json::to_vec(&body).expect("text has a form in JSON");
    let applied: Applied = client.ask(Method::POST, "/v1/apply", Some(body))?;
    if json {
        output::json(&applied);
        return Ok(());
    }
    for (verb, names) in [
        ("added", &applied.added),
        ("changed", &applied.changed),
        ("removed", &applied.removed),
    ] {
        for name in names {
            output::line(&format!("{verb} {name}"));
        }
    }
    if applied.is_empty() {
        output::line("nothing to change");
    }
    Ok(())
}

fn page_path(cursor: Option<&str>, domain: Option<&str>, aor: Option<&str>) -> String {
    let mut path = format!("/v1/registrations?count={PAGE_ROWS}");
    for (name, value) in [("cursor", cursor), ("domain", domain), ("aor", aor)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", path_segment(value)));
        }
    }
    path
}

fn list(client: &Client, domain: Option<&str>, limit: usize, json: bool) -> Result<(), Failure> {
    let mut rows: Vec<Registration> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let path = page_path(cursor.as_deref(), domain, None);
        let page: RegistrationPage = client.ask(Method::GET, &path, None)?;
        rows.extend(page.registrations);
        cursor = page.next_cursor;
        if cursor.is_none() || rows.len() >= limit {
            break;
        }
    }
    rows.truncate(limit);
    rows.sort_by(|left, right| {
        left.aor
            .cmp(&right.aor)
            .then_with(|| left.contact.cmp(&right.contact))
    });
    print_registrations(&rows, json);
    Ok(())
}

fn print_registrations(rows: &[Registration], json: bool) {
    if json {
        output::json(&rows);
        return;
    }
    let header = ["AOR", "CONTACT", "SOURCE", "NAT", "EXPIRES", "USER AGENT"];
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.aor.clone(),
                row.contact.clone(),
                format!("{}/{}", row.transport, row.source),
                if row.behind_nat { "yes" } else { "no" }.to_owned(),
                format!("{} s", row.expires_in_s),
                row.user_agent.clone(),
            ]
        })
        .collect();
    output::table(&header, &cells);
}

fn show(client: &Client, aor: &str, json: bool) -> Result<(), Failure> {
    let page: RegistrationPage =
        client.ask(Method::GET, &page_path(None, None, Some(aor)), None)?;
    if page.registrations.is_empty() {
        return Err(ClientError::NotFound(vec![format!("{aor} is not registered")]).into());
    }
    if json {
        output::json(&page.registrations);
        return Ok(());
    }
    for row in &page.registrations {
        let fields = [
            ("address of record", row.aor.clone()),
            ("contact", row.contact.clone()),
            ("source", format!("{} {}", row.transport, row.source)),
            ("listener", row.listener.clone()),
            ("behind NAT", row.behind_nat.to_string()),
            ("user agent", row.user_agent.clone()),
            ("instance", row.instance.clone()),
            ("registered at", row.registered_at.clone()),
            ("expires in", format!("{} s", row.expires_in_s)),
            ("q", row.q.clone()),
            ("shard", row.shard.to_string()),
            ("node", format!("{} ({})", row.node, row.region)),
        ];
        for (name, value) in fields {
            output::line(&format!("{name:<18} {value}"));
        }
        output::line("");
    }
    Ok(())
}

fn remove(client: &Client, aor: &str, json: bool) -> Result<(), Failure> {
    let path = format!("/v1/registrations/{}", path_segment(aor));
    let removed: Removed = client.ask(Method::DELETE, &path, None)?;
    if json {
        output::json(&removed);
    } else {
        output::line(&format!("removed {} of {aor}", removed.removed));
    }
    Ok(())
}

/// One kind of a shard's numbers.
type Group = fn(&ShardStats) -> &Numbers;

fn stats(client: &Client, json: bool) -> Result<(), Failure> {
    let stats: Stats = client.ask(Method::GET, "/v1/stats", None)?;
    if json {
        output::json(&stats);
        return Ok(());
    }
    let mut header = vec!["NAME".to_owned(), "TOTAL".to_owned()];
    header.extend(
        stats
            .shards
            .iter()
            .filter_map(|shard| shard.shard.map(|id| format!("SHARD {id}"))),
    );
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut rows = vec![vec!["uptime_s".to_owned(), stats.uptime_s.to_string()]];
    rows.extend(
        stats
            .tenants
            .iter()
            .map(|(name, count)| vec![format!("tenants.{name}"), count.to_string()]),
    );
    let groups: [(&str, Group); 4] = [
        ("tables.", |stats| &stats.tables),
        ("", |stats| &stats.counters),
        ("malformed.", |stats| &stats.malformed),
        ("", |stats| &stats.reactor),
    ];
    for (prefix, numbers) in groups {
        for (name, total) in numbers(&stats.total) {
            let of_shard = |shard| numbers(shard).get(name).copied().unwrap_or(0).to_string();
            let mut row = vec![format!("{prefix}{name}"), total.to_string()];
            row.extend(stats.shards.iter().map(of_shard));
            rows.push(row);
        }
    }
    output::table(&header, &rows);
    Ok(())
}

fn ready(client: &Client, json: bool) -> Result<(), Failure> {
    let ready: Ready = client.ask(Method::GET, "/v1/ready", None)?;
    if json {
        output::json(&ready);
    } else {
        let state = if ready.ready { "ready" } else { "draining" };
        let addresses = ready.udp.join(", ");
        output::line(&format!("{state}: process {}, udp {addresses}", ready.pid));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
