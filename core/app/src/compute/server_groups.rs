//! Server groups: servers that should, or must, share a host, or must not.

use crate::access;
use crate::quota::{self, Ask};
use crate::{App, Ctx};
use canopy_authz::{Target, actions::compute as actions};
use canopy_store::events::{self, NewEvent};
use canopy_store::quota::Spend;
pub use canopy_store::server_groups::ServerGroup;
use canopy_store::server_groups::{self as store, ANTI_AFFINITY};
use canopy_types::quota::SERVER_GROUPS;
use canopy_types::{Error, Page, ProjectId, Result, ServerGroupId, ServerId};

/// The event of a group that is gone.
pub(super) const DELETED: &str = "server_group.delete";

/// A validated request, newest model.
#[derive(Clone, Debug)]
pub struct Create {
    pub name: String,
    pub policy: String,
    /// For anti-affinity only.
    pub max_per_host: Option<i64>,
}

/// A group with its servers, deleted ones left out.
#[derive(Clone, Debug)]
pub struct Listed {
    pub group: ServerGroup,
    pub members: Vec<ServerId>,
}

pub fn absent(id: &str) -> Error {
    let shown: String = id.chars().take(255).collect();
    Error::not_found("server_group.not_found", format!("Instance group {shown} could not be found."))
}

fn target(group: &ServerGroup) -> Target {
    Target::in_project(&group.project_id).id(group.id).owner(&group.user_id)
}

pub async fn create(app: &App, ctx: &Ctx, create: Create) -> Result<Listed> {
    let project = access::project(ctx)?.clone();
    let user = ctx.who.user_id.clone();
    access::require(app, ctx, actions::SERVER_GROUPS_CREATE, &Target::in_project(&project).owner(&user))?;
    if create.max_per_host.is_some() && create.policy != ANTI_AFFINITY {
        return Err(Error::bad_request(
            "server_group.rules",
            "Only anti-affinity policy supports rules: leave them out, or choose that policy.",
        ));
    }
    let group = ServerGroup {
        id: ServerGroupId::random(),
        project_id: project.clone(),
        user_id: user.clone(),
        name: create.name,
        policy: create.policy,
        max_per_host: create.max_per_host.unwrap_or(1),
        created_at: app.now(),
    };
    let ask = Ask::new(&project, &user, SERVER_GROUPS, 1);
    let written = group.clone();
    quota::charged(app, &ask, "server_group.create", move |c| {
        let group = written.clone();
        Box::pin(async move { store::insert(c, &group).await })
    })
    .await
    .map_err(|e| match e.code {
        "quota.exceeded" => Error::new(e.kind, e.code, "Quota exceeded, too many server groups."),
        _ => e,
    })?;
    Ok(Listed { group, members: Vec::new() })
}

/// The project's groups, or every project's for those allowed; oldest first.
pub async fn list(app: &App, ctx: &Ctx, all_projects: bool, page: Page, offset: i64) -> Result<Vec<Listed>> {
    let project = access::project(ctx)?.clone();
    access::require(app, ctx, actions::SERVER_GROUPS_LIST, &Target::in_project(&project))?;
    if all_projects {
        access::require(app, ctx, actions::SERVER_GROUPS_LIST_ALL, &Target::default())?;
    }
    let project: Option<ProjectId> = (!all_projects).then_some(project);
    app.store
        .read(move |c| {
            Box::pin(async move {
                let groups = store::list(c, project.as_ref(), &page, offset).await?;
                with_members(c, groups).await
            })
        })
        .await
}

async fn with_members(c: &mut canopy_store::Conn, groups: Vec<ServerGroup>) -> Result<Vec<Listed>> {
    let ids: Vec<ServerGroupId> = groups.iter().map(|group| group.id).collect();
    let members = store::members(c, &ids).await?;
    let of = |id| members.iter().filter(|(group, _)| *group == id).map(|(_, server)| *server).collect();
    Ok(groups.into_iter().map(|group| Listed { members: of(group.id), group }).collect())
}

/// A group that the caller may see.
pub async fn show(app: &App, ctx: &Ctx, id: ServerGroupId) -> Result<Listed> {
    let found = app
        .store
        .read(move |c| {
            Box::pin(async move {
                let group = store::get(c, id).await?;
                with_members(c, group.into_iter().collect()).await
            })
        })
        .await?;
    let gone = || absent(&id.to_string());
    let listed = found.into_iter().next().ok_or_else(gone)?;
    let (show, target) = (actions::SERVER_GROUPS_SHOW, target(&listed.group));
    access::require_on(app, ctx, show, show, &target, gone)?;
    Ok(listed)
}

/// Its servers stay, without the group's rule.
pub async fn delete(app: &App, ctx: &Ctx, id: ServerGroupId) -> Result<()> {
    let listed = show(app, ctx, id).await?;
    access::require(app, ctx, actions::SERVER_GROUPS_DELETE, &target(&listed.group))?;
    let (project, now) = (listed.group.project_id, app.now());
    let spend = Spend {
        project_id: project.clone(),
        user_id: listed.group.user_id,
        zone: String::new(),
        amounts: [(SERVER_GROUPS.to_owned(), 1)].into(),
    };
    app.store
        .write("server_group.delete", move |c| {
            let (project, spend) = (project.clone(), spend.clone());
            Box::pin(async move {
                canopy_store::quota::refund(c, &spend).await?;
                if !store::delete(c, id).await? {
                    return Err(absent(&id.to_string()));
                }
                let event = NewEvent {
                    at: now,
                    kind: DELETED,
                    project_id: &project,
                    subject: id.to_string(),
                    host_id: None,
                };
                events::append(c, &event).await.map(|_| ())
            })
        })
        .await
}

/// The group that a create names; a request naming one that is not there is wrong.
pub(super) async fn for_boot(app: &App, ctx: &Ctx, id: ServerGroupId) -> Result<ServerGroup> {
    Ok(show(app, ctx, id).await?.group)
}
