//! A new image: a row without bytes.

use super::update::for_everybody;
use super::{attributes, target};
use crate::quota::{Ask, charged};
use crate::{App, Ctx, access};
use canopy_authz::{Target, actions};
use canopy_store::Conn;
use canopy_store::events::{self, NewEvent};
use canopy_store::images::{self, Image, Status, Visibility};
use canopy_types::quota::IMAGES;
use canopy_types::{Error, ImageId, ProjectId, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Creates an image from the fields and properties of a request. `owner` may name another project to those
/// whom the policy allows it.
pub async fn create(app: &App, ctx: &Ctx, fields: &Map<String, Value>) -> Result<Image> {
    let image = plan(app, ctx, fields)?;
    let ask = Ask::new(&image.project_id, &ctx.who.user_id, IMAGES, 1);
    let row = image.clone();
    charged(app, &ask, "image.create", move |c| {
        let row = row.clone();
        Box::pin(async move { put(c, &row).await })
    })
    .await?;
    Ok(image)
}

/// The row that is to be, if the caller may.
pub(crate) fn plan(app: &App, ctx: &Ctx, fields: &Map<String, Value>) -> Result<Image> {
    let image = draft(app, ctx, fields)?;
    let target = target(&image);
    // Whose it will be decides; that it will be public is asked apart.
    access::require(app, ctx, actions::image::IMAGES_CREATE, &target.clone().public(false))?;
    for_everybody(app, ctx, &image)?;
    Ok(image)
}

/// Writes the row, in a transaction that has charged for it.
pub(crate) async fn put(conn: &mut Conn, row: &Image) -> Result<()> {
    if images::id_taken(conn, row.id).await? {
        return Err(Error::conflict("image.duplicate", format!("Image ID {} already exists!", row.id)));
    }
    images::insert(conn, row).await?;
    let event = NewEvent {
        at: row.created_at,
        kind: "image.create",
        project_id: &row.project_id,
        subject: row.id.to_string(),
        host_id: None,
    };
    events::append(conn, &event).await.map(|_| ())
}

fn draft(app: &App, ctx: &Ctx, fields: &Map<String, Value>) -> Result<Image> {
    let now = app.now();
    let mut image = Image {
        id: ImageId::random(),
        project_id: owner(ctx, fields.get("owner"))?,
        name: None,
        status: Status::Queued,
        visibility: Visibility::Shared,
        disk_format: None,
        container_format: None,
        min_disk: 0,
        min_ram: 0,
        protected: false,
        hidden: false,
        content: None,
        properties: BTreeMap::new(),
        tags: Vec::new(),
        created_at: now,
        updated_at: now,
    };
    for (name, value) in fields {
        match name.as_str() {
            "owner" => {}
            "id" => {
                image.id = value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
                    Error::bad_request(
                        "image.invalid",
                        "Provided object does not match schema 'image': 'id' must be a UUID.",
                    )
                })?;
            }
            _ => attributes::set(&mut image, name, value)?,
        }
    }
    Ok(image)
}

fn owner(ctx: &Ctx, asked: Option<&Value>) -> Result<ProjectId> {
    match asked {
        None | Some(Value::Null) => access::project(ctx).cloned(),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= 64 && text.bytes().all(is_id) => {
            Ok(ProjectId(text.clone()))
        }
        Some(_) => Err(Error::bad_request(
            "image.invalid",
            "Provided object does not match schema 'image': 'owner' must be the id of a project.",
        )),
    }
}

fn is_id(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

/// What a policy is asked about when images are listed: the caller's own.
pub(super) fn own(ctx: &Ctx) -> Target {
    ctx.who.project_id().map(Target::in_project).unwrap_or_default()
}
