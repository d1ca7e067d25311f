//! From configuration to the parts of a running server.

use crate::config::Config;
use crate::web::Web;
use canopy_agent::metadata::server::MetadataServer;
use canopy_agent::network::LinuxNetwork;
use canopy_agent::{Agent, AgentConfig, NetworkPlanner};
use canopy_agent_api::Controller;
use canopy_app::audit::Audit;
use canopy_app::compute::decisions::Scenes;
use canopy_app::compute::placement::Scheduler;
use canopy_app::image::WebSource;
use canopy_app::plugins::Start;
use canopy_app::policies::{Policies, Source};
use canopy_authz::Authorizer;
use canopy_journal::{Limits, PluginFiles, Reader, Writer};
use canopy_libvirt::{Accel, Libvirt};
use canopy_plugin_host::{Cache, NetworkPlugin, Options, PluginHost, QuotaPlugin, SchedulerPlugin};
use canopy_types::{Error, Kind, Result, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub struct Plugins {
    pub host: PluginHost,
    pub start: Start,
}

/// Loads what is configured; the built-in stands in for the rest. Compiling takes a moment: off the
/// async threads.
pub async fn plugins(config: &Config) -> Result<Plugins> {
    loading(config, |host, config| {
        // Each is compiled at its first start.
        let (scheduler, quota, network) = std::thread::scope(|scope| {
            let scheduler = scope.spawn(|| load_scheduler(host, config));
            let quota = scope.spawn(|| load_quota(host, config));
            let network = load_network(host, config);
            (scheduler.join(), quota.join(), network)
        });
        let panicked = |_| Error::internal("plugin.load", "loading a plugin panicked");
        let start = Start {
            scheduler: scheduler.map_err(panicked)??,
            quota: quota.map_err(panicked)??,
            network: network?,
        };
        Ok(Plugins { host: host.clone(), start })
    })
    .await
}

/// The one plugin that an agent apart from its controller starts with, and what loads others.
pub async fn network_plugin(config: &Config) -> Result<(PluginHost, NetworkPlugin)> {
    loading(config, |host, config| Ok((host.clone(), load_network(host, config)?))).await
}

async fn loading<T: Send + 'static>(
    config: &Config,
    load: fn(&PluginHost, &Config) -> Result<T>,
) -> Result<T> {
    let config = config.clone();
    tokio::task::spawn_blocking(move || load(&plugin_host(&config)?, &config))
        .await
        .map_err(|e| Error::internal("plugin.load", e))?
}

/// The host of this installation's plugins: with the operator's caps, and compiled code kept in `data_dir`.
fn plugin_host(config: &Config) -> Result<PluginHost> {
    let (dir, keys) = (config.data_dir.join("plugins"), config.data_dir.join("keys"));
    crate::files::make_private_dir(&dir)?;
    crate::files::make_private_dir(&keys)?;
    let key = crate::files::token(&keys.join("plugin-cache.key"))?;
    let cache = Cache::open(&dir.join("cache"), key.trim().as_bytes())?;
    PluginHost::with_options(Options { caps: config.plugins.limits, cache: Some(cache) })
}

fn load_scheduler(host: &PluginHost, config: &Config) -> Result<Scheduler> {
    let Some(dir) = &config.plugins.scheduler else {
        return Ok(Scheduler { plugin: SchedulerPlugin::built_in(), files: None });
    };
    let settings = settings(config, "scheduler")?;
    let plugin = host.load_scheduler(dir, settings.clone())?;
    Ok(Scheduler { plugin, files: Some(PluginFiles { dir: dir.clone(), config: settings }) })
}

fn load_quota(host: &PluginHost, config: &Config) -> Result<QuotaPlugin> {
    match &config.plugins.quota {
        Some(dir) => host.load_quota(dir, settings(config, "quota")?),
        None => Ok(QuotaPlugin::built_in()),
    }
}

fn load_network(host: &PluginHost, config: &Config) -> Result<NetworkPlugin> {
    match &config.plugins.network {
        Some(dir) => host.load_network(dir, settings(config, "network")?),
        None => Ok(NetworkPlugin::none()),
    }
}

fn settings(config: &Config, kind: &str) -> Result<serde_json::Value> {
    config.plugins.config.get(kind).map_or_else(
        || Ok(serde_json::json!({})),
        |value| serde_json::to_value(value).map_err(|e| Error::internal("config.plugin", e)),
    )
}

/// The journal of placement in `data_dir`, to write and to read.
pub async fn journal(config: &Config, host: &PluginHost) -> Result<(Writer, Scenes)> {
    let dir = config.data_dir.join("journal");
    let limits = Limits { bytes: config.journal_mib << 20, ..Limits::default() };
    let (host, reader) = (host.clone(), Reader::new(&dir));
    let writer = tokio::task::spawn_blocking(move || Writer::open(&dir, limits))
        .await
        .map_err(|e| Error::internal("journal.open", e))??;
    let load = move |files: &Path| kept_plugin(files).and_then(|config| host.load_scheduler(files, config));
    let scenes = Scenes::new(reader, writer.flusher(), Arc::new(load));
    Ok((writer, scenes))
}

/// What a plugin that the journal keeps was configured with.
pub fn kept_plugin(files: &Path) -> Result<serde_json::Value> {
    let gone = |e: String| {
        Error::new(
            Kind::Gone,
            "journal.plugin",
            format!("The journal's copy of the plugin cannot be read: {e}"),
        )
    };
    let text = std::fs::read_to_string(files.join("config.json")).map_err(|e| gone(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| gone(e.to_string()))
}

/// The policies in force at the start, and where later ones come from.
pub async fn policies(config: &Config, now: Timestamp) -> Result<(Authorizer, Policies)> {
    let source: Box<dyn Source> = match &config.policies.dir {
        Some(dir) => Box::new(crate::policies::Deployed(dir.clone())),
        None => Box::new(crate::policies::Embedded),
    };
    let fingerprint = source.fingerprint().await;
    let bundle = source.load().await?;
    Ok((Authorizer::new(bundle), Policies::new(source, fingerprint, now)))
}

/// The audit log of this process.
pub fn audit(config: &Config, now: Timestamp) -> Result<Audit> {
    let options = canopy_audit::Options {
        dir: config.data_dir.join("audit"),
        file_bytes: 16 << 20,
        total_bytes: config.audit.max_mib << 20,
    };
    Ok(Audit::new(canopy_audit::Log::open(options, now)?))
}

/// Where images may be fetched from, if anywhere.
pub fn web(config: &Config) -> Option<Arc<dyn WebSource>> {
    let web = &config.web_download;
    let source = || Web { ports: web.ports.clone(), internal: web.internal.clone() };
    web.enabled.then(|| Arc::new(source()) as Arc<dyn WebSource>)
}

/// The agent of this machine, on libvirt and the kernel's network.
pub async fn agent(
    config: &Config,
    controller: Arc<dyn Controller>,
    plugin: impl NetworkPlanner,
) -> Result<Agent> {
    let state_dir = agent_dir(config)?;
    let options = canopy_libvirt::Options {
        accel: match config.agent.acceleration.as_str() {
            "kvm" => Accel::Kvm,
            "tcg" => Accel::Tcg,
            _ => Accel::Auto,
        },
        probe_dir: probe_dir(&state_dir)?,
        ..canopy_libvirt::Options::default()
    };
    let libvirt = Libvirt::connect(&config.agent.libvirt_uri, options).await?;
    let agent_config = agent_config(config, state_dir.clone())?;
    let metadata = Arc::new(MetadataServer::new(Arc::new(agent_config.metadata.clone())));
    let network = LinuxNetwork::new(state_dir, &config.agent.network_scope)?
        .with_physical_networks(config.agent.physical_networks.clone())?
        .with_metadata(metadata);
    Ok(Agent::new(agent_config, controller, Arc::new(libvirt), plugin, Arc::new(network)))
}

pub fn agent_dir(config: &Config) -> Result<PathBuf> {
    let dir = std::path::absolute(config.data_dir.join("agent"))
        .map_err(|e| Error::unavailable("config.data_dir", format!("data_dir: {e}")))?;
    crate::files::make_dir(&dir, 0o711)?;
    Ok(dir)
}

/// An empty folder for the probe guest; QEMU's user passes through it. A crash's leftovers go.
fn probe_dir(state_dir: &Path) -> Result<PathBuf> {
    let dir = state_dir.join("probe");
    match std::fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::unavailable("config.data_dir", format!("{}: {e}", dir.display())));
        }
        _ => crate::files::make_dir(&dir, 0o711)?,
    }
    Ok(dir)
}

/// This machine's host name.
pub fn machine() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

pub fn agent_config(config: &Config, state_dir: PathBuf) -> Result<AgentConfig> {
    let name = match &config.agent.name {
        Some(name) => name.clone(),
        None => machine().ok_or_else(|| {
            Error::bad_request("config.name", "This machine has no host name: set agent.name.")
        })?,
    };
    let mut agent = AgentConfig::new(name, state_dir);
    agent.network_scope.clone_from(&config.agent.network_scope);
    agent.shutdown_deadline = Duration::from_secs(config.agent.shutdown_seconds);
    agent.monitors = config.agent.monitors;
    Ok(agent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_finds_an_empty_folder() {
        let state = tempfile::tempdir().unwrap();
        let left = probe_dir(state.path()).unwrap().join("canopy-probe-1");
        std::fs::create_dir(&left).unwrap();
        let dir = probe_dir(state.path()).unwrap();
        assert!(dir.is_dir() && dir.starts_with(state.path()) && !left.exists());
    }
}
