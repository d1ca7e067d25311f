//! Application credentials: a secret of its own for a program, with some of its user's roles in one
//! project, and if wanted only for some requests.

use super::delegation::may_hand_on;
use super::indexed::Indexed;
use super::password::Secret;
use super::rows::application_credentials::{self as stored, AccessRule, ApplicationCredential};
use super::{lookup, roles, rows, users};
use crate::{App, Ctx, access};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use canopy_authz::{Action, actions::identity as actions};
use canopy_store::Conn;
use canopy_store::identity::{Reach, Role};
use canopy_types::{Error, Result, RoleId, Timestamp, UserId};
use std::collections::BTreeSet;

/// Credentials of one user.
const MAX_CREDENTIALS: usize = 300;
/// Access rules of one user.
const MAX_RULES: usize = 1_000;
/// Bytes of a secret that we make.
const SECRET: usize = 64;

/// A role by id or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleRef {
    Id(String),
    Name(String),
}

/// A rule that there is, or a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleRef {
    Id(String),
    New { service: String, method: String, path: String },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewCredential {
    pub name: String,
    pub description: String,
    /// One is made where none is given.
    pub secret: Option<Secret>,
    pub expires_at: Option<Timestamp>,
    /// All of the token's where none are given.
    pub roles: Option<Vec<RoleRef>>,
    pub unrestricted: bool,
    pub rules: Option<Vec<RuleRef>>,
}

/// A credential with the roles by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub credential: ApplicationCredential,
    pub roles: Vec<Role>,
}

fn absent(id: &str) -> Error {
    Error::not_found(
        "identity.application_credential_not_found",
        format!("Could not find Application Credential: {id}."),
    )
}

fn shown(directory: &Indexed, credential: ApplicationCredential) -> Shown {
    let roles = credential.roles.iter().filter_map(|id| directory.role(id).cloned()).collect();
    Shown { credential, roles }
}

/// Asks for `action` on what belongs to a user, and finds the user.
async fn owner(app: &App, ctx: &Ctx, action: Action, user: &str) -> Result<UserId> {
    let found = users::find(app, user).await?;
    access::require(app, ctx, action, &users::target(user, found.as_ref()))?;
    Ok(found.ok_or_else(|| users::absent(user))?.id)
}

/// Of one user, by id.
pub async fn credentials(app: &App, ctx: &Ctx, user: &str) -> Result<Vec<Shown>> {
    let user = owner(app, ctx, actions::APPLICATION_CREDENTIALS_LIST, user).await?;
    let found = app.store.read(|c| Box::pin(async move { stored::of_user(c, user.as_str()).await })).await?;
    let directory = app.identity.view().directory;
    Ok(found.into_iter().map(|credential| shown(&directory, credential)).collect())
}

pub async fn credential(app: &App, ctx: &Ctx, user: &str, id: &str) -> Result<Shown> {
    let user = owner(app, ctx, actions::APPLICATION_CREDENTIALS_SHOW, user).await?;
    let found = app.store.read(|c| Box::pin(async move { stored::of_user(c, user.as_str()).await })).await?;
    let credential = found.into_iter().find(|found| found.id == id).ok_or_else(|| absent(id))?;
    Ok(shown(&app.identity.view().directory, credential))
}

/// Makes a credential for the caller, in the project of its token. The secret is in the answer and
/// nowhere else.
pub async fn create_credential(
    app: &App,
    ctx: &Ctx,
    user: &str,
    new: NewCredential,
) -> Result<(Shown, Secret)> {
    let user = owner(app, ctx, actions::APPLICATION_CREDENTIALS_CREATE, user).await?;
    if user != ctx.who.user_id {
        // Whatever policies say: who makes it for another would hold the other's secret.
        return Err(Error::forbidden(
            "identity.application_credential_owner",
            "You are not authorized to perform the requested action: create an application credential for another user.",
        ));
    }
    let project_id = access::project(ctx)?.clone();
    app.identity.catch_up(&app.store).await?;
    let directory = app.identity.view().directory;
    may_hand_on(&directory, ctx)?;
    let now = app.now();
    if new.expires_at.is_some_and(|at| at <= now) {
        return Err(Error::bad_request(
            "identity.expires_at",
            "The 'expires_at' must not be before now. The server could not comply with the request since it is \
             either malformed or otherwise incorrect. The client is assumed to be in error.",
        ));
    }
    let reach = Reach::Project(project_id.clone());
    let held = held_roles(&directory, ctx, &reach);
    // As in keystone, an empty list asks for nothing in particular: the stock client sends one.
    let roles = match new.roles.as_ref().filter(|wanted| !wanted.is_empty()) {
        None => held.iter().map(|role| role.id.clone()).collect(),
        Some(wanted) => chosen(&held, wanted, "application credential")?,
    };
    let secret = match new.secret {
        Some(secret) => secret,
        None => Secret(random_secret()?),
    };
    let hash = app.identity.inner.passwords.hash(secret.clone()).await?;
    let credential = ApplicationCredential {
        id: UserId::random().0,
        user_id: user,
        project_id,
        name: new.name,
        description: new.description,
        expires_at: new.expires_at,
        unrestricted: new.unrestricted,
        roles,
        rules: None,
    };
    let wanted = new.rules;
    let made = app
        .store
        .write("identity.application_credential.create", move |c| {
            let (mut credential, hash, wanted) = (credential.clone(), hash.clone(), wanted.clone());
            Box::pin(async move {
                rows::touch(c, now, "identity.application_credential.create", &credential.id).await?;
                let user = credential.user_id.clone();
                rows::users::get(c, user.as_str()).await?.ok_or_else(|| users::absent(user.as_str()))?;
                if stored::of_user(c, user.as_str()).await?.len() >= MAX_CREDENTIALS {
                    let text = format!(
                        "Unable to create additional application credentials, maximum of {MAX_CREDENTIALS} already exceeded for user."
                    );
                    return Err(Error::forbidden("identity.application_credentials", text));
                }
                if let Some(wanted) = wanted {
                    credential.rules = Some(rules(c, &user, wanted).await?);
                }
                stored::insert(c, &credential, &hash, now).await.map_err(|error| match error.code {
                    "store.duplicate" => Error::conflict(
                        "identity.duplicate",
                        format!(
                            "Conflict occurred attempting to store application_credential - Duplicate entry found \
                             with name {}.",
                            credential.name
                        ),
                    ),
                    _ => error,
                })?;
                Ok(credential)
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok((shown(&app.identity.view().directory, made), secret))
}

/// What the caller may hand on in `reach`: its roles there, and no more than its token has.
pub(super) fn held_roles(directory: &Indexed, ctx: &Ctx, reach: &Reach) -> Vec<Role> {
    let mut held = directory.effective_roles(&ctx.who.user_id, reach);
    held.retain(|role| ctx.who.has_role(&role.name));
    held
}

/// The ids of the roles asked for, which must all be held.
pub(super) fn chosen(held: &[Role], wanted: &[RoleRef], what: &str) -> Result<Vec<RoleId>> {
    let ids: Result<BTreeSet<RoleId>> = wanted
        .iter()
        .map(|wanted| {
            let (found, text) = match wanted {
                RoleRef::Id(id) => (held.iter().find(|role| role.id.as_str() == id), id),
                RoleRef::Name(name) => (held.iter().find(|role| role.name == *name), name),
            };
            found.map(|role| role.id.clone()).ok_or_else(|| {
                let shown: String = text.chars().take(255).collect();
                let text = format!("Invalid {what}: Could not find role assignment with role: {shown}.");
                Error::bad_request("identity.role_not_held", text)
            })
        })
        .collect();
    Ok(ids?.into_iter().collect())
}

/// The rules asked for; those that are new are stored. An equal one that the user has is used again.
async fn rules(conn: &mut Conn, user: &UserId, wanted: Vec<RuleRef>) -> Result<Vec<AccessRule>> {
    let mut known = stored::rules_of(conn, user.as_str()).await?;
    let mut found: Vec<AccessRule> = Vec::new();
    for wanted in wanted {
        let rule = match wanted {
            RuleRef::Id(id) => {
                known.iter().find(|rule| rule.id == id).cloned().ok_or_else(|| absent_rule(&id))?
            }
            RuleRef::New { service, method, path } => {
                let same =
                    known.iter().find(|r| (&r.service, &r.method, &r.path) == (&service, &method, &path));
                match same {
                    Some(rule) => rule.clone(),
                    None => {
                        if known.len() >= MAX_RULES {
                            let text = format!("A user may have at most {MAX_RULES} access rules.");
                            return Err(Error::forbidden("identity.access_rules", text));
                        }
                        let rule = AccessRule { id: UserId::random().0, service, method, path };
                        stored::insert_rule(conn, user, &rule).await?;
                        known.push(rule.clone());
                        rule
                    }
                }
            }
        };
        found.push(rule);
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found.dedup();
    Ok(found)
}

fn random_secret() -> Result<String> {
    let mut bytes = [0; SECRET];
    getrandom::fill(&mut bytes).map_err(|e| Error::internal("identity.random", e))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Removes a credential; tokens that came from it are worth nothing from then on.
pub async fn delete_credential(app: &App, ctx: &Ctx, user: &str, id: &str) -> Result<()> {
    let user = owner(app, ctx, actions::APPLICATION_CREDENTIALS_DELETE, user).await?;
    may_hand_on(&app.identity.view().directory, ctx)?;
    let (id, now) = (lookup(id).ok_or_else(|| absent(id))?.to_owned(), app.now());
    app.store
        .write("identity.application_credential.delete", move |c| {
            let (user, id) = (user.clone(), id.clone());
            Box::pin(async move {
                rows::touch(c, now, "identity.application_credential.delete", &id).await?;
                if stored::delete(c, user.as_str(), &id).await? { Ok(()) } else { Err(absent(&id)) }
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(())
}

fn absent_rule(id: &str) -> Error {
    let shown: String = id.chars().take(255).collect();
    Error::not_found("identity.access_rule_not_found", format!("Could not find Access Rule: {shown}."))
}

pub async fn access_rules(app: &App, ctx: &Ctx, user: &str) -> Result<Vec<AccessRule>> {
    let user = owner(app, ctx, actions::ACCESS_RULES_LIST, user).await?;
    app.store.read(|c| Box::pin(async move { stored::rules_of(c, user.as_str()).await })).await
}

pub async fn access_rule(app: &App, ctx: &Ctx, user: &str, id: &str) -> Result<AccessRule> {
    let user = owner(app, ctx, actions::ACCESS_RULES_SHOW, user).await?;
    let found = app.store.read(|c| Box::pin(async move { stored::rules_of(c, user.as_str()).await })).await?;
    found.into_iter().find(|rule| rule.id == id).ok_or_else(|| absent_rule(id))
}

/// Removes a rule that no credential has any more.
pub async fn delete_access_rule(app: &App, ctx: &Ctx, user: &str, id: &str) -> Result<()> {
    let user = owner(app, ctx, actions::ACCESS_RULES_DELETE, user).await?;
    may_hand_on(&app.identity.view().directory, ctx)?;
    let (id, now) = (lookup(id).ok_or_else(|| absent_rule(id))?.to_owned(), app.now());
    app.store
        .write("identity.access_rule.delete", move |c| {
            let (user, id) = (user.clone(), id.clone());
            Box::pin(async move {
                rows::touch(c, now, "identity.access_rule.delete", &id).await?;
                let known = stored::rules_of(c, user.as_str()).await?;
                if !known.iter().any(|rule| rule.id == id) {
                    return Err(absent_rule(&id));
                }
                if stored::rule_in_use(c, &id).await? {
                    let text = format!(
                        "Unable to delete access rule {id}: an application credential has it. Delete that first."
                    );
                    return Err(Error::forbidden("identity.access_rule_in_use", text));
                }
                stored::delete_rule(c, user.as_str(), &id).await
            })
        })
        .await
}

/// For trusts: a role by id or name among all that there are, or 404.
pub(super) fn known(directory: &Indexed, wanted: &RoleRef) -> Result<()> {
    match wanted {
        RoleRef::Id(id) if directory.role(&id.as_str().into()).is_none() => Err(roles::absent(id)),
        RoleRef::Name(name) if directory.role_named(name).is_none() => Err(roles::absent(name)),
        _ => Ok(()),
    }
}
