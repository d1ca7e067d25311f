//! Deleting: wanted at once, finished when the host has nothing of it any more.

use super::change::{by, check, locked, permit, save};
use super::list::find;
use crate::{App, Ctx};
use canopy_authz::{Action, actions::compute as actions};
use canopy_store::Conn;
use canopy_store::events::{self, NewEvent};
use canopy_store::servers::ServerRow;
use canopy_types::server::rules::{self, Rule};
use canopy_types::server::{Hold, How, Phase};
use canopy_types::{Result, ServerId, Timestamp};

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
                if before.deleting || softly && before.hold == Hold::SoftDeleted {
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
                if server.host_id.is_none() { finish(c, server, now).await } else { Ok(()) }
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

/// Gives everything back and leaves the tombstone. In the lock order quota → group → host → address.
pub(super) async fn finish(conn: &mut Conn, mut server: ServerRow, now: Timestamp) -> Result<()> {
    let spend = canopy_store::quota::Spend {
        project_id: server.project_id.clone(),
        user_id: server.user_id.clone(),
        zone: server.availability_zone.clone(),
        amounts: super::held(&server.flavor, &server.operation),
    };
    canopy_store::quota::refund(conn, &spend).await?;
    canopy_store::server_groups::leave(conn, server.id).await?;
    canopy_store::hosts::release(conn, server.id, now).await?;
    if let Some(resize) = &server.operation.resize {
        canopy_store::consumers::release(conn, resize.migration, now).await?;
    }
    if let Some(image) = server.operation.snapshot {
        crate::image::discard(conn, &server.user_id, image, now).await?;
    }
    crate::network::release_server_ports(conn, server.id, now).await?;
    crate::compute::consoles::forget(conn, server.id).await?;
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
