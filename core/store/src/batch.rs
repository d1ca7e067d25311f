//! SQLite's one writer: requests are decided in order and share a commit.
//!
//! The writer takes what is queued (never waiting for more), runs each closure against the batch's running
//! state, commits once, and only then answers. When a closure fails, the batch is begun again with a savepoint for
//! each, so that it is rolled back alone: most batches need none. When the commit itself fails, each closure is run
//! and committed singly, so one bad neighbour cannot fail the others.

use crate::store::db;
use crate::{BoxFuture, Conn};
use canopy_types::effect::effect;
use canopy_types::{Error, Kind, Result};
use futures::FutureExt;
use sqlx::pool::PoolConnection;
use sqlx::{AnyPool, Connection, Executor};
use std::any::Any;
use std::panic::AssertUnwindSafe;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

/// Writes waiting at once; past it the caller gets 503 with Retry-After.
const QUEUE: usize = 1_024;
/// Writes sharing one commit.
const BATCH: usize = 64;
/// What a batch begins with: it is going to write.
const BEGIN: &str = "BEGIN IMMEDIATE";

type Outcome = Result<Box<dyn Any + Send>>;
type Run = Box<dyn for<'t> Fn(&'t mut Conn) -> BoxFuture<'t, Box<dyn Any + Send>> + Send + Sync>;

pub struct Job {
    name: &'static str,
    run: Run,
}

impl Job {
    pub fn new<T, F>(name: &'static str, work: F) -> Self
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Conn) -> BoxFuture<'t, T> + Send + Sync + 'static,
    {
        let run: Run = Box::new(move |conn| {
            let future = work(conn);
            Box::pin(async move { future.await.map(|value| Box::new(value) as Box<dyn Any + Send>) })
        });
        Self { name, run }
    }

    async fn outcome(&self, conn: &mut Conn) -> Outcome {
        let panicked = |_| Err(Error::internal("store.panicked", format!("{} panicked", self.name)));
        AssertUnwindSafe((self.run)(conn)).catch_unwind().await.unwrap_or_else(panicked)
    }
}

struct Queued {
    job: Job,
    answer: oneshot::Sender<Outcome>,
}

pub struct Writer {
    queue: mpsc::Sender<Queued>,
    pool: AnyPool,
}

impl Writer {
    /// To be called in a runtime, which the writer uses for its timers.
    pub fn spawn(pool: AnyPool, commits: watch::Sender<u64>) -> Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let (runtime, work) = (Handle::current(), work_off(pool.clone(), jobs, commits));
        let thread = std::thread::Builder::new().name("store-writer".into());
        thread.spawn(move || runtime.block_on(work)).map_err(|e| Error::internal("store.writer", e))?;
        Ok(Self { queue, pool })
    }

    pub async fn run<T: Send + 'static>(&self, job: Job) -> Result<T> {
        let (answer, outcome) = oneshot::channel();
        self.queue.try_send(Queued { job, answer }).map_err(|e| {
            let full = matches!(e, mpsc::error::TrySendError::Full(_));
            if full { overloaded("Too many writes are waiting. Try again in a second.") } else { closing() }
        })?;
        let value = outcome.await.map_err(|_| closing())??;
        value
            .downcast::<T>()
            .map(|value| *value)
            .map_err(|_| Error::internal("store.type", "a write answered with another type"))
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn overloaded(message: &'static str) -> Error {
    Error::new(Kind::Unavailable, "store.overloaded", message)
}

fn closing() -> Error {
    overloaded("Shutting down.")
}

async fn work_off(pool: AnyPool, mut jobs: mpsc::Receiver<Queued>, commits: watch::Sender<u64>) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut closed = pool.close_event();
    let mut line = Line { pool, conn: None };
    while closed.do_until(jobs.recv_many(&mut batch, BATCH)).await.is_ok_and(|writes| writes > 0) {
        let outcomes = match line.together(&batch).await {
            Ok(outcomes) => outcomes,
            Err(error) if batch.len() == 1 => vec![Err(error)],
            Err(error) => {
                tracing::warn!(
                    error = error.chain(),
                    writes = batch.len(),
                    "shared commit failed, running singly"
                );
                let mut outcomes = Vec::with_capacity(batch.len());
                for queued in batch.chunks(1) {
                    outcomes.push(line.together(queued).await.map_or_else(Err, |mut one| {
                        one.pop().unwrap_or_else(|| Err(Error::internal("store.empty", "no outcome")))
                    }));
                }
                outcomes
            }
        };
        commits.send_modify(|n| *n += 1);
        for (queued, outcome) in batch.drain(..).zip(outcomes) {
            // The caller may be gone; the write stands all the same.
            let _ = queued.answer.send(outcome);
        }
    }
}

/// The writer's connection. It is kept from batch to batch: a pool asks one that comes back whether it is alive.
struct Line {
    pool: AnyPool,
    conn: Option<PoolConnection<sqlx::Any>>,
}

impl Line {
    /// Runs the batch in one transaction. An `Err` means that nothing of it was committed.
    async fn together(&mut self, batch: &[Queued]) -> Result<Vec<Outcome>> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.pool.acquire().await.map_err(db)?,
        };
        let outcomes = in_one_transaction(&mut conn, batch).await;
        if outcomes.is_ok() {
            self.conn = Some(conn);
        } else if let Err(error) = conn.close().await {
            // SQLite ends a transaction by itself when the disk is full or fails, and the driver does not learn of
            // it. Only a new connection is sure to be outside of any.
            tracing::debug!(%error, "closing the writer's connection");
        }
        outcomes
    }
}

async fn in_one_transaction(conn: &mut Conn, batch: &[Queued]) -> Result<Vec<Outcome>> {
    let mut tx = conn.begin_with(BEGIN).await.map_err(db)?;
    let outcomes = match batch {
        // Alone it needs no savepoint: all there is to roll back is its own.
        [only] => match only.job.outcome(&mut tx).await {
            Err(reason) => {
                let undone = tx.rollback().await;
                // What ended the whole transaction is the reason, too.
                return if undone.is_ok() { Ok(vec![Err(reason)]) } else { Err(reason) };
            }
            done => vec![done],
        },
        several => match all_well(&mut tx, several).await {
            Some(outcomes) => outcomes,
            None => {
                tx.rollback().await.map_err(db)?;
                tx = conn.begin_with(BEGIN).await.map_err(db)?;
                in_savepoints(&mut tx, several).await?
            }
        },
    };
    // A batch's crash points carry the name of its first write: tests run writes one at a time.
    let name = batch.first().map_or("store.commit", |queued| queued.job.name);
    effect(name, async { tx.commit().await.map_err(db) }).await?;
    Ok(outcomes)
}

/// `None` as soon as one fails.
async fn all_well(tx: &mut Conn, batch: &[Queued]) -> Option<Vec<Outcome>> {
    let mut outcomes = Vec::with_capacity(batch.len());
    for queued in batch {
        outcomes.push(Ok(queued.job.outcome(tx).await.ok()?));
    }
    Some(outcomes)
}

async fn in_savepoints(tx: &mut Conn, batch: &[Queued]) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::with_capacity(batch.len());
    for queued in batch {
        tx.execute("SAVEPOINT work").await.map_err(db)?;
        let outcome = queued.job.outcome(tx).await;
        if outcome.is_err()
            && let Err(error) = tx.execute("ROLLBACK TO work").await
        {
            // What ended the whole transaction is the better reason, and the last one's to hear.
            return Err(match outcome {
                Err(reason) => reason,
                Ok(_) => db(error),
            });
        }
        tx.execute("RELEASE work").await.map_err(db)?;
        outcomes.push(outcome);
    }
    Ok(outcomes)
}
