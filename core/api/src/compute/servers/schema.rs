//! Bodies, per version. Bounds are nova's.

use crate::route::Schema;
use crate::schema::{name, object, text, uuid};
use crate::version::{Microversion, v};
use serde_json::{Value, json};

/// From 2.1; 2.19 adds `description`; 2.37 wants `networks` and knows `auto` and `none`.
pub const CREATE: &[(Microversion, Schema)] = &[
    (v(2, 1), || create(false, false)),
    (v(2, 19), || create(true, false)),
    (v(2, 37), || create(true, true)),
];
pub const CONSOLE: &[(Microversion, Schema)] = &[(v(2, 1), console)];
pub const START: &[(Microversion, Schema)] = &[(v(2, 1), || bare("os-start"))];
pub const STOP: &[(Microversion, Schema)] = &[(v(2, 1), || bare("os-stop"))];

/// nova takes anything, mostly null, as the value of an action without arguments.
fn bare(key: &str) -> Value {
    object(json!({ key: {} }), &[key])
}

fn console() -> Value {
    let length = json!({"anyOf": [
        {"type": "integer", "minimum": -1, "maximum": 1_000_000},
        {"type": "string", "pattern": "^-?[0-9]{1,6}$"},
        {"type": "null"},
    ]});
    object(json!({"os-getConsoleOutput": object(json!({ "length": length }), &[])}), &["os-getConsoleOutput"])
}

fn create(description: bool, auto: bool) -> Value {
    let metadata = json!({
        "type": "object", "maxProperties": 128, "additionalProperties": text(255),
        "propertyNames": {"minLength": 1, "maxLength": 255, "pattern": r"^[a-zA-Z0-9\-_:\. ]{1,255}$"},
    });
    let network = object(
        json!({
            "uuid": uuid(), "port": {"anyOf": [uuid(), {"type": "null"}]},
            "fixed_ip": {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}], "maxLength": 45},
            "tag": text(60),
        }),
        &[],
    );
    let networks = json!({"type": "array", "maxItems": 64, "items": network});
    let networks = if auto { json!({"anyOf": [networks, {"enum": ["auto", "none"]}]}) } else { networks };
    let count = json!({"anyOf": [
        {"type": "integer", "minimum": 1, "maximum": 1_000}, {"type": "string", "pattern": "^[1-9][0-9]{0,2}$"},
    ]});
    let reference = json!({"anyOf": [
        {"type": "string", "minLength": 1, "maxLength": 1_024}, {"type": "integer", "minimum": 0},
    ]});
    let flag = json!({"anyOf": [
        {"type": "boolean"}, {"type": "string", "pattern": "^(?i:true|false|1|0|t|f|yes|no|y|n|on|off)?$"},
    ]});
    let mut properties = json!({
        "name": name(),
        "flavorRef": reference,
        "imageRef": {"type": "string", "maxLength": 1_024},
        "adminPass": text(255),
        "metadata": metadata,
        "networks": networks,
        "key_name": name(),
        "user_data": {"type": "string", "maxLength": 65_535, "pattern": r"^[A-Za-z0-9+/\s]*={0,2}\s*$"},
        "config_drive": flag,
        "availability_zone": name(),
        "min_count": count,
        "max_count": count,
        "return_reservation_id": flag,
        "security_groups": {"type": "array", "maxItems": 64, "items": object(json!({"name": name()}), &[])},
        "OS-DCF:diskConfig": {"enum": ["AUTO", "MANUAL"]},
        "accessIPv4": {"type": "string", "maxLength": 45},
        "accessIPv6": {"type": "string", "maxLength": 45},
        "block_device_mapping_v2": {"type": "array", "maxItems": 1, "items": object(
            json!({
                "boot_index": {"enum": [0, "0"]}, "uuid": uuid(),
                "source_type": {"const": "image"}, "destination_type": {"const": "local"},
                "delete_on_termination": {"enum": [true, "true", "True"]},
            }),
            &["uuid", "source_type", "destination_type"],
        )},
    });
    if description {
        properties["description"] = json!({"anyOf": [text(255), {"type": "null"}]});
    }
    let mut required = vec!["name", "flavorRef"];
    if auto {
        required.push("networks");
    }
    let hints = hints();
    object(
        json!({
            "server": object(properties, &required),
            "os:scheduler_hints": hints,
            "OS-SCH-HNT:scheduler_hints": hints,
        }),
        &["server"],
    )
}

/// What nova looks at; other keys are somebody else's filters, and pass.
fn hints() -> Value {
    let servers =
        json!({"anyOf": [uuid(), {"type": "array", "items": uuid(), "minItems": 1, "maxItems": 100}]});
    json!({
        "type": "object",
        "maxProperties": 64,
        "properties": {
            "group": uuid(),
            "same_host": servers,
            "different_host": servers,
            "query": {"type": ["string", "object"]},
            "target_cell": name(),
            "different_cell": {"anyOf": [
                {"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": 100},
            ]},
            "build_near_host_ip": {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
            "cidr": {"type": "string", "pattern": "^/[0-9a-f.:]+$"},
        },
        "additionalProperties": true,
    })
}
