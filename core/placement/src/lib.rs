//! Where a server goes. Pure: a fleet and a request in, a decision with its reasons out.
//!
//! Hard constraints (capacity, state, zone, traits, aggregates, groups, hints) are decided here; preference is
//! asked of a [`Scorer`], which is a WASM plugin in production. A scorer that traps or answers nonsense costs
//! its own opinion, not the decision: the built-in spread takes over and the decision says so.
//!
//! | module | owns |
//! |---|---|
//! | [`fleet`], [`change`] | the facts, and what moves them from one revision to the next |
//! | [`request`], [`decision`], [`advice`] | what is asked and answered |
//! | [`rules`] | what makes a host impossible, and the words for it |
//! | [`decide()`] | one decision on a snapshot, host by host |
//! | [`engine`] | the same decisions over a long-lived fleet |
//! | [`scorer`], [`spread`] | preference |
//! | [`placer`] | an algorithm of its own, whose answers are checked |

pub mod advice;
mod amounts;
pub mod change;
pub mod decide;
pub mod decision;
pub mod engine;
pub mod fleet;
mod names;
pub mod placer;
pub mod request;
pub mod rules;
pub mod scorer;
pub mod seeded;
pub mod spread;

pub use advice::{Advice, Relax, advise};
pub use amounts::SharedAmounts;
pub use change::{Change, Touched};
pub use decide::decide;
pub use decision::{Decision, PluginUse, RuleCount, ScoredHost, Smallest};
pub use engine::Engine;
pub use fleet::{Fleet, Groups, Host, ResourceColumn, SignalColumn, Units};
pub use names::NameSet;
pub use placer::Placer;
pub use request::{GroupPolicy, GroupRule, Request};
pub use scorer::{Columns, Names, Reason, Scorer};
