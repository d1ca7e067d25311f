//! Projects: for admins to make and change, for members to look at.

use super::extras::{Extra, attach};
use super::{lookup, rows};
use crate::{App, Ctx, access};
use canopy_authz::{Scope, Target, actions};
use canopy_store::identity::projects::Filter;
use canopy_store::identity::{Project, Reach};
use canopy_store::{Conn, Page};
use canopy_types::{DomainId, Error, ProjectId, Result};

/// Levels of projects below a domain.
const MAX_DEPTH: usize = 5;
/// Tags of one project.
pub const MAX_TAGS: usize = 80;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewProject {
    pub name: String,
    /// The caller's domain unless given, or the parent's.
    pub domain_id: Option<String>,
    pub parent_id: Option<String>,
    pub description: String,
    pub enabled: bool,
    pub tags: Vec<String>,
    pub extra: Extra,
}

/// `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub enabled: Option<bool>,
    pub tags: Option<ProjectTags>,
    pub extra: Extra,
}

/// What becomes of a project's tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectTags {
    Set(Vec<String>),
    Add(String),
    /// 404 when it is not there.
    Remove(String),
}

impl ProjectTags {
    fn apply(self, present: Vec<String>) -> Result<Vec<String>> {
        let mut tags = present;
        match self {
            Self::Set(wanted) => tags = wanted,
            Self::Add(tag) => tags.push(tag),
            Self::Remove(tag) => {
                let before = tags.len();
                tags.retain(|own| *own != tag);
                if tags.len() == before {
                    return Err(absent_tag(&tag));
                }
            }
        }
        tags.sort_unstable();
        tags.dedup();
        if tags.len() > MAX_TAGS {
            return Err(Error::bad_request(
                "identity.project_tags",
                format!("A project has at most {MAX_TAGS} tags."),
            ));
        }
        Ok(tags)
    }
}

pub fn absent_tag(tag: &str) -> Error {
    let shown: String = tag.chars().take(255).collect();
    Error::not_found("identity.project_tag_not_found", format!("Could not find project tag: {shown}."))
}

pub(super) fn absent(id: &str) -> Error {
    Error::not_found("identity.project_not_found", format!("Could not find project: {id}."))
}

/// keystone's words for a name that is taken.
pub(super) fn taken(what: &str, name: &str, domain: &str) -> impl Fn(Error) -> Error {
    let text = format!(
        "Conflict occurred attempting to store {what} - Duplicate entry found with name {name} at domain ID {domain}."
    );
    move |error| match error.code {
        "store.duplicate" => Error::conflict("identity.duplicate", text.clone()).with_source(error),
        _ => error,
    }
}

/// The same where a name counts in the whole cloud.
pub(super) fn taken_everywhere(what: &str, name: &str) -> impl Fn(Error) -> Error {
    let text =
        format!("Conflict occurred attempting to store {what} - Duplicate entry found with name {name}.");
    move |error| match error.code {
        "store.duplicate" => Error::conflict("identity.duplicate", text.clone()).with_source(error),
        _ => error,
    }
}

/// The domain a caller's new things go to.
pub(super) fn home(ctx: &Ctx) -> DomainId {
    match &ctx.who.scope {
        Scope::Project { domain_id, .. } | Scope::Domain { id: domain_id } => domain_id.clone(),
        Scope::System | Scope::Unscoped => ctx.who.user_domain_id.clone(),
    }
}

/// The domain of a token for a domain, else empty: its lists are of that domain.
pub(super) fn own_domain(ctx: &Ctx) -> String {
    match &ctx.who.scope {
        Scope::Domain { id } => id.0.clone(),
        _ => String::new(),
    }
}

fn target(id: &str, project: Option<&Project>) -> Target {
    let domain = project.map(|project| project.domain_id.0.clone()).unwrap_or_default();
    Target { id: id.to_owned(), domain_id: domain, ..Target::default() }
}

pub(crate) async fn find(app: &App, id: &str) -> Result<Option<Project>> {
    let Some(id) = lookup(id).map(str::to_owned) else { return Ok(None) };
    app.store.read(|c| Box::pin(async move { rows::projects::get(c, &id).await })).await
}

pub async fn project(app: &App, ctx: &Ctx, id: &str) -> Result<Project> {
    let found = find(app, id).await?;
    access::require(app, ctx, actions::identity::PROJECTS_SHOW, &target(id, found.as_ref()))?;
    found.ok_or_else(|| absent(id))
}

/// The projects around one, as far as the caller may see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Nearest first.
    pub above: Vec<Project>,
    /// Each after the one that it is in.
    pub below: Vec<Project>,
}

/// Those above and below a project that the caller may see.
pub async fn tree(app: &App, ctx: &Ctx, project: &Project) -> Result<Tree> {
    app.identity.catch_up(&app.store).await?;
    let directory = app.identity.view().directory;
    let seen = |found: &&Project| {
        let target = target(found.id.as_str(), Some(found));
        access::allowed(app, ctx, actions::identity::PROJECTS_SHOW, &target)
            || !directory.effective_roles(&ctx.who.user_id, &Reach::Project(found.id.clone())).is_empty()
    };
    let above = directory.above(project).filter(seen).cloned().collect();
    let (mut below, mut at): (Vec<Project>, usize) =
        (directory.children(&project.id).into_iter().cloned().collect(), 0);
    while let Some(next) = below.get(at).map(|next| next.id.clone()) {
        below.extend(directory.children(&next).into_iter().cloned());
        at += 1;
    }
    below.retain(|found| seen(&found));
    Ok(Tree { above, below })
}

/// One page, and whether another follows. With a token for a domain, of that domain.
pub async fn projects(app: &App, ctx: &Ctx, mut filter: Filter, page: Page) -> Result<(Vec<Project>, bool)> {
    let own = own_domain(ctx);
    let within = Target { domain_id: own.clone(), ..Target::default() };
    access::require(app, ctx, actions::identity::PROJECTS_LIST, &within)?;
    if !own.is_empty() {
        if !filter.domain_id.is_empty() && filter.domain_id != own {
            return Ok((Vec::new(), false));
        }
        filter.domain_id = own;
    }
    let texts = [&filter.domain_id, &filter.name, &filter.parent_id];
    let tags = || filter.tags.iter().flat_map(|(_, tags)| tags);
    if texts.iter().any(|text| !text.is_empty() && lookup(text).is_none())
        || tags().any(|tag| lookup(tag).is_none())
    {
        return Ok((Vec::new(), false));
    }
    if let Some(marker) = &page.marker
        && find(app, marker).await?.is_none()
    {
        return Err(unknown_marker(marker));
    }
    let size = usize::try_from(page.size()).unwrap_or_default();
    let mut rows =
        app.store.read(|c| Box::pin(async move { rows::projects::list(c, &filter, &page).await })).await?;
    let more = rows.len() > size;
    rows.truncate(size);
    Ok((rows, more))
}

pub(super) fn unknown_marker(marker: &str) -> Error {
    let shown: String = marker.chars().take(64).collect();
    Error::bad_request("query.marker", format!("marker {shown} was not found."))
}

pub async fn create_project(app: &App, ctx: &Ctx, new: NewProject) -> Result<Project> {
    let domain = new.domain_id.clone().map_or_else(|| home(ctx), DomainId);
    let wanted = Target { domain_id: domain.0.clone(), ..Target::default() };
    access::require(app, ctx, actions::identity::PROJECTS_CREATE, &wanted)?;
    let (id, now) = (ProjectId::random(), app.now());
    let created = app
        .store
        .write("identity.project.create", move |c| {
            let (id, new, domain) = (id.clone(), new.clone(), domain.clone());
            Box::pin(async move {
                rows::touch(c, now, "identity.project.create", id.as_str()).await?;
                let extra = new.extra.clone();
                let project = place(c, id, new, domain).await?;
                rows::projects::insert(c, &project, now).await.map_err(taken(
                    "project",
                    &project.name,
                    project.domain_id.as_str(),
                ))?;
                attach(c, "project", project.id.as_str(), &extra).await?;
                Ok(project)
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(created)
}

/// Finds domain and parent of a new project.
async fn place(conn: &mut Conn, id: ProjectId, new: NewProject, home: DomainId) -> Result<Project> {
    let parent = match new.parent_id.as_deref().filter(|parent| *parent != home.as_str()) {
        None => None,
        Some(parent) => {
            let missing = || absent(parent);
            let key = lookup(parent).ok_or_else(missing)?;
            match rows::projects::get(conn, key).await? {
                Some(project) => Some(project),
                // A domain may be named as parent, too.
                None if domain_exists(conn, key).await? => None,
                None => return Err(missing()),
            }
        }
    };
    let domain_id = match (&new.domain_id, &parent, &new.parent_id) {
        (None, Some(parent), _) => parent.domain_id.clone(),
        (None, None, Some(domain)) => DomainId(domain.clone()),
        _ => home,
    };
    if !domain_exists(conn, domain_id.as_str()).await? {
        return Err(super::domains::absent(domain_id.as_str()));
    }
    let mismatch = match (&parent, &new.parent_id) {
        (Some(parent), _) => parent.domain_id != domain_id,
        (None, Some(domain)) => domain != domain_id.as_str(),
        (None, None) => false,
    };
    if mismatch {
        return Err(Error::bad_request(
            "identity.parent_domain",
            format!("The parent must be in the project's domain {domain_id}."),
        ));
    }
    if let Some(parent) = &parent {
        check_depth(conn, parent).await?;
        if let Some(disabled) = disabled_from(conn, parent).await? {
            let text =
                format!("cannot create a project in a branch containing a disabled project: {disabled}");
            return Err(Error::forbidden("identity.project_disabled", text));
        }
    }
    Ok(Project {
        id,
        parent_id: parent.map_or_else(|| domain_id.0.clone(), |parent| parent.id.0),
        domain_id,
        name: new.name,
        description: new.description,
        enabled: new.enabled,
        tags: ProjectTags::Set(new.tags).apply(Vec::new())?,
    })
}

async fn check_depth(conn: &mut Conn, parent: &Project) -> Result<()> {
    let mut above = 1;
    let mut next = rows::projects::get(conn, &parent.parent_id).await?;
    while let Some(project) = next {
        above += 1;
        if above >= MAX_DEPTH {
            let text = format!("Max hierarchy depth reached for {} branch.", parent.id);
            return Err(Error::forbidden("identity.project_depth", text));
        }
        next = rows::projects::get(conn, &project.parent_id).await?;
    }
    Ok(())
}

/// A disabled one of a project and those above it.
async fn disabled_from(conn: &mut Conn, project: &Project) -> Result<Option<ProjectId>> {
    let mut next = Some(project.clone());
    while let Some(project) = next {
        if !project.enabled {
            return Ok(Some(project.id));
        }
        next = rows::projects::get(conn, &project.parent_id).await?;
    }
    Ok(None)
}

/// What is below a disabled project is disabled: else its tokens would go on.
async fn may_enable(conn: &mut Conn, project: &Project, enabled: bool) -> Result<()> {
    let id = &project.id;
    if !enabled && rows::projects::has_enabled_child(conn, id).await? {
        let text = format!("Cannot disable project {id} since its subtree contains enabled projects.");
        return Err(Error::forbidden("identity.project_disabled", text));
    }
    if enabled
        && let Some(parent) = rows::projects::get(conn, &project.parent_id).await?
        && disabled_from(conn, &parent).await?.is_some()
    {
        let text = format!("Cannot enable project {id} since it has disabled parents");
        return Err(Error::forbidden("identity.project_disabled", text));
    }
    Ok(())
}

pub(crate) async fn domain_exists(conn: &mut Conn, id: &str) -> Result<bool> {
    Ok(rows::domains(conn).await?.iter().any(|domain| domain.id.as_str() == id))
}

pub async fn update_project(app: &App, ctx: &Ctx, id: &str, change: ProjectChange) -> Result<Project> {
    let found = find(app, id).await?;
    access::require(app, ctx, actions::identity::PROJECTS_UPDATE, &target(id, found.as_ref()))?;
    let id = found.ok_or_else(|| absent(id))?.id;
    let now = app.now();
    let updated = app
        .store
        .write("identity.project.update", move |c| {
            let (id, change) = (id.clone(), change.clone());
            Box::pin(async move {
                rows::touch(c, now, "identity.project.update", id.as_str()).await?;
                let mut project =
                    rows::projects::get(c, id.as_str()).await?.ok_or_else(|| absent(id.as_str()))?;
                if let Some(enabled) = change.enabled.filter(|enabled| *enabled != project.enabled) {
                    may_enable(c, &project, enabled).await?;
                    project.enabled = enabled;
                }
                project.name = change.name.unwrap_or(project.name);
                project.description = change.description.unwrap_or(project.description);
                if let Some(tags) = change.tags {
                    project.tags = tags.apply(project.tags)?;
                }
                rows::projects::update(c, &project).await.map_err(taken(
                    "project",
                    &project.name,
                    project.domain_id.as_str(),
                ))?;
                attach(c, "project", id.as_str(), &change.extra).await?;
                Ok(project)
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(updated)
}

/// Removes an empty project. What still stands in it would belong to nobody, so it is named and refused.
pub async fn delete_project(app: &App, ctx: &Ctx, id: &str) -> Result<()> {
    let found = find(app, id).await?;
    access::require(app, ctx, actions::identity::PROJECTS_DELETE, &target(id, found.as_ref()))?;
    let id = found.ok_or_else(|| absent(id))?.id;
    let now = app.now();
    app.store
        .write("identity.project.delete", move |c| {
            let id = id.clone();
            Box::pin(async move {
                rows::touch(c, now, "identity.project.delete", id.as_str()).await?;
                rows::projects::get(c, id.as_str()).await?.ok_or_else(|| absent(id.as_str()))?;
                let held = rows::projects::holdings(c, &id).await?;
                if held.children > 0 {
                    let text = format!("Cannot delete the project {id} since it is not a leaf in the hierarchy.");
                    return Err(Error::forbidden("identity.project_not_leaf", text));
                }
                if held.servers + held.images + held.networks > 0 {
                    let text = format!(
                        "The project {id} still holds {} servers, {} images and {} networks. Delete them first.",
                        held.servers, held.images, held.networks
                    );
                    return Err(Error::conflict("identity.project_in_use", text));
                }
                rows::projects::delete(c, &id).await
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(())
}
