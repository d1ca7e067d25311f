//! What a plan must be before anything acts on it: kinds that we know, about networks and ports of this
//! host only, within bounds, each once. The executor checks the bodies by their kinds.

use crate::Item;
use canopy_agent_api::NetworkSpec;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The kinds that the executor can apply; told to the backend at `init`.
pub(crate) const KINDS: [&str; 5] = ["bridge@1", "namespace@1", "dhcp@1", "metadata@1", "antispoof@1"];
/// Items of one plan.
const MAX_ITEMS: usize = 10_000;
/// Bytes of one body; DHCP of a network has a lease per guest.
const MAX_BODY: usize = 1 << 20;

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
        if body.len() > MAX_BODY {
            return Err(format!(
                "{kind} {key} has a body of {} bytes; at most {MAX_BODY} are allowed",
                body.len()
            ));
        }
        let body = match serde_json::from_str::<Value>(&body) {
            Ok(Value::Object(body)) => canonical(&Value::Object(body)),
            Ok(_) => return Err(format!("the body of {kind} {key} is no JSON object")),
            Err(e) => return Err(format!("the body of {kind} {key} is no JSON: {e}")),
        };
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

    fn known() -> Known {
        Known { networks: ["n".to_owned()].into(), ports: ["p".to_owned()].into() }
    }

    fn item(kind: &str, key: &str, body: &str) -> Item {
        Item { kind: kind.into(), key: key.into(), body: body.into() }
    }

    #[test]
    fn a_plan_comes_out_sorted_and_canonical() {
        let plan = vec![
            item("dhcp@1", "n", r#"{ "b": [1, {"z": null, "a": "\"\n"}], "a": 1.5 }"#),
            item("antispoof@1", "p", "{}"),
        ];
        let plan = check(plan, &known()).unwrap();
        assert_eq!(plan[0], item("antispoof@1", "p", "{}"));
        assert_eq!(plan[1].body, r#"{"a":1.5,"b":[1,{"a":"\"\n","z":null}]}"#);
    }

    #[test]
    fn what_is_not_ours_not_known_not_json_or_too_much_is_refused() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_BODY));
        for (kind, key, body) in [
            ("route@1", "n", "{}"),
            ("bridge@2", "n", "{}"),
            ("bridge@1", "p", "{}"),
            ("antispoof@1", "n", "{}"),
            ("bridge@1", "../n", "{}"),
            ("bridge@1", "n", "[]"),
            ("bridge@1", "n", "{"),
            ("bridge@1", "n", &deep),
            ("bridge@1", "n", &large),
        ] {
            assert!(check(vec![item(kind, key, body)], &known()).is_err(), "{kind} {key}");
        }
        let twice = vec![item("bridge@1", "n", "{}"); 2];
        assert!(check(twice, &known()).unwrap_err().contains("twice"));
        assert!(check(vec![item("bridge@1", "n", "{}"); MAX_ITEMS + 1], &known()).is_err());
    }
}
