//! Which desired revision each host has, read once for all agents that wait for theirs.
//!
//! Every commit may concern any host, so every waiting agent looks after each; one statement serves all of them,
//! and commits that follow each other closely share it.

use canopy_store::{Store, hosts};
use canopy_types::{HostId, Result};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How old what was read may be where other processes write too; their agents look that often themselves.
const AGE: Duration = Duration::from_millis(500);

type Known = Arc<HashMap<HostId, i64>>;

#[derive(Default)]
pub struct Revisions {
    last: Mutex<Option<Read>>,
}

struct Read {
    /// Counted before it was read: what was read may be newer, never older.
    commits: u64,
    at: Instant,
    known: Known,
}

impl Revisions {
    /// The host's revision; `None` when there is no such host.
    pub async fn of(&self, store: &Store, host: HostId) -> Result<Option<i64>> {
        if let Some(revision) = self.all(store).await?.get(&host) {
            return Ok(Some(*revision));
        }
        // Another controller may have registered it just now.
        store.read(move |c| Box::pin(hosts::revision(c, host))).await
    }

    async fn all(&self, store: &Store) -> Result<Known> {
        let mut last = self.last.lock().await;
        let commits = *store.commits().borrow();
        if let Some(read) = &*last
            && read.commits == commits
            && (store.is_only_writer() || read.at.elapsed() < AGE)
        {
            return Ok(read.known.clone());
        }
        let at = Instant::now();
        let known: Known = Arc::new(store.read(move |c| Box::pin(hosts::revisions(c))).await?);
        *last = Some(Read { commits, at, known: known.clone() });
        Ok(known)
    }
}
