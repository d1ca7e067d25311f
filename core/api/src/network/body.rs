//! Bodies as neutron reads them: one resource or a list of them, each attribute checked by name, and the
//! refusals in neutron's words, because people and clients know those.

use crate::request::parse_bool;
use canopy_app::network::errors::bad_attribute;
use canopy_app::network::ports::parse_ip;
use canopy_types::{Error, ProjectId, Result};
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::str::FromStr;

pub const MAX_TEXT: usize = 255;

fn bad(message: impl Into<String>) -> Error {
    Error::bad_request("network.HTTPBadRequest", message)
}

/// At most 64 characters of what a client sent.
pub fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().take(64).collect()
}

/// What a request may say about a resource.
pub struct Shape {
    pub singular: &'static str,
    pub plural: &'static str,
    pub create: &'static [&'static str],
    pub update: &'static [&'static str],
    /// Shown, not set.
    pub read_only: &'static [&'static str],
}

impl Shape {
    /// The resources of a create request, and whether it was a bulk one.
    pub fn created<'a>(&self, json: &'a Value) -> Result<(Vec<Item<'a>>, bool)> {
        if let Some(one) = json.get(self.singular) {
            return Ok((vec![self.item(one, self.create, "POST")?], false));
        }
        let many = json.get(self.plural).and_then(Value::as_array).ok_or_else(|| self.absent())?;
        if many.is_empty() {
            return Err(bad("Resources required"));
        }
        let items: Result<Vec<_>> = many.iter().map(|one| self.item(one, self.create, "POST")).collect();
        Ok((items?, true))
    }

    pub fn updated<'a>(&self, json: &'a Value) -> Result<Item<'a>> {
        self.item(json.get(self.singular).ok_or_else(|| self.absent())?, self.update, "PUT")
    }

    fn absent(&self) -> Error {
        bad(format!("Unable to find '{}' in request body", self.singular))
    }

    fn item<'a>(&self, value: &'a Value, allowed: &[&str], method: &str) -> Result<Item<'a>> {
        let map = value.as_object().ok_or_else(|| bad("Resource body required"))?;
        for name in map.keys().map(String::as_str).filter(|name| !allowed.contains(name)) {
            if self.create.contains(&name) || self.read_only.contains(&name) {
                return Err(bad(match method {
                    "POST" => format!("Attribute '{name}' not allowed in POST"),
                    _ => format!("Cannot update read-only attribute {name}"),
                }));
            }
        }
        let unknown: Vec<String> = map
            .keys()
            .filter(|name| !allowed.contains(&name.as_str()))
            .take(10)
            .map(|name| name.chars().take(64).collect())
            .collect();
        if !unknown.is_empty() {
            return Err(bad(format!("Unrecognized attribute(s) '{}'", unknown.join(", "))));
        }
        Ok(Item { map })
    }

    /// Names what a body may hold; the attributes themselves are checked by the handlers.
    pub fn schema(&self, attributes: &[&str], bulk: bool) -> Value {
        let properties: Map<String, Value> =
            attributes.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
        let one = json!({"type": "object", "properties": properties});
        let mut body = Map::from_iter([(self.singular.to_owned(), one.clone())]);
        if bulk {
            body.insert(self.plural.to_owned(), json!({"type": "array", "items": one}));
        }
        json!({"type": "object", "properties": body})
    }
}

/// One resource's attributes. A getter gives `None` for one that is absent.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    map: &'a Map<String, Value>,
}

impl<'a> Item<'a> {
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name)
    }

    /// One line of at most [`MAX_TEXT`] characters.
    pub fn text(&self, name: &str) -> Result<Option<String>> {
        self.get(name).map(|value| text(name, value, false)).transpose()
    }

    /// Several lines; null is none.
    pub fn lines(&self, name: &str) -> Result<Option<String>> {
        match self.get(name) {
            Some(Value::Null) => Ok(Some(String::new())),
            value => value.map(|value| text(name, value, true)).transpose(),
        }
    }

    pub fn flag(&self, name: &str) -> Result<Option<bool>> {
        self.get(name)
            .map(|value| {
                let flag = match value {
                    Value::Bool(flag) => Some(*flag),
                    Value::Number(number) => match number.as_i64() {
                        Some(0) => Some(false),
                        Some(1) => Some(true),
                        _ => None,
                    },
                    Value::String(text) => parse_bool(text),
                    _ => None,
                };
                flag.ok_or_else(|| {
                    bad_attribute(name, format!("'{}' cannot be converted to boolean", shown(value)))
                })
            })
            .transpose()
    }

    /// A whole number, also as text.
    pub fn int(&self, name: &str) -> Result<Option<i64>> {
        self.get(name)
            .map(|value| {
                let number = value.as_i64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
                number.ok_or_else(|| bad_attribute(name, format!("'{}' is not an integer", shown(value))))
            })
            .transpose()
    }

    /// `project_id`, by either of its names.
    pub fn project(&self) -> Result<Option<ProjectId>> {
        let (new, old) = (self.text("project_id")?, self.text("tenant_id")?);
        if new.is_some() && old.is_some() && new != old {
            return Err(bad("'project_id' and 'tenant_id' do not match"));
        }
        match new.or(old) {
            Some(id) if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => {
                Err(bad_attribute("project_id", "it is not an id of a project"))
            }
            id => Ok(id.map(ProjectId)),
        }
    }

    pub fn required<T>(&self, name: &str, value: Option<T>) -> Result<T> {
        value
            .ok_or_else(|| bad(format!("Failed to parse request. Required attribute '{name}' not specified")))
    }

    pub fn id<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        self.get(name).map(|value| id(name, value)).transpose()
    }

    /// A list of at most `max` entries; null is an empty one.
    pub fn list(&self, name: &str, max: usize) -> Result<Option<&'a [Value]>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(&[])),
            Some(Value::Array(values)) if values.len() <= max => Ok(Some(values)),
            Some(Value::Array(values)) => Err(bad_attribute(
                name,
                format!("it has {} entries, at most {max} are allowed", values.len()),
            )),
            Some(value) => Err(bad_attribute(name, format!("'{}' is not a list", shown(value)))),
        }
    }

    pub fn ids<T: FromStr>(&self, name: &str, max: usize) -> Result<Option<Vec<T>>> {
        self.list(name, max)?.map(|values| values.iter().map(|value| id(name, value)).collect()).transpose()
    }

    pub fn ips(&self, name: &str, max: usize) -> Result<Option<Vec<IpAddr>>> {
        self.list(name, max)?.map(|values| values.iter().map(|value| ip(name, value)).collect()).transpose()
    }

    /// An attribute of neutron's that can have only what `only` accepts here.
    pub fn fixed(&self, name: &str, only: impl Fn(&Value) -> bool, why: &str) -> Result<()> {
        match self.get(name) {
            Some(value) if !value.is_null() && !only(value) => {
                Err(bad_attribute(name, format!("'{}' is not offered: {why}", shown(value))))
            }
            _ => Ok(()),
        }
    }
}

fn text(name: &str, value: &Value, lines: bool) -> Result<String> {
    let Value::String(text) = value else {
        return Err(bad_attribute(name, format!("'{}' is not a valid string", shown(value))));
    };
    if text.chars().count() > MAX_TEXT {
        return Err(bad_attribute(name, format!("'{}…' exceeds maximum length of {MAX_TEXT}", shown(value))));
    }
    if text.chars().any(|c| c.is_control() && !(lines && (c == '\n' || c == '\r' || c == '\t'))) {
        return Err(bad_attribute(name, "it holds a control character"));
    }
    Ok(text.clone())
}

pub fn id<T: FromStr>(name: &str, value: &Value) -> Result<T> {
    value
        .as_str()
        .filter(|text| text.len() == 36)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| bad_attribute(name, format!("'{}' is not a valid UUID", shown(value))))
}

pub fn ip(name: &str, value: &Value) -> Result<IpAddr> {
    match value.as_str() {
        Some(text) => parse_ip(name, text),
        None => Err(bad_attribute(name, format!("'{}' is not a valid IP address", shown(value)))),
    }
}

pub fn is_empty_list(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

/// An entry of a list that is an object with these keys only.
pub fn entry<'a>(name: &str, value: &'a Value, keys: &[&str]) -> Result<&'a Map<String, Value>> {
    let map = value
        .as_object()
        .ok_or_else(|| bad_attribute(name, format!("'{}' is not a dictionary", shown(value))))?;
    match map.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => {
            let key: String = key.chars().take(64).collect();
            Err(bad_attribute(name, format!("Unexpected key '{key}', use {}", keys.join(", "))))
        }
        None => Ok(map),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        singular: "thing",
        plural: "things",
        create: &["name", "size", "up", "project_id", "tenant_id", "description", "cidr"],
        update: &["name", "size"],
        read_only: &["id"],
    };

    fn message<T>(result: Result<T>) -> String {
        result.err().expect("refused").message
    }

    #[test]
    fn one_or_many_and_nothing_else() {
        assert!(!SHAPE.created(&json!({"thing": {}})).unwrap().1);
        let body = json!({"things": [{}, {}]});
        let (items, bulk) = SHAPE.created(&body).unwrap();
        assert_eq!((items.len(), bulk), (2, true));
        for bad in [
            json!(null),
            json!([]),
            json!({}),
            json!({"thing": 1}),
            json!({"thing": null}),
            json!({"things": []}),
            json!({"things": {}}),
            json!({"things": [1]}),
            json!("x"),
        ] {
            assert!(SHAPE.created(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn attributes_are_known_and_may_be_set() {
        let refused = |body: Value| message(SHAPE.created(&json!({ "thing": body })));
        assert_eq!(refused(json!({"a": 1, "b": 2})), "Unrecognized attribute(s) 'a, b'");
        assert_eq!(refused(json!({"id": 1})), "Attribute 'id' not allowed in POST");
        assert_eq!(
            message(SHAPE.updated(&json!({"thing": {"cidr": "x"}}))),
            "Cannot update read-only attribute cidr"
        );
        assert!(refused(json!({"x".repeat(100_000): 1})).len() < 200);
    }

    #[test]
    fn values_are_of_their_kind() {
        let body = json!({"thing": {"name": "n", "size": "7", "up": "False", "description": null}});
        let item = SHAPE.created(&body).unwrap().0[0];
        assert_eq!(item.text("name").unwrap().unwrap(), "n");
        assert_eq!(item.int("size").unwrap(), Some(7));
        assert_eq!(item.flag("up").unwrap(), Some(false));
        assert_eq!(item.lines("description").unwrap().unwrap(), "");
        assert_eq!(item.text("absent").unwrap(), None);
        for bad in [
            json!(1),
            json!(null),
            json!([]),
            json!({}),
            json!("x".repeat(256)),
            json!("a\u{0}b"),
            json!("a\nb"),
        ] {
            let body = json!({"thing": {"name": bad}});
            let (items, _) = SHAPE.created(&body).unwrap();
            assert!(message(items[0].text("name")).starts_with("Invalid input for name. Reason: "));
        }
        for bad in [json!("x"), json!(1.5), json!(null), json!([]), json!("99999999999999999999")] {
            let body = json!({"thing": {"size": bad, "up": bad}});
            let (items, _) = SHAPE.created(&body).unwrap();
            assert!(items[0].int("size").is_err() && items[0].flag("up").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_project_has_two_names_and_one_value() {
        let project = |body: Value| SHAPE.created(&json!({ "thing": body })).unwrap().0[0].project();
        assert_eq!(project(json!({"tenant_id": "a1"})).unwrap(), Some("a1".into()));
        assert_eq!(project(json!({"tenant_id": "a1", "project_id": "a1"})).unwrap(), Some("a1".into()));
        assert!(project(json!({"tenant_id": "a1", "project_id": "a2"})).is_err());
        assert!(project(json!({"tenant_id": ""})).is_err());
        assert!(project(json!({"project_id": "*"})).is_err());
    }
}
