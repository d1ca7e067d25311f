//! Metadata definitions: what an operator describes of the properties and tags that images and other things may
//! have, for people and dashboards. Nothing here acts on them.

use crate::{App, Ctx, access};
use canopy_authz::Target;
use canopy_authz::actions::image::{METADEFS_CHANGE, METADEFS_SHOW};
use canopy_store::Conn;
use canopy_store::metadefs as rows;
use canopy_types::{Error, Kind as ErrorKind, Page, ProjectId, Result, Timestamp};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use canopy_store::metadefs::{Item, Kind, Namespace};

/// Namespaces of a cloud, and items of one kind in one of them.
pub const MAX_NAMESPACES: i64 = 1_000;
pub const MAX_ITEMS: usize = 500;

/// What there is to describe in any cloud, by glance's names: known before a namespace is about it.
const RESOURCE_TYPES: [&str; 4] =
    ["OS::Glance::Image", "OS::Nova::Aggregate", "OS::Nova::Flavor", "OS::Nova::Server"];

/// A namespace with everything in it, by kind.
pub struct Whole {
    pub namespace: Namespace,
    pub items: Vec<Item>,
}

/// What a client says of a namespace. `None` keeps what is there, or the default of a new one.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    pub owner: Option<ProjectId>,
    pub public: Option<bool>,
    pub protected: Option<bool>,
    pub display_name: Option<String>,
    pub description: Option<String>,
}

/// What an unknown namespace and another project's private one get.
pub fn absent(name: &str) -> Error {
    let text: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
    Error::not_found("metadef.not_found", format!("Metadata definition namespace={text} was not found."))
}

fn absent_item(kind: Kind, name: &str) -> Error {
    let text: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
    Error::not_found(
        "metadef.item_not_found",
        format!("Metadata definition {} with name={text} was not found.", kind.as_str()),
    )
}

fn taken(kind: &str, name: &str) -> Error {
    Error::conflict(
        "metadef.exists",
        format!("A metadata definition {kind} with name={name} already exists."),
    )
}

fn target(namespace: &Namespace) -> Target {
    Target::in_project(&namespace.project_id).id(&namespace.name).public(namespace.public)
}

/// Whether anything can have this name; the databases do not agree on what else may be asked for.
fn possible(name: &str) -> bool {
    !name.is_empty() && name.len() <= 1_024 && !name.chars().any(char::is_control)
}

/// The caller may see the namespace: another answer is that of an unknown one.
async fn visible(c: &mut Conn, app: &App, ctx: &Ctx, name: &str) -> Result<Namespace> {
    if !possible(name) {
        return Err(absent(name));
    }
    let namespace = rows::get(c, name).await?.ok_or_else(|| absent(name))?;
    access::require_on(app, ctx, METADEFS_SHOW, METADEFS_SHOW, &target(&namespace), || absent(name))?;
    Ok(namespace)
}

/// Public namespaces and the project's own, by name; an admin's list holds all. And whether there are more.
pub async fn namespaces(app: &Arc<App>, ctx: &Ctx, page: Page) -> Result<(Vec<Namespace>, bool)> {
    let own = access::project(ctx)?.clone();
    access::require(app, ctx, METADEFS_SHOW, &Target::in_project(&own))?;
    // Whoever may change those of all projects may see them.
    let all = access::allowed(app, ctx, METADEFS_CHANGE, &Target::default());
    let size = page.size();
    if let Some(marker) = page.marker.clone() {
        let (app, ctx) = (app.clone(), ctx.clone());
        let store = app.store.clone();
        let unknown = |_| Error::bad_request("metadef.marker", "The marker is not the name of a namespace.");
        store
            .read(move |c| {
                let (app, ctx, marker) = (app.clone(), ctx.clone(), marker.clone());
                Box::pin(async move { visible(c, &app, &ctx, &marker).await.map(drop) })
            })
            .await
            .map_err(unknown)?;
    }
    let after = page.marker.unwrap_or_default();
    let mut found = app
        .store
        .read(move |c| {
            let (own, after) = (own.clone(), after.clone());
            Box::pin(async move { rows::namespaces(c, (!all).then_some(&own), &after, size + 1).await })
        })
        .await?;
    let wanted = usize::try_from(size).unwrap_or(0);
    let more = found.len() > wanted;
    found.truncate(wanted);
    Ok((found, more && wanted > 0))
}

pub async fn namespace(app: &Arc<App>, ctx: &Ctx, name: &str) -> Result<Whole> {
    let (app, ctx, name) = (app.clone(), ctx.clone(), name.to_owned());
    let store = app.store.clone();
    store
        .read(move |c| {
            let (app, ctx, name) = (app.clone(), ctx.clone(), name.clone());
            Box::pin(async move {
                let namespace = visible(c, &app, &ctx, &name).await?;
                let mut items = Vec::new();
                for kind in Kind::ALL {
                    items.extend(rows::items(c, &name, *kind).await?);
                }
                Ok(Whole { namespace, items })
            })
        })
        .await
}

/// Makes a namespace with what is to be in it.
pub async fn create(
    app: &Arc<App>,
    ctx: &Ctx,
    name: String,
    fields: Fields,
    items: Vec<(Kind, String, Value)>,
) -> Result<Whole> {
    let now = app.now();
    let project_id = match &fields.owner {
        Some(owner) => owner.clone(),
        None => access::project(ctx)?.clone(),
    };
    let namespace = Namespace {
        name,
        project_id,
        public: fields.public.unwrap_or(false),
        protected: fields.protected.unwrap_or(false),
        display_name: fields.display_name,
        description: fields.description,
        created_at: now,
        updated_at: now,
    };
    access::require(app, ctx, METADEFS_CHANGE, &target(&namespace))?;
    let items: Vec<Item> = items.into_iter().map(|(kind, name, body)| made(kind, name, body, now)).collect();
    bounded(&items)?;
    let (inserted, all) = (namespace.clone(), items.clone());
    app.store
        .write("metadef.create", move |c| {
            let (namespace, items) = (inserted.clone(), all.clone());
            Box::pin(async move {
                if rows::count(c).await? >= MAX_NAMESPACES {
                    return Err(too_many("namespaces"));
                }
                if !rows::insert(c, &namespace).await? {
                    return Err(taken("namespace", &namespace.name));
                }
                for item in &items {
                    if !rows::insert_item(c, &namespace.name, item).await? {
                        return Err(taken(item.kind.as_str(), &item.name));
                    }
                }
                Ok(())
            })
        })
        .await?;
    Ok(Whole { namespace, items })
}

pub async fn update(app: &Arc<App>, ctx: &Ctx, name: &str, fields: Fields) -> Result<Namespace> {
    let now = app.now();
    change(app, ctx, name, "metadef.update", move |c, mut namespace| {
        let fields = fields.clone();
        Box::pin(async move {
            if let Some(owner) = fields.owner {
                namespace.project_id = owner;
            }
            namespace.public = fields.public.unwrap_or(namespace.public);
            namespace.protected = fields.protected.unwrap_or(namespace.protected);
            namespace.display_name = fields.display_name.or(namespace.display_name);
            namespace.description = fields.description.or(namespace.description);
            namespace.updated_at = now;
            rows::update(c, &namespace).await?;
            Ok(namespace)
        })
    })
    .await
}

pub async fn delete(app: &Arc<App>, ctx: &Ctx, name: &str) -> Result<()> {
    change(app, ctx, name, "metadef.delete", |c, namespace| {
        Box::pin(async move {
            unprotected(&namespace)?;
            rows::delete(c, &namespace.name).await
        })
    })
    .await
}

pub async fn items(app: &Arc<App>, ctx: &Ctx, name: &str, kind: Kind) -> Result<Vec<Item>> {
    let (app, ctx, name) = (app.clone(), ctx.clone(), name.to_owned());
    let store = app.store.clone();
    store
        .read(move |c| {
            let (app, ctx, name) = (app.clone(), ctx.clone(), name.clone());
            Box::pin(async move {
                visible(c, &app, &ctx, &name).await?;
                rows::items(c, &name, kind).await
            })
        })
        .await
}

pub async fn item(app: &Arc<App>, ctx: &Ctx, namespace: &str, kind: Kind, name: &str) -> Result<Item> {
    let (app, ctx) = (app.clone(), ctx.clone());
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    let store = app.store.clone();
    store
        .read(move |c| {
            let (app, ctx, namespace, name) = (app.clone(), ctx.clone(), namespace.clone(), name.clone());
            Box::pin(async move {
                visible(c, &app, &ctx, &namespace).await?;
                if !possible(&name) {
                    return Err(absent_item(kind, &name));
                }
                rows::get_item(c, &namespace, kind, &name).await?.ok_or_else(|| absent_item(kind, &name))
            })
        })
        .await
}

/// Adds items, after removing all of the kind when they are to replace them.
pub async fn add_items(
    app: &Arc<App>,
    ctx: &Ctx,
    namespace: &str,
    kind: Kind,
    items: Vec<(String, Value)>,
    replace: bool,
) -> Result<Vec<Item>> {
    let now = app.now();
    let items: Vec<Item> = items.into_iter().map(|(name, body)| made(kind, name, body, now)).collect();
    bounded(&items)?;
    change(app, ctx, namespace, "metadef.add", move |c, namespace| {
        let items = items.clone();
        Box::pin(async move {
            if replace {
                rows::delete_items(c, &namespace.name, kind, None).await?;
            }
            let present = rows::items(c, &namespace.name, kind).await?.len();
            if present + items.len() > MAX_ITEMS {
                return Err(too_many("items in the namespace"));
            }
            for item in &items {
                if !rows::insert_item(c, &namespace.name, item).await? {
                    return Err(taken(kind.as_str(), &item.name));
                }
            }
            Ok(items)
        })
    })
    .await
}

/// Writes an item anew, under another name if `to` says so.
pub async fn set_item(
    app: &Arc<App>,
    ctx: &Ctx,
    namespace: &str,
    kind: Kind,
    name: &str,
    to: String,
    body: Value,
) -> Result<Item> {
    let (now, name) = (app.now(), name.to_owned());
    change(app, ctx, namespace, "metadef.set", move |c, namespace| {
        let (name, to, body) = (name.clone(), to.clone(), body.clone());
        Box::pin(async move {
            if !possible(&name) {
                return Err(absent_item(kind, &name));
            }
            let old = rows::get_item(c, &namespace.name, kind, &name).await?;
            let old = old.ok_or_else(|| absent_item(kind, &name))?;
            rows::delete_items(c, &namespace.name, kind, Some(&name)).await?;
            let item = Item { name: to, body, updated_at: now, ..old };
            if !rows::insert_item(c, &namespace.name, &item).await? {
                return Err(taken(kind.as_str(), &item.name));
            }
            Ok(item)
        })
    })
    .await
}

/// Removes an item, or with `None` all of the kind.
pub async fn delete_items(
    app: &Arc<App>,
    ctx: &Ctx,
    namespace: &str,
    kind: Kind,
    name: Option<String>,
) -> Result<()> {
    change(app, ctx, namespace, "metadef.remove", move |c, namespace| {
        let name = name.clone();
        Box::pin(async move {
            unprotected(&namespace)?;
            if let Some(name) = name.as_deref().filter(|name| !possible(name)) {
                return Err(absent_item(kind, name));
            }
            let removed = rows::delete_items(c, &namespace.name, kind, name.as_deref()).await?;
            match name {
                Some(name) if removed == 0 => Err(absent_item(kind, &name)),
                _ => Ok(()),
            }
        })
    })
    .await
}

/// Resource types that there are and that namespaces are about, by name.
pub async fn resource_types(app: &Arc<App>, ctx: &Ctx) -> Result<Vec<(String, Timestamp)>> {
    let own = access::project(ctx)?.clone();
    access::require(app, ctx, METADEFS_SHOW, &Target::in_project(&own))?;
    let named =
        app.store.read(|c| Box::pin(async move { rows::resource_types(c, MAX_NAMESPACES).await })).await?;
    let mut types: BTreeMap<String, Timestamp> =
        RESOURCE_TYPES.iter().map(|name| ((*name).to_owned(), Timestamp(0))).collect();
    types.extend(named);
    Ok(types.into_iter().collect())
}

fn made(kind: Kind, name: String, body: Value, now: Timestamp) -> Item {
    Item { kind, name, body, created_at: now, updated_at: now }
}

fn bounded(items: &[Item]) -> Result<()> {
    let many = |kind: &Kind| items.iter().filter(|item| item.kind == *kind).count();
    if Kind::ALL.iter().any(|kind| many(kind) > MAX_ITEMS) {
        return Err(too_many("items in the namespace"));
    }
    Ok(())
}

fn too_many(what: &str) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        "metadef.too_many",
        format!("There would be too many {what}: remove some first."),
    )
}

fn unprotected(namespace: &Namespace) -> Result<()> {
    if !namespace.protected {
        return Ok(());
    }
    let name = &namespace.name;
    Err(Error::forbidden(
        "metadef.protected",
        format!("Metadata definition namespace={name} is protected and cannot be deleted."),
    ))
}

/// Does `work` on a namespace that the caller may change, its row locked.
async fn change<T, F>(app: &Arc<App>, ctx: &Ctx, name: &str, what: &'static str, work: F) -> Result<T>
where
    T: Send + 'static,
    F: for<'c> Fn(&'c mut Conn, Namespace) -> canopy_store::BoxFuture<'c, T> + Clone + Send + Sync + 'static,
{
    if !possible(name) {
        return Err(absent(name));
    }
    let (app, ctx, name) = (app.clone(), ctx.clone(), name.to_owned());
    let store = app.store.clone();
    store
        .write(what, move |c| {
            let (app, ctx, name, work) = (app.clone(), ctx.clone(), name.clone(), work.clone());
            Box::pin(async move {
                let namespace = rows::lock(c, &name).await?.ok_or_else(|| absent(&name))?;
                let seen = target(&namespace);
                access::require_on(&app, &ctx, METADEFS_SHOW, METADEFS_CHANGE, &seen, || absent(&name))?;
                work(c, namespace).await
            })
        })
        .await
}
