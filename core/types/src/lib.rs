//! What every part of Canopy speaks: ids, time, quantities, states and the one error.
//!
//! Nothing here does I/O; the exceptions are the system clock (injected everywhere as [`time::Clock`])
//! and the crash points of [`effect`], which exist so that a test can stop the process at each of them.

pub mod console;
pub mod diagnostics;
pub mod effect;
pub mod error;
mod hex;
pub mod ids;
pub mod page;
pub mod quota;
pub mod resources;
pub mod server;
pub mod time;

pub use console::ConsoleKind;
pub use error::{Error, Kind, Result};
pub use hex::hex;
pub use ids::*;
pub use page::{MAX_PAGE, Page};
pub use time::{Clock, SystemClock, Timestamp};
