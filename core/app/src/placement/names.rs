//! The names of traits and resource classes: standard ones come with the program, `CUSTOM_` ones are made.

use super::errors;
use super::rows::Name;
use crate::{App, Ctx, access};
use canopy_authz::Target;
use canopy_authz::actions::placement as actions;
use canopy_store::{Conn, sequences, traits as rows};
use canopy_types::{Error, Result};

/// The number that rises when names come or go, so that caches notice.
pub(super) const CHANGES: &str = "placement_names";

async fn changed(conn: &mut Conn) -> Result<()> {
    sequences::next(conn, CHANGES).await.map(|_| ())
}

/// What a list of traits shows; all conditions hold.
#[derive(Clone, Debug, Default)]
pub struct TraitFilter {
    pub among: Option<Vec<String>>,
    pub prefix: Option<String>,
    /// Whether any provider has it.
    pub associated: Option<bool>,
}

pub async fn list_traits(app: &App, ctx: &Ctx, filter: TraitFilter) -> Result<Vec<Name>> {
    access::require(app, ctx, actions::TRAITS_LIST, &Target::default())?;
    let (mut all, used) = app
        .store
        .read(|c| Box::pin(async move { Ok((rows::list(c).await?, rows::associated(c).await?)) }))
        .await?;
    all.retain(|one| {
        filter.among.as_ref().is_none_or(|names| names.contains(&one.name))
            && filter.prefix.as_ref().is_none_or(|prefix| one.name.starts_with(prefix))
            && filter.associated.is_none_or(|wanted| used.contains(&one.name) == wanted)
    });
    Ok(all)
}

pub async fn show_trait(app: &App, ctx: &Ctx, name: &str) -> Result<Name> {
    access::require(app, ctx, actions::TRAITS_SHOW, &Target::default())?;
    let wanted = name.to_owned();
    let found = app.store.read(move |c| Box::pin(async move { rows::get(c, &wanted).await })).await?;
    found.ok_or_else(|| no_trait(name))
}

fn no_trait(name: &str) -> Error {
    let error = errors::no_such_trait(name);
    Error::not_found(error.code, error.message)
}

/// The trait, and whether it was made just now. The name is a well-formed custom one.
pub async fn ensure_trait(app: &App, ctx: &Ctx, name: &str) -> Result<(Name, bool)> {
    access::require(app, ctx, actions::TRAITS_UPDATE, &Target::default())?;
    let (name, now) = (name.to_owned(), app.now());
    app.store
        .write("trait.create", move |c| {
            let name = name.clone();
            Box::pin(async move {
                let made = rows::insert(c, &name, now).await?;
                if made {
                    changed(c).await?;
                }
                let row = rows::get(c, &name).await?.ok_or_else(|| no_trait(&name))?;
                Ok((row, made))
            })
        })
        .await
}

pub async fn delete_trait(app: &App, ctx: &Ctx, name: &str) -> Result<()> {
    access::require(app, ctx, actions::TRAITS_DELETE, &Target::default())?;
    let wanted = name.to_owned();
    let outcome = app
        .store
        .write("trait.delete", move |c| {
            let name = wanted.clone();
            Box::pin(async move {
                let found = rows::get(c, &name).await?.ok_or_else(|| no_trait(&name))?;
                if !found.custom {
                    return Err(Error::bad_request(
                        "placement.standard_trait",
                        format!("Cannot delete standard trait {name}."),
                    ));
                }
                changed(c).await?;
                rows::delete(c, &name).await
            })
        })
        .await;
    match outcome {
        Err(error) if error.code == "store.in_use" => Err(Error::conflict(
            "placement.trait_in_use",
            format!("The trait {} is in use by a resource provider.", errors::shown(name)),
        )),
        other => other.map(|_| ()),
    }
}

pub async fn list_classes(app: &App, ctx: &Ctx) -> Result<Vec<Name>> {
    access::require(app, ctx, actions::CLASSES_LIST, &Target::default())?;
    app.store.read(|c| Box::pin(rows::classes(c))).await
}

pub async fn show_class(app: &App, ctx: &Ctx, name: &str) -> Result<Name> {
    access::require(app, ctx, actions::CLASSES_SHOW, &Target::default())?;
    let wanted = name.to_owned();
    let found = app.store.read(move |c| Box::pin(async move { rows::class(c, &wanted).await })).await?;
    found.ok_or_else(|| no_class(name))
}

fn no_class(name: &str) -> Error {
    let error = errors::no_such_class(name);
    Error::not_found(error.code, error.message)
}

/// Makes one that is not there. The name is a well-formed custom one.
pub async fn create_class(app: &App, ctx: &Ctx, name: &str) -> Result<()> {
    access::require(app, ctx, actions::CLASSES_CREATE, &Target::default())?;
    if make_class(app, name).await? {
        return Ok(());
    }
    let name = errors::shown(name);
    Err(Error::conflict(
        "placement.class_exists",
        format!("Conflicting resource class already exists: {name}"),
    ))
}

/// Whether it was made just now.
pub async fn ensure_class(app: &App, ctx: &Ctx, name: &str) -> Result<bool> {
    access::require(app, ctx, actions::CLASSES_UPDATE, &Target::default())?;
    make_class(app, name).await
}

async fn make_class(app: &App, name: &str) -> Result<bool> {
    let (name, now) = (name.to_owned(), app.now());
    app.store
        .write("resource_class.create", move |c| {
            let name = name.clone();
            Box::pin(async move {
                let made = rows::insert_class(c, &name, now).await?;
                if made {
                    changed(c).await?;
                }
                Ok(made)
            })
        })
        .await
}

/// Inventories and allocations of the class keep it under its new name.
pub async fn rename_class(app: &App, ctx: &Ctx, from: &str, to: &str) -> Result<()> {
    access::require(app, ctx, actions::CLASSES_UPDATE, &Target::default())?;
    let names = (from.to_owned(), to.to_owned());
    let outcome = app
        .store
        .write("resource_class.rename", move |c| {
            let (from, to) = names.clone();
            Box::pin(async move {
                let found = rows::class(c, &from).await?.ok_or_else(|| no_class(&from))?;
                if !found.custom {
                    return Err(Error::bad_request(
                        "placement.standard_class",
                        format!("Cannot update standard resource class {from}"),
                    ));
                }
                changed(c).await?;
                rows::rename_class(c, &from, &to).await
            })
        })
        .await;
    outcome.map_err(|error| {
        if error.code != "store.duplicate" {
            return error;
        }
        Error::conflict(
            "placement.class_exists",
            format!("Resource class already exists: {}", errors::shown(to)),
        )
    })
}

pub async fn delete_class(app: &App, ctx: &Ctx, name: &str) -> Result<()> {
    access::require(app, ctx, actions::CLASSES_DELETE, &Target::default())?;
    let wanted = name.to_owned();
    let outcome = app
        .store
        .write("resource_class.delete", move |c| {
            let name = wanted.clone();
            Box::pin(async move {
                let found = rows::class(c, &name).await?.ok_or_else(|| no_class(&name))?;
                if !found.custom {
                    return Err(Error::bad_request(
                        "placement.standard_class",
                        format!(
                            "Error in delete resource class: Cannot delete standard resource class {name}."
                        ),
                    ));
                }
                changed(c).await?;
                rows::delete_class(c, &name).await
            })
        })
        .await;
    match outcome {
        Err(error) if error.code == "store.in_use" => {
            let name = errors::shown(name);
            Err(Error::conflict(
                "placement.class_in_use",
                format!(
                    "Error in delete resource class: Cannot delete resource class {name}. Class is in use in inventory."
                ),
            ))
        }
        other => other.map(|_| ()),
    }
}
