//! A server as each microversion shows it: the newest model, with what a version does not know left out.

use crate::request::Req;
use crate::version::v;
use canopy_app::compute::servers::{Listed, ServerAddress, ServerRow};
use canopy_types::{HostId, ProjectId, ServerId, hex};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha224};
use std::collections::BTreeMap;
use std::fmt::Display;

/// A server's name and where it is.
pub struct Brief<'a>(pub &'a Req, pub &'a ServerRow);

impl Serialize for Brief<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(req, server) = self;
        let mut out = serializer.serialize_map(None)?;
        out.serialize_entry("id", &server.id)?;
        out.serialize_entry("name", &server.name)?;
        out.serialize_entry("links", &links(req, server.id))?;
        out.end()
    }
}

/// Written into the answer as it is put together.
struct Link<'a, T> {
    rel: &'static str,
    base: &'a str,
    path: &'static str,
    id: T,
}

impl<T: Display> Serialize for Link<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(None)?;
        out.serialize_entry("rel", self.rel)?;
        out.serialize_entry("href", &Shown(format_args!("{}{}{}", self.base, self.path, self.id)))?;
        out.end()
    }
}

struct Shown<T>(T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

fn links(req: &Req, id: ServerId) -> [Link<'_, ServerId>; 2] {
    let link = |rel, path| Link { rel, base: &req.base, path, id };
    [link("self", "/compute/v2.1/servers/"), link("bookmark", "/compute/servers/")]
}

/// All of a server, written as it is looked at: a list of a thousand is no tree of values on its way.
pub struct Detail<'a> {
    pub req: &'a Req,
    pub listed: &'a Listed,
    /// With what a list leaves out since 2.71: its groups.
    pub alone: bool,
}

impl Serialize for Detail<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { req, listed, alone } = *self;
        let server = &listed.server;
        let derived = server.derived();
        let mut out = serializer.serialize_map(None)?;
        macro_rules! put {
            ($name:expr, $value:expr $(,)?) => {
                out.serialize_entry($name, &$value)?
            };
        }
        put!("id", server.id);
        put!("name", server.name);
        put!("status", derived.status);
        put!("tenant_id", server.project_id);
        put!("user_id", server.user_id);
        put!("metadata", server.metadata);
        put!("hostId", host_hash(&server.project_id, server.host_id));
        match server.image_id {
            None => put!("image", ""),
            Some(id) => put!("image", Reference::new(req, "/compute/images/", id)),
        }
        if req.version >= v(2, 47) {
            put!("flavor", Flavor::of(listed));
        } else {
            put!("flavor", Reference::new(req, "/compute/flavors/", &server.flavor.id));
        }
        put!("created", server.created_at.seconds_z());
        put!("updated", server.updated_at.seconds_z());
        put!("addresses", addresses(&listed.ports.addresses));
        put!("accessIPv4", address(server.access_ip_v4));
        put!("accessIPv6", address(server.access_ip_v6));
        put!("links", links(req, server.id));
        put!("OS-DCF:diskConfig", "MANUAL");
        put!("key_name", server.key_name);
        put!("config_drive", if server.config_drive { "True" } else { "" });
        put!("OS-EXT-AZ:availability_zone", server.host_id.map_or("", |_| &server.availability_zone));
        put!("OS-EXT-STS:task_state", derived.task_state);
        put!("OS-EXT-STS:vm_state", derived.vm_state);
        put!("OS-EXT-STS:power_state", derived.power_state);
        put!("OS-SRV-USG:launched_at", server.launched_at.map(|t| t.micros_naive()));
        put!("OS-SRV-USG:terminated_at", server.deleted_at.map(|t| t.micros_naive()));
        put!("os-extended-volumes:volumes_attached", [(); 0]);
        let groups = &listed.ports.security_groups;
        if !groups.is_empty() {
            put!("security_groups", groups.iter().map(|name| Named { name }).collect::<Vec<_>>());
        }
        if matches!(derived.status, "ACTIVE" | "BUILD" | "REBUILD" | "DELETED") {
            put!("progress", derived.progress());
        }
        if let Some(fault) = &server.fault
            && matches!(derived.status, "ERROR" | "DELETED")
        {
            put!(
                "fault",
                json!({"code": fault.code, "created": fault.created.seconds_z(), "message": fault.message}),
            );
        }
        if listed.shows_extended {
            put!("OS-EXT-SRV-ATTR:host", listed.host.as_ref().map(|host| &host.name));
            put!("OS-EXT-SRV-ATTR:hypervisor_hostname", listed.host.as_ref().map(|host| &host.name));
            put!("OS-EXT-SRV-ATTR:instance_name", server.domain_name());
        }
        if listed.shows_extended && req.version >= v(2, 3) {
            put!("OS-EXT-SRV-ATTR:hostname", server.hostname);
            put!("OS-EXT-SRV-ATTR:launch_index", server.launch_index);
            put!("OS-EXT-SRV-ATTR:reservation_id", server.reservation_id);
            put!("OS-EXT-SRV-ATTR:root_device_name", "/dev/vda");
            put!("OS-EXT-SRV-ATTR:user_data", server.user_data);
            put!("OS-EXT-SRV-ATTR:kernel_id", property(listed, "kernel_id"));
            put!("OS-EXT-SRV-ATTR:ramdisk_id", property(listed, "ramdisk_id"));
        }
        if req.version >= v(2, 9) {
            put!("locked", server.lock.is_some());
        }
        if listed.shows_host_status && req.version >= v(2, 16) {
            put!("host_status", listed.host.as_ref().map_or("", |host| host.health.as_str()));
        }
        if req.version >= v(2, 19) {
            put!("description", server.description);
        }
        if req.version >= v(2, 26) {
            put!("tags", server.tags);
        }
        if req.version >= v(2, 63) {
            // No image's signature is checked here, so no server has any.
            put!("trusted_image_certificates", Value::Null);
        }
        if req.version >= v(2, 73) {
            let reason = server.lock.as_ref().and_then(|lock| lock.reason.as_deref());
            put!("locked_reason", reason);
        }
        if alone && req.version >= v(2, 71) {
            put!("server_groups", listed.groups);
        }
        out.end()
    }
}

/// Left out of the answer to a change, before 2.75.
const NOT_OF_CHANGES: [&str; 5] =
    ["key_name", "config_drive", "security_groups", "host_status", "os-extended-volumes:volumes_attached"];

/// A server as the answer to a change of it.
pub fn changed(req: &Req, listed: &Listed) -> Value {
    let mut shown = serde_json::to_value(Detail { req, listed, alone: true }).unwrap_or_default();
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

fn address(ip: Option<impl ToString>) -> String {
    ip.map(|ip| ip.to_string()).unwrap_or_default()
}

fn property<'a>(listed: &'a Listed, name: &str) -> &'a str {
    listed.server.image.as_ref().and_then(|image| image["properties"][name].as_str()).unwrap_or_default()
}

/// The same for two servers of a project on one host, and tells nothing else.
pub fn host_hash(project: &ProjectId, host: Option<HostId>) -> String {
    let Some(host) = host else { return String::new() };
    hex(Sha224::digest(format!("{project}{host}")))
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
}

/// Something else of the compute service, by its id.
#[derive(Serialize)]
#[serde(bound = "T: Serialize + Display")]
struct Reference<'a, T> {
    id: T,
    links: [Link<'a, T>; 1],
}

impl<'a, T: Copy + Display> Reference<'a, T> {
    /// `path` is where what it refers to is found, by its id.
    fn new(req: &'a Req, path: &'static str, id: T) -> Self {
        Self { id, links: [Link { rel: "bookmark", base: &req.base, path, id }] }
    }
}

/// Since 2.47 what the flavor was when the server was made, which an id cannot lead back to.
#[derive(Serialize)]
struct Flavor<'a> {
    original_name: &'a str,
    vcpus: i64,
    ram: i64,
    disk: i64,
    ephemeral: i64,
    swap: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_specs: Option<&'a BTreeMap<String, String>>,
}

impl<'a> Flavor<'a> {
    fn of(listed: &'a Listed) -> Self {
        let flavor = &listed.server.flavor;
        Self {
            original_name: &flavor.name,
            vcpus: flavor.vcpus,
            ram: flavor.memory_mib,
            disk: flavor.root_gib,
            ephemeral: flavor.ephemeral_gib,
            swap: flavor.swap_mib,
            extra_specs: listed.shows_extra_specs.then_some(&flavor.extra_specs),
        }
    }
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
