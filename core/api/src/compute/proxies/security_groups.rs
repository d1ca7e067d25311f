//! `/os-security-groups`: security groups as nova shows them. What they hold does not change yet.

use super::UNTIL;
use crate::compute::servers::groups::shape;
use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use crate::version::v;
use canopy_app::access;
use canopy_app::network::rows::{self, GROUP_ATTRIBUTES, Listing, Scope};
use canopy_app::network::{errors, security_groups as cases};
use canopy_authz::actions::network as actions;
use canopy_types::{Error, Kind, Result, SecurityGroupId};
use http::Method;
use serde_json::{Value, json};

pub fn routes() -> Vec<Route> {
    let (all, one) = ("/v2.1/os-security-groups", "/v2.1/os-security-groups/{id}");
    let route = |method, path, summary, handler| {
        Route::new(Service::Compute, method, path, summary, handler).versions(v(2, 1), UNTIL)
    };
    vec![
        route(Method::GET, all, "List security groups", handler!(list)).action(actions::SECURITY_GROUPS_LIST),
        route(Method::GET, one, "Show a security group", handler!(show))
            .action(actions::SECURITY_GROUPS_SHOW)
            .answers(&[200], &[404]),
        route(Method::DELETE, one, "Delete a security group", handler!(delete))
            .action(actions::SECURITY_GROUPS_DELETE)
            .answers(&[202], &[404]),
    ]
}

/// What is no id is answered like an unknown one.
fn id(req: &Req) -> Result<SecurityGroupId> {
    req.id("id", |id| errors::group_not_found(id))
}

/// A project's own, also to an admin that does not ask for all. `offset` and `limit` are within the first page: nova
/// has no words for another.
async fn list(req: Req) -> Result<Reply> {
    let mut listing = Listing::all(Scope::All);
    if req.query.get("all_tenants").is_none()
        && let Some(owner) = GROUP_ATTRIBUTES.iter().find(|attribute| attribute.name == "project_id")
    {
        let project = access::project(req.ctx()?)?.to_string();
        listing = listing.filter(owner, vec![rows::Value::Text(project)]);
    }
    let groups = cases::list(&req.app, req.ctx()?, listing).await?;
    let (offset, limit) = (count(&req, "offset")?, count(&req, "limit")?);
    let limit = if limit == 0 { usize::MAX } else { limit };
    let mut page: Vec<_> = groups.iter().skip(offset).take(limit).collect();
    page.sort_by(|(a, _), (b, _)| (&a.project_id, &a.name).cmp(&(&b.project_id, &b.name)));
    let shown: Vec<Value> = page.into_iter().map(|group| shape(group, &groups)).collect();
    Reply::json(200, &json!({ "security_groups": shown }))
}

/// A whole number of the query; 0 is none.
fn count(req: &Req, name: &str) -> Result<usize> {
    let Some(text) = req.query.get(name) else { return Ok(0) };
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(64).collect();
        Error::bad_request("query.count", format!("{name} must be a whole number from 0, not '{shown}'."))
    })
}

async fn show(req: Req) -> Result<Reply> {
    let group = cases::show(&req.app, req.ctx()?, id(&req)?).await?;
    let shown = shape(&group, std::slice::from_ref(&group));
    Reply::json(200, &json!({ "security_group": shown }))
}

/// What is in the way is the request's fault to nova.
async fn delete(req: Req) -> Result<Reply> {
    cases::delete(&req.app, req.ctx()?, id(&req)?).await.map_err(|error| match error.kind {
        Kind::Conflict => Error::bad_request(error.code, error.message),
        _ => error,
    })?;
    Ok(Reply::empty(202))
}
