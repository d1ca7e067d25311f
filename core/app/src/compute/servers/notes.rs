//! What a client keeps with a server: its name and description, metadata and tags.

use super::change::change;
use super::list::find;
use crate::{App, Ctx};
use canopy_authz::actions::compute as actions;
use canopy_types::server::rules;
use canopy_types::{Error, Kind, Result, ServerId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Items of metadata.
pub const MAX_METADATA: usize = 128;
/// Tags of one server.
pub const MAX_TAGS: usize = 50;

pub type Metadata = BTreeMap<String, String>;

/// `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct Update {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub access_ip_v4: Option<Option<Ipv4Addr>>,
    pub access_ip_v6: Option<Option<Ipv6Addr>>,
}

pub async fn update(app: &App, ctx: &Ctx, id: ServerId, update: Update) -> Result<()> {
    change(app, ctx, id, (&rules::UPDATE, actions::SERVERS_UPDATE), move |server| {
        let update = update.clone();
        if let Some(name) = update.name {
            server.name = name;
        }
        if let Some(description) = update.description {
            server.description = description;
        }
        if let Some(address) = update.access_ip_v4 {
            server.access_ip_v4 = address;
        }
        if let Some(address) = update.access_ip_v6 {
            server.access_ip_v6 = address;
        }
        Ok(())
    })
    .await
    .map(|_| ())
}

pub async fn metadata(app: &App, ctx: &Ctx, id: ServerId) -> Result<Metadata> {
    Ok(find(app, ctx, id).await?.metadata)
}

fn no_item() -> Error {
    Error::not_found("server.metadata_absent", "Metadata item was not found")
}

pub async fn metadata_item(app: &App, ctx: &Ctx, id: ServerId, key: &str) -> Result<String> {
    metadata(app, ctx, id).await?.remove(key).ok_or_else(no_item)
}

/// Adds to the metadata, or replaces all of it. Returns what it is then.
pub async fn set_metadata(
    app: &App,
    ctx: &Ctx,
    id: ServerId,
    items: Metadata,
    replace: bool,
) -> Result<Metadata> {
    let edit = (&rules::UPDATE_METADATA, actions::SERVERS_UPDATE_METADATA);
    let (_, server) = change(app, ctx, id, edit, move |server| {
        if replace {
            server.metadata.clear();
        }
        server.metadata.extend(items.clone());
        bounded(&server.metadata)
    })
    .await?;
    Ok(server.metadata)
}

/// Wherever metadata comes in.
pub(super) fn bounded(metadata: &Metadata) -> Result<()> {
    if metadata.len() <= MAX_METADATA {
        return Ok(());
    }
    Err(Error::new(
        Kind::OverQuota,
        "server.metadata_many",
        format!("Maximum number of metadata items exceeds {MAX_METADATA}"),
    ))
}

pub async fn delete_metadata(app: &App, ctx: &Ctx, id: ServerId, key: String) -> Result<()> {
    let edit = (&rules::DELETE_METADATA, actions::SERVERS_UPDATE_METADATA);
    change(app, ctx, id, edit, move |server| server.metadata.remove(&key).map(drop).ok_or_else(no_item))
        .await
        .map(|_| ())
}

pub async fn tags(app: &App, ctx: &Ctx, id: ServerId) -> Result<BTreeSet<String>> {
    Ok(find(app, ctx, id).await?.tags)
}

fn no_tag(id: ServerId, tag: &str) -> Error {
    let shown: String = tag.chars().take(60).collect();
    Error::not_found("server.tag_absent", format!("Server {id} has no tag '{shown}'"))
}

pub async fn has_tag(app: &App, ctx: &Ctx, id: ServerId, tag: &str) -> Result<()> {
    if tags(app, ctx, id).await?.contains(tag) { Ok(()) } else { Err(no_tag(id, tag)) }
}

/// Replaces all tags. Returns what they are then.
pub async fn set_tags(
    app: &App,
    ctx: &Ctx,
    id: ServerId,
    tags: BTreeSet<String>,
) -> Result<BTreeSet<String>> {
    let edit = (&rules::UPDATE_TAGS, actions::SERVERS_UPDATE_TAGS);
    let (_, server) = change(app, ctx, id, edit, move |server| {
        server.tags = tags.clone();
        Ok(())
    })
    .await?;
    Ok(server.tags)
}

/// Whether it is new.
pub async fn add_tag(app: &App, ctx: &Ctx, id: ServerId, tag: String) -> Result<bool> {
    let edit = (&rules::UPDATE_TAGS, actions::SERVERS_UPDATE_TAGS);
    let (before, after) = change(app, ctx, id, edit, move |server| {
        server.tags.insert(tag.clone());
        if server.tags.len() > MAX_TAGS {
            return Err(Error::bad_request(
                "server.tags_many",
                format!("The number of tags exceeded the per-server limit {MAX_TAGS}"),
            ));
        }
        Ok(())
    })
    .await?;
    Ok(after.tags.len() > before.tags.len())
}

pub async fn remove_tag(app: &App, ctx: &Ctx, id: ServerId, tag: String) -> Result<()> {
    let edit = (&rules::UPDATE_TAGS, actions::SERVERS_UPDATE_TAGS);
    change(
        app,
        ctx,
        id,
        edit,
        move |server| {
            if server.tags.remove(&tag) { Ok(()) } else { Err(no_tag(server.id, &tag)) }
        },
    )
    .await
    .map(|_| ())
}
