//! What on this host is not as the controller wants it: looked at when asked, and put right where only one
//! thing can be meant.
//!
//! The host is held against the newest desired state. A server whose work is not done is left out, since its
//! task is at it; so is whatever does not carry our mark, unless it stands where only ours should. Nothing is
//! repaired here: every repair goes to the task that owns the thing, so that no two ever work on one.

mod cache;
mod servers;

use crate::desired::Known;
use crate::mends::Mend;
use crate::network::Taps;
use crate::shared::Shared;
use canopy_agent_api::{
    HostFinding, HostKind, HostProblem, Inspection, MAX_FINDINGS, ServerSpec, bridge_name, tap_name,
};
use canopy_hypervisor::DomainStatus;
use canopy_types::{Error, ServerId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long what was asked for is waited for.
const SETTLE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(100);

/// Looks, and with `repair` puts right what can be and looks again.
pub async fn inspect(
    shared: &Arc<Shared>,
    known: &watch::Receiver<Option<Known>>,
    repair: bool,
) -> Result<Inspection, Error> {
    let before = look(shared, &fresh(known)?).await;
    if !repair || !before.findings.iter().any(|finding| finding.repairable) {
        return Ok(before);
    }
    mend(shared, &fresh(known)?, &before.findings).await;
    let deadline = Instant::now() + SETTLE;
    loop {
        let mut after = look(shared, &fresh(known)?).await;
        if Instant::now() >= deadline || !after.findings.iter().any(|finding| finding.repairable) {
            let gone = |one: &HostFinding| one.repairable && !after.findings.contains(one);
            after.repaired = before.findings.into_iter().filter(gone).collect();
            return Ok(after);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A state that was kept on disk is older than what the controller asks about.
fn fresh(known: &watch::Receiver<Option<Known>>) -> Result<Known, Error> {
    known.borrow().clone().filter(|known| known.fresh).ok_or_else(|| {
        Error::unavailable("agent.not_fresh", "The host has not heard from the controller yet.")
    })
}

async fn look(shared: &Arc<Shared>, known: &Known) -> Inspection {
    let mut inspection = Inspection { revision: known.desired.revision, ..Inspection::default() };
    let domains = match shared.hypervisor.list().await {
        Ok(domains) => Some(domains.into_iter().map(|domain| (domain.id, domain)).collect()),
        Err(error) => {
            inspection.unseen.push(format!("guests: {}", error.message));
            None
        }
    };
    match servers::look(shared, &known.desired, domains.as_ref(), &mut inspection.unseen).await {
        Ok(found) => inspection.findings.extend(found),
        Err(error) => inspection.unseen.push(format!("servers' files: {}", error.message)),
    }
    match cache::look(shared, &known.desired).await {
        Ok(found) => inspection.findings.extend(found),
        Err(error) => inspection.unseen.push(format!("image cache: {}", error.message)),
    }
    match shared.wiring.inspect(&known.desired, &taps(known, domains.as_ref())).await {
        Ok(found) => inspection.findings.extend(found),
        Err(error) => inspection.unseen.push(format!("network: {}", error.message)),
    }
    inspection.findings.sort();
    inspection.findings.dedup();
    inspection.findings.truncate(MAX_FINDINGS);
    inspection
}

type Domains = BTreeMap<ServerId, DomainStatus>;

/// Taps that must be there: those of guests that have their power. Any port's may be there.
fn taps(known: &Known, domains: Option<&Domains>) -> Taps {
    let segments: BTreeMap<_, _> = known.desired.networks.iter().map(|n| (n.id, n.segment)).collect();
    let mut taps = Taps::default();
    for spec in known.desired.servers.iter() {
        let state = domains.and_then(|domains| domains.get(&spec.id)).map(|domain| domain.state);
        for port in &spec.ports {
            let device = tap_name(port.id);
            if let (true, Some(segment)) = (crate::decide::is_on(state), segments.get(&port.network_id)) {
                taps.wanted.insert(device.clone(), bridge_name(*segment));
            }
            taps.allowed.insert(device);
        }
    }
    taps
}

/// Asks the owners of what is wrong to put it right.
async fn mend(shared: &Arc<Shared>, known: &Known, findings: &[HostFinding]) {
    let (mut sweep, mut network) = (false, false);
    for finding in findings.iter().filter(|finding| finding.repairable) {
        let server = finding.subject.parse::<ServerId>().ok();
        let server = server.filter(|id| wanted(known, *id).is_some());
        match (finding.kind, finding.problem, server) {
            (HostKind::Domain, HostProblem::Missing | HostProblem::Changed, Some(id)) => {
                shared.mends.ask(id, Mend::Define);
            }
            (HostKind::ConfigDrive, HostProblem::Extra, Some(id)) => {
                shared.mends.ask(id, Mend::RemoveConfigDrive);
            }
            (HostKind::ConfigDrive, _, Some(id)) => shared.mends.ask(id, Mend::WriteConfigDrive),
            (HostKind::Domain | HostKind::Disk | HostKind::ConfigDrive, ..) => sweep = true,
            (HostKind::ImageCache, ..) => {
                if let Err(error) = cache::mend(shared, &known.desired, finding).await {
                    tracing::warn!(subject = finding.subject, error = %error.chain(), "not repaired");
                }
            }
            _ => network = true,
        }
    }
    if sweep {
        shared.mends.sweep();
    }
    if network {
        let domains = shared.hypervisor.list().await.ok();
        let domains = domains.map(|all| all.into_iter().map(|domain| (domain.id, domain)).collect());
        if let Err(error) = shared.wiring.mend(&known.desired, &taps(known, domains.as_ref())).await {
            tracing::warn!(error = %error.chain(), "the network is not repaired");
        }
    }
}

fn wanted(known: &Known, id: ServerId) -> Option<&ServerSpec> {
    known.desired.servers.iter().find(|spec| spec.id == id).map(|spec| &**spec)
}

pub(crate) fn finding(
    kind: HostKind,
    problem: HostProblem,
    subject: impl ToString,
    detail: impl Into<String>,
    repairable: bool,
) -> HostFinding {
    HostFinding { kind, problem, subject: subject.to_string(), detail: detail.into(), repairable }
}

#[cfg(test)]
mod tests;
