//! Where claims of one project meet: those that wait together are decided in one call of the plugin.
//!
//! A round takes what waits, reads usage once, asks once, and hands each claim its verdict with the ticket that
//! all of the round share. The next round of the project begins when every claim of this one has been
//! committed or given up, so what it reads has everything in it. Within a round transactions share commits on
//! SQLite; on PostgreSQL they follow each other, as they change the same row.
//!
//! Where projects above carry limits, the rounds of all projects under the topmost of them follow each other,
//! as each changes what the others were decided on.

use super::{Ask, question};
use crate::App;
use canopy_plugin_host::quota::MAX_CLAIMS;
use canopy_store::quota::{Book, Ticket};
use canopy_types::{Error, Kind, ProjectId, Result};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedMutexGuard, oneshot};

/// Claims of one project that may wait.
const QUEUE: usize = 4_096;

/// Claims by project; cheap when nobody asks.
#[derive(Default)]
pub struct Desk(Arc<Inner>);

#[derive(Default)]
struct Inner {
    lines: Mutex<HashMap<Key, Line>>,
    /// By the topmost project or domain that carries a limit.
    trees: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// Claims under different limits do not share a book.
type Key = (ProjectId, Option<ProjectId>);

/// A project's claims. It is there as long as a round runs or claims wait.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    /// A round runs: whoever ends it calls the next.
    busy: bool,
}

struct Waiting {
    ask: Ask,
    /// Denied once because of claims that were before it in its round and might still fail.
    again: bool,
    reply: oneshot::Sender<Answer>,
}

/// A round's word to one claim.
enum Answer {
    /// It is this claim's task that runs the round.
    Lead(Leading),
    Decided(Result<Verdict>),
}

/// An allowed claim. Dropped when it has been committed, or will not be.
pub struct Verdict {
    pub ticket: Ticket,
    pub book: Arc<Book>,
    round: Arc<Round>,
}

impl Verdict {
    /// Keeps the others of the round from asking again at the same time. Who holds it waits for nobody.
    pub async fn alone(&self) -> OwnedMutexGuard<()> {
        self.round.alone.clone().lock_owned().await
    }

    /// Asks again for this claim alone, as usage has moved. Its caller may hold a host that others of the round wait
    /// for, so it does not go back into the line.
    pub async fn renew(&mut self, app: &App, ask: &Ask) -> Result<()> {
        let book = read(app, &self.round.key, &[ask]).await?;
        let mut verdicts =
            crate::plugins::shadow::verdicts(app, question::question(&app.settings, &book, &[ask])).await;
        if let Some(canopy_plugin_host::Verdict::Deny { resource, reason }) = verdicts.pop() {
            return Err(denied(ask, &resource, reason));
        }
        self.ticket = Ticket { stamps: book.stamps.clone(), cohort: cohort() };
        self.book = Arc::new(book);
        Ok(())
    }
}

fn denied(ask: &Ask, resource: &str, reason: String) -> Error {
    tracing::info!(project = %ask.project_id, resource, reason, "over quota");
    Error::new(Kind::OverQuota, "quota.exceeded", reason)
}

/// Ends when its last claim is dropped.
struct Round {
    desk: Arc<Inner>,
    key: Key,
    /// Held by the one that asks again.
    alone: Arc<tokio::sync::Mutex<()>>,
    _tree: Option<OwnedMutexGuard<()>>,
}

impl Drop for Round {
    fn drop(&mut self) {
        self.desk.next(&self.key);
    }
}

impl Inner {
    /// Calls one who waits to lead the next round, or closes the line.
    fn next(self: &Arc<Self>, key: &Key) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(line) = lines.get_mut(key) else { return };
        while let Some(waiting) = line.waiting.pop_front() {
            let leading = Leading { desk: self.clone(), key: Some(key.clone()) };
            match waiting.reply.send(Answer::Lead(leading)) {
                // Those who went away are passed over, by us: the line is locked.
                Err(Answer::Lead(mut leading)) => leading.key = None,
                _ => return,
            }
        }
        lines.remove(key);
    }

    fn tree(&self, top: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody else holds it: nobody waits for it.
        trees.retain(|_, tree| Arc::strong_count(tree) > 1);
        trees.entry(top.to_owned()).or_default().clone()
    }
}

/// The task of running a round. Gives the line on if its leader goes away before the round has begun.
struct Leading {
    desk: Arc<Inner>,
    key: Option<Key>,
}

impl Drop for Leading {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.desk.next(key);
        }
    }
}

impl Desk {
    /// The verdict on a claim; over quota is an error.
    pub async fn ask(&self, app: &App, ask: &Ask) -> Result<Verdict> {
        let key = (ask.project_id.clone(), ask.limits_of.clone());
        let mut again = false;
        loop {
            let (reply, answer) = oneshot::channel();
            let waiting = Waiting { ask: ask.clone(), again, reply };
            let leads = {
                let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
                let line = lines.entry(key.clone()).or_default();
                if line.waiting.len() >= QUEUE {
                    return Err(Error::unavailable(
                        "quota.overloaded",
                        "Too many requests of this project wait. Try again in a second.",
                    ));
                }
                if line.busy {
                    line.waiting.push_back(waiting);
                    None
                } else {
                    line.busy = true;
                    Some(waiting)
                }
            };
            let outcome = match leads {
                Some(_) => {
                    let leading = Leading { desk: self.0.clone(), key: Some(key.clone()) };
                    self.lead(app, leading, ask, again).await
                }
                None => match answer.await {
                    Ok(Answer::Lead(leading)) => self.lead(app, leading, ask, again).await,
                    Ok(Answer::Decided(outcome)) => outcome,
                    // The leader went away before it had an answer.
                    Err(_) => continue,
                },
            };
            match outcome {
                Err(error) if error.code == AGAIN => again = true,
                outcome => return outcome,
            }
        }
    }

    /// Runs a round: this claim's and those that wait.
    async fn lead(&self, app: &App, mut leading: Leading, ask: &Ask, again: bool) -> Result<Verdict> {
        let key = &(ask.project_id.clone(), ask.limits_of.clone());
        let mut others = {
            let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
            let waiting = lines.get_mut(key).map(|line| &mut line.waiting);
            waiting.map_or_else(Vec::new, |waiting| {
                let take = waiting.len().min(MAX_CLAIMS - 1);
                waiting.drain(..take).collect()
            })
        };
        others.retain(|waiting| !waiting.reply.is_closed());
        let asks: Vec<&Ask> = std::iter::once(ask).chain(others.iter().map(|waiting| &waiting.ask)).collect();
        let decided = self.decide(app, key, &asks).await;
        let (book, ticket, verdicts, tree) = match decided {
            Ok(decided) => decided,
            Err(error) => {
                for waiting in others {
                    let told = Error::new(error.kind, error.code, error.message.clone());
                    let _ = waiting.reply.send(Answer::Decided(Err(told)));
                }
                return Err(error);
            }
        };
        // From here on the line goes on when the round ends.
        leading.key = None;
        let alone = Arc::default();
        let round = Arc::new(Round { desk: self.0.clone(), key: key.clone(), alone, _tree: tree });
        let mut some_allowed = false;
        let mut outcomes = Vec::with_capacity(asks.len());
        let again_of = std::iter::once(again).chain(others.iter().map(|waiting| waiting.again));
        for ((verdict, again), ask) in verdicts.into_iter().zip(again_of).zip(&asks) {
            outcomes.push(match verdict {
                canopy_plugin_host::Verdict::Allow => {
                    some_allowed = true;
                    Ok(Verdict { ticket: ticket.clone(), book: book.clone(), round: round.clone() })
                }
                // Perhaps what it was denied for is not going to be: it is asked once more, when that is known.
                canopy_plugin_host::Verdict::Deny { .. } if some_allowed && !again => {
                    Err(Error::new(Kind::Conflict, AGAIN, "Asked again."))
                }
                canopy_plugin_host::Verdict::Deny { resource, reason } => Err(denied(ask, &resource, reason)),
            });
        }
        let mut outcomes = outcomes.into_iter();
        let own = outcomes.next().unwrap_or_else(|| {
            Err(Error::internal("quota.verdicts", "a round without its leader's verdict"))
        });
        for (waiting, outcome) in others.into_iter().zip(outcomes) {
            // Who has gone away gives the claim up with the answer.
            let _ = waiting.reply.send(Answer::Decided(outcome));
        }
        own
    }

    async fn decide(&self, app: &App, key: &Key, asks: &[&Ask]) -> Result<Decided> {
        let mut tree = None;
        let mut book = read(app, key, asks).await?;
        while let Some(top) = book.above.last().map(|above| above.id.clone()) {
            if tree.as_ref().is_some_and(|(held, _)| *held == top) {
                break;
            }
            // One after the other under one top. What was read before is old then.
            drop(tree.take());
            let guard = self.0.tree(&top).lock_owned().await;
            tree = Some((top, guard));
            book = read(app, key, asks).await?;
        }
        let verdicts =
            crate::plugins::shadow::verdicts(app, question::question(&app.settings, &book, asks)).await;
        let ticket = Ticket { stamps: book.stamps.clone(), cohort: cohort() };
        Ok((Arc::new(book), ticket, verdicts, tree.map(|(_, guard)| guard)))
    }
}

type Decided = (Arc<Book>, Ticket, Vec<canopy_plugin_host::Verdict>, Option<OwnedMutexGuard<()>>);

const AGAIN: &str = "quota.again";

async fn read(app: &App, (project, limits_of): &Key, asks: &[&Ask]) -> Result<Book> {
    let users: BTreeSet<_> = asks.iter().map(|ask| ask.user_id.clone()).collect();
    let (project, limits_of) = (project.clone(), limits_of.clone());
    app.store
        .read(move |c| {
            Box::pin(async move { canopy_store::quota::book(c, &project, limits_of.as_ref(), &users).await })
        })
        .await
}

/// A name that no other round has.
fn cohort() -> String {
    canopy_types::ServerId::random().to_string()
}
