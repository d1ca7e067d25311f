//! Deleting: wanted at once, finished when the host has nothing of it any more.

use super::list::find;
use crate::access;
use crate::{App, Ctx};
use canopy_authz::actions::compute as actions;
use canopy_store::Conn;
use canopy_store::events::{self, NewEvent};
use canopy_store::servers::ServerRow;
use canopy_types::server::Phase;
use canopy_types::{Result, ServerId, Timestamp};

/// Safe to ask twice: the second finds it deleting, or gone.
pub async fn delete(app: &App, ctx: &Ctx, id: ServerId) -> Result<()> {
    let server = find(app, ctx, id).await?;
    access::require(app, ctx, actions::SERVERS_DELETE, &super::target(&server))?;
    let (now, ctx, host) = (app.now(), ctx.clone(), server.host_id);
    app.store
        .write("server.delete", move |c| {
            let ctx = ctx.clone();
            Box::pin(async move {
                let mut server = canopy_store::servers::get_for_update(c, id)
                    .await?
                    .filter(|server| server.deleted_at.is_none())
                    .ok_or_else(|| super::absent(&id.to_string()))?;
                if server.deleting {
                    return Ok(());
                }
                server.deleting = true;
                server.request_id = ctx.request_id.clone();
                server.updated_at = now;
                canopy_store::servers::record_action(
                    c,
                    &server,
                    "delete",
                    &ctx.request_id,
                    &ctx.who.user_id,
                    now,
                )
                .await?;
                match server.host_id {
                    // No host has anything of it.
                    None => finish(c, server, now).await,
                    Some(host) => {
                        canopy_store::servers::update(c, &server).await?;
                        canopy_store::hosts::touch(c, host).await?;
                        let event = NewEvent {
                            at: now,
                            kind: "server.deleting",
                            project_id: &server.project_id,
                            subject: id.to_string(),
                            host_id: Some(host),
                        };
                        events::append(c, &event).await.map(|_| ())
                    }
                }
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
    let charges = super::charges(server.flavor.vcpus, server.flavor.memory_mib);
    canopy_store::quota::refund(conn, &server.project_id, &charges).await?;
    canopy_store::server_groups::leave(conn, server.id).await?;
    canopy_store::hosts::release(conn, server.id, now).await?;
    crate::network::release_server_ports(conn, server.id, now).await?;
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
