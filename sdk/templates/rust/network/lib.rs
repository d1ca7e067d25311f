//! What should exist on a host: here, a bridge per network and a filter per guest, and no services.

use canopy_sdk::network::{Backend, Item, View, items};

pub struct Plugin;

/// What an operator may set: nothing yet.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

impl Backend for Plugin {
    type Config = Config;

    fn init(_: Config, kinds: &[String]) -> Result<Self, String> {
        for needed in [items::BRIDGE, items::ANTISPOOF] {
            if !kinds.iter().any(|kind| kind == needed) {
                return Err(format!("this core cannot apply {needed}"));
            }
        }
        Ok(Self)
    }

    /// The error is shown to the client.
    fn validate(&self, view: &View) -> Result<(), String> {
        view.networks.iter().try_for_each(|network| items::bridge_name(network.segment).map(drop))
    }

    /// The whole set: what is not in it is removed.
    fn plan_host(&self, view: &View) -> Result<Vec<Item>, String> {
        let mut plan = Vec::new();
        for network in &view.networks {
            let bridge = items::Bridge { name: items::bridge_name(network.segment)?, mtu: network.mtu };
            plan.push(items::item(items::BRIDGE, &network.id, &bridge)?);
            for port in network.ports.iter().filter(|port| port.server_id.is_some() && port.port_security) {
                let filter = items::Antispoof::of(port);
                plan.push(items::item(items::ANTISPOOF, &port.id, &filter)?);
            }
        }
        Ok(plan)
    }
}

canopy_sdk::export_backend!(Plugin);

#[cfg(test)]
mod tests {
    use super::*;
    use canopy_sdk::mock;

    #[test]
    fn a_network_is_a_bridge_and_a_guest_has_a_filter() {
        let backend: Plugin = mock::backend("{}").unwrap();
        let plan = mock::plan(&backend, &mock::view(7)).unwrap();
        let kinds: Vec<&str> = plan.iter().map(|item| item.kind.as_str()).collect();
        assert_eq!(kinds, ["antispoof@1", "bridge@1"]);
        assert!(plan[1].body.contains("cnb7"), "{}", plan[1].body);
    }
}
