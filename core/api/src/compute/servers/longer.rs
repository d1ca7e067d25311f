//! `POST /servers/{id}/action`: operations that leave a server in a state of its own until another ends them.

use super::actions::{action, bare, operate};
use super::{create, notes, schema};
use crate::handler;
use crate::request::{Reply, Req};
use crate::route::Route;
use crate::version::{Microversion, v};
use canopy_app::compute::servers::{self, Backup, power};
use canopy_authz::actions::compute as policy;
use canopy_types::{Error, ImageId, Result, ServerId};
use serde_json::json;

/// A shelved server that left its host comes back to a zone.
pub const ZONES: Microversion = v(2, 77);
const IMAGE_ID: Microversion = v(2, 45);

pub fn routes() -> Vec<Route> {
    vec![
        action(
            "resize",
            "Give a server another flavor",
            policy::SERVERS_RESIZE,
            schema::RESIZE,
            &[202],
            handler!(resize),
        ),
        bare!("confirmResize", "Keep the new flavor", SERVERS_CONFIRM_RESIZE, 204, confirm_resize),
        bare!("revertResize", "Go back to the old flavor", SERVERS_REVERT_RESIZE, revert_resize),
        action(
            "rescue",
            "Boot a server from another image",
            policy::SERVERS_RESCUE,
            schema::RESCUE,
            &[200],
            handler!(rescue),
        ),
        bare!("unrescue", "Boot a rescued server from its own disk again", SERVERS_UNRESCUE, unrescue),
        bare!("shelve", "Switch a server off until it is unshelved", SERVERS_SHELVE, shelve),
        action(
            "unshelve",
            "Bring a shelved server back",
            policy::SERVERS_UNSHELVE,
            schema::UNSHELVE,
            &[202],
            handler!(unshelve),
        ),
        action(
            "createImage",
            "Make an image of a server's disk",
            policy::SERVERS_CREATE_IMAGE,
            schema::CREATE_IMAGE,
            &[202],
            handler!(create_image),
        ),
        action(
            "createBackup",
            "Make a backup of a server's disk, and delete the oldest ones",
            policy::SERVERS_CREATE_BACKUP,
            schema::CREATE_BACKUP,
            &[202],
            handler!(create_backup),
        ),
        bare!("restore", "Bring a deleted server back", SERVERS_RESTORE, restore),
    ]
}

fn id(req: &Req) -> Result<ServerId> {
    req.id("server_id", servers::absent)
}

async fn resize(req: Req) -> Result<Reply> {
    let flavor = create::reference(&req.json["resize"]["flavorRef"]);
    servers::resize(&req.app, req.ctx()?, id(&req)?, flavor.into()).await?;
    Ok(Reply::empty(202))
}

async fn confirm_resize(req: Req) -> Result<Reply> {
    servers::confirm_resize(&req.app, req.ctx()?, id(&req)?).await?;
    Ok(Reply::empty(204))
}

async fn revert_resize(req: Req) -> Result<Reply> {
    servers::revert_resize(&req.app, req.ctx()?, id(&req)?).await?;
    Ok(Reply::empty(202))
}

async fn rescue(req: Req) -> Result<Reply> {
    let wanted = &req.json["rescue"];
    let image = wanted["rescue_image_ref"].as_str().map(|text| {
        text.parse().map_err(|_| {
            Error::bad_request("server.image", "Invalid rescue_image_ref provided: it is not an image id.")
        })
    });
    servers::rescue(&req.app, req.ctx()?, id(&req)?, image.transpose()?).await?;
    Reply::json(200, &json!({"adminPass": create::admin_pass(wanted)}))
}

async fn unrescue(req: Req) -> Result<Reply> {
    servers::unrescue(&req.app, req.ctx()?, id(&req)?).await?;
    Ok(Reply::empty(202))
}

async fn shelve(req: Req) -> Result<Reply> {
    operate(req, &power::SHELVE).await
}

async fn unshelve(req: Req) -> Result<Reply> {
    // Older versions do not look at what stands there.
    if req.version >= ZONES && req.json["unshelve"]["availability_zone"].is_string() {
        let id = id(&req)?;
        let listed = servers::show(&req.app, req.ctx()?, id).await?;
        return Err(Error::conflict(
            "server.unshelve_zone",
            format!(
                "Specifying an availability zone when unshelving server {id} with status \"{}\" is not \
                 supported. The server status must be SHELVED_OFFLOADED.",
                listed.server.derived().status
            ),
        ));
    }
    operate(req, &power::UNSHELVE).await
}

async fn create_image(req: Req) -> Result<Reply> {
    let wanted = &req.json["createImage"];
    let name = wanted["name"].as_str().unwrap_or_default().to_owned();
    let metadata = notes::items(&wanted["metadata"]);
    let image = servers::create_image(&req.app, req.ctx()?, id(&req)?, name, metadata).await?;
    becoming(&req, image)
}

async fn create_backup(req: Req) -> Result<Reply> {
    let wanted = &req.json["createBackup"];
    let text = |name: &str| wanted[name].as_str().unwrap_or_default().to_owned();
    let rotation = &wanted["rotation"];
    let keep = rotation.as_u64().or_else(|| rotation.as_str()?.parse().ok()).unwrap_or_default();
    let backup = Backup { kind: text("backup_type"), keep: u32::try_from(keep).unwrap_or(u32::MAX) };
    let metadata = notes::items(&wanted["metadata"]);
    let image =
        servers::create_backup(&req.app, req.ctx()?, id(&req)?, text("name"), metadata, backup).await?;
    // Where none is to stay there is none to point at.
    if keep == 0 && req.version < IMAGE_ID { Ok(Reply::empty(202)) } else { becoming(&req, image) }
}

/// The id stands in the body instead of a link since 2.45.
fn becoming(req: &Req, image: ImageId) -> Result<Reply> {
    if req.version >= IMAGE_ID {
        return Reply::json(202, &json!({ "image_id": image }));
    }
    Ok(Reply::empty(202).header("location", &format!("{}/image/v2/images/{image}", req.base)))
}

async fn restore(req: Req) -> Result<Reply> {
    operate(req, &power::RESTORE).await
}
