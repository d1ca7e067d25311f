//! Write a Canopy plugin in Rust: implement one trait, name it in one macro, build for wasm32.
//!
//! | kind | trait | macro | asked |
//! |---|---|---|---|
//! | scheduler | [`scheduler::Scorer`] | [`export_scorer!`] | which of the possible hosts is better |
//! | scheduler | [`placer::Placer`] | [`export_placer!`] | where does each of these go |
//! | quota | [`quota::Rule`] | [`export_rule!`] | may this project have more |
//! | network | [`network::Backend`] | [`export_backend!`] | what should exist on this host |
//!
//! A plugin is a pure function of its configuration and its arguments; a placer, of all its calls in order. It runs without any import: no clock,
//! no randomness, no files, no network, no log. What it answers is data, which the core checks and acts on.
//! A plugin that panics, loops or allocates without end costs one decision, never a request.
//!
//! The traits are ordinary Rust: test an implementation with `cargo test` on your own machine, no WASM
//! needed; [`mock`] asks what the core would ask. The macros expand to nothing unless the target is wasm32.
//!
//! The contract in full, with units and bounds, is the WIT under `sdk/wit`.

mod config;
pub mod memory;
#[cfg(not(target_arch = "wasm32"))]
pub mod mock;
pub mod network;
pub mod placer;
pub mod quota;
pub mod scheduler;

pub use config::parse as parse_config;
pub use {serde, serde_json};

/// What the macros expand to refers to this; not for use by hand.
#[doc(hidden)]
pub mod __private {
    /// The message of the trap when the core forgets `init`.
    pub const NOT_READY: &str = "init comes first";
    /// The error of a second `init`.
    pub const TWICE: &str = "init was called twice";
}
