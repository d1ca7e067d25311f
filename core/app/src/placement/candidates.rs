//! Which allocations would serve a request.

use super::supply::{Snapshot, snapshot};
use crate::{App, Ctx, access};
use canopy_authz::Target;
use canopy_authz::actions::placement as actions;
use canopy_candidates::{Found, Request, Unknown, search};
use canopy_types::{Error, Result};
use std::sync::Arc;

/// Candidates, and the world that their numbers are of.
pub struct Answer {
    pub snapshot: Arc<Snapshot>,
    pub found: Found,
}

pub async fn list(app: &App, ctx: &Ctx, request: Request) -> Result<Answer> {
    access::require(app, ctx, actions::CANDIDATES_LIST, &Target::default())?;
    let snapshot = snapshot(app).await?;
    let of = snapshot.clone();
    // Bounded, but by more than an executor's thread may be kept.
    let found = tokio::task::spawn_blocking(move || search(&of.world, &request))
        .await
        .map_err(|e| Error::internal("placement.search", e))?
        .map_err(|unknown| {
            let message = match &unknown {
                Unknown::Class(_) => format!("Invalid resource class in resources parameter: {unknown}"),
                Unknown::Trait(_) => unknown.to_string(),
            };
            Error::bad_request("placement.unknown_name", message)
        })?;
    if found.cut_short {
        if found.candidates.is_empty() {
            return Err(Error::bad_request(
                "placement.too_many_ways",
                "The request's groups can be combined in too many ways to try them all, and none of those tried \
                 fits. Ask for fewer groups, or narrow them with required, member_of or in_tree.",
            ));
        }
        tracing::warn!(candidates = found.candidates.len(), "allocation candidates: not all ways were tried");
    }
    Ok(Answer { snapshot, found })
}
