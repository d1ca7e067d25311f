//! Security groups of a server, as nova shows what neutron has.

use super::actions::action;
use crate::handler;
use crate::request::{Reply, Req};
use crate::route::{Route, Schema, Service};
use crate::schema::{name, object};
use crate::version::{Microversion, v};
use canopy_app::compute::servers;
use canopy_app::network::rows::Rule;
use canopy_app::network::security_groups::Full;
use canopy_authz::actions::compute as policy;
use canopy_types::Result;
use http::Method;
use serde_json::{Value, json};

const ADD: &[(Microversion, Schema)] = &[(v(2, 1), || named("addSecurityGroup"))];
const REMOVE: &[(Microversion, Schema)] = &[(v(2, 1), || named("removeSecurityGroup"))];

pub fn routes() -> Vec<Route> {
    let path = "/v2.1/servers/{server_id}/os-security-groups";
    vec![
        Route::new(Service::Compute, Method::GET, path, "List a server's security groups", handler!(list))
            .action(policy::SERVERS_LIST_SECURITY_GROUPS)
            .answers(&[200], &[404]),
        action(
            "addSecurityGroup",
            "Add a security group to a server's ports",
            policy::SERVERS_ADD_SECURITY_GROUP,
            ADD,
            &[202],
            handler!(add),
        ),
        action(
            "removeSecurityGroup",
            "Take a security group off a server's ports",
            policy::SERVERS_REMOVE_SECURITY_GROUP,
            REMOVE,
            &[202],
            handler!(remove),
        ),
    ]
}

fn named(key: &str) -> Value {
    object(json!({ key: object(json!({"name": name()}), &["name"]) }), &[key])
}

async fn list(req: Req) -> Result<Reply> {
    let id = req.id("server_id", servers::absent)?;
    let groups = servers::groups(&req.app, req.ctx()?, id).await?;
    let shown: Vec<Value> = groups.iter().map(|group| shape(group, &groups)).collect();
    Reply::json(200, &json!({ "security_groups": shown }))
}

/// nova knows what may come in only.
pub fn shape((group, rules): &Full, all: &[Full]) -> Value {
    let rules = rules.iter().filter(|rule| rule.direction == "ingress").map(|rule| shape_rule(rule, all));
    json!({
        "id": group.id,
        "name": group.name,
        "description": group.description,
        "tenant_id": group.project_id,
        "rules": rules.collect::<Vec<_>>(),
    })
}

fn shape_rule(rule: &Rule, all: &[Full]) -> Value {
    let protocol = rule.protocol.as_deref().map(str::to_uppercase);
    let ports = match (rule.port_min, rule.port_max, protocol.as_deref()) {
        (None, None, Some("TCP" | "UDP")) => (Some(1), Some(65_535)),
        (None, None, Some(_)) => (Some(-1), Some(-1)),
        (min, max, _) => (min, max),
    };
    let anywhere = if rule.ethertype == "IPv6" { "::/0" } else { "0.0.0.0/0" };
    let (group, range) = match rule.remote_group_id {
        Some(id) => {
            let source = all.iter().find(|(group, _)| group.id == id);
            let shown = source.map(|(group, _)| json!({"name": group.name, "tenant_id": group.project_id}));
            (shown.unwrap_or_else(|| json!({})), json!({}))
        }
        None => (json!({}), json!({"cidr": rule.remote_ip_prefix.as_deref().unwrap_or(anywhere)})),
    };
    json!({
        "id": rule.id,
        "parent_group_id": rule.group_id,
        "ip_protocol": protocol,
        "from_port": ports.0,
        "to_port": ports.1,
        "group": group,
        "ip_range": range,
    })
}

async fn add(req: Req) -> Result<Reply> {
    let id = req.id("server_id", servers::absent)?;
    let name = req.json["addSecurityGroup"]["name"].as_str().unwrap_or_default();
    servers::add_group(&req.app, req.ctx()?, id, name).await?;
    Ok(Reply::empty(202))
}

async fn remove(req: Req) -> Result<Reply> {
    let id = req.id("server_id", servers::absent)?;
    let name = req.json["removeSecurityGroup"]["name"].as_str().unwrap_or_default();
    servers::remove_group(&req.app, req.ctx()?, id, name).await?;
    Ok(Reply::empty(202))
}
