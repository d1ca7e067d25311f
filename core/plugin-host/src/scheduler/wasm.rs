//! The guest's side of a decision: columns in, checked scores out. Lives on one thread.

use super::world::Scheduler as World;
use crate::bindings::scheduler::scoring::{Class, Columns as Wire, Reason as WireReason};
use crate::fault::{Fault, short};
use crate::host::Loaded;
use crate::meter::{Meter, Stats};
use crate::sandbox::Sandbox;
use canopy_placement::scorer::{OWN_SIGNALS, first_nan};
use canopy_placement::{Columns, Names, Placer, PluginUse, Reason, Scorer};
use canopy_types::{Error, resources};
use std::sync::Arc;
use std::time::Instant;

/// Rows of one call: enough to hide its cost, few enough that no fleet outgrows a guest's memory. A score
/// depends on its row alone, so the cut does not show.
const CHUNK: usize = 8192;
/// Of who is asked as a scorer and is none; nothing the guest did, so its state stays.
const NO_SCORES: &str = "answer: a placer gives no scores";
/// Reasons of one row that are kept.
const REASONS: usize = 16;

/// A loaded scheduler, to be asked from one thread, which the guest then keeps until its deadline.
/// [`crate::SchedulerPlugin`] has a thread of its own for that.
pub struct WasmScorer {
    pub(super) sandbox: Sandbox<World>,
    identity: PluginUse,
    pub(super) config: Arc<str>,
    /// What the instance was told of at `init`.
    pub(super) names: Arc<Names>,
    pub(super) meter: Meter,
    /// Whether it chooses hosts itself.
    places: bool,
    /// Of a placer: see [`Placer::state`].
    pub(super) state: u64,
}

impl WasmScorer {
    pub(crate) fn load(loaded: Loaded<World>) -> Result<Self, Error> {
        let Loaded { manifest, digest, config, engine, fuel, pre, meter } = loaded;
        let identity = PluginUse {
            name: manifest.name.as_str().into(),
            version: manifest.version.as_str().into(),
            digest: digest.into(),
            config: crate::host::sha256(config.as_bytes()).into(),
            fault: None,
        };
        // What every fleet has; another set of names replaces it with the first question.
        let resources =
            [resources::VCPU, resources::MEMORY_MB, resources::DISK_GB].map(str::to_owned).to_vec();
        let names = Arc::new(Names { resources, signals: OWN_SIGNALS.map(str::to_owned).to_vec() });
        let config: Arc<str> = config.into();
        let (init, places) = (init(Arc::clone(&config), Arc::clone(&names), 0), pre.places());
        let mut sandbox = Sandbox::new(engine, pre, manifest.limits, init).counting(fuel).watched(&meter);
        sandbox.ready().map_err(|fault| manifest.bad_config(&fault.to_string()))?;
        Ok(Self { sandbox, identity, config, names, meter, places, state: 0 })
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Whether it chooses hosts itself: see [`Scorer::placer`].
    pub fn places(&self) -> bool {
        self.places
    }

    /// What it has done so far.
    pub fn stats(&self) -> Arc<Stats> {
        self.meter.stats()
    }

    /// Guest instructions of the last call, when the host counts them ([`crate::PluginHost::counting`]).
    pub fn instructions(&self) -> Option<u64> {
        self.sandbox.fuel_used()
    }

    fn tell_names(&mut self, columns: &Columns) {
        if !Arc::ptr_eq(&self.names, &columns.names) {
            if self.names != columns.names {
                self.sandbox.restart(init(Arc::clone(&self.config), Arc::clone(&columns.names), 0));
            }
            self.names = Arc::clone(&columns.names);
        }
    }

    /// Asks about all rows, chunk by chunk; `ask` must answer with one value per row.
    fn by_chunks<T>(
        &mut self,
        columns: &Columns,
        mut ask: impl FnMut(&mut Sandbox<World>, Class<'_>, Wire<'_>, u32) -> Result<Vec<T>, Fault>,
    ) -> Result<Vec<T>, Fault> {
        self.tell_names(columns);
        let rows = columns.rows();
        let mut about = |columns: &Columns| {
            let (class, wire) = (Class { wants: &columns.want, traits: &[] }, whole(columns)?);
            let rows = wire.rows;
            ask(&mut self.sandbox, class, wire, rows)
        };
        if rows <= CHUNK {
            return about(columns);
        }
        let mut answers = Vec::with_capacity(rows);
        let mut from = 0;
        while from < rows {
            let to = rows.min(from + CHUNK);
            answers.extend(about(&cut(columns, from, to)?)?);
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
        if self.places {
            return Err(NO_SCORES.to_owned());
        }
        let started = Instant::now();
        let scores = self.by_chunks(columns, |sandbox, class, wire, rows| {
            sandbox.call(|world, store| {
                let guest = match world.scoring() {
                    Ok(guest) => guest,
                    Err(why) => return Ok(Err(why)),
                };
                Ok(check_scores(guest.call_score(store, class, wire)?, rows))
            })
        });
        self.meter.ended(started, scores).map_err(|fault| fault.to_string())
    }

    fn explain(&mut self, columns: &Columns) -> Result<Vec<Vec<Reason>>, String> {
        if self.places {
            return Err(NO_SCORES.to_owned());
        }
        let started = Instant::now();
        let reasons = self.by_chunks(columns, |sandbox, class, wire, rows| {
            sandbox.call(|world, store| {
                let guest = match world.scoring() {
                    Ok(guest) => guest,
                    Err(why) => return Ok(Err(why)),
                };
                let reasons = guest.call_explain(store, class, wire)?;
                if reasons.len() != rows as usize {
                    return Ok(Err(format!("reasons for {} of {rows} hosts", reasons.len())));
                }
                let kept = |row: Vec<_>| row.into_iter().take(REASONS).map(reason).collect();
                Ok(Ok(reasons.into_iter().map(kept).collect()))
            })
        });
        self.meter.ended(started, reasons).map_err(|fault| fault.to_string())
    }

    fn placer(&mut self) -> Option<&mut dyn Placer> {
        if self.places { Some(self) } else { None }
    }
}

/// Tells a new instance its configuration, the names, and, when it is a placer's, the number of hosts.
pub(super) fn init(
    config: Arc<str>,
    names: Arc<Names>,
    hosts: u32,
) -> impl Fn(&World, &mut wasmtime::Store<crate::limits::Limiter>) -> crate::sandbox::Called<()> + Send {
    move |world, store| {
        let resources: Vec<&str> = names.resources.iter().map(String::as_str).collect();
        let signals: Vec<&str> = names.signals.iter().map(String::as_str).collect();
        let init = match world {
            World::Scores(guest) => guest.call_init(store, &config, &resources, &[], &signals)?,
            World::Places(guest) => {
                // What depends on the request comes with it.
                let lasting = signals.get(OWN_SIGNALS.len()..).unwrap_or(&[]);
                guest.call_init(store, &config, &resources, lasting, hosts)?
            }
        };
        Ok(init.map_err(|why| why.to_string()))
    }
}

fn reason(reason: WireReason) -> Reason {
    Reason { code: short(&reason.code).chars().take(64).collect(), value: reason.value }
}

fn check_scores(scores: Vec<f32>, rows: u32) -> Result<Vec<f32>, String> {
    if scores.len() != rows as usize {
        return Err(format!("{} scores for {rows} hosts", scores.len()));
    }
    match first_nan(&scores) {
        None => Ok(scores),
        Some(row) => Err(format!("the score of row {row} is not a number")),
    }
}

/// All rows, as they cross: lent.
fn whole(columns: &Columns) -> Result<Wire<'_>, Fault> {
    let (rows, classes, signals) =
        (columns.rows(), columns.names.resources.len(), columns.names.signals.len());
    if columns.capacity.len() != rows * classes
        || columns.free.len() != rows * classes
        || columns.want.len() != classes
        || !(columns.signals.is_empty() || columns.signals.len() == rows * signals)
    {
        return Err(Fault::Host("columns of unequal length".to_owned()));
    }
    let rows = u32::try_from(rows).map_err(|e| Fault::Host(e.to_string()))?;
    let (capacity, free, signals) = (&columns.capacity, &columns.free, &columns.signals);
    Ok(Wire { rows, capacity, free, traits: &[], signals })
}

/// Rows `from..to` on their own.
fn cut(columns: &Columns, from: usize, to: usize) -> Result<Columns, Fault> {
    whole(columns)?;
    let cut = |values: &[f32]| -> Vec<f32> {
        values.chunks_exact(columns.rows().max(1)).flat_map(|column| &column[from..to]).copied().collect()
    };
    Ok(Columns {
        names: Arc::clone(&columns.names),
        want: columns.want.clone(),
        hosts: columns.hosts[from..to].to_vec(),
        capacity: cut(&columns.capacity),
        free: cut(&columns.free),
        signals: cut(&columns.signals),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_cross_one_after_the_other_and_ragged_ones_not_at_all() {
        let resources = vec!["VCPU".into(), "MEMORY_MB".into()];
        let mut columns = Columns {
            names: Arc::new(Names { resources, signals: vec!["s".into()] }),
            want: vec![1.0, 1.0],
            hosts: vec![4, 7, 9],
            capacity: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            free: vec![0.0; 6],
            signals: vec![7.0, 8.0, 9.0],
        };
        let part = cut(&columns, 1, 3).unwrap();
        assert_eq!((part.hosts, part.capacity), (vec![7, 9], vec![2.0, 3.0, 5.0, 6.0]));
        assert_eq!((part.free, part.signals), (vec![0.0; 4], vec![8.0, 9.0]));
        columns.signals.clear();
        assert_eq!(whole(&columns).unwrap().rows, 3);
        columns.free.pop();
        assert_eq!(whole(&columns).unwrap_err().label(), "host");
    }
}
