//! Quota sets and the default quota class. 2.36 takes out what networks count, 2.57 injected files; the class has
//! server groups from 2.50 on.
//!
//! What is not counted here is shown as nova shows what it leaves to others (−1), or as there being none of it
//! (0), and cannot be set to anything else.

use crate::request::{Reply, Req};
use crate::route::{Route, Schema, Service};
use crate::version::{Microversion, v};
use crate::{handler, schema};
use canopy_app::quota::sets::{self, Asked, Change, Check, Line};
use canopy_app::{App, Ctx};
use canopy_authz::{Action, actions::compute as actions};
use canopy_types::{Error, Kind, Result, UserId, quota};
use http::Method;
use serde_json::{Map, Value, json};

const WITHOUT_NETWORKS: Microversion = v(2, 36);
const WITH_GROUPS_IN_CLASS: Microversion = v(2, 50);
const WITHOUT_FILES: Microversion = v(2, 57);

/// Names that older versions know, with what they always are here.
const OF_NETWORKS: [(&str, i64); 4] =
    [("fixed_ips", -1), ("floating_ips", -1), ("security_groups", -1), ("security_group_rules", -1)];
const OF_FILES: [(&str, i64); 3] =
    [("injected_files", 0), ("injected_file_content_bytes", 0), ("injected_file_path_bytes", 0)];
const GROUPS: [&str; 2] = [quota::SERVER_GROUPS, quota::SERVER_GROUP_MEMBERS];

const USER: &[(Microversion, &[&str])] = &[(v(2, 75), &["user_id"])];
const SET: &[(Microversion, Schema)] =
    &[(v(2, 1), set_2_1), (WITHOUT_NETWORKS, set_2_36), (WITHOUT_FILES, set_2_57)];
const CLASS: &[(Microversion, Schema)] =
    &[(v(2, 1), class_2_1), (WITH_GROUPS_IN_CLASS, class_2_50), (WITHOUT_FILES, class_2_57)];

pub fn routes() -> Vec<Route> {
    let route = |method, path, summary, handler| Route::new(Service::Compute, method, path, summary, handler);
    vec![
        route(Method::GET, "/v2.1/os-quota-sets/{project_id}", "Show a project's quota", handler!(show))
            .action(actions::QUOTA_SETS_SHOW)
            .query(USER),
        route(
            Method::GET,
            "/v2.1/os-quota-sets/{project_id}/detail",
            "Show a project's quota and usage",
            handler!(detail),
        )
        .action(actions::QUOTA_SETS_SHOW)
        .query(USER),
        route(
            Method::GET,
            "/v2.1/os-quota-sets/{project_id}/defaults",
            "Show the quota of a project that has none of its own",
            handler!(defaults),
        )
        .action(actions::QUOTA_SETS_DEFAULTS),
        route(Method::PUT, "/v2.1/os-quota-sets/{project_id}", "Change a project's quota", handler!(update))
            .action(actions::QUOTA_SETS_UPDATE)
            .query(USER)
            .json(SET),
        route(
            Method::DELETE,
            "/v2.1/os-quota-sets/{project_id}",
            "Put a project's quota back to the defaults",
            handler!(reset),
        )
        .action(actions::QUOTA_SETS_DELETE)
        .query(USER)
        .answers(&[202], &[]),
        route(
            Method::GET,
            "/v2.1/os-quota-class-sets/{class_id}",
            "Show the default quota of all projects",
            handler!(show_class),
        )
        .action(actions::QUOTA_CLASS_SETS_SHOW)
        .answers(&[200], &[404]),
        route(
            Method::PUT,
            "/v2.1/os-quota-class-sets/{class_id}",
            "Change the default quota of all projects",
            handler!(update_class),
        )
        .action(actions::QUOTA_CLASS_SETS_UPDATE)
        .json(CLASS)
        .answers(&[200], &[404]),
    ]
}

fn limit() -> Value {
    json!({"anyOf": [
        {"type": "integer", "minimum": -1, "maximum": i32::MAX},
        {"type": "string", "pattern": "^(-1|[0-9]{1,9})$"},
    ]})
}

fn body(key: &str, other: &[(&str, Value)], fixed: &[&[(&str, i64)]], groups: bool) -> Value {
    let names = sets::resources("compute").map(|countable| countable.name);
    let names = names.filter(|name| groups || !GROUPS.contains(name));
    let mut properties: Map<String, Value> = names.map(|name| (name.to_owned(), limit())).collect();
    properties
        .extend(fixed.iter().flat_map(|names| names.iter()).map(|(name, _)| ((*name).to_owned(), limit())));
    properties.extend(other.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())));
    let mut object = Map::new();
    object.insert(key.to_owned(), schema::object(Value::Object(properties), &[]));
    schema::object(Value::Object(object), &[key])
}

fn set_body(fixed: &[&[(&str, i64)]]) -> Value {
    let id = json!({"type": "string", "maxLength": 255});
    let force =
        json!({"anyOf": [{"type": "boolean"}, {"enum": ["True", "False", "true", "false", "1", "0"]}]});
    body("quota_set", &[("force", force), ("tenant_id", id)], fixed, true)
}

fn set_2_1() -> Value {
    set_body(&[&OF_NETWORKS, &OF_FILES])
}

fn set_2_36() -> Value {
    set_body(&[&OF_FILES])
}

fn set_2_57() -> Value {
    set_body(&[])
}

fn class_2_1() -> Value {
    body("quota_class_set", &[], &[&OF_NETWORKS, &OF_FILES], false)
}

fn class_2_50() -> Value {
    body("quota_class_set", &[], &[&OF_FILES], true)
}

fn class_2_57() -> Value {
    body("quota_class_set", &[], &[], true)
}

/// What a version shows beside what is counted.
fn fixed(networks: bool, files: bool) -> impl Iterator<Item = (&'static str, i64)> {
    let networks = OF_NETWORKS.into_iter().filter(move |_| networks);
    networks.chain(OF_FILES.into_iter().filter(move |_| files))
}

fn of_set(req: &Req) -> impl Iterator<Item = (&'static str, i64)> + use<> {
    fixed(req.version < WITHOUT_NETWORKS, req.version < WITHOUT_FILES)
}

fn set_view(req: &Req, lines: &[Line], id: Option<&str>) -> Value {
    let mut view: Map<String, Value> =
        lines.iter().map(|line| (line.resource.to_owned(), line.limit.into())).collect();
    view.extend(of_set(req).map(|(name, value)| (name.to_owned(), value.into())));
    view.extend(id.map(|id| ("id".to_owned(), id.into())));
    json!({ "quota_set": view })
}

fn asked(action: Action) -> Asked {
    Asked { service: "compute", action }
}

fn user(req: &Req) -> Result<Option<UserId>> {
    match req.query.last("user_id") {
        None | Some("") => Ok(None),
        Some(id) if id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => {
            Ok(Some(UserId::from(id)))
        }
        Some(_) => Err(Error::bad_request("quota.user", "user_id is not the id of a user.")),
    }
}

/// nova says that a project is none with 400.
fn as_nova(error: Error) -> Error {
    if error.kind == Kind::NotFound { Error::bad_request(error.code, error.message) } else { error }
}

async fn lines(app: &App, ctx: &Ctx, project: &str, user: Option<&UserId>) -> Result<Vec<Line>> {
    sets::show(app, ctx, asked(actions::QUOTA_SETS_SHOW), project, user).await.map_err(as_nova)
}

async fn show(req: Req) -> Result<Reply> {
    let (user, project) = (user(&req)?, req.param("project_id"));
    let lines = lines(&req.app, req.ctx()?, project, user.as_ref()).await?;
    Reply::json(200, &set_view(&req, &lines, Some(req.param("project_id"))))
}

async fn detail(req: Req) -> Result<Reply> {
    let (user, project) = (user(&req)?, req.param("project_id"));
    let lines = lines(&req.app, req.ctx()?, project, user.as_ref()).await?;
    let line = |limit: i64, used: i64| json!({"limit": limit, "in_use": used, "reserved": 0});
    let mut view: Map<String, Value> =
        lines.iter().map(|one| (one.resource.to_owned(), line(one.limit, one.used))).collect();
    view.extend(of_set(&req).map(|(name, value)| (name.to_owned(), line(value, 0))));
    view.insert("id".to_owned(), req.param("project_id").into());
    Reply::json(200, &json!({ "quota_set": view }))
}

async fn defaults(req: Req) -> Result<Reply> {
    let asked = asked(actions::QUOTA_SETS_DEFAULTS);
    let project = req.param("project_id");
    let lines = sets::defaults(&req.app, req.ctx()?, asked, project).await.map_err(as_nova)?;
    Reply::json(200, &set_view(&req, &lines, Some(project)))
}

/// The limits that a body names.
fn changes(wanted: &Value) -> Result<Vec<Change>> {
    let number = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
    let mut changes = Vec::new();
    for (name, value) in wanted.as_object().into_iter().flatten() {
        let Some(limit) = number(value) else { continue };
        if let Some(countable) = sets::resources("compute").find(|countable| countable.name == name) {
            changes.push(Change { resource: countable.name, limit });
        } else if let Some((name, only)) = fixed(true, true).find(|(fixed, _)| fixed == name)
            && limit != only
        {
            return Err(Error::bad_request(
                "quota.not_counted",
                format!("Compute does not count {name} here: it stays {only}. Leave it out."),
            ));
        }
    }
    Ok(changes)
}

async fn update(req: Req) -> Result<Reply> {
    let wanted = &req.json["quota_set"];
    let force = match &wanted["force"] {
        Value::Bool(force) => *force,
        value => value.as_str().and_then(crate::request::parse_bool).unwrap_or(false),
    };
    let check = if force { Check::Sense } else { Check::Used };
    let (user, project) = (user(&req)?, req.param("project_id"));
    let asked = asked(actions::QUOTA_SETS_UPDATE);
    // Who may not hears that first.
    let changes = changes(wanted);
    let (app, ctx) = (&req.app, req.ctx()?);
    let lines = match changes {
        Ok(changes) => sets::set(app, ctx, asked, project, user.as_ref(), changes, check).await,
        Err(error) => {
            let nothing = sets::set(app, ctx, asked, project, user.as_ref(), Vec::new(), check).await;
            nothing.and(Err(error))
        }
    };
    Reply::json(200, &set_view(&req, &lines.map_err(as_nova)?, None))
}

async fn reset(req: Req) -> Result<Reply> {
    let user = user(&req)?;
    let asked = asked(actions::QUOTA_SETS_DELETE);
    sets::reset(&req.app, req.ctx()?, asked, req.param("project_id"), user.as_ref())
        .await
        .map_err(as_nova)?;
    Ok(Reply::empty(202))
}

/// There is one class.
fn class(req: &Req) -> Result<()> {
    if req.param("class_id") == "default" {
        return Ok(());
    }
    Err(Error::not_found("quota.class", "There is one quota class, named default."))
}

fn class_view(req: &Req, lines: &[Line], id: bool) -> Value {
    let with_groups = req.version >= WITH_GROUPS_IN_CLASS;
    let mut view: Map<String, Value> = lines
        .iter()
        .filter(|line| with_groups || !GROUPS.contains(&line.resource))
        .map(|line| (line.resource.to_owned(), line.limit.into()))
        .collect();
    let fixed = fixed(!with_groups, req.version < WITHOUT_FILES);
    view.extend(fixed.map(|(name, value)| (name.to_owned(), value.into())));
    if id {
        view.insert("id".to_owned(), "default".into());
    }
    json!({ "quota_class_set": view })
}

async fn show_class(req: Req) -> Result<Reply> {
    let lines = sets::class(&req.app, req.ctx()?, asked(actions::QUOTA_CLASS_SETS_SHOW)).await?;
    class(&req)?;
    Reply::json(200, &class_view(&req, &lines, true))
}

async fn update_class(req: Req) -> Result<Reply> {
    let (app, ctx) = (&req.app, req.ctx()?);
    sets::class(app, ctx, asked(actions::QUOTA_CLASS_SETS_UPDATE)).await?;
    class(&req)?;
    let changes = changes(&req.json["quota_class_set"])?;
    let lines = sets::set_class(app, ctx, asked(actions::QUOTA_CLASS_SETS_UPDATE), changes).await?;
    Reply::json(200, &class_view(&req, &lines, false))
}
