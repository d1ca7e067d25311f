//! createImage and createBackup: a server's disk becomes an image, whether the guest runs or not.
//!
//! The image's row and the wish commit together; the host copies the disk, flattened, and sends the bytes. If that
//! comes to nothing the image goes again, and the server's history says why.

use super::change::{by, check, locked, permit, save};
use super::list::find;
use super::notes::{Metadata, bounded};
use crate::image;
use crate::quota::{Ask, charged};
use crate::{App, Ctx};
use canopy_agent_api::ImageSpec;
use canopy_authz::{Action, actions::compute as actions};
use canopy_store::servers::{self, Backup, Operation, ServerRow};
use canopy_types::quota::IMAGES;
use canopy_types::server::How;
use canopy_types::server::rules::{self, Rule};
use canopy_types::{Error, HostId, ImageId, Kind, Result, ServerId, UserId};
use serde_json::{Map, Value, json};

/// Properties that are the image's own and not its children's.
const NOT_INHERITED: [&str; 7] = [
    "image_type",
    "backup_type",
    "image_location",
    "image_state",
    "base_image_ref",
    "instance_uuid",
    "user_id",
];

pub async fn create_image(
    app: &App,
    ctx: &Ctx,
    id: ServerId,
    name: String,
    metadata: Metadata,
) -> Result<ImageId> {
    copy(app, ctx, id, (&rules::CREATE_IMAGE, actions::SERVERS_CREATE_IMAGE), name, metadata, None).await
}

/// createBackup: an image that takes its turn with others of the server and of its type.
pub async fn create_backup(
    app: &App,
    ctx: &Ctx,
    id: ServerId,
    name: String,
    metadata: Metadata,
    backup: Backup,
) -> Result<ImageId> {
    let asked = (&rules::CREATE_BACKUP, actions::SERVERS_CREATE_BACKUP);
    copy(app, ctx, id, asked, name, metadata, Some(backup)).await
}

async fn copy(
    app: &App,
    ctx: &Ctx,
    id: ServerId,
    (rule, policy): (&'static Rule, Action),
    name: String,
    metadata: Metadata,
    backup: Option<Backup>,
) -> Result<ImageId> {
    let server = find(app, ctx, id).await?;
    let may = permit(app, ctx, &server, rule, policy)?;
    check(&server, rule, may)?;
    bounded(&metadata)?;
    let mut image = image::plan(app, ctx, &fields(&server, name)?)?;
    image.properties.extend(inherited(&server)?);
    if let Some(backup) = &backup {
        image.properties.insert("image_type".to_owned(), image::BACKUP.to_owned());
        image.properties.insert("backup_type".to_owned(), backup.kind.clone());
    }
    image.properties.extend(metadata);
    let made = image.id;
    let (ctx, now) = (ctx.clone(), app.now());
    let ask = Ask::new(&image.project_id, &ctx.who.user_id, IMAGES, 1);
    charged(app, &ask, "server.snapshot", move |c| {
        let (ctx, image, backup) = (ctx.clone(), image.clone(), backup.clone());
        Box::pin(async move {
            image::put(c, &image).await?;
            let before = locked(c, id).await?;
            check(&before, rule, may)?;
            let mut server = before.clone();
            server.operation =
                Operation { v: 1, snapshot: Some(made), backup, ..std::mem::take(&mut server.operation) };
            server.power = server.power.next(server.power.on, How::Snapshot);
            save(c, by(&ctx), rule, &before, &mut server, now).await
        })
    })
    .await?;
    Ok(made)
}

fn fields(server: &ServerRow, name: String) -> Result<Map<String, Value>> {
    let fields = json!({
        "name": name,
        "visibility": "private",
        "disk_format": image::SNAPSHOT_FORMAT,
        "container_format": "bare",
        "min_disk": server.flavor.root_gib,
    });
    match fields {
        Value::Object(fields) => Ok(fields),
        _ => Err(Error::internal("server.snapshot", "not an object")),
    }
}

/// What the guest needs of its image, its copy needs too.
fn inherited(server: &ServerRow) -> Result<Metadata> {
    let corrupt = |e: serde_json::Error| Error::internal("server.corrupt", e);
    let spec: Option<ImageSpec> =
        server.image.clone().map(serde_json::from_value).transpose().map_err(corrupt)?;
    let mut properties: Metadata = spec.map(|spec| spec.properties.into_iter().collect()).unwrap_or_default();
    properties.retain(|name, _| !NOT_INHERITED.contains(&name.as_str()));
    let own = [
        ("image_type", Some("snapshot".to_owned())),
        ("instance_uuid", Some(server.id.to_string())),
        ("user_id", Some(server.user_id.to_string())),
        ("base_image_ref", server.image_id.map(|id| id.to_string())),
    ];
    properties.extend(own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    Ok(properties)
}

/// Whether this host is to send this image now, and for whom.
pub async fn awaited(app: &App, host: HostId, id: ServerId, image: ImageId) -> Result<UserId> {
    let server = app.store.read(move |c| Box::pin(servers::get(c, id))).await?;
    let wanted = |server: &ServerRow| {
        server.host_id == Some(host)
            && server.deleted_at.is_none()
            && !server.deleting
            && server.operation.snapshot == Some(image)
    };
    server
        .filter(wanted)
        .map(|server| server.user_id)
        .ok_or_else(|| Error::new(Kind::Gone, "server.no_snapshot", "Nobody waits for this image any more."))
}
