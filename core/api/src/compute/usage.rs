//! `os-simple-tenant-usage`: what projects have used over a span of time.

use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use crate::version::{Microversion, v};
use crate::{handler, links};
use canopy_app::compute::usage::{self, ProjectUsage, ServerUsage, Span};
use canopy_authz::actions::compute as policy;
use canopy_types::{Error, Page, Result, ServerId, Timestamp};
use http::Method;
use serde_json::{Value, json};

const STRICT: Microversion = v(2, 75);
const OF_ALL: &[(Microversion, &[&str])] = &[(STRICT, &["start", "end", "detailed", "limit", "marker"])];
const OF_ONE: &[(Microversion, &[&str])] = &[(STRICT, &["start", "end", "limit", "marker"])];

pub fn routes() -> Vec<Route> {
    let get = |path, summary, handler| Route::new(Service::Compute, Method::GET, path, summary, handler);
    vec![
        get("/v2.1/os-simple-tenant-usage", "Usage of all projects", handler!(list))
            .action(policy::USAGE_LIST)
            .query(OF_ALL),
        get("/v2.1/os-simple-tenant-usage/{project_id}", "Usage of a project", handler!(show))
            .action(policy::USAGE_SHOW)
            .query(OF_ONE),
    ]
}

/// Both ends are now if nothing is said.
fn span(req: &Req) -> Result<Span> {
    let at = |name: &str| match req.query.last(name).filter(|text| !text.is_empty()) {
        None => Ok(req.app.now()),
        Some(text) => Timestamp::parse(text).ok_or_else(|| {
            let shown: String = text.chars().take(64).collect();
            Error::bad_request("usage.time", format!("Datetime is in invalid format: {shown}"))
        }),
    };
    Ok((at("start")?, at("end")?))
}

/// Since 2.40 usage is told by pages of servers, whose parts of one project the client adds up.
const WITH_PAGES: Microversion = v(2, 40);

fn page(req: &Req) -> Result<Option<Page>> {
    if req.version >= WITH_PAGES { req.query.page().map(Some) } else { Ok(None) }
}

/// The link to what comes after the last server, if that may be something.
fn link(req: &Req, path: &str, last: Option<ServerId>) -> Option<Value> {
    let query = links::next_query(&req.query, &last?.to_string());
    let path = format!("{}/compute/v2.1/os-simple-tenant-usage{path}", req.base);
    Some(json!([{"rel": "next", "href": format!("{path}?{query}")}]))
}

async fn list(req: Req) -> Result<Reply> {
    let span = span(&req)?;
    let detailed = req.query.last("detailed") == Some("1");
    let (usages, last) = usage::list(&req.app, req.ctx()?, span, page(&req)?).await?;
    let shaped: Vec<Value> =
        usages.iter().map(|(project, usage)| shape(project.as_str(), usage, span, detailed)).collect();
    let mut body = json!({ "tenant_usages": shaped });
    if let Some(link) = link(&req, "", last) {
        body["tenant_usages_links"] = link;
    }
    Reply::json(200, &body)
}

/// A project without any usage is answered with nothing at all, as nova does.
async fn show(req: Req) -> Result<Reply> {
    let span = span(&req)?;
    let project = req.param("project_id").to_owned();
    let page = page(&req)?;
    let (usage, last) = usage::show(&req.app, req.ctx()?, span, project.clone().into(), page).await?;
    let shaped = if usage.servers.is_empty() { json!({}) } else { shape(&project, &usage, span, true) };
    let mut body = json!({ "tenant_usage": shaped });
    if let Some(link) = link(&req, &format!("/{}", links::escape(&project)), last) {
        body["tenant_usage_links"] = link;
    }
    Reply::json(200, &body)
}

fn shape(project: &str, usage: &ProjectUsage, (start, stop): Span, detailed: bool) -> Value {
    let mut shaped = json!({
        "tenant_id": project,
        "total_hours": usage.hours,
        "total_vcpus_usage": usage.vcpu_hours,
        "total_memory_mb_usage": usage.mib_hours,
        "total_local_gb_usage": usage.gib_hours,
        "start": start.micros_naive(),
        "stop": stop.micros_naive(),
    });
    if detailed {
        shaped["server_usages"] = usage.servers.iter().map(server).collect();
    }
    shaped
}

fn server(usage: &ServerUsage) -> Value {
    let server = &usage.server;
    let state = if server.deleted_at.is_some() { "terminated" } else { server.derived().vm_state };
    json!({
        "instance_id": server.id,
        "name": server.name,
        "tenant_id": server.project_id,
        "hours": usage.hours,
        "uptime": usage.uptime,
        "flavor": server.flavor.name,
        "vcpus": server.flavor.vcpus,
        "memory_mb": server.flavor.memory_mib,
        "local_gb": server.flavor.root_gib.saturating_add(server.flavor.ephemeral_gib),
        "started_at": server.launched_at.map(|at| at.micros_naive()),
        "ended_at": server.deleted_at.map(|at| at.micros_naive()),
        "state": state,
    })
}
