//! Rebuild: the same server, host, ports and addresses with a new disk made from an image.

use super::change::{change_with, permit};
use super::create::fits;
use super::list::find;
use super::notes::Metadata;
use super::resize::not_undone;
use crate::compute::keypairs;
use crate::image::{self, BootImage};
use crate::{App, Ctx};
use canopy_authz::actions::compute as actions;
use canopy_store::servers::ServerRow;
use canopy_types::server::{Hold, How, rules};
use canopy_types::{Error, ImageId, Result, ServerId};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// A validated request; `None` leaves what there is.
#[derive(Clone, Debug)]
pub struct Rebuild {
    pub image: ImageId,
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub key_name: Option<Option<String>>,
    /// Base64.
    pub user_data: Option<Option<String>>,
    /// Whether the image's signature shall lead to certificates that the client trusts.
    pub certificates: bool,
    pub metadata: Option<Metadata>,
    pub access_ip_v4: Option<Option<Ipv4Addr>>,
    pub access_ip_v6: Option<Option<Ipv6Addr>>,
}

pub async fn rebuild(app: &App, ctx: &Ctx, id: ServerId, rebuild: Rebuild) -> Result<()> {
    let server = find(app, ctx, id).await?;
    if rebuild.certificates {
        permit(app, ctx, &server, &rules::REBUILD, actions::SERVERS_REBUILD)?;
        return Err(super::create::unverified());
    }
    let bootable = image::resolve_for_boot(app, ctx, rebuild.image).await?;
    fits(&server.flavor, &bootable)?;
    same_room(app, &server, &bootable).await?;
    let image = serde_json::to_value(&bootable.spec).map_err(|e| Error::internal("server.serialise", e))?;
    // The caller's own key, whoever's the server is.
    let keys = match &rebuild.key_name {
        None => None,
        Some(None) => Some(serde_json::json!([])),
        Some(Some(name)) => Some(serde_json::json!([keypairs::for_boot(app, ctx, name).await?])),
    };
    let contents = bootable.contents.clone();
    let edit = Arc::new((rebuild, image, keys));
    let asked = (&rules::REBUILD, actions::SERVERS_REBUILD);
    change_with(app, ctx, id, asked, contents, move |server| {
        not_undone(server, rules::REBUILD.name)?;
        let (wanted, image) = (edit.0.clone(), edit.1.clone());
        if let (Some(name), Some(keys)) = (wanted.key_name, &edit.2) {
            server.key_name = name;
            server.keys = keys.clone();
        }
        if let Some(data) = wanted.user_data {
            server.user_data = data;
        }
        // What was off stays off, with a new disk.
        let on = server.derived().vm_state != "stopped";
        server.power = server.power.next(on, How::Rebuild);
        server.broken = false;
        // Its own disk is new: there is nothing left to rescue.
        if server.hold == Hold::Rescued {
            server.hold = Hold::None;
            server.operation.rescue = None;
        }
        server.image_id = Some(wanted.image);
        server.image = Some(image);
        if let Some(name) = wanted.name {
            server.name = name;
        }
        if let Some(description) = wanted.description {
            server.description = description;
        }
        if let Some(metadata) = wanted.metadata {
            super::notes::bounded(&metadata)?;
            server.metadata = metadata;
        }
        if let Some(address) = wanted.access_ip_v4 {
            server.access_ip_v4 = address;
        }
        if let Some(address) = wanted.access_ip_v6 {
            server.access_ip_v6 = address;
        }
        Ok(())
    })
    .await
    .map(|_| ())
}

/// With a flavor that leaves the disk's size to the image, the new one may not be larger than what the
/// server holds of its host.
async fn same_room(app: &App, server: &ServerRow, image: &BootImage) -> Result<()> {
    let wanted = super::create::disk_gib(&server.flavor, Some(image));
    let id = server.id;
    let held = app
        .store
        .read(move |c| Box::pin(async move { canopy_store::consumers::held(c, id.into()).await }))
        .await?;
    let held: i64 =
        held.iter().filter(|row| row.class == canopy_types::resources::DISK_GB).map(|row| row.used).sum();
    if server.host_id.is_none() || wanted <= held {
        return Ok(());
    }
    Err(Error::bad_request(
        "server.rebuild_larger",
        format!("The image's disk of {wanted} GiB does not fit in the {held} GiB that the server has."),
    ))
}
