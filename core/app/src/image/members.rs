//! Whom an image is shared with. The owner names projects; each of them answers for itself.

use super::update::note;
use super::{absent, attributes, find, shared_with, target, target_for};
use crate::{App, Ctx, access};
use canopy_authz::Target;
use canopy_authz::actions::image::{
    IMAGES_SHOW, MEMBERS_CREATE, MEMBERS_DELETE, MEMBERS_LIST, MEMBERS_SHOW, MEMBERS_UPDATE,
};
use canopy_store::Conn;
use canopy_store::images::{self, Image, Member, MemberStatus, Visibility, members as rows};
use canopy_types::{Error, ImageId, Kind, ProjectId, Result};
use std::sync::Arc;

/// Members of one image.
pub const MAX_MEMBERS: usize = 128;

/// The members that the caller may see: the owner all, a member itself.
pub async fn members(app: &Arc<App>, ctx: &Ctx, id: ImageId) -> Result<Vec<Member>> {
    let (image, seen) = find(app, ctx, id).await?.ok_or_else(|| absent(id))?;
    access::require_on(app, ctx, IMAGES_SHOW, IMAGES_SHOW, &seen, || absent(id))?;
    sharable(&image)?;
    access::require(app, ctx, MEMBERS_LIST, &seen)?;
    let all = app.store.read(move |c| Box::pin(async move { rows::list(c, id).await })).await?;
    let visible = |member: &Member| access::allowed(app, ctx, MEMBERS_SHOW, &side(ctx, &image, member));
    Ok(all.into_iter().filter(visible).collect())
}

pub async fn member(app: &Arc<App>, ctx: &Ctx, id: ImageId, project: ProjectId) -> Result<Member> {
    let (app, ctx) = (app.clone(), ctx.clone());
    let store = app.store.clone();
    store
        .read(move |c| {
            let (app, ctx, project) = (app.clone(), ctx.clone(), project.clone());
            Box::pin(async move {
                let image = images::get(c, id).await?.ok_or_else(|| absent(id))?;
                visible(c, &app, &ctx, &image, &project).await
            })
        })
        .await
}

/// Shares an image with a project, which is asked with that. Nobody tells whether there is such a project.
pub async fn add_member(app: &Arc<App>, ctx: &Ctx, id: ImageId, project: ProjectId) -> Result<Member> {
    if project.0.is_empty() || !attributes::plain(&project.0, 255) {
        return Err(Error::bad_request(
            "image.member",
            "Member must be the id of a project, of 1 to 255 characters.",
        ));
    }
    let now = app.now();
    let (app, ctx) = (app.clone(), ctx.clone());
    let store = app.store.clone();
    store
        .write("image.member_add", move |c| {
            let (app, ctx, project) = (app.clone(), ctx.clone(), project.clone());
            Box::pin(async move {
                let image = images::lock(c, id).await?.ok_or_else(|| absent(id))?;
                let target = target_for(c, &ctx, &image).await?;
                access::require_on(&app, &ctx, IMAGES_SHOW, MEMBERS_CREATE, &target, || absent(id))?;
                sharable(&image)?;
                let members = rows::list(c, id).await?;
                if members.iter().any(|member| member.project_id == project) {
                    return Err(Error::conflict(
                        "image.member_duplicate",
                        format!("Member {project} is duplicated for image {id}"),
                    ));
                }
                if members.len() >= MAX_MEMBERS {
                    return Err(Error::new(
                        Kind::TooLarge,
                        "image.too_many",
                        format!(
                            "Image member limit exceeded for image {id}: it has {MAX_MEMBERS} members, the most \
                             an image may have."
                        ),
                    ));
                }
                let status = MemberStatus::Pending;
                let member =
                    Member { image_id: id, project_id: project, status, created_at: now, updated_at: now };
                rows::insert(c, &member).await?;
                note(c, &image, "image.member_add", now).await?;
                Ok(member)
            })
        })
        .await
}

/// What a project says to an image that is shared with it.
pub async fn set_member_status(
    app: &Arc<App>,
    ctx: &Ctx,
    id: ImageId,
    project: ProjectId,
    status: MemberStatus,
) -> Result<Member> {
    let now = app.now();
    let (app, ctx) = (app.clone(), ctx.clone());
    let store = app.store.clone();
    store
        .write("image.member_update", move |c| {
            let (app, ctx, project) = (app.clone(), ctx.clone(), project.clone());
            Box::pin(async move {
                let image = images::lock(c, id).await?.ok_or_else(|| absent(id))?;
                let mut member = visible(c, &app, &ctx, &image, &project).await?;
                access::require(&app, &ctx, MEMBERS_UPDATE, &side(&ctx, &image, &member))?;
                member.status = status;
                member.updated_at = now.max(member.updated_at);
                rows::update(c, &member).await?;
                note(c, &image, "image.member_update", now).await?;
                Ok(member)
            })
        })
        .await
}

/// Takes an image from a project. Servers it made from the image keep their disks.
pub async fn remove_member(app: &Arc<App>, ctx: &Ctx, id: ImageId, project: ProjectId) -> Result<()> {
    let now = app.now();
    let (app, ctx) = (app.clone(), ctx.clone());
    let store = app.store.clone();
    store
        .write("image.member_remove", move |c| {
            let (app, ctx, project) = (app.clone(), ctx.clone(), project.clone());
            Box::pin(async move {
                let image = images::lock(c, id).await?.ok_or_else(|| absent(id))?;
                let member = visible(c, &app, &ctx, &image, &project).await?;
                access::require(&app, &ctx, MEMBERS_DELETE, &side(&ctx, &image, &member))?;
                rows::delete(c, id, &project).await?;
                note(c, &image, "image.member_remove", now).await
            })
        })
        .await
}

/// A member of an image, for those who may see both.
async fn visible(c: &mut Conn, app: &App, ctx: &Ctx, image: &Image, project: &ProjectId) -> Result<Member> {
    let id = image.id;
    let seen = target(image).shared(shared_with(c, ctx.who.project_id(), image).await?);
    access::require_on(app, ctx, IMAGES_SHOW, IMAGES_SHOW, &seen, || absent(id))?;
    sharable(image)?;
    let unknown = || {
        let text: String = project.0.chars().filter(|c| !c.is_control()).take(255).collect();
        Error::not_found("image.no_member", format!("{text} not found in the member list of the image {id}."))
    };
    // A text that can be no member's is not asked for: PostgreSQL takes no zero bytes.
    if !attributes::plain(&project.0, 255) {
        return Err(unknown());
    }
    let member = rows::get(c, id, project).await?.ok_or_else(unknown)?;
    access::require_on(app, ctx, MEMBERS_SHOW, MEMBERS_SHOW, &side(ctx, image, &member), unknown)?;
    Ok(member)
}

/// What policies see of one membership: `shared` to the member itself.
fn side(ctx: &Ctx, image: &Image, member: &Member) -> Target {
    target(image).shared(ctx.who.project_id() == Some(&member.project_id))
}

fn sharable(image: &Image) -> Result<()> {
    if image.visibility == Visibility::Shared {
        return Ok(());
    }
    Err(Error::forbidden(
        "image.not_shared",
        format!(
            "Only shared images have members. Image {} is {}: set its visibility to shared first.",
            image.id,
            image.visibility.as_str()
        ),
    ))
}
