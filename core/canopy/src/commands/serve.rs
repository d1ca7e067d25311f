//! `canopy serve`.

use crate::config::Config;
use crate::server::{Overrides, start};
use crate::telemetry;
use canopy_app::App;
use canopy_types::{Error, Result};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

pub async fn serve(config: &Config) -> Result<()> {
    telemetry::logs(&config.log);
    let running = start(config, Overrides::default()).await?;
    let hang_up = tokio::spawn(reload_at_hang_up(running.app.clone())?);
    stop_signal().await?;
    hang_up.abort();
    tracing::info!("stopping: requests in work are finished, guests go on running");
    running.stop().await;
    Ok(())
}

/// Loads the policies anew at each SIGHUP. How it went is in the log and at `/canopy/v1/policies`.
fn reload_at_hang_up(app: Arc<App>) -> Result<impl Future<Output = ()>> {
    let mut hang_up = signal(SignalKind::hangup()).map_err(|e| Error::internal("server.signal", e))?;
    Ok(async move {
        while hang_up.recv().await.is_some() {
            let _ = canopy_app::policies::load(&app).await;
        }
    })
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
