//! Tenant networks on one host: per network a bridge and a namespace, in which DHCP and metadata answer, so
//! that two tenants with the same addresses never meet; per guest port a source filter.

mod dhcp;
mod plan;

use canopy_sdk::network::{Backend, Item, View, items};

/// The backend.
pub struct Bridges {
    config: Config,
}

/// What an operator may set.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether guests find the metadata service at 169.254.169.254.
    pub metadata: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { metadata: true }
    }
}

const NEEDED: [&str; 5] = [items::BRIDGE, items::NAMESPACE, items::DHCP, items::METADATA, items::ANTISPOOF];

impl Backend for Bridges {
    type Config = Config;

    fn init(config: Config, kinds: &[String]) -> Result<Self, String> {
        let missing: Vec<&str> =
            NEEDED.into_iter().filter(|need| !kinds.iter().any(|kind| kind == need)).collect();
        if missing.is_empty() {
            Ok(Self { config })
        } else {
            Err(format!("this core lacks the item kinds {missing:?}"))
        }
    }

    fn validate(&self, view: &View) -> Result<(), String> {
        view.networks.iter().try_for_each(plan::check)
    }

    fn plan_host(&self, view: &View) -> Result<Vec<Item>, String> {
        let mut plan = Vec::new();
        for network in &view.networks {
            plan.extend(plan::items(network, self.config)?);
        }
        Ok(plan)
    }
}

canopy_sdk::export_backend!(Bridges);

#[cfg(test)]
mod tests;
