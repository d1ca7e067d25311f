//! A server as each microversion shows it: the newest model, with what a version does not know left out.

use crate::request::Req;
use crate::version::v;
use canopy_app::compute::servers::{Listed, ServerAddress, ServerRow};
use canopy_types::{HostId, ProjectId, ServerId};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha224};

pub fn brief(req: &Req, server: &ServerRow) -> Value {
    json!({"id": server.id, "name": server.name, "links": links(req, server.id)})
}

fn links(req: &Req, id: ServerId) -> Value {
    json!([
        {"rel": "self", "href": format!("{}/compute/v2.1/servers/{id}", req.base)},
        {"rel": "bookmark", "href": format!("{}/compute/servers/{id}", req.base)},
    ])
}

pub fn detail(req: &Req, listed: &Listed) -> Value {
    let server = &listed.server;
    let derived = server.derived();
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        out.insert(key.to_owned(), value);
    };
    put("id", json!(server.id));
    put("name", json!(server.name));
    put("status", json!(derived.status));
    put("tenant_id", json!(server.project_id));
    put("user_id", json!(server.user_id));
    put("metadata", json!(server.metadata));
    put("hostId", json!(host_hash(&server.project_id, server.host_id)));
    put("image", image(req, listed));
    put("flavor", flavor(req, listed));
    put("created", json!(server.created_at.seconds_z()));
    put("updated", json!(server.updated_at.seconds_z()));
    put("addresses", addresses(&listed.ports.addresses));
    put("accessIPv4", address(server.access_ip_v4));
    put("accessIPv6", address(server.access_ip_v6));
    put("links", links(req, server.id));
    put("OS-DCF:diskConfig", json!("MANUAL"));
    put("key_name", json!(server.key_name));
    put("config_drive", json!(if server.config_drive { "True" } else { "" }));
    put(
        "OS-EXT-AZ:availability_zone",
        json!(if server.host_id.is_some() { &server.availability_zone } else { "" }),
    );
    put("OS-EXT-STS:task_state", json!(derived.task_state));
    put("OS-EXT-STS:vm_state", json!(derived.vm_state));
    put("OS-EXT-STS:power_state", json!(derived.power_state));
    put("OS-SRV-USG:launched_at", json!(server.launched_at.map(|t| t.micros_naive())));
    put("OS-SRV-USG:terminated_at", json!(server.deleted_at.map(|t| t.micros_naive())));
    put("os-extended-volumes:volumes_attached", json!([]));
    let groups = &listed.ports.security_groups;
    if !groups.is_empty() {
        put("security_groups", groups.iter().map(|name| json!({"name": name})).collect());
    }
    if matches!(derived.status, "ACTIVE" | "BUILD" | "REBUILD" | "DELETED") {
        put("progress", json!(derived.progress()));
    }
    if let Some(fault) = &server.fault
        && matches!(derived.status, "ERROR" | "DELETED")
    {
        put(
            "fault",
            json!({"code": fault.code, "created": fault.created.seconds_z(), "message": fault.message}),
        );
    }
    if listed.shows_extended {
        put("OS-EXT-SRV-ATTR:host", json!(listed.host.as_ref().map(|host| &host.name)));
        put("OS-EXT-SRV-ATTR:hypervisor_hostname", json!(listed.host.as_ref().map(|host| &host.name)));
        put("OS-EXT-SRV-ATTR:instance_name", json!(server.domain_name()));
    }
    if listed.shows_extended && req.version >= v(2, 3) {
        put("OS-EXT-SRV-ATTR:hostname", json!(server.hostname));
        put("OS-EXT-SRV-ATTR:launch_index", json!(server.launch_index));
        put("OS-EXT-SRV-ATTR:reservation_id", json!(server.reservation_id));
        put("OS-EXT-SRV-ATTR:root_device_name", json!("/dev/vda"));
        put("OS-EXT-SRV-ATTR:user_data", json!(server.user_data));
        put("OS-EXT-SRV-ATTR:kernel_id", json!(property(listed, "kernel_id")));
        put("OS-EXT-SRV-ATTR:ramdisk_id", json!(property(listed, "ramdisk_id")));
    }
    if req.version >= v(2, 9) {
        put("locked", json!(server.lock.is_some()));
    }
    if listed.shows_host_status && req.version >= v(2, 16) {
        put("host_status", json!(listed.host.as_ref().map_or("", |host| host.health.as_str())));
    }
    if req.version >= v(2, 19) {
        put("description", json!(server.description));
    }
    if req.version >= v(2, 26) {
        put("tags", json!(server.tags));
    }
    if req.version >= v(2, 63) {
        // No image's signature is checked here, so no server has any.
        put("trusted_image_certificates", Value::Null);
    }
    if req.version >= v(2, 73) {
        let reason = server.lock.as_ref().and_then(|lock| lock.reason.as_deref());
        put("locked_reason", json!(reason));
    }
    Value::Object(out)
}

/// A server alone, with what a list leaves out since 2.71: its groups.
pub fn alone(req: &Req, listed: &Listed) -> Value {
    let mut shown = detail(req, listed);
    if req.version >= v(2, 71) {
        shown["server_groups"] = json!(listed.groups);
    }
    shown
}

/// Left out of the answer to a change, before 2.75.
const NOT_OF_CHANGES: [&str; 5] =
    ["key_name", "config_drive", "security_groups", "host_status", "os-extended-volumes:volumes_attached"];

/// A server as the answer to a change of it.
pub fn changed(req: &Req, listed: &Listed) -> Value {
    let mut shown = alone(req, listed);
    let whole = req.version >= v(2, 75);
    let Some(fields) = shown.as_object_mut() else { return Value::Null };
    if whole {
        return shown;
    }
    fields.retain(|name, _| {
        // The extensions, by their prefixes.
        !name.starts_with("OS-EXT-")
            && !name.starts_with("OS-SRV-")
            && !NOT_OF_CHANGES.contains(&name.as_str())
    });
    let networks = fields.get_mut("addresses").and_then(Value::as_object_mut).into_iter();
    for address in
        networks.flat_map(|networks| networks.values_mut()).filter_map(Value::as_array_mut).flatten()
    {
        if let Some(address) = address.as_object_mut() {
            address.retain(|name, _| !name.starts_with("OS-EXT-"));
        }
    }
    shown
}

fn address(ip: Option<impl ToString>) -> Value {
    json!(ip.map(|ip| ip.to_string()).unwrap_or_default())
}

fn property<'a>(listed: &'a Listed, name: &str) -> &'a str {
    listed.server.image.as_ref().and_then(|image| image["properties"][name].as_str()).unwrap_or_default()
}

/// The same for two servers of a project on one host, and tells nothing else.
pub fn host_hash(project: &ProjectId, host: Option<HostId>) -> String {
    let Some(host) = host else { return String::new() };
    let hash = Sha224::digest(format!("{project}{host}"));
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn image(req: &Req, listed: &Listed) -> Value {
    match listed.server.image_id {
        None => json!(""),
        Some(id) => json!({
            "id": id,
            "links": [{"rel": "bookmark", "href": format!("{}/compute/images/{id}", req.base)}],
        }),
    }
}

/// Since 2.47 what the flavor was when the server was made, which an id cannot lead back to.
fn flavor(req: &Req, listed: &Listed) -> Value {
    let flavor = &listed.server.flavor;
    if req.version >= v(2, 47) {
        let mut shown = json!({
            "original_name": flavor.name,
            "vcpus": flavor.vcpus,
            "ram": flavor.memory_mib,
            "disk": flavor.root_gib,
            "ephemeral": flavor.ephemeral_gib,
            "swap": flavor.swap_mib,
        });
        if listed.shows_extra_specs {
            shown["extra_specs"] = json!(flavor.extra_specs);
        }
        return shown;
    }
    let id = &flavor.id;
    json!({"id": id, "links": [{"rel": "bookmark", "href": format!("{}/compute/flavors/{id}", req.base)}]})
}

/// By network name, in port order.
pub fn addresses(addresses: &[ServerAddress]) -> Value {
    let mut by_network: Map<String, Value> = Map::new();
    for address in addresses {
        let entry = by_network.entry(address.network.clone()).or_insert_with(|| json!([]));
        if let Some(list) = entry.as_array_mut() {
            list.push(json!({
                "version": if address.ip.is_ipv4() { 4 } else { 6 },
                "addr": address.ip,
                "OS-EXT-IPS:type": "fixed",
                "OS-EXT-IPS-MAC:mac_addr": address.mac,
            }));
        }
    }
    Value::Object(by_network)
}
