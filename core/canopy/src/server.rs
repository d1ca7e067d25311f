//! A running controller: store, plugins, policies, HTTP, the in-process agent, and the reconcilers.

use crate::config::Config;
use crate::{files, listen, telemetry, wiring};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use canopy_agent::Agent;
use canopy_agent::network::NetworkExecutor;
use canopy_agent_api::Controller;
use canopy_app::compute::controller::LocalController;
use canopy_app::compute::placement::Placement;
use canopy_app::identity::Identity;
use canopy_app::{App, Settings};
use canopy_hypervisor::Hypervisor;
use canopy_plugin_host::Live;
use canopy_store::{Options, Store};
use canopy_types::{Clock, Error, Result, SystemClock};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long accepted requests may take once a stop is asked.
const DRAIN: Duration = Duration::from_secs(20);
/// For what ends last, beyond that.
const LAST: Duration = Duration::from_secs(5);

/// What tests put in place of the real thing.
#[derive(Default)]
pub struct Overrides {
    pub clock: Option<Arc<dyn Clock>>,
    pub hypervisor: Option<Arc<dyn Hypervisor>>,
    pub network: Option<Arc<dyn NetworkExecutor>>,
}

pub struct Running {
    pub app: Arc<App>,
    pub address: SocketAddr,
    /// The token of this controller's agents.
    pub agent_token: String,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    /// Ends after the others: accepted requests still want decisions.
    placement: (watch::Sender<bool>, JoinHandle<()>),
}

/// Starts everything and answers once the API listens.
pub async fn start(config: &Config, overrides: Overrides) -> Result<Running> {
    config.check()?;
    files::make_dir(&config.data_dir, 0o711)?;
    files::make_private_dir(&config.data_dir.join("keys"))?;
    let metrics = telemetry::metrics();
    let listener = TcpListener::bind(config.listen).await.map_err(|e| {
        Error::unavailable("server.listen", format!("Cannot listen on {}: {e}", config.listen))
    })?;
    let address = listener.local_addr().map_err(|e| Error::internal("server.address", e))?;
    let app = Arc::new(app(config, overrides.clock.unwrap_or_else(|| Arc::new(SystemClock))).await?);
    canopy_app::plugins::restore(&app).await?;
    let recovered = canopy_app::image::recover(&app).await?;
    if recovered > 0 {
        tracing::info!(uploads = recovered, "uploads that the last run did not finish are open again");
    }
    let agent_token = files::token(&config.data_dir.join("keys/agent.token"))?;
    let (stop, stopped) = watch::channel(false);

    let probe = app.clone();
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || {
                let app = probe.clone();
                async move {
                    match app.store.ping().await {
                        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
                        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
                    }
                }
            }),
        )
        .route(
            "/metrics",
            get(move || async move { metrics.map(|handle| handle.render()).unwrap_or_default() }),
        )
        .merge(canopy_api::router(app.clone(), address.to_string(), agent_token.clone()));
    let mut tasks = vec![tokio::spawn(listen::serve(listener, router, stopped.clone()))];
    tasks.push(tokio::spawn(canopy_app::reconcilers::run(app.clone(), stopped.clone())));
    let (stop_placement, placement_stopped) = watch::channel(false);
    let placement = tokio::spawn(canopy_app::compute::placement::run(app.clone(), placement_stopped));
    tasks.push(tokio::spawn(canopy_app::policies::watch(app.clone(), stopped.clone())));
    tasks.push(tokio::spawn(canopy_app::plugins::run(app.clone(), stopped.clone())));
    if config.agent.enabled {
        let controller: Arc<dyn Controller> = Arc::new(LocalController(app.clone()));
        let planner = crate::planner::Planner(app.clone());
        let agent = match (overrides.hypervisor, overrides.network) {
            (Some(hypervisor), Some(network)) => {
                let agent_config = wiring::agent_config(config, wiring::agent_dir(config)?)?;
                Agent::new(agent_config, controller, hypervisor, planner, network)
            }
            _ => wiring::agent(config, controller, planner).await?,
        };
        tasks.push(tokio::spawn(async move { agent.run(stopped).await }));
    }
    tracing::info!(%address, data_dir = %config.data_dir.display(), "canopy serves");
    Ok(Running { app, address, agent_token, stop, tasks, placement: (stop_placement, placement) })
}

async fn app(config: &Config, clock: Arc<dyn Clock>) -> Result<App> {
    let options = match &config.database.url {
        Some(url) => Options::url(url.clone()),
        None => Options::sqlite(&config.data_dir.join("canopy.db")),
    };
    // Compiling plugins, validating policies and migrating take a moment each, and know nothing of each other.
    let (plugins, (authorizer, policies), store) = tokio::try_join!(
        wiring::plugins(config),
        wiring::policies(config, clock.now()),
        Store::open(&options)
    )?;
    let mut settings = Settings::new(config.data_dir.clone());
    settings.region.clone_from(&config.region);
    settings.zone.clone_from(&config.zone);
    settings.public_url.clone_from(&config.public_url);
    settings.controller =
        format!("{} at http://{}", wiring::machine().unwrap_or_else(|| "?".into()), config.listen);
    settings.token_seconds = config.token_seconds;
    settings.resize_confirm_seconds = config.resize_confirm_seconds;
    settings.reclaim_seconds = config.reclaim_seconds;
    settings.compliance = config.security_compliance.rules()?;
    settings.trusted_proxies.clone_from(&config.trusted_proxies);
    settings.image_max_bytes = config.image_max_gib << 30;
    settings.console = config.console.settings();
    settings.quota_defaults.extend(config.quota.defaults.clone());
    let file = config.data_dir.join("admin-password");
    let mut kept = false;
    let keep = |password: &str| files::write_secret(&file, password).inspect(|()| kept = true);
    if canopy_app::identity::bootstrap(&store, clock.as_ref(), keep).await? {
        tracing::info!(file = %file.display(), "first start: made the user admin");
    } else if kept {
        // Another controller was faster: its password counts.
        let _ = std::fs::remove_file(&file);
    }
    let identity = Identity::open(&store, clock.clone(), &settings).await?;
    let (journal, scenes) = wiring::journal(config, &plugins.host).await?;
    let seed = if config.database.url.is_some() { journal.seed() } else { 0 };
    Ok(App {
        authorizer,
        policies,
        audit: wiring::audit(config, clock.now())?,
        placement: Placement::new(plugins.start.scheduler.clone(), Some(journal), seed),
        journal: Some(scenes),
        quota: Live::new(plugins.start.quota.clone()),
        plugins: canopy_app::plugins::Plugins::new(
            plugins.host,
            config.data_dir.join("plugins"),
            plugins.start,
            clock.now(),
        ),
        blobs: canopy_app::image::Blobs::open(&config.data_dir.join("images"))?,
        quota_desk: Default::default(),
        supply: Default::default(),
        questions: Default::default(),
        revisions: Default::default(),
        consoles: Default::default(),
        web: wiring::web(config),
        identity,
        settings,
        clock,
        store,
    })
}

impl Running {
    /// Accepted requests are finished, the agent's steps too; guests go on running.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.app.consoles.end();
        let deadline = tokio::time::Instant::now() + DRAIN;
        for mut task in self.tasks {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
            }
        }
        let (stop, mut task) = self.placement;
        stop.send_replace(true);
        if tokio::time::timeout_at(deadline + LAST, &mut task).await.is_err() {
            task.abort();
        }
        self.app.identity.leave(&self.app.store).await;
        self.app.store.close().await;
        let app = self.app;
        // Waits for the disk.
        let _ = tokio::task::spawn_blocking(move || app.audit.log().close()).await;
    }
}
