//! One TOML file; every key has a default, an unknown key is an error.

use canopy_types::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the API. Beyond loopback it would need TLS, which is not offered yet, so it is refused.
    pub listen: SocketAddr,
    /// Scheme and authority for links, e.g. `http://cloud.example:8080`; the Host header otherwise.
    pub public_url: Option<String>,
    /// Database, images, keys and the in-process agent's state.
    pub data_dir: PathBuf,
    pub region: String,
    /// Zone of hosts that register here.
    pub zone: String,
    pub token_seconds: i64,
    pub image_max_gib: u64,
    /// What the journal of placement decisions may take of `data_dir`.
    pub journal_mib: u64,
    pub log: Log,
    pub database: Database,
    pub plugins: Plugins,
    pub policies: Policies,
    pub audit: Audit,
    /// Proxies whose `X-Forwarded-For` says where a client is; policies and the audit log see that address.
    pub trusted_proxies: Vec<IpAddr>,
    pub quota: Quota,
    pub agent: Agent,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8774)),
            public_url: None,
            data_dir: PathBuf::from("/var/lib/canopy"),
            region: "RegionOne".into(),
            zone: "nova".into(),
            token_seconds: 3_600,
            image_max_gib: 64,
            journal_mib: 256,
            log: Log::default(),
            database: Database::default(),
            plugins: Plugins::default(),
            policies: Policies::default(),
            audit: Audit::default(),
            trusted_proxies: Vec::new(),
            quota: Quota::default(),
            agent: Agent::default(),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// One JSON object a line instead of text.
    pub json: bool,
    /// As in `RUST_LOG`, which wins: `info`, `canopy_app=debug`, …
    pub filter: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// `postgres://…`; SQLite in `data_dir` otherwise.
    pub url: Option<String>,
}

/// Folders that hold `plugin.toml` and the component. Without one the built-in stands in.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plugins {
    pub scheduler: Option<PathBuf>,
    pub quota: Option<PathBuf>,
    pub network: Option<PathBuf>,
    /// Given to the plugin at its start, checked against its own schema.
    pub config: BTreeMap<String, toml::Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policies {
    /// The bundle that came with this binary otherwise. A folder of a git work tree is read at the commit
    /// that is checked out. A change is loaded within seconds, if it is valid.
    pub dir: Option<PathBuf>,
}

/// The audit log, under `<data_dir>/audit`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// The oldest files go when all together are larger, MiB.
    pub max_mib: u64,
}

impl Default for Audit {
    fn default() -> Self {
        Self { max_mib: 1_024 }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// Limits of projects that have none of their own; −1 is no limit.
    pub defaults: BTreeMap<String, i64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Agent {
    /// `canopy serve`: run the agent of this host in the same process.
    pub enabled: bool,
    /// Unique among hosts; this machine's host name otherwise.
    pub name: Option<String>,
    pub libvirt_uri: String,
    /// `auto`, `kvm` or `tcg`.
    pub acceleration: String,
    /// Tells two agents on one machine apart: goes into the names of their guests and devices. At most 32
    /// lower-case letters, digits and underscores.
    pub network_scope: String,
    /// `canopy agent`: the controller's address.
    pub controller: Option<String>,
    /// `canopy agent`: file with the agent token, `<data_dir>/keys/agent.token` of the controller.
    pub token_file: Option<PathBuf>,
    /// Seconds from the power button to cutting the power.
    pub shutdown_seconds: u64,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            enabled: true,
            name: None,
            libvirt_uri: "qemu:///system".into(),
            acceleration: "auto".into(),
            network_scope: String::new(),
            controller: None,
            token_file: None,
            shutdown_seconds: 60,
        }
    }
}

impl Config {
    pub fn load(path: &Path) -> Result<Self> {
        let bad = |what: String| Error::bad_request("config.invalid", format!("{}: {what}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
        let config: Self = toml::from_str(&text).map_err(|e| bad(e.to_string()))?;
        config.check().map_err(|e| bad(e.message))?;
        Ok(config)
    }

    /// What the types cannot say.
    pub fn check(&self) -> Result<()> {
        let bad = |what: &str| Err(Error::bad_request("config.invalid", what));
        if !self.listen.ip().is_loopback() {
            return bad(
                "listen: an address beyond loopback needs TLS, which is not offered yet; listen on 127.0.0.1 behind a TLS proxy and set public_url",
            );
        }
        if !(60..=86_400 * 30).contains(&self.token_seconds) {
            return bad("token_seconds: 60 to 2592000");
        }
        if !(1..=16_384).contains(&self.image_max_gib) {
            return bad("image_max_gib: 1 to 16384");
        }
        if !(1..=1_048_576).contains(&self.journal_mib) {
            return bad("journal_mib: 1 to 1048576");
        }
        if !matches!(self.agent.acceleration.as_str(), "auto" | "kvm" | "tcg") {
            return bad("agent.acceleration: auto, kvm or tcg");
        }
        if self.quota.defaults.values().any(|limit| *limit < -1) {
            return bad("quota.defaults: -1 (no limit) or more");
        }
        if !(64..=1_048_576).contains(&self.audit.max_mib) {
            return bad("audit.max_mib: 64 to 1048576");
        }
        if self.region.is_empty() || self.zone.is_empty() {
            return bad("region and zone need a name");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_a_default_and_an_unknown_key_is_an_error() {
        assert!(toml::from_str::<Config>("").unwrap().check().is_ok());
        let error = toml::from_str::<Config>("listne = \"127.0.0.1:1\"").unwrap_err().to_string();
        assert!(error.contains("unknown field `listne`"), "{error}");
    }

    #[test]
    fn beyond_loopback_it_refuses_to_start() {
        let config = toml::from_str::<Config>("listen = \"0.0.0.0:8774\"").unwrap();
        assert!(config.check().unwrap_err().message.contains("TLS"));
    }
}
