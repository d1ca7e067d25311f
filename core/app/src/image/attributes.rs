//! The fields of an image that clients may set, and what may stand in each.
//!
//! Creation and changes go through the same [`set`], so they agree. What is not a field of every image is a
//! property: a text under a name of the client's choice.

use super::inspect::DISK_FORMATS;
use canopy_store::images::{Image, Visibility};
use canopy_types::{Error, ImageId, Kind, Result};
use serde_json::Value;

pub const CONTAINER_FORMATS: [&str; 4] = ["ami", "ari", "aki", "bare"];
/// Longest value of a property, characters.
pub const MAX_PROPERTY: usize = 65_535;
const MAX_NAME: usize = 255;
const MAX_PROPERTIES: usize = 128;
const MAX_TAGS: usize = 128;

const READ_ONLY: [&str; 14] = [
    "checksum",
    "created_at",
    "direct_url",
    "file",
    "id",
    "os_hash_algo",
    "os_hash_value",
    "schema",
    "self",
    "size",
    "status",
    "stores",
    "updated_at",
    "virtual_size",
];
const RESERVED: [&str; 4] = ["deleted", "deleted_at", "location", "locations"];
/// What properties that the service itself writes begin with.
const OWN: &str = "os_glance_";
/// Fields of every image that can be set; they cannot be removed.
const SETTABLE: [&str; 9] = [
    "container_format",
    "disk_format",
    "min_disk",
    "min_ram",
    "name",
    "os_hidden",
    "protected",
    "tags",
    "visibility",
];

/// Whether a name stands for a field of every image, and not for a property.
pub(super) fn is_base(name: &str) -> bool {
    name == "owner" || SETTABLE.contains(&name) || READ_ONLY.contains(&name) || RESERVED.contains(&name)
}

/// Refuses names that clients must not touch.
pub(super) fn writable(name: &str) -> Result<()> {
    if READ_ONLY.contains(&name) || name == "owner" {
        return Err(Error::forbidden("image.read_only", format!("Attribute '{name}' is read-only.")));
    }
    if RESERVED.contains(&name) || name.starts_with(OWN) {
        return Err(Error::forbidden("image.reserved", format!("Attribute '{name}' is reserved.")));
    }
    Ok(())
}

fn invalid(name: &str, wants: &str) -> Error {
    let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    Error::bad_request(
        "image.invalid",
        format!("Provided object does not match schema 'image': '{name}' must be {wants}."),
    )
}

/// Sets one field or property.
pub(super) fn set(image: &mut Image, name: &str, value: &Value) -> Result<()> {
    writable(name)?;
    match name {
        "name" => {
            image.name = match value {
                Value::Null => None,
                Value::String(text) if plain(text, MAX_NAME) => Some(text.clone()),
                _ => {
                    return Err(invalid(
                        name,
                        "null or a text of at most 255 characters without control characters",
                    ));
                }
            }
        }
        "visibility" => {
            image.visibility = value
                .as_str()
                .and_then(|text| text.parse::<Visibility>().ok())
                .ok_or_else(|| invalid(name, "one of public, private, shared, community"))?;
        }
        "protected" => image.protected = value.as_bool().ok_or_else(|| invalid(name, "true or false"))?,
        "os_hidden" => image.hidden = value.as_bool().ok_or_else(|| invalid(name, "true or false"))?,
        "min_disk" => image.min_disk = amount(name, value)?,
        "min_ram" => image.min_ram = amount(name, value)?,
        "disk_format" => image.disk_format = one_of(name, value, &DISK_FORMATS)?,
        "container_format" => image.container_format = one_of(name, value, &CONTAINER_FORMATS)?,
        "tags" => image.tags = tags(value)?,
        "kernel_id" | "ramdisk_id" => set_boot_file(image, name, value)?,
        _ => set_property(image, name, value)?,
    }
    Ok(())
}

fn set_boot_file(image: &mut Image, name: &str, value: &Value) -> Result<()> {
    match value {
        Value::Null => {
            image.properties.remove(name);
        }
        Value::String(text) if text.parse::<ImageId>().is_ok() => {
            image.properties.insert(name.to_owned(), text.clone());
        }
        _ => return Err(invalid(name, "null or the id of an image")),
    }
    Ok(())
}

fn set_property(image: &mut Image, name: &str, value: &Value) -> Result<()> {
    if name.is_empty() || !plain(name, MAX_NAME) {
        return Err(invalid(name, "named with 1 to 255 characters, none of them a control character"));
    }
    let text = value
        .as_str()
        .filter(|text| text.chars().count() <= MAX_PROPERTY && !text.contains('\0'))
        .ok_or_else(|| invalid(name, "a text of at most 65535 characters"))?;
    image.properties.insert(name.to_owned(), text.to_owned());
    if image.properties.len() > MAX_PROPERTIES {
        return Err(too_many("properties", MAX_PROPERTIES));
    }
    Ok(())
}

/// Adds a tag; one that is there stays as it is.
pub(super) fn add_tag(image: &mut Image, tag: &str) -> Result<()> {
    if !plain(tag, MAX_NAME) {
        return Err(invalid("tag", "a text of at most 255 characters without control characters"));
    }
    if let Err(at) = image.tags.binary_search_by(|known| known.as_str().cmp(tag)) {
        image.tags.insert(at, tag.to_owned());
    }
    if image.tags.len() > MAX_TAGS { Err(too_many("tags", MAX_TAGS)) } else { Ok(()) }
}

fn tags(value: &Value) -> Result<Vec<String>> {
    let wants = || invalid("tags", "a list of texts of at most 255 characters without control characters");
    let mut tags = Vec::new();
    for tag in value.as_array().ok_or_else(wants)? {
        tags.push(tag.as_str().filter(|tag| plain(tag, MAX_NAME)).ok_or_else(wants)?.to_owned());
    }
    tags.sort_unstable();
    tags.dedup();
    if tags.len() > MAX_TAGS { Err(too_many("tags", MAX_TAGS)) } else { Ok(tags) }
}

fn too_many(what: &str, limit: usize) -> Error {
    Error::new(Kind::TooLarge, "image.too_many", format!("An image can have at most {limit} {what}."))
}

fn amount(name: &str, value: &Value) -> Result<i64> {
    value
        .as_i64()
        .filter(|n| (0..=i64::from(i32::MAX)).contains(n))
        .ok_or_else(|| invalid(name, "a whole number from 0 to 2147483647"))
}

fn one_of(name: &str, value: &Value, allowed: &[&str]) -> Result<Option<String>> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if allowed.contains(&text.as_str()) => Ok(Some(text.clone())),
        _ => Err(invalid(name, &format!("null or one of {}", allowed.join(", ")))),
    }
}

pub(super) fn plain(text: &str, max: usize) -> bool {
    text.chars().count() <= max && !text.chars().any(char::is_control)
}
