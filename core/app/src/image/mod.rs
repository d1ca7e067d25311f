//! Images and their bytes.
//!
//! A row says what an image is; its bytes are a blob named by digest ([`blobs`]). An upload goes queued →
//! saving → active: the status is claimed in one transaction, the bytes are received and checked, and the
//! row is completed in another. An import ([`import`]) stages bytes first and does the same with them later.
//! Whatever fails in between gives the status and the space back.

mod activation;
mod attributes;
mod blobs;
mod boot;
mod collect;
mod create;
mod delete;
mod download;
mod import;
pub mod inspect;
mod list;
mod members;
pub mod metadefs;
mod prefetch;
mod properties;
mod receive;
mod slots;
mod snapshot;
mod staged;
mod update;
mod upload;

pub use activation::{deactivate, reactivate};
pub use attributes::{CONTAINER_FORMATS, MAX_PROPERTY};
pub use blobs::{Blobs, Found, Placed};
pub use boot::{BootImage, pin, resolve_for_boot};
pub use collect::{Collected, GRACE_SECONDS, collect_garbage, collect_one, recover, unstage_old, unused};
pub use create::create;
pub(crate) use create::{plan, put};
pub use delete::delete;
pub use download::{Download, download};
pub use import::{
    Import, STAGED_SECONDS, STORE, TaskQuery, WebSource, absent_task, image_tasks, import, methods,
    purge_tasks, stage, task, tasks,
};
pub use list::{ListQuery, Listed, list, show};
pub use members::{MAX_MEMBERS, add_member, member, members, remove_member, set_member_status};
pub use prefetch::{MAX_HOSTS, Progress, prefetch};
pub use properties::{Properties, remove_property, set_properties};
pub use receive::Body;
pub(crate) use snapshot::{BACKUP, FORMAT as SNAPSHOT_FORMAT, discard, from_host, rotate};
pub use update::{Change, Op, add_tag, remove_tag, update};
pub use upload::upload;

pub use canopy_store::images::tasks::{Task, TaskStatus};
pub use canopy_store::images::{
    Content, Direction, Filter, HASH_ALGORITHM, Image, Member, MemberStatus, Moment, SortKey, Status, Than,
    Visibility,
};

use crate::{App, Ctx};
use canopy_authz::Target;
use canopy_store::Conn;
use canopy_types::{Error, ImageId, ProjectId, Result};

/// What an unknown id and another tenant's private image get.
pub fn absent(id: impl std::fmt::Display) -> Error {
    let text: String = id.to_string().chars().filter(|c| !c.is_control()).take(255).collect();
    Error::not_found("image.not_found", format!("No image found with ID {text}"))
}

/// What policies see of an image when this caller asks.
async fn target_for(c: &mut Conn, ctx: &Ctx, image: &Image) -> Result<Target> {
    Ok(target(image).shared(shared_with(c, ctx.who.project_id(), image).await?))
}

/// Whether the image is shared with the project by name. Members of an image that is no longer `shared` are
/// kept, and wait.
async fn shared_with(c: &mut Conn, project: Option<&ProjectId>, image: &Image) -> Result<bool> {
    match project {
        Some(project) if image.visibility == Visibility::Shared && *project != image.project_id => {
            Ok(canopy_store::images::members::get(c, image.id, project).await?.is_some())
        }
        _ => Ok(false),
    }
}

/// An image with what policies see of it.
async fn find(app: &App, ctx: &Ctx, id: ImageId) -> Result<Option<(Image, Target)>> {
    let ctx = ctx.clone();
    app.store
        .read(move |c| {
            let ctx = ctx.clone();
            Box::pin(async move {
                let Some(image) = canopy_store::images::get(c, id).await? else { return Ok(None) };
                let target = target_for(c, &ctx, &image).await?;
                Ok(Some((image, target)))
            })
        })
        .await
}

/// What policies see of an image, whoever asks.
fn target(image: &Image) -> Target {
    Target {
        labels: image.tags.clone(),
        metadata: image.properties.clone(),
        ..Target::in_project(&image.project_id).id(image.id).public(image.visibility.readable_by_all())
    }
}
