//! What can be proved about policies, rather than tried: that a change grants nothing new, that a policy
//! can never hold, that another already says what it says.
//!
//! The symbolic compiler turns policies into formulas and cvc5 decides them, so an answer holds for every
//! request that there can be. What there can be beyond the types is said in [`world`]. Only the command
//! line links this crate: no request ever waits for a solver.

mod check;
mod diff;
mod example;
mod prover;
mod world;

pub use check::{Finding, check};
pub use diff::{Change, Verdict, diff};
pub use example::Example;
pub use prover::Prover;
