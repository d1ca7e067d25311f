//! What happens without being asked: this process follows what was chosen, also by another controller; takes a
//! plugin that fails too often out of force; and writes faults and a shadow's differences where operators look.

use super::force::{self, Act};
use super::{packages, shadow};
use crate::App;
use canopy_plugin_host::{PluginKind, Stats};
use canopy_store::plugins as store;
use canopy_types::Result;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often the store is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// Between two looks at faults: a storm of them does not become a storm of looks.
const PAUSE: Duration = Duration::from_millis(5);
/// Faults of one plugin that one look writes to the log; the others are counted.
const LOGGED: usize = 10;
/// How often a change of a slot is tried against others'.
const ATTEMPTS: usize = 8;

/// Puts in force what was chosen before this start. What cannot be loaded is shown, and the configuration file's
/// plugin serves in its place.
pub async fn restore(app: &App) -> Result<()> {
    let _turn = app.plugins.turn.lock().await;
    for (kind, revision, slot) in force::read(app).await? {
        if revision > 0 {
            let _ = force::apply(app, kind, revision, slot, None).await;
        }
    }
    Ok(())
}

/// Runs until `stopped`.
pub async fn run(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let faults = app.plugins.host.faults();
    let mut logged = Logged::new();
    let mut due = Instant::now() + EVERY;
    loop {
        let failing = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            () = faults.notified() => true,
            () = tokio::time::sleep(due.saturating_duration_since(Instant::now())) => false,
        };
        if failing {
            tokio::time::sleep(PAUSE).await;
        }
        for kind in PluginKind::ALL {
            demote_if_due(&app, kind).await;
        }
        if Instant::now() < due {
            continue;
        }
        due = Instant::now() + EVERY;
        if let Err(error) = follow(&app).await {
            tracing::warn!(error = error.chain(), "plugins: what was chosen cannot be read, tried again");
        }
        if let Err(error) = write_down(&app, &mut logged).await {
            tracing::warn!(error = error.chain(), "plugins: the log cannot be written, tried again");
        }
    }
}

async fn follow(app: &App) -> Result<()> {
    let _turn = app.plugins.turn.lock().await;
    for (kind, revision, slot) in force::read(app).await? {
        let state = app.plugins.state(kind);
        let waits = |failure: &super::Failure| failure.revision == revision && Instant::now() < failure.again;
        if state.error.as_ref().map_or(state.revision == revision, waits) {
            continue;
        }
        // Shown in the state; there is nobody to tell.
        let _ = force::apply(app, kind, revision, slot, None).await;
    }
    Ok(())
}

/// Faults since it came into force here, within its window.
fn faults(state: &super::State) -> usize {
    let window = Duration::from_secs(state.slot.demotion.window_seconds.into()).min(state.started.elapsed());
    state.stats.as_ref().map_or(0, |stats| stats.faults_within(window))
}

async fn demote_if_due(app: &App, kind: PluginKind) {
    let due = |state: &super::State| {
        let most = usize::try_from(state.slot.demotion.faults).unwrap_or(usize::MAX);
        most > 0 && !state.cornered && faults(state) >= most
    };
    if !due(&app.plugins.state(kind)) {
        return;
    }
    let _turn = app.plugins.turn.lock().await;
    let state = app.plugins.state(kind);
    if due(&state)
        && let Err(error) = demote(app, kind, &state).await
    {
        tracing::error!(
            kind = kind.as_str(),
            error = error.chain(),
            "a failing plugin could not be taken out, tried again"
        );
    }
}

async fn demote(app: &App, kind: PluginKind, state: &super::State) -> Result<()> {
    let demotion = state.slot.demotion;
    let (count, window) = (faults(state), demotion.window_seconds);
    let kinds = state.stats.as_ref().map(|stats| stats.faults()).unwrap_or_default();
    let kinds: Vec<String> = kinds.iter().map(|(label, count)| format!("{count} {label}")).collect();
    let why = format!("{count} faults within {window} s ({})", kinds.join(", "));
    for _ in 0..ATTEMPTS {
        let read = force::read(app).await?.into_iter().find(|(found, ..)| *found == kind);
        let Some((_, revision, mut slot)) = read else { return Ok(()) };
        if !slot.active.is_same(&state.slot.active) {
            // Somebody was faster.
            return force::apply(app, kind, revision, slot, None).await;
        }
        let failed = slot.active.plugin.as_str().to_owned();
        if !slot.demote(kind, app.now(), &why) {
            tracing::error!(
                kind = kind.as_str(),
                plugin = failed,
                why,
                "the plugin fails, and nothing is left to go back to"
            );
            app.plugins.change(kind, |state| state.cornered = true);
            return Ok(());
        }
        // What it goes back to may fail to load too.
        let loaded = loop {
            match force::load(app, kind, &slot.active).await {
                Ok(handle) => break handle,
                Err(error) if slot.demote(kind, app.now(), &why) => {
                    tracing::warn!(kind = kind.as_str(), error = error.chain(), "passed over in a demotion");
                }
                Err(error) => return Err(error),
            }
        };
        let next = slot.active.plugin.as_str().to_owned();
        let act = Act {
            what: "demote",
            event: "plugin.demote",
            plugin: failed.clone(),
            actor: String::new(),
            message: format!("{why}: {next} is in force"),
        };
        if force::write(app, kind, revision, &slot, act).await? {
            metrics::counter!("canopy_plugin_demotions_total", "kind" => kind.as_str()).increment(1);
            tracing::error!(kind = kind.as_str(), plugin = failed, next, why, "plugin demoted");
            return force::apply(app, kind, revision + 1, slot, Some(loaded)).await;
        }
    }
    Ok(())
}

/// Loaded plugins, and how many of their faults the log has.
type Logged = Vec<(Arc<Stats>, u64)>;

async fn write_down(app: &App, logged: &mut Logged) -> Result<()> {
    let mut present: Vec<(Arc<Stats>, &str)> = Vec::new();
    for kind in PluginKind::ALL {
        present.extend(app.plugins.state(kind).stats.map(|stats| (stats, "active")));
        present.extend(shadow::stats(app, kind).map(|stats| (stats, "shadow")));
    }
    present.extend(app.plugins.take_retired().into_iter().map(|stats| (stats, "active")));
    let mut lines = Vec::new();
    for (stats, role) in &present {
        let known = match logged.iter().position(|(known, _)| Arc::ptr_eq(known, stats)) {
            Some(at) => at,
            None => {
                logged.push((Arc::clone(stats), 0));
                logged.len() - 1
            }
        };
        lines.extend(fresh_faults(app, stats, role, &mut logged[known].1));
    }
    logged.retain(|(known, _)| present.iter().any(|(stats, _)| Arc::ptr_eq(known, stats)));
    let differences = shadow::take_differences(app);
    if lines.is_empty() && differences.is_empty() {
        return Ok(());
    }
    app.store
        .write("plugin.log", move |c| {
            let (lines, differences) = (lines.clone(), differences.clone());
            Box::pin(async move {
                for line in &lines {
                    store::log(c, line).await?;
                }
                if differences.is_empty() {
                    return Ok(());
                }
                store::add_differences(c, &differences).await
            })
        })
        .await
}

/// The newest faults since `known`, which becomes their number; beyond the bound only how many.
fn fresh_faults(app: &App, stats: &Stats, role: &str, known: &mut u64) -> Vec<store::Line> {
    let total: u64 = stats.faults().iter().map(|(_, count)| count).sum();
    let fresh = usize::try_from(total.saturating_sub(*known)).unwrap_or(usize::MAX);
    *known = total;
    let notes = stats.notes();
    let kept = fresh.min(LOGGED).min(notes.len());
    let line = |at, message| store::Line {
        number: 0,
        at,
        kind: stats.kind.as_str().to_owned(),
        plugin: stats.digest.clone(),
        what: "fault".to_owned(),
        actor: String::new(),
        message,
    };
    let newest = notes[notes.len() - kept..].iter();
    let mut lines: Vec<store::Line> =
        newest.map(|note| line(note.at, format!("{role} {}: {}", stats.name, note.detail))).collect();
    if fresh > kept {
        lines.push(line(app.now(), format!("and {} more faults in the same second", fresh - kept)));
    }
    lines
}

/// What an agent apart from its controller should plan networks with.
pub async fn for_agents(app: &App) -> Result<(i64, super::slot::Choice)> {
    let slots = force::read(app).await?;
    let network = slots.into_iter().find(|(kind, ..)| *kind == PluginKind::Network);
    Ok(network
        .map_or_else(|| (0, super::slot::Choice::start()), |(_, revision, slot)| (revision, slot.active)))
}

/// A package as it travels to an agent.
pub async fn package_for_agents(app: &App, digest: &str) -> Result<Vec<u8>> {
    packages::get(app, digest).await.map(|package| package.to_wire())
}
