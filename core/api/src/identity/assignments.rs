//! The list of role assignments.

use super::{body, render};
use crate::request::{Reply, Req};
use canopy_app::identity::{self, AssignmentFilter, Reach};
use canopy_types::{Error, Result};

pub async fn list(req: Req) -> Result<Reply> {
    let text = |name: &str| req.query.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let reaches: Vec<Reach> = [
        text("scope.project.id").map(|id| Reach::Project(id.into())),
        text("scope.domain.id").map(|id| Reach::Domain(id.into())),
        text("scope.system").map(|_| Reach::System),
    ]
    .into_iter()
    .flatten()
    .collect();
    if reaches.len() > 1 {
        return Err(Error::bad_request(
            "identity.scope_filters",
            "Specify one of scope.project.id, scope.domain.id and scope.system, not several.",
        ));
    }
    let filter = AssignmentFilter {
        user_id: text("user.id"),
        role_id: text("role.id"),
        reach: reaches.into_iter().next(),
        effective: body::on(&req.query, "effective"),
    };
    let mut lines = identity::assignments(&req.app, req.ctx()?, &filter).await?;
    // There are no groups, and nothing is inherited.
    if text("group.id").is_some() || text("scope.OS-INHERIT:inherited_to").is_some() {
        lines.clear();
    }
    let names = body::on(&req.query, "include_names");
    let items = lines.iter().map(|line| render::assignment(&req.base, line, names)).collect();
    Reply::json(200, &render::list(&req, "role_assignments", items, None))
}
