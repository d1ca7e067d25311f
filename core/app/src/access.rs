//! The one way use cases ask for permission.

use crate::{App, Ctx};
use canopy_authz::{Action, Target};
use canopy_types::{Error, ProjectId, Result};

/// Refuses with 403 unless `action` on `target` is allowed. For collections and creation.
pub fn require(app: &App, ctx: &Ctx, action: Action, target: &Target) -> Result<()> {
    let decision = app.authorizer.decide(&ctx.who, action, target);
    if decision.allowed {
        return Ok(());
    }
    // No policy: nothing permits it. Otherwise these forbid it.
    let policies = decision.policies.join(",");
    tracing::info!(action = action.name, user = %ctx.who.user_id, target = target.id, policies, "denied");
    Err(Error::forbidden("policy.denied", format!("Policy doesn't allow {} to be performed.", action.name)))
}

/// For one existing resource: a caller who may not `read` it gets `absent`, the very answer an unknown id
/// gets; one who may read but not act gets 403.
pub fn require_on(
    app: &App,
    ctx: &Ctx,
    read: Action,
    action: Action,
    target: &Target,
    absent: impl FnOnce() -> Error,
) -> Result<()> {
    if !app.authorizer.decide(&ctx.who, read, target).allowed {
        tracing::info!(action = action.name, user = %ctx.who.user_id, target = target.id, "hidden");
        return Err(absent());
    }
    if read == action { Ok(()) } else { require(app, ctx, action, target) }
}

pub fn allowed(app: &App, ctx: &Ctx, action: Action, target: &Target) -> bool {
    app.authorizer.decide(&ctx.who, action, target).allowed
}

/// The project a project-scoped request works in.
pub fn project(ctx: &Ctx) -> Result<&ProjectId> {
    ctx.who.project_id().ok_or_else(|| {
        Error::forbidden("auth.project_scope_required", "This needs a token that is scoped to a project.")
    })
}
