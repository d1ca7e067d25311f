//! `canopy:scheduler@1`.

mod placing;
mod wasm;
mod world;

use crate::fault::Fault;
use crate::meter::{Meter, Stats};
use crate::worker::Worker;
use canopy_placement::placer::{Asking, HostRows, PlacerClass};
use canopy_placement::{
    Columns, Decision, Engine, Fleet, Names, Placer, PluginUse, Reason, Request, Scorer, spread::Spread,
};
use canopy_types::{DecisionId, Error};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use wasm::WasmScorer;

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
    /// Whether it is a placer.
    places: bool,
}

impl Guest {
    /// What answers in its place when it cannot be asked.
    fn absent(&self, fault: Fault) -> Absent {
        Absent(Some(Missing { identity: self.identity.clone(), fault, places: self.places }))
    }
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
                natively(id, fleet, request, guest.absent(fault)).await
            }
        }
    }

    /// Who decides; the built-in has no digest.
    pub fn identity(&self) -> PluginUse {
        self.guest.as_ref().map_or_else(|| Spread.identity(), |guest| guest.identity.clone())
    }

    /// Whether it chooses hosts itself, and so has a state that its answers depend on.
    pub fn places(&self) -> bool {
        self.guest.as_ref().is_some_and(|guest| guest.places)
    }

    /// What it has done so far; the built-in counts nothing.
    pub fn stats(&self) -> Option<Arc<Stats>> {
        self.guest.as_ref().map(|guest| guest.meter.stats())
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
                    absent = guest.absent(fault);
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

    /// Decides a batch in order, as [`Engine::decide_batch`] does, on the plugin's thread, which holds the
    /// engine for that long. Never fails, as [`Self::decide`]. An engine whose lock is poisoned afterwards
    /// should be replaced by one of a new snapshot.
    pub async fn decide_in(
        &self,
        engine: &Arc<Mutex<Engine>>,
        batch: Vec<(DecisionId, Request)>,
        all_or_nothing: bool,
    ) -> Vec<Decision> {
        let batch = Arc::new(batch);
        let absent = match &self.guest {
            None => Absent(None),
            Some(guest) => {
                let (engine, batch) = (Arc::clone(engine), Arc::clone(&batch));
                let ask =
                    move |scorer: &mut WasmScorer| lock(&engine).decide_batch(&batch, all_or_nothing, scorer);
                match guest.worker.ask(ask).await {
                    Ok(decisions) => return decisions,
                    Err(fault) => {
                        guest.meter.fault(&fault);
                        guest.absent(fault)
                    }
                }
            }
        };
        let (there, asked, mut scorer) = (Arc::clone(engine), Arc::clone(&batch), absent.clone());
        let decide = move || lock(&there).decide_batch(&asked, all_or_nothing, &mut scorer);
        let decisions = tokio::task::spawn_blocking(decide).await;
        decisions.unwrap_or_else(|_| lock(engine).decide_batch(&batch, all_or_nothing, &mut absent.clone()))
    }

    pub(crate) fn start(name: &str, scorer: WasmScorer) -> Result<Self, Error> {
        let (identity, meter, places) = (scorer.identity(), scorer.meter().clone(), scorer.places());
        let worker = Worker::start(name, scorer).map_err(|e| Error::internal("plugin.thread", e))?;
        Ok(Self { guest: Some(Guest { worker, identity, meter, places }) })
    }
}

fn lock(engine: &Mutex<Engine>) -> MutexGuard<'_, Engine> {
    engine.lock().unwrap_or_else(PoisonError::into_inner)
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
struct Absent(Option<Missing>);

#[derive(Clone)]
struct Missing {
    identity: PluginUse,
    fault: Fault,
    places: bool,
}

impl Scorer for Absent {
    fn identity(&self) -> PluginUse {
        self.0.as_ref().map_or_else(|| Spread.identity(), |missing| missing.identity.clone())
    }

    fn score(&mut self, columns: &Columns) -> Result<Vec<f32>, String> {
        match &self.0 {
            None => Spread.score(columns),
            Some(missing) => Err(missing.fault.to_string()),
        }
    }

    fn explain(&mut self, columns: &Columns) -> Result<Vec<Vec<Reason>>, String> {
        Spread.explain(columns)
    }

    fn placer(&mut self) -> Option<&mut dyn Placer> {
        if self.0.as_ref().is_some_and(|missing| missing.places) { Some(self) } else { None }
    }
}

/// In place of a placer: it never has a state, so every request is the built-in's for that fault.
impl Placer for Absent {
    fn state(&self) -> u64 {
        0
    }

    fn begin(&mut self, _: &Arc<Names>, _: u32) -> Result<u64, String> {
        Err(self.0.as_ref().map_or_else(String::new, |missing| missing.fault.to_string()))
    }

    fn hosts(&mut self, _: &HostRows) -> Result<(), String> {
        self.begin(&Arc::default(), 0).map(drop)
    }

    fn classes(&mut self, _: u32, _: &[PlacerClass]) -> Result<(), String> {
        self.begin(&Arc::default(), 0).map(drop)
    }

    fn place(&mut self, _: u64, _: &HostRows, _: &[Asking]) -> Result<Vec<u32>, String> {
        self.begin(&Arc::default(), 0).map(|_| Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_built_in_answers_as_itself() {
        let fleet = Arc::new(Fleet::default());
        let decision =
            SchedulerPlugin::built_in().decide(DecisionId::random(), fleet, Request::default()).await;
        assert_eq!((&*decision.plugin.name, decision.plugin.fault), ("built-in", None));
        let engine = Arc::new(Mutex::new(Engine::new(Fleet::default())));
        let batch = vec![(DecisionId::random(), Request::default()); 3];
        let decisions = SchedulerPlugin::built_in().decide_in(&engine, batch, false).await;
        assert_eq!(decisions.len(), 3);
        assert!(decisions.iter().all(|decision| &*decision.plugin.name == "built-in"));
    }
}
