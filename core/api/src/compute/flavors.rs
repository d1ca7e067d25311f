//! Flavors and their extra specs. 2.55 adds descriptions, 2.61 shows extra specs within the flavor; since 2.75 no
//! swap is 0.

use crate::request::{Query, Reply, Req, parse_bool};
use crate::route::{Route, Schema, Service};
use crate::version::{COMPUTE, Microversion, v};
use crate::{handler, links, schema};
use canopy_app::compute::flavors::{self, Flavor, FlavorQuery, SortKey};
use canopy_authz::actions::compute as actions;
use canopy_types::{Error, FlavorId, Result, Timestamp};
use http::Method;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const WITH_DESCRIPTION: Microversion = v(2, 55);
const WITH_SPECS: Microversion = v(2, 61);
const SWAP_IS_A_NUMBER: Microversion = v(2, 75);
const MAX_DESCRIPTION: usize = 65_535;

const CREATE: &[(Microversion, Schema)] =
    &[(v(2, 1), || create_schema(false)), (WITH_DESCRIPTION, || create_schema(true))];
const UPDATE: &[(Microversion, Schema)] = &[(WITH_DESCRIPTION, || {
    let flavor = schema::object(json!({ "description": description() }), &["description"]);
    schema::object(json!({ "flavor": flavor }), &["flavor"])
})];
const QUERY: &[(Microversion, &[&str])] =
    &[(v(2, 75), &["limit", "marker", "is_public", "minRam", "minDisk", "sort_key", "sort_dir"])];
const SPECS: &[(Microversion, Schema)] = &[(v(2, 1), specs_schema)];
const SPEC: &[(Microversion, Schema)] = &[(v(2, 1), spec_schema)];

pub fn routes() -> Vec<Route> {
    let route = |method, path, summary, handler| Route::new(Service::Compute, method, path, summary, handler);
    let specs = "/v2.1/flavors/{id}/os-extra_specs";
    let spec = "/v2.1/flavors/{id}/os-extra_specs/{key}";
    vec![
        route(Method::GET, "/v2.1/flavors", "List flavors", handler!(list))
            .action(actions::FLAVORS_LIST)
            .query(QUERY),
        route(Method::GET, "/v2.1/flavors/detail", "List flavors with details", handler!(detail))
            .action(actions::FLAVORS_LIST)
            .query(QUERY),
        route(Method::POST, "/v2.1/flavors", "Create a flavor", handler!(create))
            .action(actions::FLAVORS_CREATE)
            .json(CREATE)
            .answers(&[200], &[409]),
        route(Method::GET, "/v2.1/flavors/{id}", "Show a flavor", handler!(show))
            .action(actions::FLAVORS_SHOW)
            .answers(&[200], &[404]),
        route(Method::PUT, "/v2.1/flavors/{id}", "Describe a flavor", handler!(update))
            .action(actions::FLAVORS_UPDATE)
            .versions(WITH_DESCRIPTION, COMPUTE.max)
            .json(UPDATE)
            .answers(&[200], &[404]),
        route(Method::DELETE, "/v2.1/flavors/{id}", "Delete a flavor", handler!(delete))
            .action(actions::FLAVORS_DELETE)
            .answers(&[202], &[404]),
        route(Method::GET, specs, "List a flavor's extra specs", handler!(list_specs))
            .action(actions::FLAVORS_SHOW)
            .answers(&[200], &[404]),
        route(Method::POST, specs, "Add extra specs to a flavor", handler!(add_specs))
            .action(actions::FLAVORS_CREATE)
            .json(SPECS)
            .answers(&[200], &[404]),
        route(Method::GET, spec, "Show one extra spec", handler!(show_spec))
            .action(actions::FLAVORS_SHOW)
            .answers(&[200], &[404]),
        route(Method::PUT, spec, "Set one extra spec", handler!(set_spec))
            .action(actions::FLAVORS_CREATE)
            .json(SPEC)
            .answers(&[200], &[404]),
        route(Method::DELETE, spec, "Remove one extra spec", handler!(remove_spec))
            .action(actions::FLAVORS_CREATE)
            .answers(&[200], &[404]),
    ]
}

/// A whole number, which older clients also send as text.
fn number(minimum: i64) -> Value {
    json!({"type": ["integer", "string"], "minimum": minimum, "maximum": i32::MAX, "pattern": "^[0-9]{1,10}$"})
}

/// Text that may have several lines.
fn description() -> Value {
    json!({"type": ["string", "null"], "maxLength": MAX_DESCRIPTION, "pattern": r"^[^\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F]*$"})
}

fn create_schema(described: bool) -> Value {
    let id = json!({"type": ["string", "integer", "null"], "minLength": 1, "maxLength": 255, "minimum": 0,
        "pattern": "^[a-zA-Z0-9._-](?:[a-zA-Z0-9. _-]*[a-zA-Z0-9._-])?$"});
    let mut properties = json!({
        "name": schema::name(),
        "id": id,
        "ram": number(1),
        "vcpus": number(1),
        "disk": number(0),
        "OS-FLV-EXT-DATA:ephemeral": number(0),
        "swap": number(0),
        "rxtx_factor": {"type": ["number", "string"], "exclusiveMinimum": 0, "maximum": 1e9,
            "pattern": r"^[0-9]{1,9}(?:\.[0-9]{1,9})?$"},
        "os-flavor-access:is_public": {"enum": [true, false, "true", "false", "True", "False", "1", "0"]},
    });
    if described {
        properties["description"] = description();
    }
    let flavor = schema::object(properties, &["name", "ram", "vcpus", "disk"]);
    schema::object(json!({ "flavor": flavor }), &["flavor"])
}

fn specs_schema() -> Value {
    let specs = json!({"type": "object", "minProperties": 1, "maxProperties": 128,
        "patternProperties": {KEY: spec_value()}, "additionalProperties": false});
    schema::object(json!({ "extra_specs": specs }), &["extra_specs"])
}

fn spec_schema() -> Value {
    json!({"type": "object", "minProperties": 1, "maxProperties": 1,
        "patternProperties": {KEY: spec_value()}, "additionalProperties": false})
}

const KEY: &str = "^[a-zA-Z0-9_.: -]{1,255}$";

fn spec_value() -> Value {
    let mut text = schema::text(255);
    text["type"] = json!(["string", "number", "boolean"]);
    text
}

pub(super) fn flavor_id(req: &Req) -> FlavorId {
    FlavorId(req.param("id").to_owned())
}

fn reference(req: &Req, flavor: &Flavor) -> Map<String, Value> {
    let id = links::escape(flavor.id.as_str());
    let mut fields = Map::new();
    fields.insert("id".into(), flavor.id.as_str().into());
    fields.insert("name".into(), flavor.name.as_str().into());
    let links = json!([
        {"rel": "self", "href": format!("{}/compute/v2.1/flavors/{id}", req.base)},
        {"rel": "bookmark", "href": format!("{}/compute/flavors/{id}", req.base)},
    ]);
    fields.insert("links".into(), links);
    if req.version >= WITH_DESCRIPTION {
        fields.insert("description".into(), json!(flavor.description));
    }
    fields
}

fn view(req: &Req, flavor: &Flavor) -> Value {
    let mut fields = reference(req, flavor);
    let no_swap = flavor.swap_mib == 0 && req.version < SWAP_IS_A_NUMBER;
    let swap = if no_swap { json!("") } else { json!(flavor.swap_mib) };
    for (name, value) in [
        ("ram", json!(flavor.memory_mib)),
        ("disk", json!(flavor.root_gib)),
        ("vcpus", json!(flavor.vcpus)),
        ("swap", swap),
        ("OS-FLV-EXT-DATA:ephemeral", json!(flavor.ephemeral_gib)),
        ("OS-FLV-DISABLED:disabled", json!(false)),
        ("os-flavor-access:is_public", json!(flavor.is_public)),
        ("rxtx_factor", json!(flavor.rxtx_factor.parse::<f64>().unwrap_or(1.0))),
    ] {
        fields.insert(name.into(), value);
    }
    // Who sees a flavor may read its extra specs.
    if req.version >= WITH_SPECS {
        fields.insert("extra_specs".into(), json!(flavor.extra_specs));
    }
    Value::Object(fields)
}

async fn list(req: Req) -> Result<Reply> {
    page(req, "flavors", |req, flavor| Value::Object(reference(req, flavor))).await
}

async fn detail(req: Req) -> Result<Reply> {
    page(req, "flavors/detail", view).await
}

async fn page(req: Req, path: &str, view: fn(&Req, &Flavor) -> Value) -> Result<Reply> {
    let listed = flavors::list(&req.app, req.ctx()?, &query(&req.query)?).await?;
    let mut body =
        json!({"flavors": listed.flavors.iter().map(|flavor| view(&req, flavor)).collect::<Vec<_>>()});
    if listed.more
        && let Some(last) = listed.flavors.last()
    {
        let query = links::next_query(&req.query, last.id.as_str());
        let href = format!("{}/compute/v2.1/{path}?{query}", req.base);
        body["flavors_links"] = json!([{"rel": "next", "href": href}]);
    }
    Reply::json(200, &body)
}

fn query(query: &Query) -> Result<FlavorQuery> {
    let amount = |name: &str| {
        query.get(name).map_or(Ok(None), |text| {
            text.parse::<i64>()
                .map(Some)
                .map_err(|_| Error::bad_request("flavor.query", format!("Invalid {name} filter [{text}]")))
        })
    };
    let mut list = FlavorQuery { page: query.page()?, ..FlavorQuery::default() };
    list.filter.min_memory_mib = amount("minRam")?;
    list.filter.min_root_gib = amount("minDisk")?;
    list.filter.is_public = match query.get("is_public") {
        None => Some(true),
        Some(text) if text.eq_ignore_ascii_case("none") => None,
        Some(text) => Some(parse_bool(text).ok_or_else(|| {
            Error::bad_request("flavor.query", format!("Invalid is_public filter [{text}]"))
        })?),
    };
    list.sort = query.get("sort_key").map(sort_key).transpose()?;
    list.descending = match query.get("sort_dir") {
        None | Some("asc") => false,
        Some("desc") => true,
        Some(other) => {
            return Err(Error::bad_request(
                "flavor.query",
                format!("Unknown sort direction '{other}': use asc or desc."),
            ));
        }
    };
    Ok(list)
}

fn sort_key(text: &str) -> Result<SortKey> {
    Ok(match text {
        "flavorid" | "id" => SortKey::Id,
        "name" => SortKey::Name,
        "memory_mb" => SortKey::Memory,
        "vcpus" => SortKey::Vcpus,
        "root_gb" => SortKey::Root,
        "ephemeral_gb" => SortKey::Ephemeral,
        "swap" => SortKey::Swap,
        "is_public" => SortKey::IsPublic,
        "created_at" => SortKey::CreatedAt,
        _ => return Err(Error::bad_request("flavor.query", format!("Sort key supplied is invalid: {text}"))),
    })
}

async fn show(req: Req) -> Result<Reply> {
    let flavor = flavors::show(&req.app, req.ctx()?, &flavor_id(&req)).await?;
    Reply::json(200, &json!({"flavor": view(&req, &flavor)}))
}

async fn create(req: Req) -> Result<Reply> {
    let flavor = flavors::create(&req.app, req.ctx()?, wanted(&req.json["flavor"])?).await?;
    Reply::json(200, &json!({"flavor": view(&req, &flavor)}))
}

fn wanted(body: &Value) -> Result<Flavor> {
    let amount = |name: &str, least: i64, default: i64| {
        let value = match &body[name] {
            Value::Null => Some(default),
            Value::String(text) => text.parse().ok(),
            value => value.as_i64(),
        };
        value.filter(|n| (least..=i64::from(i32::MAX)).contains(n)).ok_or_else(|| {
            Error::bad_request(
                "flavor.invalid",
                format!("Invalid input for field/attribute {name}. It must be a whole number from {least} to 2147483647."),
            )
        })
    };
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    };
    let rxtx_factor = text(&body["rxtx_factor"]).unwrap_or_else(|| "1.0".into());
    if !rxtx_factor.parse::<f64>().is_ok_and(|factor| factor > 0.0 && factor <= 1e9) {
        return Err(Error::bad_request(
            "flavor.invalid",
            "Invalid input for field/attribute rxtx_factor. It must be a number above 0.",
        ));
    }
    Ok(Flavor {
        id: text(&body["id"]).map_or_else(FlavorId::random, FlavorId),
        name: body["name"].as_str().unwrap_or_default().to_owned(),
        vcpus: amount("vcpus", 1, 0)?,
        memory_mib: amount("ram", 1, 0)?,
        root_gib: amount("disk", 0, 0)?,
        ephemeral_gib: amount("OS-FLV-EXT-DATA:ephemeral", 0, 0)?,
        swap_mib: amount("swap", 0, 0)?,
        rxtx_factor,
        is_public: text(&body["os-flavor-access:is_public"])
            .is_none_or(|text| parse_bool(&text).unwrap_or(true)),
        extra_specs: BTreeMap::new(),
        description: body["description"].as_str().map(str::to_owned),
        created_at: Timestamp::default(),
    })
}

async fn update(req: Req) -> Result<Reply> {
    let text = req.json["flavor"]["description"].as_str().map(str::to_owned);
    let flavor = flavors::describe(&req.app, req.ctx()?, &flavor_id(&req), text).await?;
    Reply::json(200, &json!({"flavor": view(&req, &flavor)}))
}

async fn delete(req: Req) -> Result<Reply> {
    flavors::delete(&req.app, req.ctx()?, &flavor_id(&req)).await?;
    Ok(Reply::empty(202))
}

fn specs(body: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    body.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect()
}

async fn list_specs(req: Req) -> Result<Reply> {
    let flavor = flavors::show(&req.app, req.ctx()?, &flavor_id(&req)).await?;
    Reply::json(200, &json!({"extra_specs": flavor.extra_specs}))
}

async fn show_spec(req: Req) -> Result<Reply> {
    let flavor = flavors::show(&req.app, req.ctx()?, &flavor_id(&req)).await?;
    let key = req.param("key");
    let value = flavor.extra_specs.get(key).ok_or_else(|| flavors::no_extra_spec(&flavor.id, key))?;
    Reply::json(200, &json!({ key: value }))
}

async fn add_specs(req: Req) -> Result<Reply> {
    let added = specs(&req.json["extra_specs"]);
    flavors::set_extra_specs(&req.app, req.ctx()?, &flavor_id(&req), added.clone()).await?;
    Reply::json(200, &json!({ "extra_specs": added }))
}

async fn set_spec(req: Req) -> Result<Reply> {
    let added = specs(&req.json);
    if !added.contains_key(req.param("key")) {
        return Err(Error::bad_request("flavor.extra_spec_key", "Request body and URI mismatch"));
    }
    flavors::set_extra_specs(&req.app, req.ctx()?, &flavor_id(&req), added.clone()).await?;
    Reply::json(200, &added)
}

async fn remove_spec(req: Req) -> Result<Reply> {
    flavors::remove_extra_spec(&req.app, req.ctx()?, &flavor_id(&req), req.param("key")).await?;
    Ok(Reply::empty(200))
}
