//! `/resource_providers/{uuid}/inventories`.

use super::reply::{accepts_json, answer, int, provider_id, shape};
use crate::request::{Reply, Req};
use canopy_app::placement::inventories::{self, Full, Rules, Wanted};
use canopy_app::placement::rows::Inventory;
use canopy_types::Result;
use canopy_types::resources::MAX_AMOUNT;
use serde_json::{Map, Value, json};

fn view(row: &Inventory) -> Value {
    json!({
        "total": row.total,
        "reserved": row.reserved,
        "min_unit": row.min_unit,
        "max_unit": row.max_unit,
        "step_size": row.step_size,
        "allocation_ratio": row.allocation_ratio,
    })
}

fn all(req: &Req, full: &Full) -> Result<Reply> {
    let (provider, rows) = full;
    let inventories: Map<String, Value> = rows.iter().map(|row| (row.class.clone(), view(row))).collect();
    let body = json!({"resource_provider_generation": provider.generation, "inventories": inventories});
    answer(req, 200, &body, rows.iter().map(|row| row.updated_at).max())
}

fn one(req: &Req, status: u16, generation: i64, row: &Inventory) -> Result<Reply> {
    let mut body = view(row);
    body["resource_provider_generation"] = json!(generation);
    answer(req, status, &body, Some(row.updated_at))
}

/// What a body says of one class; the schema has seen it.
pub fn wanted(class: &str, body: &Value) -> Wanted {
    let number = |key: &str, default: i64| body.get(key).map_or(default, int);
    Wanted {
        class: class.to_owned(),
        total: number("total", 0),
        reserved: number("reserved", 0),
        min_unit: number("min_unit", 1),
        max_unit: number("max_unit", MAX_AMOUNT),
        step_size: number("step_size", 1),
        allocation_ratio: body.get("allocation_ratio").and_then(Value::as_f64).unwrap_or(1.0),
    }
}

fn rules(req: &Req) -> Rules {
    Rules { capacity_may_be_zero: shape(req).all_reserved }
}

pub async fn list(req: Req) -> Result<Reply> {
    accepts_json(&req)?;
    let full = inventories::list(&req.app, req.ctx()?, provider_id(&req)?).await?;
    all(&req, &full)
}

pub async fn show(req: Req) -> Result<Reply> {
    accepts_json(&req)?;
    let (provider, row) =
        inventories::show(&req.app, req.ctx()?, provider_id(&req)?, req.param("class")).await?;
    one(&req, 200, provider.generation, &row)
}

pub async fn add(req: Req) -> Result<Reply> {
    let class = req.json["resource_class"].as_str().unwrap_or_default();
    let expected = req.json.get("resource_provider_generation").map(int);
    let wanted = wanted(class, &req.json);
    let (provider, row) =
        inventories::add(&req.app, req.ctx()?, provider_id(&req)?, expected, wanted, rules(&req)).await?;
    let location =
        format!("{}/placement/resource_providers/{}/inventories/{}", req.base, provider.id, row.class);
    Ok(one(&req, 201, provider.generation, &row)?.header("location", &location))
}

/// The inventories of a body by class.
pub fn all_wanted(body: &Value) -> Vec<Wanted> {
    let each = body["inventories"].as_object().into_iter().flatten();
    each.map(|(class, one)| wanted(class, one)).collect()
}

pub async fn set(req: Req) -> Result<Reply> {
    let expected = int(&req.json["resource_provider_generation"]);
    let wanted = all_wanted(&req.json);
    let full =
        inventories::set(&req.app, req.ctx()?, provider_id(&req)?, expected, wanted, rules(&req)).await?;
    all(&req, &full)
}

pub async fn update(req: Req) -> Result<Reply> {
    let expected = int(&req.json["resource_provider_generation"]);
    let wanted = wanted(req.param("class"), &req.json);
    let (provider, row) =
        inventories::update(&req.app, req.ctx()?, provider_id(&req)?, expected, wanted, rules(&req)).await?;
    one(&req, 200, provider.generation, &row)
}

pub async fn delete(req: Req) -> Result<Reply> {
    inventories::delete(&req.app, req.ctx()?, provider_id(&req)?, req.param("class")).await?;
    Ok(Reply::empty(204))
}

pub async fn delete_all(req: Req) -> Result<Reply> {
    inventories::delete_all(&req.app, req.ctx()?, provider_id(&req)?).await?;
    Ok(Reply::empty(204))
}
