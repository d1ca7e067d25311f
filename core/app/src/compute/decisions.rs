//! Why a server is where it is, or nowhere.

use crate::access;
use crate::{App, Ctx};
use canopy_authz::{Target, actions::canopy as actions};
use canopy_types::{DecisionId, Error, Result};
use serde_json::{Value, json};

pub fn absent(id: &str) -> Error {
    let shown: String = id.chars().take(64).collect();
    Error::not_found("decision.not_found", format!("Decision {shown} could not be found."))
}

/// The stored document with what it is about.
pub async fn show(app: &App, ctx: &Ctx, id: DecisionId) -> Result<Value> {
    let decision = app
        .store
        .read(move |c| Box::pin(canopy_store::decisions::get(c, id)))
        .await?
        .ok_or_else(|| absent(&id.to_string()))?;
    let target = Target::in_project(&decision.project_id).id(id);
    access::require_on(app, ctx, actions::DECISIONS_SHOW, actions::DECISIONS_SHOW, &target, || {
        absent(&id.to_string())
    })?;
    let document: Value =
        serde_json::from_str(&decision.document).map_err(|e| Error::internal("decision.corrupt", e))?;
    Ok(json!({"decision": {
        "id": decision.id,
        "server_id": decision.server_id,
        "project_id": decision.project_id,
        "at": decision.at.micros_z(),
        "kind": "placement",
        "document": document,
    }}))
}
