//! Bodies of the identity API.
//!
//! A refusal quotes what it refuses, so fields that hold a secret are left untyped here and checked where
//! they are read (`body`): a password never comes back in an error or reaches a log.

use crate::schema::{object, text};
use canopy_app::identity::Extra;
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
            "application_credential": {"type": "object", "properties": {
                "id": {"type": "string"}, "name": {"type": "string"}, "secret": secret(),
                "user": {"type": "object", "properties": {
                    "id": {"type": "string"}, "name": {"type": "string"}, "domain": reference(),
                }},
            }, "required": ["secret"]},
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
            "OS-TRUST:trust": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
        },
    });
    let auth = object(json!({"identity": identity, "scope": scope}), &["identity"]);
    object(json!({"auth": auth}), &["auth"])
}

/// Roles by id or by name.
fn role_list() -> Value {
    let by = |field: &str| {
        object(json!({ field: {"type": "string", "minLength": 1, "maxLength": 255} }), &[field])
    };
    let both = object(json!({"id": {"type": "string"}, "name": {"type": "string"}}), &["id", "name"]);
    json!({"type": "array", "maxItems": 64, "items": {"anyOf": [by("id"), by("name"), both]}})
}

fn access_rule() -> Value {
    let new = object(
        json!({
            "service": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": r"^[^\p{Cc}]+$"},
            "method": {"enum": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]},
            "path": {"type": "string", "maxLength": 128, "pattern": r"^/[^\p{Cc}]*$"},
        }),
        &["service", "method", "path"],
    );
    json!({"anyOf": [object(json!({"id": id()}), &["id"]), new]})
}

pub fn application_credential() -> Value {
    let fields = json!({
        "name": name(255),
        "description": nullable(text(65_535)),
        "secret": secret(),
        "expires_at": {"type": ["string", "null"], "maxLength": 64},
        "roles": role_list(),
        "unrestricted": {"type": ["boolean", "null"]},
        "access_rules": {"type": "array", "maxItems": 100, "items": access_rule()},
    });
    object(json!({"application_credential": object(fields, &["name"])}), &["application_credential"])
}

pub fn trust() -> Value {
    let count = |least: i64| json!({"type": ["integer", "null"], "minimum": least, "maximum": 1_000_000});
    let fields = json!({
        "trustor_user_id": id(),
        "trustee_user_id": id(),
        "project_id": id(),
        "impersonation": {"type": "boolean"},
        "expires_at": {"type": ["string", "null"], "maxLength": 64},
        "remaining_uses": count(1),
        "redelegation_count": count(0),
        "allow_redelegation": {"type": ["boolean", "null"]},
        "roles": role_list(),
    });
    let needed = ["trustor_user_id", "trustee_user_id", "project_id", "impersonation"];
    object(json!({"trust": object(fields, &needed)}), &["trust"])
}

fn tags() -> Value {
    let tag = json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[^,/\p{Cc}]*$"});
    json!({"type": "array", "items": tag, "maxItems": canopy_app::identity::MAX_TAGS, "uniqueItems": true})
}

pub fn project_tags() -> Value {
    object(json!({"tags": tags()}), &["tags"])
}

fn service_fields() -> Value {
    json!({
        "type": name(255),
        "name": nullable(text(255)),
        "description": nullable(text(65_535)),
        "enabled": {"type": "boolean"},
    })
}

pub fn service_create() -> Value {
    object(json!({"service": object(service_fields(), &["type"])}), &["service"])
}

pub fn service_update() -> Value {
    update_of("service", object(service_fields(), &[]))
}

fn endpoint_fields() -> Value {
    let region = json!({"type": ["string", "null"], "maxLength": 255, "pattern": r"^[^\p{Cc}]+$"});
    json!({
        "service_id": id(),
        "interface": {"enum": ["public", "internal", "admin"]},
        "region_id": region,
        "region": region,
        "url": {"type": "string", "minLength": 1, "maxLength": 225, "pattern": r"^[A-Za-z][A-Za-z0-9+.-]*://[^\s\p{Cc}]+$"},
        "enabled": {"type": "boolean"},
        "name": nullable(text(255)),
        "description": nullable(text(65_535)),
    })
}

pub fn endpoint_create() -> Value {
    let needed = ["service_id", "interface", "url"];
    object(json!({"endpoint": object(endpoint_fields(), &needed)}), &["endpoint"])
}

pub fn endpoint_update() -> Value {
    update_of("endpoint", object(endpoint_fields(), &[]))
}

fn endpoint_group_fields() -> Value {
    let filters = json!({
        "service_id": id(),
        "interface": {"enum": ["public", "internal", "admin"]},
        "region_id": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[^\p{Cc}]+$"},
    });
    let mut filters = object(filters, &[]);
    filters["minProperties"] = json!(1);
    json!({"name": name(255), "description": nullable(text(65_535)), "filters": filters})
}

pub fn endpoint_group_create() -> Value {
    let group = object(endpoint_group_fields(), &["name", "filters"]);
    object(json!({"endpoint_group": group}), &["endpoint_group"])
}

pub fn endpoint_group_update() -> Value {
    update_of("endpoint_group", object(endpoint_group_fields(), &[]))
}

pub fn ec2_key() -> Value {
    object(json!({"tenant_id": id()}), &["tenant_id"])
}

pub fn region() -> Value {
    let name = |least: u32| json!({"type": ["string", "null"], "minLength": least, "maxLength": 255, "pattern": r"^[^\p{Cc}]*$"});
    let fields = json!({
        "id": name(0),
        "parent_region_id": name(1),
        "description": nullable(text(65_535)),
    });
    object(json!({"region": object(fields, &[])}), &["region"])
}

fn credential_fields() -> Value {
    json!({"type": name(255), "blob": secret(), "user_id": id(), "project_id": nullable(id())})
}

pub fn credential_create() -> Value {
    object(json!({"credential": object(credential_fields(), &["type", "blob"])}), &["credential"])
}

pub fn credential_update() -> Value {
    update_of("credential", object(credential_fields(), &[]))
}

fn user_options() -> Value {
    let on = json!({"type": ["boolean", "null"]});
    object(
        json!({
            "ignore_change_password_upon_first_use": on,
            "ignore_password_expiry": on,
            "ignore_lockout_failure_attempts": on,
            "lock_password": on,
        }),
        &[],
    )
}

/// An object that may hold other properties beside these, which are kept as they are.
fn open(properties: Value, required: &[&str]) -> Value {
    json!({
        "type": "object", "properties": properties, "required": required,
        "propertyNames": {"maxLength": 255, "pattern": r"^[^\p{Cc}]+$"}, "maxProperties": 64,
    })
}

/// What of a body is none of the fields there are.
pub fn extra(asked: &Value, fields: fn() -> Value) -> Extra {
    let known = fields();
    let other =
        asked.as_object().into_iter().flatten().filter(|(name, _)| known.get(name.as_str()).is_none());
    other.map(|(name, value)| (name.clone(), value.clone())).collect()
}

pub fn project_fields() -> Value {
    json!({
        "name": name(64),
        "description": nullable(text(65_535)),
        "enabled": {"type": "boolean"},
        "domain_id": nullable(id()),
        "is_domain": {"type": "boolean"},
        "parent_id": nullable(id()),
        "tags": tags(),
        "options": options(),
    })
}

pub fn project_create() -> Value {
    object(json!({"project": open(project_fields(), &["name"])}), &["project"])
}

pub fn project_update() -> Value {
    update_of("project", open(project_fields(), &[]))
}

/// `body`, of which one field at least is given.
fn update_of(name: &str, mut body: Value) -> Value {
    body["minProperties"] = json!(1);
    object(json!({ name: body }), &[name])
}

pub fn domain_fields() -> Value {
    json!({
        "name": name(64),
        "description": nullable(text(65_535)),
        "enabled": {"type": "boolean"},
        "tags": {"type": "array", "maxItems": 0},
        "options": options(),
    })
}

pub fn domain_create() -> Value {
    object(json!({"domain": open(domain_fields(), &["name"])}), &["domain"])
}

pub fn domain_update() -> Value {
    update_of("domain", open(domain_fields(), &[]))
}

pub fn role_fields() -> Value {
    json!({
        "name": name(255),
        "description": nullable(text(65_535)),
        "domain_id": nullable(id()),
        "options": options(),
    })
}

pub fn role_create() -> Value {
    object(json!({"role": open(role_fields(), &["name"])}), &["role"])
}

pub fn role_update() -> Value {
    update_of("role", open(role_fields(), &[]))
}

pub fn group_fields() -> Value {
    json!({"name": name(64), "description": nullable(text(65_535)), "domain_id": nullable(id())})
}

pub fn group_create() -> Value {
    object(json!({"group": open(group_fields(), &["name"])}), &["group"])
}

pub fn group_update() -> Value {
    update_of("group", open(group_fields(), &[]))
}

pub fn user_fields() -> Value {
    json!({
        "name": name(255),
        "password": secret(),
        "description": nullable(text(65_535)),
        "email": nullable(text(255)),
        "enabled": {"type": "boolean"},
        "domain_id": nullable(id()),
        "default_project_id": nullable(id()),
        "options": user_options(),
    })
}

pub fn user_create() -> Value {
    object(json!({"user": open(user_fields(), &["name"])}), &["user"])
}

pub fn user_update() -> Value {
    update_of("user", open(user_fields(), &[]))
}

pub fn password_change() -> Value {
    let user = object(
        json!({"original_password": secret(), "password": secret()}),
        &["original_password", "password"],
    );
    object(json!({"user": user}), &["user"])
}
