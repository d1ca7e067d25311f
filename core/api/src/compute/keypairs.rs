//! Key pairs. 2.2 adds the type and exact status codes, 2.10 other users' pairs, 2.35 pages.

use crate::request::{Reply, Req};
use crate::route::{Route, Schema, Service};
use crate::version::{Microversion, v};
use crate::{handler, links, schema};
use canopy_app::compute::keypairs::{self, Keypair};
use canopy_authz::actions::compute as actions;
use canopy_types::{Error, Page, Result, UserId};
use http::Method;
use serde_json::{Value, json};

const WITH_TYPE: Microversion = v(2, 2);
const WITH_USER: Microversion = v(2, 10);
const WITH_PAGES: Microversion = v(2, 35);
const STRICT: Microversion = v(2, 75);
const OF_ALL: &[(Microversion, &[&str])] = &[(STRICT, &["user_id", "limit", "marker"])];
const OF_ONE: &[(Microversion, &[&str])] = &[(STRICT, &["user_id"])];

const CREATE: &[(Microversion, Schema)] =
    &[(v(2, 1), schema_2_1), (WITH_TYPE, schema_2_2), (WITH_USER, schema_2_10)];

pub fn routes() -> Vec<Route> {
    let route = |method, path, summary, handler| Route::new(Service::Compute, method, path, summary, handler);
    vec![
        route(Method::GET, "/v2.1/os-keypairs", "List key pairs", handler!(list))
            .action(actions::KEYPAIRS_LIST)
            .query(OF_ALL),
        route(Method::POST, "/v2.1/os-keypairs", "Create or import a key pair", handler!(create))
            .action(actions::KEYPAIRS_CREATE)
            .json(CREATE)
            .answers(&[200, 201], &[409]),
        route(Method::GET, "/v2.1/os-keypairs/{name}", "Show a key pair", handler!(show))
            .action(actions::KEYPAIRS_SHOW)
            .query(OF_ONE)
            .answers(&[200], &[404]),
        route(Method::DELETE, "/v2.1/os-keypairs/{name}", "Delete a key pair", handler!(delete))
            .action(actions::KEYPAIRS_DELETE)
            .query(OF_ONE)
            .answers(&[202, 204], &[404]),
    ]
}

fn body(extra: &[(&str, Value)]) -> Value {
    let mut fields = json!({"name": schema::name(), "public_key": {"type": "string", "maxLength": 65_535}});
    for (name, value) in extra {
        fields[name] = value.clone();
    }
    schema::object(json!({"keypair": schema::object(fields, &["name"])}), &["keypair"])
}

fn schema_2_1() -> Value {
    body(&[])
}

fn kind() -> (&'static str, Value) {
    ("type", json!({"enum": ["ssh"]}))
}

fn schema_2_2() -> Value {
    body(&[kind()])
}

fn schema_2_10() -> Value {
    body(&[
        kind(),
        ("user_id", json!({"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[0-9a-zA-Z-]+$"})),
    ])
}

/// From 2.10 a caller may name another user, and the policy decides; before, the key is unknown and ignored.
fn user(req: &Req) -> Result<Option<UserId>> {
    match req.query.get("user_id").filter(|_| req.version >= WITH_USER) {
        None => Ok(None),
        Some(id) if id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => {
            Ok(Some(UserId::from(id)))
        }
        Some(_) => Err(Error::bad_request("keypair.user", "user_id is not the id of a user.")),
    }
}

fn short(req: &Req, keypair: &Keypair) -> Value {
    let mut view =
        json!({"name": keypair.name, "public_key": keypair.public_key, "fingerprint": keypair.fingerprint});
    if req.version >= WITH_TYPE {
        view["type"] = keypair.kind.as_str().into();
    }
    view
}

async fn list(req: Req) -> Result<Reply> {
    let page = if req.version >= WITH_PAGES { req.query.page()? } else { Page::default() };
    let listed = keypairs::list(&req.app, req.ctx()?, user(&req)?, &page).await?;
    let entries: Vec<Value> =
        listed.keypairs.iter().map(|pair| json!({"keypair": short(&req, pair)})).collect();
    let mut body = json!({ "keypairs": entries });
    if listed.more
        && req.version >= WITH_PAGES
        && let Some(last) = listed.keypairs.last()
    {
        let href =
            format!("{}/compute/v2.1/os-keypairs?{}", req.base, links::next_query(&req.query, &last.name));
        body["keypairs_links"] = json!([{"rel": "next", "href": href}]);
    }
    Reply::json(200, &body)
}

async fn show(req: Req) -> Result<Reply> {
    let pair = keypairs::show(&req.app, req.ctx()?, user(&req)?, req.param("name")).await?;
    let mut view = short(&req, &pair);
    view["user_id"] = pair.user_id.as_str().into();
    view["id"] = pair.number.into();
    view["created_at"] = pair.created_at.micros_naive().into();
    view["updated_at"] = Value::Null;
    view["deleted"] = false.into();
    view["deleted_at"] = Value::Null;
    Reply::json(200, &json!({ "keypair": view }))
}

async fn create(req: Req) -> Result<Reply> {
    let wanted = &req.json["keypair"];
    let field = |name: &str| wanted.get(name).and_then(Value::as_str);
    let name = field("name").unwrap_or_default();
    let user = field("user_id").map(UserId::from);
    let created = keypairs::create(&req.app, req.ctx()?, user, name, field("public_key")).await?;
    let mut view = short(&req, &created.keypair);
    view["user_id"] = created.keypair.user_id.as_str().into();
    if let Some(private_key) = created.private_key {
        view["private_key"] = private_key.into();
    }
    Reply::json(if req.version >= WITH_TYPE { 201 } else { 200 }, &json!({ "keypair": view }))
}

async fn delete(req: Req) -> Result<Reply> {
    keypairs::delete(&req.app, req.ctx()?, user(&req)?, req.param("name")).await?;
    Ok(Reply::empty(if req.version >= WITH_TYPE { 204 } else { 202 }))
}
