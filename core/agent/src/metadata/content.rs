//! What a guest is told about itself, in the layouts that nova serves: OpenStack and EC2.
//!
//! One [`GuestData`] answers both the metadata service and the config drive. Every document is made from
//! the server's specification when it is asked for, so that a change of desired state shows at once and
//! nothing is kept twice. Absent on purpose: `password` (nothing writes one yet), and `random_seed` over
//! HTTP, where it would cross the tenant's network; the config drive carries one.

use super::{ec2, network_data};
use crate::servers::same;
use canopy_agent_api::{NetworkSpec, ServerSpec};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// OpenStack metadata versions, oldest first; `latest` is the last.
pub const VERSIONS: [&str; 8] = [
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
];
const VENDOR_DATA: &str = "2013-10-17";
const NETWORK_DATA: &str = "2015-10-15";
const VENDOR_DATA2: &str = "2016-10-06";

pub const JSON: &str = "application/json";
pub const TEXT: &str = "text/plain";
pub const BYTES: &str = "application/octet-stream";

/// A file or a listing, ready to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub mime: &'static str,
    pub bytes: Vec<u8>,
}

impl Content {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { mime: TEXT, bytes: text.into().into_bytes() }
    }

    /// A listing, one name a line and no newline at the end, as nova prints it.
    pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self::text(names.into_iter().collect::<Vec<_>>().join("\n"))
    }

    fn json(value: &Value) -> Self {
        Self { mime: JSON, bytes: value.to_string().into_bytes() }
    }
}

/// One guest, as the metadata service knows it.
#[derive(Clone, Debug)]
pub struct GuestData {
    pub(super) spec: Arc<ServerSpec>,
    networks: Arc<Vec<NetworkSpec>>,
    user_data: Option<Arc<Vec<u8>>>,
}

impl GuestData {
    /// `networks` must hold those of the server's ports; others are ignored.
    pub fn new(spec: Arc<ServerSpec>, networks: Arc<Vec<NetworkSpec>>) -> Self {
        use base64::Engine;
        let user_data = spec.user_data.as_deref().and_then(|text| {
            // Clients wrap base64 in lines, as `base64` does.
            let compact: String = text.split_ascii_whitespace().collect();
            let decoded = base64::engine::general_purpose::STANDARD.decode(compact);
            if decoded.is_err() {
                tracing::warn!(server_id = %spec.id, "user_data is not base64: not served");
            }
            decoded.ok().map(Arc::new)
        });
        Self { spec, networks, user_data }
    }

    /// Whether [`Self::new`] of these would be the same.
    pub(super) fn is(&self, spec: &Arc<ServerSpec>, networks: &[NetworkSpec]) -> bool {
        same(&self.spec, spec) && *self.networks == *networks
    }

    /// The file or listing at `path`, e.g. `openstack/latest/meta_data.json` or
    /// `/latest/meta-data/hostname`. Slashes at both ends do not matter; `..` finds nothing.
    pub fn file(&self, path: &str) -> Option<Content> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match parts.as_slice() {
            [] => Some(Content::list(ec2::VERSIONS.into_iter().chain(["latest"]))),
            ["openstack"] => Some(Content::list(VERSIONS.into_iter().chain(["latest"]))),
            ["openstack", version] => Some(Content::list(self.names(known(version)?))),
            ["openstack", version, name] => {
                let version = known(version)?;
                // Ends the borrow of the name of the path: only listed files exist.
                let name = self.names(version).into_iter().find(|n| n == name)?;
                self.openstack(name, version)
            }
            [version, rest @ ..] if *version == "latest" || ec2::VERSIONS.contains(version) => {
                ec2::file(self, rest)
            }
            _ => None,
        }
    }

    /// Every file of the config drive, with `seed` as the guest's first entropy.
    pub fn config_drive(&self, seed: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        for version in VERSIONS.into_iter().chain(["latest"]) {
            for name in self.names(known(version).unwrap_or("")) {
                let content = if name == "meta_data.json" {
                    let mut value = self.meta_data(known(version).unwrap_or(""));
                    value.insert("random_seed".into(), encode(seed).into());
                    Some(Content::json(&Value::Object(value)))
                } else {
                    self.file(&format!("openstack/{version}/{name}"))
                };
                files.extend(content.map(|c| (format!("openstack/{version}/{name}"), c.bytes)));
            }
        }
        for version in ["2009-04-04", "latest"] {
            let json = ec2::document(self).to_string().into_bytes();
            files.push((format!("ec2/{version}/meta-data.json"), json));
            let user_data =
                self.user_data().map(|bytes| (format!("ec2/{version}/user-data"), bytes.to_vec()));
            files.extend(user_data);
        }
        files
    }

    pub(super) fn user_data(&self) -> Option<&[u8]> {
        self.user_data.as_deref().map(Vec::as_slice)
    }

    fn names(&self, version: &str) -> Vec<&'static str> {
        let mut names = vec!["meta_data.json"];
        if self.user_data.is_some() {
            names.push("user_data");
        }
        for (name, since) in [
            ("vendor_data.json", VENDOR_DATA),
            ("network_data.json", NETWORK_DATA),
            ("vendor_data2.json", VENDOR_DATA2),
        ] {
            if version >= since {
                names.push(name);
            }
        }
        names
    }

    fn openstack(&self, name: &str, version: &str) -> Option<Content> {
        Some(match name {
            "meta_data.json" => Content::json(&Value::Object(self.meta_data(version))),
            "user_data" => Content { mime: BYTES, bytes: self.user_data()?.to_vec() },
            "network_data.json" => Content::json(&network_data::build(&self.spec, &self.networks)),
            "vendor_data.json" => Content::json(&json!({})),
            // By vendor service; none is configured.
            "vendor_data2.json" => Content::json(&json!({ "static": {} })),
            _ => return None,
        })
    }

    /// Those that have a tag. Where they sit is the guest's to find: a network device by its address.
    fn devices(&self) -> Vec<Value> {
        let (spec, tags) = (&self.spec, &self.spec.device_tags);
        let nics = spec.ports.iter().filter_map(|port| {
            let tag = tags.ports.get(&port.id)?;
            Some(json!({"type": "nic", "bus": "none", "address": "none", "mac": port.mac, "tags": [tag]}))
        });
        let disks = tags.root.iter().map(|tag| {
            json!({"type": "disk", "bus": "none", "address": "none", "path": "/dev/vda", "tags": [tag]})
        });
        nics.chain(disks).collect()
    }

    fn meta_data(&self, version: &str) -> Map<String, Value> {
        let spec = &self.spec;
        let mut data = Map::new();
        data.insert("uuid".into(), spec.id.to_string().into());
        data.insert("name".into(), spec.name.as_str().into());
        data.insert("hostname".into(), spec.hostname.as_str().into());
        data.insert("launch_index".into(), spec.launch_index.into());
        data.insert("availability_zone".into(), spec.availability_zone.as_str().into());
        if !spec.metadata.is_empty() {
            data.insert("meta".into(), json!(spec.metadata));
        }
        if !spec.keys.is_empty() {
            let public: Map<String, Value> =
                spec.keys.iter().map(|k| (k.name.clone(), k.public_key.as_str().into())).collect();
            data.insert("public_keys".into(), public.into());
            let keys: Vec<Value> = spec
                .keys
                .iter()
                .map(|k| json!({ "name": k.name, "type": k.kind, "data": k.public_key }))
                .collect();
            data.insert("keys".into(), keys.into());
        }
        if version >= NETWORK_DATA {
            data.insert("project_id".into(), spec.project_id.as_str().into());
        }
        if version >= "2016-06-30" {
            data.insert("devices".into(), self.devices().into());
        }
        data
    }
}

fn encode(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The version that a path names, with `latest` resolved.
fn known(version: &str) -> Option<&'static str> {
    if version == "latest" {
        return VERSIONS.last().copied();
    }
    VERSIONS.into_iter().find(|v| *v == version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn guest() -> GuestData {
        let (mut spec, networks) = testing::spec_with_network();
        spec.user_data = Some("IyEvYmluL3No\nCg==".into());
        spec.metadata.insert("role".into(), "web".into());
        GuestData::new(Arc::new(spec), Arc::new(networks))
    }

    fn text(guest: &GuestData, path: &str) -> String {
        String::from_utf8(guest.file(path).unwrap_or_else(|| panic!("{path}")).bytes).unwrap()
    }

    #[test]
    fn devices_are_listed_by_their_tags() {
        let (mut spec, networks) = crate::testing::spec_with_network();
        let none = GuestData::new(Arc::new(spec.clone()), Arc::new(networks.clone()));
        assert_eq!(none.meta_data("2016-06-30")["devices"], json!([]));
        let mac = spec.ports[0].mac.clone();
        spec.device_tags.ports.insert(spec.ports[0].id, "lan".into());
        spec.device_tags.root = Some("root".into());
        let tagged = GuestData::new(Arc::new(spec), Arc::new(networks));
        assert_eq!(
            tagged.meta_data("2018-08-27")["devices"],
            json!([
                {"type": "nic", "bus": "none", "address": "none", "mac": mac, "tags": ["lan"]},
                {"type": "disk", "bus": "none", "address": "none", "path": "/dev/vda", "tags": ["root"]},
            ])
        );
        assert!(!tagged.meta_data("2015-10-15").contains_key("devices"));
    }

    #[test]
    fn the_openstack_layout_is_novas() {
        let guest = guest();
        assert!(text(&guest, "/openstack/").ends_with("2018-08-27\nlatest"));
        assert_eq!(text(&guest, "openstack/2012-08-10"), "meta_data.json\nuser_data");
        assert_eq!(
            text(&guest, "openstack/latest"),
            "meta_data.json\nuser_data\nvendor_data.json\nnetwork_data.json\nvendor_data2.json"
        );
        let meta: Value = serde_json::from_str(&text(&guest, "openstack/latest/meta_data.json")).unwrap();
        assert_eq!(meta["uuid"], guest.spec.id.to_string());
        assert_eq!(meta["hostname"], guest.spec.hostname);
        assert_eq!(meta["meta"], json!({ "role": "web" }));
        assert_eq!(meta["keys"][0]["type"], "ssh");
        assert_eq!(meta["public_keys"]["mine"], "ssh-ed25519 AAAA me");
        assert_eq!(meta["devices"], json!([]));
        assert!(meta.get("random_seed").is_none());
        assert_eq!(text(&guest, "openstack/latest/user_data"), "#!/bin/sh\n");
        assert_eq!(guest.file("openstack/latest/vendor_data.json").unwrap().mime, JSON);
        for path in
            ["openstack/1999-01-01", "openstack/latest/../x", "openstack/2012-08-10/network_data.json"]
        {
            assert_eq!(guest.file(path), None, "{path}");
        }
    }

    #[test]
    fn bad_user_data_is_not_served_and_breaks_nothing() {
        let (mut spec, networks) = testing::spec_with_network();
        spec.user_data = Some("not base64!".into());
        let guest = GuestData::new(Arc::new(spec), Arc::new(networks));
        assert_eq!(guest.file("openstack/latest/user_data"), None);
        assert_eq!(guest.file("latest/user-data"), None);
        assert!(guest.file("openstack/latest/meta_data.json").is_some());
    }

    #[test]
    fn the_config_drive_has_every_version_and_a_seed() {
        let files = guest().config_drive(&[1; 512]);
        let find = |path: &str| files.iter().find(|(p, _)| p == path).map(|(_, bytes)| bytes.clone());
        let meta: Value = serde_json::from_slice(&find("openstack/latest/meta_data.json").unwrap()).unwrap();
        assert_eq!(meta["random_seed"].as_str().unwrap().len(), 684);
        assert_eq!(find("openstack/latest/user_data").unwrap(), b"#!/bin/sh\n");
        assert!(find("openstack/2018-08-27/network_data.json").is_some());
        assert!(find("ec2/latest/meta-data.json").is_some());
        assert!(find("ec2/2009-04-04/user-data").is_some());
    }
}
