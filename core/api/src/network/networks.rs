//! `/v2.0/networks`.

use super::body::{Item, Shape, is_empty_list};
use super::{list as lists, views};
use crate::request::{Reply, Req};
use canopy_app::network::networks::{self as cases, NetworkChange, NewNetwork};
use canopy_app::network::provider::WantedPlace;
use canopy_app::network::{errors, rows::network_attributes};
use canopy_types::{NetworkId, Result};
use serde_json::{Value, json};

const SHAPE: Shape = Shape {
    singular: "network",
    plural: "networks",
    create: &[
        "name",
        "description",
        "admin_state_up",
        "shared",
        "mtu",
        "port_security_enabled",
        "project_id",
        "tenant_id",
        "router:external",
        "availability_zone_hints",
        "provider:network_type",
        "provider:physical_network",
        "provider:segmentation_id",
    ],
    update: &[
        "name",
        "description",
        "admin_state_up",
        "shared",
        "mtu",
        "port_security_enabled",
        "router:external",
    ],
    read_only: &[
        "id",
        "status",
        "subnets",
        "tags",
        "created_at",
        "updated_at",
        "revision_number",
        "availability_zones",
        "ipv4_address_scope",
        "ipv6_address_scope",
    ],
};

pub fn create_schema() -> Value {
    SHAPE.schema(SHAPE.create, true)
}

pub fn update_schema() -> Value {
    SHAPE.schema(SHAPE.update, false)
}

fn id(req: &Req) -> Result<NetworkId> {
    req.id("id", |id| errors::network_not_found(id))
}

/// neutron's attributes that can be only one thing here.
fn check_fixed(item: &Item<'_>) -> Result<()> {
    let no = |value: &Value| matches!(value, Value::Bool(false)) || value.as_str() == Some("False");
    item.fixed("router:external", no, "there are no external networks yet")?;
    item.fixed("availability_zone_hints", is_empty_list, "networks have no availability zones")
}

pub async fn list(req: Req) -> Result<Reply> {
    let (app, ctx) = (&req.app, req.ctx()?);
    let provider = cases::shows_provider(app, ctx);
    let listing = lists::listing(&req.query, network_attributes(provider))?;
    let networks = cases::list(app, ctx, listing.clone()).await?;
    let rows = networks.iter().map(|network| views::network(network, provider)).collect();
    lists::reply(&req, "networks", &listing, rows)
}

pub async fn create(req: Req) -> Result<Reply> {
    let (items, bulk) = SHAPE.created(&req.json)?;
    let wanted: Result<Vec<_>> = items.iter().map(wanted).collect();
    let (app, ctx) = (&req.app, req.ctx()?);
    let provider = cases::shows_provider(app, ctx);
    let made = cases::create(app, ctx, wanted?).await?;
    let mut views = made.iter().map(|network| views::network(network, provider));
    if bulk {
        Reply::json(201, &json!({"networks": views.collect::<Vec<_>>()}))
    } else {
        Reply::json(201, &json!({"network": views.next()}))
    }
}

fn wanted(item: &Item<'_>) -> Result<NewNetwork> {
    check_fixed(item)?;
    Ok(NewNetwork {
        project_id: item.project()?,
        name: item.text("name")?.unwrap_or_default(),
        description: item.lines("description")?.unwrap_or_default(),
        admin_state_up: item.flag("admin_state_up")?.unwrap_or(true),
        shared: item.flag("shared")?.unwrap_or(false),
        // 0 is neutron's word for "as the network likes".
        mtu: item.int("mtu")?.filter(|mtu| *mtu != 0),
        port_security: item.flag("port_security_enabled")?.unwrap_or(true),
        place: place(item)?,
    })
}

/// null is as good as nothing.
fn place(item: &Item<'_>) -> Result<WantedPlace> {
    let text = |name| if item.get(name).is_some_and(Value::is_null) { Ok(None) } else { item.text(name) };
    let vlan = "provider:segmentation_id";
    Ok(WantedPlace {
        network_type: text("provider:network_type")?,
        physical_network: text("provider:physical_network")?,
        segmentation_id: match item.get(vlan) {
            Some(Value::Null) => None,
            _ => item.int(vlan)?,
        },
    })
}

pub async fn show(req: Req) -> Result<Reply> {
    let (app, ctx) = (&req.app, req.ctx()?);
    let network = cases::show(app, ctx, id(&req)?).await?;
    let view = views::network(&network, cases::shows_provider(app, ctx));
    Reply::json(200, &json!({"network": lists::fields(&req.query, view)}))
}

pub async fn update(req: Req) -> Result<Reply> {
    let item = SHAPE.updated(&req.json)?;
    check_fixed(&item)?;
    let change = NetworkChange {
        name: item.text("name")?,
        description: item.lines("description")?,
        admin_state_up: item.flag("admin_state_up")?,
        shared: item.flag("shared")?,
        mtu: item.int("mtu")?,
        port_security: item.flag("port_security_enabled")?,
    };
    let (app, ctx) = (&req.app, req.ctx()?);
    let network = cases::update(app, ctx, id(&req)?, change).await?;
    Reply::json(200, &json!({"network": views::network(&network, cases::shows_provider(app, ctx))}))
}

pub async fn delete(req: Req) -> Result<Reply> {
    cases::delete(&req.app, req.ctx()?, id(&req)?).await?;
    Ok(Reply::empty(204))
}
