//! Power is an intent with a number; the host reports when it is satisfied.

use super::list::find;
use crate::access;
use crate::{App, Ctx};
use canopy_agent_api::Ask;
use canopy_authz::{Action, actions::compute as actions};
use canopy_store::events::{self, NewEvent};
use canopy_store::servers::ServerRow;
use canopy_types::server::PowerIntent;
use canopy_types::{Error, Result, ServerId};

pub async fn start(app: &App, ctx: &Ctx, id: ServerId) -> Result<()> {
    intend(app, ctx, id, actions::SERVERS_START, "start", true, &["stopped"]).await
}

pub async fn stop(app: &App, ctx: &Ctx, id: ServerId) -> Result<()> {
    intend(app, ctx, id, actions::SERVERS_STOP, "stop", false, &["active", "error"]).await
}

async fn intend(
    app: &App,
    ctx: &Ctx,
    id: ServerId,
    action: Action,
    verb: &'static str,
    on: bool,
    from: &'static [&'static str],
) -> Result<()> {
    let server = find(app, ctx, id).await?;
    access::require(app, ctx, action, &super::target(&server))?;
    let (now, ctx) = (app.now(), ctx.clone());
    app.store
        .write("server.power", move |c| {
            let ctx = ctx.clone();
            Box::pin(async move {
                let mut server = canopy_store::servers::get_for_update(c, id)
                    .await?
                    .filter(|server| server.deleted_at.is_none())
                    .ok_or_else(|| super::absent(&id.to_string()))?;
                check(&server, verb, from)?;
                let Some(host) = server.host_id else {
                    return Err(cannot(&server, verb, "it has no host"));
                };
                server.power = PowerIntent { on, n: server.power.n + 1 };
                server.request_id = ctx.request_id.clone();
                server.updated_at = now;
                canopy_store::servers::update(c, &server).await?;
                canopy_store::servers::record_action(
                    c,
                    &server,
                    verb,
                    &ctx.request_id,
                    &ctx.who.user_id,
                    now,
                )
                .await?;
                canopy_store::hosts::touch(c, host).await?;
                let kind = if on { "server.start" } else { "server.stop" };
                let event = NewEvent {
                    at: now,
                    kind,
                    project_id: &server.project_id,
                    subject: id.to_string(),
                    host_id: Some(host),
                };
                events::append(c, &event).await?;
                Ok(())
            })
        })
        .await
}

/// Allowed only in these states and with nothing in flight; the refusal names the state.
fn check(server: &ServerRow, verb: &str, from: &[&str]) -> Result<()> {
    let derived = server.derived();
    if let Some(task) = derived.task_state {
        return Err(cannot(server, verb, &format!("it is in task_state {task}")));
    }
    if !from.contains(&derived.vm_state) {
        return Err(cannot(server, verb, &format!("it is in vm_state {}", derived.vm_state)));
    }
    Ok(())
}

fn cannot(server: &ServerRow, verb: &str, why: &str) -> Error {
    Error::conflict("server.state", format!("Cannot '{verb}' instance {} while {why}", server.id))
}

/// The last `lines` of the serial console.
pub async fn console_output(app: &App, ctx: &Ctx, id: ServerId, lines: Option<u32>) -> Result<String> {
    let server = find(app, ctx, id).await?;
    access::require(app, ctx, actions::SERVERS_CONSOLE_OUTPUT, &super::target(&server))?;
    let Some(host) = server.host_id else {
        return Err(Error::conflict("server.not_ready", format!("Instance {id} is not ready")));
    };
    app.questions.ask(host, id, Ask::ConsoleOutput { lines }).await
}
