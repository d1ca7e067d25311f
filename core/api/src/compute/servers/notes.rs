//! What a client keeps with a server: `PUT /servers/{id}`, `/metadata` and `/tags`.

use super::{create, schema, shape};
use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Handler, Route, Service};
use crate::version::{COMPUTE, v};
use canopy_app::compute::servers::{self, Metadata, Update};
use canopy_authz::{Action, actions::compute as policy};
use canopy_types::{Error, Result, ServerId};
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub fn routes() -> Vec<Route> {
    const METADATA: &str = "/v2.1/servers/{server_id}/metadata";
    const ITEM: &str = "/v2.1/servers/{server_id}/metadata/{key}";
    const TAGS: &str = "/v2.1/servers/{server_id}/tags";
    const TAG: &str = "/v2.1/servers/{server_id}/tags/{tag}";
    let route = |method, path, summary, action: Action, handler: Handler| {
        Route::new(Service::Compute, method, path, summary, handler).action(action)
    };
    let tags = |method, path, summary, action, handler| {
        route(method, path, summary, action, handler).versions(v(2, 26), COMPUTE.max)
    };
    let (show, put) = (policy::SERVERS_SHOW, policy::SERVERS_UPDATE_METADATA);
    let tag = policy::SERVERS_UPDATE_TAGS;
    vec![
        route(
            Method::PUT,
            "/v2.1/servers/{server_id}",
            "Update a server",
            policy::SERVERS_UPDATE,
            handler!(update),
        )
        .json(schema::UPDATE)
        .answers(&[200], &[404]),
        route(Method::GET, METADATA, "Show a server's metadata", show, handler!(metadata))
            .answers(&[200], &[404]),
        route(Method::POST, METADATA, "Add to a server's metadata", put, handler!(add_metadata))
            .json(schema::METADATA)
            .answers(&[200], &[404, 409]),
        route(Method::PUT, METADATA, "Replace a server's metadata", put, handler!(replace_metadata))
            .json(schema::METADATA)
            .answers(&[200], &[404, 409]),
        route(Method::GET, ITEM, "Show one item of a server's metadata", show, handler!(metadata_item))
            .answers(&[200], &[404]),
        route(Method::PUT, ITEM, "Set one item of a server's metadata", put, handler!(set_item))
            .json(schema::METADATA_ITEM)
            .answers(&[200], &[404, 409]),
        route(Method::DELETE, ITEM, "Remove one item of a server's metadata", put, handler!(delete_item))
            .answers(&[204], &[404, 409]),
        tags(Method::GET, TAGS, "List a server's tags", show, handler!(list_tags)).answers(&[200], &[404]),
        tags(Method::PUT, TAGS, "Replace a server's tags", tag, handler!(replace_tags))
            .json(schema::TAGS)
            .answers(&[200], &[404, 409]),
        tags(Method::DELETE, TAGS, "Remove a server's tags", tag, handler!(clear_tags))
            .answers(&[204], &[404, 409]),
        tags(Method::GET, TAG, "Whether a server has a tag", show, handler!(has_tag)).answers(&[204], &[404]),
        tags(Method::PUT, TAG, "Add a tag to a server", tag, handler!(add_tag))
            .answers(&[201, 204], &[404, 409]),
        tags(Method::DELETE, TAG, "Remove a tag from a server", tag, handler!(remove_tag))
            .answers(&[204], &[404, 409]),
    ]
}

fn id(req: &Req) -> Result<ServerId> {
    req.id("server_id", servers::absent)
}

async fn update(req: Req) -> Result<Reply> {
    let (id, server) = (id(&req)?, &req.json["server"]);
    let given = |key: &str| server.get(key).is_some();
    let wanted = Update {
        name: server["name"].as_str().map(str::to_owned),
        description: given("description").then(|| server["description"].as_str().map(str::to_owned)),
        access_ip_v4: given("accessIPv4").then(|| create::address(server, "accessIPv4")).transpose()?,
        access_ip_v6: given("accessIPv6").then(|| create::address(server, "accessIPv6")).transpose()?,
    };
    servers::update(&req.app, req.ctx()?, id, wanted).await?;
    let listed = servers::show(&req.app, req.ctx()?, id).await?;
    Reply::json(200, &json!({"server": shape::changed(&req, &listed)}))
}

async fn metadata(req: Req) -> Result<Reply> {
    let metadata = servers::metadata(&req.app, req.ctx()?, id(&req)?).await?;
    Reply::json(200, &json!({ "metadata": metadata }))
}

/// The schema has looked at the values.
pub fn items(value: &Value) -> Metadata {
    let items = value.as_object().into_iter().flatten();
    items.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

async fn write_metadata(req: Req, replace: bool) -> Result<Reply> {
    let given = items(&req.json["metadata"]);
    let metadata = servers::set_metadata(&req.app, req.ctx()?, id(&req)?, given, replace).await?;
    Reply::json(200, &json!({ "metadata": metadata }))
}

async fn add_metadata(req: Req) -> Result<Reply> {
    write_metadata(req, false).await
}

async fn replace_metadata(req: Req) -> Result<Reply> {
    write_metadata(req, true).await
}

async fn metadata_item(req: Req) -> Result<Reply> {
    let key = req.param("key");
    let value = servers::metadata_item(&req.app, req.ctx()?, id(&req)?, key).await?;
    Reply::json(200, &json!({"meta": {key: value}}))
}

async fn set_item(req: Req) -> Result<Reply> {
    let (key, given) = (req.param("key"), items(&req.json["meta"]));
    if given.keys().map(String::as_str).ne([key]) {
        return Err(Error::bad_request("server.metadata_key", "Request body and URI mismatch"));
    }
    servers::set_metadata(&req.app, req.ctx()?, id(&req)?, given, false).await?;
    Reply::json(200, &json!({"meta": req.json["meta"]}))
}

async fn delete_item(req: Req) -> Result<Reply> {
    servers::delete_metadata(&req.app, req.ctx()?, id(&req)?, req.param("key").to_owned()).await?;
    Ok(Reply::empty(204))
}

async fn list_tags(req: Req) -> Result<Reply> {
    let tags = servers::tags(&req.app, req.ctx()?, id(&req)?).await?;
    Reply::json(200, &json!({ "tags": tags }))
}

async fn replace_tags(req: Req) -> Result<Reply> {
    let given = req.json["tags"].as_array().into_iter().flatten();
    let given: BTreeSet<String> = given.filter_map(|tag| tag.as_str().map(str::to_owned)).collect();
    let tags = servers::set_tags(&req.app, req.ctx()?, id(&req)?, given).await?;
    Reply::json(200, &json!({ "tags": tags }))
}

async fn clear_tags(req: Req) -> Result<Reply> {
    servers::set_tags(&req.app, req.ctx()?, id(&req)?, BTreeSet::new()).await?;
    Ok(Reply::empty(204))
}

async fn has_tag(req: Req) -> Result<Reply> {
    servers::has_tag(&req.app, req.ctx()?, id(&req)?, req.param("tag")).await?;
    Ok(Reply::empty(204))
}

/// As the schema of a body has it, for a tag that comes in the path.
fn path_tag(tag: &str) -> Result<()> {
    let fine = (1..=60).contains(&tag.chars().count())
        && !tag.contains(|c: char| matches!(c, '/' | ',') || c.is_control());
    if fine {
        return Ok(());
    }
    Err(Error::bad_request(
        "server.tag",
        "Invalid input for field/attribute tag. A tag has 1 to 60 characters, no slash, comma or control character.",
    ))
}

async fn add_tag(req: Req) -> Result<Reply> {
    let (id, tag) = (id(&req)?, req.param("tag"));
    path_tag(tag)?;
    if !servers::add_tag(&req.app, req.ctx()?, id, tag.to_owned()).await? {
        return Ok(Reply::empty(204));
    }
    Ok(Reply::empty(201).header("location", &format!("{}{}", req.base, req.path)))
}

async fn remove_tag(req: Req) -> Result<Reply> {
    servers::remove_tag(&req.app, req.ctx()?, id(&req)?, req.param("tag").to_owned()).await?;
    Ok(Reply::empty(204))
}
