//! The policies in force: which they are, and replacing them without a restart.
//!
//! A bundle that does not load never replaces one that did: the last good one stays in force, and the
//! reason is shown until a load succeeds. Requests keep the bundle that they began with.

use crate::{App, Ctx, access};
use canopy_authz::{Bundle, Target, actions::canopy as actions};
use canopy_types::{Result, Timestamp};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How often the source is looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Where bundles come from.
pub trait Source: Send + Sync {
    /// For people: a path, or that it is compiled in.
    fn describe(&self) -> String;
    /// Changes whenever what [`Source::load`] would give may have changed; cheap.
    fn fingerprint(&self) -> BoxFuture<'_, String>;
    fn load(&self) -> BoxFuture<'_, Result<Bundle>>;
}

/// The source and how the last load went.
pub struct Policies {
    source: Box<dyn Source>,
    /// One load at a time: a slow older one must not replace a newer one.
    turn: tokio::sync::Mutex<String>,
    state: Mutex<State>,
}

#[derive(Clone, Default)]
struct State {
    loaded_at: Option<Timestamp>,
    loads: u64,
    /// Of the newest attempt, if it failed.
    error: Option<(Timestamp, String)>,
}

impl Policies {
    /// `fingerprint` is the source's of before the bundle in force was loaded.
    pub fn new(source: Box<dyn Source>, fingerprint: String, now: Timestamp) -> Self {
        let state = State { loaded_at: Some(now), loads: 1, error: None };
        Self { source, turn: tokio::sync::Mutex::new(fingerprint), state: Mutex::new(state) }
    }

    fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What is in force, for those who may know.
pub fn show(app: &App, ctx: &Ctx) -> Result<Value> {
    access::require(app, ctx, actions::POLICIES_SHOW, &Target::default())?;
    Ok(document(app))
}

/// Loads the source's bundle now. One that is invalid is an error that says why, and changes nothing.
pub async fn reload(app: &App, ctx: &Ctx) -> Result<Value> {
    access::require(app, ctx, actions::POLICIES_RELOAD, &Target::default())?;
    load(app).await?;
    Ok(document(app))
}

fn document(app: &App) -> Value {
    let snapshot = app.authorizer.snapshot();
    let bundle = snapshot.bundle();
    let policies: Vec<Value> =
        bundle.ids().into_iter().map(|id| json!({"id": id, "file": bundle.file_of(&id)})).collect();
    let state = app.policies.state();
    json!({"policies": {
        "source": app.policies.source.describe(),
        "commit": bundle.commit(),
        "digest": bundle.digest(),
        "loaded_at": state.loaded_at.map(Timestamp::micros_z),
        "loads": state.loads,
        "error": state.error.map(|(at, message)| json!({"at": at.micros_z(), "message": message})),
        "warnings": bundle.warnings(),
        "policies": policies,
    }})
}

/// Loads and puts in force what the source holds now.
pub async fn load(app: &App) -> Result<()> {
    let mut seen = app.policies.turn.lock().await;
    // Before the load: a change during it is found by the next look.
    *seen = app.policies.source.fingerprint().await;
    put_in_force(app).await
}

async fn load_if_changed(app: &App) {
    let mut seen = app.policies.turn.lock().await;
    let fingerprint = app.policies.source.fingerprint().await;
    if *seen == fingerprint {
        return;
    }
    *seen = fingerprint;
    // Shown in the state; there is nobody to tell.
    let _ = put_in_force(app).await;
}

async fn put_in_force(app: &App) -> Result<()> {
    let now = app.now();
    match app.policies.source.load().await {
        Ok(bundle) => {
            tracing::info!(commit = bundle.commit(), digest = bundle.digest(), "policies replaced");
            app.authorizer.install(bundle);
            app.policies.change(|state| {
                *state = State { loaded_at: Some(now), loads: state.loads + 1, error: None };
            });
            metrics::counter!("canopy_policy_loads_total", "outcome" => "ok").increment(1);
            metrics::gauge!("canopy_policy_load_failed").set(0.0);
            Ok(())
        }
        Err(error) => {
            tracing::error!(error = error.chain(), "policies not replaced: the last good ones stay in force");
            app.policies.change(|state| state.error = Some((now, error.message.clone())));
            metrics::counter!("canopy_policy_loads_total", "outcome" => "failed").increment(1);
            metrics::gauge!("canopy_policy_load_failed").set(1.0);
            Err(error)
        }
    }
}

/// Looks at the source until `stopped`, and loads what has changed.
pub async fn watch(app: std::sync::Arc<App>, mut stopped: watch::Receiver<bool>) {
    metrics::gauge!("canopy_policy_load_failed").set(0.0);
    while tokio::time::timeout(EVERY, stopped.wait_for(|stop| *stop)).await.is_err() {
        load_if_changed(&app).await;
    }
}
