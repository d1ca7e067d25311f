//! Server groups. 2.13 adds project and user, 2.15 the soft policies; 2.64 has one `policy` with `rules`.

use crate::request::{Reply, Req};
use crate::route::{Route, Schema, Service};
use crate::version::{Microversion, v};
use crate::{handler, schema};
use canopy_app::compute::server_groups::{self, Create, Listed};
use canopy_authz::actions::compute as actions;
use canopy_types::{Error, Result};
use http::Method;
use serde_json::{Value, json};

const WITH_OWNER: Microversion = v(2, 13);
const WITH_SOFT: Microversion = v(2, 15);
const WITH_RULES: Microversion = v(2, 64);

const CREATE: &[(Microversion, Schema)] =
    &[(v(2, 1), schema_2_1), (WITH_SOFT, schema_2_15), (WITH_RULES, schema_2_64)];

const QUERY: &[(Microversion, &[&str])] = &[(v(2, 75), &["all_projects", "limit", "offset"])];

const HARD: [&str; 2] = ["anti-affinity", "affinity"];
const ALL: [&str; 4] = ["anti-affinity", "affinity", "soft-anti-affinity", "soft-affinity"];

pub fn routes() -> Vec<Route> {
    let route = |method, path, summary, handler| Route::new(Service::Compute, method, path, summary, handler);
    vec![
        route(Method::GET, "/v2.1/os-server-groups", "List server groups", handler!(list))
            .action(actions::SERVER_GROUPS_LIST)
            .query(QUERY),
        route(Method::POST, "/v2.1/os-server-groups", "Create a server group", handler!(create))
            .action(actions::SERVER_GROUPS_CREATE)
            .json(CREATE)
            .answers(&[200], &[]),
        route(Method::GET, "/v2.1/os-server-groups/{group_id}", "Show a server group", handler!(show))
            .action(actions::SERVER_GROUPS_SHOW)
            .answers(&[200], &[404]),
        route(Method::DELETE, "/v2.1/os-server-groups/{group_id}", "Delete a server group", handler!(delete))
            .action(actions::SERVER_GROUPS_DELETE)
            .answers(&[204], &[404]),
    ]
}

fn body(properties: Value, required: &[&str]) -> Value {
    let group = schema::object(properties, required);
    schema::object(json!({ "server_group": group }), &["server_group"])
}

fn policies(names: &[&str]) -> Value {
    let policies =
        json!({"type": "array", "items": {"enum": names}, "minItems": 1, "maxItems": 1, "uniqueItems": true});
    body(json!({"name": schema::name(), "policies": policies}), &["name", "policies"])
}

fn schema_2_1() -> Value {
    policies(&HARD)
}

fn schema_2_15() -> Value {
    policies(&ALL)
}

fn schema_2_64() -> Value {
    let most = json!({"anyOf": [
        {"type": "integer", "minimum": 1, "maximum": i32::MAX},
        {"type": "string", "pattern": "^[1-9][0-9]{0,8}$"},
    ]});
    let rules = schema::object(json!({ "max_server_per_host": most }), &[]);
    body(json!({"name": schema::name(), "policy": {"enum": ALL}, "rules": rules}), &["name", "policy"])
}

fn view(req: &Req, listed: &Listed) -> Value {
    let group = &listed.group;
    let mut view = json!({"id": group.id, "name": group.name, "members": listed.members});
    if req.version >= WITH_RULES {
        view["policy"] = json!(group.policy);
        let anti = group.policy == "anti-affinity";
        view["rules"] = if anti { json!({"max_server_per_host": group.max_per_host}) } else { json!({}) };
    } else {
        view["policies"] = json!([group.policy]);
        view["metadata"] = json!({});
    }
    if req.version >= WITH_OWNER {
        view["project_id"] = json!(group.project_id);
        view["user_id"] = json!(group.user_id);
    }
    view
}

async fn create(req: Req) -> Result<Reply> {
    let wanted = &req.json["server_group"];
    let most = &wanted["rules"]["max_server_per_host"];
    let policy = wanted["policy"].as_str().or_else(|| wanted["policies"][0].as_str()).unwrap_or_default();
    let create = Create {
        name: wanted["name"].as_str().unwrap_or_default().to_owned(),
        policy: policy.to_owned(),
        max_per_host: most.as_i64().or_else(|| most.as_str()?.parse().ok()),
    };
    let made = server_groups::create(&req.app, req.ctx()?, create).await?;
    Reply::json(200, &json!({ "server_group": view(&req, &made) }))
}

async fn list(req: Req) -> Result<Reply> {
    let offset = match req.query.get("offset") {
        None => 0,
        Some(text) => i64::from(text.parse::<u32>().map_err(|_| {
            Error::bad_request("query.offset", format!("offset must be a whole number from 0, not '{text}'."))
        })?),
    };
    let page = canopy_types::Page { marker: None, ..req.query.page()? };
    let all = req.query.get("all_projects").is_some();
    let groups = server_groups::list(&req.app, req.ctx()?, all, page, offset).await?;
    let groups: Vec<Value> = groups.iter().map(|listed| view(&req, listed)).collect();
    Reply::json(200, &json!({ "server_groups": groups }))
}

async fn show(req: Req) -> Result<Reply> {
    let id = req.id("group_id", server_groups::absent)?;
    let listed = server_groups::show(&req.app, req.ctx()?, id).await?;
    Reply::json(200, &json!({ "server_group": view(&req, &listed) }))
}

async fn delete(req: Req) -> Result<Reply> {
    let id = req.id("group_id", server_groups::absent)?;
    server_groups::delete(&req.app, req.ctx()?, id).await?;
    Ok(Reply::empty(204))
}
