//! What would have happened: workloads, real or made up, against a fleet and a scheduler, without a cloud.
//!
//! A simulation is deterministic: the same trace, fleet and scheduler give the same report, but for the time it
//! took. Nothing is simulated but placement: no failures, no start-up times, no retries; a refused server is
//! dropped.

pub mod bestfit;
pub mod clock;
pub mod cloud;
pub mod fleet;
pub mod formats;
pub mod picture;
pub mod report;
pub mod run;
pub mod trace;

pub use run::{Report, Sample, run, run_with};
pub use trace::{Arrival, Trace};
