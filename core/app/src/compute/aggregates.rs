//! Host aggregates. One whose metadata names an availability zone makes its hosts that zone's; a host is in
//! one zone at most, and its zone does not change under the servers that run on it.

use crate::access;
use crate::compute::hosts;
use crate::{App, Ctx};
use canopy_authz::{Action, Target, actions::compute as actions};
pub use canopy_store::aggregates::{Aggregate, ZONE};
use canopy_store::{Conn, aggregates as store};
use canopy_types::{Error, HostId, Result, Timestamp};
use std::collections::BTreeMap;

/// An aggregate and the names of its hosts.
#[derive(Clone, Debug)]
pub struct Listed {
    pub aggregate: Aggregate,
    pub hosts: Vec<String>,
}

pub fn absent(id: &str) -> Error {
    let shown: String = id.chars().take(64).collect();
    Error::not_found("aggregate.not_found", format!("Aggregate {shown} could not be found."))
}

fn taken(name: &str) -> Error {
    Error::conflict("aggregate.duplicate", format!("Aggregate {name} already exists."))
}

async fn listed(c: &mut Conn) -> Result<Vec<Listed>> {
    let (aggregates, hosts) = (store::all(c).await?, store::hosts(c, None).await?);
    let names = |number| hosts.iter().filter(|(n, ..)| *n == number).map(|(.., name)| name.clone()).collect();
    Ok(aggregates.into_iter().map(|aggregate| Listed { hosts: names(aggregate.number), aggregate }).collect())
}

pub async fn list(app: &App, ctx: &Ctx) -> Result<Vec<Listed>> {
    access::require(app, ctx, actions::AGGREGATES_LIST, &Target::default())?;
    app.store.read(|c| Box::pin(listed(c))).await
}

pub async fn show(app: &App, ctx: &Ctx, number: i64) -> Result<Listed> {
    access::require(app, ctx, actions::AGGREGATES_SHOW, &Target::default())?;
    one(app, number).await
}

async fn one(app: &App, number: i64) -> Result<Listed> {
    let all = app.store.read(|c| Box::pin(listed(c))).await?;
    all.into_iter()
        .find(|listed| listed.aggregate.number == number)
        .ok_or_else(|| absent(&number.to_string()))
}

pub async fn create(app: &App, ctx: &Ctx, name: String, zone: Option<String>) -> Result<Listed> {
    access::require(app, ctx, actions::AGGREGATES_CREATE, &Target::default())?;
    let new = Aggregate {
        number: 0,
        id: canopy_types::ServerGroupId::random().to_string(),
        name,
        metadata: zone.map(|zone| (ZONE.to_owned(), zone)).into_iter().collect(),
        created_at: app.now(),
        updated_at: None,
    };
    let (written, name) = (new.clone(), new.name.clone());
    let aggregate = app
        .store
        .write("aggregate.create", move |c| {
            let new = written.clone();
            Box::pin(async move { store::insert(c, &new).await })
        })
        .await
        .map_err(|e| if e.code == "store.duplicate" { taken(&name) } else { e })?;
    Ok(Listed { aggregate, hosts: Vec::new() })
}

/// What an operator changes of an aggregate.
#[derive(Clone, Debug)]
pub enum Change {
    Rename {
        name: Option<String>,
        zone: Option<String>,
    },
    /// `None` removes a key.
    Metadata(BTreeMap<String, Option<String>>),
    AddHost(String),
    RemoveHost(String),
}

impl Change {
    fn action(&self) -> Action {
        match self {
            Self::Rename { .. } | Self::Metadata(_) => actions::AGGREGATES_UPDATE,
            Self::AddHost(_) => actions::AGGREGATES_ADD_HOST,
            Self::RemoveHost(_) => actions::AGGREGATES_REMOVE_HOST,
        }
    }
}

pub async fn change(app: &App, ctx: &Ctx, number: i64, change: Change) -> Result<Listed> {
    access::require(app, ctx, change.action(), &Target::default())?;
    let now = app.now();
    let name = match &change {
        Change::Rename { name: Some(name), .. } => name.clone(),
        _ => String::new(),
    };
    let touched = app
        .store
        .write("aggregate.update", move |c| {
            let change = change.clone();
            Box::pin(async move {
                let aggregate =
                    store::get_for_update(c, number).await?.ok_or_else(|| absent(&number.to_string()))?;
                apply(c, aggregate, change, now).await
            })
        })
        .await
        .map_err(|e| if e.code == "store.duplicate" { taken(&name) } else { e })?;
    touched.into_iter().for_each(|host| app.placement.touch(host));
    one(app, number).await
}

/// Answers with the hosts that it concerns.
async fn apply(
    c: &mut Conn,
    mut aggregate: Aggregate,
    change: Change,
    now: Timestamp,
) -> Result<Vec<HostId>> {
    let before = aggregate.zone().map(str::to_owned);
    aggregate.updated_at = Some(now);
    match change {
        Change::AddHost(name) => return add_host(c, &aggregate, &name, now).await,
        Change::RemoveHost(name) => return remove_host(c, &aggregate, &name, now).await,
        Change::Rename { name, zone } => {
            if let Some(name) = name {
                aggregate.name = name;
            }
            if let Some(zone) = zone {
                aggregate.metadata.insert(ZONE.into(), zone);
            }
        }
        Change::Metadata(metadata) => {
            for (key, value) in metadata {
                match value {
                    Some(value) => aggregate.metadata.insert(key, value),
                    None => aggregate.metadata.remove(&key),
                };
            }
        }
    }
    let hosts: Vec<HostId> = members(c, aggregate.number).await?;
    if aggregate.zone().map(str::to_owned) != before {
        zone_may_change(c, &aggregate, &hosts, "update").await?;
    }
    store::update(c, &aggregate).await?;
    for host in &hosts {
        hosts::changed(c, "host.aggregates", *host, now).await?;
    }
    Ok(hosts)
}

async fn members(c: &mut Conn, number: i64) -> Result<Vec<HostId>> {
    Ok(store::hosts(c, None).await?.into_iter().filter(|(n, ..)| *n == number).map(|(_, id, _)| id).collect())
}

fn refused(aggregate: &Aggregate, action: &str, reason: &str) -> Error {
    let (number, action) = (aggregate.number, action.to_owned());
    Error::bad_request(
        "aggregate.action",
        format!("Cannot perform action '{action}' on aggregate {number}. Reason: {reason}."),
    )
}

/// These hosts are, or come to be, in the aggregate: its zone must be their only one and hold no surprise for
/// servers that run there.
async fn zone_may_change(c: &mut Conn, aggregate: &Aggregate, hosts: &[HostId], action: &str) -> Result<()> {
    let all = store::all(c).await?;
    let memberships = store::hosts(c, None).await?;
    for host in hosts {
        let other = memberships.iter().filter(|(n, id, _)| id == host && *n != aggregate.number).find_map(
            |(number, ..)| {
                let zone = all.iter().find(|a| a.number == *number)?.zone()?;
                (aggregate.zone().is_some_and(|own| own != zone)).then(|| zone.to_owned())
            },
        );
        if let Some(other) = other {
            let name = memberships.iter().find(|(_, id, _)| id == host).map_or("", |(.., name)| name);
            let reason = format!("One or more hosts already in availability zone(s) {other} ({name} is one)");
            return Err(refused(aggregate, action, &reason));
        }
    }
    for host in hosts {
        if canopy_store::servers::any_on_host(c, *host).await? {
            let reason = "One or more hosts contain instances in this zone";
            return Err(refused(aggregate, action, reason));
        }
    }
    Ok(())
}

async fn add_host(c: &mut Conn, aggregate: &Aggregate, name: &str, now: Timestamp) -> Result<Vec<HostId>> {
    let host = canopy_store::hosts::by_name(c, name).await?.ok_or_else(|| no_host(name))?;
    let conflict = |e: Error| match e.code {
        "aggregate.action" => Error::conflict(e.code, e.message),
        _ => e,
    };
    let moves = aggregate.zone().is_some_and(|zone| zone != host.zone);
    if !store::add_host(c, aggregate.number, host.id).await? {
        let text = format!("Aggregate {} already has host {name}.", aggregate.number);
        return Err(Error::conflict("aggregate.host_exists", text));
    }
    if moves {
        zone_may_change(c, aggregate, &[host.id], "add_host_to_aggregate").await.map_err(conflict)?;
    }
    store::update(c, aggregate).await?;
    // Placement knows it too, so that hosts can share providers through it.
    canopy_store::traits::change_aggregate(c, host.id.into(), &aggregate.id, true).await?;
    hosts::changed(c, "host.aggregates", host.id, now).await?;
    Ok(vec![host.id])
}

async fn remove_host(c: &mut Conn, aggregate: &Aggregate, name: &str, now: Timestamp) -> Result<Vec<HostId>> {
    let host = canopy_store::hosts::by_name(c, name).await?.ok_or_else(|| no_host(name))?;
    if !store::remove_host(c, aggregate.number, host.id).await? {
        let text = format!("Aggregate {} has no host {name}.", aggregate.number);
        return Err(Error::not_found("aggregate.host_not_found", text));
    }
    if aggregate.zone().is_some_and(|zone| zone != host.zone)
        && canopy_store::servers::any_on_host(c, host.id).await?
    {
        let reason = "One or more hosts contain instances in this zone";
        let refused = refused(aggregate, "remove_host_from_aggregate", reason);
        return Err(Error::conflict(refused.code, refused.message));
    }
    store::update(c, aggregate).await?;
    canopy_store::traits::change_aggregate(c, host.id.into(), &aggregate.id, false).await?;
    hosts::changed(c, "host.aggregates", host.id, now).await?;
    Ok(vec![host.id])
}

fn no_host(name: &str) -> Error {
    let shown: String = name.chars().take(255).collect();
    Error::not_found("host.not_found", format!("Compute host {shown} could not be found."))
}

pub async fn delete(app: &App, ctx: &Ctx, number: i64) -> Result<()> {
    access::require(app, ctx, actions::AGGREGATES_DELETE, &Target::default())?;
    app.store
        .write("aggregate.delete", move |c| {
            Box::pin(async move {
                let aggregate =
                    store::get_for_update(c, number).await?.ok_or_else(|| absent(&number.to_string()))?;
                if !members(c, number).await?.is_empty() {
                    return Err(refused(&aggregate, "delete", "Host aggregate is not empty"));
                }
                store::delete(c, number).await
            })
        })
        .await
}
