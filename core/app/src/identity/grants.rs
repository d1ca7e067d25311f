//! Who holds which role where.

use super::view::Place;
use super::{domains, lookup, projects, roles, rows, users};
use crate::{App, Ctx, access};
use canopy_authz::{Action, Target, actions, roles as implied};
use canopy_store::Conn;
use canopy_store::identity::{Assignment, Domain, Reach, Role, User};
use canopy_types::{Error, Result};

/// Asks for `action` on where a grant is.
async fn permit(app: &App, ctx: &Ctx, action: Action, reach: &Reach) -> Result<()> {
    let target = match reach {
        Reach::Project(id) => {
            let project = projects::find(app, id.as_str()).await?;
            let domain_id = project.map(|project| project.domain_id.0).unwrap_or_default();
            Target { id: id.0.clone(), domain_id, ..Target::default() }
        }
        Reach::Domain(id) => Target { domain_id: id.0.clone(), ..Target::default() },
        Reach::System => Target::default(),
    };
    access::require(app, ctx, action, &target)
}

/// Finds user and place, or says which of them is absent.
async fn check(conn: &mut Conn, user_id: &str, reach: &Reach) -> Result<()> {
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
    let missing = || users::absent(user_id);
    rows::users::get(conn, lookup(user_id).ok_or_else(missing)?).await?.ok_or_else(missing)?;
    Ok(())
}

/// Gives a role. Giving it again changes nothing.
pub async fn grant(app: &App, ctx: &Ctx, assignment: Assignment) -> Result<()> {
    permit(app, ctx, actions::identity::GRANTS_ADD, &assignment.reach).await?;
    lookup(assignment.user_id.as_str()).ok_or_else(|| users::absent(assignment.user_id.as_str()))?;
    let now = app.now();
    app.store
        .write("identity.grant.add", move |c| {
            let wanted = assignment.clone();
            Box::pin(async move {
                rows::touch(c, now, "identity.grant.add", wanted.user_id.as_str()).await?;
                check(c, wanted.user_id.as_str(), &wanted.reach).await?;
                roles::find(c, wanted.role_id.as_str()).await?;
                rows::grants::insert(c, &wanted).await
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(())
}

/// Takes a role away; 404 when it was not held.
pub async fn revoke_grant(app: &App, ctx: &Ctx, assignment: Assignment) -> Result<()> {
    permit(app, ctx, actions::identity::GRANTS_REMOVE, &assignment.reach).await?;
    lookup(assignment.user_id.as_str()).ok_or_else(|| users::absent(assignment.user_id.as_str()))?;
    let now = app.now();
    app.store
        .write("identity.grant.remove", move |c| {
            let held = assignment.clone();
            Box::pin(async move {
                rows::touch(c, now, "identity.grant.remove", held.user_id.as_str()).await?;
                check(c, held.user_id.as_str(), &held.reach).await?;
                roles::find(c, held.role_id.as_str()).await?;
                if rows::grants::delete(c, &held).await? { Ok(()) } else { Err(not_held(&held)) }
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(())
}

fn not_held(assignment: &Assignment) -> Error {
    Error::not_found(
        "identity.grant_not_found",
        format!(
            "Could not find role assignment with role: {}, user: {}.",
            assignment.role_id, assignment.user_id
        ),
    )
}

/// Fine when the user holds this very role there, 404 otherwise.
pub async fn has_grant(app: &App, ctx: &Ctx, assignment: Assignment) -> Result<()> {
    let held = grants_on(app, ctx, assignment.user_id.as_str(), &assignment.reach).await?;
    if held.iter().any(|role| role.id == assignment.role_id) { Ok(()) } else { Err(not_held(&assignment)) }
}

/// Roles that a user holds directly somewhere.
pub async fn grants_on(app: &App, ctx: &Ctx, user_id: &str, reach: &Reach) -> Result<Vec<Role>> {
    permit(app, ctx, actions::identity::GRANTS_LIST, reach).await?;
    let (user, place) = (user_id.to_owned(), reach.clone());
    app.store.read(|c| Box::pin(async move { check(c, &user, &place).await })).await?;
    app.identity.catch_up(&app.store).await?;
    let directory = app.identity.view().directory;
    Ok(directory
        .assignments()
        .into_iter()
        .filter(|(user, place, _)| user.id.as_str() == user_id && same(place, reach))
        .map(|(_, _, role)| role.clone())
        .collect())
}

fn same(place: &Place, reach: &Reach) -> bool {
    match (place, reach) {
        (Place::Project(project, _), Reach::Project(id)) => project.id == *id,
        (Place::Domain(domain), Reach::Domain(id)) => domain.id == *id,
        (Place::System, Reach::System) => true,
        _ => false,
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssignmentFilter {
    pub user_id: Option<String>,
    pub role_id: Option<String>,
    pub reach: Option<Reach>,
    /// With the roles that the assigned ones imply.
    pub effective: bool,
}

/// One line of the list of assignments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    pub user: User,
    pub user_domain: Domain,
    pub place: Place,
    pub role: Role,
    /// The assigned role that implies this one.
    pub prior: Option<Role>,
}

pub async fn assignments(app: &App, ctx: &Ctx, filter: &AssignmentFilter) -> Result<Vec<Granted>> {
    let target = match &filter.reach {
        Some(Reach::Project(id)) => Target::default().id(id),
        _ => Target::default(),
    };
    access::require(app, ctx, actions::identity::ROLE_ASSIGNMENTS_LIST, &target)?;
    app.identity.catch_up(&app.store).await?;
    let directory = app.identity.view().directory;
    let mut lines: Vec<Granted> = Vec::new();
    for (user, place, role) in directory.assignments() {
        if filter.user_id.as_ref().is_some_and(|id| id != user.id.as_str())
            || filter.reach.as_ref().is_some_and(|reach| !same(&place, reach))
        {
            continue;
        }
        let Some(user_domain) = directory.domain(&user.domain_id) else { continue };
        let line = |role: &Role, prior: Option<&Role>| Granted {
            user: user.clone(),
            user_domain: user_domain.clone(),
            place: place.clone(),
            role: role.clone(),
            prior: prior.cloned(),
        };
        lines.push(line(role, None));
        let mut prior = role;
        while let Some(next) = implied::implied(&prior.name).and_then(|name| directory.role_named(name)) {
            if filter.effective {
                lines.push(line(next, Some(prior)));
            }
            prior = next;
        }
    }
    lines.retain(|line| filter.role_id.as_ref().is_none_or(|id| id == line.role.id.as_str()));
    Ok(lines)
}
