//! `os-flavor-access`: the projects that see and use a flavor which is not public.

use super::flavors::flavor_id;
use crate::request::{Reply, Req};
use crate::route::{Handler, Route, Schema, Service};
use crate::version::{Microversion, v};
use crate::{handler, schema};
use canopy_app::compute::flavors;
use canopy_authz::{Action, actions::compute as actions};
use canopy_types::{FlavorId, ProjectId, Result};
use http::Method;
use serde_json::{Value, json};

const ADD: &[(Microversion, Schema)] = &[(v(2, 1), || named("addTenantAccess"))];
const REMOVE: &[(Microversion, Schema)] = &[(v(2, 1), || named("removeTenantAccess"))];

pub fn routes() -> Vec<Route> {
    let (path, action) = ("/v2.1/flavors/{id}/os-flavor-access", "/v2.1/flavors/{id}/action");
    let change = |key, summary, policy: Action, schemas, handler: Handler| {
        Route::new(Service::Compute, Method::POST, action, summary, handler)
            .key(key)
            .action(policy)
            .json(schemas)
            .answers(&[200], &[404, 409])
    };
    let (give, take) = (actions::FLAVORS_GIVE, actions::FLAVORS_TAKE_AWAY);
    vec![
        Route::new(Service::Compute, Method::GET, path, "List who is given a flavor", handler!(list))
            .action(actions::FLAVORS_LIST_GIVEN)
            .answers(&[200], &[404]),
        change("addTenantAccess", "Give a project a flavor", give, ADD, handler!(add)),
        change("removeTenantAccess", "Take a flavor away from a project", take, REMOVE, handler!(remove)),
    ]
}

fn named(key: &str) -> Value {
    let tenant = json!({"type": "string", "minLength": 1, "maxLength": 255});
    schema::object(json!({key: schema::object(json!({ "tenant": tenant }), &["tenant"])}), &[key])
}

fn reply(id: &FlavorId, projects: &[ProjectId]) -> Result<Reply> {
    let one = |project: &ProjectId| json!({"flavor_id": id, "tenant_id": project});
    Reply::json(200, &json!({"flavor_access": projects.iter().map(one).collect::<Vec<_>>()}))
}

async fn list(req: Req) -> Result<Reply> {
    let id = flavor_id(&req);
    reply(&id, &flavors::given(&req.app, req.ctx()?, &id).await?)
}

async fn add(req: Req) -> Result<Reply> {
    let (id, tenant) = (flavor_id(&req), &req.json["addTenantAccess"]["tenant"]);
    let tenant = tenant.as_str().unwrap_or_default();
    reply(&id, &flavors::give(&req.app, req.ctx()?, &id, tenant).await?)
}

async fn remove(req: Req) -> Result<Reply> {
    let (id, tenant) = (flavor_id(&req), &req.json["removeTenantAccess"]["tenant"]);
    let tenant = tenant.as_str().unwrap_or_default();
    reply(&id, &flavors::take_away(&req.app, req.ctx()?, &id, tenant).await?)
}
