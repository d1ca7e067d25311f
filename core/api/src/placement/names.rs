//! `/traits` and `/resource_classes`.

use super::query;
use super::reply::{accepts_json, answer, dated};
use crate::request::{Reply, Req};
use canopy_app::placement::errors;
use canopy_app::placement::names::{self, TraitFilter};
use canopy_types::{Error, Result};
use serde_json::{Value, json};

/// `CUSTOM_` and capitals, digits, underscores: what others than the program may name.
fn is_custom(name: &str) -> bool {
    name.len() <= 255
        && name.strip_prefix("CUSTOM_").is_some_and(|rest| {
            !rest.is_empty()
                && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        })
}

pub async fn traits(req: Req) -> Result<Reply> {
    accepts_json(&req)?;
    query::check(&req.query, &["name", "associated"])?;
    let mut filter = TraitFilter::default();
    if let Some(text) = req.query.last("name") {
        let (op, value) = text.split_once(':').ok_or_else(|| {
            Error::bad_request(
                "query.name",
                format!(
                    "Badly formatted name parameter. Expected name query string parameter in form: \
                     ?name=[in|startswith]:[name1,name2|prefix]. Got: \"{}\"",
                    errors::shown(text)
                ),
            )
        })?;
        match op {
            "in" => filter.among = Some(value.split(',').map(str::to_owned).collect()),
            "startswith" => filter.prefix = Some(value.to_owned()),
            _ => {}
        }
    }
    filter.associated = match req.query.last("associated").map(str::to_ascii_lowercase).as_deref() {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => {
            return Err(Error::bad_request(
                "query.associated",
                "The query parameter \"associated\" only accepts \"true\" or \"false\"",
            ));
        }
    };
    let found = names::list_traits(&req.app, req.ctx()?, filter).await?;
    let list: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
    answer(&req, 200, &json!({ "traits": list }), found.iter().map(|one| one.created_at).max())
}

pub async fn show_trait(req: Req) -> Result<Reply> {
    let found = names::show_trait(&req.app, req.ctx()?, req.param("name")).await?;
    Ok(dated(&req, Reply::empty(204), Some(found.created_at)))
}

pub async fn ensure_trait(req: Req) -> Result<Reply> {
    let name = req.param("name");
    if !is_custom(name) {
        return Err(Error::bad_request(
            "placement.trait_name",
            "The trait is invalid. A valid trait must be no longer than 255 characters, start with the prefix \
             \"CUSTOM_\" and use following characters: \"A\"-\"Z\", \"0\"-\"9\" and \"_\"",
        ));
    }
    let (found, made) = names::ensure_trait(&req.app, req.ctx()?, name).await?;
    let location = format!("{}/placement/traits/{name}", req.base);
    let reply = Reply::empty(if made { 201 } else { 204 }).header("location", &location);
    Ok(dated(&req, reply, Some(found.created_at)))
}

pub async fn delete_trait(req: Req) -> Result<Reply> {
    names::delete_trait(&req.app, req.ctx()?, req.param("name")).await?;
    Ok(Reply::empty(204))
}

fn class_view(name: &str) -> Value {
    json!({"name": name, "links": [{"rel": "self", "href": format!("/placement/resource_classes/{name}")}]})
}

fn class_location(req: &Req, name: &str) -> String {
    format!("{}/placement/resource_classes/{name}", req.base)
}

pub async fn classes(req: Req) -> Result<Reply> {
    accepts_json(&req)?;
    let found = names::list_classes(&req.app, req.ctx()?).await?;
    let views: Vec<Value> = found.iter().map(|one| class_view(&one.name)).collect();
    answer(&req, 200, &json!({ "resource_classes": views }), found.iter().map(|one| one.created_at).max())
}

pub async fn class(req: Req) -> Result<Reply> {
    accepts_json(&req)?;
    let found = names::show_class(&req.app, req.ctx()?, req.param("name")).await?;
    answer(&req, 200, &class_view(&found.name), Some(found.created_at))
}

pub async fn create_class(req: Req) -> Result<Reply> {
    let name = req.json["name"].as_str().unwrap_or_default();
    names::create_class(&req.app, req.ctx()?, name).await?;
    Ok(Reply::empty(201).header("location", &class_location(&req, name)))
}

pub async fn rename_class(req: Req) -> Result<Reply> {
    let to = req.json["name"].as_str().unwrap_or_default();
    names::rename_class(&req.app, req.ctx()?, req.param("name"), to).await?;
    Reply::json(200, &class_view(to))
}

pub async fn ensure_class(req: Req) -> Result<Reply> {
    let name = req.param("name");
    if !is_custom(name) {
        let keyword = if name.chars().count() > 255 { "maxLength" } else { "pattern" };
        return Err(Error::bad_request(
            "placement.class_name",
            format!(
                "JSON does not validate: a custom resource class does not match '^CUSTOM_[A-Z0-9_]+$' or is longer \
                 than 255 characters.\n\nFailed validating '{keyword}' in schema"
            ),
        ));
    }
    let made = names::ensure_class(&req.app, req.ctx()?, name).await?;
    Ok(Reply::empty(if made { 201 } else { 204 }).header("location", &class_location(&req, name)))
}

pub async fn delete_class(req: Req) -> Result<Reply> {
    names::delete_class(&req.app, req.ctx()?, req.param("name")).await?;
    Ok(Reply::empty(204))
}
