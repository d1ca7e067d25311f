//! An agent's report becomes rows.

use super::delete::finish;
use crate::App;
use canopy_agent_api::{Observed, ServerObserved};
use canopy_store::servers::{Fault, ServerRow};
use canopy_types::server::Phase;
use canopy_types::{HostId, Result, ServerId, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Servers of a report that tells what has changed: it is not asked first whether that is so.
const FEW: usize = 16;

/// Takes a report from `host`. An old generation, or a server that is on another host, changes nothing.
/// Answers with the host's present desired revision. How builds end is what schedulers see of a host.
pub async fn observe(app: &App, host: HostId, observed: Observed) -> Result<i64> {
    let now = app.now();
    let (generation, load) = (observed.generation, observed.load);
    let new =
        if observed.servers.len() <= FEW { observed.servers } else { news_of(app, host, observed).await? };
    let (revision, news) = app
        .store
        .write("server.observe", move |c| {
            let new = new.clone();
            Box::pin(async move {
                let (mut news, mut recovered, mut gone) = (false, false, BTreeMap::new());
                let revision = canopy_store::hosts::seen(c, host, generation, now).await?.unwrap_or(0);
                if let Some(load) = load {
                    let (cpu, memory) = (load.cpu_percent.min(100), load.memory_percent.min(100));
                    canopy_store::hosts::set_load(c, host, cpu, memory).await?;
                    crate::compute::hosts::changed(c, "host.load", host, now).await?;
                    news = true;
                }
                for report in &new {
                    let Some(known) = canopy_store::servers::get_for_update(c, report.id).await? else {
                        continue;
                    };
                    if !concerns(&known, host, generation, report) {
                        continue;
                    }
                    let built = outcome(&known, report);
                    let mut server = apply(known.clone(), generation, report, now);
                    let (phase, ended_n) = (server.phase, ended(&known, &server));
                    // One build that went well says as much of the host as many.
                    if let Some(failed) = built.filter(|failed| *failed || !recovered) {
                        recovered = !failed;
                        if canopy_store::hosts::build_ended(c, host, failed).await? {
                            crate::compute::hosts::changed(c, "host.build", host, now).await?;
                            news = true;
                        }
                    }
                    if server.deleting && server.phase == Phase::Gone {
                        // Once, however often the report says it.
                        gone.insert(server.id, server);
                        continue;
                    }
                    let given_up = report.error.is_some() && phase != Phase::Failed;
                    let advanced = super::endings::advance(c, &mut server, given_up, now).await?;
                    canopy_store::servers::update_observed(c, &server).await?;
                    if advanced {
                        canopy_store::servers::update(c, &server).await?;
                        news = true;
                    }
                    if let Some(n) = ended_n {
                        let message = report.error.as_deref();
                        canopy_store::server_actions::finish(c, server.id, n, message, now).await?;
                    }
                    let plugged = on(phase);
                    if on(known.phase) && !plugged {
                        crate::compute::consoles::forget(c, &[server.id]).await?;
                    }
                    let status = if plugged { "ACTIVE" } else { "DOWN" };
                    crate::network::set_ports_status(c, server.id, status).await?;
                }
                news |= !gone.is_empty();
                finish(c, &gone.into_values().collect::<Vec<_>>(), now).await?;
                Ok((revision, news))
            })
        })
        .await?;
    if news {
        app.placement.touch(host);
    }
    Ok(revision)
}

/// Most of a full report says nothing new, and takes no row's lock.
async fn news_of(app: &App, host: HostId, observed: Observed) -> Result<Vec<ServerObserved>> {
    let (ids, recent) =
        (observed.servers.iter().map(|report| report.id).collect::<Vec<_>>(), app.store.recent());
    let known = app.store.read(move |c| Box::pin(async move { recent.of(c, &ids).await })).await?;
    let known: HashMap<ServerId, Arc<ServerRow>> = known.into_iter().map(|row| (row.id, row)).collect();
    let generation = observed.generation;
    let new = observed.servers.into_iter();
    Ok(new
        .filter(|report| known.get(&report.id).is_some_and(|row| concerns(row, host, generation, report)))
        .collect())
}

fn on(phase: Phase) -> bool {
    matches!(phase, Phase::Running | Phase::Paused)
}

/// Whether this report says something new about this server.
fn concerns(server: &ServerRow, host: HostId, generation: i64, report: &ServerObserved) -> bool {
    server.deleted_at.is_none()
        && server.host_id == Some(host)
        && server.observed_generation < generation
        && (server.phase != report.phase
            || server.observed_n != report.power_n
            || report.phase == Phase::Failed && report.failed_n.is_some_and(|n| n != server.failed_n)
            || (report.phase == Phase::Gone && server.deleting)
            || (report.phase == Phase::Failed && server.fault.is_none()))
}

/// Whether the report ends the server's build, and if so whether it failed.
fn outcome(server: &ServerRow, report: &ServerObserved) -> Option<bool> {
    let building = server.launched_at.is_none() && !server.deleting && server.phase != Phase::Failed;
    match report.phase {
        Phase::Failed if building => Some(true),
        Phase::Running if server.launched_at.is_none() => Some(false),
        _ => None,
    }
}

/// The newest intent that this report ends, if it ends one.
fn ended(before: &ServerRow, after: &ServerRow) -> Option<i64> {
    let failed = after.phase == Phase::Failed;
    if failed && (before.phase != Phase::Failed || before.failed_n != after.failed_n) {
        return Some(after.failed_n);
    }
    (after.observed_n > before.observed_n).then_some(after.observed_n)
}

fn apply(mut server: ServerRow, generation: i64, report: &ServerObserved, now: Timestamp) -> ServerRow {
    server.phase = report.phase;
    // An agent cannot satisfy what nobody asked, nor unsatisfy what it once did.
    server.observed_n = report.power_n.clamp(server.observed_n, server.power.n);
    server.observed_generation = generation;
    server.updated_at = now;
    match report.phase {
        Phase::Failed => {
            let message =
                report.error.clone().unwrap_or_else(|| "The host could not build the server.".into());
            server.failed_n = report.failed_n.unwrap_or(server.power.n).min(server.power.n);
            server.fault = Some(Fault { v: 1, code: 500, message, created: now });
        }
        Phase::Running => {
            server.launched_at.get_or_insert(now);
            server.fault = None;
        }
        _ => {}
    }
    server
}
