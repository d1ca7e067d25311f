//! Changes of an image's fields, properties and tags; the body of a PATCH is one transaction.

use super::{absent, attributes, target, target_for};
use crate::{App, Ctx, access};
use canopy_authz::actions::image::{IMAGES_COMMUNITIZE, IMAGES_PUBLICIZE, IMAGES_SHOW, IMAGES_UPDATE};
use canopy_store::Conn;
use canopy_store::events::{self, NewEvent};
use canopy_store::images::{self, Image, Status, Visibility};
use canopy_types::{Error, ImageId, Result, Timestamp};
use serde_json::Value;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets, whether it was there or not.
    Add,
    /// Sets what must be there.
    Replace,
    Remove,
}

/// One operation of a patch on one field or property.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub op: Op,
    pub name: String,
    /// Not looked at by [`Op::Remove`].
    pub value: Value,
}

/// Applies all changes or none.
pub async fn update(app: &Arc<App>, ctx: &Ctx, id: ImageId, changes: Vec<Change>) -> Result<Image> {
    edit(app, ctx, id, move |image| changes.iter().try_for_each(|change| apply(image, change))).await
}

/// Adds a tag; it is no error if it is there.
pub async fn add_tag(app: &Arc<App>, ctx: &Ctx, id: ImageId, tag: String) -> Result<()> {
    edit(app, ctx, id, move |image| attributes::add_tag(image, &tag)).await.map(|_| ())
}

pub async fn remove_tag(app: &Arc<App>, ctx: &Ctx, id: ImageId, tag: String) -> Result<()> {
    let work = move |image: &mut Image| {
        let before = image.tags.len();
        image.tags.retain(|known| *known != tag);
        if image.tags.len() == before {
            return Err(Error::not_found("image.tag", format!("Image {} does not have this tag.", image.id)));
        }
        Ok(())
    };
    edit(app, ctx, id, work).await.map(|_| ())
}

pub(super) async fn edit<F>(app: &Arc<App>, ctx: &Ctx, id: ImageId, change: F) -> Result<Image>
where
    F: Fn(&mut Image) -> Result<()> + Send + Sync + 'static,
{
    let (app, ctx, change) = (app.clone(), ctx.clone(), Arc::new(change));
    let now = app.now();
    let store = app.store.clone();
    store
        .write("image.update", move |c| {
            let (app, ctx, change) = (app.clone(), ctx.clone(), change.clone());
            Box::pin(async move {
                let mut image = locked(c, &app, &ctx, id).await?;
                let before = image.visibility;
                change(&mut image)?;
                if image.visibility != before {
                    for_everybody(&app, &ctx, &image)?;
                }
                if image.visibility == Visibility::Community && before != Visibility::Community {
                    access::require(&app, &ctx, IMAGES_COMMUNITIZE, &target(&image))?;
                }
                // Time goes forward in what clients see, whatever the clock does.
                image.updated_at = Timestamp(now.0.max(image.updated_at.0));
                images::update(c, &image).await?;
                note(c, &image, "image.update", now).await?;
                Ok(image)
            })
        })
        .await
}

/// Asks, of an image that everybody is to read, whether the caller may make it so.
pub(super) fn for_everybody(app: &App, ctx: &Ctx, image: &Image) -> Result<()> {
    match image.visibility {
        Visibility::Public => access::require(app, ctx, IMAGES_PUBLICIZE, &target(image)),
        Visibility::Community => access::require(app, ctx, IMAGES_COMMUNITIZE, &target(image)),
        Visibility::Private | Visibility::Shared => Ok(()),
    }
}

/// The image, held for a change that the caller may make.
async fn locked(c: &mut Conn, app: &App, ctx: &Ctx, id: ImageId) -> Result<Image> {
    let image = images::lock(c, id).await?.ok_or_else(|| absent(id))?;
    let target = target_for(c, ctx, &image).await?;
    access::require_on(app, ctx, IMAGES_SHOW, IMAGES_UPDATE, &target, || absent(id))?;
    Ok(image)
}

pub(super) async fn note(c: &mut Conn, image: &Image, kind: &str, at: Timestamp) -> Result<()> {
    let event =
        NewEvent { at, kind, project_id: &image.project_id, subject: image.id.to_string(), host_id: None };
    events::append(c, &event).await.map(|_| ())
}

fn apply(image: &mut Image, change: &Change) -> Result<()> {
    let name = change.name.as_str();
    attributes::writable(name)?;
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    let base = attributes::is_base(name);
    let present = base || image.properties.contains_key(name);
    if matches!(name, "disk_format" | "container_format") && image.status != Status::Queued {
        return Err(Error::forbidden(
            "image.format_fixed",
            format!("Attribute {name} can be only replaced for a queued image."),
        ));
    }
    match change.op {
        Op::Remove if base => {
            Err(Error::forbidden("image.property_needed", format!("Property {shown} may not be removed.")))
        }
        Op::Replace | Op::Remove if !present => {
            Err(Error::conflict("image.no_property", format!("Property {shown} does not exist.")))
        }
        Op::Remove => {
            image.properties.remove(name);
            Ok(())
        }
        Op::Add | Op::Replace => attributes::set(image, name, &change.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canopy_types::{Kind, ProjectId};
    use serde_json::json;

    fn image() -> Image {
        Image {
            id: ImageId::random(),
            project_id: ProjectId::random(),
            name: None,
            status: Status::Queued,
            visibility: Visibility::Private,
            disk_format: None,
            container_format: None,
            min_disk: 0,
            min_ram: 0,
            protected: false,
            hidden: false,
            content: None,
            properties: [("os_distro".to_owned(), "debian".to_owned())].into(),
            tags: Vec::new(),
            created_at: Timestamp(1),
            updated_at: Timestamp(1),
        }
    }

    fn try_apply(op: Op, name: &str, value: Value) -> Result<Image> {
        let mut image = image();
        apply(&mut image, &Change { op, name: name.into(), value }).map(|()| image)
    }

    #[test]
    fn fields_and_properties_are_set_and_removed() {
        assert_eq!(try_apply(Op::Replace, "name", json!("x")).unwrap().name.as_deref(), Some("x"));
        assert_eq!(try_apply(Op::Add, "a", json!("1")).unwrap().properties["a"], "1");
        assert_eq!(try_apply(Op::Replace, "os_distro", json!("x")).unwrap().properties["os_distro"], "x");
        assert!(try_apply(Op::Remove, "os_distro", Value::Null).unwrap().properties.is_empty());
        assert_eq!(try_apply(Op::Replace, "tags", json!(["b", "a", "b"])).unwrap().tags, ["a", "b"]);
        assert!(!try_apply(Op::Add, "kernel_id", Value::Null).unwrap().properties.contains_key("kernel_id"));
    }

    #[test]
    fn what_may_not_be_changed_is_refused_as_glance_does() {
        let long = "x".repeat(256);
        let cases = [
            (Op::Replace, "id", json!("x"), Kind::Forbidden),
            (Op::Replace, "status", json!("active"), Kind::Forbidden),
            (Op::Add, "locations", json!([]), Kind::Forbidden),
            (Op::Add, "deleted", json!(true), Kind::Forbidden),
            (Op::Replace, "owner", json!("x"), Kind::Forbidden),
            (Op::Remove, "name", Value::Null, Kind::Forbidden),
            (Op::Remove, "nothing", Value::Null, Kind::Conflict),
            (Op::Replace, "nothing", json!("x"), Kind::Conflict),
            (Op::Replace, "name", json!(1), Kind::BadRequest),
            (Op::Replace, "name", json!("a\nb"), Kind::BadRequest),
            (Op::Replace, "name", json!(long), Kind::BadRequest),
            (Op::Replace, "visibility", json!("open"), Kind::BadRequest),
            (Op::Replace, "protected", json!("true"), Kind::BadRequest),
            (Op::Replace, "min_ram", json!(-1), Kind::BadRequest),
            (Op::Replace, "min_disk", json!(1_u64 << 40), Kind::BadRequest),
            (Op::Replace, "disk_format", json!("vmdk"), Kind::BadRequest),
            (Op::Replace, "tags", json!([1]), Kind::BadRequest),
            (Op::Replace, "tags", json!(vec!["x".repeat(256)]), Kind::BadRequest),
            (Op::Add, "kernel_id", json!("vmlinuz"), Kind::BadRequest),
            (Op::Add, "a", json!(1), Kind::BadRequest),
            (Op::Add, "a", json!("x".repeat(65_536)), Kind::BadRequest),
            (Op::Add, "a", json!("\u{0}"), Kind::BadRequest),
            (Op::Add, "", json!("x"), Kind::BadRequest),
            (Op::Add, "a\u{0}", json!("x"), Kind::BadRequest),
            (Op::Add, &long, json!("x"), Kind::BadRequest),
        ];
        for (op, name, value, kind) in cases {
            let error = try_apply(op, name, value).unwrap_err();
            assert_eq!(error.kind, kind, "{op:?} {name}: {error}");
            assert!(error.message.len() < 300);
        }
    }

    #[test]
    fn formats_are_fixed_once_bytes_are_there() {
        let mut image = image();
        image.status = Status::Active;
        let change = Change { op: Op::Replace, name: "disk_format".into(), value: json!("raw") };
        assert_eq!(apply(&mut image, &change).unwrap_err().kind, Kind::Forbidden);
    }

    #[test]
    fn the_number_of_properties_and_tags_is_bounded() {
        let mut image = image();
        let outcome: Result<()> = (0..200).try_for_each(|n| {
            apply(&mut image, &Change { op: Op::Add, name: format!("p{n}"), value: json!("") })
        });
        assert_eq!(outcome.unwrap_err().kind, Kind::TooLarge);
        let outcome: Result<()> =
            (0..200).try_for_each(|n| attributes::add_tag(&mut image, &format!("t{n}")));
        assert_eq!(outcome.unwrap_err().kind, Kind::TooLarge);
    }
}
