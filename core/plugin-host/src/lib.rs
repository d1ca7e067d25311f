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
//! | [`host`] | the engine, and loading a folder with a manifest and a component |
//! | `worker` | the thread and the queue |
//! | `sandbox` | one instance: limits, deadline, faults, replacement after a fault |
//! | `limits`, `manifest`, [`fault`], `meter`, `items` | what they say |
//!
//! Architecture invariant: no type of wasmtime or of the bindings is public.

mod bindings;
pub mod fault;
pub mod host;
mod items;
mod limits;
pub mod manifest;
mod meter;
pub mod network;
pub mod quota;
mod sandbox;
pub mod scheduler;
mod worker;

pub use fault::Fault;
pub use host::PluginHost;
pub use manifest::{Manifest, PluginKind};
pub use network::{Item, NetworkPlugin};
pub use quota::{Charge, QuotaPlugin, QuotaQuestion, Usage, Verdict};
pub use scheduler::{SchedulerPlugin, WasmScorer};

#[cfg(test)]
mod hostile;
