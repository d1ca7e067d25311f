//! Who holds what. A consumer's allocations are replaced as a whole, several consumers' in one transaction.

use super::rows::{Allocation, Consumer, Provider};
use super::{errors, offer_changed, provider};
use crate::{App, Ctx, access};
use canopy_authz::Target;
use canopy_authz::actions::placement as actions;
use canopy_store::{Conn, consumers, inventories, providers, traits};
use canopy_types::{ConsumerId, Error, ProjectId, ProviderId, Result, Timestamp, UserId};
use std::collections::{BTreeMap, BTreeSet};

/// Whose a consumer is that nobody named, as in versions before 1.8.
pub const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// What is known of a consumer's generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Versions before 1.28 do not ask.
    Any,
    /// `None`: there is no such consumer yet.
    Is(Option<i64>),
}

/// All that one consumer is to hold from now on.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub consumer: ConsumerId,
    /// By provider, amounts by class, from 1. Empty: nothing.
    pub resources: BTreeMap<ProviderId, BTreeMap<String, i64>>,
    pub owner: Option<(ProjectId, UserId)>,
    pub expected: Expected,
    /// The consumer's type; `None` leaves it.
    pub kind: Option<String>,
}

/// A consumer's allocations with the providers' generations; no consumer when it holds nothing.
pub struct Held {
    pub consumer: Option<Consumer>,
    pub rows: Vec<(Allocation, i64)>,
}

pub async fn of_consumer(app: &App, ctx: &Ctx, id: ConsumerId) -> Result<Held> {
    access::require(app, ctx, actions::ALLOCATIONS_LIST, &Target::default())?;
    app.store
        .read(move |c| {
            Box::pin(async move {
                let consumer = consumers::get(c, id).await?;
                let held = consumers::held(c, id).await?;
                let ids: BTreeSet<ProviderId> = held.iter().map(|row| row.provider_id).collect();
                let ids: Vec<ProviderId> = ids.into_iter().collect();
                let generations: BTreeMap<ProviderId, i64> = if ids.is_empty() {
                    BTreeMap::new()
                } else {
                    providers::list(c, Some(&ids)).await?.into_iter().map(|p| (p.id, p.generation)).collect()
                };
                let rows = held
                    .into_iter()
                    .map(|row| {
                        let generation = generations.get(&row.provider_id).copied().unwrap_or_default();
                        (row, generation)
                    })
                    .collect();
                Ok(Held { consumer, rows })
            })
        })
        .await
}

/// With each consumer's generation.
pub async fn of_provider(app: &App, ctx: &Ctx, id: ProviderId) -> Result<(Provider, Vec<(Allocation, i64)>)> {
    access::require(app, ctx, actions::PROVIDER_ALLOCATIONS, &Target::default())?;
    app.store
        .read(move |c| {
            Box::pin(async move { Ok((provider(c, id).await?, consumers::of_provider(c, id).await?)) })
        })
        .await
}

/// One consumer.
pub async fn set(app: &App, ctx: &Ctx, wanted: Wanted) -> Result<()> {
    access::require(app, ctx, actions::ALLOCATIONS_UPDATE, &Target::default())?;
    let consumer = wanted.consumer;
    write(app, vec![wanted]).await.map_err(|mut error| {
        if error.code == NO_CLASS {
            error.message =
                format!("Unable to allocate inventory for consumer {consumer}: {}", error.message);
        }
        error
    })
}

/// Several consumers, all or nothing.
pub async fn set_many(app: &App, ctx: &Ctx, wanted: Vec<Wanted>) -> Result<()> {
    access::require(app, ctx, actions::ALLOCATIONS_MANAGE, &Target::default())?;
    write(app, wanted).await.map_err(|mut error| {
        if error.code == NO_CLASS {
            error.message = format!("Unable to allocate inventory {}", error.message);
        }
        error
    })
}

const NO_CLASS: &str = "placement.no_class";

async fn write(app: &App, wanted: Vec<Wanted>) -> Result<()> {
    let now = app.now();
    app.store
        .write("allocations.set", move |c| {
            let wanted = wanted.clone();
            Box::pin(async move { replace(c, wanted, now).await })
        })
        .await
}

pub async fn delete(app: &App, ctx: &Ctx, id: ConsumerId) -> Result<()> {
    access::require(app, ctx, actions::ALLOCATIONS_DELETE, &Target::default())?;
    let now = app.now();
    app.store
        .write("allocations.delete", move |c| {
            Box::pin(async move {
                let found = consumers::lock(c, id).await?;
                if consumers::is_server(c, id).await? || found.as_ref().is_some_and(|one| one.server) {
                    return Err(errors::owned_by_server(id));
                }
                if found.is_none() {
                    return Err(no_allocations(&id.to_string()));
                }
                for provider_id in consumers::release(c, &[id], now).await? {
                    let provider = provider(c, provider_id).await?;
                    offer_changed(c, &provider, now).await?;
                }
                Ok(())
            })
        })
        .await
}

pub fn no_allocations(id: &str) -> Error {
    let id = errors::shown(id);
    Error::not_found("placement.no_allocations", format!("No allocations for consumer '{id}'"))
}

/// In the caller's transaction. Locks consumers, then providers, then inventories, each in order.
pub(super) async fn replace(conn: &mut Conn, mut wanted: Vec<Wanted>, now: Timestamp) -> Result<()> {
    wanted.sort_by_key(|one| one.consumer);
    let mut old = Vec::new();
    for one in &wanted {
        ensure_consumer(conn, one, now).await?;
        old.extend(consumers::held(conn, one.consumer).await?);
    }
    let asked = || wanted.iter().flat_map(|one| one.resources.keys().copied());
    let touched: BTreeSet<ProviderId> = old.iter().map(|row| row.provider_id).chain(asked()).collect();
    for id in &touched {
        if providers::bump(conn, *id, None, now).await?.is_none() {
            return Err(Error::bad_request(
                "placement.no_provider",
                format!("Allocation for resource provider '{id}' that does not exist."),
            ));
        }
    }
    let touched: Vec<ProviderId> = touched.into_iter().collect();
    // As it was before anything is given back: a consumer may shrink where there is too much.
    let stock = if touched.is_empty() { Vec::new() } else { inventories::list(conn, Some(&touched)).await? };
    let stock: BTreeMap<(ProviderId, &str), &inventories::Inventory> =
        stock.iter().map(|row| ((row.provider_id, row.class.as_str()), row)).collect();
    consumers::free(conn, &old).await?;
    for row in rows(&wanted, now) {
        let found = stock.get(&(row.provider_id, row.class.as_str())).copied();
        take(conn, &row, found).await?;
    }
    for one in wanted.iter().filter(|one| one.resources.is_empty()) {
        consumers::forget(conn, &[one.consumer]).await?;
    }
    for id in touched {
        let provider = provider(conn, id).await?;
        offer_changed(conn, &provider, now).await?;
    }
    Ok(())
}

/// By provider, class and consumer: the order in which inventories are locked.
fn rows(wanted: &[Wanted], now: Timestamp) -> Vec<Allocation> {
    let mut rows: Vec<Allocation> = wanted
        .iter()
        .flat_map(|one| {
            one.resources.iter().flat_map(move |(provider, amounts)| {
                amounts.iter().map(move |(class, used)| Allocation {
                    consumer_id: one.consumer,
                    provider_id: *provider,
                    class: class.clone(),
                    used: *used,
                    created_at: now,
                })
            })
        })
        .collect();
    rows.sort_by(|a, b| {
        (a.provider_id, &a.class, a.consumer_id).cmp(&(b.provider_id, &b.class, b.consumer_id))
    });
    rows
}

async fn take(conn: &mut Conn, row: &Allocation, found: Option<&inventories::Inventory>) -> Result<()> {
    let class = errors::shown(&row.class);
    let refused = |why: &str| {
        let message = format!("Unable to allocate inventory: {why}");
        Error::conflict("placement.cannot_allocate", message)
    };
    let Some(inventory) = found else {
        if traits::class(conn, &row.class).await?.is_none() {
            return Err(errors::no_such_class(&row.class));
        }
        return Err(refused(&format!(
            "Inventory for '{class}' on resource provider '{}' invalid.",
            row.provider_id
        )));
    };
    if !inventory.allows(row.used) {
        return Err(refused(&format!(
            "Unable to create allocation for '{class}' on resource provider '{}'. The requested amount would \
             violate inventory constraints.",
            row.provider_id
        )));
    }
    let wanted = inventories::Take { class: &row.class, amount: row.used, before: inventory.used };
    if !inventories::take(conn, row.provider_id, &[wanted]).await? {
        return Err(refused(&format!(
            "Unable to create allocation for '{class}' on resource provider '{}'. The requested amount would \
             exceed the capacity.",
            row.provider_id
        )));
    }
    consumers::allocate(conn, std::slice::from_ref(row)).await
}

/// The consumer's row is there, held, as expected, and says whose it is from now on.
async fn ensure_consumer(conn: &mut Conn, wanted: &Wanted, now: Timestamp) -> Result<()> {
    let id = wanted.consumer;
    let conflict = |expected: String, got: String| {
        Error::conflict(
            errors::CONCURRENT_UPDATE,
            format!("consumer generation conflict - expected {expected} but got {got}"),
        )
    };
    let number = |n: Option<i64>| n.map_or_else(|| "null".to_owned(), |n| n.to_string());
    let found = consumers::lock(conn, id).await?;
    if found.as_ref().is_some_and(|one| one.server) || consumers::is_server(conn, id).await? {
        return Err(errors::owned_by_server(id));
    }
    let Some(found) = found else {
        if let Expected::Is(Some(given)) = wanted.expected {
            return Err(conflict("null".into(), given.to_string()));
        }
        let nobody = || (ProjectId::from(NOBODY), UserId::from(NOBODY));
        let (project_id, user_id) = wanted.owner.clone().unwrap_or_else(nobody);
        let consumer = Consumer {
            id,
            server: false,
            project_id,
            user_id,
            kind: wanted.kind.clone(),
            generation: 1,
            created_at: now,
        };
        if !wanted.resources.is_empty() && !consumers::insert(conn, &consumer).await? {
            return Err(errors::changed_meanwhile());
        }
        return Ok(());
    };
    if let Expected::Is(given) = wanted.expected
        && given != Some(found.generation)
    {
        return Err(conflict(found.generation.to_string(), number(given)));
    }
    let mut next = found.clone();
    if let Some((project, user)) = &wanted.owner {
        next.project_id = project.clone();
        next.user_id = user.clone();
    }
    if wanted.kind.is_some() {
        next.kind = wanted.kind.clone();
    }
    if next == found { Ok(()) } else { consumers::update(conn, &next).await }
}
