//! Groups of endpoints, described by what their endpoints have in common, and the projects that are shown them.

use super::catalog::{Endpoint, absent, everything};
use super::indexed::Indexed;
use super::rows::endpoint_groups as stored;
use super::rows::endpoint_groups::{EndpointGroup, Filters};
use super::{lookup, projects, rows};
use crate::{App, Ctx, access};
use canopy_authz::{Action, Target, actions::identity as actions};
use canopy_store::identity::Project;
use canopy_types::{Error, ProjectId, Result, UserId};
use std::sync::Arc;

const MAX_GROUPS: usize = 2_000;

/// `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointGroupChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub filters: Option<Filters>,
}

async fn begin(app: &App, ctx: &Ctx, action: Action, id: &str) -> Result<Arc<Indexed>> {
    access::require(app, ctx, action, &Target::default().id(id))?;
    app.identity.catch_up(&app.store).await?;
    Ok(app.identity.view().directory)
}

fn find(directory: &Indexed, id: &str) -> Result<EndpointGroup> {
    directory.endpoint_group(id).cloned().ok_or_else(|| absent("endpoint group", id))
}

fn project(directory: &Indexed, id: &str) -> Result<Project> {
    lookup(id).and_then(|key| directory.project(&key.into())).cloned().ok_or_else(|| projects::absent(id))
}

pub async fn endpoint_groups(app: &App, ctx: &Ctx, name: Option<&str>) -> Result<Vec<EndpointGroup>> {
    let directory = begin(app, ctx, actions::ENDPOINT_GROUPS_LIST, "").await?;
    let groups = directory.endpoint_groups().iter();
    Ok(groups.filter(|group| name.is_none_or(|name| name == group.name)).cloned().collect())
}

pub async fn endpoint_group(app: &App, ctx: &Ctx, id: &str) -> Result<EndpointGroup> {
    find(&*begin(app, ctx, actions::ENDPOINT_GROUPS_SHOW, id).await?, id)
}

/// The endpoints that a group describes now.
pub async fn endpoints_of_group(app: &App, ctx: &Ctx, id: &str, base: &str) -> Result<Vec<Endpoint>> {
    let directory = begin(app, ctx, actions::ENDPOINT_GROUPS_SHOW, id).await?;
    let group = find(&directory, id)?;
    let all = everything(app, &directory, base).into_iter().flat_map(|entry| entry.endpoints);
    Ok(all.filter(|endpoint| describes(&group.filters, endpoint)).collect())
}

/// The projects that are shown a group.
pub async fn projects_of_group(app: &App, ctx: &Ctx, id: &str) -> Result<Vec<Project>> {
    let directory = begin(app, ctx, actions::ENDPOINT_GROUPS_SHOW, id).await?;
    let group = find(&directory, id)?;
    Ok(directory.shown_group(&group.id).into_iter().cloned().collect())
}

/// The groups that a project is shown.
pub async fn groups_of_project(app: &App, ctx: &Ctx, id: &str) -> Result<Vec<EndpointGroup>> {
    let directory = begin(app, ctx, actions::ENDPOINT_GROUPS_LIST, id).await?;
    let project = project(&directory, id)?;
    Ok(directory.groups_shown_to(&project.id).cloned().collect())
}

pub async fn group_in_project(app: &App, ctx: &Ctx, id: &str, of: &str) -> Result<EndpointGroup> {
    let directory = begin(app, ctx, actions::ENDPOINT_GROUPS_SHOW, id).await?;
    let (group, project) = (find(&directory, id)?, project(&directory, of)?);
    if directory.groups_shown_to(&project.id).any(|one| one.id == group.id) {
        return Ok(group);
    }
    Err(not_shown(id, of))
}

fn not_shown(id: &str, project: &str) -> Error {
    Error::not_found(
        "identity.endpoint_group_not_shown",
        format!("Endpoint group {id} is not associated with project {project}."),
    )
}

/// Whether an endpoint is one of a group's.
pub(super) fn describes(filters: &Filters, endpoint: &Endpoint) -> bool {
    let is = |wanted: &Option<String>, value: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| Some(wanted) == value)
    };
    is(&filters.service_id, Some(&endpoint.service_id))
        && is(&filters.interface, Some(&endpoint.interface))
        && is(&filters.region_id, endpoint.region_id.as_deref())
}

enum Change {
    Put(EndpointGroup),
    Gone(String),
    Show(ProjectId, String),
    Hide(ProjectId, String),
}

async fn write(app: &App, name: &'static str, subject: &str, change: Change) -> Result<()> {
    let (now, subject, change) = (app.now(), subject.to_owned(), Arc::new(change));
    app.store
        .write(name, move |c| {
            let (subject, change) = (subject.clone(), change.clone());
            Box::pin(async move {
                rows::touch(c, now, name, &subject).await?;
                match &*change {
                    Change::Put(group) => stored::put(c, group).await,
                    Change::Gone(id) => stored::delete(c, id).await,
                    Change::Show(project, id) => stored::show_to(c, project, id).await,
                    Change::Hide(project, id) => stored::show_no_more(c, project, id).await,
                }
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(())
}

pub async fn create_endpoint_group(app: &App, ctx: &Ctx, new: EndpointGroupChange) -> Result<EndpointGroup> {
    let directory = begin(app, ctx, actions::ENDPOINT_GROUPS_CREATE, "").await?;
    if directory.endpoint_groups().len() >= MAX_GROUPS {
        let text = format!("There may be at most {MAX_GROUPS} endpoint groups.");
        return Err(Error::forbidden("identity.catalog_full", text));
    }
    let group = EndpointGroup {
        id: UserId::random().0,
        name: new.name.unwrap_or_default(),
        description: new.description.unwrap_or_default(),
        filters: new.filters.unwrap_or_default(),
    };
    write(app, "identity.endpoint_group.create", &group.id, Change::Put(group.clone())).await?;
    Ok(group)
}

pub async fn update_endpoint_group(
    app: &App,
    ctx: &Ctx,
    id: &str,
    change: EndpointGroupChange,
) -> Result<EndpointGroup> {
    let mut group = find(&*begin(app, ctx, actions::ENDPOINT_GROUPS_UPDATE, id).await?, id)?;
    group.name = change.name.unwrap_or(group.name);
    group.description = change.description.unwrap_or(group.description);
    group.filters = change.filters.unwrap_or(group.filters);
    write(app, "identity.endpoint_group.update", id, Change::Put(group.clone())).await?;
    Ok(group)
}

pub async fn delete_endpoint_group(app: &App, ctx: &Ctx, id: &str) -> Result<()> {
    let group = find(&*begin(app, ctx, actions::ENDPOINT_GROUPS_DELETE, id).await?, id)?;
    write(app, "identity.endpoint_group.delete", id, Change::Gone(group.id)).await
}

/// Shows a group to a project, or no more.
pub async fn show_group(app: &App, ctx: &Ctx, id: &str, of: &str, show: bool) -> Result<()> {
    let action =
        if show { actions::ENDPOINT_GROUPS_ADD_PROJECT } else { actions::ENDPOINT_GROUPS_REMOVE_PROJECT };
    let directory = begin(app, ctx, action, id).await?;
    let (group, project) = (find(&directory, id)?, project(&directory, of)?);
    if show {
        let change = Change::Show(project.id, group.id);
        return write(app, "identity.endpoint_group.show", id, change).await;
    }
    if !directory.groups_shown_to(&project.id).any(|one| one.id == group.id) {
        return Err(not_shown(id, of));
    }
    write(app, "identity.endpoint_group.hide", id, Change::Hide(project.id, group.id)).await
}
