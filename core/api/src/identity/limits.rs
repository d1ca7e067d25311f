//! Registered limits, limits, and the model they are enforced by.

use super::{ANY, delete, get, patch, post, render};
use crate::request::{Reply, Req};
use crate::route::Route;
use crate::{handler, schema};
use canopy_app::quota::unified::{self, Filter, Limit, Registered, Wanted};
use canopy_authz::actions::identity as act;
use canopy_types::Result;
use serde_json::{Value, json};

/// Entries of one request.
const MOST: u32 = 200;

pub fn routes() -> Vec<Route> {
    vec![
        get("/v3/registered_limits", "List registered limits", handler!(list_registered))
            .action(act::REGISTERED_LIMITS_LIST),
        post("/v3/registered_limits", "Register limits", handler!(register))
            .action(act::REGISTERED_LIMITS_CREATE)
            .json(&[(ANY, registered_create)])
            .answers(&[201], &[409]),
        get("/v3/registered_limits/{id}", "Show a registered limit", handler!(show_registered))
            .action(act::REGISTERED_LIMITS_SHOW)
            .answers(&[200], &[404]),
        patch("/v3/registered_limits/{id}", "Change a registered limit", handler!(change_registered))
            .action(act::REGISTERED_LIMITS_UPDATE)
            .json(&[(ANY, registered_update)])
            .answers(&[200], &[404]),
        delete(
            "/v3/registered_limits/{id}",
            "Put a registered limit back to what is configured",
            handler!(unregister),
        )
        .action(act::REGISTERED_LIMITS_DELETE),
        get("/v3/limits", "List limits of projects and domains", handler!(list)).action(act::LIMITS_LIST),
        post("/v3/limits", "Create limits of projects or domains", handler!(create))
            .action(act::LIMITS_CREATE)
            .json(&[(ANY, limit_create)])
            .answers(&[201], &[404, 409]),
        get("/v3/limits/model", "Show how limits are enforced", handler!(model)).action(act::LIMITS_MODEL),
        get("/v3/limits/{id}", "Show a limit", handler!(show))
            .action(act::LIMITS_SHOW)
            .answers(&[200], &[404]),
        patch("/v3/limits/{id}", "Change a limit", handler!(change))
            .action(act::LIMITS_UPDATE)
            .json(&[(ANY, limit_update)])
            .answers(&[200], &[404]),
        delete("/v3/limits/{id}", "Delete a limit", handler!(remove)).action(act::LIMITS_DELETE),
    ]
}

fn number() -> Value {
    json!({"type": "integer", "minimum": -1, "maximum": i32::MAX})
}

fn id() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[a-zA-Z0-9-]+$"})
}

fn or_null(mut schema: Value) -> Value {
    schema["type"] = json!(["string", "null"]);
    schema
}

fn common(limit: &str) -> Value {
    json!({
        "service_id": id(), "region_id": or_null(schema::text(255)), "resource_name": schema::name(),
        limit: number(), "description": or_null(schema::text(255)),
    })
}

fn many(name: &str, one: &Value) -> Value {
    let list = json!({"type": "array", "items": one, "minItems": 1, "maxItems": MOST});
    schema::object(json!({ name: list }), &[name])
}

fn registered_create() -> Value {
    let needed = ["service_id", "resource_name", "default_limit"];
    many("registered_limits", &schema::object(common("default_limit"), &needed))
}

fn registered_update() -> Value {
    let one = json!({"default_limit": number(), "description": or_null(schema::text(255))});
    schema::object(json!({"registered_limit": schema::object(one, &[])}), &["registered_limit"])
}

fn limit_create() -> Value {
    let mut one = common("resource_limit");
    one["project_id"] = or_null(id());
    one["domain_id"] = or_null(id());
    many("limits", &schema::object(one, &["service_id", "resource_name", "resource_limit"]))
}

fn limit_update() -> Value {
    let one = json!({"resource_limit": number(), "description": or_null(schema::text(255))});
    schema::object(json!({"limit": schema::object(one, &[])}), &["limit"])
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn wanted(value: &Value, limit: &str) -> Wanted {
    Wanted {
        project_id: text(value, "project_id"),
        domain_id: text(value, "domain_id"),
        service_id: text(value, "service_id").unwrap_or_default(),
        region_id: text(value, "region_id"),
        resource_name: text(value, "resource_name").unwrap_or_default(),
        limit: value[limit].as_i64().unwrap_or(-1),
        description: text(value, "description"),
    }
}

fn all_wanted(req: &Req, list: &str, limit: &str) -> Vec<Wanted> {
    req.json[list].as_array().into_iter().flatten().map(|one| wanted(one, limit)).collect()
}

fn filter(req: &Req) -> Filter {
    let get = |name: &str| req.query.get(name).filter(|value| !value.is_empty()).map(str::to_owned);
    Filter {
        service_id: get("service_id"),
        region_id: get("region_id"),
        resource_name: get("resource_name"),
        project_id: get("project_id"),
        domain_id: get("domain_id"),
    }
}

fn registered_view(req: &Req, one: &Registered) -> Value {
    json!({
        "id": one.id, "service_id": one.service_id, "region_id": null, "resource_name": one.resource_name,
        "default_limit": one.default_limit, "description": one.description,
        "links": {"self": render::link(&req.base, &format!("registered_limits/{}", one.id))},
    })
}

fn view(req: &Req, one: &Limit) -> Value {
    json!({
        "id": one.id, "project_id": one.project_id, "domain_id": one.domain_id, "service_id": one.service_id,
        "region_id": null, "resource_name": one.resource_name, "resource_limit": one.resource_limit,
        "description": one.description,
        "links": {"self": render::link(&req.base, &format!("limits/{}", one.id))},
    })
}

async fn list_registered(req: Req) -> Result<Reply> {
    let listed = unified::registered(&req.app, req.ctx()?, &filter(&req)).await?;
    let items = listed.iter().map(|one| registered_view(&req, one)).collect();
    Reply::json(200, &render::list(&req, "registered_limits", items, None))
}

async fn register(req: Req) -> Result<Reply> {
    let wanted = all_wanted(&req, "registered_limits", "default_limit");
    let made = unified::register(&req.app, req.ctx()?, wanted).await?;
    let items = made.iter().map(|one| registered_view(&req, one)).collect();
    Reply::json(201, &render::list(&req, "registered_limits", items, None))
}

async fn show_registered(req: Req) -> Result<Reply> {
    let one = unified::show_registered(&req.app, req.ctx()?, req.param("id")).await?;
    Reply::json(200, &json!({"registered_limit": registered_view(&req, &one)}))
}

async fn change_registered(req: Req) -> Result<Reply> {
    let wanted = &req.json["registered_limit"];
    let (limit, description) = (wanted["default_limit"].as_i64(), text(wanted, "description"));
    let one = unified::change_registered(&req.app, req.ctx()?, req.param("id"), limit, description).await?;
    Reply::json(200, &json!({"registered_limit": registered_view(&req, &one)}))
}

async fn unregister(req: Req) -> Result<Reply> {
    unified::unregister(&req.app, req.ctx()?, req.param("id")).await?;
    Ok(Reply::empty(204))
}

async fn list(req: Req) -> Result<Reply> {
    let listed = unified::limits(&req.app, req.ctx()?, &filter(&req)).await?;
    let items = listed.iter().map(|one| view(&req, one)).collect();
    Reply::json(200, &render::list(&req, "limits", items, None))
}

async fn create(req: Req) -> Result<Reply> {
    let wanted = all_wanted(&req, "limits", "resource_limit");
    let made = unified::create(&req.app, req.ctx()?, wanted).await?;
    let items = made.iter().map(|one| view(&req, one)).collect();
    Reply::json(201, &render::list(&req, "limits", items, None))
}

async fn show(req: Req) -> Result<Reply> {
    let one = unified::show_limit(&req.app, req.ctx()?, req.param("id")).await?;
    Reply::json(200, &json!({"limit": view(&req, &one)}))
}

async fn change(req: Req) -> Result<Reply> {
    let wanted = &req.json["limit"];
    let (limit, description) = (wanted["resource_limit"].as_i64(), text(wanted, "description"));
    let one = unified::change(&req.app, req.ctx()?, req.param("id"), limit, description).await?;
    Reply::json(200, &json!({"limit": view(&req, &one)}))
}

async fn remove(req: Req) -> Result<Reply> {
    unified::delete(&req.app, req.ctx()?, req.param("id")).await?;
    Ok(Reply::empty(204))
}

async fn model(req: Req) -> Result<Reply> {
    let (name, description) = unified::model(&req.app, req.ctx()?)?;
    Reply::json(200, &json!({"model": {"name": name, "description": description}}))
}
