//! `canopy serve`.

use crate::config::Config;
use crate::server::{Overrides, start};
use crate::telemetry;
use canopy_types::{Error, Result};
use tokio::signal::unix::{SignalKind, signal};

pub async fn serve(config: &Config) -> Result<()> {
    telemetry::logs(&config.log);
    let running = start(config, Overrides::default()).await?;
    stop_signal().await?;
    tracing::info!("stopping: requests in work are finished, guests go on running");
    running.stop().await;
    Ok(())
}

/// Returns at SIGTERM or SIGINT.
pub async fn stop_signal() -> Result<()> {
    let listen = |kind| signal(kind).map_err(|e| Error::internal("server.signal", e));
    let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}
