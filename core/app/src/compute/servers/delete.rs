//! Deleting: wanted at once, finished when the host has nothing of it any more.

use super::change::{check, locked, permit, save};
use super::list::find;
use crate::{App, Ctx};
use canopy_authz::{Action, actions::compute as actions};
use canopy_store::Conn;
use canopy_store::events::{self, NewEvent};
use canopy_store::servers::ServerRow;
use canopy_types::server::Phase;
use canopy_types::server::rules::{self, Rule};
use canopy_types::{Result, ServerId, Timestamp};

/// Safe to ask twice: the second finds it deleting, or gone.
pub async fn delete(app: &App, ctx: &Ctx, id: ServerId) -> Result<()> {
    begin(app, ctx, id, (&rules::DELETE, actions::SERVERS_DELETE)).await
}

/// The same by another right.
pub async fn force_delete(app: &App, ctx: &Ctx, id: ServerId) -> Result<()> {
    begin(app, ctx, id, (&rules::FORCE_DELETE, actions::SERVERS_FORCE_DELETE)).await
}

async fn begin(app: &App, ctx: &Ctx, id: ServerId, (rule, policy): (&'static Rule, Action)) -> Result<()> {
    let server = find(app, ctx, id).await?;
    let may = permit(app, ctx, &server, rule, policy)?;
    let (now, ctx, host) = (app.now(), ctx.clone(), server.host_id);
    app.store
        .write("server.delete", move |c| {
            let ctx = ctx.clone();
            Box::pin(async move {
                let before = locked(c, id).await?;
                if before.deleting {
                    return Ok(());
                }
                check(&before, rule, may)?;
                let mut server = ServerRow { deleting: true, ..before.clone() };
                save(c, &ctx, rule, &before, &mut server, now).await?;
                // Without one, no host has anything of it.
                if server.host_id.is_none() { finish(c, server, now).await } else { Ok(()) }
            })
        })
        .await?;
    if let Some(host) = host {
        app.placement.touch(host);
    }
    Ok(())
}

/// Gives everything back and leaves the tombstone. In the lock order quota → group → host → address.
pub(super) async fn finish(conn: &mut Conn, mut server: ServerRow, now: Timestamp) -> Result<()> {
    let spend = canopy_store::quota::Spend {
        project_id: server.project_id.clone(),
        user_id: server.user_id.clone(),
        zone: server.availability_zone.clone(),
        amounts: super::charges(&server.flavor),
    };
    canopy_store::quota::refund(conn, &spend).await?;
    canopy_store::server_groups::leave(conn, server.id).await?;
    canopy_store::hosts::release(conn, server.id, now).await?;
    crate::network::release_server_ports(conn, server.id, now).await?;
    // Whatever was open is over.
    canopy_store::server_actions::finish(conn, server.id, i64::MAX, None, now).await?;
    server.phase = Phase::Gone;
    server.deleted_at = Some(now);
    server.updated_at = now;
    canopy_store::servers::update(conn, &server).await?;
    if let Some(host) = server.host_id {
        canopy_store::hosts::touch(conn, host).await?;
    }
    let event = NewEvent {
        at: now,
        kind: "server.delete",
        project_id: &server.project_id,
        subject: server.id.to_string(),
        host_id: server.host_id,
    };
    events::append(conn, &event).await.map(|_| ())
}
