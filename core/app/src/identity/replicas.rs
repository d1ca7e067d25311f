//! Several controllers on one database: a token that is revoked, a role that is taken away counts everywhere when
//! the request that did so is answered.
//!
//! Each controller says every [`BEAT`] what it knows. Who writes waits until all others know it, or have been
//! silent for longer than [`LEASE`]; and who could not say anything for a lease answers no token until it can,
//! because the others have gone on without it. Times are each process's own: only spans are compared.

use super::{Inner, rows};
use canopy_store::Store;
use canopy_store::identity::Revision;
use canopy_store::identity::replicas::Replica;
use canopy_types::{Error, Result};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(super) const BEAT: Duration = Duration::from_millis(500);
/// For so long after its last sign of life a controller may answer tokens by what it knows.
const LEASE: Duration = Duration::from_secs(2);
/// Silent for so long, its lease is over for certain, though clocks run unequally fast.
const SILENCE: Duration = Duration::from_millis(2_500);
const LOOK: Duration = Duration::from_millis(25);
/// One that lives and does not catch up is waited for so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// This process among others.
pub(super) struct Membership {
    id: String,
    seen: Mutex<Seen>,
}

struct Seen {
    /// When what this process then said was read from the database.
    at: Instant,
    /// Whether there were others. Nobody goes on without one who is alone.
    others: bool,
    /// It serves no more, and says nothing any more.
    left: bool,
}

impl Membership {
    pub(super) fn new() -> Self {
        let id = canopy_types::DecisionId::random().to_string();
        Self { id, seen: Mutex::new(Seen { at: Instant::now(), others: false, left: false }) }
    }

    /// Whether others may have gone on without this process.
    pub(super) fn lost(&self) -> bool {
        let seen = self.seen();
        seen.others && seen.at.elapsed() > LEASE
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn refusal() -> Error {
        Error::unavailable(
            "identity.lease",
            "This controller has lost touch with the others that share its database: nobody can say what a token is \
             worth now. Try again in a few seconds.",
        )
    }

    /// Says what is known. `read`: when it was read.
    pub(super) async fn beat(&self, store: &Store, known: Revision, read: Instant) -> Result<()> {
        if self.seen().left {
            return Ok(());
        }
        let id = self.id.clone();
        let all = store
            .aside(|c| {
                Box::pin(async move {
                    rows::replicas::beat(c, &id, known).await?;
                    rows::replicas::all(c).await
                })
            })
            .await?;
        let others = all.iter().any(|other| other.id != self.id);
        let mut seen = self.seen();
        (seen.at, seen.others) = (read, others);
        Ok(())
    }

    /// Returns when every other controller knows of `newest`, or has lost its lease.
    pub(super) async fn all_know(&self, store: &Store, newest: Revision) -> Result<()> {
        let began = Instant::now();
        let mut silent: HashMap<String, (i64, Instant)> = HashMap::new();
        loop {
            let all = store.aside(|c| Box::pin(rows::replicas::all(c))).await?;
            let behind: Vec<Replica> =
                all.into_iter().filter(|other| other.id != self.id && !other.knows(newest)).collect();
            if behind.is_empty() {
                return Ok(());
            }
            let now = Instant::now();
            for other in behind {
                let (beat, since) = silent.entry(other.id.clone()).or_insert((other.beat, now));
                if *beat != other.beat {
                    (*beat, *since) = (other.beat, now);
                } else if since.elapsed() > SILENCE {
                    tracing::warn!(
                        controller = other.id,
                        "another controller is silent: going on without it"
                    );
                    store.aside(|c| Box::pin(async move { rows::replicas::bury(c, &other).await })).await?;
                }
            }
            if began.elapsed() > PATIENCE {
                return Err(Error::unavailable(
                    "identity.replicas",
                    "Another controller lives and does not take over what was changed.",
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(super) async fn leave(&self, store: &Store) {
        self.seen().left = true;
        let id = self.id.clone();
        let _ = store.aside(|c| Box::pin(async move { rows::replicas::leave(c, &id).await })).await;
    }

    /// Notes in the data folder who this is, and takes the process before this one, which may have been killed, out:
    /// nobody has to wait for it.
    pub(super) async fn follow_the_last(&self, store: &Store, data_dir: &Path) -> Result<()> {
        let (file, id) = (data_dir.join("replica"), self.id.clone());
        let last = tokio::task::spawn_blocking(move || {
            let last = std::fs::read_to_string(&file).unwrap_or_default();
            std::fs::write(&file, &id)?;
            Ok::<_, std::io::Error>(last)
        })
        .await
        .map_err(|e| Error::internal("identity.replica", e))?;
        match last {
            Ok(last) => store.aside(|c| Box::pin(async move { rows::replicas::leave(c, &last).await })).await,
            Err(error) => {
                tracing::warn!(%error, "the data folder does not take a note of this process");
                Ok(())
            }
        }
    }
}

impl Inner {
    /// Follows the store, and with others on it says so.
    pub(super) async fn step(&self, store: &Store) -> Result<()> {
        let read = Instant::now();
        self.refresh(store).await?;
        if store.is_only_writer() {
            return Ok(());
        }
        self.membership.beat(store, self.known(), read).await
    }
}
