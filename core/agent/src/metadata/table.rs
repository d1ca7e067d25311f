//! Which guest stands behind an address: the metadata service's table.
//!
//! Made anew from each desired state, also the one read from disk, so guests get their metadata with the
//! controller gone. Keyed by network and address, because addresses repeat across networks.

use super::content::GuestData;
use super::server::MetadataSource;
use canopy_agent_api::{Desired, NetworkSpec, ServerSpec};
use canopy_types::{NetworkId, ServerId};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

#[derive(Default)]
struct Entries {
    by_address: HashMap<(NetworkId, IpAddr), Arc<GuestData>>,
    by_server: HashMap<ServerId, Arc<GuestData>>,
}

/// Cheap to clone; all clones show the same.
#[derive(Clone, Default)]
pub struct MetadataTable(Arc<RwLock<Entries>>);

impl std::fmt::Debug for MetadataTable {
    /// Guests' user data stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetadataTable").finish_non_exhaustive()
    }
}

impl MetadataTable {
    /// Replaces everything. Guests that did not change are kept as they are: a desired state comes with
    /// every change of any of them.
    pub fn set(&self, desired: &Desired) {
        let mut next = Entries::default();
        for spec in desired.servers.iter().filter(|s| !s.deleted) {
            let guest = self.guest(spec, desired);
            for port in &spec.ports {
                for fixed in &port.fixed_ips {
                    next.by_address.insert((port.network_id, fixed.ip_address), Arc::clone(&guest));
                }
            }
            next.by_server.insert(spec.id, guest);
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    fn guest(&self, spec: &Arc<ServerSpec>, desired: &Desired) -> Arc<GuestData> {
        let mine = |network: &&NetworkSpec| spec.ports.iter().any(|p| p.network_id == network.id);
        // Without the other guests' ports: each guest would keep a copy of all.
        let bare = |network: &NetworkSpec| NetworkSpec { ports: Vec::new(), ..network.clone() };
        let networks: Vec<NetworkSpec> = desired.networks.iter().filter(mine).map(bare).collect();
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match entries.by_server.get(&spec.id) {
            Some(known) if known.is(spec, &networks) => Arc::clone(known),
            _ => Arc::new(GuestData::new(Arc::clone(spec), Arc::new(networks))),
        }
    }
}

impl MetadataSource for MetadataTable {
    fn lookup(&self, network: NetworkId, ip: IpAddr) -> Option<Arc<GuestData>> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        entries.by_address.get(&(network, ip)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_same_address_in_two_networks_is_two_guests() {
        let ((a, mut networks), (b, more)) = (testing::spec_with_network(), testing::spec_with_network());
        networks.extend(more);
        let ip = a.ports[0].fixed_ips[0].ip_address;
        assert_eq!(ip, b.ports[0].fixed_ips[0].ip_address);
        let table = MetadataTable::default();
        let mut desired =
            Desired { revision: 1, servers: vec![a.clone().into(), b.clone().into()], networks };
        table.set(&desired);
        let uuid = |network| {
            let content = table.lookup(network, ip)?.file("openstack/latest/meta_data.json")?;
            serde_json::from_slice::<serde_json::Value>(&content.bytes).ok()?["uuid"]
                .as_str()
                .map(str::to_owned)
        };
        let (net_a, net_b) = (a.ports[0].network_id, b.ports[0].network_id);
        assert_eq!((uuid(net_a), uuid(net_b)), (Some(a.id.to_string()), Some(b.id.to_string())));
        let kept = table.lookup(net_b, ip).unwrap();
        Arc::make_mut(&mut desired.servers[0]).deleted = true;
        table.set(&desired);
        assert_eq!((uuid(net_a), uuid(net_b)), (None, Some(b.id.to_string())));
        assert!(Arc::ptr_eq(&kept, &table.lookup(net_b, ip).unwrap()), "unchanged: not made again");
        desired.networks[1].mtu += 1;
        table.set(&desired);
        assert!(!Arc::ptr_eq(&kept, &table.lookup(net_b, ip).unwrap()));
    }
}
