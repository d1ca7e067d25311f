//! Request bodies made from the schemas of the route table: right but for one field, which is at its limits,
//! beyond them, or nothing that anybody would send. No answer may be a fault of ours.

use canopy_api::{Auth, Body, Route, Service, routes};
use canopy_tests::fixtures::{boot, flavor, image, until_status};
use canopy_tests::random::Rng;
use canopy_tests::{Client, Cloud, engines};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Bodies that each route is sent; `CANOPY_TEST_BODIES` for more.
const BODIES: usize = 25;
/// Depth of schemas that is followed.
const DEPTH: u32 = 8;

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// A value that the schema accepts, as far as this can tell; patterns are guessed.
fn good(schema: &Value, rng: &mut Rng, depth: u32) -> Value {
    if let Some(list) = schema["enum"].as_array() {
        return rng.one(list).cloned().unwrap_or(Value::Null);
    }
    if let Some(fixed) = schema.get("const") {
        return fixed.clone();
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(one) = schema[choice].as_array().and_then(|all| rng.one(all)) {
            return good(one, rng, depth);
        }
    }
    match rng.one(&texts(&schema["type"])).copied() {
        Some("object") => object(schema, rng, depth),
        Some("array") => {
            let limit = |name: &str, or: u64| usize::try_from(schema[name].as_u64().unwrap_or(or)).unwrap();
            let many = limit("minItems", 0).max(rng.below(limit("maxItems", 2).min(2) + 1));
            if depth == 0 {
                json!([])
            } else {
                (0..many).map(|_| good(&schema["items"], rng, depth - 1)).collect()
            }
        }
        Some("integer") => json!(schema["minimum"].as_i64().unwrap_or(1)),
        Some("number") => json!(schema["minimum"].as_f64().unwrap_or(1.0)),
        Some("boolean") => json!(rng.below(2) == 0),
        Some("string") => text(schema),
        _ => Value::Null,
    }
}

fn text(schema: &Value) -> Value {
    let pattern = schema["pattern"].as_str().unwrap_or_default();
    if pattern.contains("{8}-") || schema["format"] == "uuid" {
        return json!("5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11");
    }
    let least = usize::try_from(schema["minLength"].as_u64().unwrap_or(1)).unwrap_or(1);
    json!("a".repeat(least.clamp(1, 300)))
}

fn object(schema: &Value, rng: &mut Rng, depth: u32) -> Value {
    let required = texts(&schema["required"]);
    let mut made = serde_json::Map::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if required.contains(&name.as_str()) || (depth > 0 && rng.below(3) == 0) {
            made.insert(name.clone(), good(property, rng, depth.saturating_sub(1)));
        }
    }
    Value::Object(made)
}

/// Every place in a value, as JSON pointers; the whole is the empty one.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| places(value, &format!("{at}/{}", escaped(name)), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, value)| places(value, &format!("{at}/{n}"), found));
        }
        _ => {}
    }
}

/// What is put in a place that held `old`.
fn bad(old: &Value, rng: &mut Rng) -> Value {
    let long = |n: usize| json!("x".repeat(n));
    let mut all = vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(0),
        json!(i64::from(i32::MAX) + 1),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e308),
        json!(0.5),
        json!(""),
        json!(" "),
        json!("\u{0}"),
        json!("a\nb\r\nc"),
        json!("../../etc/passwd"),
        json!("<a href='x'>&amp;]]>"),
        json!("'; DROP TABLE images; --"),
        json!("\u{202e}\u{1f4a3}\u{10ffff}"),
        json!("%00%s%n{}"),
        long(61),
        long(255),
        long(256),
        long(65_536),
        json!([]),
        json!({}),
        json!([null]),
        json!({"": null}),
        json!({"a": {"b": [{"c": "d"}]}}),
        json!("2026-13-45T99:99:99Z"),
        json!("999.999.999.999/99"),
        json!("::ffff:1.2.3.4/129"),
    ];
    if let Some(number) = old.as_i64() {
        all.extend([json!(number.wrapping_sub(1)), json!(number.to_string()), json!(format!("{number}.0"))]);
    }
    if let Value::Array(items) = old {
        all.push(items.iter().chain(items).cloned().collect());
        all.push(json!(vec![json!("a"); 2_000]));
    }
    if let Value::Object(fields) = old {
        let mut more = fields.clone();
        more.insert("unknown\u{0}".into(), json!(1));
        all.push(Value::Object(more));
    }
    rng.one(&all).cloned().unwrap_or(Value::Null)
}

/// The path, with ids of things that are there where there are some.
fn filled(route: &Route, ids: &BTreeMap<&str, String>) -> String {
    let path = route.full_path();
    let parts: Vec<&str> = path.split('/').collect();
    let fill = |(n, part): (usize, &&str)| match part.starts_with('{') {
        false => (*part).to_owned(),
        true => {
            let collection = n.checked_sub(1).map_or("", |before| parts[before]);
            let unknown = || "5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11".to_owned();
            ids.get(collection).cloned().unwrap_or_else(unknown)
        }
    };
    parts.iter().enumerate().map(fill).collect::<Vec<_>>().join("/")
}

async fn things(admin: &Client) -> BTreeMap<&'static str, String> {
    let (flavor, image) = (flavor(admin, "f", 1, 64, 1).await, image(admin, "i").await);
    let body = json!({"server": {"name": "s", "flavorRef": flavor, "imageRef": image, "networks": "none"}});
    let server = boot(admin, &body).await;
    until_status(admin, &server, "ACTIVE").await;
    let net = admin.post("/network/v2.0/networks", &json!({"network": {"name": "n"}})).await;
    let net = net.text_at("/network/id").to_owned();
    let subnet = json!({"subnet": {"network_id": net, "ip_version": 4, "cidr": "10.1.0.0/24"}});
    let subnet = admin.post("/network/v2.0/subnets", &subnet).await.text_at("/subnet/id").to_owned();
    let port = admin.post("/network/v2.0/ports", &json!({"port": {"network_id": net}})).await;
    let port = port.text_at("/port/id").to_owned();
    let user = json!({"user": {"name": "u", "password": "correct horse"}});
    let user = admin.post("/identity/v3/users", &user).await.text_at("/user/id").to_owned();
    let project = admin.post("/identity/v3/projects", &json!({"project": {"name": "p"}})).await;
    let project = project.text_at("/project/id").to_owned();
    [
        ("flavors", flavor),
        ("images", image),
        ("servers", server),
        ("networks", net),
        ("subnets", subnet),
        ("ports", port),
        ("users", user),
        ("projects", project.clone()),
        ("os-quota-sets", project),
    ]
    .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_body_made_from_a_schema_and_spoiled_in_one_place_is_answered_500() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = Rng::seed();
    let bodies = number("CANOPY_TEST_BODIES").map_or(BODIES, |n| usize::try_from(n).unwrap());
    for engine in engines() {
        let mut rng = Rng::new(seed);
        let cloud = Cloud::start_on(engine).await;
        let admin = cloud.admin().await.at(&canopy_api::version::COMPUTE.max.to_string());
        let newest = format!("placement {}", canopy_api::version::PLACEMENT.max);
        let placement = cloud.admin().await.with_header("openstack-api-version", &newest);
        let ids = things(&admin).await;
        for route in routes().iter().filter(|route| route.auth == Auth::Token) {
            let Body::Json(schemas) = route.body else { continue };
            let Some((_, schema)) = schemas.last() else { continue };
            let client = if route.service == Service::Placement { &placement } else { &admin };
            let (schema, path) = (schema(), filled(route, &ids));
            for _ in 0..bodies {
                let mut body = good(&schema, &mut rng, DEPTH);
                let mut all = Vec::new();
                places(&body, "", &mut all);
                let place = rng.one(&all).cloned().unwrap_or_default();
                if let Some(held) = body.pointer_mut(&place) {
                    *held = bad(held, &mut rng);
                }
                let sent = client.request(route.method.as_str(), &path).json(&body);
                let Some(answer) = client.try_send(sent).await else {
                    panic!("CANOPY_TEST_SEED={seed} {engine:?} {} {path} {body}: no answer", route.method);
                };
                // Busy or not offered is said with a 5xx too, and is no fault.
                assert!(
                    answer.status < 500 || matches!(answer.status, 501 | 503),
                    "CANOPY_TEST_SEED={seed} {engine:?} {} {path} {body}: {answer:?}",
                    route.method
                );
            }
        }
    }
}
