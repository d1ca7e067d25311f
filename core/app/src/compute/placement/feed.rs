//! Keeps what placement knows true to the store, by reading only what changed.
//!
//! Events name the hosts that other commits concerned, this process' own ones are told directly, and hosts
//! whose silence is about to matter are looked at again. Now and then everything is read, should anything
//! have been missed.

use crate::App;
use crate::compute::fleet::{Facts, changes, facts};
use crate::compute::hosts::SILENT_AFTER_SECONDS;
use crate::compute::server_groups::DELETED;
use canopy_placement::Change;
use canopy_store::events::{self, Cursor, Event};
use canopy_store::fleet as rows;
use canopy_types::{HostId, Result, ServerGroupId, ServerId, time::SECOND};
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// Hosts of one statement.
const CHUNK: usize = 200;
/// Events of one statement; a full answer is followed by another.
const EVENTS: i64 = 500;
/// From this many hosts on, reading all is as cheap.
const MANY: usize = 2_000;
/// Everything is read after this long, whatever events said.
const RESYNC: Duration = Duration::from_secs(60);
/// Between looks at who has fallen silent.
const SILENCE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Feed {
    known: HashMap<HostId, Facts>,
    since: Cursor,
    synced: Option<Instant>,
    looked: Option<Instant>,
}

/// What was learnt.
#[derive(Default)]
pub(super) struct News {
    pub(super) changes: Vec<Change>,
    /// Servers that have ended.
    pub(super) gone: Vec<ServerId>,
}

/// The event of a server that holds nothing any more.
const SERVER_GONE: &str = "server.delete";

impl Feed {
    /// What changed since the last call, these hosts read again. On an error nothing was learnt, and the next
    /// call learns it.
    pub(super) async fn changes(&mut self, app: &App, touched: &BTreeSet<HostId>) -> Result<News> {
        let all = self.synced.is_none_or(|at| at.elapsed() > RESYNC);
        let (events, since) =
            if self.synced.is_some() { follow(app, self.since).await? } else { Default::default() };
        let mut hosts = touched.clone();
        hosts.extend(events.iter().filter_map(|event| event.host_id));
        if self.looked.is_none_or(|at| at.elapsed() > SILENCE) {
            let before = app.now().0 - SILENT_AFTER_SECONDS * SECOND;
            let silent = self.known.values().filter(|facts| facts.seen_at.0 < before);
            hosts.extend(silent.map(|facts| facts.host.id));
        }
        let (mut fresh, since) = if all || hosts.len() > MANY {
            let (head, fresh) = everything(app).await?;
            hosts = fresh.keys().chain(self.known.keys()).copied().collect();
            (fresh, since.max(head))
        } else {
            (some(app, &hosts).await?, since)
        };
        // Nothing fails from here on.
        let mut news = News::default();
        for event in &events {
            match event.kind.as_str() {
                DELETED => news.changes.extend(self.group_gone(&event.subject)),
                SERVER_GONE => news.gone.extend(event.subject.parse::<ServerId>().ok()),
                _ => {}
            }
        }
        for id in hosts {
            let now = fresh.remove(&id);
            changes(self.known.get(&id), now.as_ref(), &mut news.changes);
            match now {
                Some(now) => self.known.insert(id, now),
                None => self.known.remove(&id),
            };
        }
        let now = Some(Instant::now());
        if all {
            self.synced = now;
        }
        self.looked = now;
        if since > self.since {
            self.since = since;
            news.changes.push(Change::Revision { revision: since.revision });
        }
        Ok(news)
    }

    /// A group that is gone counts nowhere any more.
    fn group_gone(&mut self, id: &str) -> Option<Change> {
        let group: ServerGroupId = id.parse().ok()?;
        for facts in self.known.values_mut() {
            facts.groups.remove(&group);
        }
        Some(Change::GroupRemoved { group: id.to_owned() })
    }
}

/// All events after the cursor.
async fn follow(app: &App, mut since: Cursor) -> Result<(Vec<Event>, Cursor)> {
    let mut all = Vec::new();
    loop {
        let read = app.store.read(move |c| Box::pin(async move { events::follow(c, since, EVENTS).await }));
        let (mut events, reached) = read.await?;
        since = reached;
        let last = i64::try_from(events.len()).is_ok_and(|n| n < EVENTS);
        all.append(&mut events);
        if last {
            return Ok((all, since));
        }
    }
}

async fn some(app: &App, hosts: &BTreeSet<HostId>) -> Result<HashMap<HostId, Facts>> {
    let hosts: Vec<HostId> = hosts.iter().copied().collect();
    let mut fresh = HashMap::new();
    for chunk in hosts.chunks(CHUNK) {
        let (ids, now) = (chunk.to_vec(), app.now());
        let read = app.store.read(move |c| Box::pin(async move { rows::load(c, Some(&ids)).await })).await?;
        fresh.extend(facts(&read, now));
    }
    Ok(fresh)
}

async fn everything(app: &App) -> Result<(Cursor, HashMap<HostId, Facts>)> {
    let now = app.now();
    let read = app.store.read(|c| {
        Box::pin(async move {
            // First: what commits in between is read twice rather than never.
            let since = events::head(c).await?;
            Ok((since, rows::load(c, None).await?))
        })
    });
    let (since, read) = read.await?;
    Ok((since, facts(&read, now)))
}
