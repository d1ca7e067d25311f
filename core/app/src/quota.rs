//! Counting, in the transaction of what is counted.
//!
//! The verdict is asked of the plugin before the transaction, on one state of the usage; the transaction
//! commits only if usage is still that, apart from what was decided in the same call. Requests of one project
//! that are in flight together share a call ([`desk`]), and their transactions may share a commit. On a
//! mismatch (another process's writes, a refund, a changed limit) the verdict is asked again, a bounded
//! number of times.

mod desk;
mod question;
pub mod sets;
pub mod unified;

pub use desk::Desk;

use crate::App;
use canopy_store::quota::Spend;
use canopy_store::{BoxFuture, Conn};
use canopy_types::resources::Amounts;
use canopy_types::{Error, Kind, ProjectId, Result, UserId};
use desk::Verdict;
use std::sync::Arc;
use std::time::Duration;

/// How often usage may move under a verdict before the caller is asked to try again.
const ATTEMPTS: u32 = 16;
/// Before the second attempt; growing with each.
const PAUSE: Duration = Duration::from_millis(2);

/// Who is charged, for what, and what a rule may look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub project_id: ProjectId,
    /// Whose limits count, when it is not the project that is charged: key pairs are charged to a user.
    pub limits_of: Option<ProjectId>,
    pub user_id: UserId,
    /// Empty when it has none.
    pub zone: String,
    /// By resource: `instances`, `cores`, `ram`, `networks`, …
    pub charges: Amounts,
    pub attributes: Vec<(String, String)>,
}

impl Ask {
    /// Without a zone or attributes.
    pub fn new(project: &ProjectId, user: &UserId, resource: &str, amount: i64) -> Self {
        Self {
            project_id: project.clone(),
            limits_of: None,
            user_id: user.clone(),
            zone: String::new(),
            charges: [(resource.to_owned(), amount)].into(),
            attributes: Vec::new(),
        }
    }

    fn spend(&self) -> Spend {
        Spend {
            project_id: self.project_id.clone(),
            user_id: self.user_id.clone(),
            zone: self.zone.clone(),
            amounts: self.charges.clone(),
        }
    }
}

/// Gives back `amount` of a resource that is not counted by user. In the lock order where a charge is.
pub(crate) async fn refund(conn: &mut Conn, project: &ProjectId, resource: &str, amount: i64) -> Result<()> {
    let spend = Spend {
        project_id: project.clone(),
        user_id: UserId(String::new()),
        zone: String::new(),
        amounts: [(resource.to_owned(), amount)].into(),
    };
    canopy_store::quota::refund(conn, &spend).await
}

/// Runs `work` in one transaction with the charge. Over quota is refused before anything is written, with
/// [`Kind::OverQuota`] and the plugin's reason.
pub async fn charged<T, F>(app: &App, ask: &Ask, name: &'static str, work: F) -> Result<T>
where
    T: Send + 'static,
    F: for<'t> Fn(&'t mut Conn) -> BoxFuture<'t, T> + Send + Sync + 'static,
{
    turn(app, ask).await?.charge(name, work).await
}

/// A verdict on a project's usage, for those who have more to find out before they write. While it is held
/// the project's next claims wait. [`Turn::charge`] waits for the database and the plugin only, also when it has to ask
/// again, so that its caller may hold a host.
pub struct Turn<'a> {
    app: &'a App,
    ask: &'a Ask,
    verdict: Verdict,
}

/// Waits for the project's turn and asks the plugin. Over quota is an error.
pub async fn turn<'a>(app: &'a App, ask: &'a Ask) -> Result<Turn<'a>> {
    Ok(Turn { app, ask, verdict: app.quota_desk.ask(app, ask).await? })
}

impl Turn<'_> {
    /// The project's limit on a resource; −1 is none.
    pub fn limit(&self, resource: &str) -> i64 {
        question::limit(&self.app.settings, &self.verdict.book, resource)
    }

    /// Runs `work` in one transaction with the charge; may be called again after an error.
    pub async fn charge<T, F>(&mut self, name: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Conn) -> BoxFuture<'t, T> + Send + Sync + 'static,
    {
        let work = Arc::new(work);
        // SQLite's one writer takes them together. Elsewhere they would wait for each other in the database, each with
        // a connection that other projects need.
        let mut alone = if self.app.store.is_only_writer() { None } else { Some(self.verdict.alone().await) };
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                // Who also has to ask again waits: they would only move usage under each other.
                if alone.is_none() {
                    alone = Some(self.verdict.alone().await);
                }
                tokio::time::sleep(PAUSE * attempt).await;
                self.verdict.renew(self.app, self.ask).await?;
            }
            let (ticket, spend, work) = (self.verdict.ticket.clone(), self.ask.spend(), work.clone());
            let outcome = self
                .app
                .store
                .write(name, move |c| {
                    let (ticket, spend, work) = (ticket.clone(), spend.clone(), work.clone());
                    Box::pin(async move {
                        if !canopy_store::quota::charge(c, &ticket, &spend).await? {
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
