//! The contracts of `sdk/wit`, as Rust. Generated; nothing outside this crate names what is in here.

/// `canopy:scheduler@1`, world `scorer`.
pub(crate) mod scheduler {
    // Columns are lent, not copied, on their way to the guest.
    wasmtime::component::bindgen!({
        path: "../../sdk/wit/scheduler/v1",
        world: "scorer",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
    pub(crate) use exports::canopy::scheduler::scoring;
}

/// `canopy:scheduler@1`, world `placer`: see `scheduler::world`.
pub(crate) mod placer {
    wasmtime::component::bindgen!({
        path: "../../sdk/wit/scheduler/v1",
        world: "placer",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
    pub(crate) use exports::canopy::scheduler::placing;
}

/// `canopy:quota@1`, world `rule`.
pub(crate) mod quota {
    wasmtime::component::bindgen!({ path: "../../sdk/wit/quota/v1", world: "rule" });
    #[cfg(test)]
    pub(crate) use exports::canopy::quota::limits::Denial;
    pub(crate) use exports::canopy::quota::limits::{Book, Claims, Countable, Holder, HolderKind, Verdict};
}

/// `canopy:network@1`, world `cluster-backend`, whose second interface is optional: see `network::world`.
pub(crate) mod network {
    wasmtime::component::bindgen!({ path: "../../sdk/wit/network/v1", world: "cluster-backend" });
    pub(crate) use exports::canopy::network::{placing, planning};
}
