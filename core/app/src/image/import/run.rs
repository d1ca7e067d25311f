//! From staged bytes, or a URI, to an active image.

use super::{TASK_SECONDS, WebSource};
use crate::image::inspect::Expect;
use crate::image::slots::Slot;
use crate::image::update::note;
use crate::image::upload::{finish, formats};
use crate::image::{absent, target_for};
use crate::{App, Ctx, access};
use canopy_authz::actions::image::{IMAGES_SHOW, IMAGES_UPLOAD};
use canopy_store::images::tasks::{self, Task, TaskStatus};
use canopy_store::images::{self, Image, Status};
use canopy_types::{Error, ImageId, Result, TaskId};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;

const STAGED: &str = "glance-direct";
const WEB: &str = "web-download";
/// The one place where images are kept, as clients name it.
pub const STORE: &str = "local";

/// Attempts to write how an import ended, a second apart; after them the next start does it.
const END_ATTEMPTS: u32 = 10;

/// Import methods that are served.
pub fn methods(app: &App) -> Vec<&'static str> {
    let web = app.web.is_some().then_some(WEB);
    [STAGED].into_iter().chain(web).collect()
}

/// Where the bytes come from.
#[derive(Clone)]
enum Source {
    Staged,
    Web(Arc<dyn WebSource>, String),
}

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct Import {
    pub method: String,
    /// Where `web-download` gets the bytes from.
    pub uri: Option<String>,
    /// Empty: wherever images go by themselves.
    pub stores: Vec<String>,
    /// The request, to show in the task.
    pub input: Value,
}

/// Begins the import of a staged image and answers its task. The import goes on by itself.
pub async fn import(app: &Arc<App>, ctx: &Ctx, id: ImageId, ask: Import) -> Result<Task> {
    let source = source(app, &ask)?;
    if ask.stores.iter().any(|store| store != STORE) {
        return Err(Error::bad_request("image.store", format!("There is one store here: '{STORE}'.")));
    }
    let (task, expect, slot) = claim(app, ctx, id, &ask, &source).await?;
    let (running, app, ctx) = (task.clone(), app.clone(), ctx.clone());
    let work = async move {
        let _slot = slot;
        let outcome = carry_out(&app, &ctx, &running, source, expect).await;
        end(&app, id, running.id, outcome).await;
    };
    tokio::spawn(work.in_current_span());
    Ok(task)
}

fn source(app: &App, ask: &Import) -> Result<Source> {
    let bad = |text: String| Err(Error::bad_request("image.import_method", text));
    match (ask.method.as_str(), &app.web, &ask.uri) {
        (STAGED, ..) => Ok(Source::Staged),
        (WEB, Some(_), None) => bad(format!("The method '{WEB}' needs a uri.")),
        (WEB, Some(web), Some(uri)) => {
            web.check(uri)?;
            Ok(Source::Web(web.clone(), uri.clone()))
        }
        _ => bad(format!("Unknown or disabled import method. Use one of: {}.", methods(app).join(", "))),
    }
}

/// The image is importing from now on, with the task that says so.
async fn claim(
    app: &Arc<App>,
    ctx: &Ctx,
    id: ImageId,
    ask: &Import,
    source: &Source,
) -> Result<(Task, Expect, Slot)> {
    let now = app.now();
    let from = match source {
        Source::Staged => Status::Uploading,
        Source::Web(..) => Status::Queued,
    };
    let inner = (app.clone(), ctx.clone(), ask.clone());
    app.store
        .write("image.import_begin", move |c| {
            let (app, ctx, ask) = inner.clone();
            Box::pin(async move {
                let image = images::lock(c, id).await?.ok_or_else(|| absent(id))?;
                let target = target_for(c, &ctx, &image).await?;
                access::require_on(&app, &ctx, IMAGES_SHOW, IMAGES_UPLOAD, &target, || absent(id))?;
                let expect = ready(&app, &image, from)?;
                let slot = app.blobs.slots.take(&image.project_id)?;
                images::turn(c, id, &[from], Status::Importing, now).await?;
                let task = Task {
                    id: TaskId::random(),
                    project_id: image.project_id.clone(),
                    user_id: ctx.who.user_id.clone(),
                    request_id: ctx.request_id.clone(),
                    image_id: id,
                    kind: "api_image_import".into(),
                    status: TaskStatus::Processing,
                    message: String::new(),
                    input: json!({"image_id": id.to_string(), "import_req": ask.input}),
                    created_at: now,
                    updated_at: now,
                    expires_at: None,
                };
                tasks::insert(c, &task).await?;
                note(c, &image, "image.import", now).await?;
                Ok((task, expect, slot))
            })
        })
        .await
}

fn ready(app: &App, image: &Image, from: Status) -> Result<Expect> {
    let conflict = |text: String| Err(Error::conflict("image.not_staged", text));
    match image.status {
        Status::Queued if from == Status::Queued => {}
        _ if from == Status::Queued => {
            return conflict(format!("Image needs to be in 'queued' state to use '{WEB}' method"));
        }
        Status::Uploading if app.blobs.staged(image.id) => {}
        Status::Uploading => {
            return conflict("The image's data is still being staged. Import it when that is done.".into());
        }
        Status::Active | Status::Deactivated => {
            return conflict(format!(
                "Image with status {} cannot be target for import",
                image.status.as_str()
            ));
        }
        _ => {
            return conflict("Image needs to be staged before 'glance-direct' method can be used".into());
        }
    }
    formats(image).map_err(|error| Error::conflict(error.code, error.message))
}

/// The bytes take the way that uploaded ones take: hashed, looked into, stored, and only then named.
async fn carry_out(app: &Arc<App>, ctx: &Ctx, task: &Task, source: Source, expect: Expect) -> Result<()> {
    let (mut body, size) = match source {
        Source::Staged => {
            let (body, size) = app.blobs.read_staged(task.image_id).await?;
            (body, Some(size))
        }
        Source::Web(web, uri) => web.open(&uri).await?,
    };
    let placed = app.blobs.receive(&mut body, size, app.settings.image_max_bytes, expect).await?;
    finish(app, &ctx.who.user_id, &task.project_id, task.image_id, placed.content.clone()).await
}

async fn end(app: &Arc<App>, id: ImageId, task: TaskId, outcome: Result<()>) {
    let (status, message) = match &outcome {
        Ok(()) => (TaskStatus::Success, String::new()),
        Err(error) => {
            tracing::info!(image = %id, error = error.chain(), "an import failed");
            (TaskStatus::Failure, error.message.clone())
        }
    };
    if outcome.is_err() {
        reopen(app, id, Status::Importing).await;
    }
    if let Err(error) = app.blobs.unstage(id).await {
        tracing::warn!(image = %id, error = error.chain(), "imported bytes stay staged for now");
    }
    for _ in 0..END_ATTEMPTS {
        let (now, message) = (app.now(), message.clone());
        let written = app
            .store
            .write("image.import_end", move |c| {
                let message = message.clone();
                Box::pin(async move {
                    tasks::end(c, task, status, &message, now, now.plus_seconds(TASK_SECONDS)).await
                })
            })
            .await;
        match written {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(image = %id, error = error.chain(), "an import's end is not written yet");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Back to queued from `from`. Tried for a while, as the database may be what failed.
pub(super) async fn reopen(app: &Arc<App>, id: ImageId, from: Status) {
    for _ in 0..END_ATTEMPTS {
        let now = app.now();
        let outcome = app
            .store
            .write("image.import_abandon", move |c| {
                Box::pin(async move { images::turn(c, id, &[from], Status::Queued, now).await.map(|_| ()) })
            })
            .await;
        match outcome {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(image = %id, error = error.chain(), "image is not queued again yet");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
