//! An image's properties as one map, which is how nova sees them.

use super::update::edit;
use super::{Image, attributes, show};
use crate::quota::{Ask, turn};
use crate::{App, Ctx};
use canopy_types::quota::METADATA_ITEMS;
use canopy_types::{Error, ImageId, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

pub type Properties = BTreeMap<String, String>;

/// Adds properties, or replaces all of them. What the image has then must fit what a project may keep with one thing.
pub async fn set_properties(
    app: &Arc<App>,
    ctx: &Ctx,
    id: ImageId,
    given: Properties,
    replace: bool,
) -> Result<Image> {
    let mut wanted = if replace { Properties::new() } else { show(app, ctx, id).await?.properties };
    wanted.extend(given.clone());
    let count = i64::try_from(wanted.len()).unwrap_or(i64::MAX);
    if let (1.., Some(project)) = (count, ctx.who.project_id()) {
        // Nothing is counted: each image stands alone.
        turn(app, &Ask::new(project, &ctx.who.user_id, METADATA_ITEMS, count)).await?;
    }
    edit(app, ctx, id, move |image| {
        if replace {
            image.properties.clear();
        }
        given.iter().try_for_each(|(name, value)| set(image, name, value))
    })
    .await
}

fn set(image: &mut Image, name: &str, value: &str) -> Result<()> {
    if attributes::is_base(name) {
        return Err(Error::bad_request(
            "image.no_metadata",
            format!("'{name}' is a field of every image and no metadata: change it with the image API."),
        ));
    }
    attributes::set(image, name, &value.into())
}

/// Removes a property that is there.
pub async fn remove_property(app: &Arc<App>, ctx: &Ctx, id: ImageId, name: String) -> Result<()> {
    let absent = || Error::not_found("image.property_absent", "Invalid metadata key");
    edit(app, ctx, id, move |image| image.properties.remove(&name).map(drop).ok_or_else(absent))
        .await
        .map(|_| ())
}
