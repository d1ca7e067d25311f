//! Security groups of a server: those that its ports carry.

use super::list::find;
use crate::network::security_groups::{self, Full};
use crate::network::{event, rows::Listing};
use crate::{App, Ctx, access};
use canopy_authz::{Action, actions::compute as actions};
use canopy_store::listing::Scope;
use canopy_store::servers::ServerRow;
use canopy_store::{Conn, hosts, ports};
use canopy_types::{Error, Kind, Result, SecurityGroupId, ServerId, Timestamp};
use std::collections::BTreeSet;

/// Each once, with its rules.
pub async fn groups(app: &App, ctx: &Ctx, id: ServerId) -> Result<Vec<Full>> {
    let server = find(app, ctx, id).await?;
    access::require(app, ctx, actions::SERVERS_LIST_SECURITY_GROUPS, &super::target(&server))?;
    let ports = app.store.read(move |c| Box::pin(ports::of_server(c, id))).await?;
    let ids: BTreeSet<SecurityGroupId> = ports.into_iter().flat_map(|port| port.security_groups).collect();
    let all = of_project(app, ctx, &server).await?;
    Ok(all.into_iter().filter(|(group, _)| ids.contains(&group.id)).collect())
}

/// Whether a server of the caller's project can begin with this group, by its id or its name. Every port begins with
/// the default one, and others cannot be made yet.
pub async fn known_group(app: &App, ctx: &Ctx, name: &str) -> Result<()> {
    let project = access::project(ctx)?.clone();
    if name == "default" {
        return Ok(());
    }
    let default = app
        .store
        .read(move |c| Box::pin(async move { canopy_store::security_groups::default_of(c, &project).await }))
        .await?;
    if default.is_some_and(|group| group.id.to_string() == name) {
        return Ok(());
    }
    let message = format!("Security group {} not found for project.", short(name));
    Err(Error::bad_request("server.security_group", message))
}

async fn of_project(app: &App, ctx: &Ctx, server: &ServerRow) -> Result<Vec<Full>> {
    let listing = Listing::all(Scope::Project(server.project_id.clone()));
    let mut all = security_groups::list(app, ctx, listing).await?;
    all.retain(|(group, _)| group.project_id == server.project_id);
    Ok(all)
}

pub async fn add_group(app: &App, ctx: &Ctx, id: ServerId, name: &str) -> Result<()> {
    change(app, ctx, id, actions::SERVERS_ADD_SECURITY_GROUP, name, true).await
}

pub async fn remove_group(app: &App, ctx: &Ctx, id: ServerId, name: &str) -> Result<()> {
    change(app, ctx, id, actions::SERVERS_REMOVE_SECURITY_GROUP, name, false).await
}

async fn change(app: &App, ctx: &Ctx, id: ServerId, policy: Action, name: &str, add: bool) -> Result<()> {
    let server = find(app, ctx, id).await?;
    access::require(app, ctx, policy, &super::target(&server))?;
    let group = named(&of_project(app, ctx, &server).await?, name)?;
    let now = app.now();
    let found = app
        .store
        .write("server.security_group", move |c| Box::pin(async move { apply(c, id, group, add, now).await }))
        .await?;
    if found {
        return Ok(());
    }
    let message = if add {
        format!("instance_id {id} could not be found as device id on any ports")
    } else {
        format!("Security group {} is not associated with the instance {id}", short(name))
    };
    Err(Error::not_found("server.security_group", message))
}

/// By its id or its name in the server's project.
fn named(all: &[Full], name: &str) -> Result<SecurityGroupId> {
    let mut found = all.iter().filter(|(group, _)| group.id.to_string() == name || group.name == name);
    match (found.next(), found.next()) {
        (Some((group, _)), None) => Ok(group.id),
        (None, _) => Err(Error::not_found(
            "server.security_group",
            format!("Security group {} not found for project.", short(name)),
        )),
        (Some(_), Some(_)) => Err(Error::new(
            Kind::Conflict,
            "server.security_group",
            format!(
                "Multiple security groups found matching '{}'. Use an ID to be more specific.",
                short(name)
            ),
        )),
    }
}

fn short(name: &str) -> String {
    name.chars().take(255).collect()
}

/// Whether any port has, or had, the group. Ports without port security carry none.
async fn apply(
    conn: &mut Conn,
    id: ServerId,
    group: SecurityGroupId,
    add: bool,
    now: Timestamp,
) -> Result<bool> {
    if add {
        security_groups::hold(conn, &[group]).await?;
    }
    let mut found = false;
    for port in ports::of_server(conn, id).await? {
        let has = port.security_groups.contains(&group);
        found |= has || add;
        if has == add || add && !port.port_security {
            continue;
        }
        if let Some(host) = port.host_id {
            hosts::touch(conn, host).await?;
        }
        let Some(mut port) = ports::lock(conn, port.id, now).await? else { continue };
        port.security_groups.retain(|one| *one != group);
        if add {
            port.security_groups.push(group);
        }
        ports::save(conn, &port).await?;
        event(conn, now, "port.update", &port.project_id, port.id).await?;
    }
    Ok(found)
}
