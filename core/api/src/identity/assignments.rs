//! The list of role assignments.

use super::{body, render};
use crate::request::{Reply, Req};
use canopy_app::identity::{self, AssignmentFilter, Granted, Holder, Place, Reach};
use canopy_types::{Error, Result};
use serde_json::{Value, json};

pub async fn list(req: Req) -> Result<Reply> {
    let text = |name: &str| req.query.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let reaches: Vec<Reach> = [
        text("scope.project.id").map(|id| Reach::Project(id.into())),
        text("scope.domain.id").map(|id| Reach::Domain(id.into())),
        text("scope.system").map(|_| Reach::System),
    ]
    .into_iter()
    .flatten()
    .collect();
    if reaches.len() > 1 {
        return Err(Error::bad_request(
            "identity.scope_filters",
            "Specify one of scope.project.id, scope.domain.id and scope.system, not several.",
        ));
    }
    let filter = AssignmentFilter {
        user_id: text("user.id"),
        group_id: text("group.id"),
        role_id: text("role.id"),
        reach: reaches.into_iter().next(),
        inherited: inherited(text("scope.OS-INHERIT:inherited_to"))?,
        effective: body::on(&req.query, "effective"),
        subtree: body::on(&req.query, "include_subtree"),
    };
    let lines = identity::assignments(&req.app, req.ctx()?, &filter).await?;
    let names = body::on(&req.query, "include_names");
    let items = lines.iter().map(|line| shown(&req.base, line, names)).collect();
    Reply::json(200, &render::list(&req, "role_assignments", items, None))
}

fn inherited(to: Option<String>) -> Result<bool> {
    match to.as_deref() {
        None => Ok(false),
        Some("projects") => Ok(true),
        Some(_) => Err(Error::bad_request(
            "identity.inherited_to",
            "scope.OS-INHERIT:inherited_to must be 'projects'.",
        )),
    }
}

fn shown(base: &str, line: &Granted, names: bool) -> Value {
    let mut scope = scope_of(&line.place, names);
    if line.inherited {
        scope["OS-INHERIT:inherited_to"] = json!("projects");
    }
    let mut links = json!({"assignment": render::link(base, &source(line))});
    if let (Some(group), Holder::User(user, _)) = (&line.membership, &line.holder) {
        links["membership"] = json!(render::link(base, &format!("groups/{group}/users/{}", user.id)));
    }
    if let Some(prior) = &line.prior {
        let path = format!("prior_roles/{}/implies/{}", prior.id, line.role.id);
        links["prior_role"] = json!(render::link(base, &path));
    }
    let role =
        if names { json!({"id": line.role.id, "name": line.role.name}) } else { json!({"id": line.role.id}) };
    let (kind, holder) = match &line.holder {
        Holder::User(user, domain) if names => {
            ("user", json!({"id": user.id, "name": user.name, "domain": render::named(domain)}))
        }
        Holder::Group(group, domain) if names => {
            ("group", json!({"id": group.id, "name": group.name, "domain": render::named(domain)}))
        }
        Holder::User(user, _) => ("user", json!({"id": user.id})),
        Holder::Group(group, _) => ("group", json!({"id": group.id})),
    };
    json!({"role": role, kind: holder, "scope": scope, "links": links})
}

fn scope_of(place: &Place, names: bool) -> Value {
    match place {
        Place::Project(project, domain) if names => json!({
            "project": {"id": project.id, "name": project.name, "domain": render::named(domain)},
        }),
        Place::Project(project, _) => json!({"project": {"id": project.id}}),
        Place::Domain(domain) if names => json!({"domain": render::named(domain)}),
        Place::Domain(domain) => json!({"domain": {"id": domain.id}}),
        Place::System | Place::Unscoped => json!({"system": {"all": true}}),
    }
}

/// The path of what was given.
fn source(line: &Granted) -> String {
    let held = &line.source;
    let place = match &held.reach {
        Reach::Project(id) => format!("projects/{id}"),
        Reach::Domain(id) => format!("domains/{id}"),
        Reach::System => "system".to_owned(),
    };
    let who = match &held.actor {
        identity::Actor::User(id) => format!("users/{id}"),
        identity::Actor::Group(id) => format!("groups/{id}"),
    };
    if held.inherited {
        format!("OS-INHERIT/{place}/{who}/roles/{}/inherited_to_projects", held.role_id)
    } else {
        format!("{place}/{who}/roles/{}", held.role_id)
    }
}
