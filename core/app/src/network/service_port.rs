//! The port of a network's DHCP and metadata service: made with the first subnet that wants DHCP, gone with
//! the last. It has one address in each such subnet, the same on every host, and counts against no quota.

use super::{addresses, errors, or_gone};
use canopy_store::Conn;
use canopy_store::networks::Network;
use canopy_store::ports::{self, Port};
use canopy_store::subnets::Subnet;
use canopy_types::{NetworkId, PortId, Result, Timestamp};

/// How often another MAC address is drawn.
pub(super) const DRAWS: usize = 16;

/// Gives the service an address in `subnet`. The network's row is locked.
pub async fn serve(conn: &mut Conn, network: &Network, subnet: &Subnet, now: Timestamp) -> Result<()> {
    let port = match ports::dhcp_of(conn, network.id).await? {
        Some(port) => port,
        None => insert(conn, network, now).await?,
    };
    if port.fixed_ips.iter().any(|address| address.subnet_id == subnet.id) {
        return Ok(());
    }
    addresses::pick(conn, subnet, port.id).await?.ok_or_else(|| errors::no_addresses_left(network.id))?;
    ports::lock(conn, port.id, now).await?;
    Ok(())
}

async fn insert(conn: &mut Conn, network: &Network, now: Timestamp) -> Result<Port> {
    let mut port = Port {
        id: PortId::random(),
        network_id: network.id,
        project_id: network.project_id.clone(),
        name: String::new(),
        description: String::new(),
        mac: String::new(),
        admin_state_up: true,
        status: "ACTIVE".into(),
        device_id: format!("dhcp-{}", network.id),
        device_owner: ports::DHCP_OWNER.into(),
        owned_by_server: false,
        host_id: None,
        port_security: false,
        security_groups: Vec::new(),
        revision: 1,
        created_at: now,
        updated_at: now,
        fixed_ips: Vec::new(),
        host_name: None,
    };
    insert_with_mac(conn, &mut port, None).await?;
    Ok(port)
}

/// Inserts a port under the MAC address given, or under a new one that the network does not have yet.
pub(super) async fn insert_with_mac(conn: &mut Conn, port: &mut Port, mac: Option<&str>) -> Result<()> {
    let network = port.network_id;
    let gone = |e| or_gone(e, || errors::network_not_found(network));
    if let Some(mac) = mac {
        port.mac = mac.to_owned();
        let made = ports::insert(conn, port).await.map_err(gone)?;
        return if made { Ok(()) } else { Err(errors::mac_taken(network, mac)) };
    }
    for _ in 0..DRAWS {
        port.mac = addresses::random_mac()?;
        if ports::insert(conn, port).await.map_err(gone)? {
            return Ok(());
        }
    }
    Err(errors::no_macs_left(network))
}

/// Takes the service's address in `subnet`, and its port with the last one. The network's row is locked.
pub async fn leave(conn: &mut Conn, subnet: &Subnet, now: Timestamp) -> Result<()> {
    let Some(port) = ports::dhcp_of(conn, subnet.network_id).await? else { return Ok(()) };
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        port.fixed_ips.iter().copied().partition(|a| a.subnet_id == subnet.id);
    if elsewhere.is_empty() {
        ports::delete(conn, port.id).await?;
        return Ok(());
    }
    for address in here {
        ports::drop_address(conn, address, port.id).await?;
    }
    ports::lock(conn, port.id, now).await?;
    Ok(())
}

pub async fn remove(conn: &mut Conn, network: NetworkId) -> Result<()> {
    if let Some(port) = ports::dhcp_of(conn, network).await? {
        ports::delete(conn, port.id).await?;
    }
    Ok(())
}
