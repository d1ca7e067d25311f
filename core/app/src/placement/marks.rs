//! What a provider is marked with: traits and aggregates.

use super::rows::{Name, Provider};
use super::{errors, inventories, offer_changed, provider};
use crate::{App, Ctx, access};
use canopy_authz::Target;
use canopy_authz::actions::placement as actions;
use canopy_store::{Conn, providers as provider_rows, traits as rows};
use canopy_types::{Error, ProviderId, Result};

async fn own_traits(conn: &mut Conn, id: ProviderId) -> Result<Vec<Name>> {
    let mut all = rows::list(conn).await?;
    let own = rows::of(conn, Some(&[id])).await?;
    all.retain(|one| own.iter().any(|(_, name)| *name == one.name));
    Ok(all)
}

pub async fn traits(app: &App, ctx: &Ctx, id: ProviderId) -> Result<(Provider, Vec<Name>)> {
    access::require(app, ctx, actions::PROVIDER_TRAITS_LIST, &Target::default())?;
    app.store
        .read(move |c| Box::pin(async move { Ok((provider(c, id).await?, own_traits(c, id).await?)) }))
        .await
}

/// The provider has exactly these. Its generation stays when it had them already.
pub async fn set_traits(
    app: &App,
    ctx: &Ctx,
    id: ProviderId,
    expected: i64,
    names: Vec<String>,
) -> Result<(Provider, Vec<Name>)> {
    access::require(app, ctx, actions::PROVIDER_TRAITS_UPDATE, &Target::default())?;
    write_traits(app, id, Some(expected), names).await
}

pub async fn delete_traits(app: &App, ctx: &Ctx, id: ProviderId) -> Result<()> {
    access::require(app, ctx, actions::PROVIDER_TRAITS_DELETE, &Target::default())?;
    write_traits(app, id, None, Vec::new()).await.map(|_| ())
}

async fn write_traits(
    app: &App,
    id: ProviderId,
    expected: Option<i64>,
    mut names: Vec<String>,
) -> Result<(Provider, Vec<Name>)> {
    names.sort();
    names.dedup();
    let now = app.now();
    app.store
        .write("provider.traits", move |c| {
            let names = names.clone();
            Box::pin(async move {
                let found = provider(c, id).await?;
                if let Some(given) = expected.filter(|given| *given != found.generation) {
                    let mut error = errors::generation_conflict(id, found.generation, given);
                    let genuine = "Resource provider's generation already changed. Please update the generation and try again.";
                    error.message = format!("{genuine} ({})", error.message);
                    return Err(error);
                }
                let known = rows::list(c).await?;
                let missing: Vec<String> = names
                    .iter()
                    .filter(|name| known.binary_search_by(|row| row.name.cmp(name)).is_err())
                    .map(|name| errors::shown(name))
                    .take(10)
                    .collect();
                if !missing.is_empty() {
                    let message = format!("No such trait {}", missing.join(", "));
                    return Err(Error::bad_request("placement.no_trait", message));
                }
                let old = own_traits(c, id).await?;
                if old.iter().map(|row| &row.name).eq(names.iter()) {
                    return Ok((found, old));
                }
                let found = inventories::hold(c, id, Some(found.generation), now).await?;
                rows::set(c, id, &names).await?;
                offer_changed(c, &found, now).await?;
                Ok((found, own_traits(c, id).await?))
            })
        })
        .await
        // A trait that was deleted between the look and the write.
        .map_err(|error| if error.code == "store.in_use" { errors::changed_meanwhile() } else { error })
}

async fn own_aggregates(conn: &mut Conn, id: ProviderId) -> Result<Vec<String>> {
    Ok(rows::aggregates(conn, Some(&[id])).await?.into_iter().map(|(_, name)| name).collect())
}

pub async fn aggregates(app: &App, ctx: &Ctx, id: ProviderId) -> Result<(Provider, Vec<String>)> {
    access::require(app, ctx, actions::AGGREGATES_LIST, &Target::default())?;
    app.store
        .read(move |c| Box::pin(async move { Ok((provider(c, id).await?, own_aggregates(c, id).await?)) }))
        .await
}

/// The provider is in exactly these. Without an expected generation, none rises: that is how the versions
/// without one know it.
pub async fn set_aggregates(
    app: &App,
    ctx: &Ctx,
    id: ProviderId,
    expected: Option<i64>,
    ids: Vec<String>,
) -> Result<(Provider, Vec<String>)> {
    access::require(app, ctx, actions::AGGREGATES_UPDATE, &Target::default())?;
    let now = app.now();
    app.store
        .write("provider.aggregates", move |c| {
            let ids = ids.clone();
            Box::pin(async move {
                let found = match expected {
                    Some(_) => inventories::hold(c, id, expected, now).await?,
                    None => provider(c, id).await?,
                };
                provider_rows::touch(c, id).await?;
                rows::set_aggregates(c, id, &ids).await?;
                offer_changed(c, &found, now).await?;
                Ok((found, ids))
            })
        })
        .await
}
