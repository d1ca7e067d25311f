//! A scheduler as it is exported: `placing` by one that chooses hosts itself, `scoring` by all others.

use crate::bindings::placer::placing;
use crate::bindings::scheduler::scoring;
use crate::limits::Limiter;
use crate::manifest::PluginKind;
use crate::sandbox::World;
use wasmtime::Store;
use wasmtime::component::InstancePre;

const PLACING: &str = "canopy:scheduler/placing@1.0.0";

pub(crate) enum Scheduler {
    Scores(scoring::Guest),
    Places(placing::Guest),
}

enum Indices {
    Scores(scoring::GuestIndices),
    Places(placing::GuestIndices),
}

pub(crate) struct SchedulerPre {
    instance: InstancePre<Limiter>,
    indices: Indices,
}

impl SchedulerPre {
    pub(crate) fn places(&self) -> bool {
        matches!(self.indices, Indices::Places(_))
    }
}

impl World for Scheduler {
    const KIND: PluginKind = PluginKind::Scheduler;
    type Pre = SchedulerPre;

    fn prepare(instance: InstancePre<Limiter>) -> wasmtime::Result<SchedulerPre> {
        let indices = match instance.component().get_export_index(None, PLACING) {
            Some(_) => Indices::Places(placing::GuestIndices::new(&instance)?),
            None => Indices::Scores(scoring::GuestIndices::new(&instance)?),
        };
        Ok(SchedulerPre { instance, indices })
    }

    fn instantiate(pre: &SchedulerPre, store: &mut Store<Limiter>) -> wasmtime::Result<Self> {
        let instance = pre.instance.instantiate(&mut *store)?;
        Ok(match &pre.indices {
            Indices::Scores(scoring) => Self::Scores(scoring.load(&mut *store, &instance)?),
            Indices::Places(placing) => Self::Places(placing.load(&mut *store, &instance)?),
        })
    }
}

impl Scheduler {
    /// Nobody asks a placer for scores: see [`canopy_placement::Scorer::placer`].
    pub(super) fn scoring(&self) -> Result<&scoring::Guest, String> {
        match self {
            Self::Scores(guest) => Ok(guest),
            Self::Places(_) => Err("a placer gives no scores".to_owned()),
        }
    }

    pub(super) fn placing(&self) -> Result<&placing::Guest, String> {
        match self {
            Self::Places(guest) => Ok(guest),
            Self::Scores(_) => Err("a scorer places nothing".to_owned()),
        }
    }
}
