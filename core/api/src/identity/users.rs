//! Users.

use super::{body, projects, render, schemas};
use crate::request::{Reply, Req};
use canopy_app::identity::{
    self, NewUser, OptionsChange, PasswordChange, UserChange, UserFilter, UserOptions,
};
use canopy_types::Result;
use serde_json::{Value, json};

pub async fn list(req: Req) -> Result<Reply> {
    let text = |name: &str| req.query.get(name).unwrap_or_default().to_owned();
    let filter =
        UserFilter { domain_id: text("domain_id"), name: text("name"), enabled: req.query.flag("enabled")? };
    let (users, more) = identity::users(&req.app, req.ctx()?, filter, req.query.page()?).await?;
    let next = users.last().filter(|_| more).map(|user| user.id.0.clone());
    let items = users.iter().map(|user| render::user(&req, user)).collect();
    Reply::json(200, &render::list(&req, "users", items, next))
}

pub async fn show(req: Req) -> Result<Reply> {
    let user = identity::user(&req.app, req.ctx()?, req.param("user_id")).await?;
    Reply::json(200, &json!({"user": render::user(&req, &user)}))
}

pub async fn create(req: Req) -> Result<Reply> {
    let asked = &req.json["user"];
    let new = NewUser {
        name: body::text(asked, "name").unwrap_or_default(),
        domain_id: body::text(asked, "domain_id"),
        password: body::secret(asked, "password")?.flatten(),
        description: body::text(asked, "description").unwrap_or_default(),
        email: body::text(asked, "email"),
        default_project_id: body::text(asked, "default_project_id").map(Into::into),
        enabled: asked["enabled"].as_bool().unwrap_or(true),
        options: options(asked).apply(UserOptions::default()),
        extra: schemas::extra(asked, schemas::user_fields),
    };
    let user = identity::create_user(&req.app, req.ctx()?, new).await?;
    Reply::json(201, &json!({"user": render::user(&req, &user)}))
}

pub async fn update(req: Req) -> Result<Reply> {
    let (asked, id) = (&req.json["user"], req.param("user_id"));
    if asked.get("domain_id").is_some() {
        let present = identity::user(&req.app, req.ctx()?, id).await?;
        projects::fixed(asked, "domain_id", present.domain_id.as_str())?;
    }
    let optional = |name: &str| asked.get(name).map(|value| value.as_str().map(str::to_owned));
    let change = UserChange {
        name: body::text(asked, "name"),
        password: body::secret(asked, "password")?,
        description: asked.get("description").map(|text| text.as_str().unwrap_or_default().to_owned()),
        email: optional("email"),
        default_project_id: optional("default_project_id").map(|id| id.map(Into::into)),
        enabled: asked["enabled"].as_bool(),
        options: options(asked),
        extra: schemas::extra(asked, schemas::user_fields),
    };
    let user = identity::update_user(&req.app, req.ctx()?, id, change).await?;
    Reply::json(200, &json!({"user": render::user(&req, &user)}))
}

/// A null takes an option away.
fn options(asked: &Value) -> OptionsChange {
    let option = |name: &str| asked["options"].get(name).map(Value::as_bool);
    OptionsChange {
        ignore_change_password_upon_first_use: option("ignore_change_password_upon_first_use"),
        ignore_password_expiry: option("ignore_password_expiry"),
        ignore_lockout_failure_attempts: option("ignore_lockout_failure_attempts"),
        lock_password: option("lock_password"),
    }
}

pub async fn delete(req: Req) -> Result<Reply> {
    identity::delete_user(&req.app, req.ctx()?, req.param("user_id")).await?;
    Ok(Reply::empty(204))
}

pub async fn change_password(req: Req) -> Result<Reply> {
    let asked: &Value = &req.json["user"];
    let original = body::needed(asked, "original_password")?;
    let password = body::needed(asked, "password")?;
    let (request_id, source) = (req.request_id.clone(), req.source);
    let change = PasswordChange { request_id, source, original, password };
    identity::change_password(&req.app, req.param("user_id"), change).await?;
    Ok(Reply::empty(204))
}

pub async fn projects(req: Req) -> Result<Reply> {
    let items = identity::projects_of_user(&req.app, req.ctx()?, req.param("user_id")).await?;
    let items = items.iter().map(|project| render::project(&req, project)).collect();
    Reply::json(200, &render::list(&req, "projects", items, None))
}
