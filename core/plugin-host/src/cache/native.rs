//! The one place where compiled code becomes runnable. All of this crate's `unsafe` is the one call below;
//! `core/docs/threat-model-plugins.md` says what it rests on.
#![allow(unsafe_code)]

use wasmtime::Engine;
use wasmtime::component::Component;

/// `code` must be what [`Component::serialize`] gave in this installation, unchanged since.
pub(super) fn load(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the only caller is `Cache::load`, which has checked these very bytes (they are in our memory, not
    // mapped from the file) against a MAC under a key that only this installation's user can read; what carries
    // that MAC was serialised by `Cache::store` of the same installation for the same engine configuration,
    // which wasmtime checks once more.
    unsafe { Component::deserialize(engine, code) }
}
