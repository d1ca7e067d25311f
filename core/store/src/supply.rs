//! All that providers offer, read as one: what decisions over the whole cloud start from.

use crate::store::db;
use crate::{BoxFuture, Conn, dialect, inventories, providers, traits};
use canopy_types::{ProviderId, Result};
use sqlx::Connection;

/// Rows of some providers, or of all; each list is sorted by provider, `providers` by age.
#[derive(Clone, Debug, Default)]
pub struct Supply {
    pub providers: Vec<providers::Provider>,
    pub inventories: Vec<inventories::Inventory>,
    pub traits: Vec<(ProviderId, String)>,
    pub aggregates: Vec<(ProviderId, String)>,
}

/// Runs reads that all see the same commits.
pub async fn at_one_instant<T, F>(conn: &mut Conn, run: F) -> Result<T>
where
    T: Send,
    F: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, T> + Send,
{
    let begin = dialect::begin_snapshot(dialect::engine(conn));
    let mut tx = conn.begin_with(begin).await.map_err(db)?;
    let outcome = run(&mut tx).await;
    tx.rollback().await.map_err(db)?;
    outcome
}

/// At most a few hundred ids, or `None` for all. Call it in [`at_one_instant`].
pub async fn load(conn: &mut Conn, only: Option<&[ProviderId]>) -> Result<Supply> {
    Ok(Supply {
        providers: providers::list(conn, only).await?,
        inventories: inventories::list(conn, only).await?,
        traits: traits::of(conn, only).await?,
        aggregates: traits::aggregates(conn, only).await?,
    })
}
