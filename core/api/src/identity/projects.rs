//! Projects.

use super::{body, render, schemas, tags};
use crate::request::{Reply, Req};
use canopy_app::identity::{self, AsProject, DomainChange, NewDomain, NewProject, ProjectChange};
use canopy_app::identity::{ProjectFilter, ProjectTags, Tagged};
use canopy_types::{Error, Result};
use serde_json::{Value, json};

pub async fn list(req: Req) -> Result<Reply> {
    let text = |name: &str| req.query.get(name).unwrap_or_default().to_owned();
    let filter = ProjectFilter {
        domain_id: text("domain_id"),
        name: text("name"),
        parent_id: text("parent_id"),
        enabled: req.query.flag("enabled")?,
        tags: tagged(&req)?,
    };
    if req.query.flag("is_domain")? == Some(true) {
        let mut domains = identity::domains(&req.app, req.ctx()?).await?;
        let nested = !filter.domain_id.is_empty() || !filter.parent_id.is_empty() || !filter.tags.is_empty();
        domains.retain(|domain| {
            !nested
                && (filter.name.is_empty() || filter.name == domain.name)
                && filter.enabled.is_none_or(|on| on == domain.enabled)
        });
        let items = domains.iter().map(|domain| render::domain_as_project(&req, domain)).collect();
        return Reply::json(200, &render::list(&req, "projects", items, None));
    }
    let (projects, more) = identity::projects(&req.app, req.ctx()?, filter, req.query.page()?).await?;
    let next = projects.last().filter(|_| more).map(|project| project.id.0.clone());
    let items = projects.iter().map(|project| render::project(&req, project)).collect();
    Reply::json(200, &render::list(&req, "projects", items, next))
}

/// The four filters by tags; each is a list with commas.
fn tagged(req: &Req) -> Result<Vec<(Tagged, Vec<String>)>> {
    let names = [
        ("tags", Tagged::All),
        ("tags-any", Tagged::Any),
        ("not-tags", Tagged::NotAll),
        ("not-tags-any", Tagged::NotAny),
    ];
    let mut lists = Vec::new();
    for (name, how) in names {
        let Some(text) = req.query.get(name) else { continue };
        let tags: Vec<String> = text.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
        if tags.len() > identity::MAX_TAGS {
            let text = format!("{name} may name at most {} tags.", identity::MAX_TAGS);
            return Err(Error::bad_request("identity.project_tags", text));
        }
        lists.push((how, tags));
    }
    Ok(lists)
}

pub async fn show(req: Req) -> Result<Reply> {
    if let Some(domain) =
        identity::acting(&req.app, req.ctx()?, req.param("project_id"), AsProject::Show).await?
    {
        return Reply::json(200, &json!({"project": render::domain_as_project(&req, &domain)}));
    }
    let project = identity::project(&req.app, req.ctx()?, req.param("project_id")).await?;
    let mut shown = render::project(&req, &project);
    let asked = |name: &str| body::on(&req.query, name);
    let exclusive = |a: &str, b: &str| asked(a) && asked(b);
    if exclusive("parents_as_list", "parents_as_ids") || exclusive("subtree_as_list", "subtree_as_ids") {
        return Err(Error::bad_request(
            "identity.project_tree",
            "Cannot use parents_as_list with parents_as_ids, nor subtree_as_list with subtree_as_ids.",
        ));
    }
    let names = ["parents_as_list", "parents_as_ids", "subtree_as_list", "subtree_as_ids"];
    if names.into_iter().any(asked) {
        let tree = identity::tree(&req.app, req.ctx()?, &project).await?;
        let list = |projects: &[identity::Project]| -> Value {
            projects.iter().map(|one| json!({"project": render::project(&req, one)})).collect()
        };
        if asked("parents_as_list") {
            shown["parents"] = list(&tree.above);
        }
        if asked("subtree_as_list") {
            shown["subtree"] = list(&tree.below);
        }
        if asked("parents_as_ids") {
            shown["parents"] = above_ids(&tree.above);
        }
        if asked("subtree_as_ids") {
            shown["subtree"] = below_ids(project.id.as_str(), &tree.below);
        }
    }
    Reply::json(200, &json!({ "project": shown }))
}

/// Each inside the one that is nearer; nothing is null.
fn above_ids(above: &[identity::Project]) -> Value {
    above.iter().rev().fold(Value::Null, |inner, project| json!({ project.id.as_str(): inner }))
}

fn below_ids(parent: &str, below: &[identity::Project]) -> Value {
    let mut inside = serde_json::Map::new();
    for child in below.iter().filter(|child| child.parent_id == parent) {
        inside.insert(child.id.0.clone(), below_ids(child.id.as_str(), below));
    }
    if inside.is_empty() { Value::Null } else { inside.into() }
}

pub async fn create(req: Req) -> Result<Reply> {
    let asked = &req.json["project"];
    if asked["is_domain"] == true {
        return create_domain(req).await;
    }
    let new = NewProject {
        name: body::text(asked, "name").unwrap_or_default(),
        domain_id: body::text(asked, "domain_id"),
        parent_id: body::text(asked, "parent_id"),
        description: body::text(asked, "description").unwrap_or_default(),
        enabled: asked["enabled"].as_bool().unwrap_or(true),
        tags: tags::named(&asked["tags"]),
        extra: schemas::extra(asked, schemas::project_fields),
    };
    let project = identity::create_project(&req.app, req.ctx()?, new).await?;
    Reply::json(201, &json!({"project": render::project(&req, &project)}))
}

/// A project that acts as a domain is one.
async fn create_domain(req: Req) -> Result<Reply> {
    let asked = &req.json["project"];
    let within = ["domain_id", "parent_id"].into_iter().any(|name| asked[name].is_string());
    if within || asked["tags"].as_array().is_some_and(|tags| !tags.is_empty()) {
        return Err(Error::bad_request(
            "identity.domain_project",
            "A project that acts as a domain has no domain_id, parent_id or tags.",
        ));
    }
    let new = NewDomain {
        name: body::text(asked, "name").unwrap_or_default(),
        description: body::text(asked, "description").unwrap_or_default(),
        enabled: asked["enabled"].as_bool().unwrap_or(true),
        extra: schemas::extra(asked, schemas::project_fields),
    };
    let domain = identity::create_domain(&req.app, req.ctx()?, new).await?;
    Reply::json(201, &json!({"project": render::domain_as_project(&req, &domain)}))
}

async fn update_domain(req: Req, present: identity::Domain) -> Result<Reply> {
    let asked = &req.json["project"];
    let fixed_fields = [("domain_id", json!(null)), ("parent_id", json!(null)), ("is_domain", json!(true))];
    for (name, value) in fixed_fields {
        if asked.get(name).is_some_and(|asked| *asked != value) {
            return Err(Error::bad_request("identity.immutable", format!("{name} cannot be changed.")));
        }
    }
    if asked["tags"].as_array().is_some_and(|tags| !tags.is_empty()) {
        return Err(Error::bad_request("identity.domain_project", "A domain has no tags."));
    }
    let change = DomainChange {
        name: body::text(asked, "name"),
        description: asked.get("description").map(|text| text.as_str().unwrap_or_default().to_owned()),
        enabled: asked["enabled"].as_bool(),
        extra: schemas::extra(asked, schemas::project_fields),
    };
    let domain = identity::update_domain(&req.app, req.ctx()?, present.id.as_str(), change).await?;
    Reply::json(200, &json!({"project": render::domain_as_project(&req, &domain)}))
}

pub async fn update(req: Req) -> Result<Reply> {
    let (asked, id) = (&req.json["project"], req.param("project_id"));
    if let Some(domain) =
        identity::acting(&req.app, req.ctx()?, req.param("project_id"), AsProject::Update).await?
    {
        return update_domain(req, domain).await;
    }
    if asked["is_domain"] == true {
        return Err(Error::bad_request("identity.immutable", "is_domain cannot be changed."));
    }
    if asked.get("domain_id").is_some() || asked.get("parent_id").is_some() {
        let present = identity::project(&req.app, req.ctx()?, id).await?;
        fixed(asked, "domain_id", present.domain_id.as_str())?;
        fixed(asked, "parent_id", present.parent_id.as_str())?;
    }
    let change = ProjectChange {
        name: body::text(asked, "name"),
        description: asked.get("description").map(|text| text.as_str().unwrap_or_default().to_owned()),
        enabled: asked["enabled"].as_bool(),
        tags: asked.get("tags").map(|tags| ProjectTags::Set(tags::named(tags))),
        extra: schemas::extra(asked, schemas::project_fields),
    };
    let project = identity::update_project(&req.app, req.ctx()?, id, change).await?;
    Reply::json(200, &json!({"project": render::project(&req, &project)}))
}

pub async fn delete(req: Req) -> Result<Reply> {
    match identity::acting(&req.app, req.ctx()?, req.param("project_id"), AsProject::Delete).await? {
        Some(domain) => identity::delete_domain(&req.app, req.ctx()?, domain.id.as_str()).await?,
        None => identity::delete_project(&req.app, req.ctx()?, req.param("project_id")).await?,
    }
    Ok(Reply::empty(204))
}

/// Refuses a change to what never changes; naming the present value is fine.
pub fn fixed<'a>(asked: &Value, name: &str, present: impl Into<Option<&'a str>>) -> Result<()> {
    match asked.get(name) {
        Some(value) if *value != json!(present.into()) => {
            Err(Error::bad_request("identity.immutable", format!("{name} cannot be changed.")))
        }
        _ => Ok(()),
    }
}
