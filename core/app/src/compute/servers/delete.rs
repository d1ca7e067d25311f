//! Deleting: wanted at once, finished when the host has nothing of it any more.

use super::change::{by, check, locked, permit, save};
use super::list::find;
use crate::{App, Ctx};
use canopy_authz::{Action, actions::compute as actions};
use canopy_store::Conn;
use canopy_store::events::{self, NewEvent};
use canopy_store::quota::Spend;
use canopy_store::servers::ServerRow;
use canopy_types::resources::Amounts;
use canopy_types::server::rules::{self, Rule};
use canopy_types::server::{Hold, How, Phase};
use canopy_types::{ConsumerId, HostId, ProjectId, Result, ServerId, Timestamp, UserId};
use std::collections::{BTreeMap, BTreeSet};

/// Safe to ask twice: the second finds it deleting, or gone.
pub async fn delete(app: &App, ctx: &Ctx, id: ServerId) -> Result<()> {
    let softly = app.settings.reclaim_seconds > 0;
    begin(app, ctx, id, (&rules::DELETE, actions::SERVERS_DELETE), softly).await
}

/// At once and for good, by another right.
pub async fn force_delete(app: &App, ctx: &Ctx, id: ServerId) -> Result<()> {
    begin(app, ctx, id, (&rules::FORCE_DELETE, actions::SERVERS_FORCE_DELETE), false).await
}

/// `softly`: what has settled is only switched off, and can be restored for a while.
async fn begin(
    app: &App,
    ctx: &Ctx,
    id: ServerId,
    (rule, policy): (&'static Rule, Action),
    softly: bool,
) -> Result<()> {
    let server = find(app, ctx, id).await?;
    let may = permit(app, ctx, &server, rule, policy)?;
    let (now, ctx, host) = (app.now(), ctx.clone(), server.host_id);
    app.store
        .write("server.delete", move |c| {
            let ctx = ctx.clone();
            Box::pin(async move {
                let before = locked(c, id).await?;
                // What could not be switched off is deleted for good.
                let failed = before.derived().vm_state == "error";
                if before.deleting || softly && before.hold == Hold::SoftDeleted && !failed {
                    return Ok(());
                }
                check(&before, rule, may)?;
                if softly && settled(&before) {
                    let mut server = ServerRow {
                        hold: Hold::SoftDeleted,
                        hold_since: None,
                        power: before.power.next(false, How::SoftDelete),
                        ..before.clone()
                    };
                    return save(c, by(&ctx), rule, &before, &mut server, now).await;
                }
                let mut server = ServerRow { deleting: true, ..before.clone() };
                save(c, by(&ctx), rule, &before, &mut server, now).await?;
                // Without one, no host has anything of it.
                if server.host_id.is_none() { finish(c, &[server], now).await } else { Ok(()) }
            })
        })
        .await?;
    if let Some(host) = host {
        app.placement.touch(host);
    }
    Ok(())
}

/// Whether there is something to restore: it ran once, and nothing else is to be decided about it.
fn settled(server: &ServerRow) -> bool {
    let state = server.derived();
    let whole = matches!(state.vm_state, "active" | "stopped" | "paused" | "suspended" | "shelved");
    whole && state.task_state.is_none() && server.host_id.is_some() && server.launched_at.is_some()
}

/// Servers that are finished together at most.
const TOGETHER: usize = 200;

/// Gives everything back and leaves the tombstones. In the lock order quota → group → host → address.
///
/// What many servers hold of the same is given back in one statement: projects are cleared as a whole, and hosts tell
/// of many ends at once.
pub(super) async fn finish(conn: &mut Conn, servers: &[ServerRow], now: Timestamp) -> Result<()> {
    for servers in servers.chunks(TOGETHER) {
        finish_some(conn, servers, now).await?;
    }
    Ok(())
}

async fn finish_some(conn: &mut Conn, servers: &[ServerRow], now: Timestamp) -> Result<()> {
    for spend in spent(servers) {
        canopy_store::quota::refund(conn, &spend).await?;
    }
    let ids: Vec<ServerId> = servers.iter().map(|server| server.id).collect();
    canopy_store::server_groups::leave(conn, &ids).await?;
    let resizes = servers.iter().filter_map(|server| server.operation.resize.as_ref());
    let consumers: Vec<ConsumerId> =
        ids.iter().map(|id| ConsumerId::from(*id)).chain(resizes.map(|resize| resize.migration)).collect();
    canopy_store::consumers::release(conn, &consumers, now).await?;
    for server in servers {
        if let Some(image) = server.operation.snapshot {
            crate::image::discard(conn, &server.user_id, image, now).await?;
        }
    }
    crate::network::release_server_ports(conn, &ids, now).await?;
    crate::compute::consoles::forget(conn, &ids).await?;
    // Whatever was open is over.
    canopy_store::server_actions::finish_all(conn, &ids, now).await?;
    for server in servers {
        let tombstone =
            ServerRow { phase: Phase::Gone, deleted_at: Some(now), updated_at: now, ..server.clone() };
        canopy_store::servers::update(conn, &tombstone).await?;
        let event = NewEvent {
            at: now,
            kind: "server.delete",
            project_id: &server.project_id,
            subject: server.id.to_string(),
            host_id: server.host_id,
        };
        events::append(conn, &event).await?;
    }
    let hosts: BTreeSet<HostId> = servers.iter().filter_map(|server| server.host_id).collect();
    for host in hosts {
        canopy_store::hosts::touch(conn, host).await?;
    }
    Ok(())
}

/// What they hold of quotas, once for each holder and zone.
fn spent(servers: &[ServerRow]) -> Vec<Spend> {
    let mut all: BTreeMap<(&ProjectId, &UserId, &str), Amounts> = BTreeMap::new();
    for server in servers {
        let amounts =
            all.entry((&server.project_id, &server.user_id, &server.availability_zone)).or_default();
        for (resource, amount) in super::held(&server.flavor, &server.operation) {
            *amounts.entry(resource).or_default() += amount;
        }
    }
    let spend = |((project, user, zone), amounts): ((&ProjectId, &UserId, &str), Amounts)| Spend {
        project_id: project.clone(),
        user_id: user.clone(),
        zone: zone.to_owned(),
        amounts,
    };
    all.into_iter().map(spend).collect()
}
