//! `/v2.0/ports`.

use super::body::{Item, Shape, entry, id as uuid, ip, is_empty_list};
use super::{list as lists, views};
use crate::request::{Reply, Req};
use canopy_app::network::errors::{self, bad_attribute};
use canopy_app::network::ports::{self as cases, FixedIp, MAX_FIXED_IPS, NewPort, PortChange};
use canopy_app::network::{rows::PORT_ATTRIBUTES, security_groups::MAX_GROUPS};
use canopy_types::{PortId, Result};
use serde_json::{Value, json};

const SHAPE: Shape = Shape {
    singular: "port",
    plural: "ports",
    create: &[
        "name",
        "description",
        "network_id",
        "project_id",
        "tenant_id",
        "mac_address",
        "admin_state_up",
        "device_id",
        "device_owner",
        "port_security_enabled",
        "security_groups",
        "fixed_ips",
        "allowed_address_pairs",
        "extra_dhcp_opts",
        "binding:vnic_type",
        "binding:profile",
        "binding:host_id",
    ],
    update: &[
        "name",
        "description",
        "admin_state_up",
        "device_id",
        "device_owner",
        "port_security_enabled",
        "security_groups",
        "fixed_ips",
        "allowed_address_pairs",
        "extra_dhcp_opts",
        "binding:vnic_type",
        "binding:profile",
        "binding:host_id",
    ],
    read_only: &[
        "id",
        "status",
        "tags",
        "created_at",
        "updated_at",
        "revision_number",
        "binding:vif_type",
        "binding:vif_details",
    ],
};

pub fn create_schema() -> Value {
    SHAPE.schema(SHAPE.create, true)
}

pub fn update_schema() -> Value {
    SHAPE.schema(SHAPE.update, false)
}

fn id(req: &Req) -> Result<PortId> {
    req.id("id", |id| errors::port_not_found(id))
}

pub async fn list(req: Req) -> Result<Reply> {
    let listing = lists::listing(&req.query, PORT_ATTRIBUTES)?;
    let (app, ctx) = (&req.app, req.ctx()?);
    let binding = cases::shows_binding(app, ctx);
    let ports = cases::list(app, ctx, listing.clone()).await?;
    lists::reply(&req, "ports", &listing, ports.iter().map(|port| views::port(port, binding)).collect())
}

pub async fn create(req: Req) -> Result<Reply> {
    let (items, bulk) = SHAPE.created(&req.json)?;
    let wanted: Result<Vec<_>> = items.iter().map(wanted).collect();
    let (app, ctx) = (&req.app, req.ctx()?);
    let binding = cases::shows_binding(app, ctx);
    let made = cases::create(app, ctx, wanted?).await?;
    let mut views = made.iter().map(|port| views::port(port, binding));
    if bulk {
        Reply::json(201, &json!({"ports": views.collect::<Vec<_>>()}))
    } else {
        Reply::json(201, &json!({"port": views.next()}))
    }
}

/// neutron's attributes that can be only one thing here.
fn check_fixed(item: &Item<'_>) -> Result<()> {
    let empty_map = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty);
    item.fixed("allowed_address_pairs", is_empty_list, "a port sends from its own addresses")?;
    item.fixed("extra_dhcp_opts", is_empty_list, "set options at the subnet")?;
    item.fixed("binding:vnic_type", |value| value.as_str() == Some("normal"), "only 'normal' is")?;
    item.fixed("binding:profile", empty_map, "it must be empty")?;
    item.fixed("binding:host_id", |value| value.as_str() == Some(""), "a port goes where its server goes")
}

fn wanted(item: &Item<'_>) -> Result<NewPort> {
    let network_id = item.required("network_id", item.id("network_id")?)?;
    check_fixed(item)?;
    Ok(NewPort {
        project_id: item.project()?,
        network_id,
        name: item.text("name")?.unwrap_or_default(),
        description: item.lines("description")?.unwrap_or_default(),
        mac: item.text("mac_address")?.map(|mac| cases::parse_mac(&mac)).transpose()?,
        admin_state_up: item.flag("admin_state_up")?.unwrap_or(true),
        device_id: item.text("device_id")?.unwrap_or_default(),
        device_owner: item.text("device_owner")?.unwrap_or_default(),
        port_security: item.flag("port_security_enabled")?,
        security_groups: item.ids("security_groups", MAX_GROUPS)?,
        fixed_ips: fixed_ips(item)?,
    })
}

fn fixed_ips(item: &Item<'_>) -> Result<Option<Vec<FixedIp>>> {
    // null and absent both mean: any address.
    if item.get("fixed_ips").is_none_or(Value::is_null) {
        return Ok(None);
    }
    let read = |value: &Value| {
        let map = entry("fixed_ips", value, &["subnet_id", "ip_address"])?;
        let wanted = FixedIp {
            subnet_id: map.get("subnet_id").map(|value| uuid("fixed_ips", value)).transpose()?,
            ip: map.get("ip_address").map(|value| ip("fixed_ips", value)).transpose()?,
        };
        if wanted == FixedIp::default() {
            return Err(bad_attribute("fixed_ips", "an entry needs subnet_id or ip_address"));
        }
        Ok(wanted)
    };
    item.list("fixed_ips", MAX_FIXED_IPS)?.map(|values| values.iter().map(read).collect()).transpose()
}

pub async fn show(req: Req) -> Result<Reply> {
    let (app, ctx) = (&req.app, req.ctx()?);
    let port = cases::show(app, ctx, id(&req)?).await?;
    let view = views::port(&port, cases::shows_binding(app, ctx));
    Reply::json(200, &json!({"port": lists::fields(&req.query, view)}))
}

pub async fn update(req: Req) -> Result<Reply> {
    let item = SHAPE.updated(&req.json)?;
    check_fixed(&item)?;
    let change = PortChange {
        name: item.text("name")?,
        description: item.lines("description")?,
        admin_state_up: item.flag("admin_state_up")?,
        device_id: item.text("device_id")?,
        device_owner: item.text("device_owner")?,
        port_security: item.flag("port_security_enabled")?,
        security_groups: item.ids("security_groups", MAX_GROUPS)?,
        fixed_ips: fixed_ips(&item)?,
    };
    let (app, ctx) = (&req.app, req.ctx()?);
    let port = cases::update(app, ctx, id(&req)?, change).await?;
    Reply::json(200, &json!({"port": views::port(&port, cases::shows_binding(app, ctx))}))
}

pub async fn delete(req: Req) -> Result<Reply> {
    cases::delete(&req.app, req.ctx()?, id(&req)?).await?;
    Ok(Reply::empty(204))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_ports_are_refused_by_name() {
        let network = "0123abcd-ef45-4678-9abc-def012345678";
        let with = |name: &str, value: Value| {
            let mut body = json!({"port": {"network_id": network}});
            body["port"][name] = value;
            SHAPE.created(&body).and_then(|(items, _)| wanted(&items[0]))
        };
        assert!(with("fixed_ips", json!([{"ip_address": "10.0.0.5"}, {"subnet_id": network}])).is_ok());
        assert_eq!(with("fixed_ips", json!([])).unwrap().fixed_ips, Some(vec![]));
        assert_eq!(with("fixed_ips", json!(null)).unwrap().fixed_ips, None);
        for (name, value) in [
            ("fixed_ips", json!([{}])),
            ("fixed_ips", json!([{"ip_address": "10.0.0"}])),
            ("fixed_ips", json!([{"ip_address": null}])),
            ("fixed_ips", json!([{"subnet": network}])),
            ("fixed_ips", json!(vec![json!({"subnet_id": network}); MAX_FIXED_IPS + 1])),
            ("fixed_ips", json!("10.0.0.5")),
            ("security_groups", json!(["default"])),
            ("security_groups", json!(vec![network; MAX_GROUPS + 1])),
            ("mac_address", json!("x")),
            ("mac_address", json!(1)),
            ("admin_state_up", json!("x")),
            ("device_id", json!("x".repeat(256))),
            ("binding:host_id", json!("elsewhere")),
            ("binding:vnic_type", json!("direct")),
            ("allowed_address_pairs", json!([{"ip_address": "10.0.0.9"}])),
            ("network_id", json!(7)),
            ("dns_name", json!("x")),
        ] {
            let error = with(name, value.clone()).err().unwrap_or_else(|| panic!("{name}: {value}"));
            assert_eq!(error.kind, canopy_types::Kind::BadRequest, "{name}");
        }
    }
}
