//! The snapshot of hosts that decisions are made on.
//!
//! Rebuilt when this process has committed something since, and at least every [`MAX_AGE`], so that a
//! second controller's commits are seen too. A stale snapshot costs a second look, never an overbooking:
//! the claim checks capacity when it commits.

use crate::App;
use canopy_placement::{Fleet, Host, ResourceColumn};
use canopy_types::{Result, time::SECOND};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const MAX_AGE: Duration = Duration::from_millis(250);
/// A host whose agent was not heard for this long gets no new servers.
pub const SILENT_AFTER_SECONDS: i64 = 60;

#[derive(Default)]
pub struct FleetCache {
    last: Mutex<Option<(u64, Instant, Arc<Fleet>)>>,
}

pub async fn snapshot(app: &App) -> Result<Arc<Fleet>> {
    let commits = *app.store.commits().borrow();
    if let Ok(last) = app.fleet.last.lock()
        && let Some((at, when, fleet)) = &*last
        && *at == commits
        && when.elapsed() < MAX_AGE
    {
        return Ok(fleet.clone());
    }
    let fleet = Arc::new(read(app).await?);
    if let Ok(mut last) = app.fleet.last.lock() {
        *last = Some((commits, Instant::now(), fleet.clone()));
    }
    Ok(fleet)
}

async fn read(app: &App) -> Result<Fleet> {
    let now = app.now();
    let (hosts, inventories) = app.store.read(|c| Box::pin(canopy_store::hosts::all(c))).await?;
    let mut classes: Vec<&str> = inventories.iter().map(|row| row.class.as_str()).collect();
    classes.sort_unstable();
    classes.dedup();
    let resources = classes
        .into_iter()
        .map(|class| {
            let of = |value: fn(&canopy_store::hosts::InventoryRow) -> i64| {
                hosts
                    .iter()
                    .map(|host| {
                        inventories
                            .iter()
                            .find(|row| row.host_id == host.id && row.class == class)
                            .map_or(0, value)
                    })
                    .collect()
            };
            ResourceColumn::new(class, of(canopy_store::hosts::InventoryRow::capacity), of(|row| row.used))
        })
        .collect();
    let revision = hosts.iter().map(|host| host.revision).sum();
    let hosts = hosts
        .into_iter()
        .map(|host| {
            let silent = (now.0 - host.seen_at.0) / SECOND;
            let closed = host.closed.or_else(|| {
                (silent > SILENT_AFTER_SECONDS).then(|| format!("its agent has been silent for {silent} s"))
            });
            Host { closed, ..Host::new(host.id, host.name, host.zone) }
        })
        .collect();
    Ok(Fleet { revision, hosts, resources, ..Fleet::default() })
}
