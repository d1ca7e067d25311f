//! What operators see: installed plugins, the slots, counts of this controller, the log, the differences.

use super::manage::installed;
use super::slot::{Choice, Source};
use super::{State, shadow};
use crate::{App, Ctx, access};
use canopy_authz::{Target, actions::canopy as actions};
use canopy_plugin_host::{Manifest, PluginKind, Stats};
use canopy_store::plugins as store;
use canopy_types::{MAX_PAGE, Page, Result, Timestamp};
use serde_json::{Value, json};

fn may(app: &App, ctx: &Ctx) -> Result<()> {
    access::require(app, ctx, actions::PLUGINS_SHOW, &Target::default())
}

/// Everything installed, and what is in force.
pub async fn list(app: &App, ctx: &Ctx) -> Result<Value> {
    may(app, ctx)?;
    let rows = app.store.read(|c| Box::pin(store::all(c))).await?;
    let plugins: Vec<Value> = rows.iter().filter(|row| row.complete).map(|row| document(app, row)).collect();
    let slots: Vec<Value> = PluginKind::ALL.into_iter().map(|kind| slot(app, kind)).collect();
    Ok(json!({"plugins": plugins, "slots": slots}))
}

pub async fn show(app: &App, ctx: &Ctx, id: &str) -> Result<Value> {
    may(app, ctx)?;
    Ok(document(app, &installed(app, id).await?))
}

/// One installed plugin.
pub(super) fn document(app: &App, row: &store::Plugin) -> Value {
    let manifest = Manifest::parse(&row.manifest).ok();
    let manifest = manifest.as_ref();
    let config: Value = serde_json::from_str(&row.config).unwrap_or_default();
    let slot = super::kind(&row.kind).map(|kind| app.plugins.state(kind).slot).unwrap_or_default();
    let is = |choice: &Choice| choice.plugin == Source::Installed(row.digest.clone());
    json!({"plugin": {
        "id": row.digest,
        "kind": row.kind,
        "name": row.name,
        "version": row.version,
        "description": manifest.map(|manifest| &manifest.description),
        "sdk": manifest.map(|manifest| &manifest.sdk),
        "limits": manifest.map(|manifest| manifest.limits),
        "size": row.size,
        "config": config,
        "config_schema": manifest.and_then(|manifest| manifest.config.schema.as_ref()),
        "config_defaults": manifest.map(|manifest| &manifest.config.defaults),
        "installed_at": row.installed_at.micros_z(),
        "installed_by": row.installed_by,
        "active": is(&slot.active),
        "shadow": slot.shadow.as_ref().is_some_and(is),
    }})["plugin"]
        .take()
}

/// One kind: what serves it, what did before, and what is tried beside it.
pub fn show_slot(app: &App, ctx: &Ctx, kind: PluginKind) -> Result<Value> {
    may(app, ctx)?;
    slot_document(app, kind)
}

pub(super) fn slot_document(app: &App, kind: PluginKind) -> Result<Value> {
    Ok(json!({"slot": slot(app, kind)}))
}

fn slot(app: &App, kind: PluginKind) -> Value {
    let state = app.plugins.state(kind);
    let State { revision, slot, since, error, .. } = &state;
    let shadow = slot.shadow.as_ref().map(|choice| {
        let mut shown = choice_document(choice);
        let counts = shadow::counts(app, kind).unwrap_or_default();
        shown["compared"] = json!(counts.0);
        shown["different"] = json!(counts.1);
        shown["skipped"] = json!(counts.2);
        shown
    });
    json!({
        "kind": kind.as_str(),
        "revision": revision,
        "active": choice_document(&slot.active),
        "name": state.stats.as_ref().map_or("built-in", |stats| &stats.name),
        "version": state.stats.as_ref().map(|stats| &stats.version),
        "digest": state.stats.as_ref().map(|stats| &stats.digest),
        "in_force_since": since.micros_z(),
        "history": slot.history.iter().map(choice_document).collect::<Vec<_>>(),
        "shadow": shadow,
        "demotion": slot.demotion,
        "error": error.as_ref().map(|error| json!({"at": error.at.micros_z(), "message": error.message})),
    })
}

fn choice_document(choice: &Choice) -> Value {
    json!({
        "plugin": choice.plugin,
        "config": choice.config,
        "at": if choice.at == Timestamp(0) { Value::Null } else { json!(choice.at.micros_z()) },
        "by": choice.by,
        "why": choice.why,
    })
}

/// What the plugin in force and its shadow have done in this controller since they were loaded.
pub fn stats(app: &App, ctx: &Ctx, kind: PluginKind) -> Result<Value> {
    may(app, ctx)?;
    let active = app.plugins.state(kind).stats.map(|stats| counted(&stats));
    let shadow = shadow::stats(app, kind).map(|stats| counted(&stats));
    Ok(json!({"stats": {"kind": kind.as_str(), "active": active, "shadow": shadow}}))
}

fn counted(stats: &Stats) -> Value {
    let micros = |share: f64| {
        let quantile = stats.quantile(share)?;
        Some((quantile.as_secs_f64() * 1e7).round() / 10.0)
    };
    let faults: serde_json::Map<String, Value> =
        stats.faults().into_iter().map(|(label, count)| (label.to_owned(), json!(count))).collect();
    json!({
        "name": stats.name,
        "version": stats.version,
        "digest": stats.digest,
        "config_digest": stats.config,
        "calls": stats.calls(),
        "p50_us": micros(0.5),
        "p99_us": micros(0.99),
        "faults": faults,
        "memory_peak_bytes": stats.memory_peak(),
    })
}

/// The page's bounds: `marker` is the number of the last line seen.
fn below(page: &Page) -> Result<(i64, i64)> {
    let limit = page.limit.unwrap_or(100).min(MAX_PAGE);
    let marker = match &page.marker {
        None => i64::MAX,
        Some(text) => text.parse().map_err(|_| {
            canopy_types::Error::bad_request(
                "query.marker",
                "The marker is the number of the last line seen.",
            )
        })?,
    };
    Ok((marker, i64::from(limit)))
}

/// Who did what with plugins, and their faults; newest first.
pub async fn log(
    app: &App,
    ctx: &Ctx,
    kind: Option<PluginKind>,
    plugin: Option<String>,
    page: Page,
) -> Result<Value> {
    may(app, ctx)?;
    let (before, limit) = below(&page)?;
    let lines = app
        .store
        .read(move |c| {
            Box::pin(async move {
                store::lines(c, kind.map(PluginKind::as_str), plugin.as_deref(), before, limit).await
            })
        })
        .await?;
    let line = |line: &store::Line| {
        json!({
            "number": line.number,
            "at": line.at.micros_z(),
            "kind": line.kind,
            "plugin": line.plugin,
            "what": line.what,
            "by": line.actor,
            "message": line.message,
        })
    };
    Ok(json!({"log": lines.iter().map(line).collect::<Vec<_>>()}))
}

/// Where shadows of this kind would have answered otherwise; newest first.
pub async fn differences(app: &App, ctx: &Ctx, kind: PluginKind, page: Page) -> Result<Value> {
    may(app, ctx)?;
    let (before, limit) = below(&page)?;
    let rows = app
        .store
        .read(move |c| Box::pin(async move { store::differences(c, kind.as_str(), before, limit).await }))
        .await?;
    let row = |row: &store::Difference| {
        json!({
            "number": row.number,
            "at": row.at.micros_z(),
            "active": row.active,
            "shadow": row.shadow,
            "subject": row.subject,
            "was": row.was,
            "would": row.would,
        })
    };
    Ok(json!({"differences": rows.iter().map(row).collect::<Vec<_>>()}))
}
