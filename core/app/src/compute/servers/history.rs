//! What was asked of a server, and how it ended. Kept with the server's tombstone.

use super::list::{absent, find_any};
use crate::access;
use crate::{App, Ctx};
use canopy_authz::actions::compute as actions;
pub use canopy_store::server_actions::{ServerAction, Span};
use canopy_types::{Error, Page, Result, ServerId};

/// One line, with what stands in other tables.
pub struct Told {
    pub line: ServerAction,
    /// Of the host, for those who may see what concerns it.
    pub host_name: Option<String>,
    /// Whether the caller may see all of the steps behind it.
    pub steps: bool,
}

/// Newest first. `deleted` finds deleted servers too.
pub async fn history(
    app: &App,
    ctx: &Ctx,
    id: ServerId,
    deleted: bool,
    span: Span,
    page: Page,
) -> Result<Vec<ServerAction>> {
    allowed(app, ctx, id, deleted).await?;
    app.store
        .read(move |c| Box::pin(async move { canopy_store::server_actions::list(c, id, span, &page).await }))
        .await
}

pub async fn history_of(app: &App, ctx: &Ctx, id: ServerId, request: &str, deleted: bool) -> Result<Told> {
    let target = allowed(app, ctx, id, deleted).await?;
    let steps = access::allowed(app, ctx, actions::SERVERS_SHOW_EVENTS, &target);
    let asked = request.to_owned();
    let (found, hosts) = app
        .store
        .read(move |c| {
            Box::pin(async move {
                let line = canopy_store::server_actions::get(c, id, &asked).await?;
                let hosts = if steps { canopy_store::hosts::all(c).await?.0 } else { Vec::new() };
                Ok((line, hosts))
            })
        })
        .await?;
    let shown: String = request.chars().take(255).collect();
    let line = found.ok_or_else(|| {
        Error::not_found("server.action_absent", format!("Action {shown} for instance {id} not found"))
    })?;
    let host = hosts.into_iter().find(|host| Some(host.id) == line.host_id);
    Ok(Told { line, host_name: host.map(|host| host.name), steps })
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
