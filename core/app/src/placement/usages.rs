//! How much is taken: of a provider, and by a project.

use super::provider;
use super::rows::{Inventory, Provider, Usage};
use crate::{App, Ctx, access};
use canopy_authz::Target;
use canopy_authz::actions::placement as actions;
use canopy_store::{consumers, inventories};
use canopy_types::{ProjectId, ProviderId, Result};

pub async fn of_provider(app: &App, ctx: &Ctx, id: ProviderId) -> Result<(Provider, Vec<Inventory>)> {
    access::require(app, ctx, actions::PROVIDER_USAGES, &Target::default())?;
    app.store
        .read(move |c| Box::pin(async move { Ok((provider(c, id).await?, inventories::of(c, id).await?)) }))
        .await
}

/// What a project, or one user in it, holds: by kind of consumer and class, and how many consumers of each
/// kind there are.
pub async fn of_project(
    app: &App,
    ctx: &Ctx,
    project: String,
    user: Option<String>,
) -> Result<(Vec<Usage>, Vec<(Option<String>, i64)>)> {
    let target = Target::in_project(&ProjectId::from(project.as_str()));
    access::require(app, ctx, actions::USAGES, &target)?;
    app.store
        .read(move |c| {
            Box::pin(async move {
                let usages = consumers::usages(c, &project, user.as_deref()).await?;
                Ok((usages, consumers::counts(c, &project, user.as_deref()).await?))
            })
        })
        .await
}
