//! Where networks are in the operator's own: what a backend is told of the cloud, and what its answer must be before
//! anybody acts on it. An answer is taken whole or not at all.

use crate::bindings::network::placing::Assignment;
use crate::schemas;
use canopy_agent_api::ProviderSpec;
use canopy_types::{NetworkId, ProjectId};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Networks of one question.
pub const MAX_NETWORKS: usize = 10_000;
const SEGMENT: &str = "segment@1";

/// One network of the cloud: with its place, or to be made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterNetwork {
    pub id: NetworkId,
    pub project_id: ProjectId,
    /// Octets.
    pub mtu: i64,
    pub provider: Option<ProviderSpec>,
}

/// The places of new networks; one that is absent has none of its own.
pub type Places = BTreeMap<NetworkId, ProviderSpec>;

/// The answer as places, or what is wrong with it.
pub(super) fn check(answer: Vec<Assignment>, asked: &[ClusterNetwork]) -> Result<Places, String> {
    let new: BTreeMap<String, NetworkId> = asked
        .iter()
        .filter(|network| network.provider.is_none())
        .map(|network| (network.id.to_string(), network.id))
        .collect();
    let mut taken: BTreeSet<ProviderSpec> =
        asked.iter().filter_map(|network| network.provider.clone()).collect();
    if answer.len() > new.len() {
        return Err(format!("{} assignments for {} new networks", answer.len(), new.len()));
    }
    let mut places = Places::new();
    for Assignment { kind, key, body } in answer {
        if kind != SEGMENT {
            return Err(format!("kind {kind:?} is no assignment that is known here"));
        }
        let Some(id) = new.get(&key) else {
            return Err(format!("{kind} {key:?} is about no new network"));
        };
        let body = schemas::body(&kind, &key, &body)?;
        let place: ProviderSpec = serde_json::from_value(body.into())
            .map_err(|e| format!("the body of {kind} {key} is no place: {e}"))?;
        if !taken.insert(place.clone()) {
            return Err(format!("{kind} {key} is in a place that another network has"));
        }
        if places.insert(*id, place).is_some() {
            return Err(format!("{kind} {key} comes twice"));
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(provider: Option<ProviderSpec>) -> ClusterNetwork {
        ClusterNetwork { id: NetworkId::random(), project_id: "p".into(), mtu: 1500, provider }
    }

    fn vlan(vlan: u16) -> ProviderSpec {
        ProviderSpec { physical_network: "external".into(), segmentation_id: Some(vlan) }
    }

    fn segment(key: impl ToString, body: &str) -> Assignment {
        Assignment { kind: SEGMENT.into(), key: key.to_string(), body: body.into() }
    }

    const SEVEN: &str = r#"{"physical_network": "external", "segmentation_id": 7}"#;
    const EIGHT: &str = r#"{"physical_network": "external", "segmentation_id": 8}"#;

    #[test]
    fn each_new_network_may_have_a_place_of_its_own() {
        let asked = [network(Some(vlan(7))), network(None), network(None)];
        assert_eq!(check(vec![], &asked), Ok(Places::new()));
        let places = check(vec![segment(asked[1].id, EIGHT)], &asked).unwrap();
        assert_eq!(places, Places::from([(asked[1].id, vlan(8))]));
        let untagged =
            check(vec![segment(asked[1].id, r#"{"physical_network": "external"}"#)], &asked).unwrap();
        assert_eq!(untagged[&asked[1].id].segmentation_id, None);
    }

    #[test]
    fn what_is_not_asked_taken_twice_or_no_place_is_refused_whole() {
        let asked = [network(Some(vlan(7))), network(None), network(None)];
        let (old, new, other) = (asked[0].id, asked[1].id, asked[2].id);
        let kind = Assignment { kind: "segment@2".into(), ..segment(new, EIGHT) };
        for (answer, why) in [
            (vec![kind], "no assignment"),
            (vec![segment(old, EIGHT)], "no new network"),
            (vec![segment(NetworkId::random(), EIGHT)], "no new network"),
            (vec![segment("../x", EIGHT)], "no new network"),
            (vec![segment(new, SEVEN)], "another network has"),
            (vec![segment(new, EIGHT), segment(other, EIGHT)], "another network has"),
            (vec![segment(new, EIGHT), segment(new, r#"{"physical_network": "b"}"#)], "twice"),
            (vec![segment(new, EIGHT); 3], "3 assignments"),
            (vec![segment(new, "[]")], "no JSON object"),
            (vec![segment(new, "{")], "no JSON"),
            (vec![segment(new, "{}")], "physical_network"),
            (vec![segment(new, r#"{"physical_network": "x; rm"}"#)], "physical_network"),
            (vec![segment(new, r#"{"physical_network": "x", "segmentation_id": 0}"#)], "segmentation_id"),
            (vec![segment(new, r#"{"physical_network": "x", "segmentation_id": 4095}"#)], "segmentation_id"),
            (vec![segment(new, r#"{"physical_network": "x", "more": 1}"#)], "more"),
        ] {
            let error = check(answer, &asked).unwrap_err();
            assert!(error.contains(why), "{why}: {error}");
        }
    }
}
