//! Images as a caller may see them.

use super::create::own;
use super::{absent, find, target};
use crate::{App, Ctx, access};
use canopy_authz::Target;
use canopy_authz::actions::image::{IMAGES_LIST, IMAGES_SHOW};
use canopy_store::images::{self, Direction, Filter, Image, MemberStatus, Scope, SortKey, Visibility};
use canopy_types::{Error, ImageId, Page, ProjectId, Result};

/// Rows read at once when some conditions are checked here and not by the database.
const CHUNK: i64 = 500;

#[derive(Clone, Debug)]
pub struct ListQuery {
    pub filter: Filter,
    pub order: Vec<(SortKey, Direction)>,
    pub page: Page,
    /// All of them must be there.
    pub tags: Vec<String>,
    /// Properties that must have these values.
    pub properties: Vec<(String, String)>,
    /// What the image says a guest needs, in GiB and MiB; equal to these.
    pub min_disk: Option<i64>,
    pub min_ram: Option<i64>,
    /// Of the images that others share with the caller's project: those that it has answered like this.
    pub answers: Vec<MemberStatus>,
    /// Others' community images too, which are many, and nobody vouches for.
    pub community: bool,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self {
            filter: Filter::default(),
            order: Vec::new(),
            page: Page::default(),
            tags: Vec::new(),
            properties: Vec::new(),
            min_disk: None,
            min_ram: None,
            answers: vec![MemberStatus::Accepted],
            community: false,
        }
    }
}

pub struct Listed {
    pub images: Vec<Image>,
    /// Whether there are more after the last one.
    pub more: bool,
}

pub async fn show(app: &App, ctx: &Ctx, id: ImageId) -> Result<Image> {
    let (image, target) = find(app, ctx, id).await?.ok_or_else(|| absent(id))?;
    access::require_on(app, ctx, IMAGES_SHOW, IMAGES_SHOW, &target, || absent(id))?;
    Ok(image)
}

/// One page of what the caller may read. The policy decides once per (owner, public or not).
pub async fn list(app: &App, ctx: &Ctx, query: &ListQuery) -> Result<Listed> {
    access::require(app, ctx, IMAGES_LIST, &own(ctx))?;
    let mut cursor = marker(app, ctx, query.page.marker.as_deref()).await?;
    let wanted = usize::try_from(query.page.size()).unwrap_or(0);
    if wanted == 0 {
        return Ok(Listed { images: Vec::new(), more: false });
    }
    let scope = scope(app, ctx, &query.answers);
    let mut order = query.order.clone();
    if !order.iter().any(|(key, _)| *key == SortKey::Id) {
        let direction = order.last().map_or(Direction::Descending, |(_, direction)| *direction);
        order.push((SortKey::Id, direction));
    }
    let mut readable = access::Rows::default();
    let mut found = Vec::new();
    let needs = query.min_disk.is_some() || query.min_ram.is_some();
    let checked_here = needs || !query.tags.is_empty() || !query.properties.is_empty();
    loop {
        let size = if checked_here { CHUNK } else { query.page.size() + 1 };
        let (within, filter, order, after) =
            (scope.clone(), query.filter.clone(), order.clone(), cursor.take());
        let rows = app
            .store
            .read(move |c| {
                Box::pin(async move { images::list(c, &within, &filter, &order, after.as_ref(), size).await })
            })
            .await?;
        let last = i64::try_from(rows.len()).is_ok_and(|count| count < size);
        cursor = rows.last().cloned();
        for image in rows {
            // Found in a project's scope, another's shared image is there because it is a member.
            let shared = image.visibility == Visibility::Shared
                && matches!(&scope, Scope::Project(own, _) if *own != image.project_id);
            let may = readable.allowed(app, ctx, IMAGES_SHOW, &target(&image).shared(shared));
            if may && matches(ctx, query, &image) {
                found.push(image);
            }
        }
        if found.len() > wanted {
            found.truncate(wanted);
            return Ok(Listed { images: found, more: true });
        }
        if last {
            return Ok(Listed { images: found, more: false });
        }
    }
}

fn matches(ctx: &Ctx, query: &ListQuery, image: &Image) -> bool {
    let listed = image.visibility != Visibility::Community
        || query.community
        || ctx.who.project_id() == Some(&image.project_id);
    listed
        && query.min_disk.is_none_or(|wanted| image.min_disk == wanted)
        && query.min_ram.is_none_or(|wanted| image.min_ram == wanted)
        && query.tags.iter().all(|tag| image.tags.contains(tag))
        && query.properties.iter().all(|(name, value)| image.properties.get(name) == Some(value))
}

/// Where the database should look at all. Who may read a project nobody has ever heard of may read all.
fn scope(app: &App, ctx: &Ctx, answers: &[MemberStatus]) -> Scope {
    let anybody = Target::in_project(&ProjectId::random());
    match ctx.who.project_id() {
        _ if access::allowed(app, ctx, IMAGES_SHOW, &anybody) => Scope::All,
        Some(project) => Scope::Project(project.clone(), answers.to_vec()),
        None => Scope::Public,
    }
}

async fn marker(app: &App, ctx: &Ctx, marker: Option<&str>) -> Result<Option<Image>> {
    let Some(text) = marker else { return Ok(None) };
    let unknown =
        || Error::bad_request("image.marker", "The marker is not the id of an image that you can see.");
    let id: ImageId = text.parse().map_err(|_| unknown())?;
    show(app, ctx, id).await.map(Some).map_err(|e| if e.code == "image.not_found" { unknown() } else { e })
}
