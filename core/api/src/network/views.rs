//! Resources in neutron's shapes.

use canopy_app::network::rows::{Network, Port, Rule, SecurityGroup, Subnet};
use serde_json::{Map, Value, json};

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// `provider` shows what the network is made of: a bridge on each host.
pub fn network(network: &Network, provider: bool) -> Map<String, Value> {
    let mut view = map(json!({
        "id": network.id,
        "name": network.name,
        "description": network.description,
        "tenant_id": network.project_id,
        "project_id": network.project_id,
        "admin_state_up": network.admin_state_up,
        "status": "ACTIVE",
        "subnets": network.subnets,
        "shared": network.shared,
        "router:external": false,
        "mtu": network.mtu,
        "port_security_enabled": network.port_security,
        "availability_zone_hints": [],
        "availability_zones": [],
        "ipv4_address_scope": null,
        "ipv6_address_scope": null,
        "tags": [],
        "created_at": network.created_at.seconds_z(),
        "updated_at": network.updated_at.seconds_z(),
        "revision_number": network.revision,
    }));
    if provider {
        let place = network.provider.as_ref();
        let kind = match place.map(|place| place.segmentation_id) {
            None => "local",
            Some(None) => "flat",
            Some(Some(_)) => "vlan",
        };
        view.insert("provider:network_type".into(), json!(kind));
        view.insert("provider:physical_network".into(), json!(place.map(|place| &place.physical_network)));
        view.insert("provider:segmentation_id".into(), json!(place.and_then(|place| place.segmentation_id)));
    }
    view
}

pub fn subnet(subnet: &Subnet) -> Map<String, Value> {
    map(json!({
        "id": subnet.id,
        "name": subnet.name,
        "description": subnet.description,
        "tenant_id": subnet.project_id,
        "project_id": subnet.project_id,
        "network_id": subnet.network_id,
        "ip_version": if subnet.cidr.addr().is_ipv4() { 4 } else { 6 },
        "cidr": subnet.cidr,
        "gateway_ip": subnet.gateway_ip,
        "enable_dhcp": subnet.enable_dhcp,
        "dns_nameservers": subnet.dns_nameservers,
        "host_routes": subnet.host_routes,
        "allocation_pools": subnet.allocation_pools,
        "ipv6_ra_mode": null,
        "ipv6_address_mode": null,
        "subnetpool_id": null,
        "service_types": [],
        "tags": [],
        "created_at": subnet.created_at.seconds_z(),
        "updated_at": subnet.updated_at.seconds_z(),
        "revision_number": subnet.revision,
    }))
}

/// `binding` shows the host.
pub fn port(port: &Port, binding: bool) -> Map<String, Value> {
    let fixed_ips: Vec<Value> =
        port.fixed_ips.iter().map(|a| json!({"subnet_id": a.subnet_id, "ip_address": a.ip})).collect();
    let mut view = map(json!({
        "id": port.id,
        "name": port.name,
        "description": port.description,
        "tenant_id": port.project_id,
        "project_id": port.project_id,
        "network_id": port.network_id,
        "mac_address": port.mac,
        "admin_state_up": port.admin_state_up,
        "status": port.status,
        "device_id": port.device_id,
        "device_owner": port.device_owner,
        "fixed_ips": fixed_ips,
        "port_security_enabled": port.port_security,
        "security_groups": port.security_groups,
        "allowed_address_pairs": [],
        "extra_dhcp_opts": [],
        "binding:vnic_type": "normal",
        "tags": [],
        "created_at": port.created_at.seconds_z(),
        "updated_at": port.updated_at.seconds_z(),
        "revision_number": port.revision,
    }));
    if binding {
        let kind = if port.host_id.is_some() { "bridge" } else { "unbound" };
        view.insert("binding:host_id".into(), json!(port.host_name.as_deref().unwrap_or_default()));
        view.insert("binding:vif_type".into(), json!(kind));
        view.insert("binding:vif_details".into(), json!({}));
        view.insert("binding:profile".into(), json!({}));
    }
    view
}

pub fn group(group: &SecurityGroup, rules: &[Rule]) -> Map<String, Value> {
    map(json!({
        "id": group.id,
        "name": group.name,
        "description": group.description,
        "tenant_id": group.project_id,
        "project_id": group.project_id,
        "stateful": true,
        "shared": false,
        "security_group_rules": rules.iter().map(rule).collect::<Vec<_>>(),
        "tags": [],
        "created_at": group.created_at.seconds_z(),
        "updated_at": group.updated_at.seconds_z(),
        "revision_number": group.revision,
    }))
}

pub fn rule(rule: &Rule) -> Map<String, Value> {
    map(json!({
        "id": rule.id,
        "tenant_id": rule.project_id,
        "project_id": rule.project_id,
        "security_group_id": rule.group_id,
        "direction": rule.direction,
        "ethertype": rule.ethertype,
        "protocol": rule.protocol,
        "port_range_min": rule.port_min,
        "port_range_max": rule.port_max,
        "remote_group_id": rule.remote_group_id,
        "remote_ip_prefix": rule.remote_ip_prefix,
        "remote_address_group_id": null,
        "description": rule.description,
        "created_at": rule.created_at.seconds_z(),
        "updated_at": rule.created_at.seconds_z(),
        "revision_number": 0,
    }))
}
