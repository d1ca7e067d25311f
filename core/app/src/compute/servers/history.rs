//! What was asked of a server, and how it ended. Kept with the server's tombstone.

use super::list::{absent, find_any};
use crate::access;
use crate::{App, Ctx};
use canopy_authz::actions::compute as actions;
pub use canopy_store::server_actions::ServerAction;
use canopy_types::{Error, Result, ServerId};

/// Newest first. `deleted` finds deleted servers too.
pub async fn history(app: &App, ctx: &Ctx, id: ServerId, deleted: bool) -> Result<Vec<ServerAction>> {
    allowed(app, ctx, id, deleted).await?;
    app.store.read(move |c| Box::pin(canopy_store::server_actions::list(c, id))).await
}

/// One line, and whether the caller may see the steps behind it.
pub async fn history_of(
    app: &App,
    ctx: &Ctx,
    id: ServerId,
    request: &str,
    deleted: bool,
) -> Result<(ServerAction, bool)> {
    let target = allowed(app, ctx, id, deleted).await?;
    let asked = request.to_owned();
    let found = app
        .store
        .read(move |c| Box::pin(async move { canopy_store::server_actions::get(c, id, &asked).await }))
        .await?;
    let shown: String = request.chars().take(255).collect();
    let line = found.ok_or_else(|| {
        Error::not_found("server.action_absent", format!("Action {shown} for instance {id} not found"))
    })?;
    Ok((line, access::allowed(app, ctx, actions::SERVERS_SHOW_EVENTS, &target)))
}

async fn allowed(app: &App, ctx: &Ctx, id: ServerId, deleted: bool) -> Result<canopy_authz::Target> {
    let server = find_any(app, ctx, id).await?;
    if server.deleted_at.is_some() && !deleted {
        return Err(absent(&id.to_string()));
    }
    let target = super::target(&server);
    access::require(app, ctx, actions::SERVERS_LIST_ACTIONS, &target)?;
    Ok(target)
}
