//! `canopy agent`: this host's agent in a process of its own.

use super::serve::stop_signal;
use crate::config::Config;
use crate::{telemetry, wiring};
use canopy_agent::HttpController;
use canopy_types::{Error, Result};
use std::sync::Arc;
use tokio::sync::watch;

pub async fn agent(config: &Config) -> Result<()> {
    telemetry::logs(&config.log);
    let needed = |what: &str| Error::bad_request("config.agent", format!("{what} is needed in [agent]"));
    let url = config.agent.controller.as_deref().ok_or_else(|| needed("controller"))?;
    let file = config.agent.token_file.as_ref().ok_or_else(|| needed("token_file"))?;
    let token = std::fs::read_to_string(file)
        .map_err(|e| Error::bad_request("config.agent", format!("{}: {e}", file.display())))?;
    let controller = Arc::new(HttpController::new(url, token.trim())?);
    let follower = crate::network_follow::Follower::start(config, controller.clone()).await?;
    let agent = wiring::agent(config, controller, follower.network()).await?;
    let (stop, stopped) = watch::channel(false);
    let following = tokio::spawn(follower.run(stopped.clone()));
    let running = tokio::spawn(async move { agent.run(stopped).await });
    stop_signal().await?;
    stop.send_replace(true);
    following.abort();
    running.await.map_err(|e| Error::internal("agent.panicked", e))
}
