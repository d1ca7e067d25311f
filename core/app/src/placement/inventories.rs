//! How much of each resource class a provider offers.

use super::rows::{Inventory, Provider};
use super::{errors, offer_changed, provider};
use crate::{App, Ctx, access};
use canopy_authz::actions::placement as actions;
use canopy_authz::{Action, Target};
use canopy_store::{BoxFuture, Conn, inventories as rows, providers as provider_rows, traits};
use canopy_types::resources::standard_classes;
use canopy_types::{Error, Kind, ProviderId, Result, Timestamp};

/// One inventory as a client wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub class: String,
    pub total: i64,
    pub reserved: i64,
    pub min_unit: i64,
    pub max_unit: i64,
    pub step_size: i64,
    pub allocation_ratio: f64,
}

/// What a request's version lets an inventory be.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Everything may be reserved, so that nothing can be allocated.
    pub capacity_may_be_zero: bool,
}

/// A provider, at its generation after the change, with its inventories by class.
pub type Full = (Provider, Vec<Inventory>);

impl Wanted {
    fn row(&self, provider: ProviderId, now: Timestamp) -> Inventory {
        Inventory {
            provider_id: provider,
            class: self.class.clone(),
            total: self.total,
            reserved: self.reserved,
            min_unit: self.min_unit,
            max_unit: self.max_unit,
            step_size: self.step_size,
            allocation_ratio: self.allocation_ratio,
            used: 0,
            agent: false,
            created_at: now,
            updated_at: now,
        }
    }

    fn check(&self, provider: ProviderId, rules: Rules, doing: &str) -> Result<()> {
        let capacity = self.row(provider, Timestamp(0)).capacity();
        let (bad, why) = if rules.capacity_may_be_zero {
            (capacity < 0, "The reserved value is greater than total.")
        } else {
            (capacity <= 0, "The reserved value is greater than or equal to total.")
        };
        if bad {
            let class = errors::shown(&self.class);
            return Err(Error::bad_request(
                "placement.inventory_capacity",
                format!(
                    "Unable to {doing} inventory for resource provider {provider}: Invalid inventory for '{class}' on \
                     resource provider '{provider}'. {why}"
                ),
            ));
        }
        Ok(())
    }
}

pub async fn list(app: &App, ctx: &Ctx, id: ProviderId) -> Result<Full> {
    read(app, ctx, actions::INVENTORIES_LIST, id).await
}

async fn read(app: &App, ctx: &Ctx, action: Action, id: ProviderId) -> Result<Full> {
    access::require(app, ctx, action, &Target::default())?;
    app.store
        .read(move |c| Box::pin(async move { Ok((provider(c, id).await?, rows::of(c, id).await?)) }))
        .await
}

pub async fn show(app: &App, ctx: &Ctx, id: ProviderId, class: &str) -> Result<(Provider, Inventory)> {
    let (provider, inventories) = read(app, ctx, actions::INVENTORIES_SHOW, id).await?;
    let found = inventories.into_iter().find(|row| row.class == class).ok_or_else(|| {
        let class = errors::shown(class);
        Error::not_found("placement.no_inventory", format!("No inventory of class {class} for {id}"))
    })?;
    Ok((provider, found))
}

/// Runs `change` with the provider's row held at its next generation. With `expected`, only from that one.
async fn write<F>(
    app: &App,
    name: &'static str,
    id: ProviderId,
    expected: Option<i64>,
    change: F,
) -> Result<Full>
where
    F: for<'c> Fn(&'c mut Conn, &'c Provider, Timestamp) -> BoxFuture<'c, ()> + Clone + Send + Sync + 'static,
{
    let now = app.now();
    app.store
        .write(name, move |c| {
            let change = change.clone();
            Box::pin(async move {
                let mut found = hold(c, id, expected, now).await?;
                change(c, &found, now).await?;
                offer_changed(c, &found, now).await?;
                found.updated_at = now;
                Ok((found, rows::of(c, id).await?))
            })
        })
        .await
}

/// The provider with its generation raised, and its row held until the transaction ends.
pub(super) async fn hold(
    conn: &mut Conn,
    id: ProviderId,
    expected: Option<i64>,
    now: Timestamp,
) -> Result<Provider> {
    if provider_rows::bump(conn, id, expected, now).await?.is_none() {
        let found = provider(conn, id).await?;
        return Err(errors::generation_conflict(id, found.generation, expected.unwrap_or_default()));
    }
    provider(conn, id).await
}

/// Adds one that is not there.
pub async fn add(
    app: &App,
    ctx: &Ctx,
    id: ProviderId,
    expected: Option<i64>,
    wanted: Wanted,
    rules: Rules,
) -> Result<(Provider, Inventory)> {
    access::require(app, ctx, actions::INVENTORIES_CREATE, &Target::default())?;
    let class = wanted.class.clone();
    let full = write(app, "inventory.add", id, expected, move |c, provider, now| {
        let wanted = wanted.clone();
        Box::pin(async move {
            known_class(c, provider.id, &wanted.class).await?;
            wanted.check(provider.id, rules, "create")?;
            if rows::of(c, provider.id).await?.iter().any(|row| row.class == wanted.class) {
                return Err(Error::conflict(
                    errors::CONCURRENT_UPDATE,
                    format!("Update conflict: there is an inventory of class {} already.", wanted.class),
                ));
            }
            rows::put(c, &wanted.row(provider.id, now)).await
        })
    })
    .await?;
    one_of(full, &class)
}

fn one_of((provider, inventories): Full, class: &str) -> Result<(Provider, Inventory)> {
    let found = inventories.into_iter().find(|row| row.class == class);
    found.map(|row| (provider, row)).ok_or_else(|| {
        Error::internal("placement.inventory_lost", "an inventory written a moment ago is gone")
    })
}

async fn known_class(conn: &mut Conn, provider: ProviderId, class: &str) -> Result<()> {
    if traits::class(conn, class).await?.is_none() {
        let error = errors::no_such_class(class);
        return Err(Error::bad_request(
            error.code,
            format!(
                "Unknown resource class in inventory for resource provider {provider}: {}",
                error.message
            ),
        ));
    }
    Ok(())
}

/// Writes over what is there, as far as it is the API's.
pub(super) async fn put(
    conn: &mut Conn,
    provider: &Provider,
    old: Option<&Inventory>,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<()> {
    let mut row = wanted.row(provider.id, now);
    if let Some(old) = old.filter(|old| old.agent) {
        let same = (old.total, old.min_unit, old.max_unit, old.step_size)
            == (row.total, row.min_unit, row.max_unit, row.step_size);
        if !same {
            let what = format!(
                "The inventory of {} was not changed: its total is {}, min_unit {}, max_unit {}, step_size {}",
                old.class, old.total, old.min_unit, old.max_unit, old.step_size
            );
            return Err(errors::owned_by_host(&what, &provider.name));
        }
        row.agent = true;
    }
    rows::put(conn, &row).await?;
    if old.is_some_and(|old| old.used > row.capacity()) {
        tracing::warn!(provider = %provider.id, class = row.class, "more is allocated than there is now");
    }
    Ok(())
}

/// The provider has exactly these.
pub async fn set(
    app: &App,
    ctx: &Ctx,
    id: ProviderId,
    expected: i64,
    wanted: Vec<Wanted>,
    rules: Rules,
) -> Result<Full> {
    access::require(app, ctx, actions::INVENTORIES_UPDATE, &Target::default())?;
    write(app, "inventory.set", id, Some(expected), move |c, provider, now| {
        let wanted = wanted.clone();
        Box::pin(async move {
            put_all(c, provider, &wanted, Some(rules), now).await?;
            remove_others(c, provider, &wanted).await
        })
    })
    .await
}

/// Adds and changes; removes nothing.
pub(super) async fn put_all(
    conn: &mut Conn,
    provider: &Provider,
    wanted: &[Wanted],
    rules: Option<Rules>,
    now: Timestamp,
) -> Result<()> {
    let old = rows::of(conn, provider.id).await?;
    for one in wanted {
        known_class(conn, provider.id, &one.class).await?;
        if let Some(rules) = rules {
            one.check(provider.id, rules, "update")?;
        }
        put(conn, provider, old.iter().find(|row| row.class == one.class), one, now).await?;
    }
    Ok(())
}

pub(super) async fn remove_others(conn: &mut Conn, provider: &Provider, keep: &[Wanted]) -> Result<()> {
    let mut gone = rows::of(conn, provider.id).await?;
    gone.retain(|row| !keep.iter().any(|one| one.class == row.class));
    remove_all(conn, provider, &gone).await.map_err(|mut error| {
        if error.code == errors::INVENTORY_IN_USE {
            error.message = format!("update conflict: {}", error.message);
        }
        error
    })
}

/// The refusal names all that are in use, standard classes first, as they are numbered.
async fn remove_all(conn: &mut Conn, provider: &Provider, gone: &[Inventory]) -> Result<()> {
    let mut held: Vec<&str> =
        gone.iter().filter(|row| row.used > 0 && !row.agent).map(|row| row.class.as_str()).collect();
    held.sort_by_key(|class| standard_classes().position(|one| one == *class).unwrap_or(usize::MAX));
    if !held.is_empty() {
        return Err(in_use(provider, &held.join(", ")));
    }
    for row in gone {
        remove(conn, provider, row).await?;
    }
    Ok(())
}

fn in_use(provider: &Provider, classes: &str) -> Error {
    Error::conflict(
        errors::INVENTORY_IN_USE,
        format!("Inventory for '{classes}' on resource provider '{}' in use.", provider.id),
    )
}

async fn remove(conn: &mut Conn, provider: &Provider, row: &Inventory) -> Result<()> {
    if row.agent {
        let what = format!("The inventory of {} was not removed", row.class);
        return Err(errors::owned_by_host(&what, &provider.name));
    }
    let in_use = || in_use(provider, &row.class);
    if row.used > 0 {
        return Err(in_use());
    }
    match rows::delete(conn, provider.id, &row.class).await {
        Err(error) if error.code == "store.in_use" => Err(in_use()),
        other => other.map(|_| ()),
    }
}

/// Changes one that is there.
pub async fn update(
    app: &App,
    ctx: &Ctx,
    id: ProviderId,
    expected: i64,
    wanted: Wanted,
    rules: Rules,
) -> Result<(Provider, Inventory)> {
    access::require(app, ctx, actions::INVENTORIES_UPDATE, &Target::default())?;
    let class = wanted.class.clone();
    let full = write(app, "inventory.update", id, Some(expected), move |c, provider, now| {
        let wanted = wanted.clone();
        Box::pin(async move {
            wanted.check(provider.id, rules, "update")?;
            let old = rows::of(c, provider.id).await?;
            let old = old.iter().find(|row| row.class == wanted.class).ok_or_else(|| {
                let class = errors::shown(&wanted.class);
                Error::bad_request(
                    "placement.no_inventory",
                    format!(
                        "No inventory record with resource class for resource provider {}: No inventory of class \
                         {class} found.",
                        provider.id
                    ),
                )
            })?;
            put(c, provider, Some(old), &wanted, now).await
        })
    })
    .await?;
    one_of(full, &class)
}

pub async fn delete(app: &App, ctx: &Ctx, id: ProviderId, class: &str) -> Result<()> {
    access::require(app, ctx, actions::INVENTORIES_DELETE, &Target::default())?;
    let class = class.to_owned();
    let shown = errors::shown(&class);
    let outcome = write(app, "inventory.delete", id, None, move |c, provider, _| {
        let class = class.clone();
        Box::pin(async move {
            let found = rows::of(c, provider.id).await?;
            let row = found.iter().find(|row| row.class == class).ok_or_else(|| {
                let class = errors::shown(&class);
                Error::not_found(
                    "placement.no_inventory",
                    format!("No inventory of class {class} found for delete: there is none."),
                )
            })?;
            remove(c, provider, row).await
        })
    })
    .await;
    outcome.map(|_| ()).map_err(|mut error| {
        if error.kind == Kind::Conflict && error.code == errors::INVENTORY_IN_USE {
            error.code = errors::CONCURRENT_UPDATE;
            error.message = format!("Unable to delete inventory of class {shown}: {}", error.message);
        }
        error
    })
}

pub async fn delete_all(app: &App, ctx: &Ctx, id: ProviderId) -> Result<()> {
    access::require(app, ctx, actions::INVENTORIES_DELETE, &Target::default())?;
    write(app, "inventory.delete_all", id, None, |c, provider, _| {
        Box::pin(async move {
            let all = rows::of(c, provider.id).await?;
            remove_all(c, provider, &all).await
        })
    })
    .await
    .map(|_| ())
}
