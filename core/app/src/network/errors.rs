//! neutron's errors: clients match on the names, people read the texts.

use canopy_types::{Error, NetworkId, PortId, SubnetId};
use std::fmt::Display;
use std::net::IpAddr;

pub fn network_not_found(id: impl Display) -> Error {
    Error::not_found("network.NetworkNotFound", format!("Network {} could not be found.", short(id)))
}

pub fn subnet_not_found(id: impl Display) -> Error {
    Error::not_found("network.SubnetNotFound", format!("Subnet {} could not be found.", short(id)))
}

pub fn port_not_found(id: impl Display) -> Error {
    Error::not_found("network.PortNotFound", format!("Port {} could not be found.", short(id)))
}

pub fn group_not_found(id: impl Display) -> Error {
    Error::not_found("network.SecurityGroupNotFound", format!("Security group {} does not exist", short(id)))
}

pub fn default_group() -> Error {
    Error::conflict(
        "network.SecurityGroupCannotRemoveDefault",
        "Insufficient rights for removing default security group.",
    )
}

pub fn group_in_use(id: impl Display) -> Error {
    Error::conflict("network.SecurityGroupInUse", format!("Security Group {} in use.", short(id)))
}

pub fn rule_not_found(id: impl Display) -> Error {
    Error::not_found(
        "network.SecurityGroupRuleNotFound",
        format!("Security group rule {} does not exist", short(id)),
    )
}

/// A request that is well formed and makes no sense.
pub fn invalid(reason: impl Display) -> Error {
    Error::bad_request("network.InvalidInput", format!("Invalid input for operation: {reason}."))
}

/// One attribute's value is none.
pub fn bad_attribute(name: &str, reason: impl Display) -> Error {
    Error::bad_request("network.HTTPBadRequest", format!("Invalid input for {name}. Reason: {reason}."))
}

pub fn disallowed(rule: &str) -> Error {
    Error::forbidden("network.PolicyNotAuthorized", format!("rule:{rule} is disallowed by policy"))
}

pub fn no_addresses_left(network: NetworkId) -> Error {
    Error::conflict(
        "network.IpAddressGenerationFailure",
        format!("No more IP addresses available on network {network}."),
    )
}

pub fn address_taken(ip: IpAddr, subnet: SubnetId) -> Error {
    Error::conflict(
        "network.IpAddressAlreadyAllocated",
        format!("IP address {ip} already allocated in subnet {subnet}"),
    )
}

pub fn invalid_ip_for_network(ip: IpAddr) -> Error {
    Error::bad_request(
        "network.InvalidIpForNetwork",
        format!("IP address {ip} is not a valid IP for any of the subnets on the specified network."),
    )
}

pub fn invalid_ip_for_subnet(ip: IpAddr) -> Error {
    Error::bad_request(
        "network.InvalidIpForSubnet",
        format!("IP address {ip} is not a valid IP for the specified subnet."),
    )
}

pub fn mac_taken(network: NetworkId, mac: &str) -> Error {
    Error::conflict(
        "network.MacAddressInUse",
        format!("Unable to complete operation for network {network}. The mac address {mac} is in use."),
    )
}

pub fn no_macs_left(network: NetworkId) -> Error {
    Error::conflict(
        "network.MacAddressGenerationFailure",
        format!("Unable to generate unique mac on network {network}."),
    )
}

pub fn network_in_use(network: NetworkId, ports: &[PortId]) -> Error {
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    Error::conflict(
        "network.NetworkInUse",
        format!(
            "Unable to complete operation on network {network}. There are one or more ports still in use on the \
             network, id for these ports is: {}.",
            ports.join(",")
        ),
    )
}

pub fn subnet_in_use(subnet: SubnetId) -> Error {
    Error::conflict(
        "network.SubnetInUse",
        format!(
            "Unable to complete operation on subnet {subnet}: One or more ports have an IP allocation from this \
             subnet."
        ),
    )
}

pub fn port_in_use(port: PortId, network: NetworkId, device: &str, what_to_do: &str) -> Error {
    Error::conflict(
        "network.PortInUse",
        format!(
            "Unable to complete operation on port {port} for network {network}. Port already has an attached \
             device {device}. {what_to_do}"
        ),
    )
}

/// An id out of the client's hand: a long one is not echoed.
fn short(id: impl Display) -> String {
    id.to_string().chars().take(64).collect()
}
