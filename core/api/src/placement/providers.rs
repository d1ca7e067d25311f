//! `/resource_providers`.

use super::reply::{accepts_json, answer, dated, provider_id, shape};
use super::shape::Shape;
use super::{language, query};
use crate::request::{Reply, Req};
use canopy_app::placement::errors;
use canopy_app::placement::providers::{self, Create, Filter, Update};
use canopy_app::placement::rows::Provider;
use canopy_types::{Error, ProviderId, Result};
use serde_json::{Value, json};

fn view(shape: Shape, provider: &Provider) -> Value {
    let url = format!("/placement/resource_providers/{}", provider.id);
    let mut links = vec![json!({"rel": "self", "href": url})];
    let rels = [
        ("inventories", true),
        ("usages", true),
        ("aggregates", shape.aggregates),
        ("traits", shape.traits),
        ("allocations", shape.allocations_link),
    ];
    for (rel, _) in rels.iter().filter(|(_, known)| *known) {
        links.push(json!({"rel": rel, "href": format!("{url}/{rel}")}));
    }
    let mut out = json!({
        "uuid": provider.id,
        "name": provider.name,
        "generation": provider.generation,
        "links": links,
    });
    if shape.trees {
        out["parent_provider_uuid"] = json!(provider.parent_id);
        out["root_provider_uuid"] = json!(provider.root_id);
    }
    out
}

pub async fn list(req: Req) -> Result<Reply> {
    accepts_json(&req)?;
    let shape = shape(&req);
    query::check_provider_list(&req)?;
    let mut filter = Filter { name: req.query.last("name").map(str::to_owned), ..Filter::default() };
    filter.id = uuid(&req, "uuid")?;
    // The group has a suffix, so that one provider has all of it.
    filter.has.suffix = "_".into();
    filter.has.in_tree = uuid(&req, "in_tree")?;
    if let Some(text) = req.query.last("resources") {
        filter.has.resources = language::resources(text)?;
    }
    (filter.has.required, filter.has.forbidden) = language::required(&req.query, "required", shape)?;
    (filter.has.member_of, filter.has.not_member_of) = language::member_of(&req.query, "member_of", shape)?;
    let found = providers::list(&req.app, req.ctx()?, filter).await?;
    let modified = found.iter().map(|held| held.row.updated_at).max();
    let views: Vec<Value> = found.iter().map(|held| view(shape, &held.row)).collect();
    answer(&req, 200, &json!({ "resource_providers": views }), modified)
}

fn uuid(req: &Req, name: &str) -> Result<Option<ProviderId>> {
    let Some(text) = req.query.last(name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        Error::bad_request(
            "query.uuid",
            format!(
                "Invalid query string parameters: '{}' is not a 'uuid'. {name} takes one.",
                errors::shown(text)
            ),
        )
    })
}

pub async fn show(req: Req) -> Result<Reply> {
    accepts_json(&req)?;
    let provider = providers::show(&req.app, req.ctx()?, provider_id(&req)?).await?;
    answer(&req, 200, &view(shape(&req), &provider), Some(provider.updated_at))
}

pub async fn create(req: Req) -> Result<Reply> {
    let id =
        |key: &str| req.json[key].as_str().filter(|text| !text.is_empty()).and_then(|text| text.parse().ok());
    let wanted = Create {
        id: id("uuid"),
        name: req.json["name"].as_str().unwrap_or_default().to_owned(),
        parent: id("parent_provider_uuid"),
    };
    let provider = providers::create(&req.app, req.ctx()?, wanted).await?;
    let location = format!("{}/placement/resource_providers/{}", req.base, provider.id);
    let shape = shape(&req);
    let reply = if shape.created_body {
        dated(&req, Reply::json(200, &view(shape, &provider))?, Some(provider.created_at))
    } else {
        Reply::empty(201)
    };
    Ok(reply.header("location", &location))
}

pub async fn update(req: Req) -> Result<Reply> {
    let parent =
        req.json.get("parent_provider_uuid").map(|value| value.as_str().and_then(|id| id.parse().ok()));
    let wanted = Update {
        name: req.json["name"].as_str().unwrap_or_default().to_owned(),
        parent,
        may_move: shape(&req).moves,
    };
    let provider = providers::update(&req.app, req.ctx()?, provider_id(&req)?, wanted).await?;
    answer(&req, 200, &view(shape(&req), &provider), Some(provider.updated_at))
}

pub async fn delete(req: Req) -> Result<Reply> {
    providers::delete(&req.app, req.ctx()?, provider_id(&req)?).await?;
    Ok(Reply::empty(204))
}
