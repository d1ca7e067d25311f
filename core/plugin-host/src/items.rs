//! What a plan must be before anything acts on it: kinds that we know, about networks and ports of this
//! host only, within bounds, each once, with bodies of their kinds. The executor checks what bodies mean.

use crate::{Item, schemas};
use canopy_agent_api::NetworkSpec;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The kinds that the executor can apply; told to the backend at `init`.
pub(crate) const KINDS: [&str; 6] =
    ["bridge@1", "namespace@1", "dhcp@1", "metadata@1", "antispoof@1", "uplink@1"];
/// Items of one plan.
const MAX_ITEMS: usize = 10_000;

/// Ids that a plan may speak of.
pub(crate) struct Known {
    networks: BTreeSet<String>,
    ports: BTreeSet<String>,
}

impl Known {
    pub(crate) fn of(networks: &[NetworkSpec]) -> Self {
        Self {
            networks: networks.iter().map(|network| network.id.to_string()).collect(),
            ports: networks
                .iter()
                .flat_map(|network| &network.ports)
                .map(|port| port.id.to_string())
                .collect(),
        }
    }
}

/// The plan in canonical form, sorted; or what is wrong with it.
pub(crate) fn check(items: Vec<Item>, known: &Known) -> Result<Vec<Item>, String> {
    if items.len() > MAX_ITEMS {
        return Err(format!("{} items; at most {MAX_ITEMS} are allowed", items.len()));
    }
    let mut plan = BTreeMap::new();
    for Item { kind, key, body } in items {
        let keys = match kind.as_str() {
            "antispoof@1" => &known.ports,
            kind if KINDS.contains(&kind) => &known.networks,
            _ => return Err(format!("kind {kind:?} is unknown here")),
        };
        if !keys.contains(&key) {
            return Err(format!("{kind} {key:?} is about nothing on this host"));
        }
        let body = canonical(&Value::Object(schemas::body(&kind, &key, &body)?));
        if plan.insert((kind.clone(), key.clone()), body).is_some() {
            return Err(format!("{kind} {key} comes twice"));
        }
    }
    Ok(plan.into_iter().map(|((kind, key), body)| Item { kind, key, body }).collect())
}

/// Sorted keys and no spaces, whatever order `serde_json` was built to keep. Depth is bounded by its parser.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            let member = |(key, value): (&String, &Value)| {
                format!("{}:{}", Value::from(key.as_str()), canonical(value))
            };
            format!("{{{}}}", sorted.into_iter().map(member).collect::<Vec<_>>().join(","))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIDGE: &str = r#"{"mtu":1500,"name":"cnb1"}"#;
    const FILTER: &str = r#"{"ips":[],"mac":"fa:16:3e:00:00:01","tap":"cnt11111111222"}"#;

    fn known() -> Known {
        Known { networks: ["n".to_owned()].into(), ports: ["p".to_owned()].into() }
    }

    fn item(kind: &str, key: &str, body: &str) -> Item {
        Item { kind: kind.into(), key: key.into(), body: body.into() }
    }

    #[test]
    fn a_plan_comes_out_sorted_and_canonical() {
        let plan = vec![
            item("bridge@1", "n", r#"{ "name": "cnb1", "mtu": 1500 }"#),
            item("antispoof@1", "p", FILTER),
        ];
        let plan = check(plan, &known()).unwrap();
        assert_eq!(plan[0], item("antispoof@1", "p", FILTER));
        assert_eq!(plan[1].body, r#"{"mtu":1500,"name":"cnb1"}"#);
        let any: Value = serde_json::from_str(r#"{ "b": [1, {"z": null, "a": "\"\n"}], "a": 1.5 }"#).unwrap();
        assert_eq!(canonical(&any), r#"{"a":1.5,"b":[1,{"a":"\"\n","z":null}]}"#);
    }

    #[test]
    fn what_is_not_ours_not_known_not_json_or_too_much_is_refused() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(schemas::MAX_BODY));
        for (kind, key, body) in [
            ("route@1", "n", BRIDGE),
            ("bridge@2", "n", BRIDGE),
            // A place is an answer of `plan-cluster`, no item.
            ("segment@1", "n", r#"{"physical_network":"x"}"#),
            ("bridge@1", "p", BRIDGE),
            ("antispoof@1", "n", FILTER),
            ("bridge@1", "../n", BRIDGE),
            ("bridge@1", "n", "{}"),
            ("uplink@1", "n", BRIDGE),
            ("bridge@1", "n", "[]"),
            ("bridge@1", "n", "{"),
            ("bridge@1", "n", &deep),
            ("bridge@1", "n", &large),
        ] {
            assert!(check(vec![item(kind, key, body)], &known()).is_err(), "{kind} {key}");
        }
        let twice = vec![item("bridge@1", "n", BRIDGE); 2];
        assert!(check(twice, &known()).unwrap_err().contains("twice"));
        let huge = check(vec![item("bridge@1", "n", BRIDGE); MAX_ITEMS + 1], &known());
        assert!(huge.unwrap_err().contains("at most 10000"));
    }
}
