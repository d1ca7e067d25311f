//! What hosts have, as their agents find it: asked of each host that is up, and put right there.

use super::{Finding, Problem, Report};
use crate::App;
use crate::compute::hosts::is_up;
use canopy_agent_api::{Ask, HostFinding, HostKind, HostProblem, Inspection};
use canopy_store::hosts::HostRow;
use canopy_types::{Error, Result};
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;

/// Hosts that are asked at once.
const AT_ONCE: usize = 16;
/// How long a host may take; a repair waits for the host's own work.
const LOOK: Duration = Duration::from_secs(30);
const REPAIR: Duration = Duration::from_secs(60);
/// For all hosts together: what has not answered by then is told as not looked at.
const ALL: Duration = Duration::from_secs(120);

/// Asks every host and adds what it answers to the report.
pub async fn inspect(app: &Arc<App>, repair: bool, report: &mut Report) -> Result<()> {
    report.checked.extend(HostKind::ALL.iter().map(|kind| kind.as_str()));
    let (hosts, _) = app.store.read(|c| Box::pin(canopy_store::hosts::all(c))).await?;
    let now = app.now();
    let (up, down): (Vec<HostRow>, Vec<HostRow>) = hosts.into_iter().partition(|host| is_up(host, now));
    report.unseen.extend(down.iter().map(|host| format!("host {}: it is down", host.name)));
    let until = tokio::time::Instant::now() + ALL;
    let answers = up.into_iter().map(|host| async move {
        let answer = tokio::time::timeout_at(until, ask(app, &host, repair)).await;
        (host.name, answer.unwrap_or_else(|_| Err(late())))
    });
    let mut answers = futures::stream::iter(answers).buffer_unordered(AT_ONCE);
    while let Some((name, answer)) = answers.next().await {
        match answer {
            Ok(inspection) => {
                let told = |one| found(one, &name);
                report.findings.extend(inspection.findings.into_iter().map(told));
                report.repaired.extend(inspection.repaired.into_iter().map(told));
                report.unseen.extend(inspection.unseen.iter().map(|what| format!("host {name}: {what}")));
            }
            Err(error) => report.unseen.push(format!("host {name}: {}", error.message)),
        }
    }
    report.findings.sort();
    report.unseen.sort();
    Ok(())
}

async fn ask(app: &App, host: &HostRow, repair: bool) -> Result<Inspection> {
    let deadline = if repair { REPAIR } else { LOOK };
    let text = app.questions.ask_host(host.id, Ask::Inspect { repair }, deadline).await?;
    serde_json::from_str(&text)
        .map_err(|e| Error::unavailable("host.answer", "The host's answer cannot be read.").with_source(e))
}

fn late() -> Error {
    Error::unavailable("host.silent", "it was not asked in time, as others took long")
}

fn found(one: HostFinding, host: &str) -> Finding {
    let problem = match one.problem {
        HostProblem::Missing => Problem::Missing,
        HostProblem::Extra => Problem::Extra,
        HostProblem::Changed => Problem::Changed,
    };
    Finding {
        invariant: one.kind.as_str(),
        problem,
        subject: one.subject,
        part: format!("on {host}"),
        detail: one.detail,
        repairable: one.repairable,
    }
}
