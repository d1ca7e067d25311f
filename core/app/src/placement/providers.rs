//! Resource providers and their trees.

use super::supply::{Held, snapshot};
use super::{errors, provider, rows::Provider};
use crate::{App, Ctx, access};
use canopy_authz::Target;
use canopy_authz::actions::placement as actions;
use canopy_candidates::Group;
use canopy_store::{Conn, providers as rows};
use canopy_types::{Error, Kind, ProviderId, Result, Timestamp};
use std::sync::Arc;

/// Which providers a list shows; all conditions hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub name: Option<String>,
    pub id: Option<ProviderId>,
    /// Resources, traits, aggregates and tree, each of the provider itself.
    pub has: Group,
}

/// In the order of trees: roots by age, each followed by the rest of its tree.
pub async fn list(app: &App, ctx: &Ctx, filter: Filter) -> Result<Vec<Arc<Held>>> {
    access::require(app, ctx, actions::PROVIDERS_LIST, &Target::default())?;
    let snapshot = snapshot(app).await?;
    let found = canopy_candidates::providers(&snapshot.world, &filter.has).map_err(|unknown| {
        let what = match unknown {
            canopy_candidates::Unknown::Class(_) => "Invalid resource class in resources parameter",
            canopy_candidates::Unknown::Trait(_) => "Invalid trait(s) in \"required\" parameter",
        };
        Error::bad_request("placement.unknown_name", format!("{what}: {unknown}"))
    })?;
    Ok(found
        .into_iter()
        .map(|at| &snapshot.rows[at as usize])
        .filter(|held| filter.id.is_none_or(|id| held.row.id == id))
        .filter(|held| filter.name.as_ref().is_none_or(|name| held.row.name == *name))
        .cloned()
        .collect())
}

pub async fn show(app: &App, ctx: &Ctx, id: ProviderId) -> Result<Provider> {
    access::require(app, ctx, actions::PROVIDERS_SHOW, &Target::default())?;
    app.store.read(move |c| Box::pin(provider(c, id))).await
}

#[derive(Clone, Debug)]
pub struct Create {
    pub id: Option<ProviderId>,
    pub name: String,
    pub parent: Option<ProviderId>,
}

pub async fn create(app: &App, ctx: &Ctx, wanted: Create) -> Result<Provider> {
    access::require(app, ctx, actions::PROVIDERS_CREATE, &Target::default())?;
    let id = wanted.id.unwrap_or_else(ProviderId::random);
    let refused = |why: &str| {
        let message = format!(
            "Unable to create resource provider \"{}\", {id}: Object action create failed because: {why}",
            errors::shown(&wanted.name)
        );
        Error::bad_request("placement.provider_refused", message)
    };
    if wanted.name.is_empty() {
        return Err(refused("name is required"));
    }
    if wanted.parent == Some(id) {
        return Err(refused(
            "parent provider UUID cannot be same as UUID. Please set parent provider UUID to None if there is no parent.",
        ));
    }
    let no_parent = refused("parent provider UUID does not exist.");
    let (now, name, parent) = (app.now(), wanted.name.clone(), wanted.parent);
    let outcome = app
        .store
        .write("provider.create", move |c| {
            let (name, no_parent) = (name.clone(), no_parent.clone());
            Box::pin(async move {
                let number = rows::next_number(c).await?;
                let root_id = match parent {
                    None => id,
                    Some(parent) => rows::get(c, parent).await?.ok_or(no_parent)?.root_id,
                };
                let mut taken = Vec::new();
                if rows::get(c, id).await?.is_some() {
                    taken.push(format!("uuid: {id}"));
                } else if rows::by_name(c, &name).await?.is_some() {
                    taken.push(format!("name: {}", errors::shown(&name)));
                }
                if !taken.is_empty() {
                    return Err(duplicate(&taken.join(", ")));
                }
                let provider = Provider {
                    id,
                    number,
                    name,
                    parent_id: parent,
                    root_id,
                    host: false,
                    generation: 0,
                    revision: 1,
                    created_at: now,
                    updated_at: now,
                };
                rows::insert(c, &provider).await?;
                Ok(provider)
            })
        })
        .await;
    outcome.map_err(|error| was_faster(error, &wanted.name))
}

fn duplicate(what: &str) -> Error {
    Error::conflict(errors::DUPLICATE_NAME, format!("Conflicting resource provider {what} already exists."))
}

/// Another request took the name between our look and our write.
fn was_faster(error: Error, name: &str) -> Error {
    if error.code == "store.duplicate" { duplicate(&format!("name: {}", errors::shown(name))) } else { error }
}

#[derive(Clone, Debug)]
pub struct Update {
    pub name: String,
    /// `None` leaves it; `Some(None)` makes the provider a root.
    pub parent: Option<Option<ProviderId>>,
    /// Whether a provider that has a parent may get another or none.
    pub may_move: bool,
}

pub async fn update(app: &App, ctx: &Ctx, id: ProviderId, wanted: Update) -> Result<Provider> {
    access::require(app, ctx, actions::PROVIDERS_UPDATE, &Target::default())?;
    let (now, name) = (app.now(), wanted.name.clone());
    let outcome = app
        .store
        .write("provider.update", move |c| {
            let wanted = wanted.clone();
            Box::pin(async move { change(c, id, wanted, now).await })
        })
        .await;
    outcome.map_err(|error| was_faster(error, &name))
}

fn unsaved(id: ProviderId, action: &str, why: &str) -> Error {
    Error::bad_request(
        "placement.provider_refused",
        format!("Unable to save resource provider {id}: Object action {action} failed because: {why}"),
    )
}

async fn change(conn: &mut Conn, id: ProviderId, wanted: Update, now: Timestamp) -> Result<Provider> {
    // Before looking: changes to trees follow each other.
    if wanted.parent.is_some() {
        rows::next_number(conn).await?;
    }
    let mut found = provider(conn, id).await?;
    let parent = wanted.parent.unwrap_or(found.parent_id);
    if found.host && wanted.name != found.name {
        return Err(errors::owned_by_host("The name was not changed", &found.name));
    }
    if found.host && parent.is_some() {
        return Err(errors::owned_by_host("It was not put below another provider", &found.name));
    }
    if wanted.name != found.name && rows::by_name(conn, &wanted.name).await?.is_some() {
        return Err(duplicate(&errors::shown(&wanted.name)));
    }
    if wanted.name.is_empty() {
        return Err(unsaved(id, "update", "name is required"));
    }
    let mut below = Vec::new();
    if let Some(above) = parent {
        let above = rows::get(conn, above)
            .await?
            .ok_or_else(|| unsaved(id, "create", "parent provider UUID does not exist."))?;
        if found.parent_id.is_some_and(|now| now != above.id) && !wanted.may_move {
            return Err(unsaved(id, "update", "re-parenting a provider is not currently allowed."));
        }
        if found.parent_id != Some(above.id) {
            below = rows::subtree(conn, id).await?;
            if below.contains(&above.id) {
                return Err(unsaved(id, "update", "creating loop in the provider tree is not allowed."));
            }
        }
        found.root_id = above.root_id;
    } else if found.parent_id.is_some() {
        if !wanted.may_move {
            return Err(unsaved(id, "update", "un-parenting a provider is not currently allowed."));
        }
        below = rows::subtree(conn, id).await?;
        found.root_id = id;
    }
    found.parent_id = parent;
    found.name = wanted.name;
    found.updated_at = now;
    rows::update(conn, &found, now).await?;
    for child in below.into_iter().filter(|child| *child != id) {
        rows::set_root(conn, child, found.root_id).await?;
    }
    Ok(found)
}

pub async fn delete(app: &App, ctx: &Ctx, id: ProviderId) -> Result<()> {
    access::require(app, ctx, actions::PROVIDERS_DELETE, &Target::default())?;
    let outcome = app
        .store
        .write("provider.delete", move |c| {
            Box::pin(async move {
                let found = provider(c, id).await?;
                if found.host {
                    let mut error = errors::owned_by_host("It was not deleted", &found.name);
                    error.code = errors::PROVIDER_IN_USE;
                    return Err(error);
                }
                if rows::has_children(c, id).await? {
                    return Err(Error::conflict(
                        errors::CANNOT_DELETE_PARENT,
                        format!(
                            "Unable to delete parent resource provider {id}: It has child resource providers."
                        ),
                    ));
                }
                rows::delete(c, id).await
            })
        })
        .await;
    outcome.map_err(|error| match (error.kind, error.code) {
        (Kind::Conflict, "store.in_use") => Error::conflict(
            errors::PROVIDER_IN_USE,
            format!("Unable to delete resource provider {id}: Resource provider has allocations."),
        ),
        (Kind::NotFound, "placement.no_provider") => Error::not_found(
            "placement.no_provider",
            format!("No resource provider with uuid {id} found for delete"),
        ),
        _ => error,
    })
}
