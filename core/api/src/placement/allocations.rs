//! Allocations of consumers and providers, and the reshaper.

use super::inventories::all_wanted;
use super::reply::{accepts_json, answer, int, provider_id, shape};
use crate::request::{Reply, Req};
use canopy_app::placement::allocations::{self, Expected, Wanted};
use canopy_app::placement::errors;
use canopy_app::placement::reshape as reshaping;
use canopy_types::{ConsumerId, Error, ProjectId, ProviderId, Result, UserId};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub async fn of_consumer(req: Req) -> Result<Reply> {
    accepts_json(&req)?;
    let shape = shape(&req);
    let held =
        allocations::of_consumer(&req.app, req.ctx()?, consumer_id(req.param("consumer_uuid"))?).await?;
    let mut by_provider: Map<String, Value> = Map::new();
    for (row, generation) in &held.rows {
        let entry = by_provider
            .entry(row.provider_id.to_string())
            .or_insert_with(|| json!({"generation": generation, "resources": {}}));
        entry["resources"][&row.class] = json!(row.used);
    }
    let mut body = json!({ "allocations": by_provider });
    if let Some(consumer) = held.consumer.filter(|_| shape.keyed_allocations && !held.rows.is_empty()) {
        body["project_id"] = json!(consumer.project_id);
        body["user_id"] = json!(consumer.user_id);
        if shape.consumer_generation {
            body["consumer_generation"] = json!(consumer.generation);
        }
        if shape.consumer_types {
            body["consumer_type"] = json!(consumer.kind.as_deref().unwrap_or("unknown"));
        }
    }
    answer(&req, 200, &body, held.rows.iter().map(|(row, _)| row.created_at).max())
}

pub async fn of_provider(req: Req) -> Result<Reply> {
    accepts_json(&req)?;
    let (provider, rows) = allocations::of_provider(&req.app, req.ctx()?, provider_id(&req)?).await?;
    let mut by_consumer: Map<String, Value> = Map::new();
    for (row, generation) in &rows {
        let entry =
            by_consumer.entry(row.consumer_id.to_string()).or_insert_with(|| json!({"resources": {}}));
        entry["resources"][&row.class] = json!(row.used);
        if shape(&req).consumer_generation {
            entry["consumer_generation"] = json!(generation);
        }
    }
    let body = json!({"allocations": by_consumer, "resource_provider_generation": provider.generation});
    answer(&req, 200, &body, rows.iter().map(|(row, _)| row.created_at).max())
}

fn consumer_id(text: &str) -> Result<ConsumerId> {
    text.parse().map_err(|_| {
        Error::bad_request("placement.consumer", format!("Malformed consumer_uuid: {}", errors::shown(text)))
    })
}

/// One consumer's body of any version; the schema has seen it.
fn wanted(consumer: &str, body: &Value) -> Result<Wanted> {
    let mut resources: BTreeMap<ProviderId, BTreeMap<String, i64>> = BTreeMap::new();
    let mut add = |provider: &str, amounts: &Value| {
        let id: ProviderId = provider.parse().map_err(|_| {
            Error::bad_request(
                "placement.no_provider",
                format!(
                    "Allocation for resource provider '{}' that does not exist.",
                    errors::shown(provider)
                ),
            )
        })?;
        let each = amounts["resources"].as_object().into_iter().flatten();
        resources.insert(id, each.map(|(class, amount)| (class.clone(), int(amount))).collect());
        Ok::<(), Error>(())
    };
    match &body["allocations"] {
        // Before 1.12: a list.
        Value::Array(list) => {
            for entry in list {
                add(entry["resource_provider"]["uuid"].as_str().unwrap_or_default(), entry)?;
            }
        }
        keyed => {
            for (provider, entry) in keyed.as_object().into_iter().flatten() {
                add(provider, entry)?;
            }
        }
    }
    let text = |key: &str| body[key].as_str();
    Ok(Wanted {
        consumer: consumer_id(consumer)?,
        resources,
        owner: text("project_id").zip(text("user_id")).map(|(p, u)| (ProjectId::from(p), UserId::from(u))),
        expected: match body.get("consumer_generation") {
            None => Expected::Any,
            Some(Value::Null) => Expected::Is(None),
            Some(number) => Expected::Is(Some(int(number))),
        },
        kind: text("consumer_type").map(str::to_owned),
    })
}

pub async fn set(req: Req) -> Result<Reply> {
    let wanted = wanted(req.param("consumer_uuid"), &req.json)?;
    allocations::set(&req.app, req.ctx()?, wanted).await?;
    Ok(Reply::empty(204))
}

fn all_consumers(body: &Value) -> Result<Vec<Wanted>> {
    body.as_object().into_iter().flatten().map(|(consumer, one)| wanted(consumer, one)).collect()
}

pub async fn set_many(req: Req) -> Result<Reply> {
    allocations::set_many(&req.app, req.ctx()?, all_consumers(&req.json)?).await?;
    Ok(Reply::empty(204))
}

pub async fn delete(req: Req) -> Result<Reply> {
    let text = req.param("consumer_uuid");
    let consumer = text.parse().map_err(|_| allocations::no_allocations(text))?;
    allocations::delete(&req.app, req.ctx()?, consumer).await?;
    Ok(Reply::empty(204))
}

pub async fn reshape(req: Req) -> Result<Reply> {
    let mut inventories = BTreeMap::new();
    for (provider, body) in req.json["inventories"].as_object().into_iter().flatten() {
        let id: ProviderId = provider.parse().map_err(|_| {
            let provider = errors::shown(provider);
            Error::bad_request(
                errors::PROVIDER_NOT_FOUND,
                format!("Resource provider {provider} in inventories not found: it is no uuid"),
            )
        })?;
        inventories.insert(id, (int(&body["resource_provider_generation"]), all_wanted(body)));
    }
    let allocations = all_consumers(&req.json["allocations"])?;
    reshaping::reshape(&req.app, req.ctx()?, inventories, allocations).await?;
    Ok(Reply::empty(204))
}
