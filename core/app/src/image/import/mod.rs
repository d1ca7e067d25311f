//! Importing: bytes are staged first, or fetched from the web, in a task that goes on when the client leaves.
//!
//! queued → uploading (staged bytes arrive and wait) → importing (they are checked and stored) → active; from the
//! web: queued → importing → active. What
//! fails brings the image back to queued, and its task says why.

mod run;
mod stage;
mod tasks;
mod web;

pub use run::{Import, STORE, import, methods};
pub use stage::stage;
pub use tasks::{TaskQuery, absent_task, image_tasks, purge_tasks, task, tasks};
pub use web::WebSource;

/// How long an ended task can still be read, seconds.
pub(super) const TASK_SECONDS: i64 = 48 * 3_600;
/// How long staged bytes wait for their import, seconds. After that the image is queued again.
pub const STAGED_SECONDS: i64 = 24 * 3_600;
