//! Images and their bytes.
//!
//! A row says what an image is; its bytes are a blob named by digest ([`blobs`]). An upload goes queued →
//! saving → active: the status is claimed in one transaction, the bytes are received and checked, and the
//! row is completed in another. Whatever fails in between gives the status and the space back.

mod attributes;
mod blobs;
mod boot;
mod collect;
mod create;
mod delete;
mod download;
pub mod inspect;
mod list;
mod receive;
mod slots;
mod update;
mod upload;

pub use attributes::{CONTAINER_FORMATS, MAX_PROPERTY};
pub use blobs::{Blobs, Found, Placed};
pub use boot::{BootImage, pin, resolve_for_boot};
pub use collect::{Collected, GRACE_SECONDS, collect_garbage, recover};
pub use create::create;
pub use delete::delete;
pub use download::{Download, download};
pub use list::{ListQuery, Listed, list, show};
pub use receive::Body;
pub use update::{Change, Op, add_tag, remove_tag, update};
pub use upload::upload;

pub use canopy_store::images::{
    Content, Direction, Filter, HASH_ALGORITHM, Image, SortKey, Status, Visibility,
};

use canopy_authz::Target;
use canopy_types::Error;

/// What an unknown id and another tenant's private image get.
pub fn absent(id: impl std::fmt::Display) -> Error {
    let text: String = id.to_string().chars().filter(|c| !c.is_control()).take(255).collect();
    Error::not_found("image.not_found", format!("No image found with ID {text}"))
}

/// What policies see of an image.
fn target(image: &Image) -> Target {
    Target {
        labels: image.tags.clone(),
        metadata: image.properties.clone(),
        ..Target::in_project(&image.project_id).id(image.id).public(image.visibility.readable_by_all())
    }
}
