//! The one way an existing server is changed: looked up, allowed, checked against the table of states, edited
//! and recorded in one transaction.
//!
//! What a client may ask in which state stands in [`canopy_types::server::rules`]; nothing here or in a use
//! case decides it again. A change that the host must see raises the host's revision; one that waits for the
//! host stands open in the server's history until the host has reported it.

use super::list::find;
use crate::access;
use crate::{App, Ctx};
use canopy_authz::{Action, actions::compute as actions};
use canopy_store::Conn;
use canopy_store::events::{self, NewEvent};
use canopy_store::server_actions;
use canopy_store::servers::ServerRow;
use canopy_types::server::rules::{self, Rule};
use canopy_types::{Error, ImageId, RequestId, Result, ServerId, Timestamp, UserId};

/// Applies `edit` to the server's row, if `policy` and `rule` allow it. Returns the row as it was and as it is.
pub(super) async fn change<F>(
    app: &App,
    ctx: &Ctx,
    id: ServerId,
    asked: (&'static Rule, Action),
    edit: F,
) -> Result<(ServerRow, ServerRow)>
where
    F: Fn(&mut ServerRow) -> Result<()> + Clone + Send + Sync + 'static,
{
    change_with(app, ctx, id, asked, Vec::new(), edit).await
}

/// The same with images that the edit names: they are held, or found to be gone.
pub(super) async fn change_with<F>(
    app: &App,
    ctx: &Ctx,
    id: ServerId,
    (rule, policy): (&'static Rule, Action),
    contents: Vec<(ImageId, String)>,
    edit: F,
) -> Result<(ServerRow, ServerRow)>
where
    F: Fn(&mut ServerRow) -> Result<()> + Clone + Send + Sync + 'static,
{
    let server = find(app, ctx, id).await?;
    let may = permit(app, ctx, &server, rule, policy)?;
    let (now, ctx) = (app.now(), ctx.clone());
    app.store
        .write("server.change", move |c| {
            let (ctx, edit, contents) = (ctx.clone(), edit.clone(), contents.clone());
            Box::pin(async move {
                crate::image::pin(c, &contents).await?;
                let before = locked(c, id).await?;
                check(&before, rule, may)?;
                let mut server = before.clone();
                edit(&mut server)?;
                save(c, by(&ctx), rule, &before, &mut server, now).await?;
                Ok((before, server))
            })
        })
        .await
}

/// Whether the caller may go past a lock.
#[derive(Clone, Copy)]
pub(super) struct PastLock(bool);

/// Asks the policies, outside the transaction.
pub(super) fn permit(
    app: &App,
    ctx: &Ctx,
    server: &ServerRow,
    rule: &Rule,
    policy: Action,
) -> Result<PastLock> {
    let target = super::target(server);
    access::require(app, ctx, policy, &target)?;
    let concerned = rule.lockable && server.lock.is_some();
    Ok(PastLock(concerned && access::allowed(app, ctx, actions::SERVERS_LOCK_OVERRIDE, &target)))
}

/// The live server, locked until the transaction ends.
pub(super) async fn locked(conn: &mut Conn, id: ServerId) -> Result<ServerRow> {
    canopy_store::servers::get_for_update(conn, id)
        .await?
        .filter(|server| server.deleted_at.is_none())
        .ok_or_else(|| super::absent(&id.to_string()))
}

/// Allowed in this state and past this lock; the refusal names what stands in the way.
pub(super) fn check(server: &ServerRow, rule: &Rule, past: PastLock) -> Result<()> {
    if rule.lockable && server.lock.is_some() && !past.0 {
        return Err(Error::conflict("server.locked", format!("Instance {} is locked", server.id)));
    }
    rules::check(rule, &server.derived()).map_err(|refusal| {
        cannot(server, rule.name, &format!("it is in {} {}", refusal.attribute, refusal.value))
    })
}

pub(super) fn cannot(server: &ServerRow, verb: &str, why: &str) -> Error {
    Error::conflict("server.state", format!("Cannot '{verb}' instance {} while {why}", server.id))
}

/// Which request changes it, and whose that is.
pub(super) type By<'a> = (&'a RequestId, &'a UserId);

pub(super) fn by(ctx: &Ctx) -> By<'_> {
    (&ctx.request_id, &ctx.who.user_id)
}

/// Writes the edited row with everything that follows from the edit.
pub(super) async fn save(
    conn: &mut Conn,
    by: By<'_>,
    rule: &Rule,
    before: &ServerRow,
    server: &mut ServerRow,
    now: Timestamp,
) -> Result<()> {
    let waits = server.power.n > before.power.n;
    if waits && server.host_id.is_none() {
        return Err(cannot(server, rule.name, "it has no host: it can only be deleted"));
    }
    server.updated_at = now;
    if rule.recorded {
        server.request_id = by.0.clone();
        let n = waits.then_some(server.power.n);
        server_actions::record(conn, server, rule.name, by, n, now).await?;
    }
    canopy_store::servers::update(conn, server).await?;
    if let Some(host) = server.host_id
        && concerns_host(before, server)
    {
        canopy_store::hosts::touch(conn, host).await?;
    }
    let kind = format!("server.{}", rule.name.replace(' ', "_"));
    let event = NewEvent {
        at: now,
        kind: &kind,
        project_id: &server.project_id,
        subject: server.id.to_string(),
        host_id: server.host_id,
    };
    events::append(conn, &event).await.map(|_| ())
}

/// Whether the agent's description of it changes.
fn concerns_host(before: &ServerRow, after: &ServerRow) -> bool {
    before.power != after.power
        || before.deleting != after.deleting
        || before.name != after.name
        || before.metadata != after.metadata
        || before.image != after.image
}
