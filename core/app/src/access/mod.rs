//! The one way use cases ask for permission.

mod rows;

pub use rows::{Rows, readable};

use crate::{App, Ctx, audit};
use canopy_authz::actions::canopy::POLICIES_EXPLAIN;
use canopy_authz::{Action, Circumstances, Decision, Principal, Snapshot, Target};
use canopy_types::{Error, ProjectId, Result};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Refuses with 403 unless `action` on `target` is allowed. For collections and creation.
pub fn require(app: &App, ctx: &Ctx, action: Action, target: &Target) -> Result<()> {
    let decision = decide(ctx, action, target);
    audit::decided(app, ctx, action, target, &decision);
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
    let decision = decide(ctx, read, target);
    if !decision.allowed {
        // Hidden is denied: the log names what was asked for.
        audit::decided(app, ctx, action, target, &decision);
        tracing::info!(action = action.name, user = %ctx.who.user_id, target = target.id, "hidden");
        return Err(absent());
    }
    if read != action {
        return require(app, ctx, action, target);
    }
    audit::decided(app, ctx, action, target, &decision);
    Ok(())
}

/// Whether the caller may, where a no only leaves something out: a field, a row of a list.
pub fn allowed(app: &App, ctx: &Ctx, action: Action, target: &Target) -> bool {
    let decision = decide(ctx, action, target);
    if decision.allowed {
        audit::decided(app, ctx, action, target, &decision);
    }
    decision.allowed
}

/// Whether the caller may see something that there is, by any of its sides. A no is a denial like another,
/// though the answer is that of an absent id.
pub fn seen(app: &App, ctx: &Ctx, action: Action, sides: &[Target]) -> bool {
    let seen = sides.iter().any(|target| allowed(app, ctx, action, target));
    if let (false, Some(target)) = (seen, sides.first()) {
        audit::decided(app, ctx, action, target, &decide(ctx, action, target));
    }
    seen
}

/// All decisions of a request come from the bundle that it began with.
fn decide(ctx: &Ctx, action: Action, target: &Target) -> Decision {
    let decision = ctx.policies.decide(&ctx.who, &ctx.how, action, target);
    ctx.trail.note(&decision);
    decision
}

/// Policies whose names one answer carries.
const MAX_TRAIL: usize = 32;

/// Which policies decided what a request asked, where the caller may know.
#[derive(Clone, Default)]
pub struct Trail(Option<Arc<Mutex<BTreeSet<String>>>>);

impl Trail {
    /// Kept for those whom the policies let know, empty and free for others.
    pub fn of(policies: &Snapshot, who: &Principal, how: &Circumstances) -> Self {
        let known = policies.decide(who, how, POLICIES_EXPLAIN, &Target::default()).allowed;
        Self(known.then(Arc::default))
    }

    fn note(&self, decision: &Decision) {
        let Some(ids) = &self.0 else { return };
        let mut ids = ids.lock().unwrap_or_else(PoisonError::into_inner);
        for id in &decision.policies {
            if ids.len() < MAX_TRAIL && !ids.contains(id) {
                ids.insert(id.clone());
            }
        }
    }

    /// Ids of the policies, sorted; `None` where the caller may not know.
    pub fn ids(&self) -> Option<Vec<String>> {
        let ids = self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(ids.iter().cloned().collect())
    }
}

/// The project a project-scoped request works in.
pub fn project(ctx: &Ctx) -> Result<&ProjectId> {
    ctx.who.project_id().ok_or_else(|| {
        Error::forbidden("auth.project_scope_required", "This needs a token that is scoped to a project.")
    })
}
