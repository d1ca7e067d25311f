//! The bodies of items and assignments, held to the schema of their kind: those of `sdk/wit/network/v1/items`, which are what
//! an author reads, too.

use crate::fault::short;
use jsonschema::Validator;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Bytes of one body; DHCP of a network has a lease per guest.
pub(crate) const MAX_BODY: usize = 1 << 20;

macro_rules! schemas {
    ($($kind:literal),* $(,)?) => {
        [$(($kind, include_str!(concat!("../../../sdk/wit/network/v1/items/", $kind, ".json")))),*]
    };
}

/// By kind, as they are checked in.
const TEXTS: [(&str, &str); 7] =
    schemas!["antispoof@1", "bridge@1", "dhcp@1", "metadata@1", "namespace@1", "segment@1", "uplink@1",];

static SCHEMAS: LazyLock<BTreeMap<&str, Validator>> = LazyLock::new(|| {
    // All are compiled by a test: none is missing here.
    TEXTS.into_iter().filter_map(|(kind, text)| Some((kind, compile(text).ok()?))).collect()
});

fn compile(text: &str) -> Result<Validator, String> {
    let schema: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    jsonschema::options()
        .with_pattern_options(jsonschema::PatternOptions::regex())
        .build(&schema)
        .map_err(|e| e.to_string())
}

/// The body, if it is one of this kind; else what is wrong with it. Depth is bounded by the parser.
pub(crate) fn body(kind: &str, key: &str, text: &str) -> Result<Map<String, Value>, String> {
    if text.len() > MAX_BODY {
        return Err(format!(
            "{kind} {key} has a body of {} bytes; at most {MAX_BODY} are allowed",
            text.len()
        ));
    }
    let value = match serde_json::from_str::<Value>(text) {
        Ok(value @ Value::Object(_)) => value,
        Ok(_) => return Err(format!("the body of {kind} {key} is no JSON object")),
        Err(e) => return Err(format!("the body of {kind} {key} is no JSON: {e}")),
    };
    let schema = SCHEMAS.get(kind).ok_or_else(|| format!("kind {kind:?} is unknown here"))?;
    if let Some(error) = schema.iter_errors(&value).next() {
        let place = error.instance_path().to_string();
        return Err(short(&format!("the body of {kind} {key} does not fit the kind: {place} {error}")));
    }
    match value {
        Value::Object(body) => Ok(body),
        _ => Ok(Map::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_schema_that_compiles_and_describes_itself() {
        for (kind, text) in TEXTS {
            compile(text).unwrap_or_else(|e| panic!("{kind}: {e}"));
            let schema: Value = serde_json::from_str(text).unwrap();
            assert!(schema["description"].is_string(), "{kind}");
            assert_eq!(schema["additionalProperties"], false, "{kind}");
        }
        for kind in crate::items::KINDS {
            assert!(SCHEMAS.contains_key(kind), "{kind}");
        }
        assert_eq!(SCHEMAS.len(), TEXTS.len());
    }

    #[test]
    fn a_body_is_its_kinds_or_is_refused_by_field() {
        assert!(body("bridge@1", "n", r#"{"name": "cnb7", "mtu": 1500}"#).is_ok());
        for (text, why) in [
            (r#"{"name": "cnb7"}"#, "mtu"),
            (r#"{"name": "cnb7", "mtu": "1500"}"#, "mtu"),
            (r#"{"name": "cnb7", "mtu": 67}"#, "mtu"),
            (r#"{"name": "eth0", "mtu": 1500}"#, "name"),
            (r#"{"name": "cnb7\n", "mtu": 1500}"#, "name"),
            (r#"{"name": "cnb7", "mtu": 1500, "x": 1}"#, "x"),
            ("[]", "no JSON object"),
            ("", "no JSON"),
        ] {
            let error = body("bridge@1", "n", text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        // An error does not grow with what it is about.
        let long = format!(r#"{{"name": "{}", "mtu": 1500}}"#, "x".repeat(100_000));
        assert!(body("bridge@1", "n", &long).unwrap_err().len() < 1_000);
    }
}
