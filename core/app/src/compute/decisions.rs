//! Why a server is where it is, or nowhere.
//!
//! The decision itself stands beside the server. What every host had to say to it is not stored: it is made
//! again from the journal, for those who may see hosts, as far back as the journal reaches.

use crate::access;
use crate::{App, Ctx};
use canopy_authz::{Target, actions::canopy as actions};
use canopy_journal::{Flusher, Reader, Scene};
use canopy_placement::rules::{Rule, Ruler};
use canopy_placement::spread::Spread;
use canopy_placement::{Columns, Decision, Engine, PluginUse, Reason, Request, Scorer};
use canopy_plugin_host::SchedulerPlugin;
use canopy_store::decisions::DecisionRow;
use canopy_types::{DecisionId, Error, HostId, Kind, Page, Result, ServerId};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

type Load = dyn Fn(&Path) -> Result<SchedulerPlugin> + Send + Sync;

/// The journal, read back, and how to get at the plugins that it keeps.
pub struct Scenes {
    reader: Reader,
    flusher: Flusher,
    load: Arc<Load>,
    /// The one used last: whoever explains one decision explains the next.
    loaded: Mutex<Option<(PluginUse, SchedulerPlugin)>>,
}

impl Scenes {
    /// `load` loads a kept plugin from its folder; it may block.
    pub fn new(reader: Reader, flusher: Flusher, load: Arc<Load>) -> Self {
        Self { reader, flusher, load, loaded: Mutex::new(None) }
    }

    async fn scene(&self, number: i64) -> Result<Scene> {
        let (reader, flusher) = (self.reader.clone(), self.flusher.clone());
        let read = tokio::task::spawn_blocking(move || {
            reader.scene(number).or_else(|_| {
                // It may be too new rather than too old.
                flusher.flush();
                reader.scene(number)
            })
        })
        .await;
        read.map_err(|e| Error::internal("journal.read", e))?
    }

    /// Who scored in that scene.
    async fn scorer(&self, scene: &Scene) -> Result<SchedulerPlugin> {
        let Some(files) = scene.files.clone() else {
            return match scene.plugin.digest.as_ref() {
                "" => Ok(SchedulerPlugin::built_in()),
                _ => Err(Error::new(Kind::Gone, "journal.plugin", "The journal does not hold the plugin.")),
            };
        };
        if let Some((known, plugin)) = &*self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
            && *known == scene.plugin
        {
            return Ok(plugin.clone());
        }
        let load = self.load.clone();
        let plugin = tokio::task::spawn_blocking(move || load(&files))
            .await
            .map_err(|e| Error::internal("journal.plugin", e))??;
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((scene.plugin.clone(), plugin.clone()));
        Ok(plugin)
    }
}

pub fn absent(id: &str) -> Error {
    let shown: String = id.chars().take(64).collect();
    Error::not_found("decision.not_found", format!("Decision {shown} could not be found."))
}

fn target(decision: &DecisionRow) -> Target {
    Target::in_project(&decision.project_id).id(decision.id)
}

/// A decision that the caller may see.
async fn find(app: &App, ctx: &Ctx, id: DecisionId) -> Result<DecisionRow> {
    let gone = || absent(&id.to_string());
    let decision = app.store.read(move |c| Box::pin(canopy_store::decisions::get(c, id))).await?;
    let decision = decision.ok_or_else(gone)?;
    let show = actions::DECISIONS_SHOW;
    access::require_on(app, ctx, show, show, &target(&decision), gone)?;
    Ok(decision)
}

/// The stored document with what it is about.
pub async fn show(app: &App, ctx: &Ctx, id: DecisionId) -> Result<Value> {
    let decision = find(app, ctx, id).await?;
    document(app, ctx, &decision)
}

/// The newest decision on a server, which may be deleted by now.
pub async fn show_of_server(app: &App, ctx: &Ctx, server: ServerId) -> Result<Value> {
    let gone = || super::servers::absent(&server.to_string());
    let found = app.store.read(move |c| Box::pin(canopy_store::decisions::of_server(c, server))).await?;
    let decision = found.ok_or_else(gone)?;
    let show = actions::DECISIONS_SHOW;
    access::require_on(app, ctx, show, show, &target(&decision), gone)?;
    document(app, ctx, &decision)
}

fn document(app: &App, ctx: &Ctx, decision: &DecisionRow) -> Result<Value> {
    let mut document: Value =
        serde_json::from_str(&decision.document).map_err(|e| Error::internal("decision.corrupt", e))?;
    document["tie_break"] = match document["seed"].as_u64() {
        None | Some(0) => json!("among equal scores the first host by name"),
        Some(seed) => json!(format!("among equal scores the lowest hash of seed {seed}, class and host")),
    };
    if !access::allowed(app, ctx, actions::DECISIONS_SHOW_HOSTS, &target(decision)) {
        without_hosts(&mut document);
    }
    Ok(json!({"decision": {
        "id": decision.id,
        "server_id": decision.server_id,
        "project_id": decision.project_id,
        "at": decision.at.micros_z(),
        "kind": "placement",
        "journal": {"id": decision.journal, "number": decision.position},
        "document": document,
    }}))
}

/// A tenant learns how many hosts said what, not which.
fn without_hosts(document: &mut Value) {
    let placed = !document["winner"].is_null();
    document["placed"] = json!(placed);
    for rule in document["refused"].as_array_mut().into_iter().flatten() {
        rule["example"] = Value::Null;
    }
    for host in document["top"].as_array_mut().into_iter().flatten() {
        *host = json!({"score": host["score"]});
    }
    if let Some(candidates) = document["candidates"].as_object_mut() {
        candidates.remove("allocations");
        candidates.remove("groups");
    }
    if let Some(document) = document.as_object_mut() {
        document.remove("controller");
    }
    document["winner"] = Value::Null;
    document["winner_name"] = Value::Null;
    for list in ["only_hosts", "forbidden_hosts", "exclude"] {
        if let Some(request) = document["request"].as_object_mut() {
            request.remove(list);
        }
    }
}

/// What every host had to say to a decision, a page of them in the order of names, made again on what the
/// decision was made on. [`Kind::Gone`] when the journal does not reach back that far.
pub async fn hosts(app: &App, ctx: &Ctx, id: DecisionId, page: Page) -> Result<Value> {
    let decision = find(app, ctx, id).await?;
    access::require(app, ctx, actions::DECISIONS_SHOW_HOSTS, &target(&decision))?;
    let scenes = app.journal.as_ref().filter(|scenes| scenes.reader.id() == decision.journal);
    let scenes = scenes.ok_or_else(|| elsewhere(&decision))?;
    let made: Decision =
        serde_json::from_str(&decision.document).map_err(|e| Error::internal("decision.corrupt", e))?;
    let scene = scenes.scene(decision.position).await?;
    let scorer = scenes.scorer(&scene).await?;
    let stage = tokio::task::spawn_blocking(move || Stage::of(scene, id))
        .await
        .map_err(|e| Error::internal("journal.read", e))??;
    let from = match &page.marker {
        None => 0,
        Some(marker) => {
            let marker: Option<HostId> = marker.parse().ok();
            let at = marker.and_then(|id| stage.engine.fleet().index_of(id));
            at.ok_or_else(|| Error::bad_request("page.marker", "The marker is no host of this decision."))?
                + 1
        }
    };
    let all = stage.engine.fleet().hosts.len();
    let to = all.min(from.saturating_add(usize::try_from(page.size()).unwrap_or(0)));
    let stage = Arc::new(stage);
    let (seen, fault) = (stage.clone(), made.plugin.fault.clone());
    let rows = scorer
        .visit(move |scorer| {
            let mut built_in = Spread;
            let scorer: &mut dyn Scorer = if fault.is_some() { &mut built_in } else { scorer };
            seen.rows(from, to, scorer)
        })
        .await;
    let rows: Vec<Value> = rows
        .into_iter()
        .map(|row| if row["host_id"] == json!(made.winner) { chosen(row) } else { row })
        .collect();
    let next = (to < all).then(|| stage.engine.fleet().hosts[to - 1].id);
    Ok(json!({
        "decision_id": id,
        "revision": stage.engine.fleet().revision,
        "plugin": made.plugin,
        "hosts": rows,
        "next_marker": next,
    }))
}

/// Each controller keeps a journal of its own: its decisions are explained where they were made.
fn elsewhere(decision: &DecisionRow) -> Error {
    let document: Value = serde_json::from_str(&decision.document).unwrap_or_default();
    let at = document["controller"].as_str().filter(|name| !name.is_empty());
    let at = at.map_or_else(|| "the one that made it".to_owned(), |name| format!("{name}, which made it"));
    Error::new(
        Kind::Gone,
        "journal.elsewhere",
        format!("This controller's journal does not hold the decision. Ask the controller {at}."),
    )
}

fn chosen(mut row: Value) -> Value {
    row["verdict"] = json!("chosen");
    row
}

/// A fleet as one decision of a request saw it.
struct Stage {
    engine: Engine,
    request: Request,
}

impl Stage {
    fn of(scene: Scene, id: DecisionId) -> Result<Self> {
        let gone = || Error::new(Kind::Gone, "journal.gone", "The journal does not hold this decision.");
        let decisions = scene.asked.decisions;
        let at = decisions.iter().position(|recorded| recorded.id == id).ok_or_else(gone)?;
        let mut engine = Engine::with_seed(scene.fleet, scene.seed);
        for before in &decisions[..at] {
            if let Some(host) = before.outcome.as_ref().and_then(|outcome| outcome.winner) {
                engine.take(host, &before.request, 1);
            }
        }
        Ok(Self { engine, request: decisions[at].request.as_ref().clone() })
    }

    fn rows(&self, from: usize, to: usize, scorer: &mut dyn Scorer) -> Vec<Value> {
        let fleet = self.engine.fleet();
        let ruler = Ruler::new(fleet, &self.request);
        let refusals: Vec<Option<Rule>> = (from..to).map(|at| ruler.refusal(at)).collect();
        let fits: Vec<u32> = (from..to)
            .zip(&refusals)
            .filter(|(_, refusal)| refusal.is_none())
            .filter_map(|(at, _)| u32::try_from(at).ok())
            .collect();
        let columns = canopy_placement::decide::columns(fleet, &self.request, fits.clone());
        let (scores, why) = scored(&columns, scorer);
        let row = |(at, refusal): (usize, &Option<Rule>)| {
            let host = &fleet.hosts[at];
            let mut row =
                json!({"host_id": host.id, "name": host.name, "zone": host.zone, "short": self.short(at)});
            match refusal {
                Some(rule) => {
                    row["verdict"] = json!("refused");
                    row["rule"] = json!(ruler.name(*rule));
                    row["why"] = json!(format!("{} {}", host.name, ruler.words(*rule, at)));
                }
                None => {
                    let place = fits.iter().position(|fit| *fit as usize == at);
                    let score = place.and_then(|place| scores.get(place)).copied();
                    row["verdict"] = json!(if score == Some(f32::NEG_INFINITY) { "vetoed" } else { "fits" });
                    row["score"] = json!(score.filter(|score| score.is_finite()));
                    row["reasons"] = json!(place.and_then(|place| why.get(place)));
                }
            }
            row
        };
        (from..to).zip(&refusals).map(row).collect()
    }

    /// How much each class lacks here.
    fn short(&self, at: usize) -> Value {
        let fleet = self.engine.fleet();
        let lacks = |(class, want): (&String, &i64)| {
            let free = fleet.column(class).map_or(0, |column| column.free(at).max(0));
            (*want > free).then(|| (class.clone(), json!(want.saturating_sub(free))))
        };
        Value::Object(self.request.amounts.iter().filter_map(lacks).collect())
    }
}

/// Scores and reasons, as far as the plugin gives any.
fn scored(columns: &Columns, scorer: &mut dyn Scorer) -> (Vec<f32>, Vec<Vec<Reason>>) {
    if columns.rows() == 0 {
        return Default::default();
    }
    let scores = scorer.score(columns).unwrap_or_default();
    let reasons = scorer.explain(columns).unwrap_or_default();
    (scores, reasons)
}
