//! What becomes of imports, to read: an owner's by image, everybody's for an admin.

use crate::image::{absent, find};
use crate::{App, Ctx, access};
use canopy_authz::Target;
use canopy_authz::actions::image::{IMAGES_SHOW, IMAGES_SHOW_TASKS, TASKS_LIST, TASKS_SHOW};
use canopy_store::images::tasks::{self as rows, Task, TaskStatus};
use canopy_types::{Error, ImageId, Page, Result, TaskId};
use std::sync::Arc;

/// Tasks of one image that are told of.
const OF_IMAGE: i64 = 100;

#[derive(Clone, Debug, Default)]
pub struct TaskQuery {
    pub status: Option<TaskStatus>,
    pub page: Page,
}

/// What an unknown task gets.
pub fn absent_task(id: impl std::fmt::Display) -> Error {
    let text: String = id.to_string().chars().filter(|c| !c.is_control()).take(255).collect();
    Error::not_found("image.task_not_found", format!("No task found with ID {text}"))
}

/// An image's tasks, newest first, at most 100.
pub async fn image_tasks(app: &Arc<App>, ctx: &Ctx, id: ImageId) -> Result<Vec<Task>> {
    let (_, target) = find(app, ctx, id).await?.ok_or_else(|| absent(id))?;
    access::require_on(app, ctx, IMAGES_SHOW, IMAGES_SHOW_TASKS, &target, || absent(id))?;
    app.store.read(move |c| Box::pin(async move { rows::of_image(c, id, OF_IMAGE).await })).await
}

pub async fn task(app: &Arc<App>, ctx: &Ctx, id: TaskId) -> Result<Task> {
    let task = app
        .store
        .read(move |c| Box::pin(async move { rows::get(c, id).await }))
        .await?
        .ok_or_else(|| absent_task(id))?;
    let target = Target::in_project(&task.project_id).id(id);
    access::require_on(app, ctx, TASKS_SHOW, TASKS_SHOW, &target, || absent_task(id))?;
    Ok(task)
}

/// One page of all projects' tasks, newest first, and whether there are more.
pub async fn tasks(app: &Arc<App>, ctx: &Ctx, query: TaskQuery) -> Result<(Vec<Task>, bool)> {
    access::require(app, ctx, TASKS_LIST, &Target::default())?;
    let after = match &query.page.marker {
        None => None,
        Some(text) => {
            let unknown = || Error::bad_request("image.marker", "The marker is not the id of a task.");
            let id: TaskId = text.parse().map_err(|_| unknown())?;
            Some(task(app, ctx, id).await.map_err(|_| unknown())?)
        }
    };
    let size = query.page.size();
    let status = query.status;
    let mut found = app
        .store
        .read(move |c| {
            let after = after.clone();
            Box::pin(async move { rows::list(c, None, status, after.as_ref(), size + 1).await })
        })
        .await?;
    let wanted = usize::try_from(size).unwrap_or(0);
    let more = found.len() > wanted;
    found.truncate(wanted);
    Ok((found, more && wanted > 0))
}

/// Forgets tasks that ended long ago.
pub async fn purge_tasks(app: &App) -> Result<()> {
    let now = app.now();
    // Most rounds find none, and then nothing is written.
    if !app.store.read(move |c| Box::pin(async move { rows::any_expired(c, now).await })).await? {
        return Ok(());
    }
    app.store.write("image.tasks_purge", move |c| Box::pin(async move { rows::purge(c, now).await })).await
}
