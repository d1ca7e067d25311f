//! Endpoint groups (OS-EP-FILTER).

use super::{body, render, services};
use crate::request::{Reply, Req};
use canopy_app::identity::{self, EndpointFilters, EndpointGroup, EndpointGroupChange};
use canopy_types::Result;
use serde_json::{Value, json};

fn shown(req: &Req, group: &EndpointGroup) -> Value {
    let path = format!("OS-EP-FILTER/endpoint_groups/{}", group.id);
    json!({
        "id": group.id, "name": group.name, "description": group.description, "filters": group.filters,
        "links": {"self": render::link(&req.base, &path)},
    })
}

fn list_of(req: &Req, groups: &[EndpointGroup]) -> Result<Reply> {
    let items = groups.iter().map(|group| shown(req, group)).collect();
    Reply::json(200, &render::list(req, "endpoint_groups", items, None))
}

pub async fn list(req: Req) -> Result<Reply> {
    let groups = identity::endpoint_groups(&req.app, req.ctx()?, req.query.get("name")).await?;
    list_of(&req, &groups)
}

pub async fn show(req: Req) -> Result<Reply> {
    let group = identity::endpoint_group(&req.app, req.ctx()?, req.param("endpoint_group_id")).await?;
    Reply::json(200, &json!({"endpoint_group": shown(&req, &group)}))
}

fn change(asked: &Value) -> EndpointGroupChange {
    let filters = asked["filters"].as_object().map(|filters| {
        let text = |name: &str| filters.get(name).and_then(Value::as_str).map(str::to_owned);
        EndpointFilters {
            service_id: text("service_id"),
            interface: text("interface"),
            region_id: text("region_id"),
        }
    });
    EndpointGroupChange {
        name: body::text(asked, "name"),
        description: asked.get("description").map(|text| text.as_str().unwrap_or_default().to_owned()),
        filters,
    }
}

pub async fn create(req: Req) -> Result<Reply> {
    let new = change(&req.json["endpoint_group"]);
    let group = identity::create_endpoint_group(&req.app, req.ctx()?, new).await?;
    Reply::json(201, &json!({"endpoint_group": shown(&req, &group)}))
}

pub async fn update(req: Req) -> Result<Reply> {
    let (id, change) = (req.param("endpoint_group_id"), change(&req.json["endpoint_group"]));
    let group = identity::update_endpoint_group(&req.app, req.ctx()?, id, change).await?;
    Reply::json(200, &json!({"endpoint_group": shown(&req, &group)}))
}

pub async fn delete(req: Req) -> Result<Reply> {
    identity::delete_endpoint_group(&req.app, req.ctx()?, req.param("endpoint_group_id")).await?;
    Ok(Reply::empty(204))
}

pub async fn endpoints(req: Req) -> Result<Reply> {
    let id = req.param("endpoint_group_id");
    let found = identity::endpoints_of_group(&req.app, req.ctx()?, id, &req.base).await?;
    let items = found.iter().map(|endpoint| services::shown_endpoint(&req.base, endpoint)).collect();
    Reply::json(200, &render::list(&req, "endpoints", items, None))
}

pub async fn projects(req: Req) -> Result<Reply> {
    let found = identity::projects_of_group(&req.app, req.ctx()?, req.param("endpoint_group_id")).await?;
    let items = found.iter().map(|project| render::project(&req, project)).collect();
    Reply::json(200, &render::list(&req, "projects", items, None))
}

pub async fn of_project(req: Req) -> Result<Reply> {
    let groups = identity::groups_of_project(&req.app, req.ctx()?, req.param("project_id")).await?;
    list_of(&req, &groups)
}

pub async fn in_project(req: Req) -> Result<Reply> {
    let (id, project) = (req.param("endpoint_group_id"), req.param("project_id"));
    let group = identity::group_in_project(&req.app, req.ctx()?, id, project).await?;
    Reply::json(200, &json!({"endpoint_group": shown(&req, &group)}))
}

pub async fn add(req: Req) -> Result<Reply> {
    let (id, project) = (req.param("endpoint_group_id"), req.param("project_id"));
    identity::show_group(&req.app, req.ctx()?, id, project, true).await?;
    Ok(Reply::empty(204))
}

pub async fn remove(req: Req) -> Result<Reply> {
    let (id, project) = (req.param("endpoint_group_id"), req.param("project_id"));
    identity::show_group(&req.app, req.ctx()?, id, project, false).await?;
    Ok(Reply::empty(204))
}
