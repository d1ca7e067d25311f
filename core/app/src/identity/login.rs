//! Logging in, and what becomes of tokens.

use super::delegation::Delegation;
use super::indexed::Indexed;
use super::password::{MAX_PASSWORD, Secret};
use super::token::{Claims, Methods, audit_text, new_audit_id};
use super::view::Standing;
use super::{lookup, rows, trusts, unauthorized};
use crate::{App, Ctx, access};
use canopy_authz::{Target, actions};
use canopy_store::identity::{Domain, Project, Reach, User};
use canopy_types::{DomainId, Error, Result, Timestamp, UserId};
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DomainRef {
    pub id: Option<String>,
    pub name: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserRef {
    pub id: Option<String>,
    pub name: Option<String>,
    pub domain: Option<DomainRef>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectRef {
    pub id: Option<String>,
    pub name: Option<String>,
    pub domain: Option<DomainRef>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ScopeRequest {
    /// The user's default project when it can be had, else unscoped.
    #[default]
    Default,
    Unscoped,
    Project(ProjectRef),
    Domain(DomainRef),
    System,
    /// The id of a trust: where it says, as it says.
    Trust(String),
}

/// Which application credential, with its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialRef {
    pub id: Option<String>,
    /// With its user.
    pub name: Option<String>,
    pub user: Option<UserRef>,
}

/// What a client offers. Every proof offered must hold, and all must be of one user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    pub password: Option<(UserRef, Secret)>,
    pub token: Option<Secret>,
    pub credential: Option<(CredentialRef, Secret)>,
    pub scope: ScopeRequest,
    /// Where the client is, as far as known.
    pub source: Option<IpAddr>,
}

/// A token and all that a client is told about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub text: Secret,
    pub methods: Vec<&'static str>,
    pub audit_ids: Vec<String>,
    pub issued: Timestamp,
    pub expires: Timestamp,
    pub standing: Arc<Standing>,
}

impl Token {
    fn new(text: Secret, claims: &Claims, standing: Arc<Standing>) -> Self {
        Self {
            text,
            methods: claims.methods.names(),
            audit_ids: claims.audit_ids(),
            issued: claims.issued,
            expires: claims.expires,
            standing,
        }
    }
}

/// Logs in. Whatever is wrong with the proof or the scope, the answer is the same 401.
pub async fn issue(app: &App, login: &Login) -> Result<Token> {
    // A user or a grant made a moment ago through another server counts.
    app.identity.catch_up(&app.store).await?;
    if let Some((credential, secret)) = &login.credential {
        return by_credential(app, login, credential, secret).await;
    }
    let mut methods = Methods::default();
    let mut user_id: Option<UserId> = None;
    let mut parent: Option<Claims> = None;
    if let Some((user, password)) = &login.password {
        methods = methods.with(Methods::PASSWORD);
        user_id = Some(by_password(app, user, password, login.source).await?);
    }
    if let Some(token) = &login.token {
        let claims = by_token(app, token, &login.scope)?;
        if user_id.as_ref().is_some_and(|id| *id != claims.user_id) {
            return Err(unauthorized());
        }
        methods = methods.with(Methods::TOKEN).with(claims.methods);
        user_id = Some(claims.user_id.clone());
        parent = Some(claims);
    }
    let user_id = user_id.ok_or_else(unauthorized)?;
    let directory = app.identity.view().directory;
    let user = directory.active_user(&user_id).ok_or_else(unauthorized)?;
    let now = app.now();
    let audit_id = new_audit_id()?;
    let mut claims = Claims {
        user_id: user_id.clone(),
        scope: None,
        methods,
        // Right after a change of password: never on the wrong side of it.
        issued: now.max(Timestamp(user.tokens_valid_after.0.saturating_add(1))),
        expires: parent.as_ref().map_or_else(|| now.plus_seconds(app.settings.token_seconds), |p| p.expires),
        audit_id,
        chain_id: parent.map_or(audit_id, |p| p.chain_id),
        delegation: Delegation::None,
    };
    if let ScopeRequest::Trust(id) = &login.scope {
        return by_trust(app, &directory, claims, id).await;
    }
    claims.scope = scope(&directory, user, &login.scope)?;
    let standing = directory.standing(user, claims.scope.as_ref()).ok_or_else(unauthorized)?;
    let text = app.identity.inner.seal(&claims)?;
    Ok(Token::new(Secret(text), &claims, standing))
}

/// A token of a trust, for its trustee, who has shown who it is.
async fn by_trust(app: &App, directory: &Indexed, mut claims: Claims, id: &str) -> Result<Token> {
    let trust = directory.trust(id).ok_or_else(unauthorized)?;
    if trust.trustee_id != claims.user_id {
        return Err(Error::forbidden(
            "identity.trustee",
            "You are not authorized to perform the requested action: User is not a trustee.",
        ));
    }
    if trust.remaining_uses.is_some_and(|uses| uses < 1) {
        return Err(unauthorized());
    }
    claims.scope = Some(Reach::Project(trust.project_id.clone()));
    claims.delegation = Delegation::Trust(trust.id.clone());
    if trust.impersonation {
        claims.user_id = trust.trustor_id.clone();
    }
    for party in [&trust.trustor_id, &trust.trustee_id] {
        let after = directory.active_user(party).ok_or_else(unauthorized)?.tokens_valid_after;
        claims.issued = claims.issued.max(Timestamp(after.0.saturating_add(1)));
    }
    claims.expires = trust.expires_at.map_or(claims.expires, |at| at.min(claims.expires));
    let standing = app.identity.view().standing(&claims, app.now()).ok_or_else(unauthorized)?;
    if !trusts::consume(app, trust).await? {
        return Err(unauthorized());
    }
    let text = app.identity.inner.seal(&claims)?;
    Ok(Token::new(Secret(text), &claims, standing))
}

/// A token of an application credential: where and as it says.
async fn by_credential(app: &App, login: &Login, by: &CredentialRef, secret: &Secret) -> Result<Token> {
    if login.password.is_some() || login.token.is_some() {
        return Err(unauthorized());
    }
    if !matches!(login.scope, ScopeRequest::Default) {
        return Err(Error::unauthorized("Application credentials cannot request a scope."));
    }
    if secret.0.len() > MAX_PASSWORD {
        return Err(unauthorized());
    }
    let rules = &app.settings.compliance;
    let attempt = app.identity.inner.guard.attempt(rules, None, login.source, app.now())?;
    let found = stored_secret(app, by).await?;
    let (id, hash) = found.map_or((None, None), |(id, hash)| (Some(id), Some(hash)));
    // Checked for none as well, so that time does not tell which there are.
    if !app.identity.inner.passwords.verify(secret.clone(), hash).await? {
        app.identity.inner.guard.failed(rules, &attempt, app.now());
        return Err(unauthorized());
    }
    let id = id.ok_or_else(unauthorized)?;
    let view = app.identity.view();
    let credential = view.directory.credential(&id).ok_or_else(unauthorized)?;
    let user = view.directory.active_user(&credential.user_id).ok_or_else(unauthorized)?;
    let (now, audit_id) = (app.now(), new_audit_id()?);
    let expires = now.plus_seconds(app.settings.token_seconds);
    let claims = Claims {
        user_id: user.id.clone(),
        scope: Some(Reach::Project(credential.project_id.clone())),
        methods: Methods::APPLICATION_CREDENTIAL,
        issued: now.max(Timestamp(user.tokens_valid_after.0.saturating_add(1))),
        expires: credential.expires_at.map_or(expires, |at| at.min(expires)),
        audit_id,
        chain_id: audit_id,
        delegation: Delegation::ApplicationCredential(id),
    };
    let standing = view.standing(&claims, now).ok_or_else(unauthorized)?;
    let text = app.identity.inner.seal(&claims)?;
    Ok(Token::new(Secret(text), &claims, standing))
}

async fn stored_secret(app: &App, by: &CredentialRef) -> Result<Option<(String, String)>> {
    let directory = app.identity.view().directory;
    let (id, user, name) = match (&by.id, &by.name) {
        (Some(id), _) => (id.clone(), String::new(), String::new()),
        (None, Some(name)) => {
            let user = by.user.as_ref().ok_or_else(|| expected("user", "application_credential"))?;
            let found = match (&user.id, &user.name) {
                (Some(id), _) => Some(UserId::from(id.as_str())),
                (None, Some(name)) => {
                    let domain = user.domain.as_ref().ok_or_else(|| expected("domain", "user"))?;
                    let domain = find_domain(&directory, domain);
                    domain.and_then(|domain| directory.user_id(&domain, name).cloned())
                }
                (None, None) => return Err(expected("id or name", "user")),
            };
            let Some(user) = found else { return Ok(None) };
            (String::new(), user.0, name.clone())
        }
        (None, None) => return Err(expected("id or name", "application_credential")),
    };
    let hopeless = |key: &String| !key.is_empty() && lookup(key).is_none();
    if [&id, &user, &name].into_iter().any(hopeless) || id.is_empty() && (user.is_empty() || name.is_empty())
    {
        return Ok(None);
    }
    app.store
        .read(|c| Box::pin(async move { rows::application_credentials::secret(c, &id, &user, &name).await }))
        .await
}

async fn by_password(app: &App, user: &UserRef, password: &Secret, source: Option<IpAddr>) -> Result<UserId> {
    if password.0.len() > MAX_PASSWORD {
        // No hash is of one so long: whose it is makes no difference.
        return Err(unauthorized());
    }
    let directory = app.identity.view().directory;
    let found = credentials(app, user).await?;
    let (id, hash) = found.map_or((None, None), |(id, hash)| (Some(id), hash));
    let known = id.as_ref().and_then(|id| directory.user(id));
    let spared = known.is_some_and(|user| user.options.ignore_lockout_failure_attempts);
    // By its id where there is one; one that there is not counts as one too, however its domain is named.
    let named = match (&id, &user.id, &user.name) {
        (Some(id), ..) => id.0.clone(),
        (None, Some(id), _) => id.clone(),
        (None, None, name) => {
            let domain = user.domain.as_ref().and_then(|domain| find_domain(&directory, domain));
            format!("{domain:?} {name:?}")
        }
    };
    let (rules, guard) = (&app.settings.compliance, &app.identity.inner.guard);
    let attempt = guard.attempt(rules, (!spared).then_some(named.as_str()), source, app.now());
    let attempt = attempt.inspect_err(|_| refused(known, source, "too many failures"))?;
    // Checked for nobody as well, so that time does not tell who exists.
    if !app.identity.inner.passwords.verify(password.clone(), hash).await? {
        guard.failed(rules, &attempt, app.now());
        refused(known, source, "wrong password");
        return Err(unauthorized());
    }
    guard.succeeded(&attempt);
    let id = id.ok_or_else(unauthorized)?;
    if known.and_then(|user| rules.expires_at(user)).is_some_and(|at| at <= app.now()) {
        return Err(Error::unauthorized(format!(
            "The password is expired and needs to be changed for user: {id}. POST /v3/users/{id}/password \
             takes it and a new one."
        )));
    }
    Ok(id)
}

/// For the operator, who has to see who is attacked. What was given as the name of a user that there is not may be
/// a password, and is not told.
fn refused(known: Option<&User>, source: Option<IpAddr>, why: &'static str) {
    let user = known.map_or("unknown", |user| user.id.as_str());
    let source = source.map(|source| source.to_string()).unwrap_or_default();
    tracing::warn!(user, source, why, "login refused");
}

async fn credentials(app: &App, user: &UserRef) -> Result<Option<(UserId, Option<String>)>> {
    let directory = app.identity.view().directory;
    let (id, name, domain) = match (&user.id, &user.name) {
        (Some(id), _) => (id.clone(), String::new(), String::new()),
        (None, Some(name)) => {
            let domain = user.domain.as_ref().ok_or_else(|| expected("domain", "user"))?;
            match find_domain(&directory, domain) {
                Some(domain) => (String::new(), name.clone(), domain.0),
                None => return Ok(None),
            }
        }
        (None, None) => return Err(expected("id or name", "user")),
    };
    let keys = [&id, &name, &domain];
    if keys.iter().any(|key| !key.is_empty() && lookup(key).is_none())
        || keys.iter().all(|key| key.is_empty())
    {
        return Ok(None);
    }
    app.store
        .read(|c| {
            Box::pin(async move {
                let by = if id.is_empty() {
                    rows::users::Login::Name { domain_id: &domain, name: &name }
                } else {
                    rows::users::Login::Id(&id)
                };
                rows::users::credentials(c, by).await
            })
        })
        .await
}

/// The claims of a token that is good for another one.
fn by_token(app: &App, token: &Secret, scope: &ScopeRequest) -> Result<Claims> {
    let claims = app.identity.inner.open_token(&token.0).ok_or_else(unauthorized)?;
    app.identity.view().standing(&claims, app.now()).ok_or_else(unauthorized)?;
    // What was handed on is not to be made into anything else.
    if claims.delegation != Delegation::None {
        return Err(Error::forbidden(
            "auth.rescope",
            "Using a token of a trust or of an application credential to create another token is not allowed.",
        ));
    }
    let narrowing = matches!(scope, ScopeRequest::Project(_) | ScopeRequest::Domain(_));
    if claims.scope == Some(Reach::System) && narrowing {
        return Err(Error::forbidden(
            "auth.rescope",
            "Using a system-scoped token to create a project-scoped or domain-scoped token is not allowed.",
        ));
    }
    Ok(claims)
}

fn scope(directory: &Indexed, user: &User, request: &ScopeRequest) -> Result<Option<Reach>> {
    Ok(match request {
        // A trust says itself where it is.
        ScopeRequest::Unscoped | ScopeRequest::Trust(_) => None,
        ScopeRequest::Default => user
            .default_project_id
            .clone()
            .map(Reach::Project)
            .filter(|reach| directory.standing(user, Some(reach)).is_some()),
        ScopeRequest::System => Some(Reach::System),
        ScopeRequest::Domain(domain) => {
            Some(Reach::Domain(find_domain(directory, domain).ok_or_else(unauthorized)?))
        }
        ScopeRequest::Project(ProjectRef { id: Some(id), .. }) => Some(Reach::Project(id.clone().into())),
        ScopeRequest::Project(ProjectRef { id: None, name, domain }) => {
            let name = name.as_ref().ok_or_else(|| expected("id or name", "project"))?;
            let domain = domain.as_ref().ok_or_else(|| expected("domain", "project"))?;
            let domain = find_domain(directory, domain).ok_or_else(unauthorized)?;
            let id = directory.project_id(&domain, name).ok_or_else(unauthorized)?;
            Some(Reach::Project(id.clone()))
        }
    })
}

fn find_domain(directory: &Indexed, domain: &DomainRef) -> Option<DomainId> {
    match (&domain.id, &domain.name) {
        (Some(id), _) => Some(id.clone().into()),
        (None, Some(name)) => directory.domain_id(name).cloned(),
        (None, None) => None,
    }
}

fn expected(attribute: &str, target: &str) -> Error {
    Error::bad_request(
        "identity.expected",
        format!(
            "Expecting to find {attribute} in {target}. The server could not comply with the request since it is \
             either malformed or otherwise incorrect. The client is assumed to be in error."
        ),
    )
}

fn opened(app: &App, subject: &str) -> Result<(Claims, Arc<Standing>)> {
    // Asked about by somebody who is logged in: the real service says 404 here.
    let absent = || Error::not_found("identity.token_not_found", "Failed to validate token");
    let claims = app.identity.inner.open_token(subject).ok_or_else(absent)?;
    let standing = app.identity.view().standing(&claims, app.now()).ok_or_else(absent)?;
    Ok((claims, standing))
}

/// What another token, or one's own, is worth.
pub fn validate(app: &App, ctx: &Ctx, subject: &str) -> Result<Token> {
    let (claims, standing) = opened(app, subject)?;
    access::require(app, ctx, actions::identity::TOKENS_VALIDATE, &Target::default().owner(&claims.user_id))?;
    Ok(Token::new(Secret(subject.to_owned()), &claims, standing))
}

/// Ends a token. Others of the same login live on.
pub async fn revoke(app: &App, ctx: &Ctx, subject: &str) -> Result<()> {
    let (claims, _) = opened(app, subject)?;
    access::require(app, ctx, actions::identity::TOKENS_REVOKE, &Target::default().owner(&claims.user_id))?;
    let (audit_id, expires, now) = (audit_text(&claims.audit_id), claims.expires, app.now());
    app.store
        .write("identity.token.revoke", move |c| {
            let audit_id = audit_id.clone();
            Box::pin(async move { rows::tokens::revoke(c, &audit_id, expires, now).await })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(())
}

/// What the caller can scope a token to.
pub fn own_projects(app: &App, ctx: &Ctx) -> Vec<Project> {
    app.identity.view().directory.projects_of(&ctx.who.user_id)
}

pub fn own_domains(app: &App, ctx: &Ctx) -> Vec<Domain> {
    app.identity.view().directory.domains_of(&ctx.who.user_id)
}

pub fn own_system(app: &App, ctx: &Ctx) -> bool {
    app.identity.view().directory.reaches_system(&ctx.who.user_id)
}
