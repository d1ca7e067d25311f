//! Users: for admins to make and change; one's own to look at and to give another password.

use super::compliance::MAX_HISTORY;
use super::delegation::Delegation;
use super::extras::{Extra, attach};
use super::password::{MAX_PASSWORD, Secret, check_length};
use super::projects::{domain_exists, home, own_domain, taken, unknown_marker};
use super::{grants, lookup, rows, unauthorized};
use crate::{App, Ctx, access};
use canopy_authz::{Circumstances, Principal, Scope, Target, actions};
use canopy_store::Page;
use canopy_store::identity::users::Filter;
use canopy_store::identity::{Actor, Project, User, UserOptions};
use canopy_types::{DomainId, Error, ProjectId, RequestId, Result, Timestamp, UserId};
use std::net::IpAddr;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewUser {
    pub name: String,
    /// The caller's domain unless given.
    pub domain_id: Option<String>,
    /// Without one the user cannot log in.
    pub password: Option<Secret>,
    pub description: String,
    pub email: Option<String>,
    pub default_project_id: Option<ProjectId>,
    pub enabled: bool,
    pub options: UserOptions,
    pub extra: Extra,
}

/// `None` leaves as it is; `Some(None)` takes away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChange {
    pub name: Option<String>,
    pub password: Option<Option<Secret>>,
    pub description: Option<String>,
    pub email: Option<Option<String>>,
    pub default_project_id: Option<Option<ProjectId>>,
    pub enabled: Option<bool>,
    pub options: OptionsChange,
    pub extra: Extra,
}

/// `None` leaves as it is; `Some(None)` takes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionsChange {
    pub ignore_change_password_upon_first_use: Option<Option<bool>>,
    pub ignore_password_expiry: Option<Option<bool>>,
    pub ignore_lockout_failure_attempts: Option<Option<bool>>,
    pub lock_password: Option<Option<bool>>,
}

impl OptionsChange {
    pub fn apply(self, present: UserOptions) -> UserOptions {
        let changed =
            |wanted: Option<Option<bool>>, present: bool| wanted.map_or(present, Option::unwrap_or_default);
        UserOptions {
            ignore_change_password_upon_first_use: changed(
                self.ignore_change_password_upon_first_use,
                present.ignore_change_password_upon_first_use,
            ),
            ignore_password_expiry: changed(self.ignore_password_expiry, present.ignore_password_expiry),
            ignore_lockout_failure_attempts: changed(
                self.ignore_lockout_failure_attempts,
                present.ignore_lockout_failure_attempts,
            ),
            lock_password: changed(self.lock_password, present.lock_password),
        }
    }
}

pub(super) fn absent(id: &str) -> Error {
    Error::not_found("identity.user_not_found", format!("Could not find user: {id}."))
}

pub(super) fn target(id: &str, user: Option<&User>) -> Target {
    let domain = user.map(|user| user.domain_id.0.clone()).unwrap_or_default();
    Target { id: id.to_owned(), user_id: id.to_owned(), domain_id: domain, ..Target::default() }
}

/// As [`target`], with the roles that whoever changes the user could take over or take away.
async fn with_roles(app: &App, id: &str, user: Option<&User>) -> Result<Target> {
    let Some(user) = user else { return Ok(target(id, None)) };
    app.identity.catch_up(&app.store).await?;
    let (directory, actor) = (app.identity.view().directory, Actor::User(user.id.clone()));
    let at_stake = grants::at_stake(&directory, directory.given_anywhere(&actor), &actor);
    Ok(Target { at_stake, ..target(id, Some(user)) })
}

pub(super) async fn find(app: &App, id: &str) -> Result<Option<User>> {
    let Some(id) = lookup(id).map(str::to_owned) else { return Ok(None) };
    app.store.read(|c| Box::pin(async move { rows::users::get(c, &id).await })).await
}

pub async fn user(app: &App, ctx: &Ctx, id: &str) -> Result<User> {
    let found = find(app, id).await?;
    access::require(app, ctx, actions::identity::USERS_SHOW, &target(id, found.as_ref()))?;
    found.ok_or_else(|| absent(id))
}

/// One page, and whether another follows. With a token for a domain, of that domain.
pub async fn users(app: &App, ctx: &Ctx, mut filter: Filter, page: Page) -> Result<(Vec<User>, bool)> {
    let own = own_domain(ctx);
    let within = Target { domain_id: own.clone(), ..Target::default() };
    access::require(app, ctx, actions::identity::USERS_LIST, &within)?;
    if !own.is_empty() {
        if !filter.domain_id.is_empty() && filter.domain_id != own {
            return Ok((Vec::new(), false));
        }
        filter.domain_id = own;
    }
    if [&filter.domain_id, &filter.name].iter().any(|text| !text.is_empty() && lookup(text).is_none()) {
        return Ok((Vec::new(), false));
    }
    if let Some(marker) = &page.marker
        && find(app, marker).await?.is_none()
    {
        return Err(unknown_marker(marker));
    }
    let size = usize::try_from(page.size()).unwrap_or_default();
    let mut rows =
        app.store.read(|c| Box::pin(async move { rows::users::list(c, &filter, &page).await })).await?;
    let more = rows.len() > size;
    rows.truncate(size);
    Ok((rows, more))
}

/// Projects in which a user holds a role, disabled ones too.
pub async fn projects_of_user(app: &App, ctx: &Ctx, id: &str) -> Result<Vec<Project>> {
    let found = find(app, id).await?;
    access::require(app, ctx, actions::identity::USERS_LIST_PROJECTS, &target(id, found.as_ref()))?;
    let user = found.ok_or_else(|| absent(id))?;
    app.identity.catch_up(&app.store).await?;
    Ok(app.identity.view().directory.held_projects(&user.id))
}

pub async fn create_user(app: &App, ctx: &Ctx, new: NewUser) -> Result<User> {
    let domain_id = new.domain_id.clone().map_or_else(|| home(ctx), DomainId);
    let wanted = Target { domain_id: domain_id.0.clone(), ..Target::default() };
    access::require(app, ctx, actions::identity::USERS_CREATE, &wanted)?;
    let hash = match new.password {
        None => None,
        Some(password) => Some({
            app.settings.compliance.check(&password)?;
            app.identity.inner.passwords.hash(password).await?
        }),
    };
    let now = app.now();
    let user = User {
        id: UserId::random(),
        domain_id,
        name: new.name,
        description: new.description,
        email: new.email,
        tokens_valid_after: Timestamp(0),
        enabled: new.enabled,
        default_project_id: new.default_project_id,
        options: new.options,
        password_changed_at: if hash.is_some() { now } else { Timestamp(0) },
    };
    let extra = new.extra;
    let created = app
        .store
        .write("identity.user.create", move |c| {
            let (user, hash, extra) = (user.clone(), hash.clone(), extra.clone());
            Box::pin(async move {
                rows::touch(c, now, "identity.user.create", user.id.as_str()).await?;
                if !domain_exists(c, user.domain_id.as_str()).await? {
                    return Err(super::domains::absent(user.domain_id.as_str()));
                }
                rows::users::insert(c, &user, hash.as_deref(), now).await.map_err(taken(
                    "user",
                    &user.name,
                    user.domain_id.as_str(),
                ))?;
                attach(c, "user", user.id.as_str(), &extra).await?;
                Ok(user)
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(created)
}

/// Changes a user. Another password, and being disabled, ends all of its tokens; being disabled removes its
/// application credentials too.
pub async fn update_user(app: &App, ctx: &Ctx, id: &str, change: UserChange) -> Result<User> {
    let found = find(app, id).await?;
    let asked = with_roles(app, id, found.as_ref()).await?;
    access::require(app, ctx, actions::identity::USERS_UPDATE, &asked)?;
    let id = found.ok_or_else(|| absent(id))?.id;
    let hash = match change.password.clone() {
        None => None,
        Some(None) => Some(None),
        Some(Some(password)) => Some(Some({
            app.settings.compliance.check(&password)?;
            app.identity.inner.passwords.hash(password).await?
        })),
    };
    let now = app.now();
    // As in keystone, to enable a user lets one in that had failed too often.
    let unlocks = change.enabled == Some(true);
    let updated = app
        .store
        .write("identity.user.update", move |c| {
            let (id, change, hash) = (id.clone(), change.clone(), hash.clone());
            Box::pin(async move {
                rows::touch(c, now, "identity.user.update", id.as_str()).await?;
                let mut user = rows::users::get(c, id.as_str()).await?.ok_or_else(|| absent(id.as_str()))?;
                if change.enabled == Some(false) && user.enabled {
                    user.tokens_valid_after = now;
                    rows::delegations::forget_credentials(c, id.as_str()).await?;
                }
                user.name = change.name.unwrap_or(user.name);
                user.description = change.description.unwrap_or(user.description);
                user.email = change.email.unwrap_or(user.email);
                user.default_project_id = change.default_project_id.unwrap_or(user.default_project_id);
                user.enabled = change.enabled.unwrap_or(user.enabled);
                user.options = change.options.apply(user.options);
                rows::users::update(c, &user).await.map_err(taken(
                    "user",
                    &user.name,
                    user.domain_id.as_str(),
                ))?;
                attach(c, "user", id.as_str(), &change.extra).await?;
                if let Some(hash) = hash {
                    rows::users::set_password(c, &user.id, hash.as_deref(), now).await?;
                }
                Ok(user)
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    if unlocks {
        app.identity.inner.guard.unlock(updated.id.as_str());
    }
    Ok(updated)
}

/// Refuses a password that was one of the last ones, where that is a rule.
async fn not_again(app: &App, id: &UserId, password: &Secret) -> Result<()> {
    let count = app.settings.compliance.unique_last_password_count.min(MAX_HISTORY);
    if count == 0 {
        return Ok(());
    }
    let key = id.0.clone();
    let before = app
        .store
        .read(|c| Box::pin(async move { rows::users::history(c, &key, i64::from(count)).await }))
        .await?;
    for hash in before {
        if app.identity.inner.passwords.verify(password.clone(), Some(hash)).await? {
            return Err(Error::bad_request(
                "identity.password_history",
                format!(
                    "The new password cannot be identical to a previous password. The total number which includes the \
                     new password must be unique is {count}."
                ),
            ));
        }
    }
    Ok(())
}

/// Who asks for another password, as far as is known before the present one was right.
pub struct PasswordChange {
    pub request_id: RequestId,
    pub source: Option<IpAddr>,
    pub original: Secret,
    pub password: Secret,
}

/// Gives a user another password, for who knows the present one: no token is asked for, since one whose
/// password has expired gets none. Ends all tokens of the user. Policies are asked about the user itself.
pub async fn change_password(app: &App, id: &str, asked: PasswordChange) -> Result<()> {
    let PasswordChange { request_id, source, original, password } = asked;
    check_length(&password)?;
    let rules = &app.settings.compliance;
    rules.check(&password)?;
    if original.0.len() > MAX_PASSWORD {
        return Err(unauthorized());
    }
    let attempt = app.identity.inner.guard.attempt(rules, Some(id), source, app.now())?;
    let key = lookup(id).unwrap_or("-").to_owned();
    let found = app
        .store
        .read(|c| Box::pin(async move { rows::users::credentials(c, rows::users::Login::Id(&key)).await }))
        .await?;
    let (id, hash) = found.map_or((None, None), |(id, hash)| (Some(id), hash));
    if !app.identity.inner.passwords.verify(original, hash).await? {
        app.identity.inner.guard.failed(rules, &attempt, app.now());
        return Err(unauthorized());
    }
    app.identity.inner.guard.succeeded(&attempt);
    app.identity.catch_up(&app.store).await?;
    let known = id.as_ref().and_then(|id| app.identity.view().directory.active_user(id).cloned());
    let ctx = oneself(app, known.ok_or_else(unauthorized)?, request_id, source);
    let id = id.ok_or_else(unauthorized)?;
    let own = target(id.as_str(), None);
    access::require(app, &ctx, actions::identity::USERS_CHANGE_PASSWORD, &own)?;
    let user = find(app, id.as_str()).await?.ok_or_else(unauthorized)?;
    rules.may_change(&user, app.now())?;
    not_again(app, &id, &password).await?;
    let hash = app.identity.inner.passwords.hash(password).await?;
    let now = app.now();
    app.store
        .write("identity.user.password", move |c| {
            let (id, hash) = (id.clone(), hash.clone());
            Box::pin(async move {
                rows::touch(c, now, "identity.user.password", id.as_str()).await?;
                rows::users::set_password(c, &id, Some(&hash), now).await
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(())
}

/// A user that has shown its password, without a scope.
fn oneself(app: &App, user: User, request_id: RequestId, source: Option<IpAddr>) -> Ctx {
    Ctx {
        request_id,
        who: Principal {
            user_id: user.id,
            user_name: user.name,
            user_domain_id: user.domain_id,
            roles: Vec::new(),
            scope: Scope::Unscoped,
        },
        how: Circumstances { source, methods: vec!["password".into()], ..Circumstances::default() },
        delegation: Delegation::None,
        policies: app.authorizer.snapshot(),
        asked: "POST password".into(),
        mutating: true,
        trail: access::Trail::default(),
    }
}

/// Removes a user with its roles and key pairs. What it made in projects stays: that is the projects'.
pub async fn delete_user(app: &App, ctx: &Ctx, id: &str) -> Result<()> {
    let found = find(app, id).await?;
    let asked = with_roles(app, id, found.as_ref()).await?;
    access::require(app, ctx, actions::identity::USERS_DELETE, &asked)?;
    let id = found.ok_or_else(|| absent(id))?.id;
    let now = app.now();
    app.store
        .write("identity.user.delete", move |c| {
            let id = id.clone();
            Box::pin(async move {
                rows::touch(c, now, "identity.user.delete", id.as_str()).await?;
                rows::users::get(c, id.as_str()).await?.ok_or_else(|| absent(id.as_str()))?;
                rows::users::delete(c, &id).await
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(())
}
