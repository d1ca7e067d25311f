//! `/images`: images as nova shows them.

use super::{UNTIL, absent_as};
use crate::handler;
use crate::links;
use crate::request::{Query, Reply, Req, parse_bool};
use crate::route::{Handler, Route, Service};
use crate::version::v;
use canopy_app::image::{self, Direction, Image, ListQuery, Moment, SortKey, Status, Than, absent};
use canopy_authz::{Action, actions::image as actions};
use canopy_types::{Error, ImageId, Kind, Result};
use http::Method;
use serde_json::{Value, json};

pub fn routes() -> Vec<Route> {
    let route = |method, path, summary, action: Action, handler: Handler| {
        Route::new(Service::Compute, method, path, summary, handler).action(action).versions(v(2, 1), UNTIL)
    };
    let one = "/v2.1/images/{id}";
    vec![
        route(Method::GET, "/v2.1/images", "List images", actions::IMAGES_LIST, handler!(list)),
        route(
            Method::GET,
            "/v2.1/images/detail",
            "List images in detail",
            actions::IMAGES_LIST,
            handler!(detail),
        ),
        route(Method::GET, one, "Show an image", actions::IMAGES_SHOW, handler!(show))
            .answers(&[200], &[404]),
        route(Method::DELETE, one, "Delete an image", actions::IMAGES_DELETE, handler!(delete))
            .answers(&[204], &[404]),
    ]
}

/// What is no id is answered like an unknown one.
pub(super) fn id(req: &Req) -> Result<ImageId> {
    req.id("id", |text| absent(text)).map_err(not_found)
}

pub(super) fn not_found(error: Error) -> Error {
    absent_as("Image not found.")(error)
}

/// The word for it, and how far it has come.
fn status(status: Status) -> (&'static str, u8) {
    match status {
        Status::Queued => ("SAVING", 25),
        Status::Saving => ("SAVING", 50),
        Status::Active => ("ACTIVE", 100),
        Status::Uploading | Status::Importing | Status::Deactivated => ("UNKNOWN", 0),
    }
}

fn brief(req: &Req, image: &Image) -> Value {
    let (base, id) = (&req.base, image.id);
    json!({
        "id": id,
        "name": image.name,
        "links": [
            {"rel": "self", "href": format!("{base}/compute/v2.1/images/{id}")},
            {"rel": "bookmark", "href": format!("{base}/compute/images/{id}")},
            {"rel": "alternate", "type": "application/vnd.openstack.image", "href": format!("{base}/image/images/{id}")},
        ],
    })
}

fn full(req: &Req, image: &Image) -> Value {
    let mut view = brief(req, image);
    let (status, progress) = status(image.status);
    for (name, value) in [
        ("status", json!(status)),
        ("progress", json!(progress)),
        ("minRam", json!(image.min_ram)),
        ("minDisk", json!(image.min_disk)),
        ("metadata", json!(image.properties)),
        ("created", json!(image.created_at.seconds_z())),
        ("updated", json!(image.updated_at.seconds_z())),
        ("OS-EXT-IMG-SIZE:size", json!(image.content.as_ref().map_or(0, |content| content.size))),
    ] {
        view[name] = value;
    }
    if let Some(server) = image.properties.get("instance_uuid") {
        let (base, path) = (&req.base, links::escape(server));
        view["server"] = json!({"id": server, "links": [
            {"rel": "self", "href": format!("{base}/compute/v2.1/servers/{path}")},
            {"rel": "bookmark", "href": format!("{base}/compute/servers/{path}")},
        ]});
    }
    if let Some(word) = image.properties.get("auto_disk_config") {
        let auto = parse_bool(word).unwrap_or(false);
        view["OS-DCF:diskConfig"] = json!(if auto { "AUTO" } else { "MANUAL" });
    }
    view
}

async fn list(req: Req) -> Result<Reply> {
    page(req, "images", brief).await
}

async fn detail(req: Req) -> Result<Reply> {
    page(req, "images/detail", full).await
}

async fn page(req: Req, path: &str, view: fn(&Req, &Image) -> Value) -> Result<Reply> {
    let listed = image::list(&req.app, req.ctx()?, &query(&req.query)?).await?;
    let mut body = json!({"images": listed.images.iter().map(|image| view(&req, image)).collect::<Vec<_>>()});
    if listed.more
        && let Some(last) = listed.images.last()
    {
        let query = links::next_query(&req.query, &last.id.to_string());
        let href = format!("{}/compute/v2.1/{path}?{query}", req.base);
        body["images_links"] = json!([{"rel": "next", "href": href}]);
    }
    Reply::json(200, &body)
}

/// What nova does not know of a query it passes over.
fn query(query: &Query) -> Result<ListQuery> {
    let mut page = query.page()?;
    page.limit = page.limit.filter(|limit| *limit > 0);
    let newest_first = vec![(SortKey::CreatedAt, Direction::Descending)];
    let mut list = ListQuery { page, order: newest_first, ..ListQuery::default() };
    list.filter.hidden = Some(false);
    for (name, value) in &query.0 {
        if value.contains('\0') {
            return Err(Error::bad_request("image.query", "A query may not hold zero bytes."));
        }
        let mut property =
            |name: &str, value: &str| list.properties.push((name.to_owned(), value.to_owned()));
        match name.as_str() {
            "name" => list.filter.names = vec![value.clone()],
            "status" => {
                list.filter.statuses = statuses(value);
                if list.filter.statuses.is_empty() {
                    // No image has it.
                    list.filter.ids = vec![String::new()];
                }
            }
            // Its id, or any link to it.
            "server" => property("instance_uuid", value.rsplit('/').next().unwrap_or_default()),
            "type" => property("image_type", value),
            "minDisk" => list.min_disk = Some(amount(name, value)?),
            "minRam" => list.min_ram = Some(amount(name, value)?),
            _ => {
                if let Some(name) = name.strip_prefix("property-") {
                    property(name, value);
                }
            }
        }
    }
    if let Some(since) = query.time("changes-since")? {
        list.filter.times.push((Moment::Updated, Than::AtLeast, since));
    }
    Ok(list)
}

/// As it is shown, or as the image service calls it.
fn statuses(word: &str) -> Vec<Status> {
    let word = word.to_ascii_lowercase();
    let is_meant = |one: &Status| one.as_str() == word || status(*one).0.eq_ignore_ascii_case(&word);
    Status::ALL.iter().copied().filter(is_meant).collect()
}

fn amount(name: &str, value: &str) -> Result<i64> {
    value.parse().map_err(|_| {
        let shown: String = value.chars().take(64).collect();
        Error::bad_request("image.query", format!("Invalid {name} filter [{shown}]: use a whole number."))
    })
}

async fn show(req: Req) -> Result<Reply> {
    let image = image::show(&req.app, req.ctx()?, id(&req)?).await.map_err(not_found)?;
    Reply::json(200, &json!({"image": full(&req, &image)}))
}

async fn delete(req: Req) -> Result<Reply> {
    image::delete(&req.app, req.ctx()?, id(&req)?).await.map_err(|error| match error.kind {
        Kind::Forbidden => {
            let why = format!("You are not allowed to delete the image. {}", error.message);
            Error::forbidden(error.code, why)
        }
        _ => not_found(error),
    })?;
    Ok(Reply::empty(204))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_meant_as_it_is_shown_or_as_glance_has_it() {
        assert_eq!(statuses("ACTIVE"), [Status::Active]);
        assert_eq!(statuses("SAVING"), [Status::Queued, Status::Saving]);
        assert_eq!(statuses("queued"), [Status::Queued]);
        assert_eq!(statuses("unknown").len(), 3);
        assert!(statuses("DELETED").is_empty() && statuses("").is_empty());
    }

    #[test]
    fn filters_are_read_and_others_passed_over() {
        let pairs = [
            ("server", "http://x/compute/servers/7"),
            ("type", "snapshot"),
            ("property-os_distro", "debian"),
            ("minRam", "64"),
            ("limit", "0"),
            ("status", "DELETED"),
            ("visibility", "public"),
        ];
        let asked = Query(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec());
        let list = query(&asked).unwrap();
        let properties = [("instance_uuid", "7"), ("image_type", "snapshot"), ("os_distro", "debian")];
        assert_eq!(list.properties, properties.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!((list.min_ram, list.min_disk, list.page.limit), (Some(64), None, None));
        assert_eq!((list.filter.ids, list.filter.visibility), (vec![String::new()], None));
        for bad in [("minRam", "x"), ("changes-since", "yesterday"), ("limit", "-1"), ("name", "a\0")] {
            let asked = Query(vec![(bad.0.to_owned(), bad.1.to_owned())]);
            assert_eq!(query(&asked).unwrap_err().kind, Kind::BadRequest, "{bad:?}");
        }
    }
}
