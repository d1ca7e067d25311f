//! What goes to the audit log: every decision of a request that changes something, and every denial.

use crate::{App, Ctx};
use canopy_audit::{Event, Limit, Log, Outcome};
use canopy_authz::cases::{Caller, On};
use canopy_authz::{Action, Decision, Snapshot, Target};
use canopy_types::{RequestId, Timestamp};
use serde_json::{Value, json};
use std::net::IpAddr;

/// Lines a second that requests without a valid token may cause, and at once.
const NOBODY: (u32, u32) = (10, 100);

/// Characters of an id and of a path that a line keeps.
const MAX_ID: usize = 255;
const MAX_PATH: usize = 512;

/// The log and the limit on what nobody in particular may write into it.
pub struct Audit {
    log: Log,
    nobody: Limit,
}

impl Audit {
    pub fn new(log: Log) -> Self {
        Self { log, nobody: Limit::new(NOBODY.0, NOBODY.1) }
    }

    pub fn log(&self) -> &Log {
        &self.log
    }
}

/// Records a decision if it is one to record.
pub fn decided(app: &App, ctx: &Ctx, action: Action, target: &Target, decision: &Decision) {
    if decision.allowed && !ctx.mutating {
        return;
    }
    app.audit.log.record(event(app.now(), ctx, action, target, decision));
}

/// Records a request that was refused for want of a valid token, within the limit.
pub fn nobody(app: &App, request_id: &RequestId, asked: String, source: Option<IpAddr>) {
    let now = app.now();
    let Some(left_out) = app.audit.nobody.take(now) else { return };
    app.audit.log.record(Event {
        at: now,
        request_id: request_id.0.clone(),
        action: asked,
        outcome: Outcome::Denied,
        policies: Vec::new(),
        bundle: version(&app.authorizer.snapshot()),
        user_id: String::new(),
        project_id: String::new(),
        domain_id: String::new(),
        source: source.map(|source| source.to_string()).unwrap_or_default(),
        resource: "Token".into(),
        target_id: String::new(),
        target_project_id: String::new(),
        question: Value::Null,
        left_out,
    });
}

/// The commit of a bundle, or its digest where it has none.
pub fn version(policies: &Snapshot) -> String {
    let bundle = policies.bundle();
    bundle.commit().unwrap_or_else(|| bundle.digest()).to_owned()
}

fn event(at: Timestamp, ctx: &Ctx, action: Action, target: &Target, decision: &Decision) -> Event {
    let caller = Caller::of(&ctx.who, &ctx.how);
    // Metadata is the tenant's own text and may be anything, also a password.
    let mut on = On { metadata: Default::default(), ..On::of(target) };
    // What a client made up may be as long as a request: a line of it must not push out what others did.
    for text in [&mut on.id, &mut on.project_id, &mut on.domain_id, &mut on.user_id] {
        *text = short(text, MAX_ID);
    }
    Event {
        at,
        request_id: ctx.request_id.0.clone(),
        action: action.name.to_owned(),
        outcome: if decision.allowed { Outcome::Allowed } else { Outcome::Denied },
        policies: decision.policies.clone(),
        bundle: version(&ctx.policies),
        user_id: caller.user.clone(),
        project_id: caller.project.clone(),
        domain_id: caller.domain.clone(),
        source: ctx.how.source.map(|source| source.to_string()).unwrap_or_default(),
        resource: action.resource.to_owned(),
        target_id: on.id.clone(),
        target_project_id: on.project_id.clone(),
        question: json!({"action": action.name, "principal": caller, "target": on, "request": ctx.asked}),
        left_out: 0,
    }
}

/// A request's method and path, as the log keeps it.
pub fn asked(method: &str, path: &str) -> String {
    format!("{method} {}", short(path, MAX_PATH))
}

fn short(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}
