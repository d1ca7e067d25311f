//! Which role implies which. What the built-in roles imply among themselves is fixed: shipped policies and
//! the proofs about them count on it. More can be added, never a loop, and never `admin` by anything.

use super::indexed::Indexed;
use super::{lookup, roles, rows};
use crate::{App, Ctx, access};
use canopy_authz::{Target, actions, roles as built_in};
use canopy_store::identity::Role;
use canopy_types::{Error, Result};

/// Roles that may be implied by one role: what a token carries stays small.
const MAX_IMPLIED: usize = 64;

/// A role and what it implies directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Implication {
    pub prior: Role,
    pub implied: Vec<Role>,
}

async fn directory(app: &App) -> Result<std::sync::Arc<Indexed>> {
    app.identity.catch_up(&app.store).await?;
    Ok(app.identity.view().directory)
}

fn role<'a>(directory: &'a Indexed, id: &str) -> Result<&'a Role> {
    directory.role(&id.into()).ok_or_else(|| roles::absent(id))
}

fn absent(prior: &str, implied: &str) -> Error {
    Error::not_found("identity.implied_role_not_found", format!("{prior} does not imply {implied}."))
}

/// Every rule there is.
pub async fn implications(app: &App, ctx: &Ctx) -> Result<Vec<Implication>> {
    access::require(app, ctx, actions::identity::IMPLIED_ROLES_LIST, &Target::default())?;
    let directory = directory(app).await?;
    let all = directory.implications().into_iter();
    Ok(all
        .map(|(prior, implied)| Implication {
            prior: prior.clone(),
            implied: implied.into_iter().cloned().collect(),
        })
        .collect())
}

/// What one role implies directly.
pub async fn implications_of(app: &App, ctx: &Ctx, prior: &str) -> Result<Implication> {
    access::require(app, ctx, actions::identity::IMPLIED_ROLES_LIST, &Target::default().id(prior))?;
    let directory = directory(app).await?;
    let prior = role(&directory, prior)?.clone();
    let mut all = directory.implications().into_iter();
    let implied = all.find(|(role, _)| role.id == prior.id).map(|(_, implied)| implied).unwrap_or_default();
    Ok(Implication { implied: implied.into_iter().cloned().collect(), prior })
}

/// One rule; 404 when there is none.
pub async fn implication(app: &App, ctx: &Ctx, prior: &str, implied: &str) -> Result<Implication> {
    access::require(app, ctx, actions::identity::IMPLIED_ROLES_SHOW, &Target::default().id(prior))?;
    find(&*directory(app).await?, prior, implied)
}

fn find(directory: &Indexed, prior: &str, implied: &str) -> Result<Implication> {
    let (first, second) = (role(directory, prior)?, role(directory, implied)?);
    let held = directory
        .implications()
        .into_iter()
        .any(|(role, implied)| role.id == first.id && implied.iter().any(|role| role.id == second.id));
    if !held {
        return Err(absent(prior, implied));
    }
    Ok(Implication { prior: first.clone(), implied: vec![second.clone()] })
}

/// Adds a rule. Adding it again changes nothing.
pub async fn imply(app: &App, ctx: &Ctx, prior: &str, implied: &str) -> Result<Implication> {
    access::require(app, ctx, actions::identity::IMPLIED_ROLES_CREATE, &Target::default().id(prior))?;
    let named = |id: &str| lookup(id).map(str::to_owned).ok_or_else(|| roles::absent(id));
    let (first, second, now) = (named(prior)?, named(implied)?, app.now());
    app.store
        .write("identity.role.imply", move |c| {
            let (first, second) = (first.clone(), second.clone());
            Box::pin(async move {
                rows::touch(c, now, "identity.role.imply", &first).await?;
                let (prior, implied) = (roles::find(c, &first).await?, roles::find(c, &second).await?);
                // The rows of this very moment: every other change waits for this one.
                let directory = Indexed::new(rows::directory::Directory {
                    roles: rows::roles(c).await?,
                    implications: rows::roles::implications(c).await?,
                    ..Default::default()
                });
                if fixed(&prior, &implied) {
                    return Ok(());
                }
                refuse(&directory, &prior, &implied)?;
                rows::roles::imply(c, &prior.id, &implied.id).await
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    find(&*directory(app).await?, prior, implied)
}

fn refuse(directory: &Indexed, prior: &Role, implied: &Role) -> Result<()> {
    if implied.domain_id.is_none() && implied.name == "admin" {
        let text = format!("{} cannot be an implied roles: who holds it may do everything.", implied.id);
        return Err(Error::forbidden("identity.implied_role_prohibited", text));
    }
    if implied.domain_id.is_some() && prior.domain_id.is_none() {
        let text = format!("{} cannot be implied by {}: it belongs to a domain.", implied.id, prior.id);
        return Err(Error::forbidden("identity.implied_role_domain", text));
    }
    if prior.id == implied.id || directory.with_implied([&implied.id].into_iter()).contains(&prior.id) {
        let text = format!("{} cannot imply {}: that role already implies it.", prior.name, implied.name);
        return Err(Error::conflict("identity.implied_role_loop", text));
    }
    if directory.with_implied([&prior.id].into_iter()).len() > MAX_IMPLIED {
        let text = format!("A role may imply at most {MAX_IMPLIED} others.");
        return Err(Error::forbidden("identity.implied_roles", text));
    }
    Ok(())
}

fn fixed(prior: &Role, implied: &Role) -> bool {
    let global = prior.domain_id.is_none() && implied.domain_id.is_none();
    global && built_in::implied(&prior.name) == Some(implied.name.as_str())
}

/// Removes a rule. It counts in the next request of everybody.
pub async fn imply_no_more(app: &App, ctx: &Ctx, prior: &str, implied: &str) -> Result<()> {
    access::require(app, ctx, actions::identity::IMPLIED_ROLES_DELETE, &Target::default().id(prior))?;
    let named = |id: &str| lookup(id).map(str::to_owned).ok_or_else(|| roles::absent(id));
    let (first, second, now) = (named(prior)?, named(implied)?, app.now());
    app.store
        .write("identity.role.imply_no_more", move |c| {
            let (first, second) = (first.clone(), second.clone());
            Box::pin(async move {
                rows::touch(c, now, "identity.role.imply_no_more", &first).await?;
                let (prior, implied) = (roles::find(c, &first).await?, roles::find(c, &second).await?);
                if fixed(&prior, &implied) {
                    let text = format!("That {} implies {} is built in.", prior.name, implied.name);
                    return Err(Error::forbidden("identity.implied_role_immutable", text));
                }
                if rows::roles::imply_no_more(c, &prior.id, &implied.id).await? {
                    Ok(())
                } else {
                    Err(absent(&first, &second))
                }
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use canopy_store::identity::directory::Directory;

    #[test]
    fn loops_and_admin_are_refused() {
        let role = |name: &str| Role {
            id: name.into(),
            domain_id: None,
            name: name.into(),
            description: String::new(),
        };
        let roles: Vec<Role> = ["admin", "manager", "member", "reader", "a", "b", "c"].map(role).to_vec();
        let implications = vec![("a".into(), "b".into()), ("b".into(), "c".into())];
        let directory = Indexed::new(Directory { roles, implications, ..Directory::default() });
        let code = |prior: &str, implied: &str| {
            refuse(&directory, &role(prior), &role(implied)).err().map(|error| error.code)
        };
        assert_eq!(code("c", "a"), Some("identity.implied_role_loop"));
        assert_eq!(code("a", "a"), Some("identity.implied_role_loop"));
        assert_eq!(code("reader", "manager"), Some("identity.implied_role_loop"));
        assert_eq!(code("a", "admin"), Some("identity.implied_role_prohibited"));
        assert_eq!(code("reader", "admin"), Some("identity.implied_role_prohibited"));
        assert_eq!(code("a", "c"), None);
        assert_eq!(code("reader", "a"), None);
        assert!(fixed(&role("admin"), &role("manager")) && !fixed(&role("admin"), &role("reader")));
    }
}
