//! Tokens: log in, validate, revoke; and what one can log in to.

use super::{body, render};
use crate::request::{Reply, Req};
use canopy_app::identity::{
    self, CredentialRef, DomainRef, Login, Place, ProjectRef, ScopeRequest, Token, UserRef,
    catalog as services,
};
use canopy_types::{Error, Result};
use serde_json::{Value, json};

pub async fn issue(req: Req) -> Result<Reply> {
    let login = Login { source: req.source, ..login(&req.json["auth"])? };
    let token = identity::issue(&req.app, &login).await?;
    reply(&req, 201, &token)
}

pub async fn validate(req: Req) -> Result<Reply> {
    let token = identity::validate(&req.app, req.ctx()?, subject(&req)?)?;
    reply(&req, 200, &token)
}

pub async fn revoke(req: Req) -> Result<Reply> {
    identity::revoke(&req.app, req.ctx()?, subject(&req)?).await?;
    Ok(Reply::empty(204))
}

pub async fn catalog(req: Req) -> Result<Reply> {
    let project = req.ctx()?.who.project_id();
    let catalog = services::catalog(&req.app, &req.base, project);
    let catalog = render::CatalogText(&catalog);
    Reply::json(
        200,
        &json!({"catalog": catalog, "links": {
            "next": null, "self": format!("{}/identity/v3/auth/catalog", req.base), "previous": null,
        }}),
    )
}

pub async fn projects(req: Req) -> Result<Reply> {
    let items = identity::own_projects(&req.app, req.ctx()?);
    let items = items.iter().map(|project| render::project(&req, project)).collect();
    Reply::json(200, &render::list(&req, "projects", items, None))
}

pub async fn domains(req: Req) -> Result<Reply> {
    let items = identity::own_domains(&req.app, req.ctx()?);
    let items = items.iter().map(|domain| render::domain(&req, domain)).collect();
    Reply::json(200, &render::list(&req, "domains", items, None))
}

pub async fn system(req: Req) -> Result<Reply> {
    let items =
        if identity::own_system(&req.app, req.ctx()?) { vec![json!({"all": true})] } else { Vec::new() };
    Reply::json(200, &render::list(&req, "system", items, None))
}

fn reply(req: &Req, status: u16, token: &Token) -> Result<Reply> {
    let declined = body::on(&req.query, "nocatalog");
    let project = match &token.standing.place {
        Place::Project(project, _) => Some(&project.id),
        _ => None,
    };
    let catalog = (!declined).then(|| services::catalog(&req.app, &req.base, project));
    let expires = identity::password_expires_at(&req.app, &token.standing.user);
    Ok(Reply::json(status, &render::token(token, catalog.as_deref(), expires))?
        .header("x-subject-token", &token.text.0))
}

fn subject(req: &Req) -> Result<&str> {
    req.header("x-subject-token").filter(|token| !token.is_empty()).ok_or_else(|| {
        Error::bad_request(
            "identity.subject_token",
            "The header X-Subject-Token must carry the token that this is about.",
        )
    })
}

fn login(auth: &Value) -> Result<Login> {
    let identity = &auth["identity"];
    let mut login = Login { scope: scope(&auth["scope"])?, ..Login::default() };
    for method in identity["methods"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let offered = &identity[method];
        match method {
            "password" | "token" | "application_credential" if offered.is_null() => {
                return Err(expected(method, "identity"));
            }
            "password" => {
                let user = &offered["user"];
                let secret = body::needed(user, "password")?;
                login.password = Some((user_ref(user), secret));
            }
            "application_credential" => {
                let secret = body::needed(offered, "secret")?;
                let user = &offered["user"];
                let credential = CredentialRef {
                    id: body::text(offered, "id"),
                    name: body::text(offered, "name"),
                    user: user.is_object().then(|| user_ref(user)),
                };
                login.credential = Some((credential, secret));
            }
            "token" => login.token = Some(body::needed(offered, "id")?),
            _ => return Err(Error::unauthorized("Attempted to authenticate with an unsupported method.")),
        }
    }
    Ok(login)
}

fn user_ref(user: &Value) -> UserRef {
    UserRef { id: body::text(user, "id"), name: body::text(user, "name"), domain: domain(&user["domain"]) }
}

fn scope(scope: &Value) -> Result<ScopeRequest> {
    let keys: Vec<&str> = match scope {
        Value::Null => return Ok(ScopeRequest::Default),
        Value::String(text) if text == "unscoped" => return Ok(ScopeRequest::Unscoped),
        other => other.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect(),
    };
    // An empty scope is none.
    if scope.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(ScopeRequest::Default);
    }
    match keys.as_slice() {
        ["project"] => {
            let project = &scope["project"];
            Ok(ScopeRequest::Project(ProjectRef {
                id: body::text(project, "id"),
                name: body::text(project, "name"),
                domain: domain(&project["domain"]),
            }))
        }
        ["domain"] => domain(&scope["domain"])
            .map(ScopeRequest::Domain)
            .ok_or_else(|| expected("id or name", "scope/domain")),
        ["system"] if scope["system"]["all"] == true => Ok(ScopeRequest::System),
        ["OS-TRUST:trust"] => body::text(&scope["OS-TRUST:trust"], "id")
            .map(ScopeRequest::Trust)
            .ok_or_else(|| expected("id", "scope/OS-TRUST:trust")),
        ["unscoped"] => Ok(ScopeRequest::Unscoped),
        _ => Err(expected("one of: project, domain, system, OS-TRUST:trust or unscoped", "scope")),
    }
}

fn domain(value: &Value) -> Option<DomainRef> {
    let domain = DomainRef { id: body::text(value, "id"), name: body::text(value, "name") };
    (domain.id.is_some() || domain.name.is_some()).then_some(domain)
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
