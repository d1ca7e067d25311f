//! Networks for a backend, and its plan held to the rules.

use crate::network::{Backend, Item, View};

/// A backend with this configuration, for a core that can apply every kind of item there is.
pub fn backend<B: Backend>(config: &str) -> Result<B, String> {
    let kinds = ["bridge@1", "namespace@1", "dhcp@1", "metadata@1", "antispoof@1"].map(String::from);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_segments_are_two_networks() {
        assert_ne!(view(1).networks[0].id, view(2).networks[0].id);
    }
}
