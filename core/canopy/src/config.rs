//! One TOML file; every key has a default, an unknown key is an error.

use canopy_app::compute::consoles::ConsoleSettings;
use canopy_app::identity::{Compliance, MAX_HISTORY, password_regex};
use canopy_plugin_host::Caps;
use canopy_types::{Error, Result};
use ipnet::IpNet;
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
    /// After so long a resize that its user has neither confirmed nor reverted is confirmed; 0 waits for ever.
    pub resize_confirm_seconds: i64,
    /// For so long a deleted server is only switched off and can be restored; 0 deletes at once.
    pub reclaim_seconds: i64,
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
    pub security_compliance: SecurityCompliance,
    pub quota: Quota,
    pub web_download: WebDownload,
    pub console: Console,
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
            resize_confirm_seconds: 0,
            reclaim_seconds: 0,
            image_max_gib: 64,
            journal_mib: 256,
            log: Log::default(),
            database: Database::default(),
            plugins: Plugins::default(),
            policies: Policies::default(),
            audit: Audit::default(),
            trusted_proxies: Vec::new(),
            security_compliance: SecurityCompliance::default(),
            quota: Quota::default(),
            web_download: WebDownload::default(),
            console: Console::default(),
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
    /// What any plugin may use at most, whatever its manifest asks for.
    pub limits: Caps,
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

/// Imports of images from the web, which this machine asks on its tenants' behalf.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebDownload {
    pub enabled: bool,
    /// Networks that may be asked although they are internal, e.g. a mirror's. Everything else must be an address
    /// of the internet.
    pub internal: Vec<IpNet>,
    /// Ports that may be asked.
    pub ports: Vec<u16>,
}

impl Default for WebDownload {
    fn default() -> Self {
        Self { enabled: false, internal: Vec::new(), ports: vec![80, 443] }
    }
}

/// Consoles of servers, joined from outside.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Console {
    /// What links to consoles begin with, e.g. `https://consoles.example`; as other links without.
    pub url: Option<String>,
    /// Seconds in which a link is to be used.
    pub token_ttl: i64,
    /// Where noVNC is; without it there are serial consoles only.
    pub novnc_dir: PathBuf,
}

impl Default for Console {
    fn default() -> Self {
        let ConsoleSettings { url, token_seconds, novnc_dir } = ConsoleSettings::default();
        Self { url, token_ttl: token_seconds, novnc_dir }
    }
}

impl Console {
    /// As use cases need it.
    pub fn settings(&self) -> ConsoleSettings {
        let Self { url, token_ttl, novnc_dir } = self.clone();
        ConsoleSettings { url, token_seconds: token_ttl, novnc_dir }
    }
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
    /// The operator's own networks that this host is in: name (1 to 64 of `a-z 0-9 _`) to bridge or interface. An
    /// untagged network needs a bridge.
    pub physical_networks: BTreeMap<String, String>,
    /// `canopy agent`: the controller's address.
    pub controller: Option<String>,
    /// `canopy agent`: file with the agent token, `<data_dir>/keys/agent.token` of the controller.
    pub token_file: Option<PathBuf>,
    /// Seconds from the power button to cutting the power.
    pub shutdown_seconds: u64,
    /// Tells schedulers how busy the machine is: the signals `cpu.percent` and `memory.percent`.
    pub monitors: bool,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            enabled: true,
            name: None,
            libvirt_uri: "qemu:///system".into(),
            acceleration: "auto".into(),
            network_scope: String::new(),
            physical_networks: BTreeMap::new(),
            controller: None,
            token_file: None,
            shutdown_seconds: 60,
            monitors: false,
        }
    }
}

/// What passwords must be, and what follows failed logins. 0 and "" switch a rule off.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecurityCompliance {
    /// Wrong passwords in a row that lock a user out.
    pub lockout_failure_attempts: u32,
    /// How long after the last of them.
    pub lockout_seconds: i64,
    /// Failed logins of one client address without a pause of a minute; then 429.
    pub failed_logins_per_source: u32,
    /// What every new password must match.
    pub password_regex: String,
    /// The same in words, for who is refused.
    pub password_regex_description: String,
    /// A new password must differ from so many before, the present one included.
    pub unique_last_password_count: u32,
    /// Days before a user may change a new password again.
    pub minimum_password_age: i64,
    /// Days that a password lasts.
    pub password_expires_days: i64,
}

impl Default for SecurityCompliance {
    fn default() -> Self {
        let rules = Compliance::default();
        Self {
            lockout_failure_attempts: rules.lockout_failure_attempts,
            lockout_seconds: rules.lockout_seconds,
            failed_logins_per_source: rules.failed_logins_per_source,
            password_regex: String::new(),
            password_regex_description: rules.password_regex_description,
            unique_last_password_count: rules.unique_last_password_count,
            minimum_password_age: rules.minimum_password_age,
            password_expires_days: rules.password_expires_days,
        }
    }
}

impl SecurityCompliance {
    /// Checked, as use cases need it.
    pub fn rules(&self) -> Result<Compliance> {
        let bad = |what: String| Error::bad_request("config.invalid", what);
        if !(1..=86_400 * 30).contains(&self.lockout_seconds) {
            return Err(bad("security_compliance.lockout_seconds: 1 to 2592000".into()));
        }
        if self.unique_last_password_count > MAX_HISTORY {
            return Err(bad(format!("security_compliance.unique_last_password_count: 0 to {MAX_HISTORY}")));
        }
        let days = 0..=36_500;
        if !days.contains(&self.minimum_password_age) || !days.contains(&self.password_expires_days) {
            return Err(bad(
                "security_compliance: minimum_password_age and password_expires_days: 0 to 36500".into(),
            ));
        }
        if self.password_expires_days > 0 && self.minimum_password_age >= self.password_expires_days {
            return Err(bad(
                "security_compliance.minimum_password_age must be below password_expires_days".into()
            ));
        }
        let password_regex = match self.password_regex.as_str() {
            "" => None,
            text => Some(
                password_regex(text).map_err(|e| bad(format!("security_compliance.password_regex: {e}")))?,
            ),
        };
        Ok(Compliance {
            lockout_failure_attempts: self.lockout_failure_attempts,
            lockout_seconds: self.lockout_seconds,
            failed_logins_per_source: self.failed_logins_per_source,
            password_regex,
            password_regex_description: self.password_regex_description.clone(),
            unique_last_password_count: self.unique_last_password_count,
            minimum_password_age: self.minimum_password_age,
            password_expires_days: self.password_expires_days,
        })
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
        const YEAR: i64 = 86_400 * 366;
        let waits = [
            ("resize_confirm_seconds", self.resize_confirm_seconds),
            ("reclaim_seconds", self.reclaim_seconds),
        ];
        for (name, seconds) in waits {
            if !(0..=YEAR).contains(&seconds) {
                return bad(&format!("{name}: 0 to {YEAR}"));
            }
        }
        if !(60..=86_400 * 30).contains(&self.token_seconds) {
            return bad("token_seconds: 60 to 2592000");
        }
        if !(10..=86_400).contains(&self.console.token_ttl) {
            return bad("console.token_ttl: 10 to 86400");
        }
        let web = |url: &String| {
            let rest =
                url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).unwrap_or_default();
            !rest.is_empty()
                && !rest.contains(|c: char| c.is_whitespace() || c.is_control() || "?#@".contains(c))
        };
        if !self.console.url.iter().all(web) {
            return bad("console.url: http:// or https://, a host and maybe a path");
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
        if let Err(why) = self.plugins.limits.check() {
            return bad(&format!("plugins.limits.{why}"));
        }
        if self.quota.defaults.values().any(|limit| *limit < -1) {
            return bad("quota.defaults: -1 (no limit) or more");
        }
        if !(64..=1_048_576).contains(&self.audit.max_mib) {
            return bad("audit.max_mib: 64 to 1048576");
        }
        if self.agent.physical_networks.len() > canopy_agent_api::MAX_PHYSICAL_NETWORKS {
            return bad(&format!(
                "agent.physical_networks: at most {}",
                canopy_agent_api::MAX_PHYSICAL_NETWORKS
            ));
        }
        for (name, device) in &self.agent.physical_networks {
            canopy_agent::network::uplink::check(name, device)?;
        }
        self.security_compliance.rules()?;
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
    fn physical_networks_are_names_and_devices() {
        let config = |text: &str| toml::from_str::<Config>(text).unwrap().check();
        assert!(config("[agent.physical_networks]\nexternal = \"br-ex\"").is_ok());
        for line in ["External = \"br-ex\"", "external = \"br ex\"", "external = \"cnb7\""] {
            let error = config(&format!("[agent.physical_networks]\n{line}")).unwrap_err();
            assert!(error.message.contains("agent.physical_networks"), "{}", error.message);
        }
    }

    #[test]
    fn caps_on_plugins_have_bounds_of_their_own() {
        let config = |text: &str| toml::from_str::<Config>(text).unwrap().check();
        assert!(config("[plugins.limits]\nmemory_mib = 64").is_ok());
        let error = config("[plugins.limits]\nmemory_mib = 4096").unwrap_err();
        assert!(error.message.contains("plugins.limits.memory_mib: 1 to 1024"), "{}", error.message);
    }

    #[test]
    fn beyond_loopback_it_refuses_to_start() {
        let config = toml::from_str::<Config>("listen = \"0.0.0.0:8774\"").unwrap();
        assert!(config.check().unwrap_err().message.contains("TLS"));
    }
}
