//! Which allocations would serve a request.

use super::supply::{Snapshot, snapshot};
use crate::{App, Ctx, access};
use canopy_authz::Target;
use canopy_authz::actions::placement as actions;
use canopy_candidates::{Found, Request, Unknown, search};
use canopy_types::{Error, Result};

/// What `show` makes of the candidates, which are numbers of the snapshot's world. It runs where the search did:
/// both are bounded, but by more than an executor's thread may be kept.
pub async fn list<T, F>(app: &App, ctx: &Ctx, request: Request, show: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce(&Request, &Snapshot, &Found) -> T + Send + 'static,
{
    access::require(app, ctx, actions::CANDIDATES_LIST, &Target::default())?;
    let snapshot = snapshot(app).await?;
    tokio::task::spawn_blocking(move || {
        let found = search(&snapshot.world, &request).map_err(refused)?;
        if found.cut_short {
            if found.is_empty() {
                return Err(Error::bad_request(
                    "placement.too_many_ways",
                    "The request's groups can be combined in too many ways to try them all, and none of those tried \
                     fits. Ask for fewer groups, or narrow them with required, member_of or in_tree.",
                ));
            }
            tracing::warn!(candidates = found.len(), "allocation candidates: not all ways were tried");
        }
        Ok(show(&request, &snapshot, &found))
    })
    .await
    .map_err(|e| Error::internal("placement.search", e))?
}

fn refused(unknown: Unknown) -> Error {
    let message = match &unknown {
        Unknown::Class(_) => format!("Invalid resource class in resources parameter: {unknown}"),
        Unknown::Trait(_) => unknown.to_string(),
    };
    Error::bad_request("placement.unknown_name", message)
}
