//! Whether what is kept twice agrees, in rows, in files and on hosts, and putting it right where only one answer
//! can be meant.
//!
//! Everything here is derived from rows and files that say the same thing twice. A check finds differences; a
//! repair exists only where one side is the fact and the other a count of it, or where what holds something is
//! gone for good. The rest is told to a person.

mod hosts;
mod invariants;

pub use invariants::INVARIANTS;

use crate::{App, Ctx, access};
use canopy_authz::Target;
use canopy_authz::actions::canopy::{FSCK_REPAIR, FSCK_SHOW};
use canopy_types::Result;
use futures::future::BoxFuture;
use serde::Serialize;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Problem {
    /// It should be there.
    Missing,
    /// It belongs to nothing.
    Extra,
    /// It is not what it should be.
    Changed,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Name of the invariant that does not hold.
    pub invariant: &'static str,
    pub problem: Problem,
    /// What it is about, e.g. the id of a project.
    pub subject: String,
    /// Which of its parts, e.g. a resource, or where it is; empty if it has none.
    pub part: String,
    /// What was found, in words.
    pub detail: String,
    /// Whether a repair can only mean one thing. Otherwise a person decides.
    pub repairable: bool,
}

type Check = for<'a> fn(&'a Arc<App>) -> BoxFuture<'a, Result<Vec<Finding>>>;
type Repair = for<'a> fn(&'a Arc<App>, &'a Finding) -> BoxFuture<'a, Result<()>>;

/// Something that always holds.
pub struct Invariant {
    pub name: &'static str,
    /// What holds, in words.
    pub about: &'static str,
    /// What it finds wrong. Never changes anything.
    pub check: Check,
    /// Puts right one finding that says it is repairable. Safe to run twice, and on what has been put right
    /// meanwhile.
    pub repair: Repair,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Invariants, and kinds of things on hosts, that were checked.
    pub checked: Vec<&'static str>,
    /// What was wrong and has been put right.
    pub repaired: Vec<Finding>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
}

/// What is wrong, for the operator.
pub async fn show(app: &Arc<App>, ctx: &Ctx) -> Result<Report> {
    access::require(app, ctx, FSCK_SHOW, &Target::default())?;
    everything(app, false).await
}

/// Puts right what can only mean one thing, and checks again.
pub async fn repair(app: &Arc<App>, ctx: &Ctx) -> Result<Report> {
    access::require(app, ctx, FSCK_REPAIR, &Target::default())?;
    let before = check(app).await?;
    for finding in before.findings.iter().filter(|finding| finding.repairable) {
        let Some(invariant) = INVARIANTS.iter().find(|known| known.name == finding.invariant) else {
            continue;
        };
        match (invariant.repair)(app, finding).await {
            Ok(()) => tracing::info!(invariant = invariant.name, subject = finding.subject, "repaired"),
            // It shows again in the report.
            Err(error) => tracing::warn!(
                invariant = invariant.name,
                subject = finding.subject,
                error = error.chain(),
                "not repaired"
            ),
        }
    }
    // Hosts last: what they are told follows from the rows.
    let mut after = everything(app, true).await?;
    let rows = before.findings.into_iter().filter(|one| !after.findings.contains(one));
    after.repaired.splice(0..0, rows);
    Ok(after)
}

/// Rows and hosts.
async fn everything(app: &Arc<App>, repair: bool) -> Result<Report> {
    let mut report = check(app).await?;
    hosts::inspect(app, repair, &mut report).await?;
    Ok(report)
}

/// Every invariant of the rows, in order.
pub async fn check(app: &Arc<App>) -> Result<Report> {
    let mut report = Report::default();
    for invariant in INVARIANTS {
        report.checked.push(invariant.name);
        report.findings.extend((invariant.check)(app).await?);
    }
    Ok(report)
}

/// The background's round: what is wrong goes to the log and to a gauge, and is left for an operator.
pub async fn watch(app: &Arc<App>) -> Result<()> {
    let report = everything(app, false).await?;
    for name in &report.checked {
        let count = report.findings.iter().filter(|finding| finding.invariant == *name).count();
        metrics::gauge!("canopy_fsck_findings", "invariant" => *name)
            .set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    }
    for finding in report.findings.iter().take(10) {
        tracing::warn!(
            invariant = finding.invariant,
            subject = finding.subject,
            part = finding.part,
            detail = finding.detail,
            "found wrong: see `canopy fsck`"
        );
    }
    Ok(())
}
