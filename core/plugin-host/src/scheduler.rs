//! `canopy:scheduler@1`.

use crate::bindings::scheduler::{Class, Columns as Wire, Scorer as World};
use crate::fault::{Fault, short};
use crate::host::Loaded;
use crate::manifest::PluginKind;
use crate::meter::Meter;
use crate::sandbox::Sandbox;
use crate::worker::Worker;
use canopy_placement::{Columns, Decision, Fleet, PluginUse, Reason, Request, Scorer, spread::Spread};
use canopy_types::{DecisionId, Error, resources};
use std::sync::Arc;

/// Rows of one call: enough to hide its cost, few enough that no fleet outgrows a guest's memory. A score
/// depends on its row alone, so the cut does not show.
const CHUNK: usize = 8192;
/// Reasons of one row that are kept.
const REASONS: usize = 16;
/// Fleets of this size are decided on in less time than a change of threads takes.
const SMALL_FLEET: usize = 256;

/// A loaded scheduler; cheap to clone.
#[derive(Clone)]
pub struct SchedulerPlugin {
    /// `None`: the built-in.
    guest: Option<Guest>,
}

#[derive(Clone)]
struct Guest {
    worker: Worker<WasmScorer>,
    identity: PluginUse,
    meter: Meter,
}

impl SchedulerPlugin {
    /// The built-in spread, without any WASM.
    pub fn built_in() -> Self {
        Self { guest: None }
    }

    /// Decides on the plugin's thread. Never fails: on a fault, overload or a missing plugin the built-in
    /// decides and [`Decision::plugin`] says why.
    pub async fn decide(&self, id: DecisionId, fleet: Arc<Fleet>, request: Request) -> Decision {
        let Some(guest) = &self.guest else {
            return natively(id, fleet, request, Absent(None)).await;
        };
        let (seen, asked) = (Arc::clone(&fleet), request.clone());
        let answer =
            guest.worker.ask(move |scorer| canopy_placement::decide(id, &seen, &asked, scorer)).await;
        match answer {
            Ok(decision) => decision,
            Err(fault) => {
                guest.meter.fault(&fault);
                natively(id, fleet, request, Absent(Some((guest.identity.clone(), fault)))).await
            }
        }
    }

    /// Who decides; the built-in has no digest.
    pub fn identity(&self) -> PluginUse {
        self.guest.as_ref().map_or_else(|| Spread.identity(), |guest| guest.identity.clone())
    }

    /// Runs `work` beside the scorer, on the plugin's thread: for engines that live longer than one question.
    /// When the thread cannot be had, `work` runs elsewhere with a scorer that answers with that fault. The
    /// default only when `work` itself panics.
    pub async fn visit<T, F>(&self, work: F) -> T
    where
        T: Default + Send + 'static,
        F: Fn(&mut dyn Scorer) -> T + Send + Sync + 'static,
    {
        let work = Arc::new(work);
        let mut absent = Absent(None);
        if let Some(guest) = &self.guest {
            let there = Arc::clone(&work);
            match guest.worker.ask(move |scorer| there(scorer)).await {
                Ok(answer) => return answer,
                Err(fault) => {
                    guest.meter.fault(&fault);
                    absent = Absent(Some((guest.identity.clone(), fault)));
                }
            }
        }
        tokio::task::spawn_blocking(move || work(&mut absent)).await.unwrap_or_default()
    }

    /// Why each row gets its score, for people. Off the hot path; an error names the fault.
    pub async fn explain(&self, columns: Columns) -> Result<Vec<Vec<Reason>>, Error> {
        let answer = match &self.guest {
            None => Spread.explain(&columns),
            Some(guest) => {
                let answer = guest.worker.ask(move |scorer| scorer.explain(&columns)).await;
                answer.unwrap_or_else(|fault| Err(fault.to_string()))
            }
        };
        answer.map_err(|fault| {
            Error::unavailable("plugin.fault", format!("The scheduler did not explain: {fault}"))
        })
    }

    pub(crate) fn start(name: &str, scorer: WasmScorer) -> Result<Self, Error> {
        let (identity, meter) = (scorer.identity.clone(), scorer.meter.clone());
        let worker = Worker::start(name, scorer).map_err(|e| Error::internal("plugin.thread", e))?;
        Ok(Self { guest: Some(Guest { worker, identity, meter }) })
    }
}

/// The built-in's decision, off the async threads when it takes long.
async fn natively(id: DecisionId, fleet: Arc<Fleet>, request: Request, absent: Absent) -> Decision {
    if fleet.hosts.len() <= SMALL_FLEET {
        return canopy_placement::decide(id, &fleet, &request, &mut absent.clone());
    }
    let (seen, asked, mut there) = (Arc::clone(&fleet), request.clone(), absent.clone());
    let decided =
        tokio::task::spawn_blocking(move || canopy_placement::decide(id, &seen, &asked, &mut there)).await;
    decided.unwrap_or_else(|_| canopy_placement::decide(id, &fleet, &request, &mut absent.clone()))
}

/// Stands in for a guest that could not be asked; without one, it is the built-in.
#[derive(Clone)]
struct Absent(Option<(PluginUse, Fault)>);

impl Scorer for Absent {
    fn identity(&self) -> PluginUse {
        self.0.as_ref().map_or_else(|| Spread.identity(), |(identity, _)| identity.clone())
    }

    fn score(&mut self, columns: &Columns) -> Result<Vec<f32>, String> {
        match &self.0 {
            None => Spread.score(columns),
            Some((_, fault)) => Err(fault.to_string()),
        }
    }

    fn explain(&mut self, columns: &Columns) -> Result<Vec<Vec<Reason>>, String> {
        Spread.explain(columns)
    }
}

/// The guest's side of a decision; lives on its thread, or with whoever replays.
pub struct WasmScorer {
    sandbox: Sandbox<World>,
    identity: PluginUse,
    config: Arc<str>,
    /// Resource classes that the instance was told of at `init`.
    classes: Vec<String>,
    meter: Meter,
}

fn init(
    config: Arc<str>,
    classes: Vec<String>,
) -> impl Fn(&World, &mut wasmtime::Store<crate::limits::Limiter>) -> crate::sandbox::Called<()> + Send {
    move |world, store| world.canopy_scheduler_scoring().call_init(store, &config, &classes, &[])
}

impl WasmScorer {
    pub(crate) fn load(loaded: Loaded<World>) -> Result<Self, Error> {
        let Loaded { manifest, digest, config, engine, fuel, pre } = loaded;
        let meter = Meter::new(&manifest.name, PluginKind::Scheduler);
        let identity = PluginUse {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            digest,
            config: crate::host::sha256(config.as_bytes()),
            fault: None,
        };
        // What every fleet has; another set of names replaces it with the first question.
        let classes = [resources::VCPU, resources::MEMORY_MB, resources::DISK_GB].map(str::to_owned).to_vec();
        let config: Arc<str> = config.into();
        let init = init(Arc::clone(&config), classes.clone());
        let mut sandbox = Sandbox::new(engine, pre, manifest.limits, init).counting(fuel);
        sandbox.ready().map_err(|fault| manifest.bad_config(&fault.to_string()))?;
        Ok(Self { sandbox, identity, config, classes, meter })
    }

    fn tell_names(&mut self, columns: &Columns) {
        if self.classes != columns.names.resources {
            self.classes.clone_from(&columns.names.resources);
            self.sandbox.restart(init(Arc::clone(&self.config), self.classes.clone()));
        }
    }

    /// Asks about all rows, chunk by chunk; `ask` must answer with one value per row.
    fn by_chunks<T>(
        &mut self,
        columns: &Columns,
        mut ask: impl FnMut(&mut Sandbox<World>, &Class, &Wire) -> Result<Vec<T>, Fault>,
    ) -> Result<Vec<T>, Fault> {
        self.tell_names(columns);
        let class = Class { wants: columns.want.clone(), traits: Vec::new() };
        let mut answers = Vec::with_capacity(columns.hosts.len());
        let mut from = 0;
        while from < columns.hosts.len() {
            let to = columns.hosts.len().min(from + CHUNK);
            answers.extend(ask(&mut self.sandbox, &class, &wire(columns, from, to)?)?);
            from = to;
        }
        Ok(answers)
    }
}

impl Scorer for WasmScorer {
    fn identity(&self) -> PluginUse {
        self.identity.clone()
    }

    fn score(&mut self, columns: &Columns) -> Result<Vec<f32>, String> {
        let meter = self.meter.clone();
        let scores = meter.call(|| {
            self.by_chunks(columns, |sandbox, class, rows| {
                sandbox.call(|world, store| {
                    let scores = world.canopy_scheduler_scoring().call_score(store, class, rows)?;
                    Ok(check_scores(scores, rows.rows))
                })
            })
        });
        scores.map_err(|fault| fault.to_string())
    }

    fn explain(&mut self, columns: &Columns) -> Result<Vec<Vec<Reason>>, String> {
        let meter = self.meter.clone();
        let reasons = meter.call(|| {
            self.by_chunks(columns, |sandbox, class, rows| {
                sandbox.call(|world, store| {
                    let reasons = world.canopy_scheduler_scoring().call_explain(store, class, rows)?;
                    if reasons.len() != rows.rows as usize {
                        return Ok(Err(format!("reasons for {} of {} hosts", reasons.len(), rows.rows)));
                    }
                    let kept = |row: Vec<_>| row.into_iter().take(REASONS).map(reason).collect();
                    Ok(Ok(reasons.into_iter().map(kept).collect()))
                })
            })
        });
        reasons.map_err(|fault| fault.to_string())
    }
}

fn reason(reason: crate::bindings::scheduler::exports::canopy::scheduler::scoring::Reason) -> Reason {
    Reason { code: short(&reason.code).chars().take(64).collect(), value: reason.value }
}

fn check_scores(scores: Vec<f32>, rows: u32) -> Result<Vec<f32>, String> {
    if scores.len() != rows as usize {
        return Err(format!("{} scores for {rows} hosts", scores.len()));
    }
    match scores.iter().position(|score| score.is_nan()) {
        None => Ok(scores),
        Some(row) => Err(format!("the score of row {row} is not a number")),
    }
}

/// Rows `from..to`, as they cross: column after column in one list.
fn wire(columns: &Columns, from: usize, to: usize) -> Result<Wire, Fault> {
    let (rows, taken) = (columns.rows(), to - from);
    let cut = |values: &[f64]| -> Result<Vec<f64>, Fault> {
        if values.len() != rows * columns.names.resources.len() {
            return Err(Fault::Host("columns of unequal length".to_owned()));
        }
        Ok(values.chunks_exact(rows.max(1)).flat_map(|column| &column[from..to]).copied().collect())
    };
    let rows = u32::try_from(taken).map_err(|e| Fault::Host(e.to_string()))?;
    Ok(Wire { rows, capacity: cut(&columns.capacity)?, used: cut(&columns.used)?, traits: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use canopy_placement::Names;

    #[test]
    fn columns_cross_one_after_the_other_and_ragged_ones_not_at_all() {
        let resources = vec!["VCPU".into(), "MEMORY_MB".into()];
        let mut columns = Columns {
            names: Arc::new(Names { resources, signals: Vec::new() }),
            want: vec![1.0, 1.0],
            hosts: vec![4, 7, 9],
            capacity: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            used: vec![0.0; 6],
            signals: Vec::new(),
        };
        let rows = wire(&columns, 1, 3).unwrap();
        assert_eq!((rows.rows, rows.capacity, rows.used), (2, vec![2.0, 3.0, 5.0, 6.0], vec![0.0; 4]));
        columns.used.pop();
        assert_eq!(wire(&columns, 0, 3).unwrap_err().label(), "host");
    }

    #[tokio::test]
    async fn the_built_in_answers_as_itself() {
        let fleet = Arc::new(Fleet::default());
        let decision =
            SchedulerPlugin::built_in().decide(DecisionId::random(), fleet, Request::default()).await;
        assert_eq!((decision.plugin.name.as_str(), decision.plugin.fault), ("built-in", None));
    }
}
