//! Bodies, by the version that brought them.

use super::Schemas;
use crate::schema::object;
use crate::version::v;
use canopy_types::resources::MAX_AMOUNT;
use serde_json::{Value, json};

pub const PROVIDER_CREATE: Schemas = &[(v(1, 0), provider_create), (v(1, 14), provider_create_1_14)];
pub const PROVIDER_UPDATE: Schemas = &[(v(1, 0), provider_update), (v(1, 14), provider_update_1_14)];
pub const INVENTORY_CREATE: Schemas = &[(v(1, 0), inventory_create)];
pub const INVENTORY_UPDATE: Schemas = &[(v(1, 0), inventory_update)];
pub const INVENTORIES_SET: Schemas = &[(v(1, 0), inventories_set)];
pub const AGGREGATES: Schemas = &[(v(1, 1), aggregates), (v(1, 19), aggregates_1_19)];
pub const PROVIDER_TRAITS: Schemas = &[(v(1, 6), provider_traits)];
pub const CLASS: Schemas = &[(v(1, 2), class)];
pub const CONSUMER_ALLOCATIONS: Schemas = &[
    (v(1, 0), listed),
    (v(1, 8), listed_1_8),
    (v(1, 12), keyed_1_12),
    (v(1, 28), keyed_1_28),
    (v(1, 34), keyed_1_34),
    (v(1, 38), keyed_1_38),
];
pub const ALLOCATIONS: Schemas =
    &[(v(1, 13), many_1_13), (v(1, 28), many_1_28), (v(1, 34), many_1_34), (v(1, 38), many_1_38)];
pub const RESHAPE: Schemas = &[(v(1, 30), reshape_1_30), (v(1, 34), reshape_1_34), (v(1, 38), reshape_1_38)];

const CLASS_NAME: &str = "^[A-Z0-9_]+$";
const CUSTOM_NAME: &str = "^CUSTOM_[A-Z0-9_]+$";
/// As a key of an object.
const UUID_KEY: &str = "^[0-9a-fA-F-]{36}$";

/// With or without dashes.
fn uuid() -> Value {
    json!({"type": "string", "pattern":
        "^[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}$"})
}

fn integer() -> Value {
    json!({"type": "integer"})
}

fn owner() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 255})
}

fn provider_name() -> Value {
    json!({"type": "string", "maxLength": 200})
}

fn parent() -> Value {
    json!({"anyOf": [uuid(), {"type": "null"}]})
}

fn provider_create() -> Value {
    object(json!({"name": provider_name(), "uuid": uuid()}), &["name"])
}

fn provider_create_1_14() -> Value {
    object(json!({"name": provider_name(), "uuid": uuid(), "parent_provider_uuid": parent()}), &["name"])
}

fn provider_update() -> Value {
    object(json!({"name": provider_name()}), &["name"])
}

fn provider_update_1_14() -> Value {
    object(json!({"name": provider_name(), "parent_provider_uuid": parent()}), &["name"])
}

fn inventory_properties() -> Value {
    let from = |least: i64| json!({"type": "integer", "minimum": least, "maximum": MAX_AMOUNT});
    json!({
        "resource_provider_generation": integer(),
        "total": from(1),
        "reserved": from(0),
        "min_unit": from(1),
        "max_unit": from(1),
        "step_size": from(1),
        "allocation_ratio": {"type": "number", "maximum": 3.40282e38},
    })
}

fn inventory_update() -> Value {
    object(inventory_properties(), &["total", "resource_provider_generation"])
}

fn inventory_create() -> Value {
    let mut properties = inventory_properties();
    properties["resource_class"] = json!({"type": "string", "pattern": CLASS_NAME});
    object(properties, &["total", "resource_class"])
}

fn inventories_set() -> Value {
    let inventories = json!({
        "type": "object",
        "patternProperties": {CLASS_NAME: object(inventory_properties(), &["total"])},
        "additionalProperties": false,
    });
    let properties = json!({"resource_provider_generation": integer(), "inventories": inventories});
    object(properties, &["resource_provider_generation", "inventories"])
}

fn aggregates() -> Value {
    json!({"type": "array", "items": uuid(), "uniqueItems": true})
}

fn aggregates_1_19() -> Value {
    object(
        json!({"aggregates": aggregates(), "resource_provider_generation": integer()}),
        &["aggregates", "resource_provider_generation"],
    )
}

fn provider_traits() -> Value {
    let name = json!({"type": "string", "minLength": 1, "maxLength": 255});
    object(
        json!({"traits": {"type": "array", "items": name}, "resource_provider_generation": integer()}),
        &["traits", "resource_provider_generation"],
    )
}

fn class() -> Value {
    object(json!({"name": {"type": "string", "pattern": CUSTOM_NAME, "maxLength": 255}}), &["name"])
}

fn amounts() -> Value {
    json!({
        "type": "object",
        "minProperties": 1,
        "patternProperties": {CLASS_NAME: {"type": "integer", "minimum": 1}},
        "additionalProperties": false,
    })
}

fn list() -> Value {
    let provider = object(json!({"uuid": uuid()}), &["uuid"]);
    let entry = object(
        json!({"resource_provider": provider, "resources": amounts()}),
        &["resource_provider", "resources"],
    );
    json!({"type": "array", "minItems": 1, "items": entry})
}

fn listed() -> Value {
    object(json!({"allocations": list()}), &["allocations"])
}

fn listed_1_8() -> Value {
    object(
        json!({"allocations": list(), "project_id": owner(), "user_id": owner()}),
        &["allocations", "project_id", "user_id"],
    )
}

/// Allocations by provider; `least` providers.
fn keyed(least: u32) -> Value {
    let entry = object(json!({"generation": integer(), "resources": amounts()}), &["resources"]);
    let allocations = json!({
        "type": "object",
        "minProperties": least,
        "patternProperties": {UUID_KEY: entry},
        "additionalProperties": false,
    });
    object(
        json!({"allocations": allocations, "project_id": owner(), "user_id": owner()}),
        &["allocations", "project_id", "user_id"],
    )
}

fn with(mut schema: Value, name: &str, property: Value, required: bool) -> Value {
    schema["properties"][name] = property;
    if let Some(list) = schema["required"].as_array_mut().filter(|_| required) {
        list.push(json!(name));
    }
    schema
}

fn keyed_1_12() -> Value {
    keyed(1)
}

fn keyed_1_28() -> Value {
    with(keyed(0), "consumer_generation", json!({"type": ["integer", "null"]}), true)
}

fn keyed_1_34() -> Value {
    let mappings = json!({
        "type": "object",
        "minProperties": 1,
        "patternProperties": {"[a-zA-Z0-9_-]{1,64}": {"type": "array", "minItems": 1, "items": uuid()}},
    });
    with(keyed_1_28(), "mappings", mappings, false)
}

fn keyed_1_38() -> Value {
    let kind = json!({"type": "string", "pattern": CLASS_NAME, "minLength": 1, "maxLength": 255});
    with(keyed_1_34(), "consumer_type", kind, true)
}

/// Of several consumers, at least so many.
fn many(one: Value, least: u32) -> Value {
    json!({
        "type": "object",
        "minProperties": least,
        "patternProperties": {UUID_KEY: one},
        "additionalProperties": false,
    })
}

fn many_1_13() -> Value {
    many(keyed(0), 1)
}

fn many_1_28() -> Value {
    many(keyed_1_28(), 1)
}

fn many_1_34() -> Value {
    many(keyed_1_34(), 1)
}

fn many_1_38() -> Value {
    many(keyed_1_38(), 1)
}

fn reshape(one: Value) -> Value {
    let inventories = json!({
        "type": "object",
        "minProperties": 1,
        "patternProperties": {UUID_KEY: inventories_set()},
        "additionalProperties": false,
    });
    object(json!({"inventories": inventories, "allocations": many(one, 0)}), &["inventories", "allocations"])
}

fn reshape_1_30() -> Value {
    reshape(keyed_1_28())
}

fn reshape_1_34() -> Value {
    reshape(keyed_1_34())
}

fn reshape_1_38() -> Value {
    reshape(keyed_1_38())
}
