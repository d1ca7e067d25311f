//! Reading checked bodies and queries.

use crate::request::{Query, parse_bool};
use canopy_app::identity::Secret;
use canopy_types::{Error, Result};
use serde_json::Value;

/// A text field; absent and null are `None`.
pub fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// A field that holds a secret: `None` when absent, `Some(None)` when null. Never quoted when wrong.
pub fn secret(value: &Value, name: &str) -> Result<Option<Option<Secret>>> {
    match value.get(name) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::String(text)) => Ok(Some(Some(Secret(text.clone())))),
        Some(_) => Err(Error::bad_request(
            "request.schema",
            format!("Invalid input for field/attribute {name}. It must be a string."),
        )),
    }
}

/// A secret that must be there.
pub fn needed(value: &Value, name: &str) -> Result<Secret> {
    secret(value, name)?.flatten().ok_or_else(|| {
        Error::bad_request(
            "request.schema",
            format!("Invalid input for field/attribute {name}. It must be a string."),
        )
    })
}

/// Whether a filter is on: keystone takes a bare name for yes.
pub fn on(query: &Query, name: &str) -> bool {
    query.get(name).is_some_and(|text| parse_bool(text) != Some(false))
}
