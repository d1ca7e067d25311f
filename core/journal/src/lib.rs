//! What every placement decision was made on, kept so that it can be explained and made again.
//!
//! A journal is a folder of segments. A segment begins with a checkpoint of the whole fleet; then come rounds:
//! the changes that the fleet saw, and the requests that were decided after them, with what came out. Decisions
//! are pure, so a checkpoint and what follows it give every later fleet, and every decision, bit for bit.
//!
//! | module | owns |
//! |---|---|
//! | [`entry`] | what a line says |
//! | [`writer`] | the thread that writes, segments, retention |
//! | [`reader`] | finding and reading them back; the fleet that a decision saw |
//! | [`together`] | deciding one request, the same live and in replay |
//! | [`replay`] | deciding again, as it was or with a candidate |
//!
//! Writing is off the path of requests and in order; a torn last line is where a crash was, and ends its segment.

pub mod entry;
mod line;
pub mod reader;
pub mod replay;
pub mod together;
pub mod writer;

#[cfg(test)]
mod tests;

pub use entry::{Asked, Entry, Outcome, PluginFiles, PutOff, Recorded, Round};
pub use reader::{Reader, Scene};
pub use replay::{Bound, Report, Subject, replay};
pub use together::{Decided, Question, decide};
pub use writer::{Flusher, Limits, Writer};

use canopy_placement::{Change, Request};
use canopy_types::HostId;

/// What placing `request` on `host` does to a fleet; with `times` −1, what takes it off again.
pub fn takes(host: HostId, request: &Request, times: i64) -> Change {
    let group = request.group.as_ref().map(|group| group.id.clone());
    Change::Taken { host, amounts: request.amounts.clone(), group, times }
}
