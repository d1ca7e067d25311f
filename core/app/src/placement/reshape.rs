//! Moving inventories and what is allocated from them in one transaction.

use super::inventories::{self, Wanted as Inventory};
use super::{allocations, errors, offer_changed};
use crate::{App, Ctx, access};
use canopy_authz::Target;
use canopy_authz::actions::placement as actions;
use canopy_types::{Error, Kind, ProviderId, Result};
use std::collections::BTreeMap;

/// For each provider its generation and all the inventories that it is to have; for each consumer all that
/// it is to hold.
pub async fn reshape(
    app: &App,
    ctx: &Ctx,
    inventories: BTreeMap<ProviderId, (i64, Vec<Inventory>)>,
    allocations: Vec<allocations::Wanted>,
) -> Result<()> {
    access::require(app, ctx, actions::RESHAPE, &Target::default())?;
    let now = app.now();
    app.store
        .write("placement.reshape", move |c| {
            let (inventories, allocations) = (inventories.clone(), allocations.clone());
            Box::pin(async move {
                let mut held = Vec::new();
                for (id, (generation, wanted)) in &inventories {
                    let provider = inventories::hold(c, *id, Some(*generation), now).await.map_err(absent)?;
                    // What is to go stays until nothing is allocated from it.
                    inventories::put_all(c, &provider, wanted, None, now).await.map_err(malformed)?;
                    held.push(provider);
                }
                allocations::replace(c, allocations, now).await.map_err(malformed)?;
                for provider in held {
                    if let Some((_, wanted)) = inventories.get(&provider.id) {
                        inventories::remove_others(c, &provider, wanted).await?;
                        // Interim and final inventories are two changes, as the real service counts them.
                        if !wanted.is_empty() {
                            inventories::hold(c, provider.id, None, now).await?;
                        }
                    }
                    offer_changed(c, &provider, now).await?;
                }
                Ok(())
            })
        })
        .await
}

fn absent(error: Error) -> Error {
    if error.kind == Kind::NotFound {
        let message = format!("A resource provider in inventories was not found: {}", error.message);
        return Error::bad_request(errors::PROVIDER_NOT_FOUND, message);
    }
    error
}

fn malformed(mut error: Error) -> Error {
    if error.code == "placement.no_class" {
        error.message = format!("malformed reshaper data: {}", error.message);
    }
    error
}
