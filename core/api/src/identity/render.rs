//! Identity's resources in keystone's shapes.

use crate::request::Req;
use canopy_app::identity::{
    self, Domain, Group, Lent, Place, Project, Role, Token, User, UserOptions, catalog,
};
use canopy_types::Timestamp;
use serde::ser::{Error, SerializeMap};
use serde::{Serialize, Serializer};
use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};

pub fn link(base: &str, path: &str) -> String {
    format!("{base}/identity/v3/{path}")
}

/// With what clients attached, where there is no field of that name.
fn with_extra(req: &Req, kind: &str, id: &str, mut shown: Value) -> Value {
    if let Some(fields) = shown.as_object_mut() {
        for (name, value) in identity::extra(&req.app, kind, id) {
            fields.entry(name).or_insert(value);
        }
    }
    shown
}

pub fn domain(req: &Req, domain: &Domain) -> Value {
    let link = link(&req.base, &format!("domains/{}", domain.id));
    let shown = json!({
        "id": domain.id, "name": domain.name, "description": domain.description, "enabled": domain.enabled,
        "tags": [], "options": {}, "links": {"self": link},
    });
    with_extra(req, "domain", domain.id.as_str(), shown)
}

/// A domain as the project that it is, too.
pub fn domain_as_project(req: &Req, domain: &Domain) -> Value {
    let link = link(&req.base, &format!("projects/{}", domain.id));
    let shown = json!({
        "id": domain.id, "name": domain.name, "description": domain.description, "enabled": domain.enabled,
        "domain_id": null, "parent_id": null, "is_domain": true, "tags": [], "options": {},
        "links": {"self": link},
    });
    with_extra(req, "domain", domain.id.as_str(), shown)
}

pub fn project(req: &Req, project: &Project) -> Value {
    let link = link(&req.base, &format!("projects/{}", project.id));
    let shown = json!({
        "id": project.id, "name": project.name, "domain_id": project.domain_id,
        "description": project.description, "enabled": project.enabled, "parent_id": project.parent_id,
        "is_domain": false, "tags": project.tags, "options": {}, "links": {"self": link},
    });
    with_extra(req, "project", project.id.as_str(), shown)
}

pub fn user(req: &Req, user: &User) -> Value {
    let base = &req.base;
    let expires = identity::password_expires_at(&req.app, user).map(Timestamp::micros_naive);
    let mut value = json!({
        "id": user.id, "name": user.name, "domain_id": user.domain_id, "enabled": user.enabled,
        "password_expires_at": expires, "options": options(user.options),
        "links": {"self": link(base, &format!("users/{}", user.id))},
    });
    // keystone shows these only when they were given.
    if !user.description.is_empty() {
        value["description"] = json!(user.description);
    }
    if let Some(email) = &user.email {
        value["email"] = json!(email);
    }
    if let Some(project) = &user.default_project_id {
        value["default_project_id"] = json!(project);
    }
    with_extra(req, "user", user.id.as_str(), value)
}

/// Those that are on.
fn options(options: UserOptions) -> Value {
    let all = [
        ("ignore_change_password_upon_first_use", options.ignore_change_password_upon_first_use),
        ("ignore_password_expiry", options.ignore_password_expiry),
        ("ignore_lockout_failure_attempts", options.ignore_lockout_failure_attempts),
        ("lock_password", options.lock_password),
    ];
    let on = all.into_iter().filter(|(_, on)| *on).map(|(name, on)| (name.to_owned(), json!(on)));
    Value::Object(on.collect())
}

pub fn group(req: &Req, group: &Group) -> Value {
    let link = link(&req.base, &format!("groups/{}", group.id));
    let shown = json!({
        "id": group.id, "name": group.name, "domain_id": group.domain_id, "description": group.description,
        "links": {"self": link},
    });
    with_extra(req, "group", group.id.as_str(), shown)
}

pub fn role(req: &Req, role: &Role) -> Value {
    let description = (!role.description.is_empty()).then_some(&role.description);
    let options = if canopy_app::identity::immutable(role) { json!({"immutable": true}) } else { json!({}) };
    let shown = json!({
        "id": role.id, "name": role.name, "domain_id": role.domain_id, "description": description,
        "options": options, "links": {"self": link(&req.base, &format!("roles/{}", role.id))},
    });
    with_extra(req, "role", role.id.as_str(), shown)
}

/// A list under `name`. `next` is the marker of the following page.
pub fn list(req: &Req, name: &str, items: Vec<Value>, next: Option<String>) -> Value {
    let query: Vec<String> = req.query.0.iter().map(|(name, value)| pair(name, value)).collect();
    let here = |query: &[String]| {
        let asked = format!("{}{}", req.base, req.path);
        if query.is_empty() { asked } else { format!("{asked}?{}", query.join("&")) }
    };
    let next = next.map(|marker| {
        let kept =
            req.query.0.iter().filter(|(name, _)| name != "marker").map(|(name, value)| pair(name, value));
        here(&kept.chain([pair("marker", &marker)]).collect::<Vec<_>>())
    });
    let mut body = Map::new();
    body.insert(name.to_owned(), items.into());
    body.insert("links".into(), json!({"next": next, "self": here(&query), "previous": null}));
    body.into()
}

fn pair(name: &str, value: &str) -> String {
    format!("{}={}", percent(name), percent(value))
}

fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

pub fn named(domain: &Domain) -> Value {
    json!({"id": domain.id, "name": domain.name})
}

/// A token's body.
#[derive(Serialize)]
pub struct Shown<'a> {
    token: Fields<'a>,
}

/// Written as it is looked at: clients ask for tokens all the time.
struct Fields<'a> {
    token: &'a Token,
    catalog: Option<CatalogText<'a>>,
    password_expires_at: Option<Timestamp>,
}

/// The body of a token; `catalog` only when it was not declined.
pub fn token<'a>(
    token: &'a Token,
    catalog: Option<&'a catalog::Catalog>,
    password_expires_at: Option<Timestamp>,
) -> Shown<'a> {
    let catalog = catalog.filter(|_| token.standing.place != Place::Unscoped).map(CatalogText);
    Shown { token: Fields { token, catalog, password_expires_at } }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { token, catalog, password_expires_at } = self;
        let standing = &token.standing;
        let mut out = serializer.serialize_map(None)?;
        macro_rules! put {
            ($name:expr, $value:expr $(,)?) => {
                out.serialize_entry($name, &$value)?
            };
        }
        put!("methods", token.methods);
        put!(
            "user",
            Bearer {
                id: standing.user.id.as_str(),
                name: &standing.user.name,
                domain: Named::domain(&standing.user_domain),
                password_expires_at: password_expires_at.map(Timestamp::micros_z),
            },
        );
        put!("audit_ids", token.audit_ids);
        put!("issued_at", token.issued.micros_z());
        put!("expires_at", token.expires.micros_z());
        match &standing.place {
            Place::Unscoped => {}
            Place::Project(project, domain) => {
                let (id, name) = (project.id.as_str(), project.name.as_str());
                put!("project", Within { id, name, domain: Named::domain(domain) });
                put!("is_domain", false);
            }
            Place::Domain(domain) => put!("domain", Named::domain(domain)),
            Place::System => put!("system", json!({"all": true})),
        }
        match &standing.lent {
            None => {}
            Some(Lent::ApplicationCredential(one)) => {
                let mut shown = json!({"id": one.id, "name": one.name, "restricted": !one.unrestricted});
                if let Some(rules) = &one.rules {
                    shown["access_rules"] =
                        rules.iter().map(super::application_credentials::rule_of).collect();
                }
                put!("application_credential", shown);
            }
            Some(Lent::Trust(trust)) => put!(
                "OS-TRUST:trust",
                json!({
                    "id": trust.id, "impersonation": trust.impersonation,
                    "trustor_user": {"id": trust.trustor_id}, "trustee_user": {"id": trust.trustee_id},
                }),
            ),
        }
        if standing.place != Place::Unscoped {
            put!("roles", standing.roles.iter().map(Named::role).collect::<Vec<_>>());
        }
        if let Some(catalog) = catalog {
            put!("catalog", catalog);
        }
        out.end()
    }
}

#[derive(Serialize)]
struct Named<'a> {
    id: &'a str,
    name: &'a str,
}

impl<'a> Named<'a> {
    fn domain(domain: &'a Domain) -> Self {
        Self { id: domain.id.as_str(), name: &domain.name }
    }

    fn role(role: &'a Role) -> Self {
        Self { id: role.id.as_str(), name: &role.name }
    }
}

/// A project in its domain.
#[derive(Serialize)]
struct Within<'a> {
    id: &'a str,
    name: &'a str,
    domain: Named<'a>,
}

#[derive(Serialize)]
struct Bearer<'a> {
    id: &'a str,
    name: &'a str,
    domain: Named<'a>,
    password_expires_at: Option<String>,
}

/// A catalog as keystone shows it. It is written once, see [`catalog::Catalog`].
pub struct CatalogText<'a>(pub &'a catalog::Catalog);

impl Serialize for CatalogText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.0.text(|entries| to_raw_value(&services(entries)));
        text.map_err(S::Error::custom)?.serialize(serializer)
    }
}

fn services(entries: &[catalog::Entry]) -> Vec<Service<'_>> {
    let services = entries.iter().map(|catalog::Entry { service, endpoints }| Service {
        id: &service.id,
        kind: &service.kind,
        name: &service.name,
        endpoints: endpoints.iter().map(Endpoint::of).collect(),
    });
    services.collect()
}

#[derive(Serialize)]
struct Service<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    name: &'a str,
    endpoints: Vec<Endpoint<'a>>,
}

#[derive(Serialize)]
struct Endpoint<'a> {
    id: &'a str,
    interface: &'a str,
    region: Option<&'a str>,
    region_id: Option<&'a str>,
    url: &'a str,
}

impl<'a> Endpoint<'a> {
    fn of(endpoint: &'a catalog::Endpoint) -> Self {
        let region = endpoint.region_id.as_deref();
        let (id, interface, url) = (&endpoint.id, &endpoint.interface, &endpoint.url);
        Self { id, interface, region, region_id: region, url }
    }
}
