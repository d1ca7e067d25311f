//! Host aggregates; 2.41 shows the uuid.

use crate::request::{Reply, Req};
use crate::route::{Handler, Route, Schema, Service};
use crate::version::{Microversion, v};
use crate::{handler, schema};
use canopy_app::compute::aggregates::{self, Change, Listed, ZONE};
use canopy_authz::{Action, actions::compute as actions};
use canopy_types::{Result, Timestamp};
use http::Method;
use serde_json::{Value, json};

const WITH_UUID: Microversion = v(2, 41);

const CREATE: &[(Microversion, Schema)] = &[(v(2, 1), || wanted(&["name"]))];
const UPDATE: &[(Microversion, Schema)] = &[(v(2, 1), || wanted(&[]))];
const ADD_HOST: &[(Microversion, Schema)] = &[(v(2, 1), || host("add_host"))];
const REMOVE_HOST: &[(Microversion, Schema)] = &[(v(2, 1), || host("remove_host"))];
const SET_METADATA: &[(Microversion, Schema)] = &[(v(2, 1), metadata)];

pub fn routes() -> Vec<Route> {
    let route = |method, path, summary, handler| Route::new(Service::Compute, method, path, summary, handler);
    let one = "/v2.1/os-aggregates/{aggregate_id}";
    let mut routes = vec![
        route(Method::GET, "/v2.1/os-aggregates", "List aggregates", handler!(list))
            .action(actions::AGGREGATES_LIST),
        route(Method::POST, "/v2.1/os-aggregates", "Create an aggregate", handler!(create))
            .action(actions::AGGREGATES_CREATE)
            .json(CREATE)
            .answers(&[200], &[409]),
        route(Method::GET, one, "Show an aggregate", handler!(show))
            .action(actions::AGGREGATES_SHOW)
            .answers(&[200], &[404]),
        route(Method::PUT, one, "Rename an aggregate or set its zone", handler!(update))
            .action(actions::AGGREGATES_UPDATE)
            .json(UPDATE)
            .answers(&[200], &[404, 409]),
        route(Method::DELETE, one, "Delete an aggregate without hosts", handler!(delete))
            .action(actions::AGGREGATES_DELETE)
            .answers(&[200], &[404]),
    ];
    let mut action = |key, summary, policy: Action, schemas, handler: Handler| {
        routes.push(
            route(Method::POST, "/v2.1/os-aggregates/{aggregate_id}/action", summary, handler)
                .key(key)
                .action(policy)
                .json(schemas)
                .answers(&[200], &[404, 409]),
        );
    };
    let (add, remove) = (actions::AGGREGATES_ADD_HOST, actions::AGGREGATES_REMOVE_HOST);
    action("add_host", "Add a host to an aggregate", add, ADD_HOST, handler!(add_host));
    action("remove_host", "Take a host out of an aggregate", remove, REMOVE_HOST, handler!(remove_host));
    let set = actions::AGGREGATES_UPDATE;
    action("set_metadata", "Change an aggregate's metadata", set, SET_METADATA, handler!(set_metadata));
    routes
}

fn wanted(required: &[&str]) -> Value {
    let zone = json!({"anyOf": [schema::name(), {"type": "null"}]});
    let mut aggregate = schema::object(json!({"name": schema::name(), "availability_zone": zone}), required);
    aggregate["minProperties"] = json!(1);
    schema::object(json!({ "aggregate": aggregate }), &["aggregate"])
}

fn host(key: &str) -> Value {
    let host = json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[a-zA-Z0-9._-]*$"});
    schema::object(json!({ key: schema::object(json!({ "host": host }), &["host"]) }), &[key])
}

fn metadata() -> Value {
    let metadata = json!({
        "type": "object", "minProperties": 1, "maxProperties": 128,
        "patternProperties": {
            "^availability_zone$": {"anyOf": [schema::name(), {"type": "null"}]},
            r"^(?!availability_zone$)[a-zA-Z0-9\-_:. ]{1,255}$": {"anyOf": [schema::text(255), {"type": "null"}]},
        },
        "additionalProperties": false,
    });
    let inner = schema::object(json!({ "metadata": metadata }), &["metadata"]);
    schema::object(json!({ "set_metadata": inner }), &["set_metadata"])
}

fn view(req: &Req, listed: &Listed) -> Value {
    let aggregate = &listed.aggregate;
    let mut view = json!({
        "id": aggregate.number,
        "name": aggregate.name,
        "availability_zone": aggregate.metadata.get(ZONE),
        "metadata": aggregate.metadata,
        "hosts": listed.hosts,
        "created_at": aggregate.created_at.micros_naive(),
        "updated_at": aggregate.updated_at.map(Timestamp::micros_naive),
        "deleted": false,
        "deleted_at": null,
    });
    if req.version >= WITH_UUID {
        view["uuid"] = json!(aggregate.id);
    }
    view
}

fn id(req: &Req) -> Result<i64> {
    req.id("aggregate_id", aggregates::absent)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

async fn list(req: Req) -> Result<Reply> {
    let all = aggregates::list(&req.app, req.ctx()?).await?;
    let all: Vec<Value> = all.iter().map(|listed| view(&req, listed)).collect();
    Reply::json(200, &json!({ "aggregates": all }))
}

async fn show(req: Req) -> Result<Reply> {
    let listed = aggregates::show(&req.app, req.ctx()?, id(&req)?).await?;
    Reply::json(200, &json!({ "aggregate": view(&req, &listed) }))
}

async fn create(req: Req) -> Result<Reply> {
    let wanted = &req.json["aggregate"];
    let name = text(&wanted["name"]).unwrap_or_default();
    let made = aggregates::create(&req.app, req.ctx()?, name, text(&wanted["availability_zone"])).await?;
    let mut body = view(&req, &made);
    // As nova does: what has no members yet is not shown as empty.
    for absent in ["hosts", "metadata"] {
        if let Some(fields) = body.as_object_mut() {
            fields.remove(absent);
        }
    }
    Reply::json(200, &json!({ "aggregate": body }))
}

async fn changed(req: Req, change: Change) -> Result<Reply> {
    let listed = aggregates::change(&req.app, req.ctx()?, id(&req)?, change).await?;
    Reply::json(200, &json!({ "aggregate": view(&req, &listed) }))
}

async fn update(req: Req) -> Result<Reply> {
    let wanted = &req.json["aggregate"];
    let change = Change::Rename { name: text(&wanted["name"]), zone: text(&wanted["availability_zone"]) };
    changed(req, change).await
}

async fn add_host(req: Req) -> Result<Reply> {
    let change = Change::AddHost(text(&req.json["add_host"]["host"]).unwrap_or_default());
    changed(req, change).await
}

async fn remove_host(req: Req) -> Result<Reply> {
    let change = Change::RemoveHost(text(&req.json["remove_host"]["host"]).unwrap_or_default());
    changed(req, change).await
}

async fn set_metadata(req: Req) -> Result<Reply> {
    let metadata = req.json["set_metadata"]["metadata"].as_object().into_iter().flatten();
    let change = Change::Metadata(metadata.map(|(key, value)| (key.clone(), text(value))).collect());
    changed(req, change).await
}

async fn delete(req: Req) -> Result<Reply> {
    aggregates::delete(&req.app, req.ctx()?, id(&req)?).await?;
    Ok(Reply::empty(200))
}
