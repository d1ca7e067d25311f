//! A cloud that fits in a test: asks a plugin what the core would ask, natively, and holds the answers to the rules
//! of the contract that are easy to break without noticing.
//!
//! ```
//! use canopy_sdk::mock;
//! # use canopy_sdk::quota::{Question, Rule, Verdict};
//! # struct Mine;
//! # impl Rule for Mine {
//! #     type Config = canopy_sdk::serde_json::Value;
//! #     fn init(_: Self::Config) -> Result<Self, String> { Ok(Self) }
//! #     fn check(&self, _: &Question<'_>) -> Verdict { Verdict::Allow }
//! # }
//! let rule: Mine = mock::rule("{}")?;
//! let project = mock::Project::new().row("cores", 20, 18).ask("cores", 2).attribute("flavor", "m1.small");
//! assert_eq!(project.verdicts(&rule)?, [Verdict::Allow]);
//! # Ok::<(), String>(())
//! ```
//!
//! What it cannot show is what only WASM shows (memory, time, imports): for that there is `canopy plugin check`.

mod network;
mod placer;
mod quota;
mod scheduler;

pub use network::{backend, cluster, places, plan, view};
pub use placer::{PlacerCloud, Running};
pub use quota::{Project, rule};
pub use scheduler::{Fleet, scorer};
