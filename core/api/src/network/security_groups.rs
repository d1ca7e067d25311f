//! `/v2.0/security-groups` and `/v2.0/security-group-rules`: to be looked at; what groups hold does not change yet.

use super::{list as lists, views};
use crate::request::{Reply, Req};
use canopy_app::network::rows::{GROUP_ATTRIBUTES, RULE_ATTRIBUTES};
use canopy_app::network::{errors, security_groups as cases};
use canopy_types::Result;
use serde_json::json;

pub async fn list(req: Req) -> Result<Reply> {
    let listing = lists::listing(&req.query, GROUP_ATTRIBUTES)?;
    let groups = cases::list(&req.app, req.ctx()?, listing.clone()).await?;
    let rows = groups.iter().map(|(group, rules)| views::group(group, rules)).collect();
    lists::reply(&req, "security_groups", &listing, rows)
}

pub async fn show(req: Req) -> Result<Reply> {
    let id = req.id("id", |id| errors::group_not_found(id))?;
    let (group, rules) = cases::show(&req.app, req.ctx()?, id).await?;
    let view = lists::fields(&req.query, views::group(&group, &rules));
    Reply::json(200, &json!({ "security_group": view }))
}

pub async fn delete(req: Req) -> Result<Reply> {
    let id = req.id("id", |id| errors::group_not_found(id))?;
    cases::delete(&req.app, req.ctx()?, id).await?;
    Ok(Reply::empty(204))
}

pub async fn list_rules(req: Req) -> Result<Reply> {
    let listing = lists::listing(&req.query, RULE_ATTRIBUTES)?;
    let rules = cases::list_rules(&req.app, req.ctx()?, listing.clone()).await?;
    lists::reply(&req, "security_group_rules", &listing, rules.iter().map(views::rule).collect())
}

pub async fn show_rule(req: Req) -> Result<Reply> {
    let id = req.id("id", |id| errors::rule_not_found(id))?;
    let rule = cases::show_rule(&req.app, req.ctx()?, id).await?;
    Reply::json(200, &json!({"security_group_rule": lists::fields(&req.query, views::rule(&rule))}))
}
