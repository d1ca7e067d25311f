//! The projects that a flavor is given to which is not public.

use super::{absent, show, target};
use crate::{App, Ctx, access, identity};
use canopy_authz::Action;
use canopy_authz::actions::compute::{FLAVORS_GIVE, FLAVORS_LIST_GIVEN, FLAVORS_TAKE_AWAY};
use canopy_store::{Conn, flavors};
use canopy_types::{Error, FlavorId, ProjectId, Result};

/// A public flavor has no such list.
pub async fn given(app: &App, ctx: &Ctx, id: &FlavorId) -> Result<Vec<ProjectId>> {
    allowed(app, ctx, id, FLAVORS_LIST_GIVEN).await?;
    let key = id.clone();
    app.store
        .read(move |c| {
            let key = key.clone();
            Box::pin(async move {
                let flavor = flavors::get(c, &key).await?.ok_or_else(|| absent(&key))?;
                if flavor.is_public {
                    return Err(Error::not_found(
                        "flavor.public",
                        "Access list not available for public flavors.",
                    ));
                }
                flavors::projects(c, &key).await
            })
        })
        .await
}

/// Answers all that have it then.
pub async fn give(app: &App, ctx: &Ctx, id: &FlavorId, project: &str) -> Result<Vec<ProjectId>> {
    allowed(app, ctx, id, FLAVORS_GIVE).await?;
    let Some(project) = identity::projects::find(app, project).await? else {
        return Err(Error::bad_request(
            "flavor.project",
            format!("Project ID {} is not a valid project.", short(project)),
        ));
    };
    let (key, project) = (id.clone(), project.id);
    app.store
        .write("flavor.give", move |c| {
            let (key, project) = (key.clone(), project.clone());
            Box::pin(async move {
                if locked(c, &key).await? {
                    return Err(Error::conflict("flavor.public", "Can not add access to a public flavor."));
                }
                if !flavors::give(c, &key, &project).await? {
                    return Err(Error::conflict(
                        "flavor.given",
                        format!(
                            "Flavor access already exists for flavor {key} and project {project} combination."
                        ),
                    ));
                }
                flavors::projects(c, &key).await
            })
        })
        .await
}

/// Whether or not there still is such a project. Servers keep what they were made with.
pub async fn take_away(app: &App, ctx: &Ctx, id: &FlavorId, project: &str) -> Result<Vec<ProjectId>> {
    allowed(app, ctx, id, FLAVORS_TAKE_AWAY).await?;
    let (key, project) = (id.clone(), ProjectId(project.to_owned()));
    app.store
        .write("flavor.take_away", move |c| {
            let (key, project) = (key.clone(), project.clone());
            Box::pin(async move {
                locked(c, &key).await?;
                if !flavors::take_away(c, &key, &project).await? {
                    let project = short(project.as_str());
                    return Err(Error::not_found(
                        "flavor.not_given",
                        format!("Flavor access not found for {key} / {project} combination."),
                    ));
                }
                flavors::projects(c, &key).await
            })
        })
        .await
}

async fn allowed(app: &App, ctx: &Ctx, id: &FlavorId, action: Action) -> Result<()> {
    // Who may not hears that before whether there is such a flavor.
    access::require(app, ctx, action, &target(id, false))?;
    show(app, ctx, id).await.map(|_| ())
}

/// Whether it is public. No other change of it happens until the transaction ends.
async fn locked(conn: &mut Conn, id: &FlavorId) -> Result<bool> {
    flavors::lock(conn, id).await?.map(|flavor| flavor.is_public).ok_or_else(|| absent(id))
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}
