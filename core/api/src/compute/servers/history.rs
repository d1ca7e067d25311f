//! `GET /servers/{id}/os-instance-actions`: what was asked of a server, and how it ended.

use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use crate::version::{COMPUTE, v};
use canopy_app::compute::servers::{self, ServerAction};
use canopy_authz::actions::compute as policy;
use canopy_types::{Result, ServerId};
use http::Method;
use serde_json::{Value, json};

pub fn routes() -> Vec<Route> {
    const LIST: (&str, &str) = ("/v2.1/servers/{server_id}/os-instance-actions", "List a server's history");
    const SHOW: (&str, &str) =
        ("/v2.1/servers/{server_id}/os-instance-actions/{request_id}", "Show one line of a server's history");
    let route = |(path, summary), handler, from, to| {
        Route::new(Service::Compute, Method::GET, path, summary, handler)
            .action(policy::SERVERS_LIST_ACTIONS)
            .answers(&[200], &[404])
            .versions(from, to)
    };
    vec![
        route(LIST, handler!(list_of_live), COMPUTE.min, v(2, 20)),
        route(SHOW, handler!(show_of_live), COMPUTE.min, v(2, 20)),
        // Since 2.21 the history of a deleted server can be read.
        route(LIST, handler!(list_of_any), v(2, 21), COMPUTE.max),
        route(SHOW, handler!(show_of_any), v(2, 21), COMPUTE.max),
    ]
}

fn id(req: &Req) -> Result<ServerId> {
    req.id("server_id", servers::absent)
}

async fn list_of_live(req: Req) -> Result<Reply> {
    list(req, false).await
}

async fn list_of_any(req: Req) -> Result<Reply> {
    list(req, true).await
}

async fn show_of_live(req: Req) -> Result<Reply> {
    show(req, false).await
}

async fn show_of_any(req: Req) -> Result<Reply> {
    show(req, true).await
}

async fn list(req: Req, deleted: bool) -> Result<Reply> {
    let lines = servers::history(&req.app, req.ctx()?, id(&req)?, deleted).await?;
    let lines: Vec<Value> = lines.iter().map(shape).collect();
    Reply::json(200, &json!({ "instanceActions": lines }))
}

async fn show(req: Req, deleted: bool) -> Result<Reply> {
    let request = req.param("request_id");
    let (line, steps) = servers::history_of(&req.app, req.ctx()?, id(&req)?, request, deleted).await?;
    let mut shown = shape(&line);
    // Since 2.51 whoever sees the line sees its steps, though not what the host said.
    if steps || req.version >= v(2, 51) {
        let mut event = event(&line);
        if let Some(fields) = event.as_object_mut().filter(|_| !steps) {
            fields.remove("traceback");
        }
        shown["events"] = json!([event]);
    }
    Reply::json(200, &json!({ "instanceAction": shown }))
}

fn shape(line: &ServerAction) -> Value {
    json!({
        // nova's history knows no other word for a deletion.
        "action": if line.action == "forceDelete" { "delete" } else { &line.action },
        "instance_uuid": line.server_id,
        "request_id": line.request_id.0,
        "user_id": line.user_id,
        "project_id": line.project_id,
        "start_time": line.at.micros_naive(),
        "message": line.message.as_ref().map(|_| "Error"),
    })
}

/// One step: the host's work. What failed is told in words, not as a program's trace.
fn event(line: &ServerAction) -> Value {
    let result = line.finished_at.map(|_| if line.message.is_some() { "Error" } else { "Success" });
    json!({
        "event": format!("compute_{}", line.action.replace("forceDelete", "delete")),
        "start_time": line.at.micros_naive(),
        "finish_time": line.finished_at.map(|at| at.micros_naive()),
        "result": result,
        "traceback": line.message,
    })
}
