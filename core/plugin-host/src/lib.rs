//! Runs operators' WASM components: load, limit, call, classify faults. Knows WIT and wasmtime; nothing
//! else in the tree does.
//!
//! A plugin returns data, the core acts. A trap, a loop, a memory bomb or nonsense costs one decision:
//! the caller gets the built-in's answer with the fault named, and the metric rises.
//!
//! Each plugin kind has a handle with plain Rust types. Calls run on the plugin's own thread behind a
//! bounded queue, so nothing blocks in async code. From the outside in:
//!
//! | module | owns |
//! |---|---|
//! | [`scheduler`], [`quota`], [`network`] | one kind each: types in and out, what an answer must be, the fallback |
//! | [`host`] | the engine, and loading a package |
//! | `inspect` | what can be said of a plugin without a cloud |
//! | `package`, `cache` | a manifest with its component; what was compiled of it before |
//! | `worker` | the thread and the queue |
//! | `sandbox` | one instance: limits, deadline, faults, replacement after a fault |
//! | `limits`, `caps`, `manifest`, [`fault`], `meter`, `items`, `schemas`, `live` | what they say |
//!
//! Architecture invariants: no type of wasmtime or of the bindings is public. `unsafe` stands in `cache/native.rs`
//! only, once: compiled code that this installation wrote itself becomes runnable again.

mod bindings;
mod cache;
mod caps;
pub mod fault;
pub mod host;
mod inspect;
mod items;
mod limits;
mod live;
pub mod manifest;
mod meter;
pub mod network;
mod package;
pub mod quota;
mod sandbox;
pub mod scheduler;
mod schemas;
mod worker;

pub use cache::Cache;
pub use caps::Caps;
pub use fault::Fault;
pub use host::{Options, PluginHost};
pub use inspect::Inspection;
pub use live::Live;
pub use manifest::{Manifest, PluginKind};
pub use meter::{MAX_FAULTS, Note, Stats};
pub use network::{ClusterNetwork, Item, NetworkPlugin, Places};
pub use package::{MAX_PACKAGE, Package};
pub use quota::{
    Book, Charge, Claim, Countable, Holder, HolderKind, QuotaPlugin, QuotaQuestion, Row, Verdict,
};
pub use scheduler::{SchedulerPlugin, WasmScorer};

#[cfg(test)]
mod hostile;
