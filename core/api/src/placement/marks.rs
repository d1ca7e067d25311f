//! A provider's traits and aggregates.

use super::reply::{accepts_json, answer, int, provider_id, shape};
use crate::request::{Reply, Req};
use canopy_app::placement::marks;
use canopy_app::placement::rows::{Name, Provider};
use canopy_types::Result;
use serde_json::{Value, json};

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn with_traits(req: &Req, provider: &Provider, traits: &[Name]) -> Result<Reply> {
    let names: Vec<&str> = traits.iter().map(|one| one.name.as_str()).collect();
    let body = json!({"traits": names, "resource_provider_generation": provider.generation});
    answer(req, 200, &body, traits.iter().map(|one| one.created_at).max())
}

pub async fn traits(req: Req) -> Result<Reply> {
    accepts_json(&req)?;
    let (provider, traits) = marks::traits(&req.app, req.ctx()?, provider_id(&req)?).await?;
    with_traits(&req, &provider, &traits)
}

pub async fn set_traits(req: Req) -> Result<Reply> {
    let expected = int(&req.json["resource_provider_generation"]);
    let names = strings(&req.json["traits"]);
    let (provider, traits) =
        marks::set_traits(&req.app, req.ctx()?, provider_id(&req)?, expected, names).await?;
    with_traits(&req, &provider, &traits)
}

pub async fn delete_traits(req: Req) -> Result<Reply> {
    marks::delete_traits(&req.app, req.ctx()?, provider_id(&req)?).await?;
    Ok(Reply::empty(204))
}

fn with_aggregates(req: &Req, provider: &Provider, ids: &[String]) -> Result<Reply> {
    let mut body = json!({ "aggregates": ids });
    if shape(req).aggregate_generation {
        body["resource_provider_generation"] = json!(provider.generation);
    }
    answer(req, 200, &body, None)
}

pub async fn aggregates(req: Req) -> Result<Reply> {
    accepts_json(&req)?;
    let (provider, ids) = marks::aggregates(&req.app, req.ctx()?, provider_id(&req)?).await?;
    with_aggregates(&req, &provider, &ids)
}

pub async fn set_aggregates(req: Req) -> Result<Reply> {
    // Before generations the body was the list itself.
    let (ids, expected) = match &req.json {
        Value::Array(_) => (strings(&req.json), None),
        body => (strings(&body["aggregates"]), Some(int(&body["resource_provider_generation"]))),
    };
    let (provider, ids) =
        marks::set_aggregates(&req.app, req.ctx()?, provider_id(&req)?, expected, ids).await?;
    with_aggregates(&req, &provider, &ids)
}
