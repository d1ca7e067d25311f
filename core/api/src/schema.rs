//! Request schemas: one per body and version, JSON Schema 2020-12, also the source of the OpenAPI documents.
//!
//! Building blocks shared by the services stand here; each service's bodies stand beside its handlers.

use crate::route::Schema;
use crate::version::Microversion;
use canopy_types::{Error, Result};
use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// Depth of objects with unknown properties that are taken out rather than refused.
const MAX_RELAXED: usize = 8;

/// The schemas of one route, oldest first, each compiled when the first body asks for it: all of them together take
/// longer than the rest of a controller's start, and most clouds never need most of them.
pub struct Compiled(Vec<(Microversion, LazyLock<Validator, Compile>)>);

type Compile = Box<dyn FnOnce() -> Validator + Send>;

impl Compiled {
    /// Its use panics on a schema that is no schema: it is part of the program, and a test compiles them all.
    pub fn new(schemas: &[(Microversion, Schema)]) -> Self {
        let lazy = |schema: Schema| {
            let compile = move || jsonschema::validator_for(&schema()).expect("a built-in schema compiles");
            LazyLock::new(Box::new(compile) as Compile)
        };
        Self(schemas.iter().map(|(version, schema)| (*version, lazy(*schema))).collect())
    }

    /// The newest one that `version` has.
    fn of(&self, version: Microversion) -> Option<&Validator> {
        self.0.iter().rev().find(|(from, _)| *from <= version).map(|(_, validator)| &**validator)
    }

    /// Takes out of `body` what `version` does not know, as nova does for clients of its first version.
    pub fn relax(&self, version: Microversion, body: &mut Value) {
        let Some(validator) = self.of(version) else { return };
        // Each round takes something out of at least one object.
        for _ in 0..MAX_RELAXED {
            let unknown: Vec<(String, Vec<String>)> = validator
                .iter_errors(body)
                .filter_map(|error| match error.kind() {
                    ValidationErrorKind::AdditionalProperties { unexpected } => {
                        Some((error.instance_path().to_string(), unexpected.clone()))
                    }
                    _ => None,
                })
                .collect();
            if unknown.is_empty() {
                return;
            }
            for (path, names) in unknown {
                if let Some(object) = body.pointer_mut(&path).and_then(Value::as_object_mut) {
                    object.retain(|name, _| !names.contains(name));
                }
            }
        }
    }

    /// Why `version` does not want `body`: the first reason.
    fn fault<'b>(&'b self, version: Microversion, body: &'b Value) -> Option<ValidationError<'b>> {
        let validator = self.of(version)?;
        // Most bodies are right, and to know only that is cheaper than to look for reasons.
        if validator.is_valid(body) { None } else { validator.iter_errors(body).next() }
    }

    /// The same as [`Self::check`] in the words of Python's validator, which placement's clients know. They show
    /// the value: no body of placement's holds a secret.
    pub fn check_as_placement(&self, version: Microversion, body: &Value) -> Result<()> {
        let Some(error) = self.fault(version, body) else { return Ok(()) };
        let text = match error.kind() {
            ValidationErrorKind::MinProperties { .. } => format!("{} should be non-empty", error.instance()),
            // With dashes or without.
            ValidationErrorKind::Pattern { pattern } if pattern.starts_with(UUID_BEGINS) => {
                format!("{} is not a 'uuid'", error.instance())
            }
            _ => error.to_string(),
        };
        let path = error.schema_path().to_string();
        let (path, keyword) = path.rsplit_once('/').unwrap_or_default();
        let keyword = if text.ends_with("'uuid'") { "format" } else { keyword };
        let within: String = path.split('/').skip(1).map(|name| format!("['{name}']")).collect();
        let text = short(text.replace('"', "'"));
        let text =
            format!("JSON does not validate: {text}\n\nFailed validating '{keyword}' in schema{within}");
        Err(Error::bad_request("request.schema", text))
    }

    /// Checks `body` as `version` wants it.
    pub fn check(&self, version: Microversion, body: &Value) -> Result<()> {
        let Some(error) = self.fault(version, body) else { return Ok(()) };
        let path = error.instance_path().to_string();
        let field = path.rsplit('/').next().unwrap_or_default();
        // Without the value: it may be a secret, or megabytes. Names of properties may be long too.
        let text = match error.kind() {
            // The pattern itself helps nobody.
            ValidationErrorKind::Pattern { pattern } if pattern == NAME => {
                "A name must not begin or end with a blank, nor hold a line break or another control character."
                    .to_owned()
            }
            _ => error.masked().to_string(),
        };
        let text = short(text);
        Err(Error::bad_request(
            "request.schema",
            if field.is_empty() {
                text
            } else {
                format!("Invalid input for field/attribute {field}. {text}")
            },
        ))
    }
}

/// At most 300 bytes of it.
fn short(mut text: String) -> String {
    if text.len() > 300 {
        let cut = (0..=300).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    text
}

const NAME: &str = r"^[^\s\p{Cc}](?:[^\p{Cc}]*[^\s\p{Cc}])?$";

/// How each pattern of UUIDs begins.
const UUID_BEGINS: &str = "^[0-9a-fA-F]{8}-";
const UUID: &str = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$";

/// A name as nova accepts one: 1 to 255 printable characters, no surrounding blanks.
pub fn name() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 255,
        "pattern": NAME})
}

/// Free text of at most `max` characters, no control characters but newline and tab.
pub fn text(max: u32) -> Value {
    json!({"type": "string", "maxLength": max, "pattern": r"^[^\x00-\x08\x0B\x0C\x0E-\x1F\x7F]*$"})
}

pub fn uuid() -> Value {
    json!({"type": "string", "pattern": UUID})
}

/// An object with exactly these properties allowed.
pub fn object(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::v;

    fn schema() -> Value {
        object(json!({"name": name()}), &["name"])
    }

    #[test]
    fn the_message_names_the_field_and_what_is_wrong() {
        let compiled = Compiled::new(&[(v(2, 1), schema)]);
        assert!(compiled.check(v(2, 5), &json!({"name": "a b"})).is_ok());
        let error = compiled.check(v(2, 5), &json!({"name": "a", "nmae": 1})).unwrap_err();
        assert!(error.message.contains("Additional properties are not allowed"), "{}", error.message);
        for bad in ["", " a", "a\nb", "a\u{0}", &"x".repeat(256)] {
            let error = compiled.check(v(2, 1), &json!({"name": bad})).unwrap_err();
            assert!(
                error.message.starts_with("Invalid input for field/attribute name."),
                "{}",
                error.message
            );
            assert!(error.message.len() < 400);
        }
    }

    #[test]
    fn placement_says_it_in_the_words_of_the_genuine_service() {
        let compiled = Compiled::new(&[(v(1, 0), || {
            object(
                json!({"name": {"type": "string", "minLength": 2}, "of": {"minProperties": 1}, "id": uuid()}),
                &["name"],
            )
        })]);
        for (body, words) in [
            (
                json!({}),
                "JSON does not validate: 'name' is a required property\n\nFailed validating 'required' in schema",
            ),
            (json!({"name": ""}), "Failed validating 'minLength' in schema['properties']['name']"),
            (
                json!({"name": "ab", "id": "ab"}),
                "'ab' is not a 'uuid'\n\nFailed validating 'format' in schema",
            ),
            (json!({"name": 1}), "1 is not of type 'string'"),
            (json!({"name": "ab", "of": {}}), "{} should be non-empty"),
        ] {
            let error = compiled.check_as_placement(v(1, 5), &body).unwrap_err();
            assert!(error.message.contains(words), "{}", error.message);
        }
        let long = json!({"name": ["x".repeat(100_000)]});
        assert!(compiled.check_as_placement(v(1, 5), &long).unwrap_err().message.len() < 500);
    }

    #[test]
    fn what_is_unknown_can_be_taken_out_and_what_is_wrong_stays_wrong() {
        let compiled = Compiled::new(&[(v(2, 1), || {
            object(json!({"server": schema(), "n": {"type": "integer"}}), &[])
        })]);
        let mut body = json!({"server": {"name": "a", "x": {"deep": 1}}, "y": 1, "n": "wrong"});
        compiled.relax(v(2, 1), &mut body);
        assert_eq!(body, json!({"server": {"name": "a"}, "n": "wrong"}));
        assert!(compiled.check(v(2, 1), &body).is_err());
    }

    #[test]
    fn every_schema_of_the_table_compiles() {
        for route in crate::routes() {
            if let crate::Body::Json(schemas) = route.body {
                for (version, _) in schemas {
                    assert!(Compiled::new(schemas).of(*version).is_some(), "{}", route.path);
                }
            }
        }
    }
}
