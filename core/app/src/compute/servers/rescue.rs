//! Rescue: a guest that no longer boots is booted from another image, with its own disk beside that.

use super::change::{change, change_with};
use super::list::find;
use super::resize::not_undone;
use crate::image;
use crate::{App, Ctx};
use canopy_authz::actions::compute as actions;
use canopy_store::servers::{Operation, Rescue};
use canopy_types::server::{Hold, How, rules};
use canopy_types::{Error, ImageId, Result, ServerId};

/// Without an image of its own it is the one that the server was made from.
pub async fn rescue(app: &App, ctx: &Ctx, id: ServerId, image: Option<ImageId>) -> Result<()> {
    let server = find(app, ctx, id).await?;
    let (image, contents) = match image {
        Some(image) => {
            let bootable = image::resolve_for_boot(app, ctx, image).await?;
            if server.flavor.memory_mib < bootable.min_ram {
                return Err(Error::bad_request(
                    "flavor.memory",
                    "Flavor's memory is too small for requested image.",
                ));
            }
            let spec =
                serde_json::to_value(&bootable.spec).map_err(|e| Error::internal("server.serialise", e))?;
            (spec, bootable.contents)
        }
        // Its bytes are kept as long as the server is there, whatever has become of the image.
        None => match server.image.clone() {
            Some(image) => (image, Vec::new()),
            None => {
                return Err(Error::bad_request(
                    "server.no_rescue_image",
                    format!("Instance {id} was not made from an image: name one in rescue_image_ref."),
                ));
            }
        },
    };
    let asked = (&rules::RESCUE, actions::SERVERS_RESCUE);
    change_with(app, ctx, id, asked, contents, move |server| {
        not_undone(server, rules::RESCUE.name)?;
        let on = server.derived().vm_state != "stopped";
        server.broken = false;
        (server.hold, server.hold_since) = (Hold::Rescued, None);
        let rescue = Some(Rescue { image: image.clone(), on });
        server.operation = Operation { v: 1, rescue, ..std::mem::take(&mut server.operation) };
        server.power = server.power.next(true, How::Rescue);
        Ok(())
    })
    .await
    .map(|_| ())
}

pub async fn unrescue(app: &App, ctx: &Ctx, id: ServerId) -> Result<()> {
    change(app, ctx, id, (&rules::UNRESCUE, actions::SERVERS_UNRESCUE), |server| {
        (server.hold, server.hold_since) = (Hold::None, None);
        server.operation.rescue = None;
        server.power = server.power.next(true, How::Unrescue);
        Ok(())
    })
    .await
    .map(|_| ())
}
