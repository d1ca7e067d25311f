//! Domains: what users and projects belong to.

use super::extras::{Extra, attach};
use super::{lookup, projects, rows};
use crate::{App, Ctx, access};
use canopy_authz::{Target, actions};
use canopy_store::Conn;
use canopy_store::identity::Domain;
use canopy_types::{DomainId, Error, Result};

/// Made at the first start; without it nobody could log in.
const DEFAULT: &str = "default";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDomain {
    pub name: String,
    pub description: String,
    pub enabled: bool,
    pub extra: Extra,
}

/// `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DomainChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub enabled: Option<bool>,
    pub extra: Extra,
}

pub(super) fn absent(id: &str) -> Error {
    Error::not_found("identity.domain_not_found", format!("Could not find domain: {id}."))
}

fn target(id: &str) -> Target {
    Target { domain_id: id.to_owned(), ..Target::default() }.id(id)
}

pub async fn domains(app: &App, ctx: &Ctx) -> Result<Vec<Domain>> {
    access::require(app, ctx, actions::identity::DOMAINS_LIST, &Target::default())?;
    app.store.read(|c| Box::pin(rows::domains(c))).await
}

pub async fn domain(app: &App, ctx: &Ctx, id: &str) -> Result<Domain> {
    access::require(app, ctx, actions::identity::DOMAINS_SHOW, &target(id))?;
    let domains = app.store.read(|c| Box::pin(rows::domains(c))).await?;
    domains.into_iter().find(|domain| domain.id.as_str() == id).ok_or_else(|| absent(id))
}

/// What one asks of a project that acts as a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsProject {
    Show,
    Update,
    Delete,
}

/// The domain that is meant by a project's id, if one is. Asked for as a project, so that who may not is told
/// what is told of any project.
pub async fn acting(app: &App, ctx: &Ctx, id: &str, ask: AsProject) -> Result<Option<Domain>> {
    let Some(domain) = app.identity.view().directory.domain(&id.into()).cloned() else { return Ok(None) };
    let action = match ask {
        AsProject::Show => actions::identity::PROJECTS_SHOW,
        AsProject::Update => actions::identity::PROJECTS_UPDATE,
        AsProject::Delete => actions::identity::PROJECTS_DELETE,
    };
    access::require(app, ctx, action, &target(id))?;
    Ok(Some(domain))
}

async fn find(conn: &mut Conn, id: &str) -> Result<Domain> {
    let domains = rows::domains(conn).await?;
    domains.into_iter().find(|domain| domain.id.as_str() == id).ok_or_else(|| absent(id))
}

pub async fn create_domain(app: &App, ctx: &Ctx, new: NewDomain) -> Result<Domain> {
    access::require(app, ctx, actions::identity::DOMAINS_CREATE, &Target::default())?;
    let NewDomain { name, description, enabled, extra } = new;
    let domain = Domain { id: DomainId::random(), name, description, enabled };
    let now = app.now();
    let created = app
        .store
        .write("identity.domain.create", move |c| {
            let (domain, extra) = (domain.clone(), extra.clone());
            Box::pin(async move {
                rows::touch(c, now, "identity.domain.create", domain.id.as_str()).await?;
                rows::insert_domain(c, &domain, now)
                    .await
                    .map_err(projects::taken_everywhere("domain", &domain.name))?;
                attach(c, "domain", domain.id.as_str(), &extra).await?;
                Ok(domain)
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(created)
}

pub async fn update_domain(app: &App, ctx: &Ctx, id: &str, change: DomainChange) -> Result<Domain> {
    access::require(app, ctx, actions::identity::DOMAINS_UPDATE, &target(id))?;
    if id == DEFAULT && change.enabled == Some(false) {
        return Err(Error::forbidden(
            "identity.default_domain",
            "You are not authorized to perform the requested action: disable the default domain.",
        ));
    }
    let (id, now) = (lookup(id).ok_or_else(|| absent(id))?.to_owned(), app.now());
    let updated = app
        .store
        .write("identity.domain.update", move |c| {
            let (id, change) = (id.clone(), change.clone());
            Box::pin(async move {
                rows::touch(c, now, "identity.domain.update", &id).await?;
                let mut domain = find(c, &id).await?;
                domain.name = change.name.unwrap_or(domain.name);
                domain.description = change.description.unwrap_or(domain.description);
                domain.enabled = change.enabled.unwrap_or(domain.enabled);
                rows::domains::update(c, &domain)
                    .await
                    .map_err(projects::taken_everywhere("domain", &domain.name))?;
                attach(c, "domain", &id, &change.extra).await?;
                Ok(domain)
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(updated)
}

/// Removes a disabled domain with its users and projects. As with a project, what still stands in it is
/// named and refused.
pub async fn delete_domain(app: &App, ctx: &Ctx, id: &str) -> Result<()> {
    access::require(app, ctx, actions::identity::DOMAINS_DELETE, &target(id))?;
    let (id, now) = (lookup(id).ok_or_else(|| absent(id))?.to_owned(), app.now());
    app.store
        .write("identity.domain.delete", move |c| {
            let id = id.clone();
            Box::pin(async move {
                rows::touch(c, now, "identity.domain.delete", &id).await?;
                let domain = find(c, &id).await?;
                if domain.enabled {
                    return Err(Error::forbidden(
                        "identity.domain_enabled",
                        "Cannot delete a domain that is enabled, please disable it first.",
                    ));
                }
                let held = rows::domains::holdings(c, &domain.id).await?;
                if held.servers + held.images + held.networks > 0 {
                    let text = format!(
                        "The projects of domain {id} still hold {} servers, {} images and {} networks. Delete them first.",
                        held.servers, held.images, held.networks
                    );
                    return Err(Error::conflict("identity.domain_in_use", text));
                }
                rows::domains::delete(c, &domain.id).await
            })
        })
        .await?;
    app.identity.written(&app.store).await;
    Ok(())
}
