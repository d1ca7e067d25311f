//! `/v2.0/subnets`.

use super::body::{Item, Shape, entry, ip, is_empty_list, shown};
use super::{list as lists, views};
use crate::request::{Reply, Req};
use canopy_app::network::errors::{self, bad_attribute, invalid};
use canopy_app::network::ipv4::{self, MAX_POOLS};
use canopy_app::network::rows::{Pool, Route, SUBNET_ATTRIBUTES};
use canopy_app::network::subnets::{self as cases, Gateway, NewSubnet, SubnetChange};
use canopy_types::{Result, SubnetId};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};

const SHAPE: Shape = Shape {
    singular: "subnet",
    plural: "subnets",
    create: &[
        "name",
        "description",
        "network_id",
        "project_id",
        "tenant_id",
        "ip_version",
        "cidr",
        "gateway_ip",
        "enable_dhcp",
        "dns_nameservers",
        "host_routes",
        "allocation_pools",
        "subnetpool_id",
        "prefixlen",
        "ipv6_ra_mode",
        "ipv6_address_mode",
        "service_types",
    ],
    update: &[
        "name",
        "description",
        "gateway_ip",
        "enable_dhcp",
        "dns_nameservers",
        "host_routes",
        "allocation_pools",
        "service_types",
    ],
    read_only: &["id", "tags", "created_at", "updated_at", "revision_number"],
};

/// Entries that a list may hold before its own bound names itself.
const LIST: usize = 1_000;

pub fn create_schema() -> Value {
    SHAPE.schema(SHAPE.create, true)
}

pub fn update_schema() -> Value {
    SHAPE.schema(SHAPE.update, false)
}

fn id(req: &Req) -> Result<SubnetId> {
    req.id("id", |id| errors::subnet_not_found(id))
}

pub async fn list(req: Req) -> Result<Reply> {
    let listing = lists::listing(&req.query, SUBNET_ATTRIBUTES)?;
    let subnets = cases::list(&req.app, req.ctx()?, listing.clone()).await?;
    lists::reply(&req, "subnets", &listing, subnets.iter().map(views::subnet).collect())
}

pub async fn create(req: Req) -> Result<Reply> {
    let (items, bulk) = SHAPE.created(&req.json)?;
    let wanted: Result<Vec<_>> = items.iter().map(wanted).collect();
    let made = cases::create(&req.app, req.ctx()?, wanted?).await?;
    let mut views = made.iter().map(views::subnet);
    if bulk {
        Reply::json(201, &json!({"subnets": views.collect::<Vec<_>>()}))
    } else {
        Reply::json(201, &json!({"subnet": views.next()}))
    }
}

fn check_fixed(item: &Item<'_>) -> Result<()> {
    let never = |_: &Value| false;
    for name in ["subnetpool_id", "prefixlen"] {
        item.fixed(name, never, "there are no subnet pools, give a cidr")?;
    }
    for name in ["ipv6_ra_mode", "ipv6_address_mode"] {
        item.fixed(name, never, "IPv6 subnets are not offered yet")?;
    }
    item.fixed("service_types", is_empty_list, "subnets serve all ports of their network")
}

fn wanted(item: &Item<'_>) -> Result<NewSubnet> {
    match item.int("ip_version")? {
        Some(6) => return Err(ipv4::no_ipv6()),
        None | Some(4) => {}
        Some(other) => return Err(bad_attribute("ip_version", format!("'{other}' is not in [4, 6]"))),
    }
    let network_id = item.required("network_id", item.id("network_id")?)?;
    check_fixed(item)?;
    let cidr = item.text("cidr")?.ok_or_else(|| invalid("a subnet must be given a cidr"))?;
    Ok(NewSubnet {
        project_id: item.project()?,
        network_id,
        name: item.text("name")?.unwrap_or_default(),
        description: item.lines("description")?.unwrap_or_default(),
        cidr: ipv4::parse_cidr(&cidr)?,
        gateway: match gateway(item)? {
            None => Gateway::Default,
            Some(None) => Gateway::None,
            Some(Some(ip)) => Gateway::Ip(ip),
        },
        enable_dhcp: item.flag("enable_dhcp")?.unwrap_or(true),
        dns_nameservers: item.ips("dns_nameservers", LIST)?.unwrap_or_default(),
        host_routes: routes(item)?.unwrap_or_default(),
        allocation_pools: pools(item)?,
    })
}

fn gateway(item: &Item<'_>) -> Result<Option<Option<Ipv4Addr>>> {
    match item.get("gateway_ip") {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::String(text)) if text.is_empty() => Ok(Some(None)),
        Some(value) => match ip("gateway_ip", value)? {
            IpAddr::V4(ip) => Ok(Some(Some(ip))),
            IpAddr::V6(_) => Err(ipv4::no_ipv6()),
        },
    }
}

fn pools(item: &Item<'_>) -> Result<Option<Vec<Pool>>> {
    // null and absent both mean: everything but the gateway.
    if item.get("allocation_pools").is_none_or(Value::is_null) {
        return Ok(None);
    }
    let read = |value: &Value| {
        let map = entry("allocation_pools", value, &["start", "end"])?;
        let end = |name: &str| {
            let value = map
                .get(name)
                .ok_or_else(|| bad_attribute("allocation_pools", format!("a pool needs '{name}'")))?;
            ip("allocation_pools", value)
        };
        Ok(Pool { start: end("start")?, end: end("end")? })
    };
    item.list("allocation_pools", MAX_POOLS)?.map(|values| values.iter().map(read).collect()).transpose()
}

fn routes(item: &Item<'_>) -> Result<Option<Vec<Route>>> {
    let read = |value: &Value| {
        let map = entry("host_routes", value, &["destination", "nexthop"])?;
        let destination = map.get("destination").unwrap_or(&Value::Null);
        let nexthop = map.get("nexthop").unwrap_or(&Value::Null);
        Ok(Route {
            destination: destination.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
                bad_attribute("host_routes", format!("'{}' is not a valid IP subnet", shown(destination)))
            })?,
            nexthop: ip("host_routes", nexthop)?,
        })
    };
    item.list("host_routes", LIST)?.map(|values| values.iter().map(read).collect()).transpose()
}

pub async fn show(req: Req) -> Result<Reply> {
    let subnet = cases::show(&req.app, req.ctx()?, id(&req)?).await?;
    Reply::json(200, &json!({"subnet": lists::fields(&req.query, views::subnet(&subnet))}))
}

pub async fn update(req: Req) -> Result<Reply> {
    let item = SHAPE.updated(&req.json)?;
    check_fixed(&item)?;
    let change = SubnetChange {
        name: item.text("name")?,
        description: item.lines("description")?,
        gateway_ip: gateway(&item)?,
        enable_dhcp: item.flag("enable_dhcp")?,
        dns_nameservers: item.ips("dns_nameservers", LIST)?,
        host_routes: routes(&item)?,
        allocation_pools: pools(&item)?,
    };
    let subnet = cases::update(&req.app, req.ctx()?, id(&req)?, change).await?;
    Reply::json(200, &json!({"subnet": views::subnet(&subnet)}))
}

pub async fn delete(req: Req) -> Result<Reply> {
    cases::delete(&req.app, req.ctx()?, id(&req)?).await?;
    Ok(Reply::empty(204))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Value) -> Result<NewSubnet> {
        let body = json!({ "subnet": body });
        SHAPE.created(&body).and_then(|(items, _)| wanted(&items[0]))
    }

    #[test]
    fn hostile_subnets_are_refused_by_name() {
        let network = "0123abcd-ef45-4678-9abc-def012345678";
        let with = |name: &str, value: Value| {
            let mut body = json!({"network_id": network, "cidr": "10.0.0.0/24", "ip_version": 4});
            body[name] = value;
            read(body)
        };
        assert!(with("name", json!("n")).is_ok());
        for (name, value) in [
            ("ip_version", json!(6)),
            ("ip_version", json!(5)),
            ("ip_version", json!("x")),
            ("cidr", json!(7)),
            ("cidr", json!("10.0.0.1/24")),
            ("cidr", json!("fd00::/64")),
            ("gateway_ip", json!("10.0.0")),
            ("gateway_ip", json!(["10.0.0.1"])),
            ("gateway_ip", json!("fd00::1")),
            ("allocation_pools", json!({})),
            ("allocation_pools", json!([1])),
            ("allocation_pools", json!([{"start": "10.0.0.2"}])),
            ("allocation_pools", json!([{"start": "10.0.0.2", "end": "10.0.0.3", "x": 1}])),
            ("allocation_pools", json!(vec![json!({"start": "10.0.0.2", "end": "10.0.0.3"}); MAX_POOLS + 1])),
            ("dns_nameservers", json!("8.8.8.8")),
            ("dns_nameservers", json!(["x"])),
            ("dns_nameservers", json!(vec!["8.8.8.8"; LIST + 1])),
            ("host_routes", json!([{"destination": "10.0.0.0/8"}])),
            ("host_routes", json!([{"destination": "x", "nexthop": "10.0.0.1"}])),
            ("network_id", json!("x")),
            ("network_id", json!(null)),
            ("subnetpool_id", json!(network)),
            ("ipv6_ra_mode", json!("slaac")),
            ("service_types", json!(["compute:nova"])),
        ] {
            let error = with(name, value.clone()).err().unwrap_or_else(|| panic!("{name}: {value}"));
            assert_eq!(error.kind, canopy_types::Kind::BadRequest, "{name}");
            assert!(error.message.len() < 400, "{}", error.message);
        }
        assert!(read(json!({"network_id": network})).is_err());
        assert!(
            read(json!({"cidr": "10.0.0.0/24"})).unwrap_err().message.contains("'network_id' not specified")
        );
    }

    #[test]
    fn null_takes_the_gateway_away() {
        let body = |gateway: Value| {
            read(
                json!({"network_id": "0123abcd-ef45-4678-9abc-def012345678", "cidr": "10.0.0.0/24", "gateway_ip": gateway}),
            )
        };
        assert_eq!(body(json!(null)).unwrap().gateway, Gateway::None);
        assert_eq!(body(json!("10.0.0.9")).unwrap().gateway, Gateway::Ip("10.0.0.9".parse().unwrap()));
    }
}
