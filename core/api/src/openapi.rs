//! OpenAPI 3.1 documents, one a service, from the route table alone.

use crate::route::{Auth, Body, Route, Service};
use crate::version;
use serde_json::{Map, Value, json};

/// (name, pretty JSON with a final newline) of every service that clients use.
pub fn documents() -> Vec<(&'static str, String)> {
    let routes = crate::routes();
    Service::ALL
        .into_iter()
        .map(|service| {
            let document = document(service, routes.iter().filter(|route| route.service == service));
            (service.name(), format!("{document:#}\n"))
        })
        .collect()
}

fn document<'a>(service: Service, routes: impl Iterator<Item = &'a Route>) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        // A parameter that takes the rest of the path is one like others here.
        let path = if route.path.is_empty() { "/".to_owned() } else { route.path.replace("{*", "{") };
        let entry = paths.entry(path).or_insert_with(|| json!({}));
        let method = route.method.as_str().to_ascii_lowercase();
        match entry.get_mut(&method) {
            // Several routes behind one `…/action`: their bodies are alternatives.
            Some(known) => merge(known, route),
            None => entry[&method] = operation(route),
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": format!("Canopy: {}", service.name()),
            "version": version::range(service).map_or_else(|| "1".to_owned(), |range| range.max.to_string()),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": service.prefix()}],
        "components": {"securitySchemes": {
            "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
            "agent": {"type": "http", "scheme": "bearer"},
        }},
        "paths": paths,
    })
}

fn operation(route: &Route) -> Value {
    let mut out = json!({ "summary": route.summary, "responses": responses(route) });
    let parameters: Vec<Value> = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| name.trim_start_matches('*'))
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    if !parameters.is_empty() {
        out["parameters"] = json!(parameters);
    }
    match route.auth {
        Auth::Public => {}
        Auth::Token => out["security"] = json!([{"token": []}]),
        Auth::Agent => out["security"] = json!([{"agent": []}]),
    }
    if let Some(action) = route.action {
        out["x-canopy-action"] = json!([action.name]);
    }
    match route.body {
        Body::None => {}
        Body::Stream => {
            out["requestBody"] = json!({"content": {"application/octet-stream": {}}, "required": true});
        }
        Body::Json(_) => {
            out["requestBody"] =
                json!({"content": {"application/json": {"schema": newest(route)}}, "required": true});
        }
    }
    out
}

/// The body of the newest version.
fn newest(route: &Route) -> Value {
    match route.body {
        Body::Json(schemas) => schemas.last().map_or(json!({}), |(_, schema)| portable(schema())),
        Body::None | Body::Stream => json!({}),
    }
}

fn responses(route: &Route) -> Value {
    let mut out = Map::new();
    for status in route.success {
        out.insert(status.to_string(), json!({"description": "Done"}));
    }
    let mut errors: Vec<u16> = route.errors.to_vec();
    errors.extend([400, 503]);
    if route.auth != Auth::Public {
        errors.extend([401, 403]);
    }
    for status in errors {
        let name =
            http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Error");
        out.insert(status.to_string(), json!({ "description": name }));
    }
    Value::Object(out)
}

fn merge(known: &mut Value, route: &Route) {
    let schema = &mut known["requestBody"]["content"]["application/json"]["schema"];
    match schema.get_mut("oneOf").and_then(Value::as_array_mut) {
        Some(list) => list.push(newest(route)),
        None => *schema = json!({"oneOf": [schema.take(), newest(route)]}),
    }
    if let (Some(list), Some(action)) = (known["x-canopy-action"].as_array_mut(), route.action) {
        list.push(json!(action.name));
    }
    if let (Some(all), Value::Object(more)) = (known["responses"].as_object_mut(), responses(route)) {
        all.extend(more);
    }
}
/// The schema with patterns that every reader of the documents understands: many know no classes of characters
/// by property.
fn portable(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                match value {
                    Value::String(pattern) if name == "pattern" => {
                        *pattern = pattern.replace(r"\p{Cc}", r"\x00-\x1F\x7F-\x9F");
                    }
                    other => *other = portable(other.take()),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = portable(item.take())),
        _ => {}
    }
    schema
}
