//! Tasks: imports, running and ended. They are made by importing, so nothing is posted here.

use super::id;
use crate::handler;
use crate::links;
use crate::request::{Reply, Req};
use crate::route::{Route, Service};
use crate::schema::uuid;
use canopy_app::image::{self, Task, TaskQuery, TaskStatus};
use canopy_authz::actions::image as actions;
use canopy_types::{Error, Result, TaskId};
use http::Method;
use serde_json::{Value, json};

pub fn routes() -> Vec<Route> {
    let route = |path, summary, handler| Route::new(Service::Image, Method::GET, path, summary, handler);
    vec![
        route("/v2/images/{id}/tasks", "List an image's tasks", handler!(of_image))
            .action(actions::IMAGES_SHOW_TASKS)
            .answers(&[200], &[404]),
        route("/v2/tasks", "List tasks", handler!(list)).action(actions::TASKS_LIST),
        route("/v2/tasks/{task_id}", "Show a task", handler!(show))
            .action(actions::TASKS_SHOW)
            .answers(&[200], &[404]),
        route("/v2/schemas/task", "A schema", handler!(schema)).public(),
        route("/v2/schemas/tasks", "A schema", handler!(schemas)).public(),
    ]
}

/// What lists tell of a task.
fn brief(task: &Task) -> Value {
    json!({
        "id": task.id.to_string(),
        "type": task.kind,
        "status": task.status.as_str(),
        "owner": task.project_id.as_str(),
        "user_id": task.user_id.as_str(),
        "request_id": task.request_id.to_string(),
        "image_id": task.image_id.to_string(),
        "created_at": task.created_at.seconds_z(),
        "updated_at": task.updated_at.seconds_z(),
        "expires_at": task.expires_at.map(|time| time.seconds_z()),
        "self": format!("/v2/tasks/{}", task.id),
        "schema": "/v2/schemas/task",
    })
}

fn whole(task: &Task) -> Value {
    let mut view = brief(task);
    view["input"] = task.input.clone();
    view["message"] = task.message.as_str().into();
    view["result"] = match task.status {
        TaskStatus::Success => json!({"image_id": task.image_id.to_string()}),
        _ => Value::Null,
    };
    view
}

async fn of_image(req: Req) -> Result<Reply> {
    let tasks = image::image_tasks(&req.app, req.ctx()?, id(&req)?).await?;
    Reply::json(200, &json!({"tasks": tasks.iter().map(whole).collect::<Vec<_>>()}))
}

async fn show(req: Req) -> Result<Reply> {
    let id: TaskId = req.id("task_id", |text| image::absent_task(text))?;
    Reply::json(200, &whole(&image::task(&req.app, req.ctx()?, id).await?))
}

async fn list(req: Req) -> Result<Reply> {
    let status = match req.query.get("status") {
        None => None,
        Some(text) => Some(text.parse::<TaskStatus>().map_err(|()| {
            Error::bad_request("image.query", "status must be one of pending, processing, success, failure.")
        })?),
    };
    let query = TaskQuery { status, page: req.query.page()? };
    let (tasks, more) = image::tasks(&req.app, req.ctx()?, query).await?;
    let link =
        |query: String| if query.is_empty() { "/v2/tasks".into() } else { format!("/v2/tasks?{query}") };
    let mut body = json!({
        "tasks": tasks.iter().map(brief).collect::<Vec<_>>(),
        "first": link(links::first_query(&req.query)),
        "schema": "/v2/schemas/tasks",
    });
    if let (true, Some(last)) = (more, tasks.last()) {
        body["next"] = link(links::next_query(&req.query, &last.id.to_string())).into();
    }
    Reply::json(200, &body)
}

fn described() -> Value {
    let text = json!({"type": "string"});
    let statuses: Vec<&str> = TaskStatus::ALL.iter().map(|status| status.as_str()).collect();
    json!({
        "name": "task",
        "properties": {
            "id": uuid(),
            "type": {"enum": ["api_image_import"], "type": "string"},
            "status": {"enum": statuses, "type": "string"},
            "input": {"type": ["null", "object"]},
            "result": {"type": ["null", "object"]},
            "message": text,
            "owner": text,
            "user_id": text,
            "request_id": text,
            "image_id": uuid(),
            "created_at": text,
            "updated_at": text,
            "expires_at": {"type": ["null", "string"]},
            "self": text,
            "schema": text,
        },
    })
}

async fn schema(_: Req) -> Result<Reply> {
    Reply::json(200, &described())
}

async fn schemas(_: Req) -> Result<Reply> {
    let body = json!({
        "name": "tasks",
        "properties": {
            "tasks": {"type": "array", "items": described()},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
    });
    Reply::json(200, &body)
}
