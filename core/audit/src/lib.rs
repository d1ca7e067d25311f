//! The audit log: who asked to do what, whether it was allowed and by which policies.
//!
//! Append-only JSON lines under one folder, each a CADF event. Every line carries the hash of the line
//! before it of the same server process, so that a line that is changed, removed or moved shows. The chain
//! is not secret: who may write the folder can make a new one, which is why [`verify`] prints the newest
//! hash, to be kept elsewhere.

mod chain;
mod event;
mod limit;
mod log;
mod read;

pub use event::{Event, Outcome};
pub use limit::Limit;
pub use log::{Log, Options};
pub use read::{Chain, Verified, lines, verify};
