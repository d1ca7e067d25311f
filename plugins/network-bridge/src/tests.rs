use super::*;
use serde_json::{Value, json};

const NETWORK: &str = "11111111-2222-4333-8444-555555555555";
const GUEST: &str = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f0";

fn network() -> Value {
    json!({
        "id": NETWORK, "project_id": "0".repeat(32), "segment": 7, "mtu": 1450, "dns_domain": "cloud.example.",
        "subnets": [
            {"id": "s4", "cidr": "10.0.0.0/24", "gateway_ip": "10.0.0.1", "enable_dhcp": true,
             "dns_nameservers": ["9.9.9.9", "2620:fe::fe"],
             "host_routes": [{"destination": "192.168.0.0/16", "nexthop": "10.0.0.9"}],
             "service_ip": "10.0.0.2"},
            {"id": "s6", "cidr": "fd00::/64", "gateway_ip": null, "enable_dhcp": true, "dns_nameservers": [],
             "host_routes": [], "service_ip": "fd00::2"},
        ],
        "ports": [
            {"id": "aaaaaaaa-0000-4000-8000-000000000000", "network_id": NETWORK, "mac": "FA:16:3E:00:00:01",
             "fixed_ips": [{"subnet_id": "s4", "ip_address": "10.0.0.2"}], "admin_state_up": true,
             "port_security": false, "server_id": null, "hostname": ""},
            {"id": GUEST, "network_id": NETWORK, "mac": "fa:16:3E:00:00:02",
             "fixed_ips": [{"subnet_id": "s6", "ip_address": "fd00::5"}, {"subnet_id": "s4", "ip_address": "10.0.0.5"}],
             "admin_state_up": true, "port_security": true, "server_id": "g", "hostname": "web"},
        ],
    })
}

fn plan(networks: Value, config: Config) -> Result<Vec<Item>, String> {
    let kinds: Vec<String> = NEEDED.map(String::from).into();
    let view = View::parse(&json!({"v": 1, "networks": networks}).to_string())?;
    Bridges::init(config, &kinds)?.plan_host(&view)
}

fn body(plan: &[Item], kind: &str) -> Option<Value> {
    let item = plan.iter().find(|item| item.kind == kind)?;
    Some(serde_json::from_str(&item.body).unwrap())
}

#[test]
fn a_network_becomes_bridge_namespace_dhcp_metadata_and_a_filter_per_guest() {
    let plan = plan(json!([network()]), Config::default()).unwrap();
    assert_eq!(plan.len(), 5);
    assert_eq!(body(&plan, "bridge@1").unwrap(), json!({"name": "cnb7", "mtu": 1450}));
    assert_eq!(
        body(&plan, "namespace@1").unwrap(),
        json!({"name": format!("canopy-{NETWORK}"), "bridge": "cnb7", "veth_host": "cnv7", "veth_ns": "eth0",
               "mac": "fa:16:3e:00:00:01", "mtu": 1450,
               "addresses": ["10.0.0.2/24", "fd00::2/64", "169.254.169.254/32"]})
    );
    assert_eq!(
        body(&plan, "dhcp@1").unwrap(),
        json!({"namespace": format!("canopy-{NETWORK}"), "mtu": 1450, "domain": "cloud.example",
               "subnets": [{"id": "s4", "cidr": "10.0.0.0/24", "gateway": "10.0.0.1", "dns": ["9.9.9.9"],
                            "routes": [{"destination": "169.254.169.254/32", "nexthop": "10.0.0.2"},
                                       {"destination": "192.168.0.0/16", "nexthop": "10.0.0.9"}]}],
               "hosts": [{"mac": "fa:16:3e:00:00:02", "ip": "10.0.0.5", "subnet_id": "s4", "hostname": "web"}]})
    );
    assert_eq!(
        body(&plan, "metadata@1").unwrap(),
        json!({"namespace": format!("canopy-{NETWORK}"), "address": "169.254.169.254", "port": 80})
    );
    assert_eq!(
        body(&plan, "antispoof@1").unwrap(),
        json!({"tap": "cnt0f1e2d3c4b5", "mac": "fa:16:3e:00:00:02", "ips": ["10.0.0.5", "fd00::5"]})
    );
}

#[test]
fn the_plan_does_not_depend_on_the_order_of_ports_and_subnets() {
    let mut turned = network();
    for list in ["ports", "subnets"] {
        turned[list].as_array_mut().unwrap().reverse();
    }
    let sorted = |network| {
        let mut items: Vec<_> = plan(json!([network]), Config::default())
            .unwrap()
            .into_iter()
            .map(|i| (i.kind, i.key, i.body))
            .collect();
        items.sort();
        items
    };
    assert_eq!(sorted(network()), sorted(turned));
}

#[test]
fn no_dhcp_no_item_and_no_service_port_a_steady_address() {
    let mut network = network();
    network["subnets"][0]["enable_dhcp"] = json!(false);
    network["subnets"][0]["service_ip"] = json!(null);
    network["ports"].as_array_mut().unwrap().remove(0);
    let plan = plan(json!([network]), Config::default()).unwrap();
    // The IPv6 subnet still says enable_dhcp; DHCPv4 has nothing to serve.
    assert_eq!(body(&plan, "dhcp@1"), None);
    assert_eq!(body(&plan, "namespace@1").unwrap()["mac"], "fa:16:3f:11:11:11");
    assert_eq!(body(&plan, "namespace@1").unwrap()["addresses"], json!(["fd00::2/64", "169.254.169.254/32"]));
}

#[test]
fn ports_that_are_down_get_no_lease_and_unfiltered_ports_no_filter() {
    let mut network = network();
    network["ports"][1]["admin_state_up"] = json!(false);
    network["ports"][1]["port_security"] = json!(false);
    let plan = plan(json!([network]), Config::default()).unwrap();
    assert_eq!(body(&plan, "dhcp@1").unwrap()["hosts"], json!([]));
    assert_eq!(body(&plan, "antispoof@1"), None);
}

#[test]
fn a_nameless_guest_is_named_after_its_address() {
    let mut network = network();
    network["ports"][1]["hostname"] = json!("");
    let plan = plan(json!([network]), Config::default()).unwrap();
    assert_eq!(body(&plan, "dhcp@1").unwrap()["hosts"][0]["hostname"], "host-10-0-0-5");
}

#[test]
fn metadata_can_be_left_out() {
    let plan = plan(json!([network()]), Config { metadata: false }).unwrap();
    assert_eq!(body(&plan, "metadata@1"), None);
    assert_eq!(body(&plan, "namespace@1").unwrap()["addresses"], json!(["10.0.0.2/24", "fd00::2/64"]));
    assert_eq!(body(&plan, "dhcp@1").unwrap()["subnets"][0]["routes"].as_array().unwrap().len(), 1);
}

#[test]
fn what_cannot_be_made_real_is_refused_in_words() {
    for (field, value, word) in [
        ("mtu", json!(67), "MTU"),
        ("segment", json!(-1), "segment"),
        ("segment", json!(10_i64.pow(12)), "segment"),
    ] {
        let mut network = network();
        network[field] = value;
        let error = plan(json!([network]), Config::default()).unwrap_err();
        assert!(error.contains(word) && error.contains(NETWORK), "{error}");
    }
    let mut mixed = network();
    mixed["subnets"][0]["gateway_ip"] = json!("fd00::1");
    assert!(plan(json!([mixed]), Config::default()).unwrap_err().contains("mixes"));
    assert!(Bridges::init(Config::default(), &[]).is_err_and(|e| e.contains("dhcp@1")));
}
