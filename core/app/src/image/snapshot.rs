//! The image that a server's disk becomes: its bytes come from the server's host.

use super::inspect::Expect;
use super::receive::Body;
use super::slots::Slot;
use super::upload::{abandon, finish};
use crate::App;
use canopy_store::Conn;
use canopy_store::events::{self, NewEvent};
use canopy_store::images::{self, Status};
use canopy_store::quota::{self, Spend};
use canopy_types::quota::IMAGES;
use canopy_types::{Error, ImageId, Kind, ProjectId, Result, Timestamp, UserId};
use std::sync::Arc;
use tracing::Instrument;

/// The format that hosts send.
pub(crate) const FORMAT: &str = "qcow2";

/// Stores what a host sends. An image that is complete stays as it is: the host may not have heard that it was.
pub(crate) async fn from_host(
    app: &Arc<App>,
    user: UserId,
    id: ImageId,
    declared: Option<u64>,
    mut body: Body,
) -> Result<()> {
    let app = app.clone();
    // In a task of its own, as an upload: somebody must put the image back if the host goes away.
    let work = async move {
        let Some((project, _slot)) = claim(&app, id).await? else { return Ok(()) };
        let expect = Expect::of(FORMAT).ok_or_else(|| Error::internal("image.format", FORMAT))?;
        let received = app.blobs.receive(&mut body, declared, app.settings.image_max_bytes, expect).await;
        let finished = match received {
            Ok(placed) => finish(&app, &user, &project, id, placed.content.clone()).await,
            Err(error) => Err(error),
        };
        if finished.is_err() {
            abandon(&app, id).await;
        }
        finished
    };
    tokio::spawn(work.in_current_span()).await.map_err(|e| Error::internal("image.snapshot", e))?
}

/// queued → saving; `None` when it is active.
async fn claim(app: &Arc<App>, id: ImageId) -> Result<Option<(ProjectId, Slot)>> {
    let now = app.now();
    let inner = app.clone();
    app.store
        .write("image.snapshot_begin", move |c| {
            let app = inner.clone();
            Box::pin(async move {
                let gone = || Error::new(Kind::Gone, "image.gone", format!("Image {id} was deleted."));
                let image = images::lock(c, id).await?.ok_or_else(gone)?;
                match image.status {
                    Status::Queued => {}
                    Status::Active => return Ok(None),
                    // What came before is being put back.
                    _ => return Err(Error::unavailable("image.busy", "The image is being written.")),
                }
                let slot = app.blobs.slots.take(&image.project_id)?;
                images::begin_saving(c, id, now).await?;
                Ok(Some((image.project_id, slot)))
            })
        })
        .await
}

/// Deletes the image that nothing has come for, in the transaction that ends the snapshot.
pub(crate) async fn discard(conn: &mut Conn, user: &UserId, id: ImageId, now: Timestamp) -> Result<()> {
    let Some(image) = images::lock(conn, id).await? else { return Ok(()) };
    if image.content.is_some() || !matches!(image.status, Status::Queued | Status::Saving) {
        return Ok(());
    }
    images::delete(conn, id).await?;
    let spend = Spend {
        project_id: image.project_id.clone(),
        user_id: user.clone(),
        zone: String::new(),
        amounts: [(IMAGES.to_owned(), 1)].into(),
    };
    quota::refund(conn, &spend).await?;
    let event = NewEvent {
        at: now,
        kind: "image.delete",
        project_id: &image.project_id,
        subject: id.to_string(),
        host_id: None,
    };
    events::append(conn, &event).await.map(|_| ())
}
