//! What operators ask: install, configure, shadow, activate, roll back, remove. Whatever a plugin would be refused
//! for is found out here, before anything is written; what is written is in force here when the answer goes out,
//! and within seconds on other controllers.

use super::force::{self, Act, Handle};
use super::slot::{Choice, Demotion, Slot, Source};
use super::{absent, packages, shown};
use crate::{App, Ctx, access};
use canopy_authz::{Target, actions::canopy as actions};
use canopy_plugin_host::{Package, PluginKind};
use canopy_store::plugins as store;
use canopy_types::{Error, Kind, Result, Timestamp};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

/// Plugins that may be installed.
const MOST: i64 = 200;
/// How often a change of a slot is tried against others'.
const ATTEMPTS: usize = 8;

/// The right to send a package: one is in memory at a time.
pub struct Arrival {
    _permit: OwnedSemaphorePermit,
}

/// Before the package is read: who may not install sends nothing.
pub fn begin_install(app: &App, ctx: &Ctx) -> Result<Arrival> {
    access::require(app, ctx, actions::PLUGINS_INSTALL, &Target::default())?;
    let permit = app.plugins.arrival.clone().try_acquire_owned();
    permit.map(|permit| Arrival { _permit: permit }).map_err(|_| {
        Error::unavailable("plugin.busy", "Another plugin is being installed. Try again in a second.")
    })
}

/// Compiles it, starts it once, and keeps it; `false` beside it when it was there already. With `dry_run` nothing
/// is kept. Nothing comes into force by it.
pub async fn install(
    app: &App,
    ctx: &Ctx,
    arrival: Arrival,
    bytes: Vec<u8>,
    dry_run: bool,
) -> Result<(Value, bool)> {
    let host = app.plugins.host.clone();
    let package = tokio::task::spawn_blocking(move || {
        let package = Package::from_wire(&bytes)?;
        drop(bytes);
        host.try_out(&package, Value::Null)?;
        Ok::<_, Error>(package)
    })
    .await
    .map_err(|e| Error::internal("plugin.install", e))??;
    let manifest = package.manifest();
    let row = store::Plugin {
        digest: package.digest().to_owned(),
        kind: manifest.kind.as_str().to_owned(),
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        manifest: package.text().to_owned(),
        size: i64::try_from(package.component().len()).unwrap_or(i64::MAX),
        complete: false,
        config: "{}".to_owned(),
        installed_at: app.now(),
        installed_by: ctx.who.user_id.to_string(),
    };
    if let Some(there) = find(app, &row.digest).await? {
        if there.manifest != row.manifest {
            let why = format!(
                "This component is installed with another plugin.toml: remove {} first, or build it anew.",
                there.digest
            );
            return Err(Error::conflict("plugin.other_manifest", why));
        }
        if there.complete {
            return Ok((shown::document(app, &there), false));
        }
    }
    if dry_run {
        return Ok((shown::document(app, &row), true));
    }
    let new = row.clone();
    app.store
        .write("plugin.install", move |c| {
            let new = new.clone();
            Box::pin(async move {
                if store::count(c).await? >= MOST {
                    let why = format!("{MOST} plugins are installed, more are not kept: remove some.");
                    return Err(Error::conflict("plugin.too_many", why));
                }
                store::insert(c, &new).await.map(|_| ())
            })
        })
        .await?;
    packages::keep(app, &package).await?;
    let act = Act {
        what: "install",
        event: "plugin.install",
        plugin: row.digest.clone(),
        actor: row.installed_by.clone(),
        message: format!("{} {}", row.name, row.version),
    };
    write_line(app, manifest.kind, act).await?;
    drop(arrival);
    Ok((shown::document(app, &store::Plugin { complete: true, ..row }), true))
}

async fn write_line(app: &App, kind: PluginKind, act: Act) -> Result<()> {
    let (line, event) = (force::line(kind, app.now(), &act), act.event);
    app.store
        .write("plugin.log", move |c| {
            let line = line.clone();
            Box::pin(async move { force::record(c, &line, event).await })
        })
        .await
}

async fn find(app: &App, digest: &str) -> Result<Option<store::Plugin>> {
    let digest = digest.to_owned();
    app.store.read(move |c| Box::pin(async move { store::get(c, &digest).await })).await
}

/// An installed plugin, whole.
pub(super) async fn installed(app: &App, id: &str) -> Result<store::Plugin> {
    find(app, id).await?.filter(|plugin| plugin.complete).ok_or_else(|| absent(id))
}

/// Removes an installed plugin that is neither in force nor a shadow.
pub async fn remove(app: &App, ctx: &Ctx, id: &str) -> Result<()> {
    access::require(app, ctx, actions::PLUGINS_REMOVE, &Target::default())?;
    let plugin = find(app, id).await?.ok_or_else(|| absent(id))?;
    let kind = super::kind(&plugin.kind)?;
    let act = Act {
        what: "remove",
        event: "plugin.remove",
        plugin: id.to_owned(),
        actor: ctx.who.user_id.to_string(),
        message: format!("{} {}", plugin.name, plugin.version),
    };
    let (digest, line) = (id.to_owned(), force::line(kind, app.now(), &act));
    app.store
        .write("plugin.remove", move |c| {
            let (digest, line) = (digest.clone(), line.clone());
            Box::pin(async move {
                // Who puts it in force holds the row, or finds it gone.
                store::hold(c, &digest).await?;
                for (name, revision, document) in store::slots(c).await? {
                    let mut slot: Slot =
                        serde_json::from_str(&document).map_err(|e| Error::internal("plugin.slot", e))?;
                    if slot.uses(&digest) {
                        let why = format!("The plugin serves as the {name} plugin, or as its shadow: activate another first.");
                        return Err(Error::conflict("plugin.in_use", why));
                    }
                    if slot.forget(&digest) {
                        let text = serde_json::to_string(&slot).map_err(|e| Error::internal("plugin.slot", e))?;
                        if !store::set_slot(c, &name, revision, &text).await? {
                            return Err(busy());
                        }
                    }
                }
                store::delete(c, &digest).await?;
                force::record(c, &line, "plugin.remove").await
            })
        })
        .await?;
    packages::discard(app, id).await;
    Ok(())
}

fn busy() -> Error {
    Error::conflict(
        "plugin.changed",
        "Somebody else changed the plugins at this moment. Look, and try again.",
    )
}

/// Settings that were found to fit: by the schema, and by the plugin itself.
async fn fitting(app: &App, plugin: &store::Plugin, config: &Value) -> Result<()> {
    let package = packages::get(app, &plugin.digest).await?;
    let (host, config) = (app.plugins.host.clone(), config.clone());
    tokio::task::spawn_blocking(move || host.try_out(&package, config))
        .await
        .map_err(|e| Error::internal("plugin.load", e))?
}

/// Settings of an installed plugin; in force at once where it is.
pub async fn configure(app: &App, ctx: &Ctx, id: &str, config: Value, dry_run: bool) -> Result<Value> {
    access::require(app, ctx, actions::PLUGINS_CONFIGURE, &Target::default())?;
    let plugin = installed(app, id).await?;
    fitting(app, &plugin, &config).await?;
    if dry_run {
        return Ok(shown::document(app, &store::Plugin { config: config.to_string(), ..plugin }));
    }
    let (digest, text) = (plugin.digest.clone(), config.to_string());
    let written = app
        .store
        .write("plugin.configure", move |c| {
            let (digest, text) = (digest.clone(), text.clone());
            Box::pin(async move { store::set_config(c, &digest, &text).await })
        })
        .await?;
    if !written {
        return Err(absent(id));
    }
    let kind = super::kind(&plugin.kind)?;
    let user = ctx.who.user_id.to_string();
    let is = |choice: &Choice| choice.plugin == Source::Installed(plugin.digest.clone());
    let act = |message: &str| Act {
        what: "configure",
        event: "plugin.configure",
        plugin: plugin.digest.clone(),
        actor: user.clone(),
        message: message.to_owned(),
    };
    let (changed, by) = (config.clone(), user.clone());
    let in_force = change(app, kind, act("new settings, in force"), move |slot, now| {
        let choice = |was: &Choice| Choice {
            config: changed.clone(),
            at: now,
            by: by.clone(),
            why: "configured".to_owned(),
            ..was.clone()
        };
        let (active, shadow) = (is(&slot.active), slot.shadow.as_ref().is_some_and(is));
        if active {
            slot.activate(choice(&slot.active.clone()));
        }
        if let (true, Some(there)) = (shadow, slot.shadow.clone()) {
            slot.shadow = Some(choice(&there));
        }
        Ok(active || shadow)
    })
    .await?;
    if !in_force {
        write_line(app, kind, act("new settings, for when it is put in force")).await?;
    }
    Ok(shown::document(app, &store::Plugin { config: config.to_string(), ..plugin }))
}

/// What somebody wants a kind to be served by, with settings: given, else those of the installed plugin.
async fn choice(
    app: &App,
    ctx: &Ctx,
    kind: PluginKind,
    wanted: &str,
    config: Option<Value>,
    why: &str,
) -> Result<Choice> {
    let source = Source::from(wanted.to_owned());
    let config = match &source {
        Source::Installed(id) => {
            let plugin = installed(app, id).await?;
            if plugin.kind != kind.as_str() {
                let why =
                    format!("{} is a {} plugin, not a {} plugin.", plugin.name, plugin.kind, kind.as_str());
                return Err(Error::bad_request("plugin.kind", why));
            }
            match config {
                Some(config) => config,
                None => {
                    serde_json::from_str(&plugin.config).map_err(|e| Error::internal("plugin.corrupt", e))?
                }
            }
        }
        _ if config.is_some() => {
            let why =
                "Only an installed plugin takes settings here; the configuration file has those of its own.";
            return Err(Error::bad_request("plugin.config", why));
        }
        _ => json!({}),
    };
    let by = ctx.who.user_id.to_string();
    Ok(Choice { plugin: source, config, at: app.now(), by, why: why.to_owned() })
}

/// Puts a plugin in force: an installed one by its digest, `start` for the configuration file's, `built-in`.
pub async fn activate(
    app: &App,
    ctx: &Ctx,
    kind: PluginKind,
    wanted: &str,
    config: Option<Value>,
    dry_run: bool,
) -> Result<Value> {
    access::require(app, ctx, actions::PLUGINS_ACTIVATE, &Target::default())?;
    if kind == PluginKind::Network && Source::from(wanted.to_owned()) == Source::BuiltIn {
        let why = "There is no built-in network backend, and without any, every network on every host would be \
                   taken down. Activate start for the configuration file's, or an installed one.";
        return Err(Error::bad_request("plugin.built_in", why));
    }
    let choice = choice(app, ctx, kind, wanted, config, "activated").await?;
    let loaded = force::load(app, kind, &choice).await?;
    if dry_run {
        return shown::slot_document(app, kind);
    }
    let act = Act {
        what: "activate",
        event: "plugin.activate",
        plugin: choice.plugin.as_str().to_owned(),
        actor: choice.by.clone(),
        message: format!("with {}", choice.config),
    };
    let wanted = choice.clone();
    change_with(app, kind, act, Some((choice, loaded)), move |slot, now| {
        slot.activate(Choice { at: now, ..wanted.clone() });
        Ok(true)
    })
    .await?;
    shown::slot_document(app, kind)
}

/// Puts back in force what was before.
pub async fn roll_back(app: &App, ctx: &Ctx, kind: PluginKind, dry_run: bool) -> Result<Value> {
    access::require(app, ctx, actions::PLUGINS_ACTIVATE, &Target::default())?;
    let nothing = || {
        let why = "There is nothing to roll back to: no other plugin was in force before.";
        Error::conflict("plugin.no_history", why)
    };
    let slots = force::read(app).await?;
    let before = slots.iter().find(|(found, ..)| *found == kind).and_then(|(.., slot)| slot.history.last());
    let before = before.cloned().ok_or_else(nothing)?;
    let loaded = force::load(app, kind, &before).await?;
    if dry_run {
        return shown::slot_document(app, kind);
    }
    let by = ctx.who.user_id.to_string();
    let act = Act {
        what: "rollback",
        event: "plugin.rollback",
        plugin: before.plugin.as_str().to_owned(),
        actor: by.clone(),
        message: "back in force".to_owned(),
    };
    let expected = before.clone();
    change_with(app, kind, act, Some((before, loaded)), move |slot, now| {
        if slot.history.last().is_none_or(|last| !last.is_same(&expected)) {
            return Err(busy());
        }
        slot.roll_back(now, &by, "rolled back");
        Ok(true)
    })
    .await?;
    shown::slot_document(app, kind)
}

/// Asks an installed plugin beside the one in force; without one, no more.
pub async fn set_shadow(
    app: &App,
    ctx: &Ctx,
    kind: PluginKind,
    wanted: Option<(&str, Option<Value>)>,
    dry_run: bool,
) -> Result<Value> {
    access::require(app, ctx, actions::PLUGINS_SHADOW, &Target::default())?;
    let by = ctx.who.user_id.to_string();
    let shadow = match wanted {
        None => None,
        Some((id, config)) => {
            let choice = choice(app, ctx, kind, id, config, "shadow").await?;
            if !matches!(choice.plugin, Source::Installed(_)) {
                let why = "Only an installed plugin can be a shadow: install it first.";
                return Err(Error::bad_request("plugin.shadow", why));
            }
            fitting(app, &installed(app, id).await?, &choice.config).await?;
            Some(choice)
        }
    };
    if dry_run {
        return shown::slot_document(app, kind);
    }
    let act = Act {
        what: "shadow",
        event: "plugin.shadow",
        plugin: shadow.as_ref().map_or_else(|| "none".to_owned(), |choice| choice.plugin.as_str().to_owned()),
        actor: by,
        message: if shadow.is_some() { "is asked beside the one in force" } else { "no shadow is asked" }
            .to_owned(),
    };
    change(app, kind, act, move |slot, now| {
        slot.shadow = shadow.clone().map(|choice| Choice { at: now, ..choice });
        Ok(true)
    })
    .await?;
    shown::slot_document(app, kind)
}

/// After how many faults within which time the plugin in force is taken out.
pub async fn set_demotion(app: &App, ctx: &Ctx, kind: PluginKind, demotion: Demotion) -> Result<Value> {
    access::require(app, ctx, actions::PLUGINS_CONFIGURE, &Target::default())?;
    demotion.check().map_err(|why| Error::bad_request("plugin.demotion", format!("{why}.")))?;
    let act = Act {
        what: "configure",
        event: "plugin.configure",
        plugin: "demotion".to_owned(),
        actor: ctx.who.user_id.to_string(),
        message: format!("after {} faults within {} s", demotion.faults, demotion.window_seconds),
    };
    change(app, kind, act, move |slot, _| {
        slot.demotion = demotion;
        Ok(true)
    })
    .await?;
    shown::slot_document(app, kind)
}

async fn change(
    app: &App,
    kind: PluginKind,
    act: Act,
    edit: impl Fn(&mut Slot, Timestamp) -> Result<bool>,
) -> Result<bool> {
    change_with(app, kind, act, None, edit).await
}

/// Edits the slot compare-and-set, and puts it in force here. `edit` says whether there is anything to write.
/// `loaded` is its new active choice, loaded.
async fn change_with(
    app: &App,
    kind: PluginKind,
    act: Act,
    loaded: Option<(Choice, Handle)>,
    edit: impl Fn(&mut Slot, Timestamp) -> Result<bool>,
) -> Result<bool> {
    let _turn = app.plugins.turn.lock().await;
    for _ in 0..ATTEMPTS {
        let slots = force::read(app).await?;
        let Some((_, revision, mut slot)) = slots.into_iter().find(|(found, ..)| *found == kind) else {
            break;
        };
        if !edit(&mut slot, app.now())? {
            return Ok(false);
        }
        let act =
            Act { plugin: act.plugin.clone(), actor: act.actor.clone(), message: act.message.clone(), ..act };
        if force::write(app, kind, revision, &slot, act).await? {
            let loaded = loaded.filter(|(choice, _)| choice.is_same(&slot.active)).map(|(_, handle)| handle);
            force::apply(app, kind, revision + 1, slot, loaded).await?;
            return Ok(true);
        }
    }
    Err(Error::new(
        Kind::Conflict,
        "plugin.changed",
        "Others change the plugins at this moment. Look, and try again.",
    ))
}
