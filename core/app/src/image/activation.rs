//! Taking an image out of use and back. Its bytes stay: an operator who suspects an image stops its use first
//! and looks at it afterwards. Servers made from it keep running.

use super::update::note;
use super::{absent, target_for};
use crate::{App, Ctx, access};
use canopy_authz::Action;
use canopy_authz::actions::image::{IMAGES_DEACTIVATE, IMAGES_REACTIVATE, IMAGES_SHOW};
use canopy_store::images::{self, Status};
use canopy_types::{Error, ImageId, Result};
use std::sync::Arc;

/// active → deactivated; one that is deactivated stays so. Another status is 403, as in glance.
pub async fn deactivate(app: &Arc<App>, ctx: &Ctx, id: ImageId) -> Result<()> {
    change(app, ctx, id, IMAGES_DEACTIVATE).await
}

/// deactivated → active; one that is active stays so. Another status is 403, as in glance.
pub async fn reactivate(app: &Arc<App>, ctx: &Ctx, id: ImageId) -> Result<()> {
    change(app, ctx, id, IMAGES_REACTIVATE).await
}

async fn change(app: &Arc<App>, ctx: &Ctx, id: ImageId, action: Action) -> Result<()> {
    let now = app.now();
    let inner = (app.clone(), ctx.clone());
    let (to, kind) = if action == IMAGES_DEACTIVATE {
        (Status::Deactivated, "image.deactivate")
    } else {
        (Status::Active, "image.reactivate")
    };
    app.store
        .write(kind, move |c| {
            let (app, ctx) = inner.clone();
            Box::pin(async move {
                let image = images::lock(c, id).await?.ok_or_else(|| absent(id))?;
                let target = target_for(c, &ctx, &image).await?;
                access::require_on(&app, &ctx, IMAGES_SHOW, action, &target, || absent(id))?;
                if image.status == to {
                    return Ok(());
                }
                if !matches!(image.status, Status::Active | Status::Deactivated) {
                    return Err(Error::forbidden(
                        "image.not_active",
                        format!(
                            "Image status transition from {} to {} is not allowed",
                            image.status.as_str(),
                            to.as_str()
                        ),
                    ));
                }
                images::set_deactivated(c, id, to == Status::Deactivated, now).await?;
                note(c, &image, kind, now).await
            })
        })
        .await
}
