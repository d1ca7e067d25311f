//! Resource providers, what they offer, and who holds it: placement's rules on the rows that servers are
//! placed by.
//!
//! Every row has an owner. A host is a provider: its name, its place in the tree and the totals that its
//! agent reports are the host's; `reserved`, the allocation ratio, further inventories, traits, aggregates
//! and child providers are the API's. What a server holds is its own and read-only here; other services'
//! consumers share the tables and count alike. A refused write to another owner's row is a 409 that says why.

pub mod allocations;
pub mod candidates;
pub mod errors;
pub mod inventories;
pub mod marks;
pub mod names;
pub mod providers;
pub mod reshape;
pub mod supply;
pub mod usages;

pub use supply::SupplyCache;

/// Rows as the store keeps them, for those who show them.
pub mod rows {
    pub use canopy_store::consumers::{Allocation, Consumer, Usage};
    pub use canopy_store::inventories::Inventory;
    pub use canopy_store::providers::Provider;
    pub use canopy_store::traits::Name;
}

use canopy_store::{Conn, hosts, providers as provider_rows};
use canopy_types::{HostId, ProviderId, Result, Timestamp};

/// The provider, or the answer that an unknown id gets.
async fn provider(conn: &mut Conn, id: ProviderId) -> Result<rows::Provider> {
    provider_rows::get(conn, id).await?.ok_or_else(|| errors::provider_not_found(id))
}

/// What a host offers has changed: decisions about servers start from it.
async fn offer_changed(conn: &mut Conn, provider: &rows::Provider, now: Timestamp) -> Result<()> {
    if !provider.host {
        return Ok(());
    }
    let host = HostId(provider.id.0);
    hosts::touch(conn, host).await?;
    crate::compute::hosts::changed(conn, "host.offer", host, now).await
}
