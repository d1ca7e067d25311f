//! Guests straight in the operator's own network: no namespace, no DHCP, no metadata service.
//!
//! The first network is the operator's, untagged; with VLANs configured, each network gets the lowest free one.
//! Guests learn their addresses from the config drive, or from the operator's own DHCP server.

use canopy_sdk::network::{
    Assignment, Backend, ClusterBackend, ClusterView, Item, Network, Provider, View, items,
};

/// The backend.
pub struct Flat {
    config: Config,
}

/// What an operator may set; `plugin.toml` has the schema and the defaults.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    physical_network: String,
    /// First and last.
    vlans: Option<[u16; 2]>,
}

const NEEDED: [&str; 3] = [items::BRIDGE, items::UPLINK, items::ANTISPOOF];

impl Backend for Flat {
    type Config = Config;

    fn init(config: Config, kinds: &[String]) -> Result<Self, String> {
        let lacking = |need: &&str| !kinds.iter().any(|kind| kind == need);
        if let Some(missing) = NEEDED.into_iter().find(lacking) {
            return Err(format!("this core cannot apply {missing}"));
        }
        match config.vlans {
            Some([first, last]) if first == 0 || last > 4094 || first > last => {
                Err("`vlans` are the first and the last, 1 to 4094".into())
            }
            _ => Ok(Self { config }),
        }
    }

    fn validate(&self, view: &View) -> Result<(), String> {
        for network in &view.networks {
            network.check()?;
            if let Some(subnet) = network.subnets.iter().find(|subnet| subnet.enable_dhcp) {
                return Err(format!(
                    "subnet {} has DHCP, and networks here are the operator's own: create it without (--no-dhcp)",
                    subnet.cidr
                ));
            }
        }
        Ok(())
    }

    fn plan_host(&self, view: &View) -> Result<Vec<Item>, String> {
        let mut plan = Vec::new();
        for network in &view.networks {
            plan.extend(self.items(network)?);
        }
        Ok(plan)
    }
}

impl ClusterBackend for Flat {
    fn plan_cluster(&self, view: &ClusterView) -> Result<Vec<Assignment>, String> {
        let physical = &self.config.physical_network;
        let places = view.networks.iter().filter_map(|network| network.provider.as_ref());
        let mut taken: Vec<Option<u16>> = places
            .filter(|place| place.physical_network == *physical)
            .map(|place| place.segmentation_id)
            .collect();
        let mut answer = Vec::new();
        for network in view.networks.iter().filter(|network| network.provider.is_none()) {
            let free = self.config.candidates().find(|place| !taken.contains(place));
            let segmentation_id = free.ok_or_else(|| self.config.full())?;
            taken.push(segmentation_id);
            let place = Provider { physical_network: physical.clone(), segmentation_id };
            answer.push(items::segment(&network.id, &place)?);
        }
        Ok(answer)
    }
}

impl Flat {
    /// Of a network without a place, which is older than this backend, nothing.
    fn items(&self, network: &Network) -> Result<Vec<Item>, String> {
        network.check()?;
        let Some(place) = &network.provider else { return Ok(vec![]) };
        let bridge = items::Bridge { name: items::bridge_name(network.segment)?, mtu: network.mtu };
        let uplink = items::Uplink {
            name: items::uplink_name(network.segment)?,
            bridge: bridge.name.clone(),
            physical_network: place.physical_network.clone(),
            segmentation_id: place.segmentation_id,
            mtu: network.mtu,
        };
        let mut plan = vec![
            items::item(items::BRIDGE, &network.id, &bridge)?,
            items::item(items::UPLINK, &network.id, &uplink)?,
        ];
        for port in network.ports.iter().filter(|port| port.server_id.is_some() && port.port_security) {
            plan.push(items::item(items::ANTISPOOF, &port.id, &items::Antispoof::of(port))?);
        }
        Ok(plan)
    }
}

impl Config {
    fn candidates(&self) -> impl Iterator<Item = Option<u16>> {
        let vlans = self.vlans.map(|[first, last]| (first..=last).map(Some));
        let untagged = self.vlans.is_none().then_some(None);
        vlans.into_iter().flatten().chain(untagged)
    }

    fn full(&self) -> String {
        let physical = &self.physical_network;
        match self.vlans {
            None => format!("the operator's network {physical} is one network, which exists already"),
            Some([first, last]) => format!("all VLANs of {physical} ({first} to {last}) are taken"),
        }
    }
}

canopy_sdk::export_cluster_backend!(Flat);

#[cfg(test)]
mod tests;
