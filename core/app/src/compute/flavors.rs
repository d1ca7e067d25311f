//! Flavors: sizes of servers, owned by the cloud. Public ones are for everybody, others for the projects that were
//! given them, and for those whom the policy lets see all.

mod given;

pub use given::{give, given, take_away};

use crate::{App, Ctx, access};
use canopy_authz::Target;
use canopy_authz::actions::compute::{
    FLAVORS_CREATE, FLAVORS_DELETE, FLAVORS_LIST, FLAVORS_SHOW, FLAVORS_UPDATE,
};
use canopy_store::flavors;
pub use canopy_store::flavors::{Filter, Flavor, SortKey};
use canopy_store::servers::FlavorSnapshot;
use canopy_types::{Error, FlavorId, Kind, Page, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest id and name, characters.
const MAX_ID: usize = 255;
const MAX_EXTRA_SPECS: usize = 128;

#[derive(Clone, Debug, Default)]
pub struct FlavorQuery {
    pub filter: Filter,
    pub sort: Option<SortKey>,
    pub descending: bool,
    pub page: Page,
}

/// The flavors of a page, and whether there are more after the last one.
pub struct Listed {
    pub flavors: Vec<Flavor>,
    pub more: bool,
}

fn absent(id: &FlavorId) -> Error {
    let text: String = id.0.chars().filter(|c| !c.is_control()).take(MAX_ID).collect();
    Error::not_found("flavor.not_found", format!("Flavor {text} could not be found."))
}

fn target(id: &FlavorId, public: bool) -> Target {
    Target::default().id(id).public(public)
}

/// Public flavors; those who may see others choose with `filter.is_public`.
pub async fn list(app: &App, ctx: &Ctx, query: &FlavorQuery) -> Result<Listed> {
    access::require(app, ctx, FLAVORS_LIST, &Target::default())?;
    let mut filter = query.filter.clone();
    if !access::allowed(app, ctx, FLAVORS_SHOW, &Target::default()) {
        filter.is_public = Some(true);
    }
    filter.given_to = ctx.who.project_id().cloned();
    let after = match &query.page.marker {
        None => None,
        Some(marker) => {
            let id = FlavorId(marker.clone());
            Some(show(app, ctx, &id).await.map_err(|e| match e.kind {
                Kind::NotFound => {
                    Error::bad_request("flavor.marker", "The marker is not the id of a flavor.")
                }
                _ => e,
            })?)
        }
    };
    let (key, descending, size) = (query.sort.unwrap_or(SortKey::Id), query.descending, query.page.size());
    let mut flavors = app
        .store
        .read(move |c| {
            Box::pin(
                async move { flavors::list(c, &filter, key, descending, after.as_ref(), size + 1).await },
            )
        })
        .await?;
    let wanted = usize::try_from(size).unwrap_or(0);
    let more = flavors.len() > wanted;
    flavors.truncate(wanted);
    Ok(Listed { flavors, more })
}

/// Whether the caller may show a flavor of any project's.
pub(crate) fn may_show(app: &App, ctx: &Ctx) -> bool {
    let all = FlavorId::from("");
    access::allowed(app, ctx, FLAVORS_SHOW, &target(&all, true))
}

pub async fn show(app: &App, ctx: &Ctx, id: &FlavorId) -> Result<Flavor> {
    // No flavor has such an id, and not every database takes the text.
    if id.0.chars().count() > MAX_ID || id.0.contains('\0') {
        return Err(absent(id));
    }
    let (key, project) = (id.clone(), ctx.who.project_id().cloned());
    let found = app
        .store
        .read(move |c| {
            let (key, project) = (key.clone(), project.clone());
            Box::pin(async move {
                let Some(flavor) = flavors::get(c, &key).await? else { return Ok(None) };
                let open = match &project {
                    _ if flavor.is_public => true,
                    Some(project) => flavors::is_given_to(c, &key, project).await?,
                    None => false,
                };
                Ok(Some((flavor, open)))
            })
        })
        .await?;
    let (flavor, open) = found.ok_or_else(|| absent(id))?;
    access::require_on(app, ctx, FLAVORS_SHOW, FLAVORS_SHOW, &target(id, open), || absent(id))?;
    Ok(flavor)
}

/// Creates a flavor; `created_at` is set here.
pub async fn create(app: &App, ctx: &Ctx, flavor: Flavor) -> Result<Flavor> {
    access::require(app, ctx, FLAVORS_CREATE, &target(&flavor.id, flavor.is_public))?;
    let flavor = Flavor { created_at: app.now(), ..flavor };
    let row = flavor.clone();
    app.store
        .write("flavor.create", move |c| {
            let row = row.clone();
            Box::pin(async move {
                if let Some(other) = flavors::taken(c, &row.id, &row.name).await? {
                    return Err(taken(&row, &other));
                }
                flavors::insert(c, &row).await
            })
        })
        .await
        // Two at once: the database's own word, in the same form.
        .map_err(|e| if e.code == "store.duplicate" { taken(&flavor, &flavor) } else { e })?;
    Ok(flavor)
}

fn taken(new: &Flavor, old: &Flavor) -> Error {
    let text = if new.name == old.name {
        format!("Flavor with name {} already exists.", new.name)
    } else {
        format!("Flavor with ID {} already exists.", new.id)
    };
    Error::conflict("flavor.duplicate", text)
}

/// Changes what a flavor is said to be: the one thing about it that no server depends on.
pub async fn describe(app: &App, ctx: &Ctx, id: &FlavorId, text: Option<String>) -> Result<Flavor> {
    let flavor = show(app, ctx, id).await?;
    access::require(app, ctx, FLAVORS_UPDATE, &target(id, flavor.is_public))?;
    let key = id.clone();
    let changed = app
        .store
        .write("flavor.describe", move |c| {
            let (key, text) = (key.clone(), text.clone());
            Box::pin(async move { flavors::describe(c, &key, text.as_deref()).await })
        })
        .await?;
    changed.ok_or_else(|| absent(id))
}

/// Deletes a flavor. Servers keep what they were made with.
pub async fn delete(app: &App, ctx: &Ctx, id: &FlavorId) -> Result<()> {
    let flavor = show(app, ctx, id).await?;
    access::require(app, ctx, FLAVORS_DELETE, &target(id, flavor.is_public))?;
    let key = id.clone();
    let deleted = app
        .store
        .write("flavor.delete", move |c| {
            let key = key.clone();
            Box::pin(async move { flavors::delete(c, &key).await })
        })
        .await?;
    if deleted { Ok(()) } else { Err(absent(id)) }
}

/// Adds or replaces extra specs; answers all of them.
pub async fn set_extra_specs(
    app: &Arc<App>,
    ctx: &Ctx,
    id: &FlavorId,
    specs: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    edit_extra_specs(app, ctx, id, move |all| {
        all.extend(specs.clone());
        if all.len() > MAX_EXTRA_SPECS {
            return Err(Error::bad_request(
                "flavor.extra_specs",
                format!("A flavor can have at most {MAX_EXTRA_SPECS} extra specs."),
            ));
        }
        Ok(())
    })
    .await
}

pub async fn remove_extra_spec(app: &Arc<App>, ctx: &Ctx, id: &FlavorId, key: &str) -> Result<()> {
    let (key, flavor) = (key.to_owned(), id.clone());
    edit_extra_specs(app, ctx, id, move |all| {
        all.remove(&key).map(|_| ()).ok_or_else(|| no_extra_spec(&flavor, &key))
    })
    .await
    .map(|_| ())
}

/// nova's answer to the name of an extra spec that is not there.
pub fn no_extra_spec(id: &FlavorId, key: &str) -> Error {
    let key: String = key.chars().filter(|c| !c.is_control()).take(MAX_ID).collect();
    Error::not_found("flavor.no_extra_spec", format!("Flavor {id} has no extra specs with key {key}."))
}

async fn edit_extra_specs<F>(
    app: &Arc<App>,
    ctx: &Ctx,
    id: &FlavorId,
    edit: F,
) -> Result<BTreeMap<String, String>>
where
    F: Fn(&mut BTreeMap<String, String>) -> Result<()> + Send + Sync + 'static,
{
    let flavor = show(app, ctx, id).await?;
    // Extra specs are part of what making a flavor means; there is no weaker right to them.
    access::require(app, ctx, FLAVORS_CREATE, &target(id, flavor.is_public))?;
    let (id, edit) = (id.clone(), Arc::new(edit));
    app.store
        .write("flavor.extra_specs", move |c| {
            let (id, edit) = (id.clone(), edit.clone());
            Box::pin(async move {
                let mut flavor = flavors::lock(c, &id).await?.ok_or_else(|| absent(&id))?;
                edit(&mut flavor.extra_specs)?;
                flavors::set_extra_specs(c, &id, &flavor.extra_specs).await?;
                Ok(flavor.extra_specs)
            })
        })
        .await
}

/// The flavor as a new server keeps it. One that is absent or not visible is [`Kind::NotFound`].
pub async fn for_boot(app: &App, ctx: &Ctx, id: &FlavorId) -> Result<FlavorSnapshot> {
    let flavor = show(app, ctx, id).await?;
    Ok(FlavorSnapshot {
        v: 1,
        id: flavor.id,
        name: flavor.name,
        vcpus: flavor.vcpus,
        memory_mib: flavor.memory_mib,
        root_gib: flavor.root_gib,
        ephemeral_gib: flavor.ephemeral_gib,
        swap_mib: flavor.swap_mib,
        extra_specs: flavor.extra_specs,
    })
}
