//! Bodies of the identity API.
//!
//! A refusal quotes what it refuses, so fields that hold a secret are left untyped here and checked where
//! they are read (`body`): a password never comes back in an error or reaches a log.

use crate::schema::{object, text};
use serde_json::{Value, json};

/// Longest id that is looked at, characters.
const ID: u32 = 64;

fn name(max: u32) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": max, "pattern": r"^[^\p{Cc}]*[^\s\p{Cc}][^\p{Cc}]*$"})
}

fn id() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": ID, "pattern": r"^[^\p{Cc}]+$"})
}

fn nullable(mut schema: Value) -> Value {
    schema["type"] = json!(["string", "null"]);
    schema
}

fn secret() -> Value {
    json!({"description": "A string of 1 to 4096 bytes."})
}

/// keystone keeps options nobody of ours has yet: only none of them is true.
fn options() -> Value {
    json!({"type": "object", "maxProperties": 0})
}

fn reference() -> Value {
    json!({"type": "object", "properties": {"id": {"type": "string"}, "name": {"type": "string"}}})
}

pub fn login() -> Value {
    let user = json!({"type": "object", "properties": {
        "id": {"type": "string"}, "name": {"type": "string"}, "password": secret(), "domain": reference(),
    }});
    let project = json!({"type": "object", "properties": {
        "id": {"type": "string"}, "name": {"type": "string"}, "domain": reference(),
    }});
    let identity = json!({
        "type": "object",
        "properties": {
            "methods": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 8},
            "password": {"type": "object", "properties": {"user": user}, "required": ["user"]},
            "token": {"type": "object", "properties": {"id": secret()}, "required": ["id"]},
        },
        "required": ["methods"],
    });
    let scope = json!({
        "type": ["object", "string", "null"],
        "properties": {
            "project": project,
            "domain": reference(),
            "system": {"type": "object", "properties": {"all": {"type": "boolean"}}},
            "unscoped": {"type": "object"},
        },
    });
    let auth = object(json!({"identity": identity, "scope": scope}), &["identity"]);
    object(json!({"auth": auth}), &["auth"])
}

fn project_fields() -> Value {
    json!({
        "name": name(64),
        "description": nullable(text(65_535)),
        "enabled": {"type": "boolean"},
        "domain_id": nullable(id()),
        "is_domain": {"const": false},
        "parent_id": nullable(id()),
        "tags": {"type": "array", "maxItems": 0},
        "options": options(),
    })
}

pub fn project_create() -> Value {
    object(json!({"project": object(project_fields(), &["name"])}), &["project"])
}

pub fn project_update() -> Value {
    update_of("project", object(project_fields(), &[]))
}

/// `body`, of which one field at least is given.
fn update_of(name: &str, mut body: Value) -> Value {
    body["minProperties"] = json!(1);
    object(json!({ name: body }), &[name])
}

fn domain_fields() -> Value {
    json!({
        "name": name(64),
        "description": nullable(text(65_535)),
        "enabled": {"type": "boolean"},
        "tags": {"type": "array", "maxItems": 0},
        "options": options(),
    })
}

pub fn domain_create() -> Value {
    object(json!({"domain": object(domain_fields(), &["name"])}), &["domain"])
}

pub fn domain_update() -> Value {
    update_of("domain", object(domain_fields(), &[]))
}

fn role_fields() -> Value {
    json!({
        "name": name(255),
        "description": nullable(text(65_535)),
        // All roles are global.
        "domain_id": {"type": "null"},
        "options": options(),
    })
}

pub fn role_create() -> Value {
    object(json!({"role": object(role_fields(), &["name"])}), &["role"])
}

pub fn role_update() -> Value {
    update_of("role", object(role_fields(), &[]))
}

fn user_fields() -> Value {
    json!({
        "name": name(255),
        "password": secret(),
        "description": nullable(text(65_535)),
        "email": nullable(text(255)),
        "enabled": {"type": "boolean"},
        "domain_id": nullable(id()),
        "default_project_id": nullable(id()),
        "options": options(),
    })
}

pub fn user_create() -> Value {
    object(json!({"user": object(user_fields(), &["name"])}), &["user"])
}

pub fn user_update() -> Value {
    update_of("user", object(user_fields(), &[]))
}

pub fn password_change() -> Value {
    let user = object(
        json!({"original_password": secret(), "password": secret()}),
        &["original_password", "password"],
    );
    object(json!({"user": user}), &["user"])
}
