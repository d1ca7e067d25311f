//! Hosts as operators see them: services that are up or down, enabled or disabled, and hypervisors with what
//! they have and what is used.

use crate::access;
use crate::{App, Ctx};
use canopy_authz::{Action, Target, actions::compute as actions};
use canopy_store::events::{self, NewEvent};
use canopy_store::fleet::FleetRows;
use canopy_store::hosts::HostRow;
use canopy_store::servers::ServerRow;
use canopy_types::resources::{DISK_GB, MEMORY_MB, VCPU};
use canopy_types::{Error, HostId, ProjectId, Result, ServerId, Timestamp, time::SECOND};
use std::collections::HashMap;
use std::sync::Arc;

/// A host whose agent was not heard for this long is down and gets no new servers.
pub const SILENT_AFTER_SECONDS: i64 = 60;

#[derive(Clone, Debug)]
pub struct Host {
    pub row: HostRow,
    pub up: bool,
    /// Of its aggregates, else where it registered.
    pub zone: String,
    pub aggregates: Vec<i64>,
    /// (total, used) per class.
    pub amounts: HashMap<String, (i64, i64)>,
    /// Live servers on it.
    pub servers: i64,
}

impl Host {
    pub fn total(&self, class: &str) -> i64 {
        self.amounts.get(class).map_or(0, |(total, _)| *total)
    }

    pub fn used(&self, class: &str) -> i64 {
        self.amounts.get(class).map_or(0, |(_, used)| *used)
    }

    pub fn free_memory_mib(&self) -> i64 {
        self.total(MEMORY_MB) - self.used(MEMORY_MB)
    }

    pub fn free_disk_gib(&self) -> i64 {
        self.total(DISK_GB) - self.used(DISK_GB)
    }

    pub fn vcpus(&self) -> i64 {
        self.total(VCPU)
    }
}

/// Whether its agent was heard lately, and no operator says otherwise.
pub fn is_up(host: &HostRow, now: Timestamp) -> bool {
    !host.forced_down && is_heard(host.seen_at, now)
}

pub fn is_heard(seen_at: Timestamp, now: Timestamp) -> bool {
    (now.0 - seen_at.0) / SECOND <= SILENT_AFTER_SECONDS
}

/// The zone of each host: an aggregate's, else the one that it registered in.
pub fn zones(rows: &FleetRows) -> HashMap<HostId, String> {
    let of_aggregates: HashMap<i64, &str> =
        rows.aggregates.iter().filter_map(|a| Some((a.number, a.zone()?))).collect();
    let mut zones: HashMap<HostId, String> =
        rows.hosts.iter().map(|host| (host.id, host.zone.clone())).collect();
    for (aggregate, host, _) in &rows.memberships {
        if let (Some(zone), Some(known)) = (of_aggregates.get(aggregate), zones.get_mut(host)) {
            (*zone).clone_into(known);
        }
    }
    zones
}

/// Every host, in the order in which they registered.
pub async fn all(app: &App, ctx: &Ctx, action: Action) -> Result<Vec<Host>> {
    access::require(app, ctx, action, &Target::default())?;
    unchecked(app).await
}

/// The same for use cases that have asked a policy of their own.
pub(crate) async fn unchecked(app: &App) -> Result<Vec<Host>> {
    let now = app.now();
    let (rows, servers) = app
        .store
        .read(|c| {
            Box::pin(async move {
                let rows = canopy_store::fleet::load(c, None).await?;
                Ok((rows, canopy_store::servers::count_by_host(c).await?))
            })
        })
        .await?;
    let mut zones = zones(&rows);
    let mut amounts: HashMap<HostId, HashMap<String, (i64, i64)>> = HashMap::new();
    for row in &rows.inventories {
        amounts
            .entry(HostId(row.provider_id.0))
            .or_default()
            .insert(row.class.clone(), (row.total, row.used));
    }
    let aggregates = |id: HostId| {
        rows.memberships.iter().filter(|(_, host, _)| *host == id).map(|(number, ..)| *number).collect()
    };
    Ok(rows
        .hosts
        .iter()
        .map(|row| Host {
            up: is_up(row, now),
            zone: zones.remove(&row.id).unwrap_or_default(),
            aggregates: aggregates(row.id),
            amounts: amounts.remove(&row.id).unwrap_or_default(),
            servers: servers.get(&row.id).copied().unwrap_or(0),
            row: row.clone(),
        })
        .collect())
}

/// A host's servers. The caller has asked whether hosts may be seen.
pub async fn rows(app: &App, host: HostId) -> Result<Vec<Arc<ServerRow>>> {
    let recent = app.store.recent();
    app.store
        .read(move |c| Box::pin(async move { canopy_store::servers::on_host(c, &recent, host).await }))
        .await
}

/// Their ids and domain names.
pub async fn servers(app: &App, host: HostId) -> Result<Vec<(ServerId, String)>> {
    let rows = rows(app, host).await?;
    Ok(rows.iter().map(|server| (server.id, server.domain_name())).collect())
}

/// What an operator changes of a host's service.
#[derive(Clone, Debug)]
pub enum ServiceChange {
    Enable,
    /// With the reason, when one was given.
    Disable(Option<String>),
    ForceDown(bool),
}

pub fn no_service(host: &str) -> Error {
    let shown: String = host.chars().take(255).collect();
    Error::not_found("service.not_found", format!("Could not find binary nova-compute on host {shown}."))
}

/// A disabled host keeps its servers and gets no new ones.
pub async fn change_service(app: &App, ctx: &Ctx, host: &str, change: ServiceChange) -> Result<()> {
    access::require(app, ctx, actions::SERVICES_UPDATE, &Target::default())?;
    let (name, now) = (host.to_owned(), app.now());
    let host = app
        .store
        .write("service.update", move |c| {
            let (name, change) = (name.clone(), change.clone());
            Box::pin(async move {
                let host = canopy_store::hosts::by_name(c, &name).await?.ok_or_else(|| no_service(&name))?;
                match change {
                    ServiceChange::Enable => canopy_store::hosts::set_closed(c, host.id, None).await?,
                    ServiceChange::Disable(reason) => {
                        let reason = reason.unwrap_or_default();
                        canopy_store::hosts::set_closed(c, host.id, Some(&reason)).await?;
                    }
                    ServiceChange::ForceDown(down) => {
                        canopy_store::hosts::set_forced_down(c, host.id, down).await?;
                    }
                }
                changed(c, "host.service", host.id, now).await?;
                Ok(host.id)
            })
        })
        .await?;
    app.placement.touch(host);
    Ok(())
}

/// Tells every controller to look at the host again.
pub(crate) async fn changed(
    c: &mut canopy_store::Conn,
    kind: &str,
    host: HostId,
    now: Timestamp,
) -> Result<()> {
    let event = NewEvent {
        at: now,
        kind,
        // Hosts belong to nobody.
        project_id: &ProjectId(String::new()),
        subject: host.to_string(),
        host_id: Some(host),
    };
    events::append(c, &event).await.map(|_| ())
}
