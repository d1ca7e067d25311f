//! From what a slot says to what answers: loading a choice, writing a slot, putting it in force here.

use super::slot::{Choice, Slot, Source};
use super::{Failure, State, absent, packages, shadow};
use crate::App;
use crate::compute::placement::Scheduler;
use canopy_journal::PluginFiles;
use canopy_plugin_host::{NetworkPlugin, PluginKind, QuotaPlugin, SchedulerPlugin, Stats};
use canopy_store::events::{self, NewEvent};
use canopy_store::plugins as store;
use canopy_types::{Error, ProjectId, Result, Timestamp};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long after a failure the same slot is not tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// A loaded plugin of one kind.
pub(super) enum Handle {
    Scheduler(Scheduler),
    Quota(QuotaPlugin),
    Network(NetworkPlugin),
}

impl Handle {
    fn stats(&self) -> Option<Arc<Stats>> {
        match self {
            Self::Scheduler(scheduler) => scheduler.plugin.stats(),
            Self::Quota(quota) => quota.stats(),
            Self::Network(network) => network.stats(),
        }
    }
}

/// Loads what was chosen, off the async threads. Nothing changes by it.
pub(super) async fn load(app: &App, kind: PluginKind, choice: &Choice) -> Result<Handle> {
    let start = &app.plugins.start;
    let digest = match (&choice.plugin, kind) {
        (Source::Start, PluginKind::Scheduler) => return Ok(Handle::Scheduler(start.scheduler.clone())),
        (Source::Start, PluginKind::Quota) => return Ok(Handle::Quota(start.quota.clone())),
        (Source::Start, PluginKind::Network) => return Ok(Handle::Network(start.network.clone())),
        (Source::BuiltIn, PluginKind::Scheduler) => {
            let built_in = Scheduler { plugin: SchedulerPlugin::built_in(), files: None };
            return Ok(Handle::Scheduler(built_in));
        }
        (Source::BuiltIn, PluginKind::Quota) => return Ok(Handle::Quota(QuotaPlugin::built_in())),
        (Source::BuiltIn, PluginKind::Network) => return Ok(Handle::Network(NetworkPlugin::none())),
        (Source::Installed(digest), _) => digest,
    };
    let package = packages::get(app, digest).await?;
    let (host, config) = (app.plugins.host.clone(), choice.config.clone());
    let dir = packages::folder(app, digest);
    tokio::task::spawn_blocking(move || {
        Ok(match kind {
            PluginKind::Scheduler => {
                let plugin = host.start_scheduler(&package, config.clone())?;
                Handle::Scheduler(Scheduler { plugin, files: Some(PluginFiles { dir, config }) })
            }
            PluginKind::Quota => Handle::Quota(host.start_quota(&package, config)?),
            PluginKind::Network => Handle::Network(host.start_network(&package, config)?),
        })
    })
    .await
    .map_err(|e| Error::internal("plugin.load", e))?
}

/// What was done to a slot, for the log and the event.
pub(super) struct Act {
    pub what: &'static str,
    pub event: &'static str,
    pub plugin: String,
    pub actor: String,
    pub message: String,
}

/// The slots as the store has them; a kind without a row is at revision 0.
pub(super) async fn read(app: &App) -> Result<Vec<(PluginKind, i64, Slot)>> {
    let rows = app.store.read(|c| Box::pin(store::slots(c))).await?;
    PluginKind::ALL
        .into_iter()
        .map(|kind| match rows.iter().find(|(name, ..)| name == kind.as_str()) {
            None => Ok((kind, 0, Slot::default())),
            Some((_, revision, document)) => {
                let slot = serde_json::from_str(document).map_err(|e| Error::internal("plugin.slot", e))?;
                Ok((kind, *revision, slot))
            }
        })
        .collect()
}

/// Compare-and-set with its log line and event; `false` when somebody else was faster.
pub(super) async fn write(app: &App, kind: PluginKind, from: i64, slot: &Slot, act: Act) -> Result<bool> {
    let document = serde_json::to_string(slot).map_err(|e| Error::internal("plugin.slot", e))?;
    let installed = [Some(&slot.active), slot.shadow.as_ref()].into_iter().flatten();
    let wanted: Vec<String> = installed
        .filter_map(|choice| match &choice.plugin {
            Source::Installed(digest) => Some(digest.clone()),
            _ => None,
        })
        .collect();
    let line = line(kind, app.now(), &act);
    let event = act.event;
    app.store
        .write("plugin.slot", move |c| {
            let (document, wanted, line) = (document.clone(), wanted.clone(), line.clone());
            Box::pin(async move {
                if !store::set_slot(c, kind.as_str(), from, &document).await? {
                    return Ok(false);
                }
                for digest in &wanted {
                    if !store::hold(c, digest).await? {
                        return Err(absent(digest));
                    }
                }
                record(c, &line, event).await?;
                Ok(true)
            })
        })
        .await
}

pub(super) fn line(kind: PluginKind, at: Timestamp, act: &Act) -> store::Line {
    store::Line {
        number: 0,
        at,
        kind: kind.as_str().to_owned(),
        plugin: act.plugin.clone(),
        what: act.what.to_owned(),
        actor: act.actor.clone(),
        message: act.message.clone(),
    }
}

/// A line of the log with its event, which belongs to no project.
pub(super) async fn record(c: &mut canopy_store::Conn, line: &store::Line, event: &str) -> Result<()> {
    store::log(c, line).await?;
    let nobody = ProjectId(String::new());
    let subject = format!("{}/{}", line.kind, line.plugin);
    let event = NewEvent { at: line.at, kind: event, project_id: &nobody, subject, host_id: None };
    events::append(c, &event).await.map(|_| ())
}

/// Makes this process serve the kind as `slot` says. `loaded` spares loading its active choice. Only under the
/// turn. An error leaves what is in force in force, and is shown.
pub(super) async fn apply(
    app: &App,
    kind: PluginKind,
    revision: i64,
    slot: Slot,
    loaded: Option<Handle>,
) -> Result<()> {
    let state = app.plugins.state(kind);
    let outcome = if state.slot.active.is_same(&slot.active) && loaded.is_none() {
        Ok(None)
    } else {
        match loaded {
            Some(handle) => Ok(Some(handle)),
            None => load(app, kind, &slot.active).await.map(Some),
        }
    };
    let handle = match outcome {
        Ok(handle) => handle,
        Err(error) => {
            failed(app, kind, revision, &error);
            return Err(error);
        }
    };
    if let Some(handle) = handle {
        let stats = handle.stats();
        put(app, handle);
        app.plugins.retire(state.stats);
        let now = app.now();
        app.plugins.change(kind, |state| {
            *state = State { stats, since: now, started: Instant::now(), cornered: false, ..state.clone() };
        });
        let plugin = slot.active.plugin.as_str();
        tracing::info!(kind = kind.as_str(), plugin, revision, why = slot.active.why, "plugin in force");
    }
    let shadowed = shadow::set(app, kind, &slot).await;
    app.plugins.change(kind, |state| {
        state.revision = revision;
        state.slot = slot;
        state.error = None;
    });
    if let Err(error) = shadowed {
        // The one in force is in force; what fails is only looked at.
        failed(app, kind, revision, &error);
    }
    metrics::gauge!("canopy_plugin_slot_failed", "kind" => kind.as_str())
        .set(if app.plugins.state(kind).error.is_some() { 1.0 } else { 0.0 });
    Ok(())
}

fn failed(app: &App, kind: PluginKind, revision: i64, error: &Error) {
    tracing::error!(
        kind = kind.as_str(),
        revision,
        error = error.chain(),
        "a chosen plugin is not in force here"
    );
    metrics::gauge!("canopy_plugin_slot_failed", "kind" => kind.as_str()).set(1.0);
    let failure =
        Failure { revision, at: app.now(), message: error.message.clone(), again: Instant::now() + AGAIN };
    app.plugins.change(kind, |state| state.error = Some(failure));
}

fn put(app: &App, handle: Handle) {
    match handle {
        Handle::Scheduler(scheduler) => app.placement.swap(scheduler),
        Handle::Quota(quota) => app.quota.set(quota),
        Handle::Network(network) => app.plugins.network.set(network),
    }
}
