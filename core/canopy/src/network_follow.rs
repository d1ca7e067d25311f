//! The network plugin of an agent in a process of its own: the controller's choice, fetched by its digest. The last
//! choice and its package are kept, so that the agent plans as before when it starts without the controller.

use crate::config::Config;
use crate::wiring;
use canopy_agent::{HttpController, NetworkChoice};
use canopy_plugin_host::{Live, MAX_PACKAGE, NetworkPlugin, Package, PluginHost};
use canopy_types::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the controller is asked.
const EVERY: Duration = Duration::from_secs(5);

pub struct Follower {
    host: PluginHost,
    controller: Arc<HttpController>,
    /// What this agent's configuration names.
    start: NetworkPlugin,
    live: Live<NetworkPlugin>,
    dir: PathBuf,
    in_force: NetworkChoice,
}

impl Follower {
    /// With the last choice that was followed, if it can still be loaded; else with the configuration's plugin.
    pub async fn start(config: &Config, controller: Arc<HttpController>) -> Result<Self> {
        let (host, start) = wiring::network_plugin(config).await?;
        let dir = config.data_dir.join("plugins");
        let own = NetworkChoice { revision: 0, plugin: "start".to_owned(), config: serde_json::json!({}) };
        let live = Live::new(start.clone());
        let mut follower = Self { host, controller, start, live, dir, in_force: own };
        if let Some(kept) = follower.kept().await
            && let Err(error) = follower.follow(kept).await
        {
            tracing::warn!(
                error = error.chain(),
                "the last network plugin cannot be loaded: the configuration's plans"
            );
        }
        Ok(follower)
    }

    /// Whichever plans now.
    pub fn network(&self) -> Live<NetworkPlugin> {
        self.live.clone()
    }

    /// Follows the controller until `stopped`. Without the controller the last choice plans on.
    pub async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            match self.controller.network_plugin().await {
                Ok(choice) if choice.revision != self.in_force.revision => {
                    if let Err(error) = self.follow(choice).await {
                        tracing::error!(
                            error = error.chain(),
                            "the chosen network plugin cannot be loaded: the last one plans on"
                        );
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(error = error.chain(), "the network plugin in force is not known")
                }
            }
            if tokio::time::timeout(EVERY, stopped.wait_for(|stop| *stop)).await.is_ok() {
                return;
            }
        }
    }

    async fn follow(&mut self, choice: NetworkChoice) -> Result<()> {
        if (&choice.plugin, &choice.config) != (&self.in_force.plugin, &self.in_force.config) {
            let plugin = match choice.plugin.as_str() {
                "start" => self.start.clone(),
                "built-in" => NetworkPlugin::none(),
                digest => self.load(digest, choice.config.clone()).await?,
            };
            self.live.set(plugin);
            tracing::info!(plugin = choice.plugin, revision = choice.revision, "network plugin in force");
        }
        self.in_force = choice;
        self.keep().await
    }

    async fn load(&self, digest: &str, config: serde_json::Value) -> Result<NetworkPlugin> {
        // It becomes part of a path.
        if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Error::unavailable("agent.plugin", "The controller names a plugin by no digest."));
        }
        let path = self.dir.join(format!("{digest}.plugin"));
        let bytes = match tokio::fs::read(&path).await {
            Ok(bytes) => bytes,
            Err(_) => {
                let bytes = self.controller.plugin(digest, MAX_PACKAGE).await?;
                write(&path, &bytes).await?;
                bytes
            }
        };
        let (host, digest) = (self.host.clone(), digest.to_owned());
        let loaded = tokio::task::spawn_blocking(move || {
            let package = Package::from_wire(&bytes)?;
            if package.digest() != digest {
                return Err(Error::unavailable(
                    "agent.plugin",
                    "The plugin's bytes are not those of its digest.",
                ));
            }
            host.start_network(&package, config)
        })
        .await
        .map_err(|e| Error::internal("agent.plugin", e))?;
        if loaded.is_err() {
            // Fetched anew with the next try.
            let _ = tokio::fs::remove_file(&path).await;
        }
        loaded
    }

    async fn kept(&self) -> Option<NetworkChoice> {
        let text = tokio::fs::read(self.dir.join("network.json")).await.ok()?;
        serde_json::from_slice(&text).ok()
    }

    async fn keep(&self) -> Result<()> {
        let text = serde_json::to_vec(&self.in_force).map_err(|e| Error::internal("agent.plugin", e))?;
        write(&self.dir.join("network.json"), &text).await
    }
}

/// Whole or not at all.
async fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    canopy_types::effect::effect("plugin.keep", async {
        let part = path.with_extension("part");
        tokio::fs::write(&part, bytes).await?;
        tokio::fs::rename(&part, path).await
    })
    .await
    .map_err(|e: std::io::Error| {
        Error::unavailable("agent.plugin", format!("{} cannot be written: {e}", path.display()))
    })
}
