//! The guest's side of a placer: what it is told crosses in columns, lent. Its state is its instance: what is at fault
//! loses it, and a new state begins with a new instance.

use super::wasm::{WasmScorer, init};
use crate::bindings::placer::placing::{Class, Hosts, OwnLists, Requests};
use crate::fault::{Fault, short};
use canopy_placement::Names;
use canopy_placement::placer::{Asking, HostRows, Placer, PlacerClass, new_state};
use std::sync::Arc;

impl Placer for WasmScorer {
    fn state(&self) -> u64 {
        self.state
    }

    fn begin(&mut self, names: &Arc<Names>, hosts: u32) -> Result<u64, String> {
        self.state = 0;
        self.names = Arc::clone(names);
        self.sandbox.restart(init(Arc::clone(&self.config), Arc::clone(names), hosts));
        let ready = self.meter.clone().call(|| self.sandbox.ready());
        ready.map_err(|fault| fault.to_string())?;
        self.state = new_state();
        Ok(self.state)
    }

    fn hosts(&mut self, rows: &HostRows) -> Result<(), String> {
        self.told(|sandbox| {
            sandbox.call(|world, store| match world.placing() {
                Ok(guest) => Ok(Ok(guest.call_upsert_hosts(store, lent(rows))?)),
                Err(why) => Ok(Err(why)),
            })
        })
    }

    fn classes(&mut self, first: u32, classes: &[PlacerClass]) -> Result<(), String> {
        let classes: Vec<Class<'_>> = classes
            .iter()
            .map(|class| Class {
                wants: &class.wants,
                cells: &class.cells,
                barred: &class.barred,
                home: &class.home,
            })
            .collect();
        self.told(|sandbox| {
            sandbox.call(|world, store| match world.placing() {
                Ok(guest) => Ok(Ok(guest.call_upsert_classes(store, first, &classes)?)),
                Err(why) => Ok(Err(why)),
            })
        })
    }

    fn place(&mut self, epoch: u64, changed: &HostRows, requests: &[Asking]) -> Result<Vec<u32>, String> {
        let classes: Vec<u32> = requests.iter().map(|asking| asking.class).collect();
        let lists: Vec<OwnLists<'_>> = (0..)
            .zip(requests)
            .filter(|(_, asking)| !asking.lists.is_empty())
            .map(|(request, Asking { lists, .. })| OwnLists {
                request,
                only: lists.only.as_deref(),
                barred: &lists.barred,
                near: &lists.near,
                apart: &lists.apart,
            })
            .collect();
        self.told(|sandbox| {
            sandbox.call(|world, store| {
                let guest = match world.placing() {
                    Ok(guest) => guest,
                    Err(why) => return Ok(Err(why)),
                };
                let requests = Requests { classes: &classes, lists: &lists };
                let answers = guest.call_decide(store, epoch, lent(changed), requests)?;
                if answers.len() == classes.len() {
                    Ok(Ok(answers))
                } else {
                    Ok(Err(format!("{} hosts for {} requests", answers.len(), classes.len())))
                }
            })
        })
    }

    fn wrong(&mut self, why: &str) {
        self.meter.fault(&Fault::Answer(short(why)));
    }
}

impl WasmScorer {
    /// One call on the state, which is gone when it fails.
    fn told<T>(
        &mut self,
        call: impl FnOnce(&mut crate::sandbox::Sandbox<super::world::Scheduler>) -> Result<T, Fault>,
    ) -> Result<T, String> {
        let meter = self.meter.clone();
        let answer = meter.call(|| {
            if self.state == 0 {
                return Err(Fault::Host("a placer without state was asked".to_owned()));
            }
            call(&mut self.sandbox)
        });
        answer.map_err(|fault| {
            self.state = 0;
            fault.to_string()
        })
    }
}

fn lent(rows: &HostRows) -> Hosts<'_> {
    Hosts {
        at: &rows.at,
        cells: &rows.cells,
        capacity: &rows.capacity,
        free: &rows.free,
        signals: &rows.signals,
    }
}
