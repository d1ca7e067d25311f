//! The EC2 layout of the metadata: `latest/meta-data/…` and `latest/user-data`.
//!
//! Kept as one JSON document, from which both the tree of plain-text files and the config drive's
//! `ec2/…/meta-data.json` are made. Security groups and floating addresses are not told yet.

use super::content::{BYTES, Content, GuestData};
use serde_json::{Map, Value, json};

pub const VERSIONS: [&str; 9] = [
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
];

/// The file or listing below the version.
pub fn file(guest: &GuestData, path: &[&str]) -> Option<Content> {
    match path {
        [] if guest.user_data().is_some() => Some(Content::list(["meta-data/", "user-data"])),
        [] => Some(Content::list(["meta-data/"])),
        ["user-data"] => Some(Content { mime: BYTES, bytes: guest.user_data()?.to_vec() }),
        // A list of `0=name`, below each number the key: not the shape of the rest.
        ["meta-data", "public-keys", rest @ ..] => public_keys(guest, rest),
        ["meta-data", rest @ ..] => {
            let document = document(guest);
            let node = rest.iter().try_fold(&document, |node, name| node.get(*name))?;
            Some(match node {
                Value::Object(children) => Content::text(listing(children)),
                Value::String(text) => Content::text(text.as_str()),
                other => Content::text(other.to_string()),
            })
        }
        _ => None,
    }
}

fn public_keys(guest: &GuestData, path: &[&str]) -> Option<Content> {
    let keys = &guest.spec.keys;
    let key = |number: &str| keys.get(number.parse::<usize>().ok()?);
    match path {
        _ if keys.is_empty() => None,
        [] => Some(Content::text(
            keys.iter().enumerate().map(|(i, k)| format!("{i}={}", k.name)).collect::<Vec<_>>().join("\n"),
        )),
        [number] => key(number).map(|_| Content::list(["openssh-key"])),
        [number, "openssh-key"] => key(number).map(|k| Content::text(k.public_key.as_str())),
        _ => None,
    }
}

fn listing(children: &Map<String, Value>) -> String {
    let names: Vec<String> = children
        .iter()
        .map(|(name, child)| if child.is_object() { format!("{name}/") } else { name.clone() })
        .collect();
    names.join("\n")
}

/// Everything but user data, as the config drive carries it.
pub fn document(guest: &GuestData) -> Value {
    let spec = &guest.spec;
    let suffix = spec.domain_name.rsplit('-').next().unwrap_or_default();
    let local_ip = spec.ports.iter().flat_map(|p| &p.fixed_ips).map(|f| f.ip_address).find(|ip| ip.is_ipv4());
    let mut data = json!({
        "ami-launch-index": spec.launch_index.to_string(),
        "ami-manifest-path": "FIXME",
        "block-device-mapping": { "ami": "vda", "root": "/dev/vda" },
        "hostname": spec.hostname,
        "instance-action": "none",
        "instance-id": format!("i-{suffix}"),
        "instance-type": spec.flavor.name,
        "local-hostname": spec.hostname,
        "local-ipv4": local_ip.map(|ip| ip.to_string()).unwrap_or_default(),
        "placement": { "availability-zone": spec.availability_zone },
        "public-hostname": spec.hostname,
        "public-ipv4": "",
        "reservation-id": spec.reservation_id,
    });
    if let Value::Object(map) = &mut data {
        if let Some(image) = &spec.image {
            // Nova numbers its images; ours have no number, so the id's first digits stand for it.
            let hex = image.id.to_string();
            map.insert("ami-id".into(), format!("ami-{}", &hex[..8]).into());
        }
        if !spec.keys.is_empty() {
            let keys: Map<String, Value> = spec
                .keys
                .iter()
                .enumerate()
                .map(|(i, k)| (i.to_string(), json!({ "_name": k.name, "openssh-key": k.public_key })))
                .collect();
            map.insert("public-keys".into(), keys.into());
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use std::sync::Arc;

    fn text(guest: &GuestData, path: &str) -> String {
        String::from_utf8(guest.file(path).unwrap_or_else(|| panic!("{path}")).bytes).unwrap()
    }

    #[test]
    fn the_tree_is_novas() {
        let (mut spec, networks) = testing::spec_with_network();
        spec.domain_name = "instance-0000002a".into();
        let address = spec.ports[0].fixed_ips[0].ip_address.to_string();
        let guest = GuestData::new(Arc::new(spec), Arc::new(networks));
        assert!(text(&guest, "/").ends_with("2009-04-04\nlatest"));
        assert_eq!(text(&guest, "latest"), "meta-data/");
        let names = text(&guest, "2009-04-04/meta-data/");
        for name in ["ami-id", "placement/", "public-keys/", "local-ipv4", "reservation-id"] {
            assert!(names.lines().any(|line| line == name), "{name} in {names}");
        }
        assert_eq!(text(&guest, "latest/meta-data/instance-id"), "i-0000002a");
        assert_eq!(text(&guest, "latest/meta-data/local-ipv4"), address);
        assert_eq!(text(&guest, "latest/meta-data/placement/availability-zone"), "nova");
        assert_eq!(text(&guest, "latest/meta-data/public-keys/"), "0=mine");
        assert_eq!(text(&guest, "latest/meta-data/public-keys/0"), "openssh-key");
        assert_eq!(text(&guest, "latest/meta-data/public-keys/0/openssh-key"), "ssh-ed25519 AAAA me");
        for path in ["latest/meta-data/public-keys/1", "latest/meta-data/x", "2030-01-01/meta-data", "x/y"] {
            assert_eq!(guest.file(path), None, "{path}");
        }
    }
}
