//! Groups: users who hold roles together.

use super::extras::{Extra, attach};
use super::projects::{domain_exists, home, own_domain, taken, unknown_marker};
use super::{grants, lookup, rows, users};
use crate::{App, Ctx, access};
use canopy_authz::{Target, actions::identity as actions};
use canopy_store::identity::groups::Filter;
use canopy_store::identity::{Actor, Group, User};
use canopy_store::{Conn, Page};
use canopy_types::{DomainId, Error, GroupId, Result, UserId};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewGroup {
    pub name: String,
    /// The caller's domain unless given.
    pub domain_id: Option<String>,
    pub description: String,
    pub extra: Extra,
}

/// `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub extra: Extra,
}

pub(super) fn absent(id: &str) -> Error {
    Error::not_found("identity.group_not_found", format!("Could not find group: {id}."))
}

fn target(id: &str, group: Option<&Group>) -> Target {
    let domain = group.map(|group| group.domain_id.0.clone()).unwrap_or_default();
    Target { id: id.to_owned(), domain_id: domain, ..Target::default() }
}

/// As [`target`], with the roles that members of the group have by it. `holder`: who is to hold them, or no
/// longer is; the group itself unless given.
async fn with_roles(app: &App, id: &str, group: Option<&Group>, holder: Option<Actor>) -> Result<Target> {
    let Some(group) = group else { return Ok(target(id, None)) };
    app.identity.catch_up(&app.store).await?;
    let (directory, actor) = (app.identity.view().directory, Actor::Group(group.id.clone()));
    let roles = directory.given_anywhere(&actor);
    let at_stake = grants::at_stake(&directory, roles, &holder.unwrap_or(actor));
    Ok(Target { at_stake, ..target(id, Some(group)) })
}

async fn find(app: &App, id: &str) -> Result<Option<Group>> {
    let Some(id) = lookup(id).map(str::to_owned) else { return Ok(None) };
    app.store.read(|c| Box::pin(async move { rows::groups::get(c, &id).await })).await
}

async fn present(conn: &mut Conn, id: &str) -> Result<Group> {
    rows::groups::get(conn, id).await?.ok_or_else(|| absent(id))
}

pub async fn group(app: &App, ctx: &Ctx, id: &str) -> Result<Group> {
    let found = find(app, id).await?;
    access::require(app, ctx, actions::GROUPS_SHOW, &target(id, found.as_ref()))?;
    found.ok_or_else(|| absent(id))
}

/// One page, and whether another follows. With a token for a domain, of that domain.
pub async fn groups(app: &App, ctx: &Ctx, mut filter: Filter, page: Page) -> Result<(Vec<Group>, bool)> {
    let own = own_domain(ctx);
    access::require(app, ctx, actions::GROUPS_LIST, &Target { domain_id: own.clone(), ..Target::default() })?;
    let elsewhere = !own.is_empty() && !filter.domain_id.is_empty() && filter.domain_id != own;
    let hopeless = |text: &String| !text.is_empty() && lookup(text).is_none();
    if elsewhere || [&filter.domain_id, &filter.name].into_iter().any(hopeless) {
        return Ok((Vec::new(), false));
    }
    if !own.is_empty() {
        filter.domain_id = own;
    }
    if let Some(marker) = &page.marker
        && find(app, marker).await?.is_none()
    {
        return Err(unknown_marker(marker));
    }
    let size = usize::try_from(page.size()).unwrap_or_default();
    let mut rows =
        app.store.read(|c| Box::pin(async move { rows::groups::list(c, &filter, &page).await })).await?;
    let more = rows.len() > size;
    rows.truncate(size);
    Ok((rows, more))
}

pub async fn create_group(app: &App, ctx: &Ctx, new: NewGroup) -> Result<Group> {
    let domain_id = new.domain_id.clone().map_or_else(|| home(ctx), DomainId);
    let wanted = Target { domain_id: domain_id.0.clone(), ..Target::default() };
    access::require(app, ctx, actions::GROUPS_CREATE, &wanted)?;
    let group = Group { id: GroupId::random(), domain_id, name: new.name, description: new.description };
    let (now, extra) = (app.now(), new.extra);
    let created = app
        .store
        .write("identity.group.create", move |c| {
            let (group, extra) = (group.clone(), extra.clone());
            Box::pin(async move {
                rows::touch(c, now, "identity.group.create", group.id.as_str()).await?;
                if !domain_exists(c, group.domain_id.as_str()).await? {
                    return Err(super::domains::absent(group.domain_id.as_str()));
                }
                let twice = taken("group", &group.name, group.domain_id.as_str());
                rows::groups::insert(c, &group, now).await.map_err(twice)?;
                attach(c, "group", group.id.as_str(), &extra).await?;
                Ok(group)
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(created)
}

pub async fn update_group(app: &App, ctx: &Ctx, id: &str, change: GroupChange) -> Result<Group> {
    let found = find(app, id).await?;
    let asked = with_roles(app, id, found.as_ref(), None).await?;
    access::require(app, ctx, actions::GROUPS_UPDATE, &asked)?;
    let id = found.ok_or_else(|| absent(id))?.id;
    let now = app.now();
    let updated = app
        .store
        .write("identity.group.update", move |c| {
            let (id, change) = (id.clone(), change.clone());
            Box::pin(async move {
                rows::touch(c, now, "identity.group.update", id.as_str()).await?;
                let mut group = present(c, id.as_str()).await?;
                group.name = change.name.unwrap_or(group.name);
                group.description = change.description.unwrap_or(group.description);
                let twice = taken("group", &group.name, group.domain_id.as_str());
                rows::groups::update(c, &group).await.map_err(twice)?;
                attach(c, "group", id.as_str(), &change.extra).await?;
                Ok(group)
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(updated)
}

/// Removes a group: its members lose at once what they held by it.
pub async fn delete_group(app: &App, ctx: &Ctx, id: &str) -> Result<()> {
    let found = find(app, id).await?;
    let asked = with_roles(app, id, found.as_ref(), None).await?;
    access::require(app, ctx, actions::GROUPS_DELETE, &asked)?;
    let id = found.ok_or_else(|| absent(id))?.id;
    let now = app.now();
    app.store
        .write("identity.group.delete", move |c| {
            let id = id.clone();
            Box::pin(async move {
                rows::touch(c, now, "identity.group.delete", id.as_str()).await?;
                present(c, id.as_str()).await?;
                rows::groups::delete(c, &id).await
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(())
}

/// By name.
pub async fn members(app: &App, ctx: &Ctx, id: &str) -> Result<Vec<User>> {
    let found = find(app, id).await?;
    access::require(app, ctx, actions::GROUPS_LIST_MEMBERS, &target(id, found.as_ref()))?;
    let group = found.ok_or_else(|| absent(id))?;
    app.identity.catch_up(&app.store).await?;
    Ok(app.identity.view().directory.members(&group.id).into_iter().cloned().collect())
}

/// The groups that a user is in, by name.
pub async fn groups_of_user(app: &App, ctx: &Ctx, id: &str) -> Result<Vec<Group>> {
    let found = users::find(app, id).await?;
    access::require(app, ctx, actions::USERS_LIST_GROUPS, &users::target(id, found.as_ref()))?;
    let user = found.ok_or_else(|| users::absent(id))?;
    app.identity.catch_up(&app.store).await?;
    Ok(app.identity.view().directory.groups_of(&user.id).into_iter().cloned().collect())
}

/// Fine for a member, 404 for anybody else.
pub async fn has_member(app: &App, ctx: &Ctx, id: &str, user: &str) -> Result<()> {
    let found = find(app, id).await?;
    access::require(app, ctx, actions::GROUPS_CHECK_MEMBER, &target(id, found.as_ref()))?;
    let group = found.ok_or_else(|| absent(id))?;
    let user = users::find(app, user).await?.ok_or_else(|| users::absent(user))?;
    app.identity.catch_up(&app.store).await?;
    let directory = app.identity.view().directory;
    if directory.members(&group.id).iter().any(|member| member.id == user.id) {
        return Ok(());
    }
    Err(no_member(user.id.as_str(), group.id.as_str()))
}

fn no_member(user: &str, group: &str) -> Error {
    Error::not_found("identity.member_not_found", format!("User {user} not found in group {group}"))
}

/// Puts a user in. Doing so again changes nothing.
pub async fn add_member(app: &App, ctx: &Ctx, id: &str, user: &str) -> Result<()> {
    let found = find(app, id).await?;
    let asked = with_roles(app, id, found.as_ref(), Some(Actor::User(UserId::from(user)))).await?;
    access::require(app, ctx, actions::GROUPS_ADD_MEMBER, &asked)?;
    let group = found.ok_or_else(|| absent(id))?.id;
    let user = users::find(app, user).await?.ok_or_else(|| users::absent(user))?.id;
    let now = app.now();
    app.store
        .write("identity.group.add_member", move |c| {
            let (group, user) = (group.clone(), user.clone());
            Box::pin(async move {
                rows::touch(c, now, "identity.group.add_member", group.as_str()).await?;
                present(c, group.as_str()).await?;
                rows::users::get(c, user.as_str()).await?.ok_or_else(|| users::absent(user.as_str()))?;
                rows::groups::add_member(c, &group, &user).await
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(())
}

/// Takes a user out, who loses at once what it held by the group. As in keystone its tokens end, so that being
/// put in again gives nothing to older ones.
pub async fn remove_member(app: &App, ctx: &Ctx, id: &str, user: &str) -> Result<()> {
    let found = find(app, id).await?;
    let asked = with_roles(app, id, found.as_ref(), Some(Actor::User(UserId::from(user)))).await?;
    access::require(app, ctx, actions::GROUPS_REMOVE_MEMBER, &asked)?;
    let group = found.ok_or_else(|| absent(id))?.id;
    let user = users::find(app, user).await?.ok_or_else(|| users::absent(user))?.id;
    let now = app.now();
    app.store
        .write("identity.group.remove_member", move |c| {
            let (group, user) = (group.clone(), user.clone());
            Box::pin(async move {
                rows::touch(c, now, "identity.group.remove_member", group.as_str()).await?;
                if !rows::groups::remove_member(c, &group, &user).await? {
                    return Err(no_member(user.as_str(), group.as_str()));
                }
                rows::users::end_tokens(c, &user, now).await
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(())
}
