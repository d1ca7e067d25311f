//! Counting, in the transaction of what is counted.
//!
//! The verdict is asked of the plugin before the transaction, on usage revision r; the transaction commits
//! only if usage is still at r. On a mismatch the verdict is asked again, a bounded number of times.
//! Requests of one project take turns within a process, so only another process's writes, and refunds, can
//! come in between.

use crate::App;
use canopy_plugin_host::{Charge, QuotaQuestion, Usage, Verdict};
use canopy_store::{BoxFuture, Conn};
use canopy_types::resources::Amounts;
use canopy_types::{Error, Kind, ProjectId, Result, UserId};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Whose turn it is, by project.
#[derive(Default)]
pub struct Turns(std::sync::Mutex<HashMap<ProjectId, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    fn of(&self, project: &ProjectId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody else holds it: nobody waits for it.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(project.clone()).or_default().clone()
    }
}

/// How often usage may move under a verdict before the caller is asked to try again.
const ATTEMPTS: u32 = 16;
/// Before the second attempt; growing with each.
const PAUSE: Duration = Duration::from_millis(2);

/// Who is charged, for what, and what a rule may look at.
#[derive(Clone, Debug)]
pub struct Ask {
    pub project_id: ProjectId,
    pub user_id: UserId,
    /// By resource: `instances`, `cores`, `ram`, `networks`, …
    pub charges: Amounts,
    pub attributes: Vec<(String, String)>,
}

/// Runs `work` in one transaction with the charge. Over quota is refused before anything is written, with
/// [`Kind::OverQuota`] and the plugin's reason.
pub async fn charged<T, F>(app: &App, ask: &Ask, name: &'static str, work: F) -> Result<T>
where
    T: Send + 'static,
    F: for<'t> Fn(&'t mut Conn) -> BoxFuture<'t, T> + Send + Sync + 'static,
{
    let turn = turn(app, ask).await?;
    turn.charge(name, work).await
}

/// A project's turn, with a verdict on its usage: for those who have more to find out before they write.
pub struct Turn<'a> {
    app: &'a App,
    ask: &'a Ask,
    /// Usage that the plugin allowed the charge on.
    pub usage: canopy_store::quota::Usage,
    _turn: tokio::sync::OwnedMutexGuard<()>,
}

/// Waits for the project's turn and asks the plugin. Over quota is an error.
pub async fn turn<'a>(app: &'a App, ask: &'a Ask) -> Result<Turn<'a>> {
    let held = app.quota_turns.of(&ask.project_id).lock_owned().await;
    let usage = allowed(app, ask).await?;
    Ok(Turn { app, ask, usage, _turn: held })
}

/// Usage as it is, on which the plugin allows the charge.
async fn allowed(app: &App, ask: &Ask) -> Result<canopy_store::quota::Usage> {
    let project = ask.project_id.clone();
    let usage = app
        .store
        .read(move |c| Box::pin(async move { canopy_store::quota::usage(c, &project).await }))
        .await?;
    verdict(app, ask, &usage).await?;
    Ok(usage)
}

impl Turn<'_> {
    /// Runs `work` in one transaction with the charge; may be called again after an error.
    pub async fn charge<T, F>(&self, name: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Conn) -> BoxFuture<'t, T> + Send + Sync + 'static,
    {
        let work = Arc::new(work);
        let mut revision = self.usage.revision;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(PAUSE * attempt).await;
                revision = allowed(self.app, self.ask).await?.revision;
            }
            let (project, charges, work) =
                (self.ask.project_id.clone(), self.ask.charges.clone(), work.clone());
            let outcome = self
                .app
                .store
                .write(name, move |c| {
                    let (project, charges, work) = (project.clone(), charges.clone(), work.clone());
                    Box::pin(async move {
                        if !canopy_store::quota::charge(c, &project, revision, &charges).await? {
                            return Err(Error::new(Kind::Conflict, STALE, "Usage has moved."));
                        }
                        work(c).await
                    })
                })
                .await;
            match outcome {
                Err(error) if error.code == STALE => {}
                outcome => return outcome,
            }
        }
        Err(Error::unavailable(
            "quota.busy",
            "Quota is being changed by many requests at once. Try again in a second.",
        ))
    }
}

const STALE: &str = "quota.stale";

async fn verdict(app: &App, ask: &Ask, usage: &canopy_store::quota::Usage) -> Result<()> {
    let question = QuotaQuestion {
        project_id: ask.project_id.clone(),
        user_id: ask.user_id.clone(),
        usage: ask
            .charges
            .keys()
            .map(|resource| Usage {
                resource: resource.clone(),
                limit: limit(app, usage, resource),
                used: usage.used.get(resource).copied().unwrap_or(0),
            })
            .collect(),
        charges: ask
            .charges
            .iter()
            .map(|(resource, amount)| Charge { resource: resource.clone(), amount: *amount })
            .collect(),
        attributes: ask.attributes.clone(),
    };
    match app.quota.check(question).await {
        Verdict::Allow => Ok(()),
        Verdict::Deny { resource, reason } => {
            tracing::info!(project = %ask.project_id, resource, reason, "over quota");
            Err(Error::new(Kind::OverQuota, "quota.exceeded", reason))
        }
    }
}

/// The project's own limit, else the default; −1 is no limit.
pub fn limit(app: &App, usage: &canopy_store::quota::Usage, resource: &str) -> i64 {
    usage.limits.get(resource).or_else(|| app.settings.quota_defaults.get(resource)).copied().unwrap_or(-1)
}
