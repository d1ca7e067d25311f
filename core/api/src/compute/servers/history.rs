//! `GET /servers/{id}/os-instance-actions`: what was asked of a server, and how it ended. 2.58 reads it by pages and
//! by when it changed, 2.62 tells where steps were.

use super::shape::host_hash;
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use crate::version::{COMPUTE, Microversion, v};
use crate::{handler, links};
use canopy_app::compute::servers::{self, ServerAction, Span, Told};
use canopy_authz::actions::compute as policy;
use canopy_types::{Page, Result, ServerId};
use http::Method;
use serde_json::{Value, json};

/// With the time of the last change, too.
const BY_PAGES: Microversion = v(2, 58);
const WITH_HOSTS: Microversion = v(2, 62);
/// Of the list.
const QUERY: &[(Microversion, &[&str])] = &[
    (BY_PAGES, &["limit", "marker", "changes-since"]),
    (v(2, 66), &["limit", "marker", "changes-since", "changes-before"]),
];

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
        route(LIST, handler!(list_of_any), v(2, 21), COMPUTE.max).query(QUERY),
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
    let id = id(&req)?;
    let (mut span, mut page) = (Span::default(), Page::default());
    if req.version >= BY_PAGES {
        (span.since, span.before) = req.query.changes()?;
        page = req.query.page()?;
    }
    let size = page.size();
    let lines = servers::history(&req.app, req.ctx()?, id, deleted, span, page).await?;
    let shown: Vec<Value> = lines.iter().map(|line| shape(&req, line)).collect();
    let mut body = json!({ "instanceActions": shown });
    if req.version >= BY_PAGES
        && lines.len() as i64 == size
        && let Some(last) = lines.last()
    {
        let query = links::next_query(&req.query, &last.request_id.0);
        let href = format!("{}/compute/v2.1/servers/{id}/os-instance-actions?{query}", req.base);
        body["links"] = json!([{"rel": "next", "href": href}]);
    }
    Reply::json(200, &body)
}

async fn show(req: Req, deleted: bool) -> Result<Reply> {
    let request = req.param("request_id");
    let told = servers::history_of(&req.app, req.ctx()?, id(&req)?, request, deleted).await?;
    let mut shown = shape(&req, &told.line);
    // Since 2.51 whoever sees the line sees its steps, though not what the host said.
    if told.steps || req.version >= v(2, 51) {
        shown["events"] = json!([event(&req, &told)]);
    }
    Reply::json(200, &json!({ "instanceAction": shown }))
}

fn shape(req: &Req, line: &ServerAction) -> Value {
    let mut shown = json!({
        // nova's history knows no other word for a deletion.
        "action": if line.action == "forceDelete" { "delete" } else { &line.action },
        "instance_uuid": line.server_id,
        "request_id": line.request_id.0,
        "user_id": line.user_id,
        "project_id": line.project_id,
        "start_time": line.at.micros_naive(),
        "message": line.message.as_ref().map(|_| "Error"),
    });
    if req.version >= BY_PAGES {
        shown["updated_at"] = json!(line.updated_at().micros_naive());
    }
    shown
}

/// One step: the host's work. What failed is told in words, not as a program's trace.
fn event(req: &Req, told: &Told) -> Value {
    let line = &told.line;
    let result = line.finished_at.map(|_| if line.message.is_some() { "Error" } else { "Success" });
    let mut event = json!({
        "event": format!("compute_{}", line.action.replace("forceDelete", "delete")),
        "start_time": line.at.micros_naive(),
        "finish_time": line.finished_at.map(|at| at.micros_naive()),
        "result": result,
    });
    if told.steps {
        event["traceback"] = json!(line.message);
    }
    if req.version >= WITH_HOSTS {
        event["hostId"] = json!(host_hash(&line.project_id, line.host_id));
        if told.steps {
            event["host"] = json!(told.host_name);
        }
    }
    event
}
