//! Giving and taking roles.

use super::indexed::Indexed;
use super::{domains, groups, lookup, projects, roles, rows, users};
use crate::{App, Ctx, access};
use canopy_authz::{Action, AtStake, Target, actions};
use canopy_store::Conn;
use canopy_store::identity::{Actor, Assignment, Reach, Role};
use canopy_types::{Error, Result};

/// Asks for `action` on where a grant is.
async fn permit(app: &App, ctx: &Ctx, action: Action, reach: &Reach) -> Result<()> {
    access::require(app, ctx, action, &place(app, reach).await?)
}

/// The same of giving a role or taking it away: policies see which one, and whose.
async fn permit_change(app: &App, ctx: &Ctx, action: Action, change: &Assignment) -> Result<()> {
    app.identity.catch_up(&app.store).await?;
    let directory = app.identity.view().directory;
    let at_stake = at_stake(&directory, directory.names(std::iter::once(&change.role_id)), &change.actor);
    access::require(app, ctx, action, &Target { at_stake, ..place(app, &change.reach).await? })
}

/// What somebody holds, or is to, for policies to judge; nothing of who is not there.
pub(super) fn at_stake(directory: &Indexed, roles: Vec<String>, holder: &Actor) -> Option<Box<AtStake>> {
    let domain = directory.home_of(holder)?;
    Some(Box::new(AtStake { roles, holder_domain_id: domain.0.clone() }))
}

async fn place(app: &App, reach: &Reach) -> Result<Target> {
    Ok(match reach {
        Reach::Project(id) => {
            let project = projects::find(app, id.as_str()).await?;
            let domain_id = project.map(|project| project.domain_id.0).unwrap_or_default();
            Target { id: id.0.clone(), domain_id, ..Target::default() }
        }
        Reach::Domain(id) => Target { domain_id: id.0.clone(), ..Target::default() },
        Reach::System => Target::default(),
    })
}

/// Finds who and where, or says which of them is absent.
async fn check(conn: &mut Conn, actor: &Actor, reach: &Reach) -> Result<()> {
    match reach {
        Reach::Project(id) => {
            let missing = || projects::absent(id.as_str());
            let key = lookup(id.as_str()).ok_or_else(missing)?;
            rows::projects::get(conn, key).await?.ok_or_else(missing)?;
        }
        Reach::Domain(id) => {
            if !projects::domain_exists(conn, id.as_str()).await? {
                return Err(domains::absent(id.as_str()));
            }
        }
        Reach::System => {}
    }
    let missing = || absent(actor);
    let key = lookup(actor.id()).ok_or_else(missing)?;
    match actor {
        Actor::User(_) => rows::users::get(conn, key).await?.map(drop),
        Actor::Group(_) => rows::groups::get(conn, key).await?.map(drop),
    }
    .ok_or_else(missing)
}

fn absent(actor: &Actor) -> Error {
    match actor {
        Actor::User(id) => users::absent(id.as_str()),
        Actor::Group(id) => groups::absent(id.as_str()),
    }
}

/// Gives a role. Giving it again changes nothing.
pub async fn grant(app: &App, ctx: &Ctx, assignment: Assignment) -> Result<()> {
    permit_change(app, ctx, actions::identity::GRANTS_ADD, &assignment).await?;
    lookup(assignment.actor.id()).ok_or_else(|| absent(&assignment.actor))?;
    let now = app.now();
    app.store
        .write("identity.grant.add", move |c| {
            let wanted = assignment.clone();
            Box::pin(async move {
                rows::touch(c, now, "identity.grant.add", wanted.actor.id()).await?;
                check(c, &wanted.actor, &wanted.reach).await?;
                let role = roles::find(c, wanted.role_id.as_str()).await?;
                fits(c, &role, &wanted.reach).await?;
                rows::grants::insert(c, &wanted).await
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(())
}

/// Refuses a domain's role outside the domain.
async fn fits(conn: &mut Conn, role: &Role, reach: &Reach) -> Result<()> {
    let Some(domain) = &role.domain_id else { return Ok(()) };
    let place = match reach {
        Reach::Project(id) => rows::projects::get(conn, id.as_str()).await?.map(|project| project.domain_id),
        Reach::Domain(id) => Some(id.clone()),
        Reach::System => None,
    };
    if place.as_ref() == Some(domain) {
        return Ok(());
    }
    let text = format!("The role {} belongs to the domain {domain} and can be given only in it.", role.id);
    Err(Error::forbidden("identity.role_domain", text))
}

/// Takes a role away; 404 when it was not held.
pub async fn revoke_grant(app: &App, ctx: &Ctx, assignment: Assignment) -> Result<()> {
    permit_change(app, ctx, actions::identity::GRANTS_REMOVE, &assignment).await?;
    lookup(assignment.actor.id()).ok_or_else(|| absent(&assignment.actor))?;
    let now = app.now();
    app.store
        .write("identity.grant.remove", move |c| {
            let held = assignment.clone();
            Box::pin(async move {
                rows::touch(c, now, "identity.grant.remove", held.actor.id()).await?;
                check(c, &held.actor, &held.reach).await?;
                roles::find(c, held.role_id.as_str()).await?;
                if rows::grants::delete(c, &held).await? { Ok(()) } else { Err(not_held(&held)) }
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(())
}

fn not_held(assignment: &Assignment) -> Error {
    let actor = match &assignment.actor {
        Actor::User(id) => format!("user: {id}"),
        Actor::Group(id) => format!("group: {id}"),
    };
    Error::not_found(
        "identity.grant_not_found",
        format!("Could not find role assignment with role: {}, {actor}.", assignment.role_id),
    )
}

/// Fine when this very role is held there, 404 otherwise.
pub async fn has_grant(app: &App, ctx: &Ctx, assignment: Assignment) -> Result<()> {
    let Assignment { actor, reach, inherited, .. } = &assignment;
    let held = grants_on(app, ctx, actor, reach, *inherited).await?;
    if held.iter().any(|role| role.id == assignment.role_id) { Ok(()) } else { Err(not_held(&assignment)) }
}

/// Roles that are held directly somewhere, or those inherited from there.
pub async fn grants_on(
    app: &App,
    ctx: &Ctx,
    actor: &Actor,
    reach: &Reach,
    inherited: bool,
) -> Result<Vec<Role>> {
    permit(app, ctx, actions::identity::GRANTS_LIST, reach).await?;
    let (who, place) = (actor.clone(), reach.clone());
    app.store.read(|c| Box::pin(async move { check(c, &who, &place).await })).await?;
    app.identity.catch_up(&app.store).await?;
    let directory = app.identity.view().directory;
    let mut held: Vec<Role> = directory
        .assignments()
        .iter()
        .filter(|held| held.actor == *actor && held.reach == *reach && held.inherited == inherited)
        .filter_map(|held| directory.role(&held.role_id).cloned())
        .collect();
    held.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(held)
}
