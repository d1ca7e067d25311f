//! Allocation candidates: every way in which providers can serve a request of one or more groups.
//!
//! A [`World`] is what all providers offer at one revision, as columns. [`search`] answers a [`Request`] on
//! it, exactly: placement's rules for trees, sharing providers, granular groups, aggregates and traits, and
//! nothing that the rules do not allow. Pure: no clock, no I/O, the same answer for the same question.
//!
//! A candidate is anchored at a root. Groups with a suffix take everything from one provider; the group
//! without may spread its classes over the anchor's tree. A provider with the trait
//! `MISC_SHARES_VIA_AGGREGATE` serves, beside its own tree, every tree with a member in one of its aggregates.

mod advice;
mod found;
mod plan;
mod request;
mod search;
mod world;

pub use advice::{Relaxed, relaxed};
pub use found::{Candidate, Found};
pub use plan::providers;
pub use request::{Group, Request, Unknown};
pub use search::{MAX_CANDIDATES, MAX_STEPS, search};
pub use world::{Inventory, Names, Offer, Stock, World};
