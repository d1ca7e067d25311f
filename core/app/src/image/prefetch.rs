//! Hosts take an image into their caches before a server needs it, so that its first boot waits for nothing.

use super::boot::resolve_for_boot;
use super::{absent, find};
use crate::compute::hosts::is_up;
use crate::{App, Ctx, access};
use canopy_agent_api::{Ask, Blob, Cached};
use canopy_authz::Target;
use canopy_authz::actions::canopy::IMAGES_PREFETCH;
use canopy_store::hosts::HostRow;
use canopy_types::{Error, ImageId, Result};
use futures::StreamExt;
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// Hosts of one request.
pub const MAX_HOSTS: usize = 1_000;
/// Hosts that are asked at once.
const AT_ONCE: usize = 16;
/// A host says at once how far it is; it fetches afterwards.
const DEADLINE: Duration = Duration::from_secs(10);

/// How far a host is with an image.
#[derive(Clone, Debug, Serialize)]
pub struct Progress {
    pub host: String,
    /// `present`, `fetching`, or `error`: then it is tried again when it is asked again.
    pub state: &'static str,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Asks these hosts, or all that there are, to fetch what a server boots of this image. Safe to ask again: that is
/// how one hears how far they are.
pub async fn prefetch(
    app: &App,
    ctx: &Ctx,
    image: ImageId,
    names: Option<BTreeSet<String>>,
) -> Result<Vec<Progress>> {
    access::require(app, ctx, IMAGES_PREFETCH, &Target::default())?;
    find(app, ctx, image).await?.ok_or_else(|| absent(image))?;
    let spec = resolve_for_boot(app, ctx, image).await?.spec;
    let blobs: Vec<Blob> = [Some(spec.blob), spec.kernel, spec.ramdisk].into_iter().flatten().collect();
    let (mut hosts, _) = app.store.read(|c| Box::pin(canopy_store::hosts::all(c))).await?;
    if let Some(names) = &names {
        if let Some(unknown) = names.iter().find(|name| !hosts.iter().any(|host| host.name == **name)) {
            return Err(Error::bad_request(
                "host.unknown",
                format!("There is no host {unknown}: see the list of hypervisors."),
            ));
        }
        hosts.retain(|host| names.contains(&host.name));
    }
    let asked = hosts.into_iter().map(|host| ask(app, host, blobs.clone()));
    let mut told: Vec<Progress> = futures::stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    told.sort_by(|one, other| one.host.cmp(&other.host));
    Ok(told)
}

async fn ask(app: &App, host: HostRow, blobs: Vec<Blob>) -> Progress {
    let answer = if is_up(&host, app.now()) {
        app.questions.ask_host(host.id, Ask::Prefetch { blobs }, DEADLINE).await
    } else {
        Err(Error::unavailable("host.down", "The host is down."))
    };
    let answer = answer.and_then(|text| {
        serde_json::from_str(&text).map_err(|e| {
            Error::unavailable("host.answer", "The host's answer cannot be read.").with_source(e)
        })
    });
    let (state, message) = match answer {
        Ok(Cached::Present) => ("present", None),
        Ok(Cached::Fetching) => ("fetching", None),
        Ok(Cached::Failed { message }) => ("error", Some(message)),
        Err(error) => ("error", Some(error.message)),
    };
    Progress { host: host.name, state, message }
}
