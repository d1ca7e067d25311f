//! Roles. The built-in ones are what the shipped policies name, so they stay as they are; others are for
//! an operator's own policies.

use super::extras::{Extra, attach};
use super::{lookup, projects, rows};
use crate::{App, Ctx, access};
use canopy_authz::{Target, actions, roles as built_in};
use canopy_store::Conn;
use canopy_store::identity::Role;
use canopy_types::{Error, Result, RoleId};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRole {
    pub name: String,
    /// None for a role of the whole cloud.
    pub domain_id: Option<String>,
    pub description: String,
    pub extra: Extra,
}

/// `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub extra: Extra,
}

pub(super) fn absent(id: &str) -> Error {
    Error::not_found("identity.role_not_found", format!("Could not find role: {id}."))
}

/// Whether a role can be neither changed nor deleted.
pub fn immutable(role: &Role) -> bool {
    role.domain_id.is_none() && built_in::BUILT_IN.contains(&role.name.as_str())
}

fn target(role: &Role) -> Target {
    let domain_id = role.domain_id.as_ref().map(|id| id.0.clone()).unwrap_or_default();
    Target { domain_id, ..Target::default().id(&role.id) }
}

/// All that the caller may see.
pub async fn roles(app: &App, ctx: &Ctx) -> Result<Vec<Role>> {
    access::require(app, ctx, actions::identity::ROLES_LIST, &Target::default())?;
    let mut roles = app.store.read(|c| Box::pin(rows::roles(c))).await?;
    let mut rows = access::Rows::default();
    roles.retain(|role| rows.allowed(app, ctx, actions::identity::ROLES_SHOW, &target(role)));
    Ok(roles)
}

pub async fn role(app: &App, ctx: &Ctx, id: &str) -> Result<Role> {
    let roles = app.store.read(|c| Box::pin(rows::roles(c))).await?;
    let found = roles.into_iter().find(|role| role.id.as_str() == id);
    let asked = found.as_ref().map_or_else(|| Target::default().id(id), target);
    access::require(app, ctx, actions::identity::ROLES_SHOW, &asked)?;
    found.ok_or_else(|| absent(id))
}

pub(super) async fn find(conn: &mut Conn, id: &str) -> Result<Role> {
    let roles = rows::roles(conn).await?;
    roles.into_iter().find(|role| role.id.as_str() == id).ok_or_else(|| absent(id))
}

/// A role that `verb` may be done to, in keystone's words otherwise.
async fn find_mutable(conn: &mut Conn, id: &str, verb: &str) -> Result<Role> {
    let role = find(conn, id).await?;
    if immutable(&role) {
        return Err(Error::forbidden(
            "identity.role_immutable",
            format!("Unable to {verb} immutable role resource: `{id}`. It is one that every cloud has."),
        ));
    }
    Ok(role)
}

pub async fn create_role(app: &App, ctx: &Ctx, new: NewRole) -> Result<Role> {
    let target = Target { domain_id: new.domain_id.clone().unwrap_or_default(), ..Target::default() };
    access::require(app, ctx, actions::identity::ROLES_CREATE, &target)?;
    let role = Role {
        id: RoleId::random(),
        domain_id: new.domain_id.map(Into::into),
        name: new.name,
        description: new.description,
    };
    let extra = new.extra;
    let now = app.now();
    let created = app
        .store
        .write("identity.role.create", move |c| {
            let (role, extra) = (role.clone(), extra.clone());
            Box::pin(async move {
                rows::touch(c, now, "identity.role.create", role.id.as_str()).await?;
                if let Some(domain) = &role.domain_id
                    && !projects::domain_exists(c, domain.as_str()).await?
                {
                    return Err(super::domains::absent(domain.as_str()));
                }
                rows::insert_role(c, &role).await.map_err(projects::taken_everywhere("role", &role.name))?;
                attach(c, "role", role.id.as_str(), &extra).await?;
                Ok(role)
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(created)
}

pub async fn update_role(app: &App, ctx: &Ctx, id: &str, change: RoleChange) -> Result<Role> {
    access::require(app, ctx, actions::identity::ROLES_UPDATE, &Target::default().id(id))?;
    let (id, now) = (lookup(id).ok_or_else(|| absent(id))?.to_owned(), app.now());
    let updated = app
        .store
        .write("identity.role.update", move |c| {
            let (id, change) = (id.clone(), change.clone());
            Box::pin(async move {
                rows::touch(c, now, "identity.role.update", &id).await?;
                let mut role = find_mutable(c, &id, "update").await?;
                role.name = change.name.unwrap_or(role.name);
                role.description = change.description.unwrap_or(role.description);
                rows::roles::update(c, &role)
                    .await
                    .map_err(projects::taken_everywhere("role", &role.name))?;
                attach(c, "role", &id, &change.extra).await?;
                Ok(role)
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(updated)
}

/// Removes a role and takes it from everybody.
pub async fn delete_role(app: &App, ctx: &Ctx, id: &str) -> Result<()> {
    access::require(app, ctx, actions::identity::ROLES_DELETE, &Target::default().id(id))?;
    let (id, now) = (lookup(id).ok_or_else(|| absent(id))?.to_owned(), app.now());
    app.store
        .write("identity.role.delete", move |c| {
            let id = id.clone();
            Box::pin(async move {
                rows::touch(c, now, "identity.role.delete", &id).await?;
                let role = find_mutable(c, &id, "delete").await?;
                rows::roles::delete(c, &role.id).await
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(())
}
