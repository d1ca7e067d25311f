//! All shared state, in SQL: the only crate that knows it.
//!
//! A [`Store`] is SQLite (one machine, zero configuration) or PostgreSQL; one text of SQL serves both,
//! and what must differ stands in [`dialect`]. Reads run on a pool. Writes run as closures in one
//! transaction each, all or nothing; on SQLite they share commits (see [`batch`]), on PostgreSQL they
//! run side by side and a serialization failure is retried. Functions take a [`Conn`] and are grouped by
//! resource, so a use case composes them in its own transaction.

pub mod aggregates;
pub mod backup;
mod batch;
pub mod console_tokens;
pub mod consumers;
pub mod decisions;
pub mod dialect;
pub mod events;
pub mod flavors;
pub mod fleet;
pub mod fsck;
pub mod hosts;
pub mod idempotency;
pub mod identity;
pub mod images;
pub mod inventories;
pub mod keypairs;
pub mod listing;
pub mod metadefs;
mod migrations;
pub mod networks;
pub mod plugins;
mod port_specs;
pub mod ports;
pub mod providers;
pub mod quota;
mod readers;
mod recent;
mod rows;
pub mod security_groups;
pub mod sequences;
pub mod server_actions;
pub mod server_groups;
mod server_list;
pub mod servers;
mod store;
pub mod subnets;
pub mod supply;
pub mod testing;
pub mod traits;
mod words;

pub use recent::Recent;
pub use store::{Options, Store};

/// One connection, inside a transaction when it came from [`Store::write`]. Opaque to other crates.
pub type Conn = sqlx::AnyConnection;

pub type BoxFuture<'a, T> = futures::future::BoxFuture<'a, canopy_types::Result<T>>;

pub use canopy_types::{MAX_PAGE, Page};
