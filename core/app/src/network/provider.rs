//! Where a network is in the operator's own networks: what an admin asks for in neutron's words, or what the backend in
//! force says. Both are settled before the transaction, which gives no place twice; and what the backend cannot realise is
//! refused here, in its own words.

use super::errors::invalid;
use crate::App;
use canopy_agent_api::{NetworkSpec, ProviderSpec, is_physical_network, physical_network_trait};
use canopy_plugin_host::network::MAX_NETWORKS;
use canopy_plugin_host::{ClusterNetwork, NetworkPlugin, Places};
use canopy_store::networks as rows;
use canopy_types::{Error, Kind, NetworkId, Result};
use std::collections::{BTreeMap, BTreeSet};

/// VLANs that IEEE 802.1Q leaves to its users.
const VLANS: std::ops::RangeInclusive<i64> = 1..=4094;
/// What the transaction says when another network got the place first.
pub(super) const PLACE_TAKEN: &str = "network.place_taken";

/// A network's place as a client says it: neutron's `provider:` attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedPlace {
    pub network_type: Option<String>,
    pub physical_network: Option<String>,
    pub segmentation_id: Option<i64>,
}

impl WantedPlace {
    pub(super) fn says_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// The attribute that a refusal names.
    pub(super) fn first(&self) -> &'static str {
        match self {
            Self { network_type: Some(_), .. } => "network_type",
            Self { physical_network: Some(_), .. } => "physical_network",
            _ => "segmentation_id",
        }
    }
}

/// The cloud as places depend on it.
pub(super) struct Ground {
    backend: NetworkPlugin,
    /// Every network that has a place.
    placed: Vec<ClusterNetwork>,
    /// Traits that some host has.
    traits: BTreeSet<String>,
}

impl Ground {
    pub(super) async fn of(app: &App) -> Result<Self> {
        let backend = app.plugins.network().now();
        if !backend.places() {
            return Ok(Self { backend, placed: Vec::new(), traits: BTreeSet::new() });
        }
        let most = i64::try_from(MAX_NETWORKS).unwrap_or(i64::MAX);
        let (placed, traits) = app
            .store
            .read(move |c| {
                Box::pin(async move {
                    let placed = rows::placed(c, most).await?;
                    Ok((placed, canopy_store::traits::associated(c).await?))
                })
            })
            .await?;
        let placed = placed
            .into_iter()
            .map(|network| ClusterNetwork {
                id: network.id,
                project_id: network.project_id,
                mtu: network.mtu,
                provider: network.provider,
            })
            .collect();
        Ok(Self { backend, placed, traits: traits.into_iter().collect() })
    }

    /// The place that a client asks for, or none of its own; refused as neutron does.
    pub(super) fn asked(&self, wanted: &WantedPlace) -> Result<Option<ProviderSpec>> {
        let place = decide(wanted, self.backend.places(), |name| self.is_known(name))?;
        if let Some(place) = &place
            && self.placed.iter().any(|network| network.provider.as_ref() == Some(place))
        {
            return Err(in_use(place));
        }
        Ok(place)
    }

    /// The places of those that ask for none, as the backend says.
    pub(super) async fn given(&self, new: Vec<ClusterNetwork>) -> Result<Places> {
        if !self.backend.places() || new.iter().all(|network| network.provider.is_some()) {
            return Ok(Places::new());
        }
        let view = self.placed.iter().cloned().chain(new).collect();
        let places = self.backend.plan_cluster(view).await.map_err(refusal)?;
        match places.values().find(|place| !self.is_known(&place.physical_network)) {
            None => Ok(places),
            Some(place) => Err(Error::unavailable(
                "network.ServiceUnavailable",
                format!(
                    "The network backend places networks in {}, and no host is in it: name it in \
                     [agent.physical_networks] of the hosts, then restart their agents.",
                    place.physical_network
                ),
            )),
        }
    }

    /// Whether some host is in it.
    fn is_known(&self, name: &str) -> bool {
        is_physical_network(name) && self.traits.contains(&physical_network_trait(name))
    }
}

/// Asks the backend whether it can realise these networks. Its no is the client's 400; that it fails is nobody's.
pub(super) async fn validate(app: &App, networks: Vec<NetworkSpec>) -> Result<()> {
    match app.plugins.network().now().validate(networks).await {
        Err(error) if error.kind != Kind::BadRequest => {
            tracing::warn!(error = %error.chain(), "the network backend could not be asked; nothing is refused");
            Ok(())
        }
        outcome => outcome.map_err(refusal),
    }
}

/// A network as it would be, with nobody on it yet.
pub(super) fn as_it_would_be(
    network: &rows::Network,
    subnets: &[canopy_store::subnets::Subnet],
) -> NetworkSpec {
    canopy_store::ports::spec_of_network(network, subnets, &BTreeMap::new())
}

/// The traits of a host that can have ports on these networks.
pub(crate) async fn traits(app: &App, networks: impl Iterator<Item = NetworkId>) -> Result<Vec<String>> {
    let ids: Vec<NetworkId> = networks.collect::<BTreeSet<_>>().into_iter().collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let networks = app.store.read(move |c| Box::pin(rows::of_ids(c, ids))).await?;
    let places = networks.into_values().filter_map(|network| network.provider);
    let traits: BTreeSet<String> =
        places.map(|place| physical_network_trait(&place.physical_network)).collect();
    Ok(traits.into_iter().collect())
}

fn refusal(error: Error) -> Error {
    if error.kind == Kind::BadRequest { invalid(error.message.trim_end_matches('.')) } else { error }
}

/// 409, in neutron's words.
pub(super) fn in_use(place: &ProviderSpec) -> Error {
    let physical = &place.physical_network;
    match place.segmentation_id {
        Some(vlan) => Error::conflict(
            "network.VlanIdInUse",
            format!(
                "Unable to create the network. The VLAN {vlan} on physical network {physical} is in use."
            ),
        ),
        None => Error::conflict(
            "network.FlatNetworkInUse",
            format!("Unable to create the flat network. Physical network {physical} is in use."),
        ),
    }
}

/// neutron's rules for the three attributes.
fn decide(wanted: &WantedPlace, places: bool, known: impl Fn(&str) -> bool) -> Result<Option<ProviderSpec>> {
    let WantedPlace { network_type, physical_network, segmentation_id } = wanted;
    if wanted.says_nothing() {
        return Ok(None);
    }
    let Some(kind) = network_type.as_deref() else { return Err(invalid("network_type required")) };
    let shown: String = kind.chars().take(64).collect();
    match (kind, places) {
        // What every network is where no backend says otherwise.
        ("local", false) => {
            return match (physical_network, segmentation_id) {
                (None, None) => Ok(None),
                (Some(_), _) => Err(invalid("physical_network prohibited for local provider network")),
                (None, Some(_)) => Err(invalid("segmentation_id prohibited for local provider network")),
            };
        }
        ("flat" | "vlan", true) => {}
        _ => return Err(invalid(format!("network_type value '{shown}' not supported"))),
    }
    let named = if kind == "vlan" { "VLAN" } else { kind };
    let Some(physical) = physical_network else {
        return Err(invalid(match segmentation_id {
            Some(_) if kind == "vlan" => {
                "segmentation_id requires physical_network for VLAN provider network".to_owned()
            }
            _ => format!("physical_network required for {named} provider network"),
        }));
    };
    if !known(physical) {
        let shown: String = physical.chars().take(64).collect();
        return Err(invalid(format!("physical_network '{shown}' unknown for {named} provider network")));
    }
    let segmentation_id = match (kind, segmentation_id) {
        ("flat", None) => None,
        ("flat", Some(_)) => {
            return Err(invalid("segmentation_id prohibited for flat provider network"));
        }
        (_, Some(vlan)) => match u16::try_from(*vlan).ok().filter(|_| VLANS.contains(vlan)) {
            Some(vlan) => Some(vlan),
            None => {
                let (least, most) = (VLANS.start(), VLANS.end());
                return Err(invalid(format!("segmentation_id out of range ({least} through {most})")));
            }
        },
        (_, None) => {
            return Err(invalid(format!(
                "Physical network {physical} requires segmentation_id to be specified when creating a provider \
                 network"
            )));
        }
    };
    Ok(Some(ProviderSpec { physical_network: physical.clone(), segmentation_id }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(kind: Option<&str>, physical: Option<&str>, vlan: Option<i64>) -> WantedPlace {
        WantedPlace {
            network_type: kind.map(str::to_owned),
            physical_network: physical.map(str::to_owned),
            segmentation_id: vlan,
        }
    }

    fn decided(wanted: &WantedPlace) -> Result<Option<ProviderSpec>> {
        decide(wanted, true, |name| name == "external")
    }

    #[test]
    fn what_is_right_is_a_place() {
        assert_eq!(decided(&WantedPlace::default()).unwrap(), None);
        let place = |vlan| ProviderSpec { physical_network: "external".into(), segmentation_id: vlan };
        let flat = decided(&wanted(Some("flat"), Some("external"), None)).unwrap();
        assert_eq!(flat, Some(place(None)));
        let vlan = decided(&wanted(Some("vlan"), Some("external"), Some(4094))).unwrap();
        assert_eq!(vlan, Some(place(Some(4094))));
        let local = wanted(Some("local"), None, None);
        assert_eq!(decide(&local, false, |_| false).unwrap(), None);
    }

    #[test]
    fn what_is_wrong_is_refused_in_neutrons_words() {
        for (kind, physical, vlan, why) in [
            (None, Some("external"), None, "network_type required"),
            (None, None, Some(7), "network_type required"),
            (Some("vxlan"), None, None, "'vxlan' not supported"),
            (Some("local"), None, None, "'local' not supported"),
            (Some("flat"), None, None, "physical_network required for flat"),
            (Some("vlan"), None, None, "physical_network required for VLAN"),
            (Some("vlan"), None, Some(7), "requires physical_network"),
            (Some("flat"), Some("dmz"), None, "'dmz' unknown for flat"),
            (Some("vlan"), Some("External"), Some(7), "'External' unknown for VLAN"),
            (Some("flat"), Some("external"), Some(7), "prohibited for flat"),
            (Some("vlan"), Some("external"), None, "requires segmentation_id"),
            (Some("vlan"), Some("external"), Some(0), "out of range (1 through 4094)"),
            (Some("vlan"), Some("external"), Some(4095), "out of range"),
            (Some("vlan"), Some("external"), Some(65_537), "out of range"),
            (Some("vlan"), Some("external"), Some(-1), "out of range"),
        ] {
            let error = decided(&wanted(kind, physical, vlan)).unwrap_err();
            assert_eq!((error.kind, error.code), (Kind::BadRequest, "network.InvalidInput"));
            assert!(error.message.contains(why), "{why}: {}", error.message);
        }
        for (kind, physical) in [("flat", None), ("vlan", Some("external")), ("local", Some("external"))] {
            assert!(decide(&wanted(Some(kind), physical, None), false, |_| true).is_err(), "{kind}");
        }
    }
}
