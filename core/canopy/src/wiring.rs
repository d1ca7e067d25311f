//! From configuration to the parts of a running server.

use crate::config::Config;
use canopy_agent::metadata::server::MetadataServer;
use canopy_agent::network::LinuxNetwork;
use canopy_agent::{Agent, AgentConfig};
use canopy_agent_api::Controller;
use canopy_authz::Authorizer;
use canopy_libvirt::{Accel, Libvirt};
use canopy_plugin_host::{NetworkPlugin, PluginHost, QuotaPlugin, SchedulerPlugin};
use canopy_types::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub struct Plugins {
    pub scheduler: SchedulerPlugin,
    pub quota: QuotaPlugin,
    pub network: NetworkPlugin,
}

/// Loads what is configured; the built-in stands in for the rest. Compiling takes a moment: off the
/// async threads.
pub async fn plugins(config: &Config) -> Result<Plugins> {
    let config = config.clone();
    tokio::task::spawn_blocking(move || {
        let host = PluginHost::new()?;
        let settings = |kind: &str| {
            config.plugins.config.get(kind).map_or_else(
                || Ok(serde_json::json!({})),
                |value| serde_json::to_value(value).map_err(|e| Error::internal("config.plugin", e)),
            )
        };
        Ok(Plugins {
            scheduler: match &config.plugins.scheduler {
                Some(dir) => host.load_scheduler(dir, settings("scheduler")?)?,
                None => SchedulerPlugin::built_in(),
            },
            quota: match &config.plugins.quota {
                Some(dir) => host.load_quota(dir, settings("quota")?)?,
                None => QuotaPlugin::built_in(),
            },
            network: match &config.plugins.network {
                Some(dir) => host.load_network(dir, settings("network")?)?,
                None => NetworkPlugin::none(),
            },
        })
    })
    .await
    .map_err(|e| Error::internal("plugin.load", e))?
}

pub fn authorizer(config: &Config) -> Result<Authorizer> {
    match &config.policies.dir {
        Some(dir) => Authorizer::load(dir),
        None => Authorizer::embedded(),
    }
}

/// The agent of this machine, on libvirt and the kernel's network.
pub async fn agent(config: &Config, controller: Arc<dyn Controller>, plugin: NetworkPlugin) -> Result<Agent> {
    let state_dir = agent_dir(config)?;
    let options = canopy_libvirt::Options {
        accel: match config.agent.acceleration.as_str() {
            "kvm" => Accel::Kvm,
            "tcg" => Accel::Tcg,
            _ => Accel::Auto,
        },
        ..canopy_libvirt::Options::default()
    };
    let libvirt = Libvirt::connect(&config.agent.libvirt_uri, options).await?;
    let agent_config = agent_config(config, state_dir.clone())?;
    let metadata = Arc::new(MetadataServer::new(Arc::new(agent_config.metadata.clone())));
    let network = LinuxNetwork::new(state_dir, &config.agent.network_scope)?.with_metadata(metadata);
    Ok(Agent::new(agent_config, controller, Arc::new(libvirt), plugin, Arc::new(network)))
}

pub fn agent_dir(config: &Config) -> Result<PathBuf> {
    let dir = std::path::absolute(config.data_dir.join("agent"))
        .map_err(|e| Error::unavailable("config.data_dir", format!("data_dir: {e}")))?;
    crate::files::make_dir(&dir, 0o711)?;
    Ok(dir)
}

pub fn agent_config(config: &Config, state_dir: PathBuf) -> Result<AgentConfig> {
    let name = match &config.agent.name {
        Some(name) => name.clone(),
        None => std::fs::read_to_string("/proc/sys/kernel/hostname")
            .ok()
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .ok_or_else(|| {
                Error::bad_request("config.name", "This machine has no host name: set agent.name.")
            })?,
    };
    let mut agent = AgentConfig::new(name, state_dir);
    agent.network_scope.clone_from(&config.agent.network_scope);
    agent.shutdown_deadline = Duration::from_secs(config.agent.shutdown_seconds);
    Ok(agent)
}
