//! What all providers offer, kept as columns from one request to the next.
//!
//! Before each use the stamp of the rows is compared; when it moved, the providers whose revision did are
//! read again, not all. In a single process on SQLite nothing needs asking while nothing was committed.

use crate::App;
use canopy_candidates::{Inventory, Offer, Stock, World};
use canopy_store::providers::{Provider, Stamp};
use canopy_store::supply::{Supply, at_one_instant, load};
use canopy_store::{Conn, providers, sequences, traits};
use canopy_types::{Error, ProviderId, Result};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, OnceLock};
use tokio::sync::Mutex;

/// Providers read again one by one; beyond, all are.
const FEW: usize = 256;

/// A provider's row and what it offers.
#[derive(Debug)]
pub struct Held {
    pub row: Provider,
    pub offer: Offer,
    /// For those who show it: as they last wrote it out. Goes with the revision.
    pub shown: OnceLock<String>,
}

/// All providers at one instant.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub world: World,
    /// By the world's numbers.
    pub rows: Vec<Arc<Held>>,
}

#[derive(Default)]
pub struct SupplyCache {
    last: Mutex<Option<Cached>>,
}

struct Cached {
    commits: u64,
    stamp: (Stamp, i64),
    held: Arc<BTreeMap<ProviderId, Arc<Held>>>,
    snapshot: Arc<Snapshot>,
}

/// What the rows were found to be.
enum Seen {
    Same,
    Other {
        stamp: (Stamp, i64),
        gone: HashSet<ProviderId>,
        changed: Box<Supply>,
        names: Vec<String>,
        traits: Vec<String>,
    },
}

/// All providers as they are now, own writes included.
pub async fn snapshot(app: &App) -> Result<Arc<Snapshot>> {
    let mut last = app.supply.last.lock().await;
    let commits = *app.store.commits().borrow();
    if let Some(cached) = &*last
        && cached.commits == commits
        && app.store.is_only_writer()
    {
        return Ok(cached.snapshot.clone());
    }
    let held = last.as_ref().map(|cached| (cached.stamp, cached.held.clone()));
    let known = held.clone();
    let seen =
        app.store.read(move |c| Box::pin(at_one_instant(c, move |c| Box::pin(look(c, known))))).await?;
    if let Some(cached) = &mut *last
        && matches!(seen, Seen::Same)
    {
        cached.commits = commits;
        return Ok(cached.snapshot.clone());
    }
    let Seen::Other { stamp, gone, changed, names, traits } = seen else {
        return Err(Error::internal("placement.supply", "nothing was read and nothing is known"));
    };
    let old = held.map(|(_, held)| held).unwrap_or_default();
    let built = tokio::task::spawn_blocking(move || {
        let mut held: BTreeMap<ProviderId, Arc<Held>> =
            old.iter().filter(|(id, _)| !gone.contains(id)).map(|(id, held)| (*id, held.clone())).collect();
        held.extend(assemble(*changed).into_iter().map(|one| (one.row.id, Arc::new(one))));
        let world = World::new(
            held.values().map(|one| &one.offer),
            names.iter().map(String::as_str),
            traits.iter().map(String::as_str),
        );
        let rows = (0..world.len()).filter_map(|at| held.get(&world.id(at as u32)).cloned()).collect();
        (Arc::new(held), Arc::new(Snapshot { world, rows }))
    })
    .await
    .map_err(|e| Error::internal("placement.supply", e))?;
    let (held, snapshot) = built;
    *last = Some(Cached { commits, stamp, held, snapshot: snapshot.clone() });
    Ok(snapshot)
}

type Known = Option<((Stamp, i64), Arc<BTreeMap<ProviderId, Arc<Held>>>)>;

async fn look(conn: &mut Conn, known: Known) -> Result<Seen> {
    let stamp = (providers::stamp(conn).await?, sequences::current(conn, super::names::CHANGES).await?);
    if known.as_ref().is_some_and(|(last, _)| *last == stamp) {
        return Ok(Seen::Same);
    }
    let names = traits::classes(conn).await?.into_iter().map(|class| class.name).collect();
    let all_traits = traits::list(conn).await?.into_iter().map(|t| t.name).collect();
    let mut gone = HashSet::new();
    let mut only: Option<Vec<ProviderId>> = None;
    if let Some((_, held)) = &known {
        let revisions: BTreeMap<ProviderId, i64> = providers::revisions(conn).await?.into_iter().collect();
        gone.extend(held.keys().filter(|id| !revisions.contains_key(id)));
        let changed: Vec<ProviderId> = revisions
            .iter()
            .filter(|(id, revision)| held.get(id).is_none_or(|one| one.row.revision != **revision))
            .map(|(id, _)| *id)
            .collect();
        only = (changed.len() <= FEW).then_some(changed);
    }
    let changed = match &only {
        Some(none) if none.is_empty() => Supply::default(),
        some => load(conn, some.as_deref()).await?,
    };
    Ok(Seen::Other { stamp, gone, changed: Box::new(changed), names, traits: all_traits })
}

fn assemble(supply: Supply) -> Vec<Held> {
    let mut all: BTreeMap<ProviderId, Held> = supply
        .providers
        .into_iter()
        .map(|row| {
            let offer = Offer {
                id: row.id,
                number: row.number,
                parent: row.parent_id,
                root: row.root_id,
                traits: Vec::new(),
                aggregates: Vec::new(),
                stock: Vec::new(),
            };
            (row.id, Held { row, offer, shown: OnceLock::new() })
        })
        .collect();
    for row in supply.inventories {
        if let Some(one) = all.get_mut(&row.provider_id) {
            let inventory = Inventory {
                capacity: row.capacity(),
                used: row.used,
                min_unit: row.min_unit,
                max_unit: row.max_unit,
                step_size: row.step_size,
            };
            one.offer.stock.push(Stock { class: row.class, inventory });
        }
    }
    for (id, name) in supply.traits {
        if let Some(one) = all.get_mut(&id) {
            one.offer.traits.push(name);
        }
    }
    for (id, name) in supply.aggregates {
        if let Some(one) = all.get_mut(&id) {
            one.offer.aggregates.push(name);
        }
    }
    all.into_values().collect()
}
