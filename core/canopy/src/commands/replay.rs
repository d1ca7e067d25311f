//! `canopy replay`: makes the decisions of the journal again, as they were or with a candidate.

use super::load;
use crate::wiring::kept_plugin;
use canopy_journal::{Bound, Reader, Report, Subject, replay as run};
use canopy_placement::spread::Spread;
use canopy_placement::{PluginUse, Scorer};
use canopy_plugin_host::PluginHost;
use canopy_types::{Error, Kind, Result, Timestamp};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Replay {
    /// First: a request's number, or a time such as 2026-01-31T12:00:00Z; the oldest otherwise
    #[arg(long, value_parser = bound)]
    from: Option<Bound>,
    /// Not included: a number or a time; the newest is the last otherwise
    #[arg(long, value_parser = bound)]
    to: Option<Bound>,
    /// Folder of a scheduler to try instead: its plugin.toml and component
    #[arg(long)]
    scheduler: Option<PathBuf>,
    /// The candidate's configuration, JSON
    #[arg(long, requires = "scheduler")]
    plugin_config: Option<String>,
    /// Folder of the journal; `journal` in the configured data_dir otherwise
    #[arg(long)]
    journal: Option<PathBuf>,
    /// One JSON document instead of text
    #[arg(long)]
    json: bool,
    #[arg(long, env = "CANOPY_CONFIG")]
    config: Option<PathBuf>,
}

fn bound(text: &str) -> std::result::Result<Bound, String> {
    if let Ok(number) = text.parse() {
        return Ok(Bound::Number(number));
    }
    Timestamp::parse(text).map(Bound::Time).ok_or_else(|| "a number or a time is wanted".to_owned())
}

pub async fn replay(args: &Replay) -> Result<()> {
    let dir = match &args.journal {
        Some(dir) => dir.clone(),
        None => load(args.config.as_deref())?.data_dir.join("journal"),
    };
    let (from, to, candidate) = (args.from, args.to, args.scheduler.clone());
    let settings = match &args.plugin_config {
        None => serde_json::json!({}),
        Some(text) => serde_json::from_str(text)
            .map_err(|e| Error::bad_request("replay.config", format!("--plugin-config is no JSON: {e}")))?,
    };
    let task = move || replayed(&dir, from, to, candidate.map(|dir| (dir, settings)));
    let report = tokio::task::spawn_blocking(task).await.map_err(|e| Error::internal("replay", e))??;
    if args.json {
        let text = serde_json::to_string_pretty(&report).map_err(|e| Error::internal("replay", e))?;
        println!("{text}");
    } else {
        print!("{}", text(&report, args.scheduler.is_some()));
    }
    if args.scheduler.is_none() && !report.is_equal() {
        return Err(Error::new(Kind::Conflict, "replay.differs", "The replay did not come out as recorded."));
    }
    Ok(())
}

/// Replays the journal in `dir`. Plugins run on fuel, so that no clock has a say. Blocking.
fn replayed(
    dir: &Path,
    from: Option<Bound>,
    to: Option<Bound>,
    candidate: Option<(PathBuf, serde_json::Value)>,
) -> Result<Report> {
    let host = PluginHost::counting()?;
    let mut recorded = |plugin: &PluginUse, files: Option<&Path>| -> Result<Box<dyn Scorer>> {
        match files {
            None if plugin.digest.is_empty() => Ok(Box::new(Spread)),
            None => Err(Error::new(
                Kind::Gone,
                "journal.plugin",
                format!("The journal does not hold the plugin {}.", plugin.name),
            )),
            Some(files) => Ok(Box::new(host.load_scorer(files, kept_plugin(files)?)?)),
        }
    };
    let mut subject = match candidate {
        Some((dir, settings)) => Subject::Candidate(Box::new(host.load_scorer(&dir, settings)?)),
        None => Subject::Recorded(&mut recorded),
    };
    run(&Reader::new(dir), from, to, &mut subject)
}

fn text(report: &Report, candidate: bool) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let _ = writeln!(out, "{} decisions, {} equal", report.decisions, report.equal);
    if candidate || !report.is_equal() {
        let _ = writeln!(
            out,
            "{} moved, {} refused that were placed, {} placed that were refused, {} otherwise",
            report.moved, report.refused, report.fitted, report.otherwise
        );
    }
    if report.faults > 0 {
        let _ = writeln!(out, "{} decided by the built-in in place of a plugin at fault", report.faults);
    }
    if report.taken > 0 {
        let _ = writeln!(
            out,
            "{} decisions of a placer taken as they were: the journal begins after it began",
            report.taken
        );
    }
    if report.gaps > 0 {
        let _ = writeln!(out, "{} gaps: a restart, or lines that were lost", report.gaps);
    }
    let asked: Vec<String> =
        report.fragmentation.request.iter().map(|(class, n)| format!("{n} {class}")).collect();
    let _ = writeln!(
        out,
        "fragmentation for the most frequent request ({}): {:.4} as it was, {:.4} replayed",
        asked.join(", "),
        report.fragmentation.recorded,
        report.fragmentation.replayed
    );
    for difference in &report.differences {
        let host = |id: Option<canopy_types::HostId>| id.map_or("no host".into(), |id| id.to_string());
        let _ = writeln!(
            out,
            "  request {} server {}: {} then, {} now{}",
            difference.number,
            difference.server,
            host(difference.recorded),
            host(difference.replayed),
            difference.fault.as_ref().map(|fault| format!(" ({fault})")).unwrap_or_default()
        );
    }
    out
}
