//! A network backend as it is exported: `planning` always, `placing` when it says where networks are. Who was built before
//! there was a second interface has none, and who exports one that is not the contract's is refused at loading.

use crate::bindings::network::{placing, planning};
use crate::limits::Limiter;
use crate::manifest::PluginKind;
use crate::sandbox::World;
use wasmtime::Store;
use wasmtime::component::InstancePre;

const PLACING: &str = "canopy:network/placing@1.0.0";

pub(crate) struct Backend {
    pub(crate) planning: planning::Guest,
    pub(crate) placing: Option<placing::Guest>,
}

pub(crate) struct BackendPre {
    instance: InstancePre<Limiter>,
    planning: planning::GuestIndices,
    placing: Option<placing::GuestIndices>,
}

impl BackendPre {
    pub(crate) fn places(&self) -> bool {
        self.placing.is_some()
    }
}

impl World for Backend {
    const KIND: PluginKind = PluginKind::Network;
    type Pre = BackendPre;

    fn prepare(instance: InstancePre<Limiter>) -> wasmtime::Result<BackendPre> {
        let planning = planning::GuestIndices::new(&instance)?;
        let placing = match instance.component().get_export_index(None, PLACING) {
            Some(_) => Some(placing::GuestIndices::new(&instance)?),
            None => None,
        };
        Ok(BackendPre { instance, planning, placing })
    }

    fn instantiate(pre: &BackendPre, store: &mut Store<Limiter>) -> wasmtime::Result<Self> {
        let instance = pre.instance.instantiate(&mut *store)?;
        let placing = match &pre.placing {
            Some(placing) => Some(placing.load(&mut *store, &instance)?),
            None => None,
        };
        Ok(Self { planning: pre.planning.load(&mut *store, &instance)?, placing })
    }
}
