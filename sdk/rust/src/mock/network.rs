//! Networks for a backend, and its plan held to the rules.

use crate::network::{Assignment, Backend, ClusterBackend, ClusterView, Item, Provider, View};

/// A backend with this configuration, for a core that can apply every kind of item there is.
pub fn backend<B: Backend>(config: &str) -> Result<B, String> {
    let kinds =
        ["bridge@1", "namespace@1", "dhcp@1", "metadata@1", "antispoof@1", "uplink@1"].map(String::from);
    B::init(crate::parse_config(config)?, &kinds)
}

/// A view of one network of this segment, with DHCP and one guest.
pub fn view(segment: i64) -> View {
    let id = |n: i64| format!("{segment:08}-0000-4000-8000-{n:012}");
    let port = |n: i64, mac: &str, ip: &str, server: Option<String>| {
        serde_json::json!({"id": id(n), "network_id": id(1), "mac": mac,
            "fixed_ips": [{"subnet_id": id(2), "ip_address": ip}], "admin_state_up": true,
            "port_security": true, "server_id": server, "hostname": "web"})
    };
    let network = serde_json::json!({"id": id(1), "project_id": "0".repeat(32), "segment": segment, "mtu": 1500,
        "dns_domain": "cloud.example.", "subnets": [{"id": id(2), "cidr": "10.0.0.0/24",
            "gateway_ip": "10.0.0.1", "enable_dhcp": true, "dns_nameservers": ["9.9.9.9"], "host_routes": [],
            "service_ip": "10.0.0.2"}],
        "ports": [port(3, "fa:16:3e:00:00:01", "10.0.0.2", None),
            port(4, "fa:16:3e:00:00:02", "10.0.0.5", Some(id(5)))]});
    let view = serde_json::json!({"v": 1, "networks": [network]});
    View::parse(&view.to_string()).expect("it is written as a view is")
}

/// The plan, as the core would take it: sorted. The error says which rule of the contract it breaks.
pub fn plan<B: Backend>(backend: &B, view: &View) -> Result<Vec<Item>, String> {
    let mut plan = backend.plan_host(view)?;
    if backend.plan_host(view)? != plan {
        return Err("the same networks got another plan".into());
    }
    plan.sort_by(|a, b| (&a.kind, &a.key).cmp(&(&b.kind, &b.key)));
    for pair in plan.windows(2) {
        if (&pair[0].kind, &pair[0].key) == (&pair[1].kind, &pair[1].key) {
            return Err(format!("{} {} comes twice", pair[0].kind, pair[0].key));
        }
    }
    for item in &plan {
        let known = |port: bool| {
            view.networks.iter().any(|network| {
                if port {
                    network.ports.iter().any(|port| port.id == item.key)
                } else {
                    network.id == item.key
                }
            })
        };
        if !known(item.kind == "antispoof@1") {
            return Err(format!("{} {} is about nothing in the view", item.kind, item.key));
        }
        match serde_json::from_str(&item.body) {
            Ok(serde_json::Value::Object(_)) => {}
            _ => return Err(format!("the body of {} {} is no JSON object", item.kind, item.key)),
        }
    }
    Ok(plan)
}

/// Every network of a cloud: by id, with the place that it has; one without is to be made.
pub fn cluster(networks: &[(&str, Option<Provider>)]) -> ClusterView {
    let network = |(id, provider): &(&str, Option<Provider>)| serde_json::json!({"id": id, "project_id": "0".repeat(32), "mtu": 1500, "provider": provider});
    let networks: Vec<serde_json::Value> = networks.iter().map(network).collect();
    let view = serde_json::json!({"v": 1, "networks": networks});
    ClusterView::parse(&view.to_string()).expect("it is written as a view is")
}

/// The places of new networks by their ids, as the core would take them. The error says which rule of the contract the
/// answer breaks, or is the backend's own.
pub fn places<B: ClusterBackend>(backend: &B, view: &ClusterView) -> Result<Vec<(String, Provider)>, String> {
    let answer = backend.plan_cluster(view)?;
    if backend.plan_cluster(view)? != answer {
        return Err("the same networks got other places".into());
    }
    let mut taken: Vec<Provider> =
        view.networks.iter().filter_map(|network| network.provider.clone()).collect();
    let mut places: Vec<(String, Provider)> = Vec::new();
    for Assignment { kind, key, body } in answer {
        if kind != crate::network::items::SEGMENT {
            return Err(format!("kind {kind} is no place of a network"));
        }
        if !view.networks.iter().any(|network| network.id == key && network.provider.is_none()) {
            return Err(format!("{kind} {key} is about no new network in the view"));
        }
        if places.iter().any(|(id, _)| *id == key) {
            return Err(format!("{kind} {key} comes twice"));
        }
        let place: Provider =
            serde_json::from_str(&body).map_err(|e| format!("the body of {kind} {key}: {e}"))?;
        if place.segmentation_id.is_some_and(|vlan| !(1..=4094).contains(&vlan)) {
            return Err(format!("{kind} {key}: a VLAN is 1 to 4094"));
        }
        if taken.contains(&place) {
            return Err(format!("{kind} {key} is in a place that another network has"));
        }
        taken.push(place.clone());
        places.push((key, place));
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers what it is told to.
    struct Told(Vec<(&'static str, &'static str)>);

    impl Backend for Told {
        type Config = serde_json::Value;

        fn init(_: Self::Config, _: &[String]) -> Result<Self, String> {
            Ok(Self(vec![]))
        }

        fn validate(&self, _: &View) -> Result<(), String> {
            Ok(())
        }

        fn plan_host(&self, _: &View) -> Result<Vec<Item>, String> {
            Ok(vec![])
        }
    }

    impl ClusterBackend for Told {
        fn plan_cluster(&self, _: &ClusterView) -> Result<Vec<Assignment>, String> {
            let one = |(key, body): &(&str, &str)| Assignment {
                kind: "segment@1".into(),
                key: (*key).into(),
                body: (*body).into(),
            };
            Ok(self.0.iter().map(one).collect())
        }
    }

    #[test]
    fn places_are_held_to_the_rules() {
        const PLACE: &str = r#"{"physical_network": "x", "segmentation_id": 7}"#;
        let seven = Provider { physical_network: "x".into(), segmentation_id: Some(7) };
        let view = cluster(&[("old", None), ("new", None)]);
        assert_eq!(places(&Told(vec![("new", PLACE)]), &view).unwrap(), [("new".into(), seven.clone())]);
        let held = cluster(&[("old", Some(seven)), ("new", None)]);
        for (answer, view, why) in [
            (vec![("old", PLACE)], &held, "no new network"),
            (vec![("new", PLACE)], &held, "another network has"),
            (vec![("new", PLACE), ("new", PLACE)], &view, "twice"),
            (vec![("new", "{}")], &view, "physical_network"),
            (vec![("new", r#"{"physical_network": "x", "segmentation_id": 4095}"#)], &view, "1 to 4094"),
        ] {
            assert!(places(&Told(answer), view).unwrap_err().contains(why), "{why}");
        }
    }

    #[test]
    fn two_segments_are_two_networks() {
        assert_ne!(view(1).networks[0].id, view(2).networks[0].id);
    }
}
