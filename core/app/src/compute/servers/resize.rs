//! Resize: another flavor on the same host, to be confirmed or reverted.
//!
//! Until then the server holds what both flavors take of its host (the old one's under a consumer of its own, as
//! nova's migrations do), and of the project's quota the larger of each. The host keeps the disk as it was if
//! the new one is larger. What is asked here only opens the operation; [`super::endings`] closes it.

use super::change::{by, cannot, change, check, locked, permit, save};
use super::exact::{self, Chosen};
use super::list::find;
use super::scene::Scene;
use super::wants::{self, Hints, Wants};
use crate::quota::{self, Ask};
use crate::{App, Ctx};
use canopy_agent_api::ImageSpec;
use canopy_authz::actions::compute as actions;
use canopy_store::consumers::{self, Consumer};
use canopy_store::hosts::{self, Claimant};
use canopy_store::servers::{FlavorSnapshot, Operation, Resize, ServerRow};
use canopy_types::resources::{Amounts, DISK_GB};
use canopy_types::server::{Hold, How, rules};
use canopy_types::{ConsumerId, Error, FlavorId, HostId, Kind, Result, ServerId, Timestamp};

/// How often a decision is made again because something else took the room meanwhile.
const ATTEMPTS: usize = 16;
const RACED: &str = "placement.raced";

pub async fn resize(app: &App, ctx: &Ctx, id: ServerId, flavor: FlavorId) -> Result<()> {
    let server = find(app, ctx, id).await?;
    let may = permit(app, ctx, &server, &rules::RESIZE, actions::SERVERS_RESIZE)?;
    check(&server, &rules::RESIZE, may)?;
    let new = crate::compute::flavors::for_boot(app, ctx, &flavor).await.map_err(|e| match e.kind {
        // What the body names; the server is there.
        Kind::NotFound => Error::bad_request(e.code, e.message),
        _ => e,
    })?;
    let Some(host) = server.host_id else {
        return Err(Error::conflict("server.not_ready", format!("Instance {id} is not ready")));
    };
    let disk_gib = disk(app, &server, &new).await?;
    let image: Option<ImageSpec> = server
        .image
        .clone()
        .map(serde_json::from_value)
        .transpose()
        .map_err(|e| Error::internal("server.corrupt", e))?;
    let Wants { mut request, exact, .. } = wants::request(
        app,
        ctx,
        (None, &Hints::default()),
        &new,
        image.as_ref(),
        disk_gib,
        std::iter::empty(),
    )
    .await?;
    request.only_hosts = vec![host];
    let ask = Ask {
        project_id: server.project_id.clone(),
        limits_of: None,
        user_id: server.user_id.clone(),
        zone: server.availability_zone.clone(),
        charges: more(&server.flavor, &new),
        attributes: vec![
            ("flavor".to_owned(), new.name.clone()),
            ("flavor-id".to_owned(), new.id.to_string()),
            ("count".to_owned(), "1".to_owned()),
        ],
    };
    let mut turn = quota::turn(app, &ask).await?;
    let _alone = exact::turn(app, exact.as_ref()).await?;
    for _ in 0..ATTEMPTS {
        let (made, mut chosen) = exact::choose(app, &request, exact.as_ref(), &[id]).await?;
        let (Some(chosen), scene) = (chosen.pop(), Scene::of(app, &made)) else {
            return Err(Error::internal("server.resize", "a decision without an answer"));
        };
        if chosen.decision.winner.is_none() {
            return Err(Error::bad_request("server.no_valid_host", chosen.decision.refusal()));
        }
        let (ctx, seen, new, now) = (ctx.clone(), server.flavor.clone(), new.clone(), app.now());
        let outcome = turn
            .charge("server.resize", move |c| {
                let step = Begin { ctx: ctx.clone(), seen: seen.clone(), new: new.clone(), host, now };
                let (chosen, scene) = (chosen.clone(), scene.clone());
                Box::pin(async move {
                    let before = locked(c, id).await?;
                    check(&before, &rules::RESIZE, may)?;
                    step.run(c, &before, &chosen, &scene).await
                })
            })
            .await;
        match outcome {
            Ok(()) => {
                made.reservation.committed();
                return Ok(());
            }
            Err(error) if error.code == RACED => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::unavailable("placement.busy", "The server's host is filling up too fast. Try again."))
}

struct Begin {
    ctx: Ctx,
    /// The flavor that was looked at.
    seen: FlavorSnapshot,
    new: FlavorSnapshot,
    host: HostId,
    now: Timestamp,
}

impl Begin {
    async fn run(
        self,
        c: &mut canopy_store::Conn,
        before: &ServerRow,
        chosen: &Chosen,
        scene: &Scene,
    ) -> Result<()> {
        if before.flavor != self.seen || before.host_id != Some(self.host) {
            return Err(Error::conflict(
                "server.changed",
                format!("Instance {} was changed by another request. Look at it and ask again.", before.id),
            ));
        }
        let migration = ServerId::random().into();
        consumers::hand_over(c, before.id.into(), &consumer(before, migration, "MIGRATION", self.now))
            .await?;
        let claimant = Claimant { server: before.id, project: &before.project_id, user: &before.user_id };
        if !hosts::claim_from(c, &claimant, &chosen.claim, self.now).await? {
            return Err(Error::conflict(RACED, "The host filled up."));
        }
        let on = before.derived().vm_state != "stopped";
        let power = before.power.next(on, How::Resize);
        let resize = Resize {
            old: before.flavor.clone(),
            new: self.new.clone(),
            on,
            n: power.n,
            migration,
            ending: None,
        };
        let mut server = ServerRow {
            flavor: self.new,
            power,
            hold: Hold::Resized,
            hold_since: None,
            operation: Operation { v: 1, resize: Some(resize), ..Operation::default() },
            ..before.clone()
        };
        save(c, by(&self.ctx), &rules::RESIZE, before, &mut server, self.now).await?;
        scene.keep(c, &server, &chosen.decision, chosen.note.as_ref(), self.now).await
    }
}

/// Who holds for this server.
pub(super) fn consumer(server: &ServerRow, id: ConsumerId, kind: &str, now: Timestamp) -> Consumer {
    Consumer {
        id,
        server: true,
        project_id: server.project_id.clone(),
        user_id: server.user_id.clone(),
        kind: Some(kind.into()),
        generation: 1,
        created_at: now,
    }
}

/// What is charged in addition: usage is the larger of the two until one of them is given up.
fn more(old: &FlavorSnapshot, new: &FlavorSnapshot) -> Amounts {
    let had = super::charges(old);
    let more = super::charges(new).into_iter().map(|(resource, amount)| {
        let more = amount - had.get(&resource).copied().unwrap_or(0);
        (resource, more)
    });
    more.filter(|(_, amount)| *amount > 0).collect()
}

/// GiB of the host for the new flavor. A disk never shrinks.
async fn disk(app: &App, server: &ServerRow, new: &FlavorSnapshot) -> Result<i64> {
    let old = &server.flavor;
    if old.id == new.id {
        return Err(Error::bad_request("server.same_flavor", "When resizing, instances must change flavor!"));
    }
    let refused = |why: &str| {
        let text = format!("Server disk was unable to be resized because: {why}");
        Err(Error::bad_request("server.cannot_resize_disk", text))
    };
    if new.root_gib == 0 && old.root_gib != 0 {
        return refused("Resize to zero disk flavor is not allowed.");
    }
    let id = server.id;
    let held = app.store.read(move |c| Box::pin(async move { consumers::held(c, id.into()).await })).await?;
    let held: i64 = held.iter().filter(|row| row.class == DISK_GB).map(|row| row.used).sum();
    let beside = |flavor: &FlavorSnapshot| {
        flavor.ephemeral_gib.saturating_add(flavor.swap_mib.saturating_add(1_023) / 1_024)
    };
    // Without a size of its own the disk is as large as its image.
    let root = if old.root_gib == 0 { (held - beside(old)).max(0) } else { old.root_gib };
    if new.root_gib != 0 && new.root_gib < root {
        return refused("Unable to resize disk down.");
    }
    let root = if new.root_gib == 0 { root } else { new.root_gib };
    Ok(root.saturating_add(beside(new)))
}

pub async fn confirm_resize(app: &App, ctx: &Ctx, id: ServerId) -> Result<()> {
    let asked = (&rules::CONFIRM_RESIZE, actions::SERVERS_CONFIRM_RESIZE);
    change(app, ctx, id, asked, confirm).await.map(|_| ())
}

pub async fn revert_resize(app: &App, ctx: &Ctx, id: ServerId) -> Result<()> {
    let asked = (&rules::REVERT_RESIZE, actions::SERVERS_REVERT_RESIZE);
    change(app, ctx, id, asked, revert).await.map(|_| ())
}

/// Opens the end of a resize that keeps the new flavor.
pub(super) fn confirm(server: &mut ServerRow) -> Result<()> {
    let power = server.power.next(server.power.on, How::ConfirmResize);
    let resize = server.operation.resize.as_mut().ok_or_else(none)?;
    resize.ending = Some((power.n, true));
    // Also after a way back that failed.
    server.flavor = resize.new.clone();
    server.power = power;
    Ok(())
}

/// Opens the end of a resize that goes back to the old flavor.
pub(super) fn revert(server: &mut ServerRow) -> Result<()> {
    let resize = server.operation.resize.as_mut().ok_or_else(none)?;
    let power = server.power.next(resize.on, How::RevertResize);
    resize.ending = Some((power.n, false));
    server.flavor = resize.old.clone();
    server.power = power;
    Ok(())
}

/// Refuses what would be done to a disk that is to be put back first.
pub(super) fn not_undone(server: &ServerRow, verb: &str) -> Result<()> {
    if server.operation.resize.as_ref().is_some_and(|resize| resize.is_undone()) {
        let why = "its resize is being undone: stop it or reboot it (hard) first, which does that";
        return Err(cannot(server, verb, why));
    }
    Ok(())
}

fn none() -> Error {
    Error::bad_request("server.not_resized", "Instance has not been resized.")
}
