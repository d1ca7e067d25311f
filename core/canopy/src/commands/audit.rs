//! `canopy audit`: the audit log verified, read and handed on.

use super::load;
use canopy_types::{Error, Result, Timestamp};
use clap::Subcommand;
use serde_json::Value;
use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum Audit {
    /// Check that every line is where it was written, as it was written; exit code 1 where not
    Verify {
        #[command(flatten)]
        place: Place,
        /// A hash noted at an earlier verification: its line must still be there
        #[arg(long)]
        head: Option<String>,
    },
    /// The newest lines, for people
    Tail {
        #[command(flatten)]
        place: Place,
        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: u16,
        #[command(flatten)]
        filter: Filter,
    },
    /// Every line as a CADF event in JSON
    Export {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        filter: Filter,
    },
}

#[derive(clap::Args)]
pub struct Place {
    /// Folder of the audit log; otherwise that of the configuration
    #[arg(long)]
    dir: Option<PathBuf>,
    #[arg(long, env = "CANOPY_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(clap::Args)]
pub struct Filter {
    /// From this time on, e.g. `2026-01-31` or `2026-01-31T12:00`, UTC
    #[arg(long, value_parser = instant)]
    since: Option<String>,
    /// Before this time
    #[arg(long, value_parser = instant)]
    until: Option<String>,
    /// Id of the user
    #[arg(long)]
    user: Option<String>,
    /// E.g. `compute:servers:delete`
    #[arg(long)]
    action: Option<String>,
    /// Only what was denied
    #[arg(long)]
    denied: bool,
}

/// A day, or a time of one; the beginning of what lines say.
fn instant(text: &str) -> std::result::Result<String, String> {
    const WHOLE: &str = "1970-01-01T00:00:00Z";
    let whole = WHOLE.get(text.len()..).map(|rest| format!("{text}{rest}"));
    let fits = [10, 16, 19].contains(&text.len()) && !text.contains(' ');
    let known = fits && whole.and_then(|whole| Timestamp::parse(&whole)).is_some();
    if known { Ok(text.to_owned()) } else { Err("write 2026-01-31 or 2026-01-31T12:00, in UTC".to_owned()) }
}

impl Filter {
    fn takes(&self, event: &Value) -> bool {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let time = text(&event["eventTime"]);
        let is = |wanted: &Option<String>, value: &Value| wanted.as_ref().is_none_or(|w| *w == text(value));
        // Times of one format compare as texts do.
        self.since.as_ref().is_none_or(|since| time >= *since)
            && self.until.as_ref().is_none_or(|until| !time.is_empty() && time < *until)
            && is(&self.user, &event["initiator"]["id"])
            && is(&self.action, &event["action"])
            && (!self.denied || event["outcome"] == "failure")
    }
}

/// The folder that is named, or the configuration's.
pub fn folder(dir: Option<&PathBuf>, config: Option<&Path>) -> Result<PathBuf> {
    match dir {
        Some(dir) => Ok(dir.clone()),
        None => Ok(load(config)?.data_dir.join("audit")),
    }
}

impl Place {
    fn folder(&self) -> Result<PathBuf> {
        folder(self.dir.as_ref(), self.config.as_deref())
    }
}

pub fn audit(command: &Audit) -> Result<ExitCode> {
    match command {
        Audit::Verify { place, head } => verify(&place.folder()?, head.as_deref()),
        Audit::Tail { place, lines, filter } => tail(&place.folder()?, usize::from(*lines), filter),
        Audit::Export { place, filter } => export(&place.folder()?, filter),
    }
}

fn verify(dir: &Path, head: Option<&str>) -> Result<ExitCode> {
    let mut verified = canopy_audit::verify(dir)?;
    if let Some(head) = head {
        let mut found = false;
        canopy_audit::lines(dir, |event| found |= event["chain"]["hash"] == head)?;
        if !found {
            verified.faults.push(format!("{head}: no line has this hash any more"));
        }
    }
    for fault in &verified.faults {
        println!("{fault}");
    }
    for (process, chain) in &verified.chains {
        let older =
            if chain.first > 0 { format!(", {} older ones removed", chain.first) } else { String::new() };
        let end = if chain.ended { "ended in order" } else { "runs, or was killed" };
        println!("process {process}: {} lines{older}, {end}, newest {}", chain.lines, chain.head);
    }
    let lines: u64 = verified.chains.values().map(|chain| chain.lines).sum();
    println!("{lines} lines in {} chains, {} faults", verified.chains.len(), verified.faults.len());
    Ok(if verified.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tail(dir: &Path, count: usize, filter: &Filter) -> Result<ExitCode> {
    let mut newest = VecDeque::new();
    canopy_audit::lines(dir, |event| {
        if filter.takes(&event) && event["eventTime"].is_string() {
            newest.push_back(event);
            if newest.len() > count {
                newest.pop_front();
            }
        }
    })?;
    for event in newest {
        let text = |pointer: &str| match event.pointer(pointer).and_then(Value::as_str) {
            Some(text) if !text.is_empty() => text.to_owned(),
            _ => "-".to_owned(),
        };
        let policies = event["reason"]["policyId"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let policies = policies.collect::<Vec<_>>().join(",");
        println!(
            "{} {} {} user={} project={} from={} target={} policies={} {}",
            text("/eventTime"),
            text("/reason/reasonCode"),
            text("/action"),
            text("/initiator/id"),
            text("/initiator/project_id"),
            text("/initiator/host/address"),
            text("/target/id"),
            if policies.is_empty() { "-" } else { &policies },
            text("/tags/0"),
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn export(dir: &Path, filter: &Filter) -> Result<ExitCode> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut outcome = Ok(());
    canopy_audit::lines(dir, |event| {
        if outcome.is_ok() && filter.takes(&event) {
            outcome = writeln!(out, "{event}");
        }
    })?;
    match outcome.and_then(|()| out.flush()) {
        // Whoever reads has seen enough.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(e) => Err(Error::unavailable("audit.export", format!("standard output: {e}"))),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::instant;

    #[test]
    fn a_span_begins_and_ends_at_a_time_and_nothing_else() {
        for good in ["2026-01-31", "2026-01-31T12:00", "2026-01-31T12:00:59"] {
            assert_eq!(instant(good).as_deref(), Ok(good));
        }
        for bad in ["", "yesterday", "2026-13-01", "2026-01-31 12:00", "2026-01-31T25:00", "2026-1-1", "ﬀﬀﬀx"]
        {
            assert!(instant(bad).is_err(), "{bad}");
        }
    }
}
