use super::*;
use canopy_sdk::mock;
use serde_json::{Value, json};

fn backend(config: &str) -> Flat {
    mock::backend(config).unwrap()
}

fn place(physical: &str, vlan: Option<u16>) -> Option<Provider> {
    Some(Provider { physical_network: physical.into(), segmentation_id: vlan })
}

/// The VLANs of new networks among these.
fn places(
    backend: &Flat,
    networks: &[(&str, Option<Provider>)],
) -> Result<Vec<(String, Option<u16>)>, String> {
    let places = mock::places(backend, &mock::cluster(networks))?;
    Ok(places.into_iter().map(|(id, place)| (id, place.segmentation_id)).collect())
}

#[test]
fn untagged_there_is_one_network() {
    let flat = backend(r#"{"physical_network": "external"}"#);
    assert_eq!(places(&flat, &[("a", None)]).unwrap(), [("a".into(), None)]);
    let taken = [("a", place("external", None)), ("b", None)];
    assert!(places(&flat, &taken).unwrap_err().contains("exists already"));
    let elsewhere = [("a", place("other", None)), ("b", None)];
    assert_eq!(places(&flat, &elsewhere).unwrap().len(), 1);
}

#[test]
fn each_network_gets_the_lowest_free_vlan_until_there_is_none() {
    let flat = backend(r#"{"physical_network": "external", "vlans": [7, 9]}"#);
    let view = [("a", place("external", Some(7))), ("b", None), ("c", None)];
    assert_eq!(places(&flat, &view).unwrap(), [("b".into(), Some(8)), ("c".into(), Some(9))]);
    let view = [("a", None), ("b", None), ("c", None), ("d", None)];
    assert!(places(&flat, &view).unwrap_err().contains("7 to 9"));
    for bad in ["[0, 9]", "[9, 7]", "[1, 4095]"] {
        let config = format!(r#"{{"physical_network": "external", "vlans": {bad}}}"#);
        assert!(mock::backend::<Flat>(&config).is_err(), "{bad}");
    }
}

#[test]
fn a_network_is_a_bridge_with_a_leg_outside_and_a_filter_for_each_guest() {
    let flat = backend(r#"{"physical_network": "external"}"#);
    let mut view = mock::view(7);
    assert!(mock::plan(&flat, &view).unwrap().is_empty(), "without a place there is nothing");
    view.networks[0].provider =
        Some(Provider { physical_network: "external".into(), segmentation_id: Some(9) });
    let plan = mock::plan(&flat, &view).unwrap();
    let kinds: Vec<&str> = plan.iter().map(|item| item.kind.as_str()).collect();
    assert_eq!(kinds, ["antispoof@1", "bridge@1", "uplink@1"]);
    assert_eq!(
        serde_json::from_str::<Value>(&plan[2].body).unwrap(),
        json!({"name": "cnu7", "bridge": "cnb7", "physical_network": "external", "segmentation_id": 9, "mtu": 1500})
    );
}

#[test]
fn dhcp_is_the_operators() {
    let flat = backend(r#"{"physical_network": "external"}"#);
    let mut view = mock::view(7);
    assert!(flat.validate(&view).unwrap_err().contains("--no-dhcp"));
    view.networks[0].subnets[0].enable_dhcp = false;
    assert!(flat.validate(&view).is_ok());
}
