//! The image that a server's disk becomes: its bytes come from the server's host.

use super::delete::remove;
use super::inspect::Expect;
use super::receive::Body;
use super::slots::Slot;
use super::upload::{abandon, finish};
use crate::App;
use canopy_store::Conn;
use canopy_store::images::{self, Direction, Filter, Image, Scope, SortKey, Status};
use canopy_store::servers::Backup;
use canopy_types::{Error, ImageId, Kind, ProjectId, Result, ServerId, Timestamp, UserId};
use std::sync::Arc;
use tracing::Instrument;

/// The format that hosts send.
pub(crate) const FORMAT: &str = "qcow2";
/// The `image_type` of a backup.
pub(crate) const BACKUP: &str = "backup";
/// Images read at once.
const PAGE: i64 = 500;

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
    remove(conn, user, &image, now).await
}

/// Deletes the oldest of a server's backups of one type, beyond those that are to stay, in the transaction that ends
/// the newest. Nothing has come of it: then all stay. What its owner has protected stays, too.
pub(crate) async fn rotate(
    conn: &mut Conn,
    (server, user): (ServerId, &UserId),
    newest: ImageId,
    backup: &Backup,
    now: Timestamp,
) -> Result<()> {
    let complete = images::get(conn, newest).await?.filter(|image| image.content.is_some());
    let Some(newest) = complete else { return Ok(()) };
    let server = server.to_string();
    let of = |image: &Image, name: &str| image.properties.get(name).cloned().unwrap_or_default();
    let is_one = |image: &Image| {
        of(image, "image_type") == BACKUP
            && of(image, "backup_type") == backup.kind
            && of(image, "instance_uuid") == server
    };
    let own = Scope::Project(newest.project_id.clone(), Vec::new());
    let filter = Filter { owner: Some(newest.project_id.0.clone()), ..Filter::default() };
    let order = [(SortKey::CreatedAt, Direction::Descending), (SortKey::Id, Direction::Descending)];
    let (mut after, mut found) = (None, 0);
    loop {
        let page = images::list(conn, &own, &filter, &order, after.as_ref(), PAGE).await?;
        for image in page.iter().filter(|image| is_one(image)) {
            found += 1;
            if found > backup.keep && !image.protected {
                let Some(locked) = images::lock(conn, image.id).await? else { continue };
                remove(conn, user, &locked, now).await?;
            }
        }
        if page.len() < PAGE as usize {
            return Ok(());
        }
        after = page.into_iter().last();
    }
}
